/*
 * generate.c - a generator's life: planned, allocated, freed (see generate.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/generate_impl.h"

#define PIECE         256 /* prompt tokens that go through the graph at once */
#define MAX_SEQUENCES 1024

/* ---------------------------------------------------------------- planning */

static ql_status check(const ql_model *m, const ql_generator_opts *o) {
    const ql_arch *a = &m->arch;
    if (a->task == QL_TASK_CLASSIFY)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "a %s model with a classifier generates no text",
                       a->family);
    if (o->context < 1 || o->context > a->max_positions)
        return QL_FAIL(QL_ERR_INVALID, "context of %d tokens; this model has 1 to %lld positions",
                       o->context, (long long)a->max_positions);
    if (o->sequences < 1 || o->sequences > MAX_SEQUENCES ||
        (int64_t)o->sequences * o->context > INT32_MAX / 2)
        return QL_FAIL(QL_ERR_INVALID,
                       "%d sequences of %d tokens at once; expected 1 to %d, and fewer than 2^30 "
                       "tokens in all",
                       o->sequences, o->context, MAX_SEQUENCES);
    bool encoder = a->encoder.layers > 0;
    if (encoder && (o->source < 1 || o->source > a->max_positions))
        return QL_FAIL(QL_ERR_INVALID, "source text of %d tokens; this model takes 1 to %lld",
                       o->source, (long long)a->max_positions);
    if (!encoder && o->source != 0)
        return QL_FAIL(QL_ERR_INVALID, "a %s model has no encoder for a source text", a->family);
    return QL_OK;
}

static ql_status create_graphs(ql_generator *g) {
    int32_t piece = g->piece, seqs = g->o.sequences;
    ql_graph_opts o = {.kind = QL_GRAPH_GENERATE,
                       .compute = g->o.compute,
                       .max_tokens = piece > seqs ? piece : seqs,
                       .max_seqs = seqs,
                       .max_len = piece,
                       .max_labelled = seqs,
                       .max_source_tokens = g->o.source,
                       .max_source_len = g->o.source,
                       .logits_chunk = seqs,
                       .cache_len = g->o.context};
    QL_TRY(ql_graph_create(g->m, &o, g->dev, &g->graph));
    if (!g->o.source) return QL_OK;
    o.kind = QL_GRAPH_ENCODE;
    QL_TRY(ql_graph_create(g->m, &o, g->dev, &g->encode));
    ql_graph_share_cache(g->encode, g->graph);
    return QL_OK;
}

ql_status ql_generator_record(ql_model *m, const ql_generator_opts *o, ql_device *dev,
                              ql_generator **out) {
    QL_TRY(check(m, o));
    ql_generator *g = ql_host_calloc(1, sizeof *g);
    if (!g) return QL_NOMEM("a generator");
    g->m = m;
    g->dev = dev;
    g->o = *o;
    g->piece = o->context < PIECE ? o->context : PIECE;
    ql_status s = create_graphs(g);
    if (s != QL_OK) {
        ql_generator_free(g);
        return s;
    }
    *out = g;
    return QL_OK;
}

ql_status ql_generator_count(const ql_generator *g, ql_memory_report *r) {
    QL_TRY(ql_graph_report(g->graph, r));
    return g->encode ? ql_graph_report(g->encode, r) : QL_OK;
}

static ql_status plan(ql_model *m, const ql_generator_opts *o, ql_device *dev, ql_generator **out) {
    ql_generator *g = NULL;
    QL_TRY(ql_generator_record(m, o, dev, &g));
    ql_status s = ql_generator_count(g, &g->report);
    if (s != QL_OK) {
        ql_generator_free(g);
        return s;
    }
    ql_model_report(m, &g->report);
    for (int i = 0; i < QL_POOL_COUNT; i++) g->report.peak_bytes += g->report.device[i];
    *out = g;
    return QL_OK;
}

ql_status ql_generator_plan_for(ql_model *m, const ql_generator_opts *o, ql_device *dev,
                                ql_memory_report *out) {
    ql_generator *g = NULL;
    QL_TRY(plan(m, o, dev, &g));
    *out = g->report;
    ql_generator_free(g);
    return QL_OK;
}

ql_status ql_generator_plan(ql_model *m, ql_dtype compute, int32_t context, ql_device *dev,
                            ql_memory_report *out) {
    const ql_generator_opts o = {.compute = compute, .context = context, .sequences = 1};
    return ql_generator_plan_for(m, &o, dev, out);
}

/* ---------------------------------------------------------------- creating */

static ql_status allocate_host(ql_generator *g) {
    size_t seqs = (size_t)g->o.sequences, context = (size_t)g->o.context;
    size_t rows = (size_t)(g->piece > g->o.source ? g->piece : g->o.source);
    if (rows < seqs) rows = seqs;
    int32_t *w = g->words = ql_host_calloc(5 * rows + 6 * seqs + 3, sizeof(int32_t));
    g->history = ql_host_calloc(seqs, (context + 4) * sizeof(int32_t));
    g->logits = ql_host_calloc(seqs, (size_t)g->m->arch.vocab * sizeof(float));
    if (!w || !g->history || !g->logits) return QL_NOMEM("a generator");
    g->held = g->history + seqs * context;
    g->region = g->held + seqs;
    g->next = g->region + seqs;
    g->owner = g->next + seqs;
    ql_pass *p = &g->pass;
    int32_t **const of_rows[] = {&p->ids, &p->pos, &p->kv_row};
    int32_t **const of_ends[] = {&p->start, &p->kv_start, &p->cross_start};
    int32_t **const of_seqs[] = {&p->kv_len, &p->cross_len, &p->label};
    p->key = w;
    w += 2 * rows;
    for (size_t i = 0; i < 3; i++) {
        *of_rows[i] = w;
        *of_ends[i] = w + rows;
        *of_seqs[i] = w + rows + seqs + 1;
        w += rows + 2 * seqs + 1;
    }
    return QL_OK;
}

ql_status ql_generator_bind(ql_generator *g, ql_buffer *arena) {
    QL_TRY(ql_graph_bind(g->graph, g->m, arena));
    if (g->encode) {
        ql_graph_share_cache(g->encode, g->graph);
        QL_TRY(ql_graph_bind(g->encode, g->m, arena));
    }
    QL_TRY(allocate_host(g));
    ql_generator_reset(g);
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
    return ql_generator_bind(g, g->arena);
}

ql_status ql_generator_create_for(ql_model *m, const ql_generator_opts *o, ql_device *dev,
                                  ql_generator **out) {
    ql_generator *g = NULL;
    QL_TRY(plan(m, o, dev, &g));
    ql_status s = allocate(g);
    if (s != QL_OK) {
        ql_generator_free(g);
        return s;
    }
    *out = g;
    return QL_OK;
}

ql_status ql_generator_create(ql_model *m, ql_dtype compute, int32_t context, ql_device *dev,
                              ql_generator **out) {
    const ql_generator_opts o = {.compute = compute, .context = context, .sequences = 1};
    return ql_generator_create_for(m, &o, dev, out);
}

void ql_generator_free(ql_generator *g) {
    if (!g) return;
    ql_graph_free(g->encode); /* before the one whose caches it shares */
    ql_graph_free(g->graph);
    g->dev->backend->buffer_free(g->arena);
    if (g->queue) {
        if (g->m->queue == g->queue) g->m->queue = NULL;
        g->dev->backend->queue_destroy(g->queue);
    }
    ql_host_free(g->words);
    ql_host_free(g->history);
    ql_host_free(g->logits);
    ql_host_free(g);
}

const ql_memory_report *ql_generator_report(const ql_generator *g) {
    return &g->report;
}
int32_t ql_generator_position(const ql_generator *g) {
    return g->position;
}
int32_t ql_generator_context(const ql_generator *g) {
    return g->o.context;
}
const ql_generator_opts *ql_generator_options(const ql_generator *g) {
    return &g->o;
}
const ql_model *ql_generator_model(const ql_generator *g) {
    return g->m;
}
