/*
 * attn.c - attention forward: online softmax over tiles of keys (Dao et al., 2022).
 *
 * For each tile of query rows: running maximum m, sum l and unnormalized output in private scratch;
 * every tile of keys rescales them by e^(m_old - m_new). No [Nq, Nk] matrix exists.
 */
#include "backends/cpu/attn.h"

/* Private floats of one thread. */
typedef struct fwd_layout {
    int64_t q, k, v, s, o, tmp, floats;
    int64_t ld_o; /* dim_v in whole register tiles */
} fwd_layout;

static fwd_layout layout_of(const ql_attn_spec *s) {
    enum { SPILL = 16 };
    const int64_t dim = s->dim_qk, dim_v = s->dim_v;
    fwd_layout l = {.ld_o = ql_cpu_ceil_div(dim_v, QL_CPU_MAX_NR) * QL_CPU_MAX_NR};
    l.k = l.q + QL_CPU_ATTN_ROWS_PAD * dim;
    l.v = l.k + QL_CPU_ATTN_KEYS * dim + SPILL;
    l.s = l.v + QL_CPU_ATTN_KEYS * l.ld_o + SPILL;
    l.o = l.s + QL_CPU_ATTN_ROWS_PAD * QL_CPU_ATTN_LD;
    l.tmp = l.o + QL_CPU_ATTN_ROWS_PAD * l.ld_o;
    l.floats = l.tmp + QL_CPU_MAX_NR * ql_cpu_max(dim, dim_v);
    l.floats = ql_cpu_ceil_div(l.floats, 16) * 16;
    return l;
}

uint64_t ql_cpu_scratch_attn_fwd(const ql_cpu_device *dev, const ql_attn_fwd_args *a) {
    return (uint64_t)(layout_of(&a->spec).floats * dev->threads) * sizeof(float);
}

typedef struct fwd {
    const ql_attn_fwd_args *args;
    ql_cpu_attn a;
    fwd_layout layout;
    float *scratch;
} fwd;

typedef struct running {
    float max[QL_CPU_ATTN_ROWS], sum[QL_CPU_ATTN_ROWS];
} running;

/* Scores of one row -> probabilities relative to the running maximum, zero outside its span but
 * inside that of its register tile. */
static void softmax_row(const fwd *f, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys, int64_t r,
                        float *mine, running *run) {
    const ql_cpu_kernels *kern = f->a.kern;
    const ql_cpu_attn_row row = ql_cpu_attn_row_at(&f->a, t, r);
    const ql_cpu_attn_span span = ql_cpu_attn_span_of(&f->a, t, r, keys);
    const ql_cpu_attn_span all =
        ql_cpu_attn_spans(&f->a, t, r / kern->mr * kern->mr, kern->mr, keys);
    const bool bent = ql_cpu_attn_bent(&f->a);
    float *z = mine + f->layout.s + r * QL_CPU_ATTN_LD, *o = mine + f->layout.o;
    for (int64_t j = all.lo; j < span.lo; j++) z[j] = 0.0f;
    for (int64_t j = span.hi; j < all.hi; j++) z[j] = 0.0f;
    if (span.lo == span.hi) return;
    if (bent) ql_cpu_attn_bend(&f->a, &row, &t->seq, keys, span, z, NULL);
    const float mul = bent ? 1.0f : f->a.spec->scale;
    const float old = run->max[r], top = kern->max(z + span.lo, span.hi - span.lo) * mul;
    const float max = top > old ? top : old;
    const float sub = max == -INFINITY ? 0.0f : max; /* all scores -infinity, or NaN */
    const float sum = kern->exp_sum(z + span.lo, span.hi - span.lo, mul, sub);
    const float shrink = old == -INFINITY ? 0.0f : ql_exp(old - max);
    if (shrink != 1.0f)
        for (int64_t d = 0; d < f->layout.ld_o; d++) o[r * f->layout.ld_o + d] *= shrink;
    run->max[r] = max;
    run->sum[r] = run->sum[r] * shrink + sum;
    if (f->a.spec->dropout > 0.0f) {
        float keep[QL_CPU_ATTN_KEYS];
        ql_cpu_attn_keep(&f->a, &row, keys, span, keep);
        for (int64_t j = span.lo; j < span.hi; j++) z[j] *= keep[j];
    }
}

/* o += P v for the keys of one tile. */
static void add_values(const fwd *f, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                       float *mine) {
    const ql_cpu_kernels *kern = f->a.kern;
    const float *v = mine + f->layout.v;
    for (int64_t r = 0; r < t->count; r += kern->mr) {
        const ql_cpu_attn_span s = ql_cpu_attn_spans(&f->a, t, r, kern->mr, keys);
        const float *p = mine + f->layout.s + r * QL_CPU_ATTN_LD + s.lo;
        float *o = mine + f->layout.o + r * f->layout.ld_o;
        if (s.lo == s.hi) continue;
        for (int64_t d = 0; d < f->a.spec->dim_v; d += kern->nr)
            kern->micro(s.hi - s.lo, p, QL_CPU_ATTN_LD, 1, v + d * keys.n + s.lo * kern->nr,
                        kern->nr, o + d, f->layout.ld_o, true);
    }
}

static void finish(const fwd *f, const ql_cpu_attn_rows *t, float *mine, const running *run) {
    const int64_t dim = f->a.spec->dim_v;
    for (int64_t r = 0; r < t->count; r++) {
        const ql_cpu_attn_row row = ql_cpu_attn_row_at(&f->a, t, r);
        float *o = mine + f->layout.o + r * f->layout.ld_o;
        const bool seen = run->sum[r] != 0.0f; /* NaN counts as seen */
        const float inverse = seen ? 1.0f / run->sum[r] : 0.0f;
        for (int64_t d = 0; d < dim; d++) o[d] *= inverse;
        ql_cpu_span_store(&f->args->o, row.row, row.head * dim, dim, o);
        ql_cpu_f32(&f->args->lse, row.head)[row.row] =
            seen ? run->max[r] + logf(run->sum[r]) : -INFINITY;
    }
}

static void fwd_tasks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const fwd *f = (const fwd *)ctx;
    const ql_attn_spec *spec = f->a.spec;
    float *mine = f->scratch + thread * f->layout.floats, *tmp = mine + f->layout.tmp;
    for (int64_t task = begin; task < end; task++) {
        running run;
        int64_t first;
        ql_cpu_attn_rows t = ql_cpu_attn_task(&f->a, false, task, &first);
        t.first = first;
        t.count = ql_cpu_min(QL_CPU_ATTN_ROWS, t.seq.lq * f->a.group - first);
        for (int64_t r = 0; r < t.count; r++) {
            run.max[r] = -INFINITY;
            run.sum[r] = 0.0f;
        }
        ql_cpu_attn_load(&f->a, &f->a.q, &t, spec->dim_qk, mine + f->layout.q);
        memset(mine + f->layout.o, 0,
               (size_t)(QL_CPU_ATTN_ROWS_PAD * f->layout.ld_o) * sizeof *mine);
        for (int64_t j = 0; j < t.seq.lk; j += QL_CPU_ATTN_KEYS) {
            ql_cpu_attn_keys keys = {.j0 = j, .n = ql_cpu_min(QL_CPU_ATTN_KEYS, t.seq.lk - j)};
            ql_cpu_attn_span all = ql_cpu_attn_spans(&f->a, &t, 0, t.count, keys);
            if (all.lo >= all.hi) continue;
            ql_cpu_attn_pack(&f->a, &f->a.k, &t, keys, spec->dim_qk, true, mine + f->layout.k, tmp);
            ql_cpu_attn_pack(&f->a, &f->a.v, &t, keys, spec->dim_v, false, mine + f->layout.v, tmp);
            ql_cpu_attn_scores(&f->a, &t, keys, mine + f->layout.q, spec->dim_qk,
                               mine + f->layout.k, mine + f->layout.s);
            for (int64_t r = 0; r < t.count; r++) softmax_row(f, &t, keys, r, mine, &run);
            add_values(f, &t, keys, mine);
        }
        finish(f, &t, mine, &run);
    }
}

ql_status ql_cpu_attn_fwd(ql_queue *q, const ql_attn_fwd_args *a) {
    fwd f = {.args = a,
             .a = ql_cpu_attn_begin(q, &a->spec, &a->q, &a->k, &a->v),
             .layout = layout_of(&a->spec),
             .scratch = (float *)ql_cpu_at(&a->scratch, 0, 0)};
    ql_cpu_parallel(q, ql_cpu_attn_tasks(&f.a, false), 1, fwd_tasks, &f);
    return QL_OK;
}
