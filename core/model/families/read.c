/*
 * read.c - config.json to numbers: what the families share.
 *
 * Two spellings of the rotary embedding are in use (spec/models.md, section 1): `rope_theta` +
 * `rope_scaling`, or one `rope_parameters` object.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/model/families/families.h"

const ql_size_keys ql_hf_sizes = {"hidden_size",         "num_hidden_layers", "num_attention_heads",
                                  "num_key_value_heads", "head_dim",          "intermediate_size"};

ql_status ql_read_need(const json_t *c, const char *what, const char *key, int64_t hi,
                       int64_t *out) {
    if (!ql_json_has(c, key)) return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' is missing", what, key);
    return ql_json_get_i64(c, what, key, 1, hi, out);
}

/* heads, kv_heads and head_dim. */
static ql_status read_heads(const json_t *c, const char *what, const ql_size_keys *k,
                            const ql_arch *a, ql_stack *s) {
    int64_t heads = 0, kv, dim;
    QL_TRY(ql_read_need(c, what, k->heads, 4096, &heads));
    kv = heads;
    if (k->kv_heads) QL_TRY(ql_json_get_i64(c, what, k->kv_heads, 1, 4096, &kv));
    if (heads % kv)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s %lld is not a multiple of %s %lld", what, k->heads,
                       (long long)heads, k->kv_heads, (long long)kv);
    bool given = k->head_dim && ql_json_has(c, k->head_dim);
    if (!given && a->hidden % heads)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s %lld is not a multiple of %lld heads", what,
                       k->hidden, (long long)a->hidden, (long long)heads);
    dim = a->hidden / heads;
    if (given) QL_TRY(ql_json_get_i64(c, what, k->head_dim, 1, 4096, &dim));
    s->heads = (int32_t)heads;
    s->kv_heads = (int32_t)kv;
    s->head_dim = (int32_t)dim;
    s->attn_scale = (float)(1.0 / sqrt((double)dim));
    return QL_OK;
}

ql_status ql_read_sizes(const json_t *c, const char *what, const ql_size_keys *k, ql_arch *a,
                        ql_stack *s) {
    int64_t layers = 0;
    QL_TRY(ql_read_need(c, what, k->hidden, 1 << 20, &a->hidden));
    QL_TRY(ql_read_need(c, what, "vocab_size", 1 << 24, &a->vocab));
    QL_TRY(ql_read_need(c, what, k->layers, QL_MAX_LAYERS, &layers));
    if (k->ffn) QL_TRY(ql_read_need(c, what, k->ffn, 1 << 22, &s->ffn));
    s->layers = (int32_t)layers;
    s->front.width = a->hidden;
    return read_heads(c, what, k, a, s);
}

ql_status ql_read_positions(const json_t *c, const char *what, const char *key, ql_arch *a) {
    a->max_positions = 2048;
    return ql_json_get_i64(c, what, key, 1, 1 << 28, &a->max_positions);
}

ql_status ql_read_eps(const json_t *c, const char *what, const char *key, double absent,
                      ql_arch *a) {
    double eps = absent;
    QL_TRY(ql_json_get_f64(c, what, key, 0.0, 1.0, &eps));
    a->norm_eps = (float)eps;
    return QL_OK;
}

ql_status ql_refuse_flag(const json_t *c, const char *what, const char *key, bool value) {
    const json_t *v = json_object_get(c, key);
    if (!v || !json_is_boolean(v) || json_is_true(v) != value) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: key '%s' is %s, which this version does not support",
                   what, key, value ? "true" : "false");
}

ql_status ql_read_dropout(const json_t *c, const char *what, const char *key, float *out) {
    double p = *out;
    QL_TRY(ql_json_get_f64(c, what, key, 0.0, 0.99, &p));
    *out = (float)p;
    return QL_OK;
}

void ql_arch_llama_parts(ql_stack *s, bool qkv_bias, bool o_bias) {
    s->layer = "model.layers.%d";
    s->lin[QL_LIN_Q] = (ql_part){"self_attn.q_proj", qkv_bias, false};
    s->lin[QL_LIN_K] = (ql_part){"self_attn.k_proj", qkv_bias, false};
    s->lin[QL_LIN_V] = (ql_part){"self_attn.v_proj", qkv_bias, false};
    s->lin[QL_LIN_O] = (ql_part){"self_attn.o_proj", o_bias, false};
    s->lin[QL_LIN_GATE].name = "mlp.gate_proj";
    s->lin[QL_LIN_UP].name = "mlp.up_proj";
    s->lin[QL_LIN_DOWN].name = "mlp.down_proj";
    s->norm[QL_NORM_ATTN] = "input_layernorm";
    s->norm[QL_NORM_MLP] = "post_attention_layernorm";
    s->final_norm = "model.norm";
}

void ql_arch_decoder(ql_arch *a, const char *prefix, const char *tokens, const char *head) {
    a->task = QL_TASK_CAUSAL;
    a->base_prefix = prefix;
    a->body.causal = true;
    a->body.front.tokens = tokens;
    a->head.linear = head;
}

ql_status ql_read_activation(const json_t *c, const char *what, const char *key, ql_act_kind *out) {
    static const struct {
        const char *name;
        ql_act_kind kind;
    } acts[] = {{"silu", QL_ACT_SILU},           {"swish", QL_ACT_SILU},
                {"gelu", QL_ACT_GELU_ERF},       {"gelu_new", QL_ACT_GELU_TANH},
                {"gelu_fast", QL_ACT_GELU_TANH}, {"gelu_pytorch_tanh", QL_ACT_GELU_TANH},
                {"relu", QL_ACT_RELU},           {"tanh", QL_ACT_TANH}};
    const char *name = NULL;
    QL_TRY(ql_json_get_str(c, what, key, &name));
    if (!name) return QL_OK;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(acts[i].name, name) != 0) continue;
        *out = acts[i].kind;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: %s '%.64s' is not supported (silu, gelu, gelu_new, relu, tanh)", what, key,
                   name);
}

ql_status ql_read_window(const json_t *c, const char *what, int32_t *out) {
    const json_t *v = json_object_get(c, "sliding_window");
    if (json_is_null(v)) *out = 0;
    int64_t window = *out;
    QL_TRY(ql_json_get_i64(c, what, "sliding_window", 0, 1 << 28, &window));
    *out = (int32_t)window;
    return QL_OK;
}

ql_status ql_read_layer_types(const json_t *c, const char *what, ql_stack *s, bool *present) {
    const json_t *list = json_object_get(c, "layer_types");
    *present = list && !json_is_null(list);
    if (!*present) return QL_OK;
    if (!json_is_array(list) || json_array_size(list) != (size_t)s->layers)
        return QL_FAIL(QL_ERR_FORMAT, "%s: key 'layer_types' must be a list of %d names", what,
                       s->layers);
    for (int32_t i = 0; i < s->layers; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (name && !strcmp(name, "sliding_attention"))
            s->local[i] = 1;
        else if (name && !strcmp(name, "full_attention"))
            s->local[i] = 0;
        else
            return QL_FAIL(QL_ERR_UNSUPPORTED,
                           "%s: layer_types names '%.32s' for layer %d (full_attention, "
                           "sliding_attention)",
                           what, name ? name : "(no text)", i);
    }
    return QL_OK;
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

/* One divisor per pair of rotated dimensions. */
static ql_status read_factors(const json_t *s, const char *what, const char *key, int32_t rot,
                              float *out) {
    const json_t *list = json_object_get(s, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)rot / 2)
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: rope scaling 'longrope' needs '%s', a list of %d numbers", what, key,
                       rot / 2);
    for (size_t i = 0; i < json_array_size(list); i++) {
        double x = json_number_value(json_array_get(list, i));
        if (!(x > 0) || x > 1e9)
            return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must hold numbers above 0", what, key);
        out[i] = (float)x;
    }
    return QL_OK;
}

/* longrope (Phi-3): other divisors beyond the original length L0; cos and sin times
 * sqrt(1 + ln(M / L0) / ln L0). */
static ql_status read_longrope(const json_t *s, const char *what, ql_rope *r) {
    if (r->rot / 2 > QL_LONGROPE_MAX)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: longrope of %d rotated dimensions, at most %d",
                       what, r->rot, 2 * QL_LONGROPE_MAX);
    QL_TRY(ql_json_get_i64(s, what, "original_max_position_embeddings", 1, 1 << 28,
                           &r->original_positions));
    QL_TRY(read_factors(s, what, "short_factor", r->rot, r->short_factor));
    QL_TRY(read_factors(s, what, "long_factor", r->rot, r->long_factor));
    double f = (double)r->max_positions / (double)r->original_positions;
    QL_TRY(ql_json_get_f64(s, what, "factor", 1e-3, 1e6, &f));
    r->attention_factor = f <= 1.0 ? 1.0 : sqrt(1.0 + log(f) / log((double)r->original_positions));
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
    } kinds[] = {{"linear", QL_ROPE_LINEAR},     {"dynamic", QL_ROPE_DYNAMIC},
                 {"llama3", QL_ROPE_LLAMA3},     {"yarn", QL_ROPE_YARN},
                 {"longrope", QL_ROPE_LONGROPE}, {"su", QL_ROPE_LONGROPE}};
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, type) != 0) continue;
        r->kind = kinds[i].kind;
        known = true;
    }
    if (!known)
        return QL_FAIL(
            QL_ERR_UNSUPPORTED,
            "%s: rope_type '%.64s' is not supported (default, linear, dynamic, llama3, yarn, "
            "longrope)",
            what, type);
    if (r->kind == QL_ROPE_LONGROPE) return read_longrope(s, what, r);
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

/* `l0`: original_max_position_embeddings that stands beside the object (Phi-3); 0 = none. */
static ql_status read_object(const json_t *o, const char *what, double theta, double part,
                             int64_t l0, const ql_arch *a, const ql_stack *s, ql_rope *out) {
    ql_rope r = {.kind = QL_ROPE_DEFAULT,
                 .theta = theta,
                 .factor = 1.0,
                 .low_freq = 1.0,
                 .high_freq = 4.0,
                 .beta_fast = 32.0,
                 .beta_slow = 1.0,
                 .truncate = true,
                 .attention_factor = 1.0,
                 .original_positions = a->max_positions,
                 .max_positions = a->max_positions};
    if (l0 > 0) r.original_positions = l0;
    if (o) {
        QL_TRY(ql_json_get_f64(o, what, "rope_theta", 1.0, 1e12, &r.theta));
        QL_TRY(ql_json_get_f64(o, what, "partial_rotary_factor", 0.01, 1.0, &part));
    }
    r.rot = (int32_t)(s->head_dim * part);
    if (r.rot < 2 || r.rot % 2)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %d rotated dimensions; expected an even number >= 2",
                       what, r.rot);
    if (o) QL_TRY(read_scaling(o, what, &r));
    *out = r;
    return QL_OK;
}

ql_status ql_read_rope_object(const json_t *o, const char *what, double theta, double part,
                              const ql_arch *a, const ql_stack *s, ql_rope *out) {
    return read_object(o, what, theta, part, 0, a, s, out);
}

ql_status ql_read_rope(const json_t *c, const char *what, const char *theta_key, double part,
                       const ql_arch *a, const ql_stack *s, ql_rope *out) {
    double theta = 10000.0;
    int64_t l0 = 0;
    QL_TRY(ql_json_get_i64(c, what, "original_max_position_embeddings", 1, 1 << 28, &l0));
    QL_TRY(ql_json_get_f64(c, what, theta_key, 1.0, 1e12, &theta));
    QL_TRY(ql_json_get_f64(c, what, "partial_rotary_factor", 0.01, 1.0, &part));
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    const json_t *o = NULL;
    for (int i = 0; i < 2 && !o; i++) {
        o = json_object_get(c, keys[i]);
        if (json_is_null(o)) o = NULL;
        if (o && !json_is_object(o))
            return QL_FAIL(QL_ERR_FORMAT, "%s: key '%s' must be an object or null", what, keys[i]);
    }
    return read_object(o, what, theta, part, l0, a, s, out);
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

ql_status ql_read_tokens(const json_t *c, const char *what, ql_arch *a) {
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

ql_status ql_read_labels(const json_t *c, const char *what, ql_arch *a) {
    int64_t n = 2;
    const json_t *names = json_object_get(c, "id2label");
    if (json_is_object(names) && json_object_size(names)) n = (int64_t)json_object_size(names);
    QL_TRY(ql_json_get_i64(c, what, "num_labels", 1, 1 << 16, &n));
    if (n < 1 || n > 1 << 16)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %lld labels, expected 1 to 65536", what, (long long)n);
    a->n_labels = (int32_t)n;
    const char *problem = NULL;
    QL_TRY(ql_json_get_str(c, what, "problem_type", &problem));
    bool regression = problem && !strcmp(problem, "regression");
    if (problem && !regression && strcmp(problem, "single_label_classification") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: problem_type '%.40s' is not supported (single_label_classification, "
                       "regression)",
                       what, problem);
    if (regression && n != 1)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: problem_type 'regression' with %lld labels is not supported; one "
                       "number is learned",
                       what, (long long)n);
    return ql_json_get_f64(c, what, "initializer_range", 0.0, 100.0, &a->init_range);
}
