/*
 * lora.c - adapter settings, and which modules carry an adapter (PEFT's rules, spec section 5).
 */
#include "core/model/lora.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/hostmem.h"
#include "core/model/model_impl.h"

ql_lora_config ql_lora_config_default(void) {
    return (ql_lora_config){.r = 64, .alpha = 16.0};
}

void ql_lora_config_free(ql_lora_config *c) {
    for (int32_t i = 0; i < c->n_targets; i++) ql_host_free(c->targets[i]);
    ql_host_free(c->targets);
    ql_host_free(c->pattern);
    memset(c, 0, sizeof *c);
}

static ql_status add_target(ql_lora_config *c, const char *name, size_t len) {
    size_t cap = (size_t)c->n_targets;
    QL_TRY(ql_host_grow((void **)&c->targets, &cap, (size_t)c->n_targets + 1, sizeof(char *)));
    c->targets[c->n_targets] = ql_host_strndup(name, len);
    if (!c->targets[c->n_targets]) return QL_NOMEM("target modules");
    c->n_targets++;
    return QL_OK;
}

static void clear_targets(ql_lora_config *c) {
    for (int32_t i = 0; i < c->n_targets; i++) ql_host_free(c->targets[i]);
    ql_host_free(c->targets);
    ql_host_free(c->pattern);
    c->targets = NULL;
    c->pattern = NULL;
    c->n_targets = 0;
}

ql_status ql_lora_config_copy(const ql_lora_config *from, ql_lora_config *out) {
    ql_lora_config c = *from;
    c.targets = NULL;
    c.pattern = NULL;
    c.n_targets = 0;
    ql_status s = QL_OK;
    for (int32_t i = 0; i < from->n_targets && s == QL_OK; i++)
        s = add_target(&c, from->targets[i], strlen(from->targets[i]));
    if (s == QL_OK && from->pattern && !(c.pattern = ql_host_strdup(from->pattern)))
        s = QL_NOMEM("target modules");
    if (s != QL_OK) {
        ql_lora_config_free(&c);
        return s;
    }
    *out = c;
    return QL_OK;
}

ql_status ql_lora_set_targets(ql_lora_config *c, const char *text) {
    clear_targets(c);
    if (!strcasecmp(text, "all-linear") || !strcasecmp(text, "all_linear")) return QL_OK;
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,-";
    if (text[strspn(text, plain)]) {
        c->pattern = ql_host_strdup(text);
        return c->pattern ? QL_OK : QL_NOMEM("target modules");
    }
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        if (len) QL_TRY(add_target(c, at, len));
        at += len + (at[len] == ',');
    }
    if (!c->n_targets)
        return QL_FAIL(QL_ERR_INVALID, "lora_target_modules '%.64s' names no module", text);
    return QL_OK;
}

ql_status ql_lora_check(const ql_lora_config *c) {
    if (c->r < 1 || c->r > 65536)
        return QL_FAIL(QL_ERR_INVALID, "lora_r is %d, expected 1 to 65536", c->r);
    if (!(c->alpha > 0) || c->alpha > 1e6)
        return QL_FAIL(QL_ERR_INVALID, "lora_alpha is %g, expected a number above 0", c->alpha);
    if (!(c->dropout >= 0) || c->dropout >= 1)
        return QL_FAIL(QL_ERR_INVALID, "lora_dropout is %g, expected 0 <= p < 1", c->dropout);
    return QL_OK;
}

float ql_lora_scaling(const ql_lora_config *c) {
    return (float)(c->rslora ? c->alpha / sqrt((double)c->r) : c->alpha / c->r);
}

/* Does the whole of `module` match the regular expression? */
static ql_status full_match(const char *pattern, const char *module, bool *out) {
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        return QL_FAIL(QL_ERR_INVALID, "lora_target_modules '%.64s': %s at character %zu", pattern,
                       (const char *)text, (size_t)at);
    }
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (!data || !limits) {
        pcre2_match_data_free(data);
        pcre2_match_context_free(limits);
        pcre2_code_free(re);
        return QL_NOMEM("a regular expression");
    }
    pcre2_set_match_limit(limits, 100000);
    int n = pcre2_match(re, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0,
                        PCRE2_ANCHORED | PCRE2_ENDANCHORED, data, limits);
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(re);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return QL_FAIL(QL_ERR_INVALID,
                       "lora_target_modules '%.64s' cannot be matched (PCRE2 error %d)", pattern,
                       n);
    *out = n >= 0;
    return QL_OK;
}

ql_status ql_lora_matches(const ql_lora_config *c, const char *module, bool is_head, bool *out) {
    if (c->pattern) return full_match(c->pattern, module, out);
    *out = c->n_targets == 0 && !is_head;
    size_t len = strlen(module);
    for (int32_t i = 0; i < c->n_targets && !*out; i++) {
        size_t t = strlen(c->targets[i]);
        *out = t <= len && !strcmp(module + len - t, c->targets[i]) &&
               (t == len || module[len - t - 1] == '.');
    }
    return QL_OK;
}

static ql_status attach(ql_model *m, ql_linear *l) {
    l->r = m->lora.r;
    l->scaling = ql_lora_scaling(&m->lora);
    l->dropout = (float)m->lora.dropout;
    QL_TRY(ql_param_add(m, l->r, l->k, true, &l->adapter_a, "%s.lora_A.weight", l->module));
    return ql_param_add(m, l->n, l->r, true, &l->adapter_b, "%s.lora_B.weight", l->module);
}

ql_status ql_model_attach_lora(ql_model *m, const ql_lora_config *cfg) {
    if (m->opts.full)
        return QL_FAIL(QL_ERR_INVALID,
                       "--full trains all weights; adapters cannot be attached as well");
    QL_TRY(ql_lora_check(cfg));
    QL_TRY(ql_lora_config_copy(cfg, &m->lora));
    ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        bool hit = false;
        QL_TRY(ql_lora_matches(cfg, l->module, l == &m->head, &hit));
        if (!hit) continue;
        if (l == &m->head && m->tied)
            return QL_FAIL(
                QL_ERR_UNSUPPORTED,
                "lora_target_modules selects lm_head, which is tied to the embedding in this "
                "model; leave it out");
        QL_TRY(attach(m, l));
    }
    if (!m->n_params)
        return QL_FAIL(QL_ERR_INVALID,
                       "lora_target_modules matches no linear layer; there are for "
                       "example '%s' and '%s'",
                       m->layers[0].linear[0].module, m->layers[0].linear[QL_LIN_DOWN].module);
    m->has_lora = true;
    ql_params_layout(m);
    return QL_OK;
}
