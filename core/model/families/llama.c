/*
 * llama.c - LLaMA 1/2/3, SmolLM, Mistral, Qwen2/2.5, Qwen3 and Phi-3 (spec/models.md, section 3).
 *
 * h = embed[ids]; per layer: h += o(attn(norm1 h)); n = norm2 h; h += down(silu(gate n) * up n).
 */
#include "core/model/families/families.h"

static ql_status read_llama_like(const json_t *c, const char *what, double eps, ql_arch *a) {
    ql_stack *s = &a->body;
    ql_arch_decoder(a, "model.", "model.embed_tokens.weight", "lm_head");
    QL_TRY(ql_read_sizes(c, what, &ql_hf_sizes, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_RMS;
    QL_TRY(ql_read_eps(c, what, "rms_norm_eps", eps, a));
    s->act = QL_ACT_SILU;
    QL_TRY(ql_read_activation(c, what, "hidden_act", &s->act));
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    QL_TRY(ql_read_rope(c, what, "rope_theta", 1.0, a, s, &s->rope));
    ql_arch_llama_parts(s, false, false);
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    return ql_read_tokens(c, what, a);
}

/* Every layer uses the window. */
static void window_everywhere(ql_stack *s) {
    for (int32_t i = 0; i < s->layers; i++) s->local[i] = s->window > 0;
}

ql_status ql_arch_llama(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_llama_like(c, what, 1e-6, a));
    bool attention = false, mlp = false;
    QL_TRY(ql_json_get_bool(c, what, "attention_bias", &attention));
    QL_TRY(ql_json_get_bool(c, what, "mlp_bias", &mlp));
    ql_arch_llama_parts(&a->body, attention, attention);
    for (int k = QL_LIN_GATE; k <= QL_LIN_DOWN; k++) a->body.lin[k].bias = mlp;
    return QL_OK;
}

ql_status ql_arch_mistral(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_llama_like(c, what, 1e-6, a));
    a->body.window = 4096;
    QL_TRY(ql_read_window(c, what, &a->body.window));
    window_everywhere(&a->body);
    return QL_OK;
}

/* Qwen's window: layer_types, or every layer from max_window_layers on; only if it is used. */
static ql_status read_qwen_window(const json_t *c, const char *what, ql_stack *s) {
    bool used = false, types = false;
    int64_t from = 28;
    QL_TRY(ql_json_get_bool(c, what, "use_sliding_window", &used));
    if (!used) return QL_OK;
    s->window = 4096;
    QL_TRY(ql_read_window(c, what, &s->window));
    QL_TRY(ql_json_get_i64(c, what, "max_window_layers", 0, QL_MAX_LAYERS, &from));
    QL_TRY(ql_read_layer_types(c, what, s, &types));
    for (int32_t i = 0; i < s->layers && !types; i++) s->local[i] = s->window > 0 && i >= from;
    return QL_OK;
}

ql_status ql_arch_qwen2(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_llama_like(c, what, 1e-6, a));
    ql_arch_llama_parts(&a->body, true, false);
    return read_qwen_window(c, what, &a->body);
}

ql_status ql_arch_qwen3(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_llama_like(c, what, 1e-6, a));
    if (!ql_json_has(c, "head_dim"))
        return QL_FAIL(QL_ERR_FORMAT, "%s: key 'head_dim' is missing for a qwen3 model", what);
    bool attention = false;
    QL_TRY(ql_json_get_bool(c, what, "attention_bias", &attention));
    ql_arch_llama_parts(&a->body, attention, attention);
    a->body.norm[QL_NORM_Q] = "self_attn.q_norm";
    a->body.norm[QL_NORM_K] = "self_attn.k_norm";
    return read_qwen_window(c, what, &a->body);
}

ql_status ql_arch_phi3(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_llama_like(c, what, 1e-5, a));
    ql_stack *s = &a->body;
    const ql_lin_role fused[] = {QL_LIN_Q, QL_LIN_K, QL_LIN_V, QL_LIN_GATE, QL_LIN_UP};
    for (int i = 0; i < 5; i++) s->lin[fused[i]].name = NULL;
    s->lin[QL_LIN_QKV].name = "self_attn.qkv_proj";
    s->lin[QL_LIN_GATE_UP].name = "mlp.gate_up_proj";
    s->fuse = QL_FUSE_BLOCKS;
    QL_TRY(ql_read_dropout(c, what, "resid_pdrop", &a->drop.resid));
    QL_TRY(ql_read_window(c, what, &s->window));
    window_everywhere(s);
    return QL_OK;
}
