/*
 * gemma.c - Gemma, Gemma 2 and Gemma 3 (text) (spec/models.md, section 3).
 *
 * h = embed[ids] * sqrt(C). Norms multiply by 1 + w. Gemma 2 and 3 normalize a sublayer's output as
 * well: h += norm(attn(norm h)); h += norm(mlp(norm h)). Gemma 2 caps scores and logits; Gemma 3
 * normalizes q and k per head and rotates its local layers by another base.
 */
#include <math.h>

#include "core/model/families/families.h"

static ql_status read_gemma_like(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    ql_arch_decoder(a, "model.", "model.embed_tokens.weight", "lm_head");
    QL_TRY(ql_read_sizes(c, what, &ql_hf_sizes, a, s));
    if (!ql_json_has(c, "head_dim")) s->head_dim = 256;
    QL_TRY(ql_read_positions(c, what, "max_position_embeddings", a));
    a->norm = QL_NORM_RMS;
    a->norm_offset = 1.0f;
    QL_TRY(ql_read_eps(c, what, "rms_norm_eps", 1e-6, a));
    s->act = QL_ACT_GELU_TANH;
    QL_TRY(ql_read_activation(c, what, "hidden_activation", &s->act));
    a->tied_head = true;
    QL_TRY(ql_json_get_bool(c, what, "tie_word_embeddings", &a->tied_head));
    bool bias = false;
    QL_TRY(ql_json_get_bool(c, what, "attention_bias", &bias));
    ql_arch_llama_parts(s, bias, bias);
    s->front.scale = (float)sqrt((double)a->hidden); /* exact as in an fp32 run */
    s->attn_scale = (float)(1.0 / sqrt((double)s->head_dim));
    QL_TRY(ql_read_dropout(c, what, "attention_dropout", &a->drop.attn));
    return ql_read_tokens(c, what, a);
}

/* The four norms of Gemma 2 and 3. */
static void sandwich(ql_stack *s) {
    s->norm[QL_NORM_ATTN_OUT] = "post_attention_layernorm";
    s->norm[QL_NORM_MLP] = "pre_feedforward_layernorm";
    s->norm[QL_NORM_MLP_OUT] = "post_feedforward_layernorm";
}

static ql_status read_scalars(const json_t *c, const char *what, double attn_cap, double cap,
                              ql_arch *a) {
    double scalar = 256.0;
    QL_TRY(ql_json_get_f64(c, what, "query_pre_attn_scalar", 1e-6, 1e9, &scalar));
    if (json_is_null(json_object_get(c, "attn_logit_softcapping"))) attn_cap = 0;
    if (json_is_null(json_object_get(c, "final_logit_softcapping"))) cap = 0;
    QL_TRY(ql_json_get_f64(c, what, "attn_logit_softcapping", 0, 1e9, &attn_cap));
    QL_TRY(ql_json_get_f64(c, what, "final_logit_softcapping", 0, 1e9, &cap));
    a->body.attn_scale = (float)(1.0 / sqrt(scalar));
    a->body.softcap = (float)attn_cap;
    a->head.softcap = (float)cap;
    return ql_refuse_flag(c, what, "use_bidirectional_attention", true);
}

ql_status ql_arch_gemma(const json_t *c, const char *what, ql_arch *a) {
    QL_TRY(read_gemma_like(c, what, a));
    /* Old files name the activation they do not use in hidden_act. */
    return ql_read_rope(c, what, "rope_theta", 1.0, a, &a->body, &a->body.rope);
}

ql_status ql_arch_gemma2(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    bool types = false;
    QL_TRY(read_gemma_like(c, what, a));
    sandwich(s);
    QL_TRY(read_scalars(c, what, 50.0, 30.0, a));
    QL_TRY(ql_read_rope(c, what, "rope_theta", 1.0, a, s, &s->rope));
    s->window = 4096;
    QL_TRY(ql_read_window(c, what, &s->window));
    QL_TRY(ql_read_layer_types(c, what, s, &types));
    for (int32_t i = 0; i < s->layers && !types; i++) s->local[i] = i % 2 == 0;
    return QL_OK;
}

/* rope_parameters holds one object per kind of layer; older files have rope_theta, rope_scaling
 * and rope_local_base_freq. */
static ql_status read_two_ropes(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    const json_t *p = json_object_get(c, "rope_parameters");
    const json_t *full = json_object_get(p, "full_attention");
    const json_t *local = json_object_get(p, "sliding_attention");
    double theta = 1e6, near = 1e4;
    QL_TRY(ql_json_get_f64(c, what, "rope_theta", 1.0, 1e12, &theta));
    QL_TRY(ql_json_get_f64(c, what, "rope_local_base_freq", 1.0, 1e12, &near));
    if (!json_is_object(full)) full = json_object_get(c, "rope_scaling");
    if (!json_is_object(full)) full = NULL;
    if (!json_is_object(local)) local = NULL;
    s->two_ropes = true;
    QL_TRY(ql_read_rope_object(full, what, theta, 1.0, a, s, &s->rope));
    return ql_read_rope_object(local, what, near, 1.0, a, s, &s->rope_local);
}

ql_status ql_arch_gemma3(const json_t *c, const char *what, ql_arch *a) {
    ql_stack *s = &a->body;
    int64_t every = 6;
    bool types = false;
    QL_TRY(read_gemma_like(c, what, a));
    sandwich(s);
    s->norm[QL_NORM_Q] = "self_attn.q_norm";
    s->norm[QL_NORM_K] = "self_attn.k_norm";
    QL_TRY(read_scalars(c, what, 0.0, 0.0, a));
    QL_TRY(read_two_ropes(c, what, a));
    s->window = 4096;
    QL_TRY(ql_read_window(c, what, &s->window));
    QL_TRY(ql_json_get_i64(c, what, "sliding_window_pattern", 1, QL_MAX_LAYERS, &every));
    QL_TRY(ql_read_layer_types(c, what, s, &types));
    for (int32_t i = 0; i < s->layers && !types; i++) s->local[i] = (i + 1) % every != 0;
    return QL_OK;
}
