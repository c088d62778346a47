/*
 * gguf_config_llama.c - config.json of Llama, Mistral, Qwen 2 and 3, Phi-3, StableLM.
 */
#include <math.h>

#include "core/io/gguf_arch.h"

/* Sizes under the names that most families share. */
static json_t *sizes(const ql_gguf_keys *k, const char *eps_key) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:f}", "hidden_size",
                     (json_int_t)k->hidden, "intermediate_size", (json_int_t)k->ffn,
                     "num_hidden_layers", (json_int_t)k->layers, "num_attention_heads",
                     (json_int_t)k->heads, "num_key_value_heads", (json_int_t)k->kv_heads,
                     "max_position_embeddings", (json_int_t)k->context, eps_key, k->eps,
                     "hidden_act", "silu", "attention_dropout", 0.0);
}

ql_status ql_gguf_config_llama(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    QL_TRY(ql_gguf_config_add(s, config, sizes(k, "rms_norm_eps")));
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    bool attention =
        ql_gguf_any_tensor(s, ".attn_q.bias") || ql_gguf_any_tensor(s, ".attn_k.bias") ||
        ql_gguf_any_tensor(s, ".attn_v.bias") || ql_gguf_any_tensor(s, ".attn_output.bias");
    bool mlp = ql_gguf_any_tensor(s, ".ffn_gate.bias") || ql_gguf_any_tensor(s, ".ffn_up.bias") ||
               ql_gguf_any_tensor(s, ".ffn_down.bias");
    QL_TRY(ql_gguf_config_add(s, config,
                              json_pack("{s:I, s:b, s:b, s:f}", "head_dim", (json_int_t)k->head_dim,
                                        "attention_bias", attention, "mlp_bias", mlp,
                                        "initializer_range", 1.0 / sqrt((double)k->hidden))));
    if (k->window == 0) return QL_OK;
    /* only transformers' mistral knows a window */
    return ql_gguf_config_add(s, config,
                              json_pack("{s:I, s:s, s:[s]}", "sliding_window",
                                        (json_int_t)k->window, "model_type", "mistral",
                                        "architectures", "MistralForCausalLM"));
}

/* q, k and v of a Qwen 2 have biases in every file; core/model asks for them. */
ql_status ql_gguf_config_qwen2(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    if (k->head_dim * k->heads != k->hidden) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: %lld heads of %lld do not make the width %lld of a qwen2 model",
                       s->path, (long long)k->heads, (long long)k->head_dim, (long long)k->hidden);
    }
    QL_TRY(ql_gguf_config_add(s, config, sizes(k, "rms_norm_eps")));
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    return ql_gguf_config_add(
        s, config, json_pack("{s:b, s:n}", "use_sliding_window", false, "sliding_window"));
}

ql_status ql_gguf_config_qwen3(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    QL_TRY(ql_gguf_config_add(s, config, sizes(k, "rms_norm_eps")));
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    return ql_gguf_config_add(s, config,
                              json_pack("{s:I, s:b, s:b, s:n}", "head_dim", (json_int_t)k->head_dim,
                                        "attention_bias", ql_gguf_any_tensor(s, ".attn_q.bias"),
                                        "use_sliding_window", false, "sliding_window"));
}

ql_status ql_gguf_config_phi3(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    int64_t original = k->context;
    json_t *scaling = NULL;
    QL_TRY(ql_gguf_arch_int(s, "rope.scaling.original_context_length", 2, INT32_MAX, &original));
    QL_TRY(ql_gguf_rope_longrope(s, k, original, &scaling));
    QL_TRY(ql_gguf_config_add(s, config,
                              json_pack("{s:f, s:o, s:I, s:f}", "rope_theta", k->theta,
                                        "rope_scaling", scaling ? scaling : json_null(),
                                        "original_max_position_embeddings", (json_int_t)original,
                                        "partial_rotary_factor", ql_gguf_rotary_part(k))));
    QL_TRY(ql_gguf_config_add(s, config, sizes(k, "rms_norm_eps")));
    json_t *window = k->window > 0 ? json_integer(k->window) : json_null();
    return ql_gguf_config_add(s, config,
                              json_pack("{s:o, s:f, s:f}", "sliding_window", window, "embd_pdrop",
                                        0.0, "resid_pdrop", 0.0));
}

/* Old files claim use_parallel_residual for every model; a model without a second norm is one. */
ql_status ql_gguf_config_stablelm(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    QL_TRY(ql_gguf_config_add(s, config, sizes(k, "layer_norm_eps")));
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:f, s:b, s:b, s:b, s:f}", "partial_rotary_factor", ql_gguf_rotary_part(k),
                  "use_parallel_residual", !ql_gguf_any_tensor(s, ".ffn_norm.weight"),
                  "use_qkv_bias", ql_gguf_any_tensor(s, ".attn_q.bias"), "qk_layernorm",
                  ql_gguf_any_tensor(s, ".attn_q_norm.weight"), "hidden_dropout", 0.0));
}
