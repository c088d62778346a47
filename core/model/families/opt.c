/*
 * opt.c - OPT (spec/models.md, section 3): learned positions from row 2 on, norms before or after
 * the sublayers, embeddings of another width through project_in and project_out.
 */
#include "core/model/families/families.h"

ql_status ql_arch_opt(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool before = true, bias = true, no_last = false;
    const ql_size_keys keys = {
        "hidden_size", "num_hidden_layers", "num_attention_heads", NULL, NULL, "ffn_dim"};
    ql_arch_decoder(a, "model.", "model.decoder.embed_tokens.weight", "lm_head");
    QL_TRY(ql_refuse_flag(c, what, "layer_norm_elementwise_affine", false));
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_LAYER;
    a->norm_eps = 1e-5f;
    s->norm_bias = true;
    s->act = QL_ACT_RELU;
    QL_TRY(ql_read_activation(c, what, "activation_function", &s->act));
    a->tied_head = true;
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    QL_TRY(ql_json_get_bool(c, what, "do_layer_norm_before", &before));
    QL_TRY(ql_json_get_bool(c, what, "enable_bias", &bias));
    QL_TRY(ql_json_get_bool(c, what, "_remove_final_layer_norm", &no_last));
    QL_TRY(ql_json_get_i64(c, what, "word_embed_proj_dim", 1, 1 << 20, &s->front.width));
    if (s->front.width != a->hidden) {
        s->front.project_first = true;
        s->front.project = "model.decoder.project_in";
        a->head.project = "model.decoder.project_out";
    }
    s->layer = "model.decoder.layers.%d";
    s->post_norm = !before;
    s->lin[QL_LIN_Q] = (ql_part){"self_attn.q_proj", bias, false};
    s->lin[QL_LIN_K] = (ql_part){"self_attn.k_proj", bias, false};
    s->lin[QL_LIN_V] = (ql_part){"self_attn.v_proj", bias, false};
    s->lin[QL_LIN_O] = (ql_part){"self_attn.out_proj", bias, false};
    s->lin[QL_LIN_UP] = (ql_part){"fc1", bias, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"fc2", bias, false};
    s->norm[QL_NORM_ATTN] = "self_attn_layer_norm";
    s->norm[QL_NORM_MLP] = "final_layer_norm";
    if (before && !no_last) s->final_norm = "model.decoder.final_layer_norm";
    s->front.positions = "model.decoder.embed_positions.weight";
    s->front.rule = QL_POS_INDEX;
    s->front.position_offset = 2;
    s->front.position_rows = a->max_positions + 2;
    a->drop.resid = 0.1f;
    QL_TRY(ql_read_dropout(c, what, "dropout", &a->drop.resid));
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    return ql_read_tokens(c, what, a);
}
