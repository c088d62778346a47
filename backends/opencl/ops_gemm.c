/*
 * ops_gemm.c - dense products and products with a quantized weight: kernels/gemm.cl.
 *
 * A few rows of A against rows of B go work-group by row (gemv); everything else by tiles.
 */
#include "backends/opencl/cl.h"

static ql_status run_tiles(ql_cl_call *c, int64_t m, int64_t n, int64_t batch) {
    const ql_cl_tile *t = &ql_cl_dev(c->q)->tile;
    return ql_cl_run_groups(c, (n + t->tn - 1) / t->tn, (m + t->tm - 1) / t->tm, batch,
                            ql_cl_tile_items(t));
}

/* y [m, n] = alpha x W^T + beta y (+ bias); exactly one of w, wd. */
static ql_status gemv(ql_queue *q, const ql_mat *x, const ql_qmat *w, const ql_mat *wd,
                      const ql_mat *y, const ql_mat *bias, float alpha, float beta) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_gemv);
    ql_cl_mat(&c, x);
    ql_cl_qmat(&c, w);
    if (wd)
        ql_cl_mat(&c, wd);
    else
        ql_cl_none(&c);
    ql_cl_mat(&c, y);
    ql_cl_mat(&c, bias);
    ql_cl_int(&c, (int32_t)y->rows);
    ql_cl_long(&c, x->cols);
    ql_cl_float(&c, alpha);
    ql_cl_float(&c, beta);
    return ql_cl_run_groups(&c, y->cols, 1, 1, QL_CL_WG);
}

ql_status ql_cl_op_gemm(ql_queue *q, const ql_gemm_args *a) {
    int64_t batch = a->batch > 1 ? a->batch : 1, k = a->trans_a ? a->a.rows : a->a.cols;
    if (batch == 1 && !a->trans_a && a->trans_b && a->c.rows <= QL_CL_GEMV_ROWS)
        return gemv(q, &a->a, NULL, &a->b, &a->c, &a->bias, a->alpha, a->beta);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_gemm);
    ql_cl_mat(&c, &a->a);
    ql_cl_mat(&c, &a->b);
    ql_cl_mat(&c, &a->c);
    ql_cl_mat(&c, &a->bias);
    ql_cl_long(&c, a->c.rows);
    ql_cl_long(&c, a->c.cols);
    ql_cl_long(&c, k);
    ql_cl_long(&c, a->trans_a ? 1 : a->a.ld);
    ql_cl_long(&c, a->trans_a ? a->a.ld : 1);
    ql_cl_long(&c, a->trans_b ? a->b.ld : 1);
    ql_cl_long(&c, a->trans_b ? 1 : a->b.ld);
    ql_cl_long(&c, a->stride_a);
    ql_cl_long(&c, a->stride_b);
    ql_cl_long(&c, a->stride_c);
    ql_cl_float(&c, a->alpha);
    ql_cl_float(&c, a->beta);
    return run_tiles(&c, a->c.rows, a->c.cols, batch);
}

ql_status ql_cl_op_gemm_q(ql_queue *q, const ql_gemm_q_args *a) {
    if (!a->trans_w && a->y.rows <= QL_CL_GEMV_ROWS)
        return gemv(q, &a->x, &a->w, NULL, &a->y, &a->bias, a->alpha, a->beta);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_gemm_q);
    ql_cl_mat(&c, &a->x);
    ql_cl_qmat(&c, &a->w);
    ql_cl_mat(&c, &a->y);
    ql_cl_mat(&c, &a->bias);
    ql_cl_long(&c, a->y.rows);
    ql_cl_long(&c, a->y.cols);
    ql_cl_long(&c, a->x.cols);
    ql_cl_int(&c, a->trans_w);
    ql_cl_float(&c, a->alpha);
    ql_cl_float(&c, a->beta);
    return run_tiles(&c, a->y.rows, a->y.cols, 1);
}
