/*
 * gguf_blocks.c - names, sizes and decoding of GGML's element and block types.
 *
 * A block is a fixed number of elements with its scales; formulas and layouts stand above each
 * decoder. "lo" and "hi" are the two nibbles of a byte. Arithmetic is float32 in the order of the
 * format's reference (scale times sub-scale first, then times code, then minus the minimum), so
 * results are bit-equal to it. d, m, dmin are float16.
 */
#include "core/io/gguf_blocks.h"

#include <string.h>

#include "core/base/half.h"

#define QK   32  /* elements of a simple block */
#define QK_K 256 /* elements of a super-block  */

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return ql_f32_from_f16(h);
}

/* ------------------------------------------------------------ plain elements */

static void decode_f16_run(const uint8_t *p, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = half_at(p + 2 * i);
}

static void decode_bf16_run(const uint8_t *p, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        y[i] = ql_f32_from_bf16(h);
    }
}

/* ------------------------------------------------- blocks of 32 (18 .. 34 bytes)
 * Element i < 16 is the low nibble of q[i], element i + 16 the high one. */

/* {d; q[16]}: y = d (q - 8) */
static void decode_q4_0(const uint8_t *p, float *y) {
    float d = half_at(p);
    for (int i = 0; i < QK / 2; i++) {
        y[i] = d * (float)((p[2 + i] & 15) - 8);
        y[i + QK / 2] = d * (float)((p[2 + i] >> 4) - 8);
    }
}

/* {d; m; q[16]}: y = d q + m */
static void decode_q4_1(const uint8_t *p, float *y) {
    float d = half_at(p), m = half_at(p + 2);
    for (int i = 0; i < QK / 2; i++) {
        y[i] = d * (float)(p[4 + i] & 15) + m;
        y[i + QK / 2] = d * (float)(p[4 + i] >> 4) + m;
    }
}

/* Fifth bits: bit i of a 32-bit word belongs to element i. */
static uint32_t word_at(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* {d; h[4]; q[16]}: y = d (q5 - 16) */
static void decode_q5_0(const uint8_t *p, float *y) {
    float d = half_at(p);
    uint32_t h = word_at(p + 2);
    for (int i = 0; i < QK / 2; i++) {
        int lo = (p[6 + i] & 15) | (int)((h >> i & 1u) << 4);
        int hi = (p[6 + i] >> 4) | (int)((h >> (i + 16) & 1u) << 4);
        y[i] = d * (float)(lo - 16);
        y[i + QK / 2] = d * (float)(hi - 16);
    }
}

/* {d; m; h[4]; q[16]}: y = d q5 + m */
static void decode_q5_1(const uint8_t *p, float *y) {
    float d = half_at(p), m = half_at(p + 2);
    uint32_t h = word_at(p + 4);
    for (int i = 0; i < QK / 2; i++) {
        int lo = (p[8 + i] & 15) | (int)((h >> i & 1u) << 4);
        int hi = (p[8 + i] >> 4) | (int)((h >> (i + 16) & 1u) << 4);
        y[i] = d * (float)lo + m;
        y[i + QK / 2] = d * (float)hi + m;
    }
}

/* {d; i8 q[32]}: y = d q */
static void decode_q8_0(const uint8_t *p, float *y) {
    float d = half_at(p);
    for (int i = 0; i < QK; i++) y[i] = d * (float)(int8_t)p[2 + i];
}

/* ------------------------------------------------------- super-blocks of 256
 * Sub-blocks of 16 or 32 elements with small integer scales. */

/* {u8 s[16]; q[64]; d; dmin}: 16 sub-blocks of 16; scale = lo(s), minimum = hi(s).
 * Two-bit codes: 32 bytes hold 128 elements, bits 2j..2j+1 those of the j-th 32. */
static void decode_q2_k(const uint8_t *p, float *y) {
    const uint8_t *s = p, *q = p + 16;
    float d = half_at(p + 80), dmin = half_at(p + 82);
    for (int i = 0; i < QK_K; i++) {
        int sub = i / 16, half = i / 128, shift = 2 * (i / 32 % 4);
        int code = q[32 * half + i % 32] >> shift & 3;
        float scale = d * (float)(s[sub] & 15), min = dmin * (float)(s[sub] >> 4);
        y[i] = scale * (float)code - min;
    }
}

/* {h[32]; q[64]; s[12]; d}: y = d (s6 - 32) (q2 + 4 h - 4), 16 sub-blocks of 16.
 * The third bit of element i is bit i / 32 of h[i % 32]. Sixteen six-bit scales: low nibbles in
 * s[0..7] (low halves 0..7, high halves 8..15), the two high bits in s[8..11]. */
static void decode_q3_k(const uint8_t *p, float *y) {
    const uint8_t *h = p, *q = p + 32, *s = p + 96;
    float d = half_at(p + 108);
    for (int i = 0; i < QK_K; i++) {
        int sub = i / 16, half = i / 128, shift = 2 * (i / 32 % 4);
        int low = sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4;
        int high = s[8 + sub % 4] >> (2 * (sub / 4)) & 3;
        int code = q[32 * half + i % 32] >> shift & 3;
        int third = h[i % 32] >> (i / 32) & 1;
        float scale = d * (float)((low | high << 4) - 32);
        y[i] = scale * (float)(code - (third ? 0 : 4));
    }
}

/* Six-bit scale and minimum j of eight, packed in 12 bytes: 0..3 in the low six bits of s[j] and
 * s[j+4]; 4..7 by nibbles of s[j+4] with their high bits on top of s[j-4] and s[j]. */
static void scale_min_at(const uint8_t *s, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

/* {d; dmin; s[12]; q[128]}: 8 sub-blocks of 32; 32 bytes of q hold two of them, low nibbles first:
 * y = d scale q - dmin min */
static void decode_q4_k(const uint8_t *p, float *y) {
    float d = half_at(p), dmin = half_at(p + 2);
    for (int j = 0; j < 8; j++) {
        int scale, min;
        scale_min_at(p + 4, j, &scale, &min);
        float ds = d * (float)scale, dm = dmin * (float)min;
        const uint8_t *q = p + 16 + 32 * (j / 2);
        for (int i = 0; i < 32; i++) {
            y[32 * j + i] = ds * (float)(q[i] >> (4 * (j % 2)) & 15) - dm;
        }
    }
}

/* {d; dmin; s[12]; h[32]; q[128]}: as Q4_K with a fifth bit: bit j of h[i] for sub-block j. */
static void decode_q5_k(const uint8_t *p, float *y) {
    float d = half_at(p), dmin = half_at(p + 2);
    const uint8_t *h = p + 16;
    for (int j = 0; j < 8; j++) {
        int scale, min;
        scale_min_at(p + 4, j, &scale, &min);
        float ds = d * (float)scale, dm = dmin * (float)min;
        const uint8_t *q = p + 48 + 32 * (j / 2);
        for (int i = 0; i < 32; i++) {
            int code = (q[i] >> (4 * (j % 2)) & 15) | (h[i] >> j & 1) << 4;
            y[32 * j + i] = ds * (float)code - dm;
        }
    }
}

/* {ql[128]; qh[64]; i8 s[16]; d}: y = d s (q6 - 32), 16 sub-blocks of 16. Per half of 128: element
 * 32 j + i has its low nibble in ql[32 (j % 2) + i] (high nibble for j >= 2) and its two high bits
 * in qh[i] at bit 2 j. */
static void decode_q6_k(const uint8_t *p, float *y) {
    float d = half_at(p + 208);
    const uint8_t *s = p + 192;
    for (int i = 0; i < QK_K; i++) {
        int half = i / 128, j = i / 32 % 4, e = i % 32;
        int low = p[64 * half + 32 * (j % 2) + e] >> (4 * (j / 2)) & 15;
        int high = p[128 + 32 * half + e] >> (2 * j) & 3;
        float scale = d * (float)(int8_t)s[i / 16];
        y[i] = scale * (float)((low | high << 4) - 32);
    }
}

/* -------------------------------------------------------------------- table */

typedef struct block_type {
    const char *name;
    int32_t elems, bytes;
    ql_ggml trainable;
    void (*decode)(const uint8_t *block, float *y); /* elems floats; NULL: plain elements */
} block_type;

/* By GGML's number; an entry without a name is not supported. */
static const block_type types[] = {
    [QL_GT_F32] = {"F32", 1, 4, QL_GGML_NONE, NULL},
    [QL_GT_F16] = {"F16", 1, 2, QL_GGML_NONE, NULL},
    [QL_GT_BF16] = {"BF16", 1, 2, QL_GGML_NONE, NULL},
    [QL_GT_Q4_0] = {"Q4_0", QK, 18, QL_GGML_Q4_0, decode_q4_0},
    [QL_GT_Q4_1] = {"Q4_1", QK, 20, QL_GGML_Q4_1, decode_q4_1},
    [QL_GT_Q5_0] = {"Q5_0", QK, 22, QL_GGML_Q5_0, decode_q5_0},
    [QL_GT_Q5_1] = {"Q5_1", QK, 24, QL_GGML_Q5_1, decode_q5_1},
    [QL_GT_Q8_0] = {"Q8_0", QK, 34, QL_GGML_Q8_0, decode_q8_0},
    [QL_GT_Q2_K] = {"Q2_K", QK_K, 84, QL_GGML_NONE, decode_q2_k},
    [QL_GT_Q3_K] = {"Q3_K", QK_K, 110, QL_GGML_NONE, decode_q3_k},
    [QL_GT_Q4_K] = {"Q4_K", QK_K, 144, QL_GGML_NONE, decode_q4_k},
    [QL_GT_Q5_K] = {"Q5_K", QK_K, 176, QL_GGML_NONE, decode_q5_k},
    [QL_GT_Q6_K] = {"Q6_K", QK_K, 210, QL_GGML_NONE, decode_q6_k},
};

static const block_type *type_of(ql_gguf_type t) {
    size_t i = (size_t)t;
    return i < sizeof types / sizeof types[0] && types[i].name ? &types[i] : NULL;
}

const char *ql_gguf_type_name(ql_gguf_type t) {
    const block_type *b = type_of(t);
    return b ? b->name : NULL;
}

int64_t ql_gguf_block_elems(ql_gguf_type t) {
    const block_type *b = type_of(t);
    return b ? b->elems : 0;
}

int64_t ql_gguf_block_bytes(ql_gguf_type t) {
    const block_type *b = type_of(t);
    return b ? b->bytes : 0;
}

ql_ggml ql_gguf_trainable(ql_gguf_type t) {
    const block_type *b = type_of(t);
    return b ? b->trainable : QL_GGML_NONE;
}

void ql_gguf_decode(ql_gguf_type t, const uint8_t *blocks, int64_t n_blocks, float *y) {
    const block_type *b = type_of(t);
    switch (t) {
    case QL_GT_F32: memcpy(y, blocks, (size_t)n_blocks * sizeof *y); return;
    case QL_GT_F16: decode_f16_run(blocks, n_blocks, y); return;
    case QL_GT_BF16: decode_bf16_run(blocks, n_blocks, y); return;
    default: break;
    }
    for (int64_t i = 0; i < n_blocks; i++) b->decode(blocks + i * b->bytes, y + i * b->elems);
}
