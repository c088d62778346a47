/*
 * generate_run.c - what a generator does: a source text through the encoder, a prompt in pieces,
 * one token for every live sequence (see generate.h).
 *
 * Where a sequence has several successors, the first keeps its region of the caches; the others
 * take regions whose sequences ended. There are exactly enough of those, so nothing moves twice.
 */
#include <string.h>

#include "core/model/generate_impl.h"

void ql_generator_reset(ql_generator *g) {
    g->position = 0;
    g->live = 1;
    g->region[0] = 0;
    memset(g->held, 0, (size_t)g->o.sequences * sizeof *g->held);
}

static ql_status check_ids(const ql_generator *g, const int32_t *ids, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= g->m->arch.vocab)
            return QL_FAIL(QL_ERR_INVALID, "token id %d is outside the vocabulary of %lld", ids[i],
                           (long long)g->m->arch.vocab);
    return QL_OK;
}

/* ---------------------------------------------------------------- source text */

ql_status ql_generator_set_source(ql_generator *g, const int32_t *ids, int32_t n) {
    if (!g->encode)
        return QL_FAIL(QL_ERR_INVALID, "a %s model has no encoder for a source text",
                       g->m->arch.family);
    if (n < 1 || n > g->o.source)
        return QL_FAIL(QL_ERR_INVALID, "source text of %d tokens; there is room for 1 to %d", n,
                       g->o.source);
    QL_TRY(check_ids(g, ids, n));
    ql_generator_reset(g);
    g->source = 0;
    ql_pass *p = &g->pass;
    for (int32_t i = 0; i < n; i++) {
        p->pos[i] = p->key[2 * i + 1] = i;
        p->key[2 * i] = 0;
    }
    p->start[0] = 0;
    p->start[1] = n;
    const ql_graph_tokens tokens = {
        .n = n, .seqs = 1, .ids = ids, .pos = p->pos, .key = p->key, .start = p->start};
    QL_TRY(ql_graph_put_tokens(g->encode, g->m->queue, true, &tokens));
    QL_TRY(ql_program_run(g->encode->program, g->m->queue));
    QL_TRY(g->dev->backend->queue_sync(g->m->queue));
    g->source = n;
    return QL_OK;
}

/* ---------------------------------------------------------------- one pass */

/* `rows` new tokens of the sequence in `region`, behind those that are in the pass. */
static void add_sequence(ql_generator *g, int32_t region, const int32_t *ids, int32_t rows) {
    ql_pass *p = &g->pass;
    int32_t first = region * g->o.context, s = p->seqs++;
    p->start[s] = p->rows;
    p->kv_start[s] = first;
    p->kv_start[s + 1] = first + g->o.context;
    p->kv_len[s] = g->position + rows;
    p->cross_start[s] = 0; /* all sequences read the same source */
    p->cross_start[s + 1] = p->cross_len[s] = g->source;
    for (int32_t i = 0; i < rows; i++) {
        int32_t at = p->rows++;
        p->ids[at] = ids[i];
        p->pos[at] = g->position + i;
        p->kv_row[at] = first + g->position + i;
        p->key[2 * at] = s;
        p->key[2 * at + 1] = p->pos[at];
    }
    p->start[s + 1] = p->rows;
}

static ql_status put_caches(ql_generator *g) {
    const ql_pass *p = &g->pass;
    const ql_graph_io *io = &g->graph->io;
    const struct {
        ql_vid v;
        const int32_t *data;
        int32_t words;
    } in[] = {{io->kv_row, p->kv_row, p->rows},
              {io->kv_start, p->kv_start, p->seqs + 1},
              {io->kv_len, p->kv_len, p->seqs},
              {io->label_row, p->label, p->seqs},
              {io->cross_start, p->cross_start, p->seqs + 1},
              {io->cross_len, p->cross_len, p->seqs}};
    size_t count = g->encode ? 6 : 4;
    for (size_t i = 0; i < count; i++)
        QL_TRY(ql_graph_put(g->graph, g->m->queue, in[i].v, in[i].data,
                            (uint64_t)in[i].words * sizeof(int32_t)));
    return QL_OK;
}

/* Runs the pass; logits of the row label[s] of every sequence. */
static ql_status run_pass(ql_generator *g) {
    const ql_pass *p = &g->pass;
    ql_queue *q = g->m->queue;
    const ql_graph_tokens tokens = {.n = p->rows,
                                    .seqs = p->seqs,
                                    .ids = p->ids,
                                    .pos = p->pos,
                                    .key = p->key,
                                    .start = p->start};
    QL_TRY(ql_graph_put_tokens(g->graph, q, false, &tokens));
    QL_TRY(put_caches(g));
    ql_program_set(g->graph->program, QL_SYM_LABELLED, p->seqs);
    QL_TRY(ql_program_run(g->graph->program, q));
    return g->dev->backend->queue_sync(q);
}

static ql_status read_logits(ql_generator *g, int32_t rows, const float **logits) {
    uint64_t bytes = (uint64_t)rows * (uint64_t)g->m->arch.vocab * sizeof(float);
    QL_TRY(ql_graph_get(g->graph, g->m->queue, g->graph->io.logits, g->logits, bytes));
    *logits = g->logits;
    return QL_OK;
}

/* Is there room for n tokens, and a source text where one is read? */
static ql_status check_room(const ql_generator *g, int32_t n) {
    if (n < 1 || n > g->o.context - g->position)
        return QL_FAIL(QL_ERR_INVALID, "%d tokens after %d exceed the context of %d", n,
                       g->position, g->o.context);
    if (g->encode && !g->source)
        return QL_FAIL(QL_ERR_INVALID, "a %s model decodes a source text, and none was given",
                       g->m->arch.family);
    return QL_OK;
}

/* ---------------------------------------------------------------- prompt */

static ql_status run_piece(ql_generator *g, const int32_t *ids, int32_t n) {
    int32_t region = g->region[0];
    g->pass.rows = g->pass.seqs = 0;
    g->held[region] = g->position;
    add_sequence(g, region, ids, n);
    g->pass.label[0] = n - 1;
    QL_TRY(run_pass(g));
    memcpy(g->history + (int64_t)region * g->o.context + g->position, ids, (size_t)n * sizeof *ids);
    g->position += n;
    g->held[region] = g->position;
    return QL_OK;
}

ql_status ql_generator_feed(ql_generator *g, const int32_t *ids, int32_t n, const float **logits) {
    QL_TRY(check_room(g, n));
    QL_TRY(check_ids(g, ids, n));
    if (g->live != 1)
        return QL_FAIL(QL_ERR_INVALID, "a prompt is for one sequence, and %d are live", g->live);
    for (int32_t at = 0; at < n; at += g->piece)
        QL_TRY(run_piece(g, ids + at, n - at < g->piece ? n - at : g->piece));
    return read_logits(g, 1, logits);
}

/* ---------------------------------------------------------------- step */

/* Rows that the region `to` holds already of the sequence in `from`. */
static int32_t common_rows(const ql_generator *g, int32_t from, int32_t to) {
    const int32_t *a = g->history + (int64_t)from * g->o.context;
    const int32_t *b = g->history + (int64_t)to * g->o.context;
    int32_t n = 0, most = g->held[to] < g->position ? g->held[to] : g->position;
    while (n < most && a[n] == b[n]) n++;
    return n;
}

/* Rows [first, position) of one cache from one region to another. */
static ql_status copy_rows(ql_generator *g, ql_vid cache, int32_t from, int32_t to, int32_t first) {
    const ql_value *x = ql_tape_at(ql_program_tape(g->graph->program), cache);
    uint64_t row = (uint64_t)x->ld * ql_dtype_size(x->dtype);
    uint64_t src = ((uint64_t)from * (uint64_t)g->o.context + (uint64_t)first) * row;
    uint64_t dst = ((uint64_t)to * (uint64_t)g->o.context + (uint64_t)first) * row;
    return g->dev->backend->copy(g->m->queue, x->buf, x->buf_off + dst, x->buf, x->buf_off + src,
                                 (uint64_t)(g->position - first) * row);
}

static ql_status copy_sequence(ql_generator *g, int32_t from, int32_t to) {
    int32_t first = common_rows(g, from, to);
    if (first == g->position) return QL_OK;
    g->held[to] = first;
    for (int32_t i = 0; i < g->m->arch.body.layers; i++) {
        QL_TRY(copy_rows(g, g->graph->io.cache_k[i], from, to, first));
        QL_TRY(copy_rows(g, g->graph->io.cache_v[i], from, to, first));
    }
    memcpy(g->history + (int64_t)to * g->o.context + first,
           g->history + (int64_t)from * g->o.context + first,
           (size_t)(g->position - first) * sizeof *g->history);
    g->held[to] = g->position;
    return QL_OK;
}

/* The first successor of each sequence stays in its region: next[s], -1 for the others; owner[r]
 * becomes the successor that has region r, -1 = none. */
static void keep_regions(ql_generator *g, int32_t n, const int32_t *parent) {
    for (int32_t r = 0; r < g->o.sequences; r++) g->owner[r] = -1;
    for (int32_t s = 0; s < n; s++) {
        int32_t region = g->region[parent[s]];
        g->next[s] = g->owner[region] < 0 ? region : -1;
        if (g->owner[region] < 0) g->owner[region] = s;
    }
}

static ql_status take_regions(ql_generator *g, int32_t n, const int32_t *parent) {
    keep_regions(g, n, parent);
    int32_t unused = 0;
    for (int32_t s = 0; s < n; s++) {
        if (g->next[s] >= 0) continue;
        while (g->owner[unused] >= 0) unused++;
        g->owner[unused] = s;
        g->next[s] = unused;
        QL_TRY(copy_sequence(g, g->region[parent[s]], unused));
    }
    memcpy(g->region, g->next, (size_t)n * sizeof *g->region);
    return QL_OK;
}

/* One token per region in the order of the regions; logits come in the order of the sequences. */
static ql_status run_step(ql_generator *g, int32_t n, const int32_t *ids) {
    g->pass.rows = g->pass.seqs = 0;
    for (int32_t r = 0; r < g->o.sequences; r++) {
        int32_t s = g->owner[r];
        if (s < 0) continue;
        g->held[r] = g->position;
        g->pass.label[s] = g->pass.rows;
        add_sequence(g, r, &ids[s], 1);
    }
    QL_TRY(run_pass(g));
    for (int32_t s = 0; s < n; s++) {
        g->history[(int64_t)g->region[s] * g->o.context + g->position] = ids[s];
        g->held[g->region[s]] = g->position + 1;
    }
    g->live = n;
    g->position++;
    return QL_OK;
}

ql_status ql_generator_step(ql_generator *g, int32_t n, const int32_t *parent, const int32_t *ids,
                            const float **logits) {
    if (n < 1 || n > g->o.sequences)
        return QL_FAIL(QL_ERR_INVALID, "%d sequences; this generator has room for 1 to %d", n,
                       g->o.sequences);
    QL_TRY(check_room(g, 1));
    QL_TRY(check_ids(g, ids, n));
    for (int32_t s = 0; s < n; s++)
        if (parent[s] < 0 || parent[s] >= g->live)
            return QL_FAIL(QL_ERR_INVALID, "sequence %d goes on from number %d of %d", s, parent[s],
                           g->live);
    ql_status s = take_regions(g, n, parent);
    if (s == QL_OK) s = run_step(g, n, ids);
    if (s != QL_OK) {
        ql_generator_reset(g); /* regions may have changed hands */
        return s;
    }
    return read_logits(g, n, logits);
}
