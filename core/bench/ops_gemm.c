/*
 * ops_gemm.c - products with quantized and dense weights W [n, k]; m tokens.
 *
 *   gemm_TYPE    y [m,n] = x [m,k] W^T       gemm_TYPE_t  y [m,k] = x [m,n] W
 *   gemv_TYPE    the first with m = 1, each run with other weights, so that no cache holds them
 *   gemm_f32     y [m,n] = x [m,k] W^T, W dense: the output head; gemm_bf16: W in bf16, x and y f32
 * Each is 2 m n k FLOP.
 */
#include "core/base/hostmem.h"
#include "core/bench/ops.h"

#define ROTATED_BYTES 256e6

static double product_flop(const ql_bench_case *c) {
    return 2.0 * (double)c->m * (double)c->n * (double)c->k;
}

/* Operands of gemm_q around weights `w`. */
static ql_status build_product(const ql_bench_case *c, bool trans_w, const ql_qmat *w,
                               ql_bench_op *op) {
    ql_gemm_q_args *a = &op->args[0].gemm_q;
    const int64_t in = trans_w ? c->n : c->k, out = trans_w ? c->k : c->n;
    op->calls = 1;
    op->id[0] = QL_OP_GEMM_Q;
    *a = (ql_gemm_q_args){.w = *w, .trans_w = trans_w, .alpha = 1};
    QL_TRY(ql_bench_random(op->lab, QL_F32, c->m, in, -1, 1, &a->x));
    QL_TRY(ql_bench_empty(op->lab, QL_F32, c->m, out, &a->y));
    QL_TRY(ql_bench_scratch(op->lab, QL_OP_GEMM_Q, &op->args[0], &a->scratch));
    op->flop = product_flop(c);
    return QL_OK;
}

static ql_status build_one(const ql_bench_case *c, bool trans_w, ql_bench_op *op) {
    ql_qmat w;
    QL_TRY(ql_bench_weights(op->lab, c->type, c->n, c->k, &w));
    return build_product(c, trans_w, &w, op);
}

ql_status ql_bench_gemm_q(const ql_bench_case *c, ql_bench_op *op) {
    return build_one(c, false, op);
}

ql_status ql_bench_gemm_q_t(const ql_bench_case *c, ql_bench_op *op) {
    return build_one(c, true, op);
}

ql_status ql_bench_gemv_q(const ql_bench_case *c, ql_bench_op *op) {
    ql_qmat first;
    QL_TRY(ql_bench_weights(op->lab, c->type, c->n, c->k, &first));
    const double bytes = ql_bench_weights_bytes(&first);
    const int count = 1 + (int)(ROTATED_BYTES / bytes);
    op->rotate = ql_host_calloc((size_t)count, sizeof *op->rotate);
    if (!op->rotate) return QL_NOMEM("a list of weights");
    op->rotate[op->n_rotate++] = first;
    while (op->n_rotate < count)
        QL_TRY(ql_bench_weights(op->lab, c->type, c->n, c->k, &op->rotate[op->n_rotate++]));
    op->bytes = bytes + 4.0 * (double)(c->m * c->k + c->m * c->n);
    op->weights = (double)c->n * (double)c->k;
    op->bound = QL_BENCH_MEMORY;
    return build_product(c, false, &first, op);
}

static ql_status build_dense(const ql_bench_case *c, ql_dtype weights, ql_bench_op *op) {
    ql_gemm_args *a = &op->args[0].gemm;
    op->calls = 1;
    op->id[0] = QL_OP_GEMM;
    *a = (ql_gemm_args){.trans_b = true, .alpha = 1, .batch = 1};
    QL_TRY(ql_bench_random(op->lab, QL_F32, c->m, c->k, -1, 1, &a->a));
    QL_TRY(ql_bench_random(op->lab, weights, c->n, c->k, -0.1f, 0.1f, &a->b));
    QL_TRY(ql_bench_empty(op->lab, QL_F32, c->m, c->n, &a->c));
    QL_TRY(ql_bench_scratch(op->lab, QL_OP_GEMM, &op->args[0], &a->scratch));
    op->flop = product_flop(c);
    return QL_OK;
}

ql_status ql_bench_gemm_f32(const ql_bench_case *c, ql_bench_op *op) {
    return build_dense(c, QL_F32, op);
}

ql_status ql_bench_gemm_bf16(const ql_bench_case *c, ql_bench_op *op) {
    return build_dense(c, QL_BF16, op);
}
