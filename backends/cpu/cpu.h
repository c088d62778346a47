/*
 * cpu.h - private header of the CPU backend: its objects, row access, parallel helper, operators.
 *
 * Two ways to use wide registers. gemm.c, quant.c and attn.c are compiled once and reach their
 * inner loops through dev->kern (kern.h). The other operator sources (elem, rows, norm, rope, loss,
 * reduce, opt) are compiled once per instruction set: portable, and again with the compiler flags
 * of AVX2 and AVX-512 (CMakeLists.txt, isa/variant.c.in). Every public function of such a source is
 * named QL_CPU_FN(x): ql_cpu_x, ql_cpu_x_avx2, ql_cpu_x_avx512; all else in it is static, so no
 * wide instruction leaks into portable code. table.c, compiled the same way, gathers them; pick.c
 * chooses.
 *
 * Determinism: a partition of rows or chunks never changes a sum. Sums that cross the partition
 * are made of fixed-size chunks whose partial results are added in chunk order.
 */
#ifndef QLORA_BACKENDS_CPU_CPU_H
#define QLORA_BACKENDS_CPU_CPU_H

#include <string.h>

#include "backends/common/ql_math.inc"
#include "backends/cpu/cpuinfo.h"
#include "qlora/backend.h"

#ifndef QL_CPU_VARIANT
#define QL_CPU_VARIANT
#endif
#define QL_CPU_PASTE2(a, b) a##b
#define QL_CPU_PASTE(a, b)  QL_CPU_PASTE2(a, b)
#define QL_CPU_FN(name)     QL_CPU_PASTE(ql_cpu_##name, QL_CPU_VARIANT)

/* ------------------------------------------------------------------ objects */

typedef struct ql_cpu_device {
    ql_device base;
    ql_cpuinfo info;
    ql_cpu_isa isa;                    /* level in use, <= info.best */
    int threads;                       /* fixed at open, >= 1 */
    ql_op_table ops;                   /* picked operators */
    const struct ql_cpu_kernels *kern; /* inner loops of gemm, quant, attn for `isa` (kern.h) */
    struct ql_cpu_ledger *ledger;      /* owned: memory limit, bytes in use, number of queues */
} ql_cpu_device;

/* The device a queue belongs to; valid in every operator. */
static inline const ql_cpu_device *ql_cpu_dev(const ql_queue *q) {
    return (const ql_cpu_device *)q->dev;
}

/* --------------------------------------------------------- addresses and rows */

/* Columns converted at a time: 2 KiB of stack per operand. */
#define QL_CPU_TILE 512

static inline bool ql_cpu_has(const ql_mat *m) {
    return m->buf != NULL;
}

static inline uint64_t ql_cpu_dtype_size(ql_dtype t) {
    return t == QL_U8 ? 1 : t == QL_F16 || t == QL_BF16 ? 2 : 4;
}

/* Address of element (row, col). Strided products stay in 64 bits. */
static inline void *ql_cpu_at(const ql_mat *m, int64_t row, int64_t col) {
    uint64_t element = (uint64_t)(row * m->ld + col);
    return (char *)m->buf->host + m->off + element * ql_cpu_dtype_size(m->dtype);
}
static inline float *ql_cpu_f32(const ql_mat *m, int64_t row) {
    return (float *)ql_cpu_at(m, row, 0);
}
static inline const int32_t *ql_cpu_i32(const ql_mat *m, int64_t row) {
    return (const int32_t *)ql_cpu_at(m, row, 0);
}

/* dst[0..n) = src as f32; src is F32, F16 or BF16. */
static inline void ql_cpu_widen(ql_dtype t, const void *src, float *restrict dst, int64_t n) {
    const uint16_t *restrict h = (const uint16_t *)src;
    if (t == QL_F32) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
    } else if (t == QL_BF16) {
        for (int64_t i = 0; i < n; i++) dst[i] = ql_f32_from_bf16(h[i]);
    } else {
        for (int64_t i = 0; i < n; i++) dst[i] = ql_f32_from_f16(h[i]);
    }
}
/* dst as F32, F16 or BF16 = src[0..n), one rounding; dst may be src itself when F32. */
static inline void ql_cpu_narrow(ql_dtype t, void *dst, const float *src, int64_t n) {
    if (t == QL_F32) {
        if (dst != (const void *)src) memcpy(dst, src, (size_t)n * sizeof *src);
    } else {
        uint16_t *restrict h = (uint16_t *)dst;
        const float *restrict s = src;
        if (t == QL_BF16) {
            for (int64_t i = 0; i < n; i++) h[i] = ql_bf16_from_f32(s[i]);
        } else {
            for (int64_t i = 0; i < n; i++) h[i] = ql_f16_from_f32(s[i]);
        }
    }
}

/* Elements [col, col + n) of a row as f32: the row itself when F32, else converted into tmp[n]. */
static inline const float *ql_cpu_span_f32(const ql_mat *m, int64_t row, int64_t col, int64_t n,
                                           float *tmp) {
    const void *src = ql_cpu_at(m, row, col);
    if (m->dtype == QL_F32) return (const float *)src;
    ql_cpu_widen(m->dtype, src, tmp, n);
    return tmp;
}
static inline void ql_cpu_span_store(const ql_mat *m, int64_t row, int64_t col, int64_t n,
                                     const float *src) {
    ql_cpu_narrow(m->dtype, ql_cpu_at(m, row, col), src, n);
}
/* Where results for [col, col + n) are computed: the row itself when F32, else tmp. Followed by
 * ql_cpu_span_store of the same pointer, which is free for F32. */
static inline float *ql_cpu_span_out(const ql_mat *m, int64_t row, int64_t col, float *tmp) {
    return m->dtype == QL_F32 ? (float *)ql_cpu_at(m, row, col) : tmp;
}
/* The same for whole rows of `cols` elements. */
static inline const float *ql_cpu_row_f32(const ql_mat *m, int64_t row, int64_t cols, float *tmp) {
    return ql_cpu_span_f32(m, row, 0, cols, tmp);
}
static inline void ql_cpu_row_store(const ql_mat *m, int64_t row, int64_t cols, const float *src) {
    ql_cpu_span_store(m, row, 0, cols, src);
}

/* The step block, NULL when absent. */
static inline const ql_step_block *ql_cpu_step(const ql_mat *step) {
    return ql_cpu_has(step) ? (const ql_step_block *)ql_cpu_at(step, 0, 0) : NULL;
}

/* Random draws of one operator call (formula: ql_math.inc). */
typedef struct ql_cpu_rng {
    uint32_t key[2];
    const ql_mat *rows; /* I32 [N,2]; absent: sample = row, position = 0 */
} ql_cpu_rng;

static inline ql_cpu_rng ql_cpu_rng_begin(const ql_rng *rng) {
    ql_cpu_rng r = {{0, 0}, &rng->key};
    const ql_step_block *step = ql_cpu_step(&rng->step);
    ql_rng_key(rng->seed, rng->stream, step ? step->rng_step : 0u, r.key);
    return r;
}
static inline void ql_cpu_rng_row(const ql_cpu_rng *r, int64_t row, int32_t *sample,
                                  int32_t *position) {
    bool keyed = ql_cpu_has(r->rows);
    *sample = keyed ? ql_cpu_i32(r->rows, row)[0] : (int32_t)row;
    *position = keyed ? ql_cpu_i32(r->rows, row)[1] : 0;
}
/* words of columns 4 group .. 4 group + 3 of `row`. */
static inline void ql_cpu_rng_words(const ql_cpu_rng *r, int64_t row, uint32_t lane, uint32_t group,
                                    uint32_t words[4]) {
    int32_t sample, position;
    ql_cpu_rng_row(r, row, &sample, &position);
    ql_rng_words(r->key, sample, position, lane, group, words);
}

/* The same for QL_CPU_RNG_GROUPS groups from `group` on: word w of group + g is words[w][g]. */
#define QL_CPU_RNG_GROUPS 16
static inline void ql_cpu_rng_rounds(uint32_t *restrict c0, uint32_t *restrict c1,
                                     uint32_t *restrict c2, uint32_t *restrict c3,
                                     const uint32_t key[2]) {
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        for (int g = 0; g < QL_CPU_RNG_GROUPS; g++)
            ql_philox_round(c0 + g, c1 + g, c2 + g, c3 + g, k0, k1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
static inline void ql_cpu_rng_batch(const ql_cpu_rng *r, int64_t row, uint32_t lane, uint32_t group,
                                    uint32_t words[4][QL_CPU_RNG_GROUPS]) {
    int32_t sample, position;
    ql_cpu_rng_row(r, row, &sample, &position);
    for (uint32_t g = 0; g < QL_CPU_RNG_GROUPS; g++) {
        words[0][g] = group + g;
        words[1][g] = lane;
        words[2][g] = (uint32_t)position;
        words[3][g] = (uint32_t)sample;
    }
    ql_cpu_rng_rounds(words[0], words[1], words[2], words[3], r->key);
}

/* --------------------------------------------------------------- parallelism */

/* Runs task(ctx, begin, end, thread) over a partition of [0, count) into contiguous ranges, at
 * most one per thread of the device; thread in [0, threads) names private scratch. `grain`: the
 * fewest items worth a thread of their own. Returns when all is done. Tasks cannot fail. */
typedef void (*ql_cpu_task)(const void *ctx, int64_t begin, int64_t end, int thread);
void ql_cpu_parallel(const ql_queue *q, int64_t count, int64_t grain, ql_cpu_task task,
                     const void *ctx);

/* The most threads that ql_cpu_parallel uses on this device. */
static inline int ql_cpu_threads(const ql_queue *q) {
    return ql_cpu_dev(q)->threads;
}

/* Rows that make about 16 K elements: the usual grain of row-wise operators. */
static inline int64_t ql_cpu_row_grain(int64_t cols) {
    return cols >= 16384 ? 1 : 16384 / (cols > 0 ? cols : 1);
}
static inline int64_t ql_cpu_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static inline int64_t ql_cpu_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t ql_cpu_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* ----------------------------------------------------------------- operators */

#define QL_X(ID, name, family)                                                                     \
    ql_status ql_cpu_##name(ql_queue *q, const ql_##name##_args *a);                               \
    ql_status QL_CPU_FN(name)(ql_queue * q, const ql_##name##_args *a);
QL_OPS(QL_X)
#undef QL_X

/* The operators that are compiled per instruction set; NULL for those that use dev->kern and for
 * lora_*. */
const ql_op_table *QL_CPU_FN(table)(void);

/* Scratch bytes; the operators not named here need none. Pure functions of (device, shapes): they
 * may depend on dev->threads and dev->isa, which are fixed at open. */
uint64_t ql_cpu_scratch_scatter_add(const ql_cpu_device *dev, const ql_scatter_add_args *a);
uint64_t ql_cpu_scratch_norm_bwd(const ql_cpu_device *dev, const ql_norm_bwd_args *a);
uint64_t ql_cpu_scratch_attn_fwd(const ql_cpu_device *dev, const ql_attn_fwd_args *a);
uint64_t ql_cpu_scratch_attn_bwd(const ql_cpu_device *dev, const ql_attn_bwd_args *a);
uint64_t ql_cpu_scratch_gemm(const ql_cpu_device *dev, const ql_gemm_args *a);
uint64_t ql_cpu_scratch_gemm_q(const ql_cpu_device *dev, const ql_gemm_q_args *a);
uint64_t ql_cpu_scratch_scale_cols(const ql_cpu_device *dev, const ql_scale_cols_args *a);
uint64_t ql_cpu_scratch_sum_rows(const ql_cpu_device *dev, const ql_sum_rows_args *a);
uint64_t ql_cpu_scratch_sumsq(const ql_cpu_device *dev, const ql_sumsq_args *a);

/* quant.c, plain scalar decode for callers outside it: out[0..n) = elements [col, col + n) of row
 * `row` (0 .. w->n) of a quantized weight. */
void ql_cpu_q_decode(const ql_qmat *w, int64_t row, int64_t col, int64_t n, float *out);

/* pick.c: fills dev->ops and dev->base.props.isa from dev->isa. */
void ql_cpu_pick(ql_cpu_device *dev);

#endif
