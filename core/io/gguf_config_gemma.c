/*
 * gguf_config_gemma.c - config.json of Gemma, Gemma 2 and Gemma 3 (text).
 */
#include <math.h>

#include "core/io/gguf_arch.h"

static ql_status add_common(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b, s:f}", "hidden_size",
                  (json_int_t)k->hidden, "intermediate_size", (json_int_t)k->ffn,
                  "num_hidden_layers", (json_int_t)k->layers, "num_attention_heads",
                  (json_int_t)k->heads, "num_key_value_heads", (json_int_t)k->kv_heads, "head_dim",
                  (json_int_t)k->head_dim, "max_position_embeddings", (json_int_t)k->context,
                  "rms_norm_eps", k->eps, "hidden_activation", "gelu_pytorch_tanh",
                  "attention_bias", ql_gguf_any_tensor(s, ".attn_q.bias"), "attention_dropout",
                  0.0));
}

ql_status ql_gguf_config_gemma(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    QL_TRY(add_common(s, k, config));
    return ql_gguf_config_add(s, config, json_pack("{s:s}", "hidden_act", "gelu_pytorch_tanh"));
}

/* The number whose inverse root scales the scores. Files say it in attention.scale or not at all:
 * then it is the head size, but for the largest model of each generation, where it is the width per
 * head (144 and 168). */
static ql_status add_query_scalar(const ql_source *s, const ql_gguf_keys *k, int64_t largest,
                                  json_t *config) {
    double scale = 0.0,
           scalar = (double)(k->layers == largest ? k->hidden / k->heads : k->head_dim);
    if (ql_gguf_arch_has(s, "attention.scale")) {
        QL_TRY(ql_gguf_arch_real(s, "attention.scale", &scale));
        scalar = 1.0 / (scale * scale);
    }
    double whole = nearbyint(scalar);
    bool is_whole = whole < 1e6 && (float)(1.0 / sqrt(whole)) == (float)(1.0 / sqrt(scalar));
    json_t *value = is_whole ? json_integer((json_int_t)whole) : json_real(scalar);
    return ql_gguf_config_add(s, config, json_pack("{s:o}", "query_pre_attn_scalar", value));
}

/* layer_types: attention.sliding_window_pattern is a list with a flag per layer, or a period whose
 * last layer is global. */
static ql_status layer_types(const ql_source *s, const ql_gguf_keys *k, int64_t period,
                             json_t **out) {
    static const char key[] = "attention.sliding_window_pattern";
    int64_t flags = ql_gguf_arch_len(s, key);
    if (flags >= 0 && flags != k->layers) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld entries for %lld layers", s->path, key,
                       (long long)flags, (long long)k->layers);
    }
    if (flags < 0) QL_TRY(ql_gguf_arch_int(s, key, 1, QL_GGUF_MAX_LAYERS, &period));
    json_t *list = json_array();
    ql_status st = list ? QL_OK : QL_NOMEM(s->path);
    for (int64_t i = 0; i < k->layers && st == QL_OK; i++) {
        bool local = (i + 1) % period != 0;
        if (flags >= 0) st = ql_gguf_arch_flag(s, key, i, &local);
        if (st != QL_OK) break;
        json_t *name = json_string(local ? "sliding_attention" : "full_attention");
        if (json_array_append_new(list, name) != 0) st = QL_NOMEM(s->path);
    }
    if (st != QL_OK) {
        json_decref(list);
        return st;
    }
    *out = list;
    return QL_OK;
}

static ql_status real_or_null(const ql_source *s, const char *name, json_t **out) {
    double x = 1.0;
    *out = NULL;
    if (ql_gguf_arch_has(s, name)) QL_TRY(ql_gguf_arch_real(s, name, &x));
    *out = ql_gguf_arch_has(s, name) ? json_real(ql_gguf_six_digits(x)) : json_null();
    return *out ? QL_OK : QL_NOMEM(s->path);
}

ql_status ql_gguf_config_gemma2(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    double scores = 50.0, logits = 30.0;
    json_t *types = NULL;
    QL_TRY(add_common(s, k, config));
    QL_TRY(add_query_scalar(s, k, 46, config));
    QL_TRY(ql_gguf_arch_real(s, "attn_logit_softcapping", &scores));
    QL_TRY(ql_gguf_arch_real(s, "final_logit_softcapping", &logits));
    QL_TRY(layer_types(s, k, 2, &types));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:f, s:f, s:I, s:o}", "attn_logit_softcapping", ql_gguf_six_digits(scores),
                  "final_logit_softcapping", ql_gguf_six_digits(logits), "sliding_window",
                  (json_int_t)(k->window > 0 ? k->window : 4096), "layer_types", types));
}

/* A file without attention.sliding_window has global layers only. */
ql_status ql_gguf_config_gemma3(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    double local = 10000.0;
    json_t *types = NULL, *scores = NULL, *logits = NULL;
    QL_TRY(add_common(s, k, config));
    QL_TRY(add_query_scalar(s, k, 62, config));
    QL_TRY(ql_gguf_arch_real(s, "rope.freq_base_swa", &local));
    QL_TRY(real_or_null(s, "attn_logit_softcapping", &scores));
    QL_TRY(ql_gguf_config_add(s, config, json_pack("{s:o}", "attn_logit_softcapping", scores)));
    QL_TRY(real_or_null(s, "final_logit_softcapping", &logits));
    QL_TRY(ql_gguf_config_add(s, config, json_pack("{s:o}", "final_logit_softcapping", logits)));
    QL_TRY(layer_types(s, k, k->window > 0 ? 6 : 1, &types));
    json_t *window = json_integer(k->window > 0 ? k->window : k->context);
    return ql_gguf_config_add(s, config,
                              json_pack("{s:f, s:o, s:o, s:b}", "rope_local_base_freq", local,
                                        "sliding_window", window, "layer_types", types,
                                        "use_bidirectional_attention", false));
}
