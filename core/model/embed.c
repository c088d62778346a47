/*
 * embed.c - what enters a stack: tokens, positions, types, projection, norm.
 *
 *   h = scale tokens[id] + positions[place] + types[type];  h = project(h);  h = norm(h)
 * F32 whatever the compute type: the residual stream starts here. OPT adds the positions after the
 * projection.
 */
#include "core/model/build_impl.h"

/* y (=, +=) scale table[index] */
static void look_up(ql_builder *b, const ql_dense *table, ql_vid index, ql_vid y, float scale,
                    bool accumulate) {
    ql_tape *t = b->t;
    QL_RECORD(t, GATHER, gather, .table = ql_ref(t, ql_build_dense(b, table)),
              .index = ql_ref(t, index), .y = ql_ref(t, y), .scale = scale,
              .accumulate = accumulate);
}

static void add_positions(ql_builder *b, ql_vid h) {
    if (b->stack->positions) look_up(b, b->stack->positions, b->in->place, h, 1.0f, true);
}

ql_vid ql_build_front(ql_builder *b) {
    const ql_stack_tensors *s = b->stack;
    const ql_front *f = &b->arch->front;
    ql_tape *t = b->t;
    ql_vid h =
        ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, b->tokens, ql_fixed(f->width), "embed");
    look_up(b, s->tokens, b->in->ids, h, f->scale, false);
    if (b->token_rows)
        QL_RECORD(t, GATHER, gather, .table = ql_ref(t, b->token_rows),
                  .index = ql_ref(t, b->in->token_slot), .y = ql_ref(t, h), .scale = f->scale,
                  .accumulate = true);
    if (!f->project_first) add_positions(b, h);
    if (s->types) look_up(b, s->types, b->in->types, h, 1.0f, true);
    if (s->project) h = ql_build_linear(b, s->project, h, QL_F32, "embed.project");
    if (f->project_first) add_positions(b, h);
    if (s->front_norm.w) h = ql_build_norm(b, &s->front_norm, h, 1, QL_F32, "embed.norm");
    ql_build_drop(b, h, b->m->arch.drop.embed, "embed");
    return h;
}
