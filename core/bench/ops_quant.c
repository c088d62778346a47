/*
 * ops_quant.c - one f32 weight [n, k] quantized with both levels, and decoded.
 *
 * quantize is what `qlora quantize` does to a tensor in host memory: both levels, with the first
 * one on the device. dequantize is the device's operator. Bytes: 4 per f32 weight and the codes.
 */
#include "core/base/hostmem.h"
#include "core/bench/ops.h"
#include "core/model/encode.h"

static void work_of(const ql_bench_case *c, double stored, ql_bench_op *op) {
    op->weights = (double)c->n * (double)c->k;
    op->bytes = 4.0 * op->weights + stored;
    op->bound = QL_BENCH_MEMORY;
}

static ql_quant_opts opts_of(ql_qtype_id type) {
    ql_quant_opts o = ql_quant_opts_default();
    o.type = type;
    return o;
}

static ql_status quantize_once(ql_bench_op *op) {
    const ql_quant_opts opts = opts_of(op->type);
    ql_qtensor q;
    QL_TRY(ql_quantize_with(&opts, ql_encode_on_queue, op->lab->queue, op->host_weights, op->n,
                            op->k, &q));
    ql_qtensor_free(&q);
    return QL_OK;
}

ql_status ql_bench_quantize(const ql_bench_case *c, ql_bench_op *op) {
    const ql_quant_opts opts = opts_of(c->type);
    const int64_t n = c->n * c->k;
    ql_qbytes size;
    QL_TRY(ql_quant_bytes(&opts, c->n, c->k, &size));
    op->host = quantize_once;
    op->n = c->n;
    op->k = c->k;
    op->type = c->type;
    op->host_weights = ql_host_calloc((size_t)n, sizeof *op->host_weights);
    if (!op->host_weights) return QL_NOMEM("a weight");
    for (int64_t i = 0; i < n; i++)
        op->host_weights[i] = 0.04f * (ql_stream_uniform(&op->lab->rng) - 0.5f);
    work_of(c, (double)(size.codes + size.scale + size.scale2), op);
    return QL_OK;
}

ql_status ql_bench_dequantize(const ql_bench_case *c, ql_bench_op *op) {
    ql_q_dequantize_args *a = &op->args[0].q_dequantize;
    op->calls = 1;
    op->id[0] = QL_OP_Q_DEQUANTIZE;
    *a = (ql_q_dequantize_args){0};
    QL_TRY(ql_bench_weights(op->lab, c->type, c->n, c->k, &a->q));
    QL_TRY(ql_bench_empty(op->lab, QL_F32, c->n, c->k, &a->w));
    work_of(c, ql_bench_weights_bytes(&a->q), op);
    return QL_OK;
}
