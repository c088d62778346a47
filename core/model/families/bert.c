/*
 * bert.c - BERT and RoBERTa for classification (spec/models.md, section 4).
 *
 * h = LN(words + positions + types); h = LN(h + attn h); h = LN(h + out(gelu(in h))); the first
 * token's row goes through a dense layer with tanh to the classifier.
 */
#include <string.h>

#include "core/model/families/families.h"

typedef struct names {
    const char *prefix, *words, *positions, *types, *norm, *layer;
} names;

static ql_status read_bert_like(const json_t *c, const char *what, const names *n, ql_arch *a) {
    ql_stack *s = &a->body;
    const char *kind = NULL;
    const ql_size_keys keys = {"hidden_size", "num_hidden_layers", "num_attention_heads", NULL,
                               NULL,          "intermediate_size"};
    a->task = QL_TASK_CLASSIFY;
    a->base_prefix = n->prefix;
    QL_TRY(ql_json_get_str(c, what, "position_embedding_type", &kind));
    if (kind && strcmp(kind, "absolute") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: position_embedding_type '%.32s' is not supported (absolute)", what,
                       kind);
    QL_TRY(ql_refuse_flag(c, what, "is_decoder", true));
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    QL_TRY(ql_read_labels(c, what, a));
    a->norm = QL_NORM_LAYER;
    s->norm_bias = true;
    s->post_norm = true;
    QL_TRY(ql_read_eps(c, what, "layer_norm_eps", 1e-12, a));
    s->act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "hidden_act", &s->act));
    s->layer = n->layer;
    s->lin[QL_LIN_Q] = (ql_part){"attention.self.query", true, false};
    s->lin[QL_LIN_K] = (ql_part){"attention.self.key", true, false};
    s->lin[QL_LIN_V] = (ql_part){"attention.self.value", true, false};
    s->lin[QL_LIN_O] = (ql_part){"attention.output.dense", true, false};
    s->lin[QL_LIN_UP] = (ql_part){"intermediate.dense", true, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"output.dense", true, false};
    s->norm[QL_NORM_ATTN] = "attention.output.LayerNorm";
    s->norm[QL_NORM_MLP] = "output.LayerNorm";
    s->front.tokens = n->words;
    s->front.positions = n->positions;
    s->front.types = n->types;
    s->front.norm = n->norm;
    s->front.rule = QL_POS_INDEX;
    s->front.position_rows = a->max_positions;
    s->front.type_rows = 2;
    QL_TRY(ql_json_get_i64(c, what, "type_vocab_size", 1, 1 << 16, &s->front.type_rows));
    a->head.act = QL_ACT_TANH;
    a->head.bias = true;
    a->drop.resid = a->drop.attn = 0.1f;
    QL_TRY(ql_read_dropout(c, what, "hidden_dropout_prob", &a->drop.resid));
    QL_TRY(ql_read_dropout(c, what, "attention_probs_dropout_prob", &a->drop.attn));
    a->drop.embed = a->drop.head_out = a->drop.resid;
    QL_TRY(ql_read_dropout(c, what, "classifier_dropout", &a->drop.head_out));
    return ql_read_tokens(c, what, a);
}

ql_status ql_arch_bert(const json_t *c, const char *what, ql_arch *a) {
    const names n = {"bert.",
                     "bert.embeddings.word_embeddings.weight",
                     "bert.embeddings.position_embeddings.weight",
                     "bert.embeddings.token_type_embeddings.weight",
                     "bert.embeddings.LayerNorm",
                     "bert.encoder.layer.%d"};
    QL_TRY(read_bert_like(c, what, &n, a));
    a->head.dense = "bert.pooler.dense";
    a->head.linear = "classifier";
    a->ignored[0] = "cls.";
    return QL_OK;
}

ql_status ql_arch_roberta(const json_t *c, const char *what, ql_arch *a) {
    const names n = {"roberta.",
                     "roberta.embeddings.word_embeddings.weight",
                     "roberta.embeddings.position_embeddings.weight",
                     "roberta.embeddings.token_type_embeddings.weight",
                     "roberta.embeddings.LayerNorm",
                     "roberta.encoder.layer.%d"};
    QL_TRY(read_bert_like(c, what, &n, a));
    if (a->pad < 0) a->pad = 1;
    a->body.front.rule = QL_POS_NON_PAD;
    a->body.front.position_offset = a->pad;
    a->max_positions -= a->pad + 1;
    if (a->max_positions < 1)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %lld positions leave none after padding row %d", what,
                       (long long)a->body.front.position_rows, a->pad);
    a->head.dense = "classifier.dense";
    a->head.dense_saved = true;
    a->drop.head_in = a->drop.head_out;
    a->head.linear = "classifier.out_proj";
    a->ignored[0] = "lm_head.";
    a->ignored[1] = "roberta.pooler.";
    return QL_OK;
}
