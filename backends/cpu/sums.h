/*
 * sums.h - sums in an order that no instruction set, thread count or partition changes.
 *
 * Along a row: 16 lanes, element j goes to lane j mod 16, lanes are added pairwise at the end.
 * Across rows: chunks of QL_CPU_CHUNK rows, each summed from 0 in row order into its own row of
 * partial sums; the chunks are then added in order.
 */
#ifndef QLORA_BACKENDS_CPU_SUMS_H
#define QLORA_BACKENDS_CPU_SUMS_H

#include "backends/cpu/cpu.h"

/* ------------------------------------------------------------------ along a row */

#define QL_CPU_LANES 16
typedef float ql_cpu_v16 __attribute__((vector_size(64)));

typedef struct ql_cpu_lanes {
    float v[QL_CPU_LANES];
} ql_cpu_lanes;

/* lane[j mod 16] += x[j] y[j]. In a row of several tiles every tile but the last is a multiple of
 * 16 long. */
static inline void ql_cpu_add_products(ql_cpu_lanes *lanes, const float *x, const float *y,
                                       int64_t n) {
    ql_cpu_v16 sum, a, b;
    int64_t j = 0;
    memcpy(&sum, lanes->v, sizeof sum);
    for (; j + QL_CPU_LANES <= n; j += QL_CPU_LANES) {
        memcpy(&a, x + j, sizeof a);
        memcpy(&b, y + j, sizeof b);
        sum += a * b;
    }
    memcpy(lanes->v, &sum, sizeof sum);
    for (int64_t l = 0; j < n; j++, l++) lanes->v[l] += x[j] * y[j];
}

/* lane[j mod 16] += x[j] */
static inline void ql_cpu_add_values(ql_cpu_lanes *lanes, const float *x, int64_t n) {
    ql_cpu_v16 sum, a;
    int64_t j = 0;
    memcpy(&sum, lanes->v, sizeof sum);
    for (; j + QL_CPU_LANES <= n; j += QL_CPU_LANES) {
        memcpy(&a, x + j, sizeof a);
        sum += a;
    }
    memcpy(lanes->v, &sum, sizeof sum);
    for (int64_t l = 0; j < n; j++, l++) lanes->v[l] += x[j];
}

/* The largest of x[0..n) and `top`; NaN is passed over. */
static inline float ql_cpu_max_value(float top, const float *x, int64_t n) {
    typedef int32_t mask16 __attribute__((vector_size(64)));
    float lane[QL_CPU_LANES];
    ql_cpu_v16 most, a;
    int64_t j = 0;
    for (int l = 0; l < QL_CPU_LANES; l++) lane[l] = top;
    memcpy(&most, lane, sizeof most);
    for (; j + QL_CPU_LANES <= n; j += QL_CPU_LANES) {
        memcpy(&a, x + j, sizeof a);
        mask16 greater = a > most;
        most = (ql_cpu_v16)(((mask16)a & greater) | ((mask16)most & ~greater));
    }
    memcpy(lane, &most, sizeof most);
    for (int l = 0; l < QL_CPU_LANES; l++) top = lane[l] > top ? lane[l] : top;
    for (; j < n; j++) top = x[j] > top ? x[j] : top;
    return top;
}

static inline float ql_cpu_lanes_sum(const ql_cpu_lanes *lanes) {
    float v[QL_CPU_LANES];
    memcpy(v, lanes->v, sizeof v);
    for (int width = QL_CPU_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) v[l] += v[l + width];
    return v[0];
}

/* ------------------------------------------------------------------ across rows */

#define QL_CPU_CHUNK 64 /* rows per partial sum */

static inline int64_t ql_cpu_chunks(int64_t rows) {
    return ql_cpu_ceil_div(rows, QL_CPU_CHUNK);
}

/* Scratch for partial sums of `cols` columns over `rows` rows. */
static inline uint64_t ql_cpu_partial_bytes(int64_t rows, int64_t cols) {
    return (uint64_t)ql_cpu_chunks(rows) * (uint64_t)cols * sizeof(float);
}

/* Sums over all elements: one partial result per piece of a row. */
#define QL_CPU_PIECE 4096
typedef struct ql_cpu_piece {
    float squares;
    uint32_t not_finite;
} ql_cpu_piece;
static inline int64_t ql_cpu_pieces(int64_t cols) {
    return ql_cpu_ceil_div(cols, QL_CPU_PIECE);
}

typedef struct ql_cpu_combine {
    const float *partial; /* [chunks, cols] */
    int64_t chunks, cols;
    const ql_mat *y; /* [1, cols] */
    bool accumulate;
} ql_cpu_combine;

/* y[j] (=, +=) sum over chunks of partial[c, j], in the order of c. */
static inline void ql_cpu_combine_cols(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_cpu_combine *c = (const ql_cpu_combine *)ctx;
    float tile[QL_CPU_TILE];
    (void)thread;
    for (int64_t j = begin; j < end; j += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, end - j);
        memset(tile, 0, sizeof tile);
        if (c->accumulate) ql_cpu_widen(c->y->dtype, ql_cpu_at(c->y, 0, j), tile, n);
        for (int64_t k = 0; k < c->chunks; k++) {
            const float *p = c->partial + k * c->cols + j;
            for (int64_t l = 0; l < n; l++) tile[l] += p[l];
        }
        ql_cpu_span_store(c->y, 0, j, n, tile);
    }
}

#endif
