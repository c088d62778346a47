/* ops_rope.c - rotary positions: kernels/rope.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_rope(ql_queue *q, const ql_rope_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_rope);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->table);
    ql_cl_mat(&c, &a->pos);
    ql_cl_mat(&c, &a->y);
    ql_cl_int(&c, a->heads);
    ql_cl_int(&c, a->head_dim);
    ql_cl_int(&c, a->rot);
    ql_cl_float(&c, a->sign);
    ql_cl_int(&c, a->interleaved);
    return ql_cl_run_items(&c, (int64_t)a->heads * (a->head_dim - a->rot / 2), a->x.rows);
}
