/*
 * reduce.c - column sums and the sum of squares of a gradient.
 */
#include "backends/cpu/sums.h"

/* ------------------------------------------------------------------ sum_rows */

typedef struct sum_ctx {
    const ql_mat *x;
    float *partial; /* [chunks, K] */
} sum_ctx;

static void sum_chunks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const sum_ctx *s = ctx;
    int64_t K = s->x->cols;
    float xt[QL_CPU_TILE];
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        float *sum = s->partial + k * K;
        int64_t last = ql_cpu_min(s->x->rows, (k + 1) * QL_CPU_CHUNK);
        memset(sum, 0, (size_t)K * sizeof *sum);
        for (int64_t i = k * QL_CPU_CHUNK; i < last; i++)
            for (int64_t c = 0; c < K; c += QL_CPU_TILE) {
                int64_t n = ql_cpu_min(QL_CPU_TILE, K - c);
                const float *x = ql_cpu_span_f32(s->x, i, c, n, xt);
                for (int64_t j = 0; j < n; j++) sum[c + j] += x[j];
            }
    }
}

/* y [1,K] (=, +=) column sums of x [R,K] */
ql_status QL_CPU_FN(sum_rows)(ql_queue *q, const ql_sum_rows_args *a) {
    sum_ctx s = {&a->x, ql_cpu_at(&a->scratch, 0, 0)};
    int64_t chunks = ql_cpu_chunks(a->x.rows), K = a->x.cols;
    ql_cpu_combine c = {s.partial, chunks, K, &a->y, a->accumulate};
    ql_cpu_parallel(q, chunks, ql_cpu_max(1, ql_cpu_row_grain(K) / QL_CPU_CHUNK), sum_chunks, &s);
    ql_cpu_parallel(q, K, 4096, ql_cpu_combine_cols, &c);
    return QL_OK;
}

/* --------------------------------------------------------------------- sumsq */

typedef struct squares_ctx {
    const ql_mat *x;
    ql_cpu_piece *piece; /* [R * pieces of a row] */
} squares_ctx;

static void square_pieces(const void *ctx, int64_t begin, int64_t end, int thread) {
    const squares_ctx *s = ctx;
    int64_t per_row = ql_cpu_pieces(s->x->cols);
    float xt[QL_CPU_TILE];
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        int64_t row = k / per_row, first = k % per_row * QL_CPU_PIECE;
        int64_t last = ql_cpu_min(first + QL_CPU_PIECE, s->x->cols);
        ql_cpu_lanes squares = {{0}};
        uint32_t not_finite = 0;
        for (int64_t c = first; c < last; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, last - c);
            const float *x = ql_cpu_span_f32(s->x, row, c, n, xt);
            ql_cpu_add_products(&squares, x, x, n);
            for (int64_t j = 0; j < n; j++)
                not_finite += (ql_bits_of_f32(x[j]) & 0x7F800000u) == 0x7F800000u;
        }
        s->piece[k] = (ql_cpu_piece){ql_cpu_lanes_sum(&squares), not_finite};
    }
}

/* y F32 [1,2]: y0 (=, +=) sum of squares; y1 (=, +=) count of non-finite elements. */
ql_status QL_CPU_FN(sumsq)(ql_queue *q, const ql_sumsq_args *a) {
    squares_ctx s = {&a->x, ql_cpu_at(&a->scratch, 0, 0)};
    int64_t pieces = a->x.rows * ql_cpu_pieces(a->x.cols);
    float *y = ql_cpu_f32(&a->y, 0);
    double squares = a->accumulate ? (double)y[0] : 0.0, count = a->accumulate ? (double)y[1] : 0.0;
    ql_cpu_parallel(q, pieces, ql_cpu_row_grain(ql_cpu_min(a->x.cols, QL_CPU_PIECE)), square_pieces,
                    &s);
    for (int64_t k = 0; k < pieces; k++) {
        squares += (double)s.piece[k].squares;
        count += (double)s.piece[k].not_finite;
    }
    y[0] = (float)squares;
    y[1] = (float)count;
    return QL_OK;
}
