/*
 * norm.c - LayerNorm and RMSNorm on the tape, over rows or over the heads of a row.
 *
 *   LAYER: y = (x - mean) rstd (w + offset) + b        RMS: y = x rstd (w + offset)
 */
#include "core/model/build_impl.h"

void ql_build_norm_into(ql_builder *b, const ql_norm *n, ql_vid x, ql_vid y, int32_t groups,
                        const char *name) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return;
    const ql_arch *a = &b->m->arch;
    ql_dim vectors = ql_rows_of(ql_tape_at(t, x)->rows, groups);
    ql_vid rstd =
        ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), vectors, "%s.rstd", name);
    ql_vid mean = 0;
    if (a->norm == QL_NORM_LAYER)
        mean = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), vectors, "%s.mean", name);
    QL_RECORD(t, NORM_FWD, norm_fwd, .kind = a->norm, .eps = a->norm_eps,
              .w_offset = a->norm_offset, .groups = groups, .x = ql_ref(t, x),
              .w = ql_ref(t, ql_build_dense(b, n->w)), .b = ql_ref(t, ql_build_dense(b, n->b)),
              .y = ql_ref(t, y), .mean = ql_ref(t, mean), .rstd = ql_ref(t, rstd));
}

ql_vid ql_build_norm(ql_builder *b, const ql_norm *n, ql_vid x, int32_t groups, ql_dtype y_dtype,
                     const char *name) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return 0;
    ql_dim rows = ql_tape_at(t, x)->rows, cols = ql_tape_at(t, x)->cols;
    ql_vid y = ql_tape_value(t, QL_POOL_ACTIVATIONS, y_dtype, rows, cols, "%s", name);
    ql_build_norm_into(b, n, x, y, groups, name);
    return y;
}
