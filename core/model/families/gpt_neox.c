/*
 * gpt_neox.c - GPT-NeoX and Pythia (spec/models.md, section 3).
 *
 * h = h + attn(ln1 h) + mlp(ln2 h) with use_parallel_residual, one after the other without. The
 * fused projection goes by head: q, k, v of head 0, of head 1, ...
 */
#include "core/model/families/families.h"

ql_status ql_arch_gpt_neox(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool bias = true;
    double part = 0.25;
    const ql_size_keys keys = {"hidden_size", "num_hidden_layers", "num_attention_heads", NULL,
                               NULL,          "intermediate_size"};
    ql_arch_decoder(a, "gpt_neox.", "gpt_neox.embed_in.weight", "embed_out");
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_eps", 1e-5, a));
    s->act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "hidden_act", &s->act));
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    s->parallel = true;
    QL_TRY(ql_json_get_bool(c, what, "use_parallel_residual", &s->parallel));
    QL_TRY(ql_json_get_bool(c, what, "attention_bias", &bias));
    QL_TRY(ql_json_get_f64(c, what, "rotary_pct", 0.01, 1.0, &part));
    QL_TRY(ql_read_rope(c, what, "rotary_emb_base", part, a, s, &s->rope));
    s->layer = "gpt_neox.layers.%d";
    s->fuse = QL_FUSE_GROUPS;
    s->lin[QL_LIN_QKV] = (ql_part){"attention.query_key_value", bias, false};
    s->lin[QL_LIN_O] = (ql_part){"attention.dense", bias, false};
    s->lin[QL_LIN_UP] = (ql_part){"mlp.dense_h_to_4h", true, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"mlp.dense_4h_to_h", true, false};
    s->norm[QL_NORM_ATTN] = "input_layernorm";
    s->norm[QL_NORM_MLP] = "post_attention_layernorm";
    s->final_norm = "gpt_neox.final_layer_norm";
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "hidden_dropout", &a->drop.resid));
    a->drop.embed = a->drop.resid;
    return ql_read_tokens(c, what, a);
}
