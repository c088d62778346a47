/*
 * absmax.h - the largest magnitude of a run of floats.
 *
 * Magnitudes are compared as bit patterns: the order is the same, the loop vectorizes, and a NaN
 * (above infinity in this order) survives into the result.
 */
#ifndef QLORA_CORE_QUANT_ABSMAX_H
#define QLORA_CORE_QUANT_ABSMAX_H

#include <stdint.h>
#include <string.h>

/* max |x|; NaN if any element is. */
static inline float ql_absmax(const float *x, int64_t n) {
    uint32_t top = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        u &= 0x7FFFFFFFu;
        top = u > top ? u : top;
    }
    float absmax;
    memcpy(&absmax, &top, sizeof absmax);
    return absmax;
}

/* max |x| over the elements that are numbers (CUDA rule). */
static inline float ql_absmax_numbers(const float *x, int64_t n) {
    float absmax = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        float a = x[i] < 0.0f ? -x[i] : x[i];
        absmax = a > absmax ? a : absmax;
    }
    return absmax;
}

#endif
