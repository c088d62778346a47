/*
 * rows.c - operators that move, gather or scale whole rows.
 */
#include "backends/cpu/sums.h"

/* -------------------------------------------------------------------- gather */

/* y[i,:] (=, +=) scale table[index[i],:]     table [V,C], index I32 [1,N], y [N,C] */
static void gather_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_gather_args *a = ctx;
    const int32_t *index = ql_cpu_i32(&a->index, 0);
    float xt[QL_CPU_TILE], yt[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < a->y.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->y.cols - c);
            const float *x = ql_cpu_span_f32(&a->table, index[i], c, n, xt);
            if (a->accumulate) {
                const float *y = ql_cpu_span_f32(&a->y, i, c, n, yt);
                for (int64_t j = 0; j < n; j++) xt[j] = y[j] + a->scale * x[j];
            } else {
                for (int64_t j = 0; j < n; j++) xt[j] = a->scale * x[j];
            }
            ql_cpu_span_store(&a->y, i, c, n, xt);
        }
    }
}

ql_status QL_CPU_FN(gather)(ql_queue *q, const ql_gather_args *a) {
    ql_cpu_parallel(q, a->y.rows, ql_cpu_row_grain(a->y.cols), gather_rows, a);
    return QL_OK;
}

/* --------------------------------------------------------------- scatter_add */

typedef struct scatter_ctx {
    const ql_scatter_add_args *a;
    int32_t *first; /* [V]: first i with index[i] == v, -1 = none        */
    int32_t *next;  /* [N]: next i with the same index, -1 = none        */
} scatter_ctx;

/* Rows i that are the first of their index own the row of dtable: they add the whole chain to it in
 * f32, in index order, and round once. */
static void scatter_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const scatter_ctx *s = ctx;
    const ql_scatter_add_args *a = s->a;
    const int32_t *index = ql_cpu_i32(&a->index, 0);
    float sum[QL_CPU_TILE], gt[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        if (s->first[index[i]] != i) continue;
        for (int64_t c = 0; c < a->dy.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->dy.cols - c);
            ql_cpu_widen(a->dtable.dtype, ql_cpu_at(&a->dtable, index[i], c), sum, n);
            for (int64_t k = i; k >= 0; k = s->next[k]) {
                const float *dy = ql_cpu_span_f32(&a->dy, k, c, n, gt);
                for (int64_t j = 0; j < n; j++) sum[j] += a->scale * dy[j];
            }
            ql_cpu_span_store(&a->dtable, index[i], c, n, sum);
        }
    }
}

/* dtable[index[i],:] += scale dy[i,:]     dy [N,C], index I32 [1,N], dtable [V,C] */
ql_status QL_CPU_FN(scatter_add)(ql_queue *q, const ql_scatter_add_args *a) {
    int64_t V = a->dtable.rows, N = a->dy.rows;
    const int32_t *index = ql_cpu_i32(&a->index, 0);
    scatter_ctx s = {.a = a, .first = ql_cpu_at(&a->scratch, 0, 0)};
    s.next = s.first + V;
    for (int64_t v = 0; v < V; v++) s.first[v] = -1;
    for (int64_t i = N - 1; i >= 0; i--) {
        s.next[i] = s.first[index[i]];
        s.first[index[i]] = (int32_t)i;
    }
    ql_cpu_parallel(q, N, ql_cpu_row_grain(a->dy.cols), scatter_rows, &s);
    return QL_OK;
}

/* ------------------------------------------------------------------ row_norm */

/* t[0..n) += s sum_r b[i,r] a[r, c..c+n) */
static void add_low_rank(const ql_row_norm_args *a, int64_t i, int64_t c, int64_t n, float *t) {
    float sum[QL_CPU_TILE], at[QL_CPU_TILE];
    memset(sum, 0, sizeof sum);
    for (int64_t r = 0; r < a->a.rows; r++) {
        const float *row = ql_cpu_span_f32(&a->a, r, c, n, at);
        float bt, b = *ql_cpu_span_f32(&a->b, i, r, 1, &bt);
        for (int64_t j = 0; j < n; j++) sum[j] += b * row[j];
    }
    for (int64_t j = 0; j < n; j++) t[j] += a->s * sum[j];
}

/* norm[i] = || W[i,:] + s (b a)[i,:] ||     W [n,k] dense or quantized, a [r,k], b [n,r] */
static void row_norm_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_row_norm_args *a = ctx;
    bool dense = ql_cpu_has(&a->wd);
    int64_t k = dense ? a->wd.cols : a->w.k;
    float *norm = ql_cpu_f32(&a->norm, 0), t[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        ql_cpu_lanes squares = {{0}};
        for (int64_t c = 0; c < k; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, k - c);
            if (dense)
                ql_cpu_widen(a->wd.dtype, ql_cpu_at(&a->wd, i, c), t, n);
            else
                ql_cpu_q_decode(&a->w, i, c, n, t);
            if (ql_cpu_has(&a->a)) add_low_rank(a, i, c, n, t);
            ql_cpu_add_products(&squares, t, t, n);
        }
        norm[i] = sqrtf(ql_cpu_lanes_sum(&squares));
    }
}

ql_status QL_CPU_FN(row_norm)(ql_queue *q, const ql_row_norm_args *a) {
    int64_t n = ql_cpu_has(&a->wd) ? a->wd.rows : a->w.n;
    ql_cpu_parallel(q, n, 1, row_norm_rows, a);
    return QL_OK;
}

/* ---------------------------------------------------------------- scale_cols */

typedef struct scale_ctx {
    const ql_scale_cols_args *a;
    float *partial; /* [chunks, K] of dm, NULL in forward */
} scale_ctx;

/* Columns [c, c + n) of row i: y = in m / norm, and p += dy x / norm. */
static void scale_span(const scale_ctx *s, int64_t i, int64_t c, int64_t n, float *p) {
    const ql_scale_cols_args *a = s->a;
    const float *m = ql_cpu_f32(&a->m, 0) + c;
    const float *norm = ql_cpu_has(&a->norm) ? ql_cpu_f32(&a->norm, 0) + c : NULL;
    float xt[QL_CPU_TILE], gt[QL_CPU_TILE], out[QL_CPU_TILE];
    const float *x = ql_cpu_span_f32(&a->x, i, c, n, xt), *in = x;
    if (s->partial) {
        in = ql_cpu_span_f32(&a->dy, i, c, n, gt);
        for (int64_t j = 0; j < n; j++) p[j] += in[j] * x[j] / (norm ? norm[j] : 1.0f);
    }
    for (int64_t j = 0; j < n; j++) out[j] = in[j] * m[j] / (norm ? norm[j] : 1.0f);
    ql_cpu_span_store(&a->y, i, c, n, out);
}

/* Chunks [begin, end) of rows. */
static void scale_chunks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const scale_ctx *s = ctx;
    int64_t N = s->a->x.rows, K = s->a->x.cols;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        float *partial = s->partial ? s->partial + k * K : NULL;
        if (partial) memset(partial, 0, (size_t)K * sizeof *partial);
        int64_t last = ql_cpu_min(N, (k + 1) * QL_CPU_CHUNK);
        for (int64_t i = k * QL_CPU_CHUNK; i < last; i++)
            for (int64_t c = 0; c < K; c += QL_CPU_TILE)
                scale_span(s, i, c, ql_cpu_min(QL_CPU_TILE, K - c), partial ? partial + c : NULL);
    }
}

/* y = x m / norm;  with dm: dm += sum_i dy x / norm, y = dy m / norm.  x, y, dy [N,K]; rest [1,K]
 */
ql_status QL_CPU_FN(scale_cols)(ql_queue *q, const ql_scale_cols_args *a) {
    scale_ctx s = {a, ql_cpu_has(&a->dm) ? ql_cpu_at(&a->scratch, 0, 0) : NULL};
    int64_t chunks = ql_cpu_chunks(a->x.rows);
    ql_cpu_parallel(q, chunks, 1, scale_chunks, &s);
    if (s.partial) {
        ql_cpu_combine c = {s.partial, chunks, a->x.cols, &a->dm, true};
        ql_cpu_parallel(q, a->x.cols, 4096, ql_cpu_combine_cols, &c);
    }
    return QL_OK;
}

/* ------------------------------------------------------------------ row_copy */

/* y[dst[i],:] = x[src[i],:]; no two dst are equal. */
static void copy_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_row_copy_args *a = ctx;
    const int32_t *src = ql_cpu_has(&a->src) ? ql_cpu_i32(&a->src, 0) : NULL;
    const int32_t *dst = ql_cpu_has(&a->dst) ? ql_cpu_i32(&a->dst, 0) : NULL;
    float t[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t from = src ? src[i] : i, to = dst ? dst[i] : i;
        if (a->x.dtype == a->y.dtype) {
            size_t bytes = (size_t)a->x.cols * ql_cpu_dtype_size(a->x.dtype);
            memcpy(ql_cpu_at(&a->y, to, 0), ql_cpu_at(&a->x, from, 0), bytes);
            continue;
        }
        for (int64_t c = 0; c < a->x.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->x.cols - c);
            ql_cpu_span_store(&a->y, to, c, n, ql_cpu_span_f32(&a->x, from, c, n, t));
        }
    }
}

ql_status QL_CPU_FN(row_copy)(ql_queue *q, const ql_row_copy_args *a) {
    int64_t rows = ql_cpu_has(&a->src)   ? a->src.cols
                   : ql_cpu_has(&a->dst) ? a->dst.cols
                                         : a->x.rows;
    ql_cpu_parallel(q, rows, ql_cpu_row_grain(a->x.cols), copy_rows, a);
    return QL_OK;
}

/* ------------------------------------------------------------------ col_copy */

/* y[i, g y_step + y_at + j] (=, +=) x[i, g x_step + x_at + j] */
static void col_copy_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_col_copy_args *a = ctx;
    float xt[QL_CPU_TILE], yt[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t g = 0; g < a->groups; g++) {
            for (int64_t c = 0; c < a->width; c += QL_CPU_TILE) {
                int64_t n = ql_cpu_min(QL_CPU_TILE, a->width - c);
                int64_t to = g * a->y_step + a->y_at + c;
                const float *x = ql_cpu_span_f32(&a->x, i, g * a->x_step + a->x_at + c, n, xt);
                if (a->accumulate) {
                    const float *y = ql_cpu_span_f32(&a->y, i, to, n, yt);
                    for (int64_t j = 0; j < n; j++) xt[j] = y[j] + x[j];
                    x = xt;
                }
                ql_cpu_span_store(&a->y, i, to, n, x);
            }
        }
    }
}

ql_status QL_CPU_FN(col_copy)(ql_queue *q, const ql_col_copy_args *a) {
    int64_t grain = ql_cpu_row_grain((int64_t)a->groups * a->width);
    ql_cpu_parallel(q, a->x.rows, grain, col_copy_rows, a);
    return QL_OK;
}
