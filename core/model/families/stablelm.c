/* stablelm.c - StableLM: llama's block with LayerNorm, partial rotation and, optionally, attention
 * and MLP side by side behind one norm. */
#include "core/model/families/families.h"

ql_status ql_arch_stablelm(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool bias = false;
    ql_arch_decoder(a, "model.", "model.embed_tokens.weight", "lm_head");
    QL_TRY(ql_read_sizes(c, what, &ql_hf_sizes, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_eps", 1e-5, a));
    s->act = QL_ACT_SILU;
    QL_TRY(ql_read_activation(c, what, "hidden_act", &s->act));
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    QL_TRY(ql_json_get_bool(c, what, "use_qkv_bias", &bias));
    QL_TRY(ql_json_get_bool(c, what, "use_parallel_residual", &s->parallel));
    QL_TRY(ql_read_rope(c, what, "rope_theta", 0.25, a, s, &s->rope));
    ql_arch_llama_parts(s, bias, false);
    if (s->parallel) s->norm[QL_NORM_MLP] = NULL;
    QL_TRY(ql_json_get_bool(c, what, "qk_layernorm", &s->own_head_norms));
    if (s->own_head_norms) {
        s->norm[QL_NORM_Q] = "self_attn.q_layernorm.norms";
        s->norm[QL_NORM_K] = "self_attn.k_layernorm.norms";
    }
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "hidden_dropout", &a->drop.resid));
    return ql_read_tokens(c, what, a);
}
