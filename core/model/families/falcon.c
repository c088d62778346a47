/*
 * falcon.c - Falcon 7B (one key-value head, one norm for attention and MLP side by side), 40B and
 * 11B (groups of query heads, one or two norms) and the sequential variants.
 */
#include "core/model/families/families.h"

/* How many key-value heads, and how the fused projection's rows go. */
static ql_status read_fuse(const json_t *c, const char *what, bool grouped, ql_stack *s) {
    bool one = true;
    int64_t kv = s->heads;
    QL_TRY(ql_json_get_bool(c, what, "multi_query", &one));
    if (grouped) {
        QL_TRY(ql_json_get_i64(c, what, "num_kv_heads", 1, 4096, &kv));
        if (s->heads % kv)
            return QL_FAIL(QL_ERR_FORMAT, "%s: %d heads are not a multiple of num_kv_heads %lld",
                           what, s->heads, (long long)kv);
    } else if (one) {
        kv = 1;
    }
    s->kv_heads = (int32_t)kv;
    s->fuse = !grouped && one ? QL_FUSE_BLOCKS : QL_FUSE_GROUPS;
    return QL_OK;
}

static ql_status read_norms(const json_t *c, const char *what, bool grouped, ql_stack *s) {
    int64_t norms = grouped ? 2 : 1;
    QL_TRY(ql_json_get_i64(c, what, "num_ln_in_parallel_attn", 1, 2, &norms));
    bool two = grouped && norms == 2;
    s->norm[QL_NORM_ATTN] = two ? "ln_attn" : "input_layernorm";
    if (two)
        s->norm[QL_NORM_MLP] = "ln_mlp";
    else if (!s->parallel)
        s->norm[QL_NORM_MLP] = "post_attention_layernorm";
    return QL_OK;
}

ql_status ql_arch_falcon(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool grouped = false, bias = false;
    const ql_size_keys keys = {
        "hidden_size", "num_hidden_layers", "num_attention_heads", NULL, NULL, NULL};
    ql_arch_decoder(a, "transformer.", "transformer.word_embeddings.weight", "lm_head");
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    s->ffn = 4 * a->hidden;
    QL_TRY(ql_json_get_i64(c, what, "ffn_hidden_size", 1, 1 << 22, &s->ffn));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_epsilon", 1e-5, a));
    s->act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "activation", &s->act));
    a->tied_head = true;
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    QL_TRY(ql_json_get_bool(c, what, "new_decoder_architecture", &grouped));
    QL_TRY(ql_json_get_bool(c, what, "bias", &bias));
    s->parallel = true;
    QL_TRY(ql_json_get_bool(c, what, "parallel_attn", &s->parallel));
    s->parallel |= grouped; /* the reference ignores the key then */
    QL_TRY(read_fuse(c, what, grouped, s));
    QL_TRY(read_norms(c, what, grouped, s));
    bool alibi = false;
    QL_TRY(ql_json_get_bool(c, what, "alibi", &alibi));
    if (alibi)
        s->relative = QL_REL_ALIBI;
    else
        QL_TRY(ql_read_rope(c, what, "rope_theta", 1.0, a, s, &s->rope));
    s->layer = "transformer.h.%d";
    s->lin[QL_LIN_QKV] = (ql_part){"self_attention.query_key_value", bias, false};
    s->lin[QL_LIN_O] = (ql_part){"self_attention.dense", bias, false};
    s->lin[QL_LIN_UP] = (ql_part){"mlp.dense_h_to_4h", bias, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"mlp.dense_4h_to_h", bias, false};
    s->final_norm = "transformer.ln_f";
    if (alibi) QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "hidden_dropout", &a->drop.resid));
    return ql_read_tokens(c, what, a);
}
