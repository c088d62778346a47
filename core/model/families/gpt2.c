/*
 * gpt2.c - GPT-2 (spec/models.md, section 3): learned positions, weights stored [in, out] (Conv1D),
 * one matrix for q, k and v.
 */
#include "core/model/families/families.h"

ql_status ql_arch_gpt2(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool scaled = true;
    const ql_size_keys keys = {"n_embd", "n_layer", "n_head", NULL, NULL, NULL};
    ql_arch_decoder(a, "transformer.", "transformer.wte.weight", "lm_head");
    QL_TRY(ql_refuse_flag(c, what, "scale_attn_by_inverse_layer_idx", true));
    QL_TRY(ql_refuse_flag(c, what, "add_cross_attention", true));
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    a->max_positions = 1024;
    QL_TRY(ql_json_get_i64(c, what, "n_positions", 1, 1 << 28, &a->max_positions));
    s->ffn = 4 * a->hidden;
    QL_TRY(ql_json_get_i64(c, what, "n_inner", 1, 1 << 22, &s->ffn));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_epsilon", 1e-5, a));
    s->act = QL_ACT_GELU_TANH;
    QL_TRY(ql_read_activation(c, what, "activation_function", &s->act));
    QL_TRY(ql_json_get_bool(c, what, "scale_attn_weights", &scaled));
    if (!scaled) s->attn_scale = 1.0f;
    a->tied_head = true;
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    s->layer = "transformer.h.%d";
    s->transposed = true;
    s->fuse = QL_FUSE_BLOCKS;
    s->lin[QL_LIN_QKV] = (ql_part){"attn.c_attn", true, false};
    s->lin[QL_LIN_O] = (ql_part){"attn.c_proj", true, false};
    s->lin[QL_LIN_UP] = (ql_part){"mlp.c_fc", true, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"mlp.c_proj", true, false};
    s->norm[QL_NORM_ATTN] = "ln_1";
    s->norm[QL_NORM_MLP] = "ln_2";
    s->final_norm = "transformer.ln_f";
    s->front.positions = "transformer.wpe.weight";
    s->front.rule = QL_POS_INDEX;
    s->front.position_rows = a->max_positions;
    a->drop = (ql_dropouts){.embed = 0.1f, .attn = 0.1f, .resid = 0.1f};
    QL_TRY(ql_read_dropout(c, what, "embd_pdrop", &a->drop.embed));
    QL_TRY(ql_read_dropout(c, what, "attn_pdrop", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "resid_pdrop", &a->drop.resid));
    return ql_read_tokens(c, what, a);
}
