/*
 * generate.c - prompt in pieces, then token by token, over one recorded graph (see generate.h).
 */
#include "core/model/generate.h"

#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/batch.h"

#define PIECE 256 /* prompt tokens that go through the graph at once */

struct ql_generator {
    ql_model *m;
    ql_device *dev;
    ql_graph *graph;
    ql_buffer *arena;
    ql_queue *queue; /* owned when this generator placed the model */
    ql_memory_report report;
    int32_t context, piece, position;
    int32_t *words; /* ids, pos, kv_row [piece] each, key [2 piece] */
    float *logits;
};

static ql_status plan(ql_model *m, ql_dtype compute, int32_t context, ql_device *dev,
                      ql_generator **out) {
    if (context < 1 || context > m->arch.max_positions)
        return QL_FAIL(QL_ERR_INVALID, "context of %d tokens; this model has 1 to %lld positions",
                       context, (long long)m->arch.max_positions);
    ql_generator *g = ql_host_calloc(1, sizeof *g);
    if (!g) return QL_NOMEM("a generator");
    g->m = m;
    g->dev = dev;
    g->context = context;
    g->piece = context < PIECE ? context : PIECE;
    ql_graph_opts o = {.kind = QL_GRAPH_GENERATE,
                       .compute = compute,
                       .max_tokens = g->piece,
                       .max_seqs = 1,
                       .max_len = g->piece,
                       .max_labelled = 1,
                       .logits_chunk = 1,
                       .cache_len = context};
    ql_status s = ql_graph_create(m, &o, dev, &g->graph);
    if (s == QL_OK) s = ql_graph_report(g->graph, &g->report);
    if (s != QL_OK) {
        ql_generator_free(g);
        return s;
    }
    ql_model_report(m, &g->report);
    for (int i = 0; i < QL_POOL_COUNT; i++) g->report.peak_bytes += g->report.device[i];
    *out = g;
    return QL_OK;
}

ql_status ql_generator_plan(ql_model *m, ql_dtype compute, int32_t context, ql_device *dev,
                            ql_memory_report *out) {
    ql_generator *g = NULL;
    QL_TRY(plan(m, compute, context, dev, &g));
    *out = g->report;
    ql_generator_free(g);
    return QL_OK;
}

/* One sequence whose cache starts at row 0 and has room for `context` rows. */
static ql_status put_constants(ql_generator *g) {
    const int32_t kv_start[2] = {0, g->context};
    QL_TRY(ql_graph_put(g->graph, g->m->queue, g->graph->io.kv_start, kv_start, sizeof kv_start));
    return g->dev->backend->queue_sync(g->m->queue);
}

static ql_status allocate(ql_generator *g) {
    ql_model *m = g->m;
    const ql_backend *b = g->dev->backend;
    if (!m->dev) {
        QL_TRY(b->queue_create(g->dev, &g->queue));
        QL_TRY(ql_model_place(m, g->dev, g->queue));
    }
    QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->report.arena_bytes, &g->arena));
    QL_TRY(ql_graph_bind(g->graph, m, g->arena));
    g->words = ql_host_calloc((size_t)g->piece, 5 * sizeof(int32_t));
    g->logits = ql_host_calloc((size_t)m->arch.vocab, sizeof(float));
    if (!g->words || !g->logits) return QL_NOMEM("a generator");
    return put_constants(g);
}

ql_status ql_generator_create(ql_model *m, ql_dtype compute, int32_t context, ql_device *dev,
                              ql_generator **out) {
    ql_generator *g = NULL;
    QL_TRY(plan(m, compute, context, dev, &g));
    ql_status s = allocate(g);
    if (s != QL_OK) {
        ql_generator_free(g);
        return s;
    }
    *out = g;
    return QL_OK;
}

void ql_generator_free(ql_generator *g) {
    if (!g) return;
    ql_graph_free(g->graph);
    g->dev->backend->buffer_free(g->arena);
    if (g->queue) {
        if (g->m->queue == g->queue) g->m->queue = NULL;
        g->dev->backend->queue_destroy(g->queue);
    }
    ql_host_free(g->words);
    ql_host_free(g->logits);
    ql_host_free(g);
}

const ql_memory_report *ql_generator_report(const ql_generator *g) {
    return &g->report;
}
void ql_generator_reset(ql_generator *g) {
    g->position = 0;
}
int32_t ql_generator_position(const ql_generator *g) {
    return g->position;
}
int32_t ql_generator_context(const ql_generator *g) {
    return g->context;
}

static ql_status run_piece(ql_generator *g, const int32_t *ids, int32_t n) {
    int32_t *pos = g->words, *key = g->words + g->piece;
    for (int32_t i = 0; i < n; i++) {
        pos[i] = g->position + i;
        key[2 * i] = 0;
        key[2 * i + 1] = pos[i];
    }
    const int32_t start[2] = {0, n}, length = g->position + n, last = n - 1;
    const struct {
        ql_vid v;
        const void *data;
        uint64_t words;
    } in[] = {{g->graph->io.ids, ids, (uint64_t)n},    {g->graph->io.pos, pos, (uint64_t)n},
              {g->graph->io.kv_row, pos, (uint64_t)n}, {g->graph->io.key, key, 2 * (uint64_t)n},
              {g->graph->io.start, start, 2},          {g->graph->io.kv_len, &length, 1},
              {g->graph->io.label_row, &last, 1}};
    ql_queue *q = g->m->queue;
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        QL_TRY(ql_graph_put(g->graph, q, in[i].v, in[i].data, in[i].words * sizeof(int32_t)));
    ql_program_set(g->graph->program, QL_SYM_TOKENS, n);
    ql_program_set(g->graph->program, QL_SYM_SEQS, 1);
    ql_program_set(g->graph->program, QL_SYM_LABELLED, 1);
    QL_TRY(ql_program_run(g->graph->program, q));
    QL_TRY(g->dev->backend->queue_sync(q));
    g->position += n;
    return QL_OK;
}

ql_status ql_generator_feed(ql_generator *g, const int32_t *ids, int32_t n, const float **logits) {
    if (n < 1 || n > g->context - g->position)
        return QL_FAIL(QL_ERR_INVALID, "%d tokens after %d exceed the context of %d", n,
                       g->position, g->context);
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= g->m->arch.vocab)
            return QL_FAIL(QL_ERR_INVALID, "token id %d is outside the vocabulary of %lld", ids[i],
                           (long long)g->m->arch.vocab);
    for (int32_t at = 0; at < n; at += g->piece)
        QL_TRY(run_piece(g, ids + at, n - at < g->piece ? n - at : g->piece));
    QL_TRY(ql_graph_get(g->graph, g->m->queue, g->graph->io.logits, g->logits,
                        (uint64_t)g->m->arch.vocab * sizeof(float)));
    *logits = g->logits;
    return QL_OK;
}
