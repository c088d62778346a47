/* ops_rows.c - operators that move, gather or scale whole rows: kernels/rows.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_gather(ql_queue *q, const ql_gather_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_gather);
    ql_cl_mat(&c, &a->table);
    ql_cl_mat(&c, &a->index);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, a->y.cols);
    ql_cl_float(&c, a->scale);
    ql_cl_int(&c, a->accumulate);
    return ql_cl_run_items(&c, a->y.cols, a->y.rows);
}

ql_status ql_cl_op_scatter_add(ql_queue *q, const ql_scatter_add_args *a) {
    int64_t V = a->dtable.rows, N = a->dy.rows;
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_scatter_init);
    ql_cl_mat(&c, &a->scratch);
    ql_cl_long(&c, V);
    ql_cl_int(&c, (int32_t)N);
    QL_TRY(ql_cl_run_items(&c, V, 1));
    ql_cl_begin(&c, q, QL_CL_scatter_link);
    ql_cl_mat(&c, &a->scratch);
    ql_cl_mat(&c, &a->index);
    ql_cl_long(&c, V);
    ql_cl_int(&c, (int32_t)N);
    QL_TRY(ql_cl_run_items(&c, N, 1));
    ql_cl_begin(&c, q, QL_CL_scatter_add);
    ql_cl_mat(&c, &a->scratch);
    ql_cl_mat(&c, &a->index);
    ql_cl_mat(&c, &a->dy);
    ql_cl_mat(&c, &a->dtable);
    ql_cl_long(&c, V);
    ql_cl_int(&c, (int32_t)N);
    ql_cl_long(&c, a->dy.cols);
    ql_cl_float(&c, a->scale);
    return ql_cl_run_items(&c, a->dy.cols, N);
}

ql_status ql_cl_op_row_norm(ql_queue *q, const ql_row_norm_args *a) {
    bool dense = ql_cl_has(&a->wd);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_row_norm);
    ql_cl_qmat(&c, dense ? NULL : &a->w);
    ql_cl_mat(&c, &a->wd);
    ql_cl_mat(&c, &a->a);
    ql_cl_mat(&c, &a->b);
    ql_cl_mat(&c, &a->norm);
    ql_cl_long(&c, dense ? a->wd.cols : a->w.k);
    ql_cl_long(&c, a->a.rows);
    ql_cl_float(&c, a->s);
    return ql_cl_run_groups(&c, dense ? a->wd.rows : a->w.n, 1, 1, QL_CL_WG);
}

static ql_status scale_cols_dm(ql_queue *q, const ql_scale_cols_args *a) {
    int64_t N = a->x.rows, K = a->x.cols, chunks = ql_cl_chunks(N);
    uint64_t off = 0;
    ql_mat partial = ql_cl_carve(&a->scratch, &off, chunks * K);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_scale_cols_dm);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->dy);
    ql_cl_mat(&c, &a->norm);
    ql_cl_mat(&c, &partial);
    ql_cl_long(&c, N);
    ql_cl_long(&c, K);
    ql_cl_int(&c, QL_CL_CHUNK_ROWS);
    QL_TRY(ql_cl_run_items(&c, K, chunks));
    return ql_cl_combine(q, &partial, &a->dm, chunks, K, true);
}

ql_status ql_cl_op_scale_cols(ql_queue *q, const ql_scale_cols_args *a) {
    bool backward = ql_cl_has(&a->dm);
    if (backward) QL_TRY(scale_cols_dm(q, a));
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_scale_cols);
    ql_cl_mat(&c, backward ? &a->dy : &a->x);
    ql_cl_mat(&c, &a->m);
    ql_cl_mat(&c, &a->norm);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, a->x.cols);
    return ql_cl_run_items(&c, a->x.cols, a->x.rows);
}

ql_status ql_cl_op_row_copy(ql_queue *q, const ql_row_copy_args *a) {
    int64_t rows = ql_cl_has(&a->src) ? a->src.cols : ql_cl_has(&a->dst) ? a->dst.cols : a->x.rows;
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_row_copy);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->y);
    ql_cl_mat(&c, &a->src);
    ql_cl_mat(&c, &a->dst);
    ql_cl_long(&c, a->x.cols);
    return ql_cl_run_items(&c, a->x.cols, rows);
}

ql_status ql_cl_op_col_copy(ql_queue *q, const ql_col_copy_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_col_copy);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &a->y);
    ql_cl_int(&c, a->groups);
    ql_cl_int(&c, a->width);
    ql_cl_int(&c, a->x_step);
    ql_cl_int(&c, a->x_at);
    ql_cl_int(&c, a->y_step);
    ql_cl_int(&c, a->y_at);
    ql_cl_int(&c, a->accumulate);
    return ql_cl_run_items(&c, (int64_t)a->groups * a->width, a->x.rows);
}
