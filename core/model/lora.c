/*
 * lora.c - adapter settings as data: defaults, copies, and which settings make sense.
 */
#include "core/model/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/lora_impl.h"

ql_lora_config ql_lora_config_default(void) {
    return (ql_lora_config){.r = 64, .alpha = 16.0};
}

void ql_lora_config_free(ql_lora_config *c) {
    ql_arena_free(&c->memory);
    memset(c, 0, sizeof *c);
}

/* ---------------------------------------------------------------- memory */

ql_status ql_lora_room(ql_lora_config *c, size_t n, size_t size, void *out) {
    void *p = ql_arena_alloc(&c->memory, n, size);
    if (!p) return QL_NOMEM("adapter settings");
    memcpy(out, &p, sizeof p);
    return QL_OK;
}

ql_status ql_lora_keep(ql_lora_config *c, const char *text, size_t len, char **out) {
    *out = ql_arena_strndup(&c->memory, text, len);
    return *out ? QL_OK : QL_NOMEM("adapter settings");
}

/* ---------------------------------------------------------------- copies */

static ql_status copy_text(ql_lora_config *c, char **text) {
    return *text ? ql_lora_keep(c, *text, strlen(*text), text) : QL_OK;
}

static ql_status copy_names(ql_lora_config *c, char ***list, int32_t n) {
    char **from = *list;
    if (n == 0) return QL_OK;
    QL_TRY(ql_lora_room(c, (size_t)n, sizeof *from, list));
    memcpy(*list, from, (size_t)n * sizeof *from);
    for (int32_t i = 0; i < n; i++) QL_TRY(copy_text(c, &(*list)[i]));
    return QL_OK;
}

static ql_status copy_ints(ql_lora_config *c, int32_t **list, int32_t n) {
    int32_t *from = *list;
    if (n == 0) return QL_OK;
    QL_TRY(ql_lora_room(c, (size_t)n, sizeof *from, list));
    memcpy(*list, from, (size_t)n * sizeof *from);
    return QL_OK;
}

static ql_status copy_patterns(ql_lora_config *c, ql_lora_pattern **list, int32_t n) {
    ql_lora_pattern *from = *list;
    if (n == 0) return QL_OK;
    QL_TRY(ql_lora_room(c, (size_t)n, sizeof *from, list));
    memcpy(*list, from, (size_t)n * sizeof *from);
    for (int32_t i = 0; i < n; i++) QL_TRY(copy_text(c, &(*list)[i].pattern));
    return QL_OK;
}

/* Every pointer of c, which are another configuration's, becomes one into its own memory. */
static ql_status copy_all(ql_lora_config *c) {
    QL_TRY(copy_names(c, &c->targets, c->n_targets));
    QL_TRY(copy_text(c, &c->pattern));
    QL_TRY(copy_patterns(c, &c->rank_pattern, c->n_rank));
    QL_TRY(copy_patterns(c, &c->alpha_pattern, c->n_alpha));
    QL_TRY(copy_names(c, &c->modules_to_save, c->n_save));
    QL_TRY(copy_names(c, &c->exclude, c->n_exclude));
    QL_TRY(copy_text(c, &c->exclude_pattern));
    QL_TRY(copy_ints(c, &c->layers, c->n_layers));
    QL_TRY(copy_names(c, &c->layers_pattern, c->n_layers_pattern));
    QL_TRY(copy_text(c, &c->tokens.module));
    return copy_ints(c, &c->tokens.ids, c->tokens.n);
}

ql_status ql_lora_config_copy(const ql_lora_config *from, ql_lora_config *out) {
    ql_lora_config c = *from;
    c.memory = (ql_arena){0};
    ql_status s = copy_all(&c);
    if (s != QL_OK) {
        ql_lora_config_free(&c);
        return s;
    }
    *out = c;
    return QL_OK;
}

/* ---------------------------------------------------------------- checks */

static ql_status check_numbers(const ql_lora_config *c) {
    if (c->r < 1 || c->r > QL_LORA_MAX_R)
        return QL_FAIL(QL_ERR_INVALID, "lora_r is %d, expected 1 to %d", c->r, QL_LORA_MAX_R);
    if (!(c->alpha > 0) || c->alpha > QL_LORA_MAX_ALPHA)
        return QL_FAIL(QL_ERR_INVALID, "lora_alpha is %g, expected a number above 0", c->alpha);
    if (!(c->dropout >= 0) || c->dropout >= 1)
        return QL_FAIL(QL_ERR_INVALID, "lora_dropout is %g, expected 0 <= p < 1", c->dropout);
    for (int32_t i = 0; i < c->n_rank; i++) {
        double v = c->rank_pattern[i].value;
        if (!(v >= 1) || v > QL_LORA_MAX_R || v != floor(v))
            return QL_FAIL(QL_ERR_INVALID,
                           "rank_pattern: the rank of '%.64s' is %g, expected a whole number from "
                           "1 to %d",
                           c->rank_pattern[i].pattern, v, QL_LORA_MAX_R);
    }
    for (int32_t i = 0; i < c->n_alpha; i++) {
        double v = c->alpha_pattern[i].value;
        if (!(v > 0) || v > QL_LORA_MAX_ALPHA)
            return QL_FAIL(QL_ERR_INVALID,
                           "alpha_pattern: alpha of '%.64s' is %g, expected a number above 0",
                           c->alpha_pattern[i].pattern, v);
    }
    return QL_OK;
}

static ql_status check_expressions(const ql_lora_config *c) {
    ql_lora_regexp e;
    if (c->pattern) {
        e = ql_lora_target_regexp(c->pattern);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    if (c->exclude_pattern) {
        e = ql_lora_exclude_regexp(c->exclude_pattern);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    for (int32_t i = 0; i < c->n_save; i++) {
        e = ql_lora_saved_regexp(c->modules_to_save[i]);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    for (int32_t i = 0; i < c->n_rank; i++) {
        e = ql_lora_entry_regexp("rank_pattern", c->rank_pattern[i].pattern);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    for (int32_t i = 0; i < c->n_alpha; i++) {
        e = ql_lora_entry_regexp("alpha_pattern", c->alpha_pattern[i].pattern);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    for (int32_t i = 0; i < c->n_layers_pattern; i++) {
        e = ql_lora_layer_regexp(c->layers_pattern[i]);
        QL_TRY(ql_lora_regexp_check(&e));
    }
    return QL_OK;
}

static ql_status check_layers(const ql_lora_config *c) {
    if (c->n_layers && !c->n_targets)
        return QL_FAIL(QL_ERR_INVALID,
                       "layers_to_transform goes with target modules that are listed by name, not "
                       "with %s; list them (q_proj,v_proj), or put the layers into the expression",
                       c->pattern ? "an expression" : "all-linear");
    if (c->n_layers_pattern && !c->n_layers)
        return QL_FAIL(QL_ERR_INVALID,
                       "layers_pattern is given without layers_to_transform; say which layers");
    return QL_OK;
}

static int by_value(const void *a, const void *b) {
    const int32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static ql_status check_tokens(const ql_lora_config *c) {
    const ql_token_rows *t = &c->tokens;
    for (int32_t i = 0; t->module && i < c->n_save; i++)
        if (!strcmp(t->module, c->modules_to_save[i]))
            return QL_FAIL(QL_ERR_INVALID,
                           "'%.64s' is in modules_to_save, which trains all of its rows; leave it "
                           "out there or in trainable_token_indices",
                           t->module);
    if (t->n < 2) return QL_OK;
    int32_t *sorted = ql_host_calloc((size_t)t->n, sizeof *sorted);
    if (!sorted) return QL_NOMEM("token rows");
    memcpy(sorted, t->ids, (size_t)t->n * sizeof *sorted);
    qsort(sorted, (size_t)t->n, sizeof *sorted, by_value);
    int32_t twice = -1;
    for (int32_t i = 1; i < t->n && twice < 0; i++)
        if (sorted[i] == sorted[i - 1]) twice = sorted[i];
    ql_host_free(sorted);
    if (twice >= 0)
        return QL_FAIL(QL_ERR_INVALID, "trainable_token_indices names token %d twice", twice);
    return QL_OK;
}

ql_status ql_lora_check(const ql_lora_config *c) {
    QL_TRY(check_numbers(c));
    QL_TRY(check_layers(c));
    QL_TRY(check_tokens(c));
    return check_expressions(c);
}
