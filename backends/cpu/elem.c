/*
 * elem.c - fill, axpby, dropout, activations.
 *
 * Work is split by rows; a row is processed in tiles of QL_CPU_TILE columns, converted to f32 where
 * needed. No sums: the partition cannot change a result.
 */
#include "backends/cpu/cpu.h"

/* ---------------------------------------------------------------------- fill */

/* tile = value as n elements of any dtype */
static void fill_tile(ql_dtype t, float value, void *tile, int64_t n) {
    float *f = tile;
    int32_t *i32 = tile;
    if (t == QL_U8) {
        memset(tile, (uint8_t)value, (size_t)n);
    } else if (t == QL_I32) {
        for (int64_t j = 0; j < n; j++) i32[j] = (int32_t)value;
    } else if (t == QL_F32) {
        for (int64_t j = 0; j < n; j++) f[j] = value;
    } else {
        for (int64_t j = 0; j < n; j++) ql_cpu_narrow(t, (uint16_t *)tile + j, &value, 1);
    }
}

/* y [R,K] = value */
static void fill_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_fill_args *a = ctx;
    union {
        float align;
        char bytes[QL_CPU_TILE * sizeof(float)];
    } tile;
    size_t size = ql_cpu_dtype_size(a->y.dtype);
    (void)thread;
    fill_tile(a->y.dtype, a->value, &tile, QL_CPU_TILE);
    for (int64_t i = begin; i < end; i++)
        for (int64_t c = 0; c < a->y.cols; c += QL_CPU_TILE)
            memcpy(ql_cpu_at(&a->y, i, c), &tile,
                   (size_t)ql_cpu_min(QL_CPU_TILE, a->y.cols - c) * size);
}

ql_status QL_CPU_FN(fill)(ql_queue *q, const ql_fill_args *a) {
    ql_cpu_parallel(q, a->y.rows, ql_cpu_row_grain(a->y.cols), fill_rows, a);
    return QL_OK;
}

/* --------------------------------------------------------------------- axpby */

/* out = alpha x + beta y over n elements. beta 0 does not read y, so y may hold anything. */
static void axpby_span(float alpha, const float *x, float beta, const float *y, float *restrict out,
                       int64_t n) {
    if (beta == 0.0f) {
        for (int64_t j = 0; j < n; j++) out[j] = alpha * x[j];
    } else {
        for (int64_t j = 0; j < n; j++) out[j] = alpha * x[j] + beta * y[j];
    }
}

/* y [R,K] = alpha x + beta y; x [R,K] or [1,K]. */
static void axpby_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_axpby_args *a = ctx;
    float xt[QL_CPU_TILE], yt[QL_CPU_TILE], out[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t xi = a->x.rows == 1 ? 0 : i;
        for (int64_t c = 0; c < a->y.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->y.cols - c);
            const float *x = ql_cpu_span_f32(&a->x, xi, c, n, xt);
            const float *y = a->beta == 0.0f ? x : ql_cpu_span_f32(&a->y, i, c, n, yt);
            axpby_span(a->alpha, x, a->beta, y, out, n);
            ql_cpu_span_store(&a->y, i, c, n, out);
        }
    }
}

ql_status QL_CPU_FN(axpby)(ql_queue *q, const ql_axpby_args *a) {
    ql_cpu_parallel(q, a->y.rows, ql_cpu_row_grain(a->y.cols), axpby_rows, a);
    return QL_OK;
}

/* ------------------------------------------------------------------- dropout */

typedef struct dropout_ctx {
    const ql_dropout_args *a;
    ql_cpu_rng rng;
    float scale; /* 1 / (1 - p) */
} dropout_ctx;

/* keep[0 .. 64) of columns [c, c + 64) of row i: 1 / (1 - p) or 0. */
static void keep_factors(const dropout_ctx *d, int64_t i, int64_t c, float keep[64]) {
    uint32_t words[4][QL_CPU_RNG_GROUPS];
    ql_cpu_rng_batch(&d->rng, i, 0, (uint32_t)(c / 4), words);
    float p = d->a->p, scale = d->scale;
    for (int g = 0; g < QL_CPU_RNG_GROUPS; g++) {
        keep[4 * g] = ql_uniform24(words[0][g]) >= p ? scale : 0.0f;
        keep[4 * g + 1] = ql_uniform24(words[1][g]) >= p ? scale : 0.0f;
        keep[4 * g + 2] = ql_uniform24(words[2][g]) >= p ? scale : 0.0f;
        keep[4 * g + 3] = ql_uniform24(words[3][g]) >= p ? scale : 0.0f;
    }
}

/* y [R,K] = keep ? x / (1 - p) : 0; four columns per draw. A dropped infinity is 0, not NaN. */
static void dropout_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    enum { STEP = 4 * QL_CPU_RNG_GROUPS };
    const dropout_ctx *d = ctx;
    const ql_dropout_args *a = d->a;
    float xt[STEP], y[STEP], keep[STEP];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < a->x.cols; c += STEP) {
            int64_t n = ql_cpu_min(STEP, a->x.cols - c);
            const float *x = ql_cpu_span_f32(&a->x, i, c, n, xt);
            keep_factors(d, i, c, keep);
            for (int64_t j = 0; j < n; j++) y[j] = keep[j] > 0.0f ? x[j] * keep[j] : 0.0f;
            ql_cpu_span_store(&a->y, i, c, n, y);
        }
    }
}

ql_status QL_CPU_FN(dropout)(ql_queue *q, const ql_dropout_args *a) {
    dropout_ctx d = {a, ql_cpu_rng_begin(&a->rng), 1.0f / (1.0f - a->p)};
    ql_cpu_parallel(q, a->x.rows, ql_cpu_max(1, ql_cpu_row_grain(a->x.cols) / 4), dropout_rows, &d);
    return QL_OK;
}

/* --------------------------------------------------------------- activations
 * The switch over kinds stands outside the loops, so that each loop vectorizes. */

#define ACT_KINDS(CASE)                                                                            \
    CASE(QL_ACT_IDENTITY, 0)                                                                       \
    CASE(QL_ACT_RELU, 1)                                                                           \
    CASE(QL_ACT_GELU_ERF, 2)                                                                       \
    CASE(QL_ACT_GELU_TANH, 3)                                                                      \
    CASE(QL_ACT_SILU, 4)                                                                           \
    CASE(QL_ACT_TANH, 5)

/* The kinds of ql_math.inc are those of the contract. */
#define CASE(kind, number) _Static_assert((int)kind == number, "activation kinds disagree");
ACT_KINDS(CASE)
#undef CASE

/* f = act(x) */
static void act_span(ql_act_kind kind, const float *x, float *f, int64_t n) {
    switch (kind) {
#define CASE(k, number)                                                                            \
    case k:                                                                                        \
        for (int64_t j = 0; j < n; j++) f[j] = ql_act(number, x[j]);                               \
        break;
        ACT_KINDS(CASE)
#undef CASE
    }
}

/* f = act(x), d = act'(x) */
static void act_d_span(ql_act_kind kind, const float *x, float *restrict f, float *restrict d,
                       int64_t n) {
    switch (kind) {
#define CASE(k, number)                                                                            \
    case k:                                                                                        \
        for (int64_t j = 0; j < n; j++) {                                                          \
            f[j] = ql_act(number, x[j]);                                                           \
            d[j] = ql_act_d(number, x[j]);                                                         \
        }                                                                                          \
        break;
        ACT_KINDS(CASE)
#undef CASE
    }
}

/* y [R,F] = act(x) up; up absent = 1. */
static void act_fwd_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_act_fwd_args *a = ctx;
    float xt[QL_CPU_TILE], ut[QL_CPU_TILE], f[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < a->x.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->x.cols - c);
            act_span(a->kind, ql_cpu_span_f32(&a->x, i, c, n, xt), f, n);
            if (ql_cpu_has(&a->up)) {
                const float *up = ql_cpu_span_f32(&a->up, i, c, n, ut);
                for (int64_t j = 0; j < n; j++) f[j] *= up[j];
            }
            ql_cpu_span_store(&a->y, i, c, n, f);
        }
    }
}

ql_status QL_CPU_FN(act_fwd)(ql_queue *q, const ql_act_fwd_args *a) {
    ql_cpu_parallel(q, a->x.rows, ql_cpu_max(1, ql_cpu_row_grain(a->x.cols) / 4), act_fwd_rows, a);
    return QL_OK;
}

/* dx = dy up act'(x);  dup = dy act(x). Either may be absent. */
static void act_bwd_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_act_bwd_args *a = ctx;
    float xt[QL_CPU_TILE], ut[QL_CPU_TILE], gt[QL_CPU_TILE], f[QL_CPU_TILE], d[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < a->x.cols; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, a->x.cols - c);
            const float *dy = ql_cpu_span_f32(&a->dy, i, c, n, gt);
            act_d_span(a->kind, ql_cpu_span_f32(&a->x, i, c, n, xt), f, d, n);
            for (int64_t j = 0; j < n; j++) f[j] *= dy[j];
            for (int64_t j = 0; j < n; j++) d[j] *= dy[j];
            if (ql_cpu_has(&a->up)) {
                const float *up = ql_cpu_span_f32(&a->up, i, c, n, ut);
                for (int64_t j = 0; j < n; j++) d[j] *= up[j];
            }
            if (ql_cpu_has(&a->dx)) ql_cpu_span_store(&a->dx, i, c, n, d);
            if (ql_cpu_has(&a->dup)) ql_cpu_span_store(&a->dup, i, c, n, f);
        }
    }
}

ql_status QL_CPU_FN(act_bwd)(ql_queue *q, const ql_act_bwd_args *a) {
    ql_cpu_parallel(q, a->x.rows, ql_cpu_max(1, ql_cpu_row_grain(a->x.cols) / 4), act_bwd_rows, a);
    return QL_OK;
}
