/*
 * gguf_config_gpt.c - config.json of GPT-NeoX (Pythia), GPT-2 and Falcon.
 */
#include <string.h>

#include "core/io/gguf_arch.h"

ql_status ql_gguf_config_gptneox(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    bool parallel = true;
    if (!ql_gguf_arch_has(s, "use_parallel_residual")) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: the key 'gptneox.use_parallel_residual' is missing",
                       s->path);
    }
    QL_TRY(ql_gguf_arch_bool(s, "use_parallel_residual", &parallel));
    if (k->kv_heads != k->heads) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: a gptneox model with %lld key heads for %lld",
                       s->path, (long long)k->kv_heads, (long long)k->heads);
    }
    QL_TRY(ql_gguf_config_rope(s, k, "rotary_emb_base", config));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:f, s:b, s:b, s:f, s:f}", "hidden_size",
                  (json_int_t)k->hidden, "intermediate_size", (json_int_t)k->ffn,
                  "num_hidden_layers", (json_int_t)k->layers, "num_attention_heads",
                  (json_int_t)k->heads, "max_position_embeddings", (json_int_t)k->context,
                  "layer_norm_eps", k->eps, "hidden_act", "gelu", "rotary_pct",
                  ql_gguf_rotary_part(k), "use_parallel_residual", parallel, "attention_bias",
                  ql_gguf_any_tensor(s, ".attn_qkv.bias"), "attention_dropout", 0.0,
                  "hidden_dropout", 0.0));
}

ql_status ql_gguf_config_gpt2(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:f, s:f, s:f}", "n_embd",
                  (json_int_t)k->hidden, "n_layer", (json_int_t)k->layers, "n_head",
                  (json_int_t)k->heads, "n_inner", (json_int_t)k->ffn, "n_positions",
                  (json_int_t)k->context, "layer_norm_epsilon", k->eps, "activation_function",
                  "gelu_new", "attn_pdrop", 0.0, "embd_pdrop", 0.0, "resid_pdrop", 0.0));
}

/* One key head and one norm are Falcon 7B; groups of heads or a norm of its own for the attention
 * are the new decoder of 40B and 11B. */
ql_status ql_gguf_config_falcon(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    static const char layout_key[] = "tensor_data_layout";
    ql_str layout = {"jploski", 7};
    QL_TRY(ql_gguf_arch_str(s, layout_key, &layout));
    if (layout.len != 7 || memcmp(layout.s, "jploski", 7) != 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: falcon.%s is '%.*s', 'jploski' was expected",
                       s->path, layout_key, (int)(layout.len > 64 ? 64 : layout.len), layout.s);
    }
    bool grouped = k->kv_heads > 1 || k->variant;
    QL_TRY(ql_gguf_config_rope(s, k, "rope_theta", config));
    QL_TRY(ql_gguf_config_add(s, config,
                              json_pack("{s:b, s:b, s:b, s:b, s:I, s:o}",
                                        "new_decoder_architecture", grouped, "multi_query", true,
                                        "parallel_attn", true, "alibi", false, "num_kv_heads",
                                        (json_int_t)k->kv_heads, "num_ln_in_parallel_attn",
                                        grouped ? json_integer(k->variant ? 2 : 1) : json_null())));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b, s:f, s:f}", "hidden_size",
                  (json_int_t)k->hidden, "ffn_hidden_size", (json_int_t)k->ffn, "num_hidden_layers",
                  (json_int_t)k->layers, "num_attention_heads", (json_int_t)k->heads,
                  "max_position_embeddings", (json_int_t)k->context, "layer_norm_epsilon", k->eps,
                  "activation", "gelu", "bias", ql_gguf_any_tensor(s, ".attn_qkv.bias"),
                  "attention_dropout", 0.0, "hidden_dropout", 0.0));
}
