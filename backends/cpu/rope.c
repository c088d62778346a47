/*
 * rope.c - rotary positions.
 *
 * Pairs (a, b) of a head become (a cos - b sin, b cos + a sin), sin times `sign`. cos and sin are
 * read from a table that core fills, so every scaling variant is the same operator.
 */
#include "backends/cpu/cpu.h"

enum { HALF_MAX = QL_CPU_TILE / 2 }; /* pairs of one tile */

/* Pairs [p, p + n) of one head. x and y are f32 and may be identical. `lo`, `hi` index the first
 * and second element of pair 0; `step` is the distance of neighbouring pairs. */
static void rotate(const float *x, float *y, const float *cs, const float *sn, float sign,
                   int64_t lo, int64_t hi, int64_t step, int64_t n) {
    for (int64_t j = 0; j < n; j++) {
        float a = x[lo + j * step], b = x[hi + j * step], s = sign * sn[j];
        y[lo + j * step] = a * cs[j] - b * s;
        y[hi + j * step] = b * cs[j] + a * s;
    }
}

/* One head: columns [col, col + D) of row i; the first `rot` rotate, the others are copied. */
static void rope_head(const ql_rope_args *a, int64_t i, int64_t col, const float *cs,
                      const float *sn) {
    float at[QL_CPU_TILE], bt[QL_CPU_TILE];
    int64_t half = a->rot / 2;
    for (int64_t p = 0; p < half; p += HALF_MAX) {
        int64_t n = ql_cpu_min(HALF_MAX, half - p);
        if (a->interleaved) {
            ql_cpu_widen(a->x.dtype, ql_cpu_at(&a->x, i, col + 2 * p), at, 2 * n);
            rotate(at, bt, cs + p, sn + p, a->sign, 0, 1, 2, n);
            ql_cpu_span_store(&a->y, i, col + 2 * p, 2 * n, bt);
        } else {
            ql_cpu_widen(a->x.dtype, ql_cpu_at(&a->x, i, col + p), at, n);
            ql_cpu_widen(a->x.dtype, ql_cpu_at(&a->x, i, col + half + p), at + HALF_MAX, n);
            rotate(at, bt, cs + p, sn + p, a->sign, 0, HALF_MAX, 1, n);
            ql_cpu_span_store(&a->y, i, col + p, n, bt);
            ql_cpu_span_store(&a->y, i, col + half + p, n, bt + HALF_MAX);
        }
    }
    for (int64_t c = a->rot; c < a->head_dim; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, a->head_dim - c);
        const float *x = ql_cpu_span_f32(&a->x, i, col + c, n, at);
        ql_cpu_span_store(&a->y, i, col + c, n, x);
    }
}

/* x, y [N, heads*D]; table F32 [P, rot]; pos I32 [1,N]. */
static void rope_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_rope_args *a = ctx;
    const int32_t *pos = ql_cpu_i32(&a->pos, 0);
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *cs = ql_cpu_f32(&a->table, pos[i]);
        for (int64_t h = 0; h < a->heads; h++)
            rope_head(a, i, h * a->head_dim, cs, cs + a->rot / 2);
    }
}

ql_status QL_CPU_FN(rope)(ql_queue *q, const ql_rope_args *a) {
    ql_cpu_parallel(q, a->x.rows, ql_cpu_row_grain(a->x.cols), rope_rows, a);
    return QL_OK;
}
