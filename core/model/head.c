/*
 * head.c - final norm, logits and loss over the labelled rows only, in bounded chunks.
 *
 *   s = h[label_row];  n = norm(s);  per chunk: z = n W^T;  loss = cross entropy(z, target)
 *
 * Training records a chunk's backward at once (dn = dz W, dz in place of z), so that one chunk of
 * logits exists at a time and the logits of a whole batch never do.
 */
#include "core/model/build_impl.h"

static void loss_chunk(ql_builder *b, ql_vid n, int64_t row0, int64_t rows) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return;
    ql_dim here = {rows, row0, QL_SYM_LABELLED};
    int32_t from = ql_tape_count(t);
    ql_vid x = ql_tape_view(t, n, row0, here, 0, ql_fixed(b->m->arch.hidden));
    ql_vid z = ql_build_linear(b, &b->m->head, x, QL_F32, "logits");
    ql_vid target = ql_tape_view(t, b->io->label_target, 0, ql_fixed(1), row0, here);
    ql_vid loss = ql_tape_view(t, b->io->loss, 0, ql_fixed(1), row0, here);
    ql_loss_args args = {.kind = QL_LOSS_XENT,
                         .logits = ql_ref(t, z),
                         .target = ql_ref(t, target),
                         .loss = ql_ref(t, loss),
                         .ignore = -100,
                         .smoothing = b->o->label_smoothing,
                         .grad_scale = 1.0f};
    if (b->train) {
        args.dlogits = ql_ref(t, z);
        args.step = ql_ref(t, b->io->step);
    }
    ql_tape_record(t, QL_OP_LOSS, &(ql_op_args){.loss = args});
    if (b->train) ql_tape_backward(t, from, ql_tape_count(t));
}

/* Logits as an output: straight into the caller's buffer. */
static void logits_out(ql_builder *b, ql_vid n) {
    ql_tape *t = b->t;
    ql_vid z = ql_build_linear(b, &b->m->head, n, QL_F32, "logits");
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, z), .y = ql_ref(t, b->io->logits), .alpha = 1.0f);
}

void ql_build_head(ql_builder *b, ql_vid h) {
    ql_tape *t = b->t;
    ql_tape_set_layer(t, -1);
    ql_vid s = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, b->labelled,
                             ql_fixed(b->m->arch.hidden), "head.rows");
    QL_RECORD(t, GATHER, gather, .table = ql_ref(t, h), .index = ql_ref(t, b->io->label_row),
              .y = ql_ref(t, s), .scale = 1.0f);
    ql_vid n = ql_build_norm(b, &b->m->final_norm, s, "head.norm");
    if (b->o->kind == QL_GRAPH_LOGITS || b->o->kind == QL_GRAPH_GENERATE) {
        logits_out(b, n);
        return;
    }
    int64_t chunk = b->o->logits_chunk;
    for (int64_t row0 = 0; row0 < b->o->max_labelled; row0 += chunk) {
        int64_t rows = b->o->max_labelled - row0 < chunk ? b->o->max_labelled - row0 : chunk;
        loss_chunk(b, n, row0, rows);
    }
}
