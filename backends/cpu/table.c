/*
 * table.c - the operators that are compiled once per instruction set, gathered.
 */
#include "backends/cpu/cpu.h"

const ql_op_table *QL_CPU_FN(table)(void) {
    static const ql_op_table table = {
        .fill = QL_CPU_FN(fill),
        .axpby = QL_CPU_FN(axpby),
        .dropout = QL_CPU_FN(dropout),
        .act_fwd = QL_CPU_FN(act_fwd),
        .act_bwd = QL_CPU_FN(act_bwd),
        .gather = QL_CPU_FN(gather),
        .scatter_add = QL_CPU_FN(scatter_add),
        .norm_fwd = QL_CPU_FN(norm_fwd),
        .norm_bwd = QL_CPU_FN(norm_bwd),
        .rope = QL_CPU_FN(rope),
        .row_norm = QL_CPU_FN(row_norm),
        .scale_cols = QL_CPU_FN(scale_cols),
        .row_copy = QL_CPU_FN(row_copy),
        .col_copy = QL_CPU_FN(col_copy),
        .loss = QL_CPU_FN(loss),
        .sum_rows = QL_CPU_FN(sum_rows),
        .sumsq = QL_CPU_FN(sumsq),
        .clip = QL_CPU_FN(clip),
        .opt_step = QL_CPU_FN(opt_step),
    };
    return &table;
}
