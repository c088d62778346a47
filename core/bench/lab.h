/*
 * lab.h - operands for measuring: device matrices with random content that are freed together.
 *
 * A lab belongs to one queue. Every function allocates on the device and fails with the device's
 * sentence; ql_bench_lab_close frees what was made, also after a failure.
 */
#ifndef QLORA_CORE_BENCH_LAB_H
#define QLORA_CORE_BENCH_LAB_H

#include "core/base/rng.h"
#include "core/quant/qtype.h"
#include "qlora/backend.h"

typedef struct ql_bench_lab {
    ql_queue *queue;
    ql_stream rng;
    ql_buffer **buffers;
    size_t n, cap;
} ql_bench_lab;

QL_NODISCARD ql_status ql_bench_lab_open(ql_device *dev, uint64_t seed, ql_bench_lab *out);
void ql_bench_lab_close(ql_bench_lab *lab);

/* Undefined content. */
QL_NODISCARD ql_status ql_bench_empty(ql_bench_lab *lab, ql_dtype dtype, int64_t rows, int64_t cols,
                                      ql_mat *out);
/* Floats uniform in [lo, hi), or random bytes (QL_U8; lo and hi do not count). */
QL_NODISCARD ql_status ql_bench_random(ql_bench_lab *lab, ql_dtype dtype, int64_t rows,
                                       int64_t cols, float lo, float hi, ql_mat *out);
/* A copy of host data. */
QL_NODISCARD ql_status ql_bench_copy(ql_bench_lab *lab, ql_dtype dtype, int64_t rows, int64_t cols,
                                     const void *data, ql_mat *out);
/* 0, 1, 2, ... as I32 [1, n]. */
QL_NODISCARD ql_status ql_bench_count_up(ql_bench_lab *lab, int64_t n, ql_mat *out);
/* Scratch of an operator; absent when it wants none. `a` may be used unfinished otherwise. */
QL_NODISCARD ql_status ql_bench_scratch(ql_bench_lab *lab, ql_op op, const ql_op_args *a,
                                        ql_mat *out);
/* Random weights [n, k] of a block-wise type with double quantization, block 64 and 256. */
QL_NODISCARD ql_status ql_bench_weights(ql_bench_lab *lab, ql_qtype_id type, int64_t n, int64_t k,
                                        ql_qmat *out);
/* Device bytes of its codes, scales and zeros. */
double ql_bench_weights_bytes(const ql_qmat *w);

#endif /* QLORA_CORE_BENCH_LAB_H */
