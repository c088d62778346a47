/*
 * product.h - the blocked matrix product that gemm and gemm_q share.
 *
 *   c[m,n] = alpha * A[m,k] B[k,n] + beta * c (+ bias [1,n] on every row)
 *
 * A factor is a dense matrix of any float type in either orientation, or a quantized weight. It is
 * converted while it is packed, one block at a time: at no moment a whole factor exists as f32.
 * Element (i, j) is summed in an order that depends on k alone: blocks of KC depths in order, each
 * from zero in ascending depth. So neither threads, nor the partition, nor the number of rows
 * changes a result (products of at most SMALL_M rows take a path with an order of its own).
 */
#ifndef QLORA_BACKENDS_CPU_PRODUCT_H
#define QLORA_BACKENDS_CPU_PRODUCT_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/kern.h"

enum {
    QL_CPU_KC = 256,    /* depths per block: a panel of 16 columns is 16 KiB, half of an L1 */
    QL_CPU_MC = 96,     /* rows of A packed at a time: 96 KiB, in L2                        */
    QL_CPU_NB = 384,    /* most columns of a task: its packed B is 384 KiB, in L2           */
    QL_CPU_MB = 768,    /* most rows of a task: how often a weight is unpacked              */
    QL_CPU_SMALL_M = 8, /* up to here W is read once, row by row                            */
};

/* One factor seen as lines (rows of A, columns of B) x depth. */
typedef struct ql_cpu_side {
    const ql_qmat *q;      /* quantized weight [n,k], or NULL */
    ql_mat mat;            /* dense matrix, when q is NULL */
    bool depth_contiguous; /* a row of the stored matrix is a line; else it is a depth */
} ql_cpu_side;

typedef struct ql_cpu_product {
    int64_t m, n, k;
    int64_t batch, stride_a, stride_b, stride_c; /* strides in elements */
    ql_cpu_side a, b;
    ql_mat c, bias; /* bias absent: none */
    float alpha, beta;
    ql_mat scratch;
} ql_cpu_product;

/* Partition of one product into tasks of at most mb x nb results. */
typedef struct ql_cpu_plan {
    int64_t kc, mb, nb, tasks_m, tasks_n;
} ql_cpu_plan;

/* Private memory of one thread, in floats from the start of its part of scratch. */
typedef struct ql_cpu_layout {
    int64_t b_panel, a_block, lines, edge, acc; /* first float of each area */
    int64_t floats;                             /* of one thread */
    int64_t shared;                             /* rows of a small A as f32, before all threads */
} ql_cpu_layout;

/* product_plan.c: pure functions of shapes and device. */
ql_cpu_product ql_cpu_product_of_gemm(const ql_gemm_args *a);
ql_cpu_product ql_cpu_product_of_gemm_q(const ql_gemm_q_args *a);
/* Results are summed in c itself, without an accumulator of their own. */
bool ql_cpu_product_direct(const ql_cpu_product *p);
ql_cpu_plan ql_cpu_product_plan(const ql_cpu_product *p, const ql_cpu_kernels *kern, int threads);
ql_cpu_layout ql_cpu_product_layout(const ql_cpu_product *p);

/* product.c: runs it, complete on return. */
void ql_cpu_product_run(const ql_queue *q, const ql_cpu_product *p);

/* A factor's lines [line, line + lines) x depths [at, at + depth) in groups of `width` lines:
 * out[group][depth][width], the last group filled up with zeros; up to 8 floats beyond are touched.
 * tmp: width * depth floats when depth is contiguous, else `lines`. */
void ql_cpu_pack(const ql_cpu_kernels *kern, const ql_cpu_side *s, int64_t line, int64_t lines,
                 int64_t at, int64_t depth, int64_t width, float *out, float *tmp);

/* out[0..n) = src as f32 with the table's loops. */
void ql_cpu_kwiden(const ql_cpu_kernels *kern, ql_dtype t, const void *src, int64_t n, float *out);

#endif
