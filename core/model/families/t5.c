/*
 * t5.c - T5, T5 v1.1 and FLAN-T5 (spec/models.md, section 5): RMSNorm, no biases, unscaled scores
 * with a learned bias per bucket of the distance, feed-forward plain or gated.
 */
#include <math.h>
#include <string.h>

#include "core/model/families/families.h"

/* "relu", "gated-gelu", "gated-silu": the gelu of gated-gelu is the tanh form. */
static ql_status read_feed_forward(const json_t *c, const char *what, bool *gated,
                                   ql_act_kind *act) {
    static const struct {
        const char *name;
        bool gated;
        ql_act_kind act;
    } kinds[] = {{"relu", false, QL_ACT_RELU},           {"gelu", false, QL_ACT_GELU_ERF},
                 {"gelu_new", false, QL_ACT_GELU_TANH},  {"silu", false, QL_ACT_SILU},
                 {"gated-gelu", true, QL_ACT_GELU_TANH}, {"gated-gelu_new", true, QL_ACT_GELU_TANH},
                 {"gated-relu", true, QL_ACT_RELU},      {"gated-silu", true, QL_ACT_SILU}};
    const char *name = "relu";
    QL_TRY(ql_json_get_str(c, what, "feed_forward_proj", &name));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name) != 0) continue;
        *gated = kinds[i].gated;
        *act = kinds[i].act;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: feed_forward_proj '%.32s' is not supported (relu, gated-gelu, gated-silu)",
                   what, name);
}

/* Sizes of one stack; `layers` is its key. */
static ql_status read_stack(const json_t *c, const char *what, const char *layers, ql_arch *a,
                            ql_stack *s) {
    int64_t buckets = 32;
    bool gated = false;
    const ql_size_keys keys = {"d_model", layers, "num_heads", NULL, "d_kv", "d_ff"};
    QL_TRY(ql_read_sizes(c, what, &keys, a, s));
    if (!ql_json_has(c, "d_kv")) s->head_dim = 64;
    s->attn_scale = 1.0f;
    QL_TRY(read_feed_forward(c, what, &gated, &s->act));
    QL_TRY(ql_json_get_i64(c, what, "relative_attention_num_buckets", 2, 65536, &buckets));
    s->max_distance = 128;
    QL_TRY(
        ql_json_get_i64(c, what, "relative_attention_max_distance", 1, 1 << 24, &s->max_distance));
    s->relative = QL_REL_T5;
    s->buckets = (int32_t)buckets;
    s->front.tokens = "shared.weight";
    s->front.scale = 1.0f;
    bool decoder = s == &a->body;
    s->lin[QL_LIN_Q].name = "layer.0.SelfAttention.q";
    s->lin[QL_LIN_K].name = "layer.0.SelfAttention.k";
    s->lin[QL_LIN_V].name = "layer.0.SelfAttention.v";
    s->lin[QL_LIN_O].name = "layer.0.SelfAttention.o";
    s->norm[QL_NORM_ATTN] = "layer.0.layer_norm";
    s->norm[QL_NORM_MLP] = decoder ? "layer.2.layer_norm" : "layer.1.layer_norm";
    ql_part *gate = &s->lin[QL_LIN_GATE], *up = &s->lin[QL_LIN_UP], *down = &s->lin[QL_LIN_DOWN];
    if (gated) {
        gate->name = decoder ? "layer.2.DenseReluDense.wi_0" : "layer.1.DenseReluDense.wi_0";
        up->name = decoder ? "layer.2.DenseReluDense.wi_1" : "layer.1.DenseReluDense.wi_1";
    } else {
        up->name = decoder ? "layer.2.DenseReluDense.wi" : "layer.1.DenseReluDense.wi";
    }
    down->name = decoder ? "layer.2.DenseReluDense.wo" : "layer.1.DenseReluDense.wo";
    down->keep = true; /* its values leave the range of 16-bit floats: the reference keeps it */
    return QL_OK;
}

ql_status ql_arch_t5(const json_t *c, const char *what, ql_arch *a) {
    int64_t first = 0;
    bool tied = true;
    a->task = QL_TASK_SEQ2SEQ;
    a->base_prefix = "";
    a->ignored[0] = "encoder.embed_tokens.";
    a->ignored[1] = "decoder.embed_tokens.";
    /* Old v1.0 files carry a bias that the model never used. */
    a->ignored[2] = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.";
    a->norm = QL_NORM_RMS;
    QL_TRY(ql_read_eps(c, what, "layer_norm_epsilon", 1e-6, a));
    QL_TRY(read_stack(c, what, "num_layers", a, &a->encoder));
    bool own = ql_json_has(c, "num_decoder_layers");
    QL_TRY(read_stack(c, what, own ? "num_decoder_layers" : "num_layers", a, &a->body));
    a->max_positions = 1 << 20; /* distances beyond the last bucket share it: no limit */
    a->encoder.layer = "encoder.block.%d";
    a->encoder.final_norm = "encoder.final_layer_norm";
    a->encoder.rel_table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    ql_stack *s = &a->body;
    s->causal = true;
    s->layer = "decoder.block.%d";
    s->final_norm = "decoder.final_layer_norm";
    s->rel_table = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    s->lin[QL_LIN_CROSS_Q].name = "layer.1.EncDecAttention.q";
    s->lin[QL_LIN_CROSS_K].name = "layer.1.EncDecAttention.k";
    s->lin[QL_LIN_CROSS_V].name = "layer.1.EncDecAttention.v";
    s->lin[QL_LIN_CROSS_O].name = "layer.1.EncDecAttention.o";
    s->norm[QL_NORM_CROSS] = "layer.1.layer_norm";
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &tied));
    a->tied_head = tied;
    a->head.linear = "lm_head";
    bool scaled = tied; /* transformers 5 says it apart */
    QL_TRY(ql_json_get_bool(c, what, "scale_decoder_outputs", &scaled));
    if (scaled) a->head.scale = (float)(1.0 / sqrt((double)a->hidden));
    a->drop.resid = 0.1f;
    QL_TRY(ql_read_dropout(c, what, "dropout_rate", &a->drop.resid));
    a->drop.embed = a->drop.attn = a->drop.act = a->drop.last = a->drop.resid;
    QL_TRY(ql_read_tokens(c, what, a));
    if (a->pad < 0) a->pad = 0;
    first = a->pad;
    QL_TRY(ql_json_get_i64(c, what, "decoder_start_token_id", 0, a->vocab - 1, &first));
    a->decoder_start = (int32_t)first;
    return QL_OK;
}
