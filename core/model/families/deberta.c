/*
 * deberta.c - DeBERTa-v2 and v3 for classification (spec/models.md, section 4).
 *
 * BERT's block; scores add q_i . K[r] and k_j . Q[r], where K and Q are key_proj and query_proj of
 * a normalized table of relative positions and r is the (bucketed) distance i - j.
 */
#include <math.h>
#include <string.h>

#include "core/model/families/families.h"

/* "c2p|p2c" or ["c2p", "p2c"]. */
static ql_status read_terms(const json_t *c, const char *what, ql_stack *s) {
    const json_t *v = json_object_get(c, "pos_att_type");
    if (json_is_string(v)) {
        s->c2p = strstr(json_string_value(v), "c2p") != NULL;
        s->p2c = strstr(json_string_value(v), "p2c") != NULL;
        return QL_OK;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *term = json_string_value(json_array_get(v, i));
        if (!term || (strcmp(term, "c2p") != 0 && strcmp(term, "p2c") != 0))
            return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: pos_att_type names '%.32s' (c2p, p2c)", what,
                           term ? term : "(no text)");
        if (!strcmp(term, "c2p"))
            s->c2p = true;
        else
            s->p2c = true;
    }
    return QL_OK;
}

/* The table of relative positions: span P, bucketed when position_buckets > 0. */
static ql_status read_relative(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    const char *norm = "none";
    bool on = false, share = false;
    int64_t buckets = -1, most = -1;
    QL_TRY(ql_json_get_bool(c, what, "relative_attention", &on));
    if (!on) return QL_OK;
    QL_TRY(ql_json_get_bool(c, what, "share_att_key", &share));
    QL_TRY(ql_json_get_i64(c, what, "position_buckets", -1, 1 << 16, &buckets));
    QL_TRY(ql_json_get_i64(c, what, "max_relative_positions", -1, 1 << 20, &most));
    QL_TRY(ql_json_get_str(c, what, "norm_rel_ebd", &norm));
    if (strcmp(norm, "none") != 0 && strcmp(norm, "layer_norm") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: norm_rel_ebd '%.32s' (none, layer_norm)", what,
                       norm);
    QL_TRY(read_terms(c, what, s));
    s->relative = QL_REL_DEBERTA;
    s->max_distance = most < 1 ? s->front.position_rows : most;
    s->bucketed = buckets > 0;
    s->buckets = (int32_t)(s->bucketed ? buckets : s->max_distance);
    s->rel_table = "deberta.encoder.rel_embeddings.weight";
    if (!strcmp(norm, "layer_norm")) s->rel_norm = "deberta.encoder.LayerNorm";
    if (share) return QL_OK;
    if (s->c2p) s->lin[QL_LIN_POS_K] = (ql_part){"attention.self.pos_key_proj", true, false};
    if (s->p2c) s->lin[QL_LIN_POS_Q] = (ql_part){"attention.self.pos_query_proj", true, false};
    return QL_OK;
}

static ql_status read_front(const json_t *c, const char *what, ql_arch *a) {
    ql_front *f = &a->body.front;
    bool positions = true;
    int64_t width = a->hidden;
    f->type_rows = 0;
    QL_TRY(ql_json_get_i64(c, what, "type_vocab_size", 0, 1 << 16, &f->type_rows));
    QL_TRY(ql_json_get_bool(c, what, "position_biased_input", &positions));
    QL_TRY(ql_json_get_i64(c, what, "embedding_size", 1, 1 << 20, &width));
    f->width = width;
    if (width != a->hidden) f->project = "deberta.embeddings.embed_proj";
    f->tokens = "deberta.embeddings.word_embeddings.weight";
    f->norm = "deberta.embeddings.LayerNorm";
    f->position_rows = a->max_positions;
    if (f->type_rows > 0) f->types = "deberta.embeddings.token_type_embeddings.weight";
    if (!positions) return QL_OK;
    f->positions = "deberta.embeddings.position_embeddings.weight";
    f->rule = QL_POS_INDEX;
    return QL_OK;
}

ql_status ql_arch_deberta(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    int64_t conv = 0, pooled;
    const ql_size_keys keys = {"hidden_size", "num_hidden_layers", "num_attention_heads", NULL,
                               NULL,          "intermediate_size"};
    a->task = QL_TASK_CLASSIFY;
    a->base_prefix = "deberta.";
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    QL_TRY(ql_json_get_i64(c, what, "conv_kernel_size", 0, 64, &conv));
    if (conv > 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: conv_kernel_size %lld: convolution layers are not supported", what,
                       (long long)conv);
    pooled = a->hidden;
    QL_TRY(ql_json_get_i64(c, what, "pooler_hidden_size", 1, 1 << 20, &pooled));
    if (pooled != a->hidden)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: pooler_hidden_size %lld differs from hidden_size",
                       what, (long long)pooled);
    QL_TRY(ql_read_labels(c, what, a));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    s->post_norm = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_eps", 1e-7, a));
    s->act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "hidden_act", &s->act));
    s->layer = "deberta.encoder.layer.%d";
    s->lin[QL_LIN_Q] = (ql_part){"attention.self.query_proj", true, false};
    s->lin[QL_LIN_K] = (ql_part){"attention.self.key_proj", true, false};
    s->lin[QL_LIN_V] = (ql_part){"attention.self.value_proj", true, false};
    s->lin[QL_LIN_O] = (ql_part){"attention.output.dense", true, false};
    s->lin[QL_LIN_UP] = (ql_part){"intermediate.dense", true, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"output.dense", true, false};
    s->norm[QL_NORM_ATTN] = "attention.output.LayerNorm";
    s->norm[QL_NORM_MLP] = "output.LayerNorm";
    QL_TRY(read_front(c, what, a));
    QL_TRY(read_relative(c, what, a));
    s->attn_scale = (float)(1.0 / sqrt((double)s->head_dim * (1 + s->c2p + s->p2c)));
    a->head.dense = "pooler.dense";
    a->head.act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "pooler_hidden_act", &a->head.act));
    a->head.linear = "classifier";
    a->head.bias = true;
    a->drop.resid = a->drop.attn = 0.1f;
    QL_TRY(ql_read_dropout(c, what, "hidden_dropout_prob", &a->drop.resid));
    QL_TRY(ql_read_dropout(c, what, "attention_probs_dropout_prob", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "pooler_dropout", &a->drop.head_in));
    a->drop.embed = a->drop.head_out = a->drop.resid;
    QL_TRY(ql_read_dropout(c, what, "cls_dropout", &a->drop.head_out));
    a->ignored[0] = "lm_predictions.";
    a->ignored[1] = "mask_predictions.";
    a->ignored[2] = "cls.";
    return ql_read_tokens(c, what, a);
}
