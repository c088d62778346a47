/*
 * token_rows.c - trained rows T [n, E] of a frozen embedding (PEFT's trainable_token_indices).
 *
 *   Z = T - E[ids], with a zero row behind;  h = scale E[id] + scale Z[slot(id)]
 * so that a trained token's row is T exactly where it is looked up, and T gets the gradient. A tied
 * head computes the columns of these tokens from T (head.c).
 */
#include "core/model/build_impl.h"

void ql_build_token_rows(ql_builder *b) {
    const ql_token_table *rows = &b->m->token_rows;
    ql_tape *t = b->t;
    if (!rows->n) return;
    int64_t width = b->m->params[rows->param].cols;
    ql_vid z = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(rows->n + 1), ql_fixed(width),
                             "token_rows");
    ql_vid some = ql_tape_view(t, z, 0, ql_fixed(rows->n), 0, ql_fixed(width));
    QL_RECORD(t, FILL, fill, .y = ql_ref(t, z));
    QL_RECORD(t, GATHER, gather, .table = ql_ref(t, ql_build_dense(b, b->m->embed)),
              .index = ql_ref(t, b->io->token_ids), .y = ql_ref(t, some), .scale = -1.0f);
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, ql_build_param(b, rows->param)), .y = ql_ref(t, some),
              .alpha = 1.0f, .beta = 1.0f);
    b->token_rows = z;
}
