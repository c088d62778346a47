/*
 * quant_fixture.h - tensors of tests/data/quant/ by printf-style names, for the quantization tests.
 *
 * A missing tensor fails the test that asks for it. Arrays returned are freed with free().
 */
#ifndef QLORA_TESTS_CORE_QUANT_FIXTURE_H
#define QLORA_TESTS_CORE_QUANT_FIXTURE_H

#include "core/io/safetensors.h"

/* tests/data/quant/NAME.safetensors. */
ql_st_file *fixture_open(const char *name);
bool fixture_has(const ql_st_file *f, const char *fmt, ...) QL_PRINTF(2, 3);
const ql_st_tensor *fixture_find(const ql_st_file *f, const char *fmt, ...) QL_PRINTF(2, 3);
/* All elements as float32. */
float *fixture_floats(const ql_st_tensor *t);
/* Equal bit for bit, any NaN equal to any NaN; the first difference is printed. */
void assert_floats_equal(const float *got, const float *want, int64_t n, const char *what);
void assert_bytes_equal(const void *got, const void *want, uint64_t n, const char *what);

#endif
