/* cases_attn.c - attn_fwd, attn_bwd. */
#include <math.h>

#include "tests/ref/ref.h"
#include "tests/support/opcase.h"

enum {
    CAUSAL = 1,
    DROPOUT = 2,
    CACHE = 4,
    CROSS = 8,
    FROZEN_BIAS = 16,
    EMPTY = 32, /* the second sequence has no rows                           */
    BLIND = 64  /* fewer keys than queries: the first queries see no key      */
};

typedef struct attn_case {
    int seqs, len; /* sequences of lengths len, len - 3, len + 2, ... */
    int32_t hq, hk, d, dv;
    ql_dtype t;
    int flags;
    int32_t window;
    float softcap;
    ql_attn_bias bias;
} attn_case;

static const attn_case cases[] = {
    {1, 1, 1, 1, 1, 1, QL_F32, CAUSAL, 0, 0, 0},
    {1, 7, 2, 2, 8, 8, QL_F32, CAUSAL, 0, 0, 0},
    {1, 33, 2, 2, 64, 64, QL_F32, CAUSAL, 0, 0, 0},
    {3, 20, 4, 2, 16, 16, QL_F32, CAUSAL, 0, 0, 0},
    {3, 20, 9, 3, 64, 64, QL_BF16, CAUSAL, 0, 0, 0},
    {2, 70, 3, 1, 33, 33, QL_F32, CAUSAL, 0, 0, 0},
    {2, 140, 2, 1, 16, 16, QL_F32, CAUSAL, 0, 0, 0},
    {2, 70, 2, 1, 16, 24, QL_F16, CAUSAL, 0, 0, 0},
    {3, 30, 2, 2, 8, 8, QL_F32, 0, 0, 0, 0},
    {3, 30, 2, 2, 8, 8, QL_F32, CAUSAL, 7, 0, 0},
    {2, 90, 4, 2, 16, 16, QL_BF16, CAUSAL, 64, 0, 0},
    {3, 12, 2, 1, 8, 8, QL_F32, CAUSAL, 0, 2.0f, 0},
    {3, 12, 2, 1, 8, 8, QL_F32, CAUSAL | DROPOUT, 0, 0, 0},
    {3, 40, 4, 2, 16, 16, QL_F32, CAUSAL | DROPOUT, 9, 1.5f, 0},
    {3, 12, 2, 2, 8, 8, QL_F32, 0, 0, 0, QL_BIAS_TABLE},
    {3, 40, 2, 2, 16, 16, QL_BF16, CAUSAL, 0, 0, QL_BIAS_TABLE},
    {3, 12, 2, 2, 8, 8, QL_F32, 0, 0, 0, QL_BIAS_DISENT},
    {2, 40, 4, 4, 16, 16, QL_F32, DROPOUT, 0, 0, QL_BIAS_DISENT},
    {2, 20, 2, 2, 16, 16, QL_BF16, FROZEN_BIAS, 0, 0, QL_BIAS_DISENT},
    {3, 20, 2, 2, 16, 16, QL_F32, CROSS, 0, 0, 0},
    {3, 20, 2, 1, 16, 16, QL_F32, CAUSAL | EMPTY, 0, 0, 0},
    {2, 9, 2, 1, 16, 16, QL_F32, CAUSAL | BLIND, 0, 0, 0},
    /* generation: no backward */
    {3, 20, 4, 2, 16, 16, QL_F32, CAUSAL | CACHE, 0, 0, 0},
    {4, 90, 3, 3, 32, 32, QL_BF16, CAUSAL | CACHE, 50, 0, 0},
    {3, 150, 2, 1, 64, 64, QL_F32, CAUSAL | CACHE, 0, 0, 0},
};
enum { N_SHAPES = sizeof cases / sizeof *cases, N_GENERATION = 3, BUCKETS = 6 };

/* Lengths of sequence s: queries, keys in use, keys of the slot. */
static int query_len(const attn_case *k, int s) {
    int len = k->len + (s % 3 == 1 ? -3 : s % 3 == 2 ? 2 : 0);
    if (k->flags & EMPTY && s == 1) return 0;
    return k->flags & CACHE ? (s == 0 ? 1 : 3) : len > 0 ? len : 1;
}
static int key_len(const attn_case *k, int s) {
    if (k->flags & CROSS) return 5 + 4 * s;
    if (k->flags & BLIND) return query_len(k, s) - 2;
    return k->flags & CACHE ? k->len - 2 * s : query_len(k, s);
}
static int slot_len(const attn_case *k, int s) {
    return k->flags & CACHE ? k->len + 4 : key_len(k, s);
}

typedef struct sizes {
    int64_t nq, nk;
} sizes;

static sizes add_starts(opcase *c, const attn_case *k, ql_attn_spec *spec) {
    double *q = tc_in(c, &spec->start_q, "spec.start_q", QL_I32, 1, k->seqs + 1);
    double *kv = tc_in(c, &spec->start_kv, "spec.start_kv", QL_I32, 1, k->seqs + 1);
    double *len = NULL;
    sizes n = {0, 0};
    if (k->flags & CACHE) len = tc_in(c, &spec->len_kv, "spec.len_kv", QL_I32, 1, k->seqs);
    for (int s = 0; s < k->seqs; s++) {
        if (len) len[s] = key_len(k, s);
        n.nq += query_len(k, s);
        n.nk += slot_len(k, s);
        if (q) q[s + 1] = (double)n.nq;
        if (kv) kv[s + 1] = (double)n.nk;
        if (query_len(k, s) > spec->max_q) spec->max_q = query_len(k, s);
        if (slot_len(k, s) > spec->max_kv) spec->max_kv = slot_len(k, s);
    }
    return n;
}

static void add_bias(opcase *c, const attn_case *k, ql_attn_spec *spec, sizes n) {
    spec->bias = k->bias;
    if (k->bias == QL_BIAS_NONE) return;
    int64_t L = spec->max_q > spec->max_kv ? spec->max_q : spec->max_kv;
    double *bucket = tc_in(c, &spec->bucket, "spec.bucket", QL_I32, 1, 2 * L - 1);
    for (int64_t d = 0; bucket && d < 2 * L - 1; d++) bucket[d] = (double)(d * 7 % BUCKETS);
    if (k->bias == QL_BIAS_TABLE) {
        tc_normal(c, tc_in(c, &spec->table, "spec.table", QL_F32, BUCKETS, k->hq), BUCKETS * k->hq,
                  1.0);
        return;
    }
    tc_normal(c, tc_in(c, &spec->c2p, "spec.c2p", k->t, n.nq, BUCKETS * k->hq),
              n.nq * BUCKETS * k->hq, 1.0);
    tc_normal(c, tc_in(c, &spec->p2c, "spec.p2c", k->t, n.nk, BUCKETS * k->hk),
              n.nk * BUCKETS * k->hk, 1.0);
}

static sizes add_spec(opcase *c, const attn_case *k, ql_attn_spec *spec) {
    *spec = (ql_attn_spec){.heads_q = k->hq,
                           .heads_kv = k->hk,
                           .dim_qk = k->d,
                           .dim_v = k->dv,
                           .scale = (float)(1.0 / sqrt((double)k->d)),
                           .softcap = k->softcap,
                           .window = k->window,
                           .causal = k->flags & CAUSAL};
    sizes n = add_starts(c, k, spec);
    if (k->flags & DROPOUT) {
        spec->dropout = 0.2f;
        spec->rng = (ql_rng){.seed = tc_bits(c), .stream = tc_bits(c)};
        tc_key(c, &spec->rng.key, "spec.rng.key", n.nq);
        tc_step(c, &spec->rng.step, "spec.rng.step");
    }
    add_bias(c, k, spec, n);
    return n;
}

static void build_fwd(opcase *c, const attn_case *k) {
    ql_attn_fwd_args *a = &c->args.attn_fwd;
    sizes n = add_spec(c, k, &a->spec);
    IN(q, k->t, n.nq, (int64_t)k->hq * k->d);
    IN(k, k->t, n.nk, (int64_t)k->hk * k->d);
    IN(v, k->t, n.nk, (int64_t)k->hk * k->dv);
    OUT(o, k->t, n.nq, (int64_t)k->hq * k->dv);
    OUT(lse, QL_F32, k->hq, n.nq);
}

/* o and lse come from the reference forward, rounded like everything else. */
static void fill_forward(opcase *c) {
    ql_op_args forward = {0};
    const ql_attn_bwd_args *b = &c->args.attn_bwd;
    forward.attn_fwd = (ql_attn_fwd_args){
        .spec = b->spec, .q = b->q, .k = b->k, .v = b->v, .o = b->o, .lse = b->lse};
    for (int i = 0; i < c->n_tensors; i++) {
        tensor *t = &c->tensors[i];
        const ql_mat *m = (const ql_mat *)(const void *)((char *)&c->args + t->at);
        ql_attn_fwd_args *f = &forward.attn_fwd;
        uint64_t spec_at = t->at - offsetof(ql_attn_bwd_args, spec);
        ql_mat *to = m == &b->q                 ? &f->q
                     : m == &b->k               ? &f->k
                     : m == &b->v               ? &f->v
                     : m == &b->o               ? &f->o
                     : m == &b->lse             ? &f->lse
                     : spec_at < sizeof f->spec ? (ql_mat *)(void *)((char *)&f->spec + spec_at)
                                                : NULL;
        if (!to) continue;
        t->ref_buf.host = t->values;
        for (int64_t e = 0; t->values && e < t->rows * t->cols; e++)
            t->values[e] = ref_round_to(t->dtype, t->values[e]);
        *to = (ql_mat){
            .buf = &t->ref_buf, .rows = t->rows, .cols = t->cols, .ld = t->cols, .dtype = t->dtype};
    }
    if (!c->out_of_memory) ql_ref_attn_fwd(&forward.attn_fwd);
}

static void build_bwd(opcase *c, const attn_case *k) {
    ql_attn_bwd_args *a = &c->args.attn_bwd;
    sizes n = add_spec(c, k, &a->spec);
    IN(q, k->t, n.nq, (int64_t)k->hq * k->d);
    IN(k, k->t, n.nk, (int64_t)k->hk * k->d);
    IN(v, k->t, n.nk, (int64_t)k->hk * k->dv);
    tc_in(c, &a->o, "o", k->t, n.nq, (int64_t)k->hq * k->dv);
    tc_in(c, &a->lse, "lse", QL_F32, k->hq, n.nq);
    IN(d_o, k->t, n.nq, (int64_t)k->hq * k->dv);
    fill_forward(c);
    OUT(dq, k->t, n.nq, (int64_t)k->hq * k->d);
    OUT(dk, k->t, n.nk, (int64_t)k->hk * k->d);
    OUT(dv, k->t, n.nk, (int64_t)k->hk * k->dv);
    if (k->flags & FROZEN_BIAS) return;
    if (k->bias == QL_BIAS_TABLE) UPDATE(dtable, QL_F32, BUCKETS, k->hq);
    if (k->bias == QL_BIAS_DISENT) {
        UPDATE(dc2p, k->t, n.nq, (int64_t)BUCKETS * k->hq);
        UPDATE(dp2c, k->t, n.nk, (int64_t)BUCKETS * k->hk);
    }
}

/* Forward of every shape, then backward of those that are trained. */
static void build(opcase *c, int row) {
    static const char *const biases[] = {"", " table", " disent"};
    const attn_case *k = &cases[row % N_SHAPES];
    c->op = row < N_SHAPES ? QL_OP_ATTN_FWD : QL_OP_ATTN_BWD;
    tc_label(c, "%s %d x %d heads %d/%d dim %d/%d %s%s%s%s%s window %d cap %g%s", ql_op_name(c->op),
             k->seqs, k->len, (int)k->hq, (int)k->hk, (int)k->d, (int)k->dv, tc_type(k->t),
             k->flags & CAUSAL ? " causal" : "", k->flags & DROPOUT ? " dropout" : "",
             k->flags & CACHE ? " cache" : "",
             k->flags & CROSS   ? " cross"
             : k->flags & EMPTY ? " empty"
             : k->flags & BLIND ? " blind"
                                : "",
             (int)k->window, (double)k->softcap, biases[k->bias]);
    if (c->op == QL_OP_ATTN_FWD)
        build_fwd(c, k);
    else
        build_bwd(c, k);
}

const opfamily ql_opfamily_attn = {"attn", 2 * N_SHAPES - N_GENERATION, build};
