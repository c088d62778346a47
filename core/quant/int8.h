/* int8.h - round-to-nearest 8-bit codes: per block (int8) and per row (llm_int8). */
#ifndef QLORA_CORE_QUANT_INT8_H
#define QLORA_CORE_QUANT_INT8_H

#include <stdint.h>

/* X = round_half_even(127 / absmax * x), two's complement; returns absmax = max |x|, NaN with a
 * NaN. */
float ql_int8_encode_block(const float *x, int64_t n, uint8_t *codes);
/* The same for a row of LLM.int8: values are first rounded to float16 (spec 4.1). */
float ql_int8_encode_row(const float *x, int64_t n, uint8_t *codes);

#endif
