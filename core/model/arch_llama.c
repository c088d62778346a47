/*
 * arch_llama.c - LLaMA 1/2/3, SmolLM and Mistral (spec/models.md, section 3).
 *
 * h = embed[ids]; per layer: h += o(attn(norm1 h)); n = norm2 h; h += down(silu(gate n) * up n).
 */
#include "core/model/families.h"

static ql_status read_common(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(ql_arch_sizes(c, what, a));
    a->norm = QL_NORM_RMS;
    a->act = QL_ACT_SILU;
    double eps = 1e-6;
    QL_TRY(ql_json_get_f64(c, what, "rms_norm_eps", 0.0, 1.0, &eps));
    a->norm_eps = (float)eps;
    QL_TRY(ql_arch_activation(c, what, "hidden_act", &a->act));
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    QL_TRY(ql_arch_rope(c, what, a));
    return ql_arch_tokens(c, what, a);
}

ql_status ql_arch_llama(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_common(c, what, a));
    bool attention_bias = false;
    QL_TRY(ql_json_get_bool(c, what, "attention_bias", &attention_bias));
    QL_TRY(ql_json_get_bool(c, what, "mlp_bias", &a->bias_mlp));
    a->bias_qkv = a->bias_o = attention_bias;
    return QL_OK;
}

ql_status ql_arch_mistral(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_common(c, what, a));
    int64_t window = 4096;
    const json_t *v = json_object_get(c, "sliding_window");
    if (json_is_null(v)) window = 0; /* null: no window; absent: the default */
    QL_TRY(ql_json_get_i64(c, what, "sliding_window", 0, 1 << 28, &window));
    a->window = (int32_t)window;
    return QL_OK;
}
