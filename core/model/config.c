/*
 * config.c - config.json to ql_arch: what all families share, and the list of families.
 *
 * Two spellings are in use (spec/models.md, section 1): `rope_theta` + `rope_scaling`, or one
 * `rope_parameters` object. Unknown keys are ignored, unknown values of known keys are refused.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/model/families.h"

static const struct {
    const char *model_type;
    ql_status (*read)(const json_t *config, const char *what, ql_arch *out);
} families[] = {
    {"llama", ql_arch_llama},
    {"mistral", ql_arch_mistral},
};

const char *ql_arch_families(void) {
    return "llama, mistral";
}

ql_status ql_arch_from_config(const json_t *config, const char *what, ql_arch *out) {
    const char *type = NULL;
    QL_TRY(ql_json_get_str(config, what, "model_type", &type));
    if (!type)
        return QL_FAIL(QL_ERR_FORMAT, "%s: key 'model_type' is missing; expected one of: %s", what,
                       ql_arch_families());
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcmp(families[i].model_type, type) != 0) continue;
        ql_arch a = {.bos = -1, .pad = -1};
        QL_TRY(families[i].read(config, what, &a));
        snprintf(a.family, sizeof a.family, "%s", type);
        *out = a;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: model_type '%.64s' is not supported; supported are: %s",
                   what, type, ql_arch_families());
}

static ql_status need_i64(const json_t *c, const char *what, const char *key, int64_t hi,
                          int64_t *out) {
    if (!ql_json_has(c, key)) return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' is missing", what, key);
    return ql_json_get_i64(c, what, key, 1, hi, out);
}

ql_status ql_arch_sizes(const json_t *c, const char *what, ql_arch *a) {
    int64_t layers = 0, heads = 0, kv = 0, dim = 0;
    QL_TRY(need_i64(c, what, "hidden_size", 1 << 20, &a->hidden));
    QL_TRY(need_i64(c, what, "intermediate_size", 1 << 22, &a->ffn));
    QL_TRY(need_i64(c, what, "vocab_size", 1 << 24, &a->vocab));
    /* Planning takes time with the square of the layers; published models have at most 137. */
    QL_TRY(need_i64(c, what, "num_hidden_layers", 512, &layers));
    QL_TRY(need_i64(c, what, "num_attention_heads", 4096, &heads));
    kv = heads;
    QL_TRY(ql_json_get_i64(c, what, "num_key_value_heads", 1, 4096, &kv));
    if (heads % kv)
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld",
                       what, (long long)heads, (long long)kv);
    if (!ql_json_has(c, "head_dim") && a->hidden % heads)
        return QL_FAIL(QL_ERR_FORMAT, "%s: hidden_size %lld is not a multiple of %lld heads", what,
                       (long long)a->hidden, (long long)heads);
    dim = a->hidden / heads;
    QL_TRY(ql_json_get_i64(c, what, "head_dim", 1, 4096, &dim));
    a->layers = (int32_t)layers;
    a->heads = (int32_t)heads;
    a->kv_heads = (int32_t)kv;
    a->head_dim = (int32_t)dim;
    a->max_positions = 2048;
    QL_TRY(ql_json_get_i64(c, what, "max_position_embeddings", 1, 1 << 28, &a->max_positions));
    a->attn_scale = (float)(1.0 / sqrt((double)dim));
    return QL_OK;
}

ql_status ql_arch_activation(const json_t *c, const char *what, const char *key, ql_act_kind *out) {
    static const struct {
        const char *name;
        ql_act_kind kind;
    } acts[] = {{"silu", QL_ACT_SILU},
                {"swish", QL_ACT_SILU},
                {"gelu", QL_ACT_GELU_ERF},
                {"gelu_new", QL_ACT_GELU_TANH},
                {"gelu_pytorch_tanh", QL_ACT_GELU_TANH},
                {"relu", QL_ACT_RELU}};
    const char *name = NULL;
    QL_TRY(ql_json_get_str(c, what, key, &name));
    if (!name) return QL_OK;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(acts[i].name, name) != 0) continue;
        *out = acts[i].kind;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: %s '%.64s' is not supported (silu, gelu, gelu_new, relu)", what, key, name);
}

/* m(x) of yarn: 0.1 x ln f + 1. */
static double yarn_mscale(double f, double x) {
    return f > 1 ? 0.1 * x * log(f) + 1.0 : 1.0;
}

static ql_status read_yarn(const json_t *s, const char *what, ql_rope *r) {
    double all = 0, m = 0;
    QL_TRY(ql_json_get_f64(s, what, "beta_fast", 0, 1e6, &r->beta_fast));
    QL_TRY(ql_json_get_f64(s, what, "beta_slow", 0, 1e6, &r->beta_slow));
    QL_TRY(ql_json_get_bool(s, what, "truncate", &r->truncate));
    QL_TRY(ql_json_get_f64(s, what, "mscale", 0, 1e6, &m));
    QL_TRY(ql_json_get_f64(s, what, "mscale_all_dim", 0, 1e6, &all));
    r->attention_factor = m > 0 && all > 0 ? yarn_mscale(r->factor, m) / yarn_mscale(r->factor, all)
                                           : yarn_mscale(r->factor, 1.0);
    return ql_json_get_f64(s, what, "attention_factor", 0, 1e6, &r->attention_factor);
}

static ql_status read_scaling(const json_t *s, const char *what, ql_rope *r) {
    const char *type = NULL;
    QL_TRY(ql_json_get_str(s, what, "rope_type", &type));
    if (!type) QL_TRY(ql_json_get_str(s, what, "type", &type));
    if (!type || !strcmp(type, "default")) return QL_OK;
    static const struct {
        const char *name;
        ql_rope_kind kind;
    } kinds[] = {{"linear", QL_ROPE_LINEAR},
                 {"dynamic", QL_ROPE_DYNAMIC},
                 {"llama3", QL_ROPE_LLAMA3},
                 {"yarn", QL_ROPE_YARN}};
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, type) != 0) continue;
        r->kind = kinds[i].kind;
        known = true;
    }
    if (!known)
        return QL_FAIL(
            QL_ERR_UNSUPPORTED,
            "%s: rope_type '%.64s' is not supported (default, linear, dynamic, llama3, yarn)", what,
            type);
    if (!ql_json_has(s, "factor"))
        return QL_FAIL(QL_ERR_FORMAT, "%s: rope scaling '%s' needs 'factor'", what, type);
    QL_TRY(ql_json_get_f64(s, what, "factor", 1e-3, 1e6, &r->factor));
    QL_TRY(ql_json_get_i64(s, what, "original_max_position_embeddings", 1, 1 << 28,
                           &r->original_positions));
    QL_TRY(ql_json_get_f64(s, what, "low_freq_factor", 1e-6, 1e6, &r->low_freq));
    QL_TRY(ql_json_get_f64(s, what, "high_freq_factor", 1e-6, 1e6, &r->high_freq));
    if (r->kind == QL_ROPE_LLAMA3 && r->high_freq <= r->low_freq)
        return QL_FAIL(QL_ERR_FORMAT, "%s: high_freq_factor must exceed low_freq_factor", what);
    return r->kind == QL_ROPE_YARN ? read_yarn(s, what, r) : QL_OK;
}

ql_status ql_arch_rope(const json_t *c, const char *what, ql_arch *a) {
    ql_rope *r = &a->rope;
    *r = (ql_rope){.theta = 10000.0,
                   .factor = 1.0,
                   .low_freq = 1.0,
                   .high_freq = 4.0,
                   .beta_fast = 32.0,
                   .beta_slow = 1.0,
                   .truncate = true,
                   .attention_factor = 1.0,
                   .original_positions = a->max_positions,
                   .max_positions = a->max_positions};
    double part = 1.0;
    QL_TRY(ql_json_get_f64(c, what, "rope_theta", 1.0, 1e12, &r->theta));
    QL_TRY(ql_json_get_f64(c, what, "partial_rotary_factor", 0.01, 1.0, &part));
    const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *s = json_object_get(c, keys[i]);
        if (!s || json_is_null(s)) continue;
        if (!json_is_object(s))
            return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' must be an object or null", what, keys[i]);
        QL_TRY(ql_json_get_f64(s, what, "rope_theta", 1.0, 1e12, &r->theta));
        QL_TRY(ql_json_get_f64(s, what, "partial_rotary_factor", 0.01, 1.0, &part));
        QL_TRY(read_scaling(s, what, r));
    }
    r->rot = (int32_t)(a->head_dim * part);
    if (r->rot < 2 || r->rot % 2)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %d rotated dimensions; expected an even number >= 2",
                       what, r->rot);
    return QL_OK;
}

/* A token id, or a list of them. */
static ql_status read_ids(const json_t *v, const char *what, const char *key, int64_t vocab,
                          int32_t *ids, int32_t *n, int32_t max) {
    size_t count = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *x = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(x))
            return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' must be a token id or a list of ids", what,
                           key);
        json_int_t id = json_integer_value(x);
        if (id < 0 || id >= vocab) continue; /* files carry ids such as -1 for "none" */
        bool seen = false;
        for (int32_t k = 0; k < *n; k++) seen |= ids[k] == (int32_t)id;
        if (!seen && *n < max) ids[(*n)++] = (int32_t)id;
    }
    return QL_OK;
}

ql_status ql_arch_tokens(const json_t *c, const char *what, ql_arch *a) {
    int32_t one = 0;
    const json_t *v = json_object_get(c, "bos_token_id");
    if (v && !json_is_null(v))
        QL_TRY(read_ids(v, what, "bos_token_id", a->vocab, &a->bos, &one, 1));
    one = 0;
    v = json_object_get(c, "pad_token_id");
    if (v && !json_is_null(v))
        QL_TRY(read_ids(v, what, "pad_token_id", a->vocab, &a->pad, &one, 1));
    v = json_object_get(c, "eos_token_id");
    if (v && !json_is_null(v))
        QL_TRY(read_ids(v, what, "eos_token_id", a->vocab, a->eos, &a->n_eos, QL_MAX_EOS));
    return QL_OK;
}

ql_status ql_arch_add_generation(const json_t *generation, const char *what, ql_arch *arch) {
    const json_t *v = json_object_get(generation, "eos_token_id");
    if (!v || json_is_null(v)) return QL_OK;
    return read_ids(v, what, "eos_token_id", arch->vocab, arch->eos, &arch->n_eos, QL_MAX_EOS);
}
