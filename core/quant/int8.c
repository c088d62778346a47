/*
 * int8.c - equation 1 of QLoRA per block, and LLM.int8's rows (spec 4.1).
 *
 * A block or row of zeros has absmax 0 and codes 0. A NaN makes absmax NaN, so that everything
 * under it decodes to NaN instead of plausible numbers.
 */
#include "core/quant/int8.h"

#include "backends/common/ql_math.inc"
#include "core/quant/absmax.h"

/* Rows are taken in pieces, so that their float16 copy stays in the cache. */
enum { PIECE = 1024 };

float ql_int8_encode_block(const float *x, int64_t n, uint8_t *codes) {
    float absmax = ql_absmax(x, n);
    for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)ql_int8_code(x[i], absmax);
    return absmax;
}

static void through_f16(const float *x, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = ql_f32_from_f16(ql_f16_from_f32(x[i]));
}

/* The package computes 127 / absmax as torch does, (1 / absmax) * 127: one more rounding, which
 * decides some ties. */
float ql_int8_encode_row(const float *x, int64_t n, uint8_t *codes) {
    float half[PIECE], absmax = 0.0f;
    for (int64_t first = 0; first < n && absmax == absmax; first += PIECE) {
        int64_t count = n - first < PIECE ? n - first : PIECE;
        through_f16(x + first, count, half);
        float top = ql_absmax(half, count);
        absmax = top <= absmax ? absmax : top; /* a NaN is taken */
    }
    float scale = (1.0f / absmax) * 127.0f;
    for (int64_t first = 0; first < n; first += PIECE) {
        int64_t count = n - first < PIECE ? n - first : PIECE;
        through_f16(x + first, count, half);
        for (int64_t i = 0; i < count; i++) {
            float q = rintf(half[i] * scale);
            codes[first + i] = q >= -127.0f && q <= 127.0f ? (uint8_t)(int32_t)q : 0;
        }
    }
    return absmax;
}
