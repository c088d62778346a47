/*
 * plan.c - scratch bytes of the operators that are compiled per instruction set.
 *
 * While planning, an operand is present when it has rows; its buffer comes later.
 */
#include "backends/cpu/sums.h"

static bool planned(const ql_mat *m) {
    return m->rows > 0;
}

uint64_t ql_cpu_scratch_scatter_add(const ql_cpu_device *dev, const ql_scatter_add_args *a) {
    (void)dev;
    return ((uint64_t)a->dtable.rows + (uint64_t)a->dy.rows) * sizeof(int32_t);
}

uint64_t ql_cpu_scratch_norm_bwd(const ql_cpu_device *dev, const ql_norm_bwd_args *a) {
    int64_t count = a->rstd.cols, groups = count / a->s.rows;
    uint64_t one = ql_cpu_partial_bytes(count, a->s.cols / groups);
    (void)dev;
    return (planned(&a->dw) ? one : 0) + (planned(&a->db) ? one : 0);
}

uint64_t ql_cpu_scratch_scale_cols(const ql_cpu_device *dev, const ql_scale_cols_args *a) {
    (void)dev;
    return planned(&a->dm) ? ql_cpu_partial_bytes(a->x.rows, a->x.cols) : 0;
}

uint64_t ql_cpu_scratch_sum_rows(const ql_cpu_device *dev, const ql_sum_rows_args *a) {
    (void)dev;
    return ql_cpu_partial_bytes(a->x.rows, a->x.cols);
}

uint64_t ql_cpu_scratch_sumsq(const ql_cpu_device *dev, const ql_sumsq_args *a) {
    (void)dev;
    return (uint64_t)a->x.rows * (uint64_t)ql_cpu_pieces(a->x.cols) * sizeof(ql_cpu_piece);
}
