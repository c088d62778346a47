/*
 * half.h - scalar conversions between float and the 16-bit types on the host.
 *
 * The functions are those of the kernels (round to nearest even, NaN stays NaN):
 *   float    ql_f32_from_f16(uint16_t)      uint16_t ql_f16_from_f32(float)
 *   float    ql_f32_from_bf16(uint16_t)     uint16_t ql_bf16_from_f32(float)
 */
#ifndef QLORA_CORE_BASE_HALF_H
#define QLORA_CORE_BASE_HALF_H

#include "backends/common/ql_math.inc"

#endif
