/*
 * graph.c - records, plans and binds a model's graph (see build.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/batch.h"
#include "core/model/build_impl.h"

static ql_vid bound(ql_builder *b, ql_vid v, ql_graph_binding binding) {
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
    return bound(b, v, (ql_graph_binding){.home = QL_HOME_SLOT, .slot = *slot});
}

ql_vid ql_build_param(ql_builder *b, int32_t param) {
    const ql_param *p = &b->m->params[param];
    uint64_t off = p->first * sizeof(float);
    for (size_t i = 0; i < b->g->n_bindings; i++) /* used twice: a tied head */
        if (b->g->bindings[i].home == QL_HOME_TRAINED && b->g->bindings[i].off == off)
            return b->g->bindings[i].v;
    ql_vid v = ql_tape_external(b->t, QL_POOL_ADAPTERS, QL_F32, ql_fixed(p->rows),
                                ql_fixed(p->cols), "%s", p->name);
    bound(b, v, (ql_graph_binding){.home = QL_HOME_TRAINED, .off = off});
    if (!b->train) return v;
    ql_vid g = ql_tape_external(b->t, QL_POOL_GRADIENTS, QL_F32, ql_fixed(p->rows),
                                ql_fixed(p->cols), "d.%s", p->name);
    bound(b, g, (ql_graph_binding){.home = QL_HOME_GRADIENT, .off = off});
    ql_tape_train(b->t, v, g);
    return v;
}

ql_vid ql_build_dense(ql_builder *b, const ql_dense *d) {
    if (!d->present) return 0;
    return d->param >= 0 ? ql_build_param(b, d->param) : ql_build_slot(b, &d->slot, d->name);
}

ql_vid ql_build_value(ql_builder *b, ql_dim rows, int64_t cols, const char *name) {
    return ql_tape_value(b->t, QL_POOL_ACTIVATIONS, b->compute, rows, ql_fixed(cols), "%s", name);
}

/* ---------------------------------------------------------------- inputs and outputs */

static uint64_t book(uint64_t *total, int64_t rows, int64_t cols, ql_dtype dtype) {
    uint64_t at = *total;
    uint64_t bytes = (uint64_t)rows * (uint64_t)cols * ql_dtype_size(dtype);
    *total += (bytes + QL_SLOT_ALIGN - 1) / QL_SLOT_ALIGN * QL_SLOT_ALIGN;
    return at;
}

static ql_vid input(ql_builder *b, ql_dtype dtype, ql_dim rows, ql_dim cols, const char *name) {
    uint64_t off = book(&b->g->io_bytes, rows.max, cols.max, dtype);
    ql_vid v = ql_tape_external(b->t, QL_POOL_ACTIVATIONS, dtype, rows, cols, "%s", name);
    return bound(b, v, (ql_graph_binding){.home = QL_HOME_IO, .off = off});
}

/* Start offsets of S sequences: S + 1 of them. */
static ql_dim offsets(int32_t max_seqs) {
    return (ql_dim){(int64_t)max_seqs + 1, -1, QL_SYM_SEQS};
}

static void declare_cache(ql_builder *b) {
    const ql_arch *a = &b->m->arch;
    ql_graph_io *io = b->io;
    int64_t cols = (int64_t)a->kv_heads * a->head_dim;
    io->cache_k = ql_host_calloc((size_t)a->layers, 2 * sizeof(ql_vid));
    if (!io->cache_k) {
        ql_tape_fail(b->t, QL_NOMEM("the key/value cache"));
        return;
    }
    io->cache_v = io->cache_k + a->layers;
    for (int32_t i = 0; i < 2 * a->layers; i++) {
        uint64_t off = book(&b->g->cache_bytes, b->o->cache_len, cols, b->compute);
        ql_vid v = ql_tape_external(b->t, QL_POOL_CACHE, b->compute, ql_fixed(b->o->cache_len),
                                    ql_fixed(cols), "cache.%d", i);
        io->cache_k[i] = bound(b, v, (ql_graph_binding){.home = QL_HOME_CACHE, .off = off});
    }
    io->kv_row = input(b, QL_I32, ql_fixed(1), b->tokens, "kv_row");
    io->kv_start = input(b, QL_I32, ql_fixed(1), offsets(b->o->max_seqs), "kv_start");
    io->kv_len = input(b, QL_I32, ql_fixed(1), ql_rows(QL_SYM_SEQS, b->o->max_seqs), "kv_len");
}

static void declare_io(ql_builder *b) {
    const ql_graph_opts *o = b->o;
    ql_graph_io *io = b->io;
    bool cached = o->kind == QL_GRAPH_GENERATE;
    io->ids = input(b, QL_I32, ql_fixed(1), b->tokens, "ids");
    io->pos = input(b, QL_I32, ql_fixed(1), b->tokens, "pos");
    io->key = input(b, QL_I32, b->tokens, ql_fixed(2), "key");
    io->start = input(b, QL_I32, ql_fixed(1), offsets(o->max_seqs), "start");
    io->label_row = input(b, QL_I32, ql_fixed(1), b->labelled, "label_row");
    io->label_target = input(b, QL_I32, ql_fixed(1), b->labelled, "label_target");
    io->loss = input(b, QL_F32, ql_fixed(1), b->labelled, "loss");
    io->step = input(b, QL_U8, ql_fixed(1), ql_fixed(QL_STEP_BLOCK_BYTES), "step");
    io->rope = input(b, QL_F32, ql_fixed(cached ? o->cache_len : o->max_len),
                     ql_fixed(b->m->arch.rope.rot), "rope");
    if (cached) declare_cache(b);
    if (o->kind != QL_GRAPH_LOGITS && !cached) return;
    uint64_t off = book(&b->g->logits_bytes, o->max_labelled, b->m->arch.vocab, QL_F32);
    ql_vid v = ql_tape_external(b->t, QL_POOL_LOGITS, QL_F32, b->labelled,
                                ql_fixed(b->m->arch.vocab), "logits_out");
    io->logits = bound(b, v, (ql_graph_binding){.home = QL_HOME_LOGITS, .off = off});
}

/* ---------------------------------------------------------------- create */

static void record(ql_builder *b) {
    ql_tape *t = b->t;
    int32_t layers = b->m->arch.layers, every = b->train ? b->o->checkpoint : 0;
    declare_io(b);
    ql_vid table = b->g->table = ql_build_dense(b, &b->m->embed);
    ql_vid h = ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, b->tokens, ql_fixed(b->m->arch.hidden),
                             "embed");
    QL_RECORD(t, GATHER, gather, .table = ql_ref(t, table), .index = ql_ref(t, b->io->ids),
              .y = ql_ref(t, h), .scale = 1.0f);
    for (int32_t i = 0; i < layers; i++) {
        if (every > 0 && i % every == 0) ql_tape_segment_begin(t);
        h = ql_build_layer(b, i, h);
        if (every > 0 && (i % every == every - 1 || i == layers - 1)) ql_tape_segment_end(t);
    }
    int32_t body = ql_tape_count(t);
    ql_build_head(b, h);
    if (!b->train) return;
    /* The head's gather and norm stand between the body and the chunks, which have run backward. */
    int32_t head = body + 2;
    ql_tape_backward(t, 0, head);
}

static ql_status check(const ql_model *m, const ql_graph_opts *o) {
    if (o->max_tokens < 1 || o->max_seqs < 1 || o->max_labelled < 1 || o->max_len < 1)
        return QL_FAIL(QL_ERR_INVALID,
                       "graph: %d tokens, %d sequences, %d labelled rows, length %d; all must be "
                       "at least 1",
                       o->max_tokens, o->max_seqs, o->max_labelled, o->max_len);
    if (o->compute != QL_F32 && o->compute != QL_BF16)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "graph: compute type must be fp32 or bf16");
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
    ql_tape *t = NULL;
    ql_status s = ql_tape_create(&t);
    if (s == QL_OK) {
        ql_builder b = {m,
                        g,
                        t,
                        &g->opts,
                        &g->io,
                        o->compute,
                        ql_rows(QL_SYM_TOKENS, o->max_tokens),
                        ql_rows(QL_SYM_LABELLED, o->max_labelled),
                        o->kind == QL_GRAPH_TRAIN};
        record(&b);
        s = ql_program_create(t, dev, &g->program);
    }
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
    g->dev->backend->buffer_free(g->cache_buf);
    ql_program_free(g->program);
    ql_host_free(g->bindings);
    ql_host_free(g->io.cache_k);
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
    out->device[QL_POOL_CACHE] += g->cache_bytes;
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

static ql_status fill_rope(ql_graph *g, const ql_model *m, ql_queue *q) {
    const ql_value *v = ql_tape_at(ql_program_tape(g->program), g->io.rope);
    int64_t positions = v->rows.max;
    float *table = ql_host_calloc((size_t)positions, (size_t)v->cols.max * sizeof(float));
    if (!table) return QL_NOMEM("the rotation table");
    ql_rope_fill(&m->arch.rope, positions, positions, table);
    ql_status s = ql_graph_put(g, q, g->io.rope, table, ql_value_bytes(v));
    ql_host_free(table);
    return s;
}

ql_status ql_graph_bind(ql_graph *g, ql_model *m, ql_buffer *arena) {
    const ql_backend *b = g->dev->backend;
    QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->io_bytes, &g->io_buf));
    if (g->logits_bytes)
        QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->logits_bytes, &g->logits_buf));
    if (g->cache_bytes)
        QL_TRY(b->buffer_alloc(g->dev, QL_MEM_DEVICE, g->cache_bytes, &g->cache_buf));
    ql_buffer *const home[] = {[QL_HOME_TRAINED] = m->trained,
                               [QL_HOME_GRADIENT] = m->gradients,
                               [QL_HOME_IO] = g->io_buf,
                               [QL_HOME_LOGITS] = g->logits_buf,
                               [QL_HOME_CACHE] = g->cache_buf};
    for (size_t i = 0; i < g->n_bindings; i++) bind_one(g, m, &g->bindings[i], home);
    ql_program_bind_arena(g->program, arena, 0);
    return fill_rope(g, m, m->queue);
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

/* Kernels trust indices: whatever the data held is checked here. */
static ql_status check_ids(const char *what, const int32_t *ids, int32_t n, int64_t vocab) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return QL_FAIL(QL_ERR_INVALID, "batch: %s %d is id %d, the vocabulary has %lld", what,
                           i, ids[i], (long long)vocab);
    return QL_OK;
}

ql_status ql_graph_set_batch(ql_graph *g, ql_queue *q, const ql_batch *b) {
    const ql_graph_opts *o = &g->opts;
    if (b->tokens > o->max_tokens || b->seqs > o->max_seqs || b->labelled > o->max_labelled ||
        b->longest > o->max_len)
        return QL_FAIL(QL_ERR_INVALID,
                       "batch of %d tokens, %d sequences (longest %d), %d labels exceeds the plan "
                       "of %d, %d (%d), %d",
                       b->tokens, b->seqs, b->longest, b->labelled, o->max_tokens, o->max_seqs,
                       o->max_len, o->max_labelled);
    int64_t vocab = ql_tape_at(ql_program_tape(g->program), g->table)->rows.max;
    QL_TRY(check_ids("token", b->ids, b->tokens, vocab));
    QL_TRY(check_ids("target", b->label_target, b->labelled, vocab));
    const uint64_t word = sizeof(int32_t);
    QL_TRY(ql_graph_put(g, q, g->io.ids, b->ids, (uint64_t)b->tokens * word));
    QL_TRY(ql_graph_put(g, q, g->io.pos, b->pos, (uint64_t)b->tokens * word));
    QL_TRY(ql_graph_put(g, q, g->io.key, b->key, (uint64_t)b->tokens * 2 * word));
    QL_TRY(ql_graph_put(g, q, g->io.start, b->start, ((uint64_t)b->seqs + 1) * word));
    QL_TRY(ql_graph_put(g, q, g->io.label_row, b->label_row, (uint64_t)b->labelled * word));
    QL_TRY(ql_graph_put(g, q, g->io.label_target, b->label_target, (uint64_t)b->labelled * word));
    ql_program_set(g->program, QL_SYM_TOKENS, b->tokens);
    ql_program_set(g->program, QL_SYM_SEQS, b->seqs);
    ql_program_set(g->program, QL_SYM_LABELLED, b->labelled);
    return QL_OK;
}
