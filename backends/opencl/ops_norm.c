/* ops_norm.c - layer norm and RMS norm: kernels/norm.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_norm_fwd(ql_queue *q, const ql_norm_fwd_args *a) {
    int32_t groups = a->groups > 1 ? a->groups : 1;
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_norm_fwd);
    const ql_mat *mats[] = {&a->x, &a->residual, &a->w, &a->b, &a->sum, &a->y, &a->mean, &a->rstd};
    for (int i = 0; i < 8; i++) ql_cl_mat(&c, mats[i]);
    ql_cl_int(&c, groups);
    ql_cl_long(&c, a->x.cols / groups);
    ql_cl_int(&c, a->kind == QL_NORM_RMS);
    ql_cl_float(&c, a->eps);
    ql_cl_float(&c, a->w_offset);
    return ql_cl_run_groups(&c, a->x.rows * groups, 1, 1, QL_CL_WG);
}

/* dw or db: partial sums over chunks of vectors, then their sum. */
static ql_status gain_gradient(ql_queue *q, const ql_norm_bwd_args *a, const ql_mat *out,
                               bool for_bias, uint64_t *off) {
    int64_t count = a->rstd.cols, groups = count / a->s.rows, D = a->s.cols / groups;
    int64_t chunks = ql_cl_chunks(count);
    ql_mat partial = ql_cl_carve(&a->scratch, off, chunks * D);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_norm_bwd_dw);
    const ql_mat *mats[] = {&a->s, &a->mean, &a->rstd, &a->dy, &partial};
    for (int i = 0; i < 5; i++) ql_cl_mat(&c, mats[i]);
    ql_cl_int(&c, (int32_t)groups);
    ql_cl_long(&c, D);
    ql_cl_long(&c, count);
    ql_cl_int(&c, a->kind == QL_NORM_RMS);
    ql_cl_int(&c, QL_CL_CHUNK_ROWS);
    ql_cl_int(&c, for_bias);
    QL_TRY(ql_cl_run_items(&c, D, chunks));
    return ql_cl_combine(q, &partial, out, chunks, D, true);
}

ql_status ql_cl_op_norm_bwd(ql_queue *q, const ql_norm_bwd_args *a) {
    int64_t count = a->rstd.cols, groups = count / a->s.rows;
    uint64_t off = 0;
    if (ql_cl_has(&a->dw)) QL_TRY(gain_gradient(q, a, &a->dw, false, &off));
    if (ql_cl_has(&a->db)) QL_TRY(gain_gradient(q, a, &a->db, true, &off));
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_norm_bwd);
    const ql_mat *mats[] = {&a->s, &a->w, &a->mean, &a->rstd, &a->dy, &a->dx};
    for (int i = 0; i < 6; i++) ql_cl_mat(&c, mats[i]);
    ql_cl_int(&c, (int32_t)groups);
    ql_cl_long(&c, a->s.cols / groups);
    ql_cl_int(&c, a->kind == QL_NORM_RMS);
    ql_cl_float(&c, a->w_offset);
    ql_cl_int(&c, a->accumulate);
    return ql_cl_run_groups(&c, count, 1, 1, QL_CL_WG);
}
