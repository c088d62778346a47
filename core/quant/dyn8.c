/*
 * dyn8.c - 8-bit blockwise codes with a table of 256 sorted values (spec 2.2).
 *
 * NaN elements do not enter absmax and get code 0 (CPU rule); a zero block gets code 0 everywhere
 * under both rules.
 */
#include "core/quant/dyn8.h"

#include <string.h>

#include "backends/common/ql_math.inc"
#include "core/quant/absmax.h"

float ql_dyn8_encode_block(const float *map, const float *x, int64_t n, ql_quant_rule rule,
                           uint8_t *codes) {
    float absmax = ql_absmax_numbers(x, n);
    if (absmax == 0.0f) {
        memset(codes, 0, (size_t)n);
        return absmax;
    }
    float scale = 1.0f / absmax;
    for (int64_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(rule == QL_RULE_CPU ? ql_dyn8_code_cpu(map, x[i] * scale)
                                                 : ql_dyn8_code_cuda(map, x[i] * scale));
    return absmax;
}

void ql_dyn8_encode(const float *map, const float *x, int64_t n, int32_t block, ql_quant_rule rule,
                    uint8_t *codes, float *absmax) {
    for (int64_t first = 0, b = 0; first < n; first += block, b++) {
        int64_t count = n - first < block ? n - first : block;
        absmax[b] = ql_dyn8_encode_block(map, x + first, count, rule, codes + first);
    }
}
