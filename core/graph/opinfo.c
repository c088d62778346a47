/* opinfo.c - access of operands for given arguments (see opinfo.h). */
#include "core/graph/opinfo.h"

ql_op_info ql_op_info_of(ql_op op) {
    ql_op_info info = {.name = ql_op_name(op)};
    info.operand = ql_operands_of(op, &info.count);
    return info;
}

/* Byte offset of the destination that keeps its content only when asked to; whether it is asked. */
static bool overwrites(ql_op op, const ql_op_args *a, size_t at) {
    switch (op) {
    case QL_OP_AXPBY: return at == offsetof(ql_axpby_args, y) && a->axpby.beta == 0.0f;
    case QL_OP_GATHER: return at == offsetof(ql_gather_args, y) && !a->gather.accumulate;
    case QL_OP_ROW_COPY:
        return at == offsetof(ql_row_copy_args, y) && !a->row_copy.dst.rows &&
               a->row_copy.y.rows ==
                   (a->row_copy.src.rows ? a->row_copy.src.cols : a->row_copy.x.rows);
    case QL_OP_COL_COPY:
        return at == offsetof(ql_col_copy_args, y) && !a->col_copy.accumulate &&
               (int64_t)a->col_copy.groups * a->col_copy.width == a->col_copy.y.cols;
    case QL_OP_NORM_BWD: return at == offsetof(ql_norm_bwd_args, dx) && !a->norm_bwd.accumulate;
    case QL_OP_GEMM: return at == offsetof(ql_gemm_args, c) && a->gemm.beta == 0.0f;
    case QL_OP_GEMM_Q: return at == offsetof(ql_gemm_q_args, y) && a->gemm_q.beta == 0.0f;
    case QL_OP_LORA_BWD: return at == offsetof(ql_lora_bwd_args, dx) && !a->lora_bwd.accumulate;
    case QL_OP_SUM_ROWS: return at == offsetof(ql_sum_rows_args, y) && !a->sum_rows.accumulate;
    case QL_OP_SUMSQ: return at == offsetof(ql_sumsq_args, y) && !a->sumsq.accumulate;
    default: return false;
    }
}

ql_use ql_operand_access(ql_op op, const ql_op_args *args, int i) {
    const ql_operand *o = &ql_op_info_of(op).operand[i];
    return o->use == QL_USE_UPDATE && overwrites(op, args, o->at) ? QL_USE_WRITE : (ql_use)o->use;
}

ql_mat *ql_operand_mat_mut(ql_op op, ql_op_args *args, int i) {
    return (ql_mat *)(void *)((char *)args + ql_op_info_of(op).operand[i].at);
}
