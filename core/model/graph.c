/*
 * graph.c - records, plans and binds a model's graph (see build.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/batch.h"
#include "core/model/build_impl.h"

ql_vid ql_build_bound(ql_builder *b, ql_vid v, ql_graph_binding binding) {
    ql_graph *g = b->g;
    if (!v) return 0;
    ql_status s =
        ql_host_grow((void **)&g->bindings, &g->cap_bindings, g->n_bindings + 1, sizeof binding);
    if (s != QL_OK) {
        ql_tape_fail(b->t, s);
        return 0;
    }
    binding.v = v;
    g->bindings[g->n_bindings++] = binding;
    return v;
}

ql_vid ql_build_slot(ql_builder *b, const ql_slot *slot, const char *name) {
    ql_vid v = ql_tape_external(b->t, QL_POOL_WEIGHTS, slot->dtype, ql_fixed(slot->rows),
                                ql_fixed(slot->cols), "%s", name);
    return ql_build_bound(b, v, (ql_graph_binding){.home = QL_HOME_SLOT, .slot = *slot});
}

ql_vid ql_build_param(ql_builder *b, int32_t param) {
    const ql_param *p = &b->m->params[param];
    uint64_t off = p->first * sizeof(float);
    for (size_t i = 0; i < b->g->n_bindings; i++) /* used twice: a tied head */
        if (b->g->bindings[i].home == QL_HOME_TRAINED && b->g->bindings[i].off == off)
            return b->g->bindings[i].v;
    ql_vid v = ql_tape_external(b->t, QL_POOL_ADAPTERS, QL_F32, ql_fixed(p->rows),
                                ql_fixed(p->cols), "%s", p->name);
    ql_build_bound(b, v, (ql_graph_binding){.home = QL_HOME_TRAINED, .off = off});
    if (!b->train) return v;
    ql_vid g = ql_tape_external(b->t, QL_POOL_GRADIENTS, QL_F32, ql_fixed(p->rows),
                                ql_fixed(p->cols), "d.%s", p->name);
    ql_build_bound(b, g, (ql_graph_binding){.home = QL_HOME_GRADIENT, .off = off});
    ql_tape_train(b->t, v, g);
    return v;
}

ql_vid ql_build_dense(ql_builder *b, const ql_dense *d) {
    if (!d) return 0;
    return d->param >= 0 ? ql_build_param(b, d->param) : ql_build_slot(b, &d->slot, d->name);
}

ql_vid ql_build_value(ql_builder *b, int64_t cols, const char *name) {
    return ql_tape_value(b->t, QL_POOL_ACTIVATIONS, b->compute, b->tokens, ql_fixed(cols), "%s",
                         name);
}

/* ---------------------------------------------------------------- create */

/* Turns the builder to one stack. */
static void enter(ql_builder *b, const ql_stack_tensors *s, const ql_stack_io *in, bool encoder) {
    b->stack = s;
    b->arch = s->arch;
    b->in = in;
    b->key = in->key;
    b->layer = -1;
    b->tokens = encoder ? ql_rows(QL_SYM_ENC_TOKENS, b->o->max_source_tokens)
                        : ql_rows(QL_SYM_TOKENS, b->o->max_tokens);
    b->max_len = encoder ? b->o->max_source_len : b->o->max_len;
}

/* A stack's blocks, `first` of the layers that stand in front of it in dumps. */
static ql_vid blocks(ql_builder *b, int32_t first) {
    int32_t layers = b->arch->layers, every = b->train ? b->o->checkpoint : 0;
    ql_vid h = ql_build_front(b);
    b->relative = ql_build_relative_table(b);
    for (b->layer = 0; b->layer < layers; b->layer++) {
        int32_t i = b->layer;
        if (every > 0 && i % every == 0) ql_tape_segment_begin(b->t);
        ql_tape_set_layer(b->t, first + i);
        h = ql_build_layer(b, h);
        if (every > 0 && (i % every == every - 1 || i == layers - 1)) ql_tape_segment_end(b->t);
    }
    return h;
}

static void record(ql_builder *b) {
    ql_model *m = b->m;
    bool cached = b->o->kind == QL_GRAPH_GENERATE;
    int32_t first = 0;
    ql_build_declare(b);
    ql_build_token_rows(b);
    if (m->arch.encoder.layers && !cached) {
        enter(b, &m->encoder, &b->io->encoder, true);
        ql_vid h = blocks(b, 0);
        ql_tape_set_layer(b->t, -1);
        b->memory = m->encoder.final_norm.w
                        ? ql_build_norm(b, &m->encoder.final_norm, h, 1, b->compute, "encoder.norm")
                        : h;
        ql_build_drop(b, b->memory, m->arch.drop.last, "last");
        first = m->arch.encoder.layers;
    }
    enter(b, &m->body, &b->io->body, false);
    if (b->o->kind == QL_GRAPH_ENCODE) {
        ql_build_cross_caches(b);
        return;
    }
    int32_t front = ql_build_head(b, blocks(b, first));
    if (b->train) ql_tape_backward(b->t, 0, front);
}

static ql_status check(const ql_model *m, const ql_graph_opts *o) {
    if (o->max_tokens < 1 || o->max_seqs < 1 || o->max_labelled < 1 || o->max_len < 1)
        return QL_FAIL(QL_ERR_INVALID,
                       "graph: %d tokens, %d sequences, %d labelled rows, length %d; all must be "
                       "at least 1",
                       o->max_tokens, o->max_seqs, o->max_labelled, o->max_len);
    if (o->compute != QL_F32 && o->compute != QL_BF16)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "graph: compute type must be fp32 or bf16");
    bool encoder = m->arch.encoder.layers > 0;
    if (encoder && (o->max_source_tokens < 1 || o->max_source_len < 1))
        return QL_FAIL(QL_ERR_INVALID, "graph: an encoder needs room for source tokens");
    if (o->kind == QL_GRAPH_GENERATE && !m->arch.body.causal)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "a %s model classifies; it does not generate text",
                       m->arch.family);
    if (o->kind == QL_GRAPH_ENCODE && !encoder)
        return QL_FAIL(QL_ERR_INVALID, "graph: a %s model has no encoder", m->arch.family);
    if (o->kind == QL_GRAPH_TRAIN && (!m->n_params || !m->opts.optimizer))
        return QL_FAIL(QL_ERR_INVALID,
                       "graph: nothing is trained (no adapter attached, no --full)");
    return QL_OK;
}

ql_status ql_graph_create(ql_model *m, const ql_graph_opts *o, ql_device *dev, ql_graph **out) {
    QL_TRY(check(m, o));
    ql_graph *g = ql_host_calloc(1, sizeof(*g));
    if (!g) return QL_NOMEM("a graph");
    g->opts = *o;
    g->dev = dev;
    g->model = m;
    ql_tape *t = NULL;
    ql_status s = ql_tape_create(&t);
    if (s == QL_OK) {
        ql_builder b = {.m = m,
                        .g = g,
                        .t = t,
                        .o = &g->opts,
                        .io = &g->io,
                        .compute = o->compute,
                        .labelled = ql_rows(QL_SYM_LABELLED, o->max_labelled),
                        .train = o->kind == QL_GRAPH_TRAIN};
        record(&b);
        s = ql_program_create(t, dev, &g->program);
    }
    /* Whole weights have gradients too large to be passed over once a sequence. */
    if (s == QL_OK && o->kind == QL_GRAPH_TRAIN && !m->opts.full)
        ql_program_by_sequence(g->program);
    if (s != QL_OK) {
        ql_graph_free(g);
        return s;
    }
    *out = g;
    return QL_OK;
}

void ql_graph_free(ql_graph *g) {
    if (!g) return;
    g->dev->backend->buffer_free(g->io_buf);
    g->dev->backend->buffer_free(g->logits_buf);
    if (!g->cache_shared) g->dev->backend->buffer_free(g->cache_buf);
    ql_program_free(g->program);
    ql_host_free(g->bindings);
    ql_host_free(g->io.cache_k);
    ql_host_free(g->io.cross_k);
    ql_host_free(g);
}

ql_status ql_graph_report(const ql_graph *g, ql_memory_report *out) {
    uint64_t arena = ql_program_arena_bytes(g->program);
    if (arena > out->arena_bytes) { /* one arena serves all graphs: the largest counts */
        const ql_pool shared[] = {QL_POOL_ACTIVATIONS, QL_POOL_LOGITS, QL_POOL_SCRATCH};
        ql_memory_report r = {0};
        QL_TRY(ql_program_report(g->program, &r));
        uint64_t before = out->arena_bytes;
        for (int i = 0; i < 3; i++) out->device[shared[i]] += r.device[shared[i]];
        out->device[QL_POOL_ACTIVATIONS] -= before;
        out->arena_bytes = arena;
        out->arena_lower_bound = r.arena_lower_bound;
        out->peak_record = r.peak_record;
    }
    out->device[QL_POOL_ACTIVATIONS] += g->io_bytes;
    out->device[QL_POOL_LOGITS] += g->logits_bytes;
    if (!g->cache_shared) out->device[QL_POOL_CACHE] += g->cache_bytes;
    return QL_OK;
}

/* ---------------------------------------------------------------- bind */

static void bind_one(ql_graph *g, const ql_model *m, const ql_graph_binding *x,
                     ql_buffer *const *home) {
    if (x->home != QL_HOME_SLOT) {
        ql_program_bind(g->program, x->v, home[x->home], x->off);
        return;
    }
    if (x->slot.region == QL_REGION_MAPPED)
        ql_program_bind(g->program, x->v, m->mappings[x->slot.index].buf, 0);
    else
        ql_program_bind(g->program, x->v, m->weights, x->slot.off);
}

void ql_graph_share_cache(ql_graph *g, const ql_graph *owner) {
    g->cache_shared = true;
    g->cache_buf = owner->cache_buf;
}

ql_status ql_graph_bind(ql_graph *g, ql_model *m, ql_buffer *arena) {
    const ql_backend *b = g->dev->backend;
    QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->io_bytes, &g->io_buf));
    if (g->logits_bytes)
        QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->logits_bytes, &g->logits_buf));
    if (g->cache_bytes && !g->cache_shared)
        QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->cache_bytes, &g->cache_buf));
    ql_buffer *const home[] = {[QL_HOME_TRAINED] = m->trained,
                               [QL_HOME_GRADIENT] = m->gradients,
                               [QL_HOME_IO] = g->io_buf,
                               [QL_HOME_LOGITS] = g->logits_buf,
                               [QL_HOME_CACHE] = g->cache_buf};
    for (size_t i = 0; i < g->n_bindings; i++) bind_one(g, m, &g->bindings[i], home);
    ql_program_bind_arena(g->program, arena, 0);
    return ql_graph_fill_tables(g, m, m->queue);
}

static const ql_value *place_of(const ql_graph *g, ql_vid v, uint64_t bytes, ql_status *s) {
    const ql_value *x = ql_tape_at(ql_program_tape(g->program), v);
    *s = QL_OK;
    if (!v || !x->buf || bytes > ql_value_bytes(x))
        *s =
            QL_FAIL(QL_ERR_INVALID, "graph: %llu bytes for '%s' of %llu", (unsigned long long)bytes,
                    v ? x->name : "(none)", v ? (unsigned long long)ql_value_bytes(x) : 0ULL);
    return x;
}

ql_status ql_graph_put(ql_graph *g, ql_queue *q, ql_vid v, const void *data, uint64_t bytes) {
    ql_status s;
    const ql_value *x = place_of(g, v, bytes, &s);
    QL_TRY(s);
    return bytes ? g->dev->backend->write(q, x->buf, x->buf_off, data, bytes) : QL_OK;
}

ql_status ql_graph_get(ql_graph *g, ql_queue *q, ql_vid v, void *data, uint64_t bytes) {
    ql_status s;
    const ql_value *x = place_of(g, v, bytes, &s);
    QL_TRY(s);
    return bytes ? g->dev->backend->read(q, x->buf, x->buf_off, data, bytes) : QL_OK;
}
