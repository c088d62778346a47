/*
 * graph_io.c - inputs and outputs of a graph: declared, filled with tables, fed with batches.
 */
#include "core/base/hostmem.h"
#include "core/data/batch.h"
#include "core/device/device.h"
#include "core/model/build_impl.h"

/* ---------------------------------------------------------------- declaration */

static uint64_t book(uint64_t *total, int64_t rows, int64_t cols, ql_dtype dtype) {
    uint64_t at = *total;
    uint64_t bytes = (uint64_t)rows * (uint64_t)cols * ql_dtype_size(dtype);
    *total += (bytes + QL_SLOT_ALIGN - 1) / QL_SLOT_ALIGN * QL_SLOT_ALIGN;
    return at;
}

static ql_vid input(ql_builder *b, ql_dtype dtype, ql_dim rows, ql_dim cols, const char *name) {
    uint64_t off = book(&b->g->io_bytes, rows.max, cols.max, dtype);
    ql_vid v = ql_tape_external(b->t, QL_POOL_ACTIVATIONS, dtype, rows, cols, "%s", name);
    return ql_build_bound(b, v, (ql_graph_binding){.home = QL_HOME_IO, .off = off});
}

/* One I32 for each of `cols`. */
static ql_vid indices(ql_builder *b, ql_dim cols, const char *name) {
    return input(b, QL_I32, ql_fixed(1), cols, name);
}

/* Start offsets of S sequences: S + 1 of them. */
static ql_dim offsets(int32_t max_seqs) {
    return (ql_dim){(int64_t)max_seqs + 1, -1, QL_SYM_SEQS, 1};
}

static ql_vid rotation(ql_builder *b, const ql_rope *r, int64_t positions, const char *name) {
    if (r->kind == QL_ROPE_NONE) return 0;
    return input(b, QL_F32, ql_fixed(positions), ql_fixed(r->rot), name);
}

/* What a stack of `tokens` rows reads; `reach` bounds positions and distances. */
static void declare_stack(ql_builder *b, const ql_stack *s, ql_dim tokens, int64_t reach,
                          ql_stack_io *in) {
    in->ids = indices(b, tokens, "ids");
    in->pos = indices(b, tokens, "pos");
    in->key = input(b, QL_I32, tokens, ql_fixed(2), "key");
    in->start = indices(b, offsets(b->o->max_seqs), "start");
    if (s->front.rule != QL_POS_NONE) in->place = indices(b, tokens, "place");
    if (s->front.types) in->types = indices(b, tokens, "types");
    if (b->m->token_rows.n) in->token_slot = indices(b, tokens, "token_slot");
    in->rope = rotation(b, &s->rope, reach, "rope");
    if (s->two_ropes) in->rope_local = rotation(b, &s->rope_local, reach, "rope_local");
    if (s->relative == QL_REL_ALIBI)
        in->alibi = input(b, QL_F32, ql_fixed(reach), ql_fixed(s->heads), "alibi");
    if (s->relative != QL_REL_NONE) in->bucket = indices(b, ql_fixed(2 * reach - 1), "bucket");
}

/* `count` caches of `rows` rows. */
static ql_vid *declare_caches(ql_builder *b, int32_t count, int64_t rows, const char *name) {
    const ql_stack *s = &b->m->arch.body;
    int64_t cols = (int64_t)s->kv_heads * s->head_dim;
    ql_vid *out = ql_host_calloc((size_t)count, sizeof(ql_vid));
    if (!out) {
        ql_tape_fail(b->t, QL_NOMEM("the key/value cache"));
        return NULL;
    }
    for (int32_t i = 0; i < count; i++) {
        uint64_t off = book(&b->g->cache_bytes, rows, cols, b->compute);
        ql_vid v = ql_tape_external(b->t, QL_POOL_CACHE, b->compute, ql_fixed(rows), ql_fixed(cols),
                                    "%s.%d", name, i);
        out[i] = ql_build_bound(b, v, (ql_graph_binding){.home = QL_HOME_CACHE, .off = off});
    }
    return out;
}

/* The same caches in the same order for GENERATE and ENCODE, so that they can share a buffer. */
static void declare_all_caches(ql_builder *b) {
    ql_graph_io *io = b->io;
    int32_t layers = b->m->arch.body.layers;
    int64_t rows = (int64_t)b->o->max_seqs * b->o->cache_len;
    ql_vid *self = declare_caches(b, 2 * layers, rows, "cache");
    io->cache_k = self;
    io->cache_v = self ? self + layers : NULL;
    if (!b->m->arch.encoder.layers) return;
    ql_vid *cross = declare_caches(b, 2 * layers, b->o->max_source_tokens, "cross");
    io->cross_k = cross;
    io->cross_v = cross ? cross + layers : NULL;
}

static void declare_outputs(ql_builder *b) {
    ql_graph_io *io = b->io;
    const ql_arch *a = &b->m->arch;
    int64_t outputs = ql_arch_outputs(a);
    io->label_row = indices(b, b->labelled, "label_row");
    io->label_target = indices(b, b->labelled, "label_target");
    if (a->task == QL_TASK_CLASSIFY && a->n_labels == 1)
        io->label_value = input(b, QL_F32, b->labelled, ql_fixed(1), "label_value");
    if (b->o->weighted)
        io->label_weight = input(b, QL_F32, ql_fixed(1), b->labelled, "label_weight");
    io->loss = input(b, QL_F32, ql_fixed(1), b->labelled, "loss");
    if (b->o->kind != QL_GRAPH_LOGITS && b->o->kind != QL_GRAPH_GENERATE) return;
    uint64_t off = book(&b->g->logits_bytes, b->o->max_labelled, outputs, QL_F32);
    ql_vid v = ql_tape_external(b->t, QL_POOL_LOGITS, QL_F32, b->labelled, ql_fixed(outputs),
                                "logits_out");
    io->logits = ql_build_bound(b, v, (ql_graph_binding){.home = QL_HOME_LOGITS, .off = off});
}

void ql_build_declare(ql_builder *b) {
    const ql_graph_opts *o = b->o;
    const ql_arch *a = &b->m->arch;
    ql_graph_io *io = b->io;
    bool cached = o->kind == QL_GRAPH_GENERATE, encode = o->kind == QL_GRAPH_ENCODE;
    if (!encode)
        declare_stack(b, &a->body, ql_rows(QL_SYM_TOKENS, o->max_tokens),
                      cached ? o->cache_len : o->max_len, &io->body);
    if (a->encoder.layers && !cached)
        declare_stack(b, &a->encoder, ql_rows(QL_SYM_ENC_TOKENS, o->max_source_tokens),
                      o->max_source_len, &io->encoder);
    io->step = input(b, QL_U8, ql_fixed(1), ql_fixed(QL_STEP_BLOCK_BYTES), "step");
    if (b->m->token_rows.n) io->token_ids = indices(b, ql_fixed(b->m->token_rows.n), "token_ids");
    if (!encode) declare_outputs(b);
    if (cached || encode) declare_all_caches(b);
    if (!cached) return;
    io->kv_row = indices(b, ql_rows(QL_SYM_TOKENS, o->max_tokens), "kv_row");
    io->kv_start = indices(b, offsets(o->max_seqs), "kv_start");
    io->kv_len = indices(b, ql_rows(QL_SYM_SEQS, o->max_seqs), "kv_len");
    if (!a->encoder.layers) return;
    io->cross_start = indices(b, offsets(o->max_seqs), "cross_start");
    io->cross_len = indices(b, ql_rows(QL_SYM_SEQS, o->max_seqs), "cross_len");
}

/* ---------------------------------------------------------------- tables */

/* Computes `of` into a host copy of a table of 4-byte elements [rows, cols]. */
typedef void (*table_fn)(const void *of, int64_t rows, int64_t cols, void *table);

static void rotations(const void *of, int64_t rows, int64_t cols, void *table) {
    (void)cols;
    ql_rope_fill(of, rows, rows, table);
}

static void buckets(const void *of, int64_t rows, int64_t cols, void *table) {
    (void)rows;
    ql_relative_fill(of, (cols + 1) / 2, table);
}

static void slopes(const void *of, int64_t rows, int64_t cols, void *table) {
    (void)cols;
    ql_alibi_fill(of, rows, table);
}

static ql_status put_table(ql_graph *g, ql_queue *q, ql_vid v, table_fn fill, const void *of) {
    if (!v) return QL_OK;
    const ql_value *x = ql_tape_at(ql_program_tape(g->program), v);
    void *table = ql_host_calloc((size_t)ql_value_bytes(x), 1);
    if (!table) return QL_NOMEM("a table of positions");
    fill(of, x->rows.max, x->cols.max, table);
    ql_status s = ql_graph_put(g, q, v, table, ql_value_bytes(x));
    ql_host_free(table);
    return s;
}

ql_status ql_graph_fill_tables(ql_graph *g, const ql_model *m, ql_queue *q) {
    const ql_stack *const stack[2] = {&m->arch.body, &m->arch.encoder};
    const ql_stack_io *const in[2] = {&g->io.body, &g->io.encoder};
    for (int i = 0; i < 2; i++) {
        QL_TRY(put_table(g, q, in[i]->rope, rotations, &stack[i]->rope));
        QL_TRY(put_table(g, q, in[i]->rope_local, rotations, &stack[i]->rope_local));
        QL_TRY(put_table(g, q, in[i]->bucket, buckets, stack[i]));
        QL_TRY(put_table(g, q, in[i]->alibi, slopes, stack[i]));
    }
    if (!g->io.token_ids) return QL_OK;
    return ql_graph_put(g, q, g->io.token_ids, m->token_rows.ids,
                        (uint64_t)m->token_rows.n * sizeof(int32_t));
}

/* ---------------------------------------------------------------- batches */

/* Kernels trust indices: whatever the data held is checked here. */
static ql_status check_ids(const char *what, const int32_t *ids, int32_t n, int64_t limit) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return QL_FAIL(QL_ERR_INVALID, "batch: %s %d is %d, the model has %lld", what, i,
                           ids[i], (long long)limit);
    return QL_OK;
}

/* Rows of the position table (ql_position_rule). */
static ql_status put_places(ql_graph *g, ql_queue *q, const ql_front *f, ql_vid v,
                            const ql_graph_tokens *x, int32_t *words) {
    if (!v) return QL_OK;
    int32_t pad = f->position_offset, seen = 0;
    for (int32_t i = 0; i < x->n; i++) {
        if (f->rule == QL_POS_INDEX) {
            words[i] = x->pos[i] + f->position_offset;
            continue;
        }
        if (x->pos[i] == 0) seen = 0;
        words[i] = pad + (x->ids[i] == pad ? 0 : ++seen);
    }
    for (int32_t i = 0; i < x->n; i++)
        if (words[i] < 0 || words[i] >= f->position_rows)
            return QL_FAIL(QL_ERR_INVALID,
                           "batch: position %d; this model has learned positions for %lld tokens: "
                           "cut the rows (--max_seq_len, --truncation)",
                           x->pos[i], (long long)(f->position_rows - f->position_offset));
    return ql_graph_put(g, q, v, words, (uint64_t)x->n * sizeof(int32_t));
}

/* Row of the trained tokens' table, n for all others. */
static ql_status put_slots(ql_graph *g, ql_queue *q, ql_vid v, const ql_graph_tokens *x,
                           int32_t *words) {
    const ql_token_table *rows = &g->model->token_rows;
    if (!v) return QL_OK;
    for (int32_t i = 0; i < x->n; i++) {
        int32_t lo = 0, hi = rows->n;
        while (lo < hi) {
            int32_t mid = lo + (hi - lo) / 2;
            if (rows->ids[mid] < x->ids[i])
                lo = mid + 1;
            else
                hi = mid;
        }
        words[i] = lo < rows->n && rows->ids[lo] == x->ids[i] ? lo : rows->n;
    }
    return ql_graph_put(g, q, v, words, (uint64_t)x->n * sizeof(int32_t));
}

ql_status ql_graph_put_tokens(ql_graph *g, ql_queue *q, bool encoder, const ql_graph_tokens *x) {
    const ql_stack *s = encoder ? &g->model->arch.encoder : &g->model->arch.body;
    const ql_stack_io *in = encoder ? &g->io.encoder : &g->io.body;
    const uint64_t bytes = (uint64_t)x->n * sizeof(int32_t);
    QL_TRY(check_ids("token", x->ids, x->n, g->model->arch.vocab));
    if (in->types && x->types) QL_TRY(check_ids("token type", x->types, x->n, s->front.type_rows));
    int32_t *words = ql_host_calloc((size_t)x->n + 1, sizeof(int32_t));
    if (!words) return QL_NOMEM("a batch");
    ql_status st = ql_graph_put(g, q, in->ids, x->ids, bytes);
    if (st == QL_OK) st = ql_graph_put(g, q, in->pos, x->pos, bytes);
    if (st == QL_OK) st = ql_graph_put(g, q, in->key, x->key, 2 * bytes);
    if (st == QL_OK)
        st = ql_graph_put(g, q, in->start, x->start, ((uint64_t)x->seqs + 1) * sizeof(int32_t));
    if (st == QL_OK && in->types)
        st = ql_graph_put(g, q, in->types, x->types ? x->types : words, bytes);
    if (st == QL_OK) st = put_places(g, q, &s->front, in->place, x, words);
    if (st == QL_OK) st = put_slots(g, q, in->token_slot, x, words);
    ql_host_free(words); /* pageable memory: write() has staged it */
    ql_sym sym = encoder ? QL_SYM_ENC_TOKENS : QL_SYM_TOKENS;
    ql_program_set(g->program, sym, x->n);
    if (st == QL_OK) st = ql_program_cut(g->program, sym, x->start, x->seqs);
    ql_program_set(g->program, QL_SYM_SEQS, x->seqs);
    return st;
}

/* The labelled rows of each sequence. */
static ql_status cut_labels(ql_graph *g, const ql_batch *b) {
    int32_t *at = ql_host_calloc((size_t)b->seqs + 1, sizeof *at), row = 0;
    if (!at) return QL_NOMEM("a batch");
    for (int32_t i = 0; i < b->seqs; i++) {
        while (row < b->labelled && b->label_row[row] < b->start[i + 1]) row++;
        at[i + 1] = row;
    }
    ql_status s = ql_program_cut(g->program, QL_SYM_LABELLED, at, b->seqs);
    ql_host_free(at);
    return s;
}

static ql_status put_labels(ql_graph *g, ql_queue *q, const ql_batch *b) {
    const uint64_t bytes = (uint64_t)b->labelled * sizeof(int32_t);
    bool regression = g->io.label_value != 0;
    if (!regression)
        QL_TRY(check_ids("target", b->label_target, b->labelled, ql_arch_outputs(&g->model->arch)));
    QL_TRY(ql_graph_put(g, q, g->io.label_row, b->label_row, bytes));
    QL_TRY(ql_graph_put(g, q, g->io.label_target, b->label_target, bytes));
    if (regression) QL_TRY(ql_graph_put(g, q, g->io.label_value, b->label_value, bytes));
    if (g->io.label_weight) QL_TRY(ql_graph_put(g, q, g->io.label_weight, b->label_weight, bytes));
    ql_program_set(g->program, QL_SYM_LABELLED, b->labelled);
    return cut_labels(g, b);
}

ql_status ql_graph_set_batch(ql_graph *g, ql_queue *q, const ql_batch *b) {
    const ql_graph_opts *o = &g->opts;
    bool encoder = g->model->arch.encoder.layers > 0;
    if (b->tokens > o->max_tokens || b->seqs > o->max_seqs || b->labelled > o->max_labelled ||
        b->longest > o->max_len)
        return QL_FAIL(QL_ERR_INVALID,
                       "batch of %d tokens, %d sequences (longest %d), %d labels exceeds the plan "
                       "of %d, %d (%d), %d",
                       b->tokens, b->seqs, b->longest, b->labelled, o->max_tokens, o->max_seqs,
                       o->max_len, o->max_labelled);
    if (encoder && (b->source.tokens < 1 || b->source.tokens > o->max_source_tokens ||
                    b->source.longest > o->max_source_len))
        return QL_FAIL(
            QL_ERR_INVALID, "batch of %d source tokens (longest %d); the plan is for 1 to %d (%d)",
            b->source.tokens, b->source.longest, o->max_source_tokens, o->max_source_len);
    if (encoder)
        QL_TRY(ql_graph_put_tokens(g, q, true,
                                   &(ql_graph_tokens){.n = b->source.tokens,
                                                      .seqs = b->seqs,
                                                      .ids = b->source.ids,
                                                      .pos = b->source.pos,
                                                      .key = b->source.key,
                                                      .start = b->source.start}));
    QL_TRY(ql_graph_put_tokens(g, q, false,
                               &(ql_graph_tokens){.n = b->tokens,
                                                  .seqs = b->seqs,
                                                  .ids = b->ids,
                                                  .pos = b->pos,
                                                  .types = b->types,
                                                  .key = b->key,
                                                  .start = b->start}));
    return put_labels(g, q, b);
}
