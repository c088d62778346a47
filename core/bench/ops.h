/*
 * ops.h - `qlora bench ops` and `quantize`: the table of operator cases and how one becomes a row.
 *
 * A case names an operator and a shape [tokens x out x in]; its builder makes operands and says how
 * much useful work one run is. Everything runs through the checked entry points of backend.h, so
 * each device is measured alike.
 */
#ifndef QLORA_CORE_BENCH_OPS_H
#define QLORA_CORE_BENCH_OPS_H

#include "core/bench/lab.h"
#include "core/bench/row.h"

/* What a share is taken of. */
typedef enum ql_bench_bound { QL_BENCH_COMPUTE, QL_BENCH_MEMORY } ql_bench_bound;

#define QL_BENCH_CALLS 2

/* One measured thing. `calls` run in order, then the queue is waited for; or `host` runs alone. */
typedef struct ql_bench_op {
    ql_bench_lab *lab;
    ql_op id[QL_BENCH_CALLS];
    ql_op_args args[QL_BENCH_CALLS];
    int calls;
    ql_qmat *rotate; /* call 0 takes the next of these weights each run; NULL = always its own */
    int n_rotate, turn;
    ql_status (*host)(struct ql_bench_op *op);
    float *host_weights;         /* of `host`; freed with the case                          */
    int64_t n, k;                /* of `host`                                            */
    ql_qtype_id type;            /* of `host`                                            */
    double flop, bytes, weights; /* useful work of one run; 0 = no rate of this kind   */
    ql_bench_bound bound;
} ql_bench_op;

/* One row of the table. m, n, k: tokens, out, in, as the row's shape says; 0 = no such size. */
typedef struct ql_bench_case {
    const char *name;
    int64_t m, n, k;
    ql_status (*build)(const struct ql_bench_case *c, ql_bench_op *op);
    ql_qtype_id type; /* storage of quantized weights; NF4 where the table says nothing */
} ql_bench_case;

/* Builders, by file. */
ql_status ql_bench_gemm_q(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_gemm_q_t(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_gemv_q(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_gemm_f32(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_gemm_bf16(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_attention(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_attn_fwd(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_norm_fwd(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_norm_bwd(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_rope(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_act_fwd(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_act_bwd(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_loss(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_adamw(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_quantize(const ql_bench_case *c, ql_bench_op *op);
ql_status ql_bench_dequantize(const ql_bench_case *c, ql_bench_op *op);

typedef enum ql_bench_table { QL_BENCH_OPS, QL_BENCH_QUANTIZE } ql_bench_table;

/* Which cases: `only` and `shape` ("512x576x576") NULL = all. */
typedef struct ql_bench_choice {
    ql_bench_table table;
    const char *only, *shape;
    double seconds; /* of measuring, per row */
    uint64_t seed;
} ql_bench_choice;

/* Runs the chosen cases. No case with that name or shape: QL_ERR_NOT_FOUND, and the sentence lists
 * what there is. `peaks` NULL = rows have no share. */
QL_NODISCARD ql_status ql_bench_run_ops(ql_device *dev, const ql_bench_choice *choice,
                                        const ql_bench_peaks *peaks, const ql_bench_sink *sink);
/* The check that ql_bench_run_ops begins with. */
QL_NODISCARD ql_status ql_bench_check_choice(const ql_bench_choice *choice);

#endif /* QLORA_CORE_BENCH_OPS_H */
