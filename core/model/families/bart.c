/*
 * bart.c - BART and mBART (spec/models.md, section 5): encoder and decoder with learned positions
 * from row 2 on. BART normalizes after the sublayers, mBART before them and at each stack's end.
 */
#include <math.h>

#include "core/model/families/families.h"

typedef struct side {
    const char *layers, *heads, *ffn; /* keys of config.json */
    const char *layer, *positions, *norm, *last;
} side;

static const side encoder = {"encoder_layers",
                             "encoder_attention_heads",
                             "encoder_ffn_dim",
                             "model.encoder.layers.%d",
                             "model.encoder.embed_positions.weight",
                             "model.encoder.layernorm_embedding",
                             "model.encoder.layer_norm"};
static const side decoder = {"decoder_layers",
                             "decoder_attention_heads",
                             "decoder_ffn_dim",
                             "model.decoder.layers.%d",
                             "model.decoder.embed_positions.weight",
                             "model.decoder.layernorm_embedding",
                             "model.decoder.layer_norm"};

static ql_status read_side(const json_t *c, const char *what, const side *d, bool pre, ql_arch *a,
                           ql_stack *s) {
    bool scaled = false;
    const ql_size_keys keys = {"d_model", d->layers, d->heads, NULL, NULL, d->ffn};
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    QL_TRY(ql_json_get_bool(c, what, "scale_embedding", &scaled));
    s->norm_bias = true;
    s->post_norm = !pre;
    s->act = QL_ACT_GELU_ERF;
    QL_TRY(ql_read_activation(c, what, "activation_function", &s->act));
    s->layer = d->layer;
    s->lin[QL_LIN_Q] = (ql_part){"self_attn.q_proj", true, false};
    s->lin[QL_LIN_K] = (ql_part){"self_attn.k_proj", true, false};
    s->lin[QL_LIN_V] = (ql_part){"self_attn.v_proj", true, false};
    s->lin[QL_LIN_O] = (ql_part){"self_attn.out_proj", true, false};
    s->lin[QL_LIN_UP] = (ql_part){"fc1", true, false};
    s->lin[QL_LIN_DOWN] = (ql_part){"fc2", true, false};
    s->norm[QL_NORM_ATTN] = "self_attn_layer_norm";
    s->norm[QL_NORM_MLP] = "final_layer_norm";
    if (pre) s->final_norm = d->last;
    s->front = (ql_front){.tokens = "model.shared.weight",
                          .positions = d->positions,
                          .norm = d->norm,
                          .width = a->hidden,
                          .scale = scaled ? (float)sqrt((double)a->hidden) : 1.0f,
                          .rule = QL_POS_INDEX,
                          .position_offset = 2,
                          .position_rows = a->max_positions + 2};
    return QL_OK;
}

static void cross_attention(ql_stack *s) {
    s->lin[QL_LIN_CROSS_Q] = (ql_part){"encoder_attn.q_proj", true, false};
    s->lin[QL_LIN_CROSS_K] = (ql_part){"encoder_attn.k_proj", true, false};
    s->lin[QL_LIN_CROSS_V] = (ql_part){"encoder_attn.v_proj", true, false};
    s->lin[QL_LIN_CROSS_O] = (ql_part){"encoder_attn.out_proj", true, false};
    s->norm[QL_NORM_CROSS] = "encoder_attn_layer_norm";
    s->causal = true;
}

static ql_status read_bart_like(const json_t *c, const char *what, bool pre, ql_arch *a) {
    a->task = QL_TASK_SEQ2SEQ;
    a->base_prefix = "model.";
    a->ignored[0] = "model.encoder.embed_tokens.";
    a->ignored[1] = "model.decoder.embed_tokens.";
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_LAYER;
    a->norm_eps = 1e-5f;
    QL_TRY(read_side(c, what, &encoder, pre, a, &a->encoder));
    QL_TRY(read_side(c, what, &decoder, pre, a, &a->body));
    cross_attention(&a->body);
    a->tied_head = true;
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    a->head.linear = "lm_head";
    a->head.logits_bias = "final_logits_bias";
    a->drop.resid = 0.1f;
    QL_TRY(ql_read_dropout(c, what, "dropout", &a->drop.resid));
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    QL_TRY(ql_read_dropout(c, what, "activation_dropout", &a->drop.act));
    a->drop.embed = a->drop.resid;
    return ql_read_tokens(c, what, a);
}

ql_status ql_arch_bart(const json_t *c, const char *what, ql_arch *a) {
    int64_t first = 2;
    QL_TRY(read_bart_like(c, what, false, a));
    QL_TRY(ql_json_get_i64(c, what, "decoder_start_token_id", 0, a->vocab - 1, &first));
    a->decoder_start = (int32_t)first;
    if (a->pad < 0) a->pad = 1;
    return QL_OK;
}

ql_status ql_arch_mbart(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_bart_like(c, what, true, a));
    a->decoder_start = -1; /* labels end with the language's id, which moves to the front */
    if (a->pad < 0) a->pad = 1;
    return QL_OK;
}
