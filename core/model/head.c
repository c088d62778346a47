/*
 * head.c - final norm, logits and loss over the labelled rows only, in bounded chunks.
 *
 *   s = h[label_row];  n = act(dense(project(norm(s))));  per chunk: z = scale n W^T + b;
 *   loss = weight * cross entropy(cap tanh(z / cap), target) or mean squared error(z, value)
 *
 * Training records a chunk's backward at once (dn = dz W, dz in place of z), so that one chunk of
 * logits exists at a time and the logits of a whole batch never do.
 */
#include "core/model/build_impl.h"

/* z[:, ids] = n T^T for the trained rows of a tied embedding, one product per run of ids. */
static void token_columns(ql_builder *b, ql_vid n, ql_vid z) {
    const ql_token_table *rows = &b->m->token_rows;
    ql_tape *t = b->t;
    if (!rows->n || !b->m->tied) return;
    ql_vid trained = ql_build_param(b, rows->param);
    ql_dim height = ql_tape_at(t, z)->rows, width = ql_tape_at(t, trained)->cols;
    for (int32_t first = 0, end; first < rows->n; first = end) {
        for (end = first + 1; end < rows->n && rows->ids[end] == rows->ids[end - 1] + 1;) end++;
        ql_vid part = ql_tape_view(t, z, 0, height, rows->ids[first], ql_fixed(end - first));
        ql_vid w = ql_tape_view(t, trained, first, ql_fixed(end - first), 0, width);
        QL_RECORD(t, FILL, fill, .y = ql_ref(t, part));
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, n), .b = ql_ref(t, w), .c = ql_ref(t, part),
                  .trans_b = true, .alpha = 1.0f, .beta = 1.0f, .batch = 1);
    }
}

static ql_vid logits_of(ql_builder *b, ql_vid n) {
    ql_vid z = ql_build_linear(b, b->m->head, n, QL_F32, "logits");
    token_columns(b, n, z);
    return z;
}

static void loss_chunk(ql_builder *b, ql_vid n, int64_t row0, int64_t rows) {
    ql_tape *t = b->t;
    if (ql_tape_status(t) != QL_OK) return;
    bool regression = b->io->label_value != 0;
    ql_dim here = {rows, row0, QL_SYM_LABELLED, 1};
    int32_t from = ql_tape_count(t);
    ql_vid x = ql_tape_view(t, n, row0, here, 0, ql_tape_at(t, n)->cols);
    ql_vid key = b->key;
    b->key = key ? ql_tape_view(t, key, row0, here, 0, ql_fixed(2)) : 0;
    ql_vid z = logits_of(b, x);
    b->key = key;
    ql_vid target = regression ? ql_tape_view(t, b->io->label_value, row0, here, 0, ql_fixed(1))
                               : ql_tape_view(t, b->io->label_target, 0, ql_fixed(1), row0, here);
    ql_vid loss = ql_tape_view(t, b->io->loss, 0, ql_fixed(1), row0, here);
    ql_vid weight = b->io->label_weight;
    if (weight) weight = ql_tape_view(t, weight, 0, ql_fixed(1), row0, here);
    ql_loss_args args = {.kind = regression ? QL_LOSS_MSE : QL_LOSS_XENT,
                         .logits = ql_ref(t, z),
                         .target = ql_ref(t, target),
                         .loss = ql_ref(t, loss),
                         .ignore = -100,
                         .softcap = b->m->arch.head.softcap,
                         .smoothing = b->o->label_smoothing,
                         .grad_scale = 1.0f};
    if (weight) args.weight = ql_ref(t, weight);
    if (b->train) {
        args.dlogits = ql_ref(t, z);
        args.step = ql_ref(t, b->io->step);
    }
    ql_tape_record(t, QL_OP_LOSS, &(ql_op_args){.loss = args});
    if (b->train) ql_tape_backward(t, from, ql_tape_count(t));
}

/* y = alpha x */
static void scaled_copy(ql_builder *b, ql_vid x, ql_vid y, float alpha) {
    QL_RECORD(b->t, AXPBY, axpby, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .alpha = alpha);
}

/* Logits as an output: straight into the caller's buffer. */
static void logits_out(ql_builder *b, ql_vid n) {
    ql_tape *t = b->t;
    float cap = b->m->arch.head.softcap;
    ql_vid z = logits_of(b, n), out = b->io->logits;
    scaled_copy(b, z, out, cap > 0 ? 1.0f / cap : 1.0f);
    if (!(cap > 0)) return;
    QL_RECORD(t, ACT_FWD, act_fwd, .kind = QL_ACT_TANH, .x = ql_ref(t, out), .y = ql_ref(t, out));
    scaled_copy(b, out, out, cap);
}

/* Dropout behind the gather still goes by the token that a row comes from. */
static ql_vid labelled_key(ql_builder *b) {
    ql_tape *t = b->t;
    const ql_linear *const behind[] = {b->m->head_project, b->m->head_dense, b->m->head};
    const ql_dropouts *d = &b->m->arch.drop;
    bool drops = b->o->model_dropout && (d->last > 0 || d->head_in > 0 || d->head_out > 0);
    for (int i = 0; i < 3; i++) drops |= behind[i] && behind[i]->dropout > 0;
    if (!b->train || !drops) return 0;
    ql_vid key =
        ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_I32, b->labelled, ql_fixed(2), "head.key");
    QL_RECORD(t, ROW_COPY, row_copy, .x = ql_ref(t, b->key), .y = ql_ref(t, key),
              .src = ql_ref(t, b->io->label_row));
    return key;
}

/* The labelled rows as they enter the last linear layer. */
static ql_vid head_rows(ql_builder *b, ql_vid h) {
    ql_tape *t = b->t;
    const ql_model *m = b->m;
    const ql_head_arch *a = &m->arch.head;
    ql_vid n = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, b->labelled, ql_fixed(m->arch.hidden),
                             "head.rows");
    QL_RECORD(t, GATHER, gather, .table = ql_ref(t, h), .index = ql_ref(t, b->io->label_row),
              .y = ql_ref(t, n), .scale = 1.0f);
    if (b->stack->final_norm.w)
        n = ql_build_norm(b, &b->stack->final_norm, n, 1, b->compute, "head.norm");
    b->key = labelled_key(b);
    ql_build_drop(b, n, m->arch.drop.last, "last");
    if (m->head_project) n = ql_build_linear(b, m->head_project, n, b->compute, "head.project");
    ql_build_drop(b, n, m->arch.drop.head_in, "head.in");
    if (m->head_dense) {
        ql_vid x = ql_build_linear(b, m->head_dense, n, b->compute, "head.dense");
        n = ql_tape_value(t, QL_POOL_ACTIVATIONS, b->compute, b->labelled,
                          ql_fixed(m->head_dense->n), "head.act");
        QL_RECORD(t, ACT_FWD, act_fwd, .kind = a->act, .x = ql_ref(t, x), .y = ql_ref(t, n));
    }
    ql_build_drop(b, n, m->arch.drop.head_out, "head.out");
    if (a->scale != 1.0f) scaled_copy(b, n, n, a->scale);
    return n;
}

int32_t ql_build_head(ql_builder *b, ql_vid h) {
    ql_tape_set_layer(b->t, -1);
    ql_vid n = head_rows(b, h);
    int32_t front = ql_tape_count(b->t);
    if (b->o->kind == QL_GRAPH_LOGITS || b->o->kind == QL_GRAPH_GENERATE) {
        logits_out(b, n);
        return front;
    }
    /* Chunks of one size: a last one of a few rows would be summed along another path than the same
     * rows in a longer one (ql_program_by_sequence). */
    int64_t chunks = (b->o->max_labelled + b->o->logits_chunk - 1) / b->o->logits_chunk;
    int64_t chunk = (b->o->max_labelled + chunks - 1) / chunks;
    for (int64_t row0 = 0; row0 < b->o->max_labelled; row0 += chunk) {
        int64_t rows = b->o->max_labelled - row0 < chunk ? b->o->max_labelled - row0 : chunk;
        loss_chunk(b, n, row0, rows);
    }
    return front;
}
