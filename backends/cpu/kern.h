/*
 * kern.h - the inner loops that exist once per instruction set, and the table that holds them.
 *
 * Everything above this table (blocking, threads, formats, attention) is written once. A table
 * differs from another in speed and in the rounding of `micro`, `dot`, `dotq` and `exp_sum`; every
 * other entry gives the same bits in all tables. No entry allocates or keeps state.
 */
#ifndef QLORA_BACKENDS_CPU_KERN_H
#define QLORA_BACKENDS_CPU_KERN_H

#include <stdbool.h>
#include <stdint.h>

/* Largest register tile of any table: bounds the tile buffers of the callers. */
#define QL_CPU_MAX_MR 14
#define QL_CPU_MAX_NR 32

/* How codes become 4-bit values: sorted thresholds and the code of each interval. */
typedef struct ql_cpu_cuts {
    float cut[15];    /* ascending */
    uint8_t code[16]; /* code[i]: between cut[i-1] and cut[i] */
    bool nan_low;     /* NaN takes code[0], not code[15] */
} ql_cpu_cuts;

/* Codes of 2, 3 or 4 bits in blocks: value(p) = table[code(p)] * scale[b] (+ zero[b]), each step
 * rounded. A block is a multiple of 32 codes, so that it begins with a byte. */
typedef struct ql_cpu_codes {
    const uint8_t *codes;
    int32_t bits;
    bool low_first;     /* the string of bits starts in the lowest bit of each byte */
    const float *table; /* [2^bits] */
    int64_t blocks, block;
    const float *scale, *zero; /* [blocks]; zero: NULL = none */
} ql_cpu_codes;

typedef struct ql_cpu_kernels {
    const char *isa;
    int32_t mr, nr; /* register tile */

    /* c[i*ldc + j] (=, += when add) sum_k a[i*rs + k*ks] * b[k*ldb + j], i < mr, j < nr, in
     * ascending k from 0. Strides in elements, kc >= 1. */
    void (*micro)(int64_t kc, const float *a, int64_t rs, int64_t ks, const float *b, int64_t ldb,
                  float *c, int64_t ldc, bool add);

    /* out[p*width + l] = in[l*ld + p] for l < lines, 0 for lines <= l < width; p < depth.
     * May write up to 8 floats beyond out[depth*width]. lines <= width. */
    void (*interleave)(float *out, int64_t width, const float *in, int64_t ld, int64_t lines,
                       int64_t depth);

    void (*widen_bf16)(const uint16_t *in, int64_t n, float *out);
    void (*widen_f16)(const uint16_t *in, int64_t n, float *out);
    void (*narrow_bf16)(const float *in, int64_t n, uint16_t *out);
    void (*narrow_f16)(const float *in, int64_t n, uint16_t *out);

    /* out[i] = values[code(i)], codes of 2, 3 or 4 bits from the start of a byte on, n of them
     * whole bytes; reads no byte beyond. */
    void (*decode)(const uint8_t *codes, int64_t n, int32_t bits, bool low_first,
                   const float *values, float *out);

    /* codes of x[i] * mul, first of a pair in the high bits. n even. */
    void (*encode4)(const float *x, int64_t n, float mul, const ql_cpu_cuts *cuts, uint8_t *codes);

    /* Largest |x[i]| as an integer maximum of the bits: any NaN wins. n >= 1. */
    float (*absmax)(const float *x, int64_t n);

    /* sums[i] += sum_p w[p] * x[i*ldx + p] for i < rows (1..8), n >= 1. */
    void (*dot)(const float *w, int64_t n, const float *x, int64_t ldx, int32_t rows, float *sums);

    /* sums[i] += sum_p value(p) * x[i*ldx + p] for i < rows (1..8): decode and dot in one pass. */
    void (*dotq)(const ql_cpu_codes *c, const float *x, int64_t ldx, int32_t rows, float *sums);

    /* Largest x[i], passing over NaN; -infinity for n = 0. */
    float (*max)(const float *x, int64_t n);

    /* s[i] = e^(s[i] * mul - sub), returns their sum; n >= 0. e^-infinity is exactly 0. */
    float (*exp_sum)(float *s, int64_t n, float mul, float sub);
} ql_cpu_kernels;

const ql_cpu_kernels *ql_cpu_kern(void);
/* Only where the compiler targets x86-64; call after asking the CPU (cpuinfo.h). */
const ql_cpu_kernels *ql_cpu_kern_avx2(void);
const ql_cpu_kernels *ql_cpu_kern_avx512(void);

#endif
