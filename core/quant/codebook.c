/*
 * codebook.c - thresholds of a code table and blockwise encoding by them (spec 1.3, 1.4).
 *
 * The search is a fixed number of conditional adds, so a block encodes without branches.
 */
#include "core/quant/codebook.h"

#include <string.h>

#include "backends/common/ql_math.inc"
#include "core/quant/absmax.h"

/* Below this absmax the CPU rule scales as if it were this. */
#define ABSMAX_FLOOR 1e-38f

/* Sorts the table (stable) and puts thresholds half way between neighbours. Places behind a table
 * of fewer entries repeat its highest code above thresholds that nothing passes. */
static void midpoints(ql_codebook *c, const float *table, int entries) {
    for (int i = 0; i < entries; i++) {
        int at = i;
        for (; at > 0 && table[c->code[at - 1]] > table[i]; at--) c->code[at] = c->code[at - 1];
        c->code[at] = (uint8_t)i;
    }
    for (int i = 0; i + 1 < entries; i++)
        c->mid[i] = 0.5f * (table[c->code[i]] + table[c->code[i + 1]]);
    for (int i = entries; i < QL_CODEBOOK_ENTRIES; i++) {
        c->mid[i - 1] = INFINITY;
        c->code[i] = c->code[entries - 1];
    }
}

void ql_codebook_init(ql_codebook *c, const ql_qtype *type, ql_quant_rule rule) {
    *c = (ql_codebook){.cuda = false};
    midpoints(c, type->table, 1 << type->bits);
    if (rule == QL_RULE_CPU) return;
    c->cuda = true;
    if (type->id == QL_QT_NF4) {
        memcpy(c->mid, ql_nf4_mid_cuda, sizeof ql_nf4_mid_cuda);
    } else if (type->id == QL_QT_FP4) {
        for (int i = 0; i < QL_CODEBOOK_ENTRIES; i++) {
            if (i > 0) c->mid[i - 1] = i < 8 ? ql_fp4_mid_cuda[i - 1] : INFINITY;
            c->code[i] = ql_fp4_magnitude[i < 8 ? i : 7];
        }
        c->magnitude = true;
    }
}

/* Number of thresholds strictly below v; a NaN counts all. */
static inline uint32_t below_or_nan(const ql_codebook *c, float v) {
    uint32_t place = 0;
    for (uint32_t step = QL_CODEBOOK_ENTRIES / 2; step > 0; step /= 2)
        place += v <= c->mid[place + step - 1] ? 0 : step;
    return place;
}

/* The same; a NaN counts none. */
static inline uint32_t below(const ql_codebook *c, float v) {
    uint32_t place = 0;
    for (uint32_t step = QL_CODEBOOK_ENTRIES / 2; step > 0; step /= 2)
        place += v > c->mid[place + step - 1] ? step : 0;
    return place;
}

/* v = x * (1 / absmax), no floor, no clamp. */
static float encode_cuda(const ql_codebook *c, const float *x, int64_t n, uint8_t *codes) {
    float absmax = ql_absmax_numbers(x, n), scale = 1.0f / absmax;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        if (c->magnitude)
            codes[i] = (uint8_t)(c->code[below(c, fabsf(v))] + (v < 0.0f ? 8 : 0));
        else
            codes[i] = c->code[below(c, v)];
    }
    return absmax;
}

float ql_codebook_encode_block(const ql_codebook *c, const float *x, int64_t n, bool full,
                               uint8_t *codes) {
    if (c->cuda) return encode_cuda(c, x, n, codes);
    float absmax = ql_absmax(x, n);
    float divisor = absmax < ABSMAX_FLOOR ? ABSMAX_FLOOR : absmax;
    if (full) {
        float scale = 1.0f / divisor;
        for (int64_t i = 0; i < n; i++) codes[i] = c->code[below_or_nan(c, x[i] * scale)];
        return absmax;
    }
    for (int64_t i = 0; i < n; i++) codes[i] = c->code[below_or_nan(c, x[i] / divisor)];
    return divisor;
}

uint8_t ql_codebook_zero(const ql_codebook *c) {
    return c->code[below(c, 0.0f)];
}
