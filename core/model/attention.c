/*
 * attention.c - self and cross attention on the tape.
 *
 *   q, k, v = linear(n) (one matrix or three);  norm and rotation per head;  o = attention(q, k, v)
 *   cross: q of the decoder's rows, k and v of the encoder's
 */
#include "core/model/build_impl.h"

typedef struct qkv {
    ql_vid q, k, v;
} qkv;

/* Columns [at, at + groups * width) of one head group after the other, taken apart. */
static ql_vid take_apart(ql_builder *b, ql_vid x, int32_t groups, int32_t heads, int32_t step,
                         int32_t at, const char *name) {
    ql_tape *t = b->t;
    int32_t width = heads * b->arch->head_dim;
    ql_vid y = ql_build_value(b, (int64_t)groups * width, name);
    QL_RECORD(t, COL_COPY, col_copy, .x = ql_ref(t, x), .y = ql_ref(t, y), .groups = groups,
              .width = width, .x_step = step, .x_at = at, .y_step = width);
    return y;
}

/* The fused projection as q [N, Hq D], k and v [N, Hk D]. */
static qkv split(ql_builder *b, ql_vid x) {
    const ql_stack *a = b->arch;
    int32_t D = a->head_dim, kv = a->kv_heads, per = a->heads / kv, step = (per + 2) * D;
    if (a->fuse == QL_FUSE_GROUPS)
        return (qkv){take_apart(b, x, kv, per, step, 0, "attn.q"),
                     take_apart(b, x, kv, 1, step, per * D, "attn.k"),
                     take_apart(b, x, kv, 1, step, (per + 1) * D, "attn.v")};
    int64_t q = (int64_t)a->heads * D, k = (int64_t)kv * D;
    return (qkv){ql_tape_view(b->t, x, 0, b->tokens, 0, ql_fixed(q)),
                 ql_tape_view(b->t, x, 0, b->tokens, q, ql_fixed(k)),
                 ql_tape_view(b->t, x, 0, b->tokens, q + k, ql_fixed(k))};
}

static qkv project(ql_builder *b, const ql_layer *l, ql_vid n) {
    if (l->lin[QL_LIN_QKV])
        return split(b, ql_build_linear(b, l->lin[QL_LIN_QKV], n, b->compute, "attn.qkv"));
    return (qkv){ql_build_linear(b, l->lin[QL_LIN_Q], n, b->compute, "attn.q"),
                 ql_build_linear(b, l->lin[QL_LIN_K], n, b->compute, "attn.k"),
                 ql_build_linear(b, l->lin[QL_LIN_V], n, b->compute, "attn.v")};
}

static void rotate(ql_builder *b, ql_vid x, int32_t heads) {
    const ql_stack *a = b->arch;
    bool local = a->two_ropes && a->local[b->layer];
    const ql_rope *rope = local ? &a->rope_local : &a->rope;
    if (rope->kind == QL_ROPE_NONE) return;
    QL_RECORD(b->t, ROPE, rope, .x = ql_ref(b->t, x), .y = ql_ref(b->t, x),
              .table = ql_ref(b->t, local ? b->in->rope_local : b->in->rope),
              .pos = ql_ref(b->t, b->in->pos), .heads = heads, .head_dim = a->head_dim,
              .rot = rope->rot, .sign = 1.0f);
}

/* Appends the new rows to a cache; attention then reads the cache. */
static ql_vid to_cache(ql_builder *b, ql_vid x, ql_vid cache, ql_vid rows) {
    QL_RECORD(b->t, ROW_COPY, row_copy, .x = ql_ref(b->t, x), .y = ql_ref(b->t, cache),
              .dst = ql_ref(b->t, rows));
    return cache;
}

/* o [N, Hq D] for a spec whose heads, sizes and scale are still open. */
static ql_vid attend(ql_builder *b, ql_attn_spec spec, qkv x, const char *name) {
    ql_tape *t = b->t;
    const ql_stack *a = b->arch;
    spec.heads_q = a->heads;
    spec.heads_kv = a->kv_heads;
    spec.dim_qk = spec.dim_v = a->head_dim;
    spec.scale = a->attn_scale;
    spec.max_q = b->max_len;
    spec.start_q = ql_ref(t, b->in->start);
    if (b->train && b->o->model_dropout && b->m->arch.drop.attn > 0) {
        spec.dropout = b->m->arch.drop.attn;
        spec.rng = ql_build_rng(b, name);
    }
    ql_vid o = ql_build_value(b, (int64_t)a->heads * a->head_dim, name);
    ql_vid lse = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(a->heads), b->tokens,
                               "layers.%d.%s.lse", b->layer, name);
    QL_RECORD(t, ATTN_FWD, attn_fwd, .spec = spec, .q = ql_ref(t, x.q), .k = ql_ref(t, x.k),
              .v = ql_ref(t, x.v), .o = ql_ref(t, o), .lse = ql_ref(t, lse));
    return o;
}

/* The position bias of this layer's scores. */
static void add_bias(ql_builder *b, const ql_layer *l, qkv x, ql_attn_spec *spec) {
    const ql_stack *a = b->arch;
    ql_tape *t = b->t;
    if (a->relative == QL_REL_NONE) return;
    spec->bucket = ql_ref(t, b->in->bucket);
    if (a->relative != QL_REL_DEBERTA) {
        bool fixed = a->relative == QL_REL_ALIBI;
        spec->bias = QL_BIAS_TABLE;
        spec->table = ql_ref(t, fixed ? b->in->alibi : ql_build_dense(b, b->stack->rel_table));
        return;
    }
    ql_vid c2p = 0, p2c = 0;
    ql_build_relative_scores(b, l, x.q, x.k, &c2p, &p2c);
    spec->bias = QL_BIAS_DISENT;
    spec->c2p = ql_ref(t, c2p);
    spec->p2c = ql_ref(t, p2c);
}

/* Norm of each head's slice of x: one for all heads, or each its own. */
static ql_vid head_norm(ql_builder *b, const ql_layer *l, ql_norm_role role, ql_vid x,
                        int32_t heads, const char *name) {
    const ql_norm *own = l->head_norm[role - QL_NORM_Q];
    int32_t D = b->arch->head_dim;
    if (!own)
        return l->norm[role].w ? ql_build_norm(b, &l->norm[role], x, heads, b->compute, name) : x;
    ql_vid y = ql_build_value(b, (int64_t)heads * D, name);
    for (int32_t h = 0; h < heads; h++) {
        ql_vid part = ql_tape_view(b->t, x, 0, b->tokens, h * D, ql_fixed(D));
        ql_vid to = ql_tape_view(b->t, y, 0, b->tokens, h * D, ql_fixed(D));
        ql_build_norm_into(b, &own[h], part, to, 1, name);
    }
    return y;
}

ql_vid ql_build_self_attention(ql_builder *b, const ql_layer *l, ql_vid n) {
    const ql_stack *a = b->arch;
    ql_tape *t = b->t;
    bool cached = b->o->kind == QL_GRAPH_GENERATE;
    qkv x = project(b, l, n);
    x.q = head_norm(b, l, QL_NORM_Q, x.q, a->heads, "attn.q_norm");
    x.k = head_norm(b, l, QL_NORM_K, x.k, a->kv_heads, "attn.k_norm");
    rotate(b, x.q, a->heads);
    rotate(b, x.k, a->kv_heads);
    ql_attn_spec spec = {.softcap = a->softcap,
                         .window = a->local[b->layer] ? a->window : 0,
                         .causal = a->causal,
                         .max_kv = cached ? b->o->cache_len : b->max_len,
                         .start_kv = ql_ref(t, cached ? b->io->kv_start : b->in->start),
                         .len_kv = ql_ref(t, cached ? b->io->kv_len : 0)};
    add_bias(b, l, x, &spec);
    if (cached) {
        x.k = to_cache(b, x.k, b->io->cache_k[b->layer], b->io->kv_row);
        x.v = to_cache(b, x.v, b->io->cache_v[b->layer], b->io->kv_row);
    }
    ql_vid o = attend(b, spec, x, "attn.o");
    return ql_build_linear(b, l->lin[QL_LIN_O], o, QL_F32, "attn.out");
}

/* Keys and values of the encoder's rows. */
static qkv cross_rows(ql_builder *b, const ql_layer *l) {
    ql_vid own = b->key;
    b->key = b->io->encoder.key;
    qkv x = {.k = ql_build_linear(b, l->lin[QL_LIN_CROSS_K], b->memory, b->compute, "cross.k"),
             .v = ql_build_linear(b, l->lin[QL_LIN_CROSS_V], b->memory, b->compute, "cross.v")};
    b->key = own;
    return x;
}

ql_vid ql_build_cross_attention(ql_builder *b, const ql_layer *l, ql_vid n) {
    ql_tape *t = b->t;
    bool cached = b->o->kind == QL_GRAPH_GENERATE;
    qkv x = {.k = cached ? b->io->cross_k[b->layer] : 0,
             .v = cached ? b->io->cross_v[b->layer] : 0};
    if (!cached) x = cross_rows(b, l);
    x.q = ql_build_linear(b, l->lin[QL_LIN_CROSS_Q], n, b->compute, "cross.q");
    ql_attn_spec spec = {.max_kv = b->o->max_source_len,
                         .start_kv = ql_ref(t, cached ? b->io->cross_start : b->io->encoder.start),
                         .len_kv = ql_ref(t, cached ? b->io->cross_len : 0)};
    ql_vid o = attend(b, spec, x, "cross.o");
    return ql_build_linear(b, l->lin[QL_LIN_CROSS_O], o, QL_F32, "cross.out");
}

void ql_build_cross_caches(ql_builder *b) {
    for (b->layer = 0; b->layer < b->arch->layers; b->layer++) {
        qkv x = cross_rows(b, &b->stack->layers[b->layer]);
        (void)to_cache(b, x.k, b->io->cross_k[b->layer], 0);
        (void)to_cache(b, x.v, b->io->cross_v[b->layer], 0);
    }
}
