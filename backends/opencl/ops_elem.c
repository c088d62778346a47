/* ops_elem.c - fill, axpby, dropout, activations: kernels/elem.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_fill(ql_queue *q, const ql_fill_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_fill);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, a->y.cols);
    ql_cl_float(&c, a->value);
    return ql_cl_run_items(&c, a->y.cols, a->y.rows);
}

ql_status ql_cl_op_axpby(ql_queue *q, const ql_axpby_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_axpby);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, a->y.cols);
    ql_cl_int(&c, a->x.rows == 1);
    ql_cl_float(&c, a->alpha);
    ql_cl_float(&c, a->beta);
    return ql_cl_run_items(&c, a->y.cols, a->y.rows);
}

ql_status ql_cl_op_dropout(ql_queue *q, const ql_dropout_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_dropout);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->y);
    ql_cl_mat(&c, &a->rng.key);
    ql_cl_mat(&c, &a->rng.step);
    ql_cl_long(&c, a->x.cols);
    ql_cl_float(&c, a->p);
    ql_cl_float(&c, 1.0f / (1.0f - a->p));
    ql_cl_ulong(&c, a->rng.seed);
    ql_cl_ulong(&c, a->rng.stream);
    return ql_cl_run_items(&c, (a->x.cols + 3) / 4, a->x.rows);
}

ql_status ql_cl_op_act_fwd(ql_queue *q, const ql_act_fwd_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_act_fwd);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->up);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, a->x.cols);
    ql_cl_int(&c, (int32_t)a->kind);
    return ql_cl_run_items(&c, a->x.cols, a->x.rows);
}

ql_status ql_cl_op_act_bwd(ql_queue *q, const ql_act_bwd_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_act_bwd);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->up);
    ql_cl_mat(&c, &a->dy);
    ql_cl_mat(&c, &a->dx);
    ql_cl_mat(&c, &a->dup);
    ql_cl_long(&c, a->x.cols);
    ql_cl_int(&c, (int32_t)a->kind);
    return ql_cl_run_items(&c, a->x.cols, a->x.rows);
}
