/* ops_quant.c - decoding and encoding of weights: kernels/quant.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_q_dequantize(ql_queue *q, const ql_q_dequantize_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_q_dequantize);
    ql_cl_qmat(&c, &a->q);
    ql_cl_mat(&c, &a->w);
    ql_cl_long(&c, a->row0);
    ql_cl_long(&c, a->w.cols);
    return ql_cl_run_items(&c, a->w.cols, a->w.rows);
}

ql_status ql_cl_op_q_quantize(ql_queue *q, const ql_q_quantize_args *a) {
    int64_t block = a->q.block > 0 ? a->q.block : a->q.k, count = a->w.rows * a->w.cols;
    bool ends = a->first + count == a->total, cuda = a->rule == QL_RULE_CUDA;
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_quant_scales);
    ql_cl_mat(&c, &a->w);
    ql_cl_mat(&c, &a->q.scale);
    ql_cl_mat(&c, &a->q.zero);
    ql_cl_long(&c, a->w.cols);
    ql_cl_long(&c, count);
    ql_cl_long(&c, block);
    ql_cl_int(&c, (int32_t)a->encode);
    ql_cl_int(&c, a->q.bits);
    ql_cl_int(&c, cuda);
    ql_cl_int(&c, ends);
    QL_TRY(ql_cl_run_groups(&c, (count + block - 1) / block, 1, 1, QL_CL_WG));
    ql_cl_begin(&c, q, QL_CL_quant_codes);
    ql_cl_mat(&c, &a->w);
    ql_cl_mat(&c, &a->q.scale);
    ql_cl_mat(&c, &a->q.zero);
    ql_cl_mat(&c, &a->q.table);
    ql_cl_mat(&c, &a->q.codes);
    ql_cl_long(&c, a->w.cols);
    ql_cl_long(&c, count);
    ql_cl_long(&c, block);
    ql_cl_int(&c, (int32_t)a->encode);
    ql_cl_int(&c, a->q.bits);
    ql_cl_int(&c, cuda);
    ql_cl_int(&c, a->q.pack == QL_PACK_LOW_FIRST);
    ql_cl_int(&c, ends);
    return ql_cl_run_items(&c, (count + 7) / 8, 1);
}
