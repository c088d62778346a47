/*
 * plan.c - what this backend supports and the scratch bytes of its operators.
 *
 * While planning, an operand is present when it has rows; its buffer comes later.
 */
#include "backends/opencl/cl.h"

static uint64_t floats(int64_t n) {
    return (uint64_t)n * sizeof(float);
}

static uint64_t norm_bwd_bytes(const ql_norm_bwd_args *a) {
    int64_t count = a->rstd.cols, groups = count / a->s.rows;
    int64_t one = ql_cl_chunks(count) * (a->s.cols / groups);
    return floats((a->dw.rows > 0 ? one : 0) + (a->db.rows > 0 ? one : 0));
}

static uint64_t attn_bwd_bytes(const ql_attn_bwd_args *a) {
    int64_t deltas = a->q.rows * a->spec.heads_q;
    bool table = a->spec.bias == QL_BIAS_TABLE && a->dtable.rows > 0;
    return floats(deltas + (table ? deltas * a->spec.table.rows : 0));
}

uint64_t ql_cl_scratch_bytes(ql_device *dev, ql_op op, const ql_op_args *a) {
    (void)dev;
    switch (op) {
    case QL_OP_SCATTER_ADD: return floats(a->scatter_add.dtable.rows + a->scatter_add.dy.rows);
    case QL_OP_NORM_BWD: return norm_bwd_bytes(&a->norm_bwd);
    case QL_OP_ATTN_BWD: return attn_bwd_bytes(&a->attn_bwd);
    case QL_OP_SCALE_COLS:
        return a->scale_cols.dm.rows > 0
                   ? floats(ql_cl_chunks(a->scale_cols.x.rows) * a->scale_cols.x.cols)
                   : 0;
    case QL_OP_SUM_ROWS: return floats(ql_cl_chunks(a->sum_rows.x.rows) * a->sum_rows.x.cols);
    case QL_OP_SUMSQ:
        return floats(2 * a->sumsq.x.rows * ((a->sumsq.x.cols + QL_CL_PIECE - 1) / QL_CL_PIECE));
    default: return 0;
    }
}

static ql_support attention(const ql_attn_spec *s, const char **why) {
    if (s->dim_qk <= QL_CL_ATTN_DIMS && s->dim_v <= QL_CL_ATTN_DIMS) return QL_SUPPORT_NATIVE;
    *why = "opencl: attention heads of more than 512 values do not fit local memory";
    return QL_SUPPORT_NO;
}

ql_support ql_cl_supports(ql_device *dev, ql_op op, const ql_op_args *a, const char **why) {
    (void)dev;
    switch (op) {
    case QL_OP_LORA_FWD:
    case QL_OP_LORA_BWD: *why = "composed from dropout, gemm and gemm_q"; return QL_SUPPORT_NO;
    case QL_OP_ATTN_FWD: return attention(&a->attn_fwd.spec, why);
    case QL_OP_ATTN_BWD: return attention(&a->attn_bwd.spec, why);
    default: return QL_SUPPORT_NATIVE;
    }
}
