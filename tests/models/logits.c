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

/* Source and target as one batch; logits are wanted of every row of the target. */
static ql_status fill(ql_batch *b, const int32_t *source, int32_t n_source, const int32_t *ids,
                      int32_t n) {
    QL_TRY(ql_batch_create(n, 1, n_source, b));
    QL_TRY(ql_batch_fill_flat(b, ids, NULL, NULL, n));
    b->labelled = n;
    for (int32_t i = 0; i < n; i++) {
        b->label_row[i] = i;
        b->label_target[i] = 0;
    }
    if (n_source == 0) return QL_OK;
    ql_batch_source *x = &b->source;
    x->tokens = x->longest = x->start[1] = n_source;
    x->start[0] = 0;
    for (int32_t i = 0; i < n_source; i++) {
        x->ids[i] = source[i];
        x->pos[i] = x->key[2 * i + 1] = i;
        x->key[2 * i] = 0;
    }
    return QL_OK;
}

ql_status logits_of_pair(ql_model *m, ql_dtype compute, const int32_t *source, int32_t n_source,
                         const int32_t *ids, int32_t n, float *out) {
    ql_graph_opts o = {.kind = QL_GRAPH_LOGITS,
                       .compute = compute,
                       .max_tokens = n,
                       .max_seqs = 1,
                       .max_len = n,
                       .max_labelled = n,
                       .max_source_tokens = n_source,
                       .max_source_len = n_source,
                       .logits_chunk = 64};
    ql_batch b = {0};
    ql_graph *g = NULL;
    ql_buffer *arena = NULL;
    ql_status s = fill(&b, source, n_source, ids, n);
    if (s == QL_OK) s = ql_graph_create(m, &o, m->dev, &g);
    if (s == QL_OK) s = run(m, g, &b, &arena, out);
    ql_graph_free(g);
    m->dev->backend->buffer_free(arena);
    ql_batch_free(&b);
    return s;
}

ql_status logits_of_sequence(ql_model *m, ql_dtype compute, const int32_t *ids, int32_t n,
                             float *out) {
    return logits_of_pair(m, compute, NULL, 0, ids, n, out);
}
