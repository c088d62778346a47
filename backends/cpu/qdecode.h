/*
 * qdecode.h - from stored codes to f32, one run of a row at a time (contract: ql_qmat, backend.h).
 */
#ifndef QLORA_BACKENDS_CPU_QDECODE_H
#define QLORA_BACKENDS_CPU_QDECODE_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/kern.h"

/* out[0..n) = W[row, col .. col+n); the same bits with every kernel table. */
void ql_cpu_qdecode(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t row, int64_t col,
                    int64_t n, float *out);

/* True when a row is whole blocks of plain 4-bit codes, which ql_cpu_qdot reads without storing the
 * decoded values. */
bool ql_cpu_qdot_fits(const ql_qmat *w);
/* sums[i] += W[row, :] . x[i, :] for i < rows (1..8). */
void ql_cpu_qdot(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t row, const float *x,
                 int64_t ldx, int32_t rows, float *sums);

#endif
