/*
 * block.c - a decoder layer on the tape, read off ql_arch.
 *
 *   n = norm1(h);  q, k, v = linear(n);  rope(q, k);  a = attention(q, k, v);  h = h + linear(a)
 *   n = norm2(h);  m = act(gate n) * up n;                                     h = h + linear(m)
 *
 * The residual sums are made in place of the projection's output; rotation happens in place. The
 * residual stream h is F32 whatever the compute type: rounding it 2 x layers times to bf16 costs a
 * fifth of the accuracy of the logits (tiny-llama: 0.0091 of the largest against 0.0071).
 */
#include <stdio.h>

#include "core/model/build_impl.h"

ql_vid ql_build_norm(ql_builder *b, const ql_dense *w, ql_vid x, const char *name) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return 0;
    const ql_arch *a = &b->m->arch;
    ql_dim rows = ql_tape_at(t, x)->rows, cols = ql_tape_at(t, x)->cols;
    ql_vid y = ql_tape_value(t, QL_POOL_ACTIVATIONS, b->compute, rows, cols, "%s", name);
    ql_vid rstd = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), rows, "%s.rstd", name);
    QL_RECORD(t, NORM_FWD, norm_fwd, .kind = a->norm, .eps = a->norm_eps, .groups = 1,
              .x = ql_ref(t, x), .w = ql_ref(t, ql_build_dense(b, w)), .y = ql_ref(t, y),
              .rstd = ql_ref(t, rstd));
    return y;
}

/* y += x, in place of y. */
static ql_vid add_residual(ql_builder *b, ql_vid x, ql_vid y) {
    QL_RECORD(b->t, AXPBY, axpby, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .alpha = 1.0f,
              .beta = 1.0f);
    return y;
}

static void rotate(ql_builder *b, ql_vid x, int32_t heads) {
    const ql_arch *a = &b->m->arch;
    QL_RECORD(b->t, ROPE, rope, .x = ql_ref(b->t, x), .y = ql_ref(b->t, x),
              .table = ql_ref(b->t, b->io->rope), .pos = ql_ref(b->t, b->io->pos), .heads = heads,
              .head_dim = a->head_dim, .rot = a->rope.rot, .sign = 1.0f);
}

/* Appends the new rows to the layer's cache; attention then reads the cache. */
static ql_vid to_cache(ql_builder *b, ql_vid x, ql_vid cache) {
    QL_RECORD(b->t, ROW_COPY, row_copy, .x = ql_ref(b->t, x), .y = ql_ref(b->t, cache),
              .dst = ql_ref(b->t, b->io->kv_row));
    return cache;
}

static ql_vid attention(ql_builder *b, int32_t layer, ql_vid q, ql_vid k, ql_vid v) {
    ql_tape *t = b->t;
    const ql_arch *a = &b->m->arch;
    bool cached = b->o->kind == QL_GRAPH_GENERATE;
    if (cached) {
        k = to_cache(b, k, b->io->cache_k[layer]);
        v = to_cache(b, v, b->io->cache_v[layer]);
    }
    ql_attn_spec spec = {.heads_q = a->heads,
                         .heads_kv = a->kv_heads,
                         .dim_qk = a->head_dim,
                         .dim_v = a->head_dim,
                         .scale = a->attn_scale,
                         .window = a->window,
                         .causal = true,
                         .max_q = b->o->max_len,
                         .max_kv = cached ? b->o->cache_len : b->o->max_len,
                         .start_q = ql_ref(t, b->io->start),
                         .start_kv = ql_ref(t, cached ? b->io->kv_start : b->io->start),
                         .len_kv = ql_ref(t, b->io->kv_len)};
    ql_vid o = ql_build_value(b, b->tokens, (int64_t)a->heads * a->head_dim, "attn.o");
    ql_vid lse = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(a->heads), b->tokens,
                               "layers.%d.attn.lse", layer);
    QL_RECORD(t, ATTN_FWD, attn_fwd, .spec = spec, .q = ql_ref(t, q), .k = ql_ref(t, k),
              .v = ql_ref(t, v), .o = ql_ref(t, o), .lse = ql_ref(t, lse));
    return o;
}

static ql_vid mlp(ql_builder *b, const ql_layer *l, ql_vid n) {
    ql_tape *t = b->t;
    ql_vid gate = ql_build_linear(b, &l->linear[QL_LIN_GATE], n, b->compute, "mlp.gate");
    ql_vid up = ql_build_linear(b, &l->linear[QL_LIN_UP], n, b->compute, "mlp.up");
    ql_vid y = ql_build_value(b, b->tokens, b->m->arch.ffn, "mlp.act");
    QL_RECORD(t, ACT_FWD, act_fwd, .kind = b->m->arch.act, .x = ql_ref(t, gate),
              .up = ql_ref(t, up), .y = ql_ref(t, y));
    return ql_build_linear(b, &l->linear[QL_LIN_DOWN], y, QL_F32, "mlp.down");
}

ql_vid ql_build_layer(ql_builder *b, int32_t layer, ql_vid h) {
    const ql_layer *l = &b->m->layers[layer];
    const ql_arch *a = &b->m->arch;
    ql_tape_set_layer(b->t, layer);
    ql_vid n = ql_build_norm(b, &l->norm1, h, "norm1");
    ql_vid q = ql_build_linear(b, &l->linear[QL_LIN_Q], n, b->compute, "attn.q");
    ql_vid k = ql_build_linear(b, &l->linear[QL_LIN_K], n, b->compute, "attn.k");
    ql_vid v = ql_build_linear(b, &l->linear[QL_LIN_V], n, b->compute, "attn.v");
    rotate(b, q, a->heads);
    rotate(b, k, a->kv_heads);
    ql_vid o = attention(b, layer, q, k, v);
    h = add_residual(b, h, ql_build_linear(b, &l->linear[QL_LIN_O], o, QL_F32, "attn.out"));
    n = ql_build_norm(b, &l->norm2, h, "norm2");
    return add_residual(b, h, mlp(b, l, n));
}
