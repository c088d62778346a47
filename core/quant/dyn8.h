/* dyn8.h - one block of 8-bit codes of a 256-entry map; shared by weights and the second level. */
#ifndef QLORA_CORE_QUANT_DYN8_H
#define QLORA_CORE_QUANT_DYN8_H

#include "core/quant/quantize.h"

/* codes[n] of x[n], 1 <= n; returns the block's absmax. */
float ql_dyn8_encode_block(const float *map, const float *x, int64_t n, ql_quant_rule rule,
                           uint8_t *codes);

#endif
