/* ops_reduce.c - column sums and sums of squares: kernels/reduce.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_combine(ql_queue *q, const ql_mat *partial, const ql_mat *y, int64_t chunks,
                        int64_t cols, bool accumulate) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_combine_cols);
    ql_cl_mat(&c, partial);
    ql_cl_mat(&c, y);
    ql_cl_long(&c, chunks);
    ql_cl_long(&c, cols);
    ql_cl_int(&c, accumulate);
    return ql_cl_run_items(&c, cols, 1);
}

ql_status ql_cl_op_sum_rows(ql_queue *q, const ql_sum_rows_args *a) {
    int64_t chunks = ql_cl_chunks(a->x.rows), cols = a->x.cols;
    uint64_t off = 0;
    ql_mat partial = ql_cl_carve(&a->scratch, &off, chunks * cols);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_sum_chunks);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &partial);
    ql_cl_long(&c, a->x.rows);
    ql_cl_long(&c, cols);
    ql_cl_int(&c, QL_CL_CHUNK_ROWS);
    QL_TRY(ql_cl_run_items(&c, cols, chunks));
    return ql_cl_combine(q, &partial, &a->y, chunks, cols, a->accumulate);
}

ql_status ql_cl_op_sumsq(ql_queue *q, const ql_sumsq_args *a) {
    int64_t pieces = a->x.rows * ((a->x.cols + QL_CL_PIECE - 1) / QL_CL_PIECE);
    uint64_t off = 0;
    ql_mat partial = ql_cl_carve(&a->scratch, &off, 2 * pieces);
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_square_pieces);
    ql_cl_mat(&c, &a->x);
    ql_cl_mat(&c, &partial);
    ql_cl_long(&c, a->x.cols);
    ql_cl_long(&c, QL_CL_PIECE);
    QL_TRY(ql_cl_run_groups(&c, pieces, 1, 1, QL_CL_WG));
    ql_cl_begin(&c, q, QL_CL_square_total);
    ql_cl_mat(&c, &partial);
    ql_cl_mat(&c, &a->y);
    ql_cl_long(&c, pieces);
    ql_cl_int(&c, a->accumulate);
    return ql_cl_run_groups(&c, 1, 1, 1, QL_CL_WG);
}
