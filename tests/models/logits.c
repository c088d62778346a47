/* logits.c - one sequence through a graph of its own (see logits.h). */
#include "tests/models/logits.h"

#include "core/base/hostmem.h"
#include "core/data/batch.h"

ql_status logits_place(ql_model *m, ql_device *dev, ql_queue **out) {
    QL_TRY(dev->backend->queue_create(dev, out));
    return ql_model_place(m, dev, *out);
}

void logits_release(ql_model *m, ql_queue *q) {
    const ql_backend *b = m->dev->backend;
    m->queue = NULL;
    b->queue_destroy(q);
}

int32_t logits_argmax(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

static ql_status run(ql_model *m, ql_graph *g, ql_batch *b, ql_buffer **arena, float *out) {
    QL_TRY(m->dev->backend->buffer_alloc(m->dev, QL_MEM_DEVICE, ql_program_arena_bytes(g->program),
                                         arena));
    QL_TRY(ql_graph_bind(g, m, *arena));
    QL_TRY(ql_graph_set_batch(g, m->queue, b));
    QL_TRY(ql_program_run(g->program, m->queue));
    return ql_graph_get(g, m->queue, g->io.logits, out,
                        (uint64_t)b->tokens * (uint64_t)m->arch.vocab * sizeof(float));
}

ql_status logits_of_sequence(ql_model *m, ql_dtype compute, const int32_t *ids, int32_t n,
                             float *out) {
    ql_graph_opts o = {.kind = QL_GRAPH_LOGITS,
                       .compute = compute,
                       .max_tokens = n,
                       .max_seqs = 1,
                       .max_len = n,
                       .max_labelled = n,
                       .logits_chunk = 64};
    ql_batch b = {0};
    ql_graph *g = NULL;
    ql_buffer *arena = NULL;
    QL_TRY(ql_batch_create(n, 1, &b));
    ql_status s = ql_batch_fill_flat(&b, ids, NULL, NULL, n);
    b.labelled = n; /* every row */
    for (int32_t i = 0; i < n && s == QL_OK; i++) {
        b.label_row[i] = i;
        b.label_target[i] = 0;
    }
    if (s == QL_OK) s = ql_graph_create(m, &o, m->dev, &g);
    if (s == QL_OK) s = run(m, g, &b, &arena, out);
    ql_graph_free(g);
    m->dev->backend->buffer_free(arena);
    ql_batch_free(&b);
    return s;
}
