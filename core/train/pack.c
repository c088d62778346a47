/* pack.c - see pack.h. */
#include "core/train/pack.h"

#include <stdlib.h>

#include "core/base/hostmem.h"

/* A row of the window. */
typedef struct item {
    int64_t row;
    int32_t tokens, source, at; /* at: place in the window */
    int32_t bin;
} item;

/* A micro-batch under construction. */
typedef struct bin {
    int32_t tokens, source, seqs; /* room left */
    int32_t count, begin, placed; /* rows; where they begin in the result, -1 = not yet; written */
} bin;

typedef struct packer {
    item items[QL_PACK_WINDOW];
    bin bins[QL_PACK_WINDOW];
    int32_t n_bins;
} packer;

static int longest_first(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->tokens != y->tokens) return x->tokens < y->tokens ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b) {
    const item *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* The bin with the least room that still takes the row; n_bins = none does. */
static int32_t best_bin(const packer *p, const item *it) {
    int32_t best = p->n_bins;
    for (int32_t b = 0; b < p->n_bins; b++) {
        const bin *c = &p->bins[b];
        if (c->tokens < it->tokens || c->source < it->source || c->seqs == 0) continue;
        if (best == p->n_bins || c->tokens < p->bins[best].tokens) best = b;
    }
    return best;
}

/* Gives items[0..n) their bins; the items end in the order of the window. */
static void fill_bins(packer *p, ql_pack_room room, int32_t n) {
    p->n_bins = 0;
    qsort(p->items, (size_t)n, sizeof *p->items, longest_first);
    for (int32_t i = 0; i < n; i++) {
        item *it = &p->items[i];
        it->bin = best_bin(p, it);
        bin *b = &p->bins[it->bin];
        if (it->bin == p->n_bins) {
            *b = (bin){room.tokens, room.source, room.seqs, 0, -1, 0};
            p->n_bins++;
        }
        b->tokens -= it->tokens;
        b->source -= it->source;
        b->seqs--;
        b->count++;
    }
    qsort(p->items, (size_t)n, sizeof *p->items, by_place);
}

/* Writes the rows bin by bin, in the order of each bin's first row. */
static void write_bins(packer *p, int32_t n, int64_t *order, int32_t *group) {
    int32_t used = 0;
    for (int32_t i = 0; i < n; i++) group[i] = 0;
    for (int32_t i = 0; i < n; i++) {
        bin *b = &p->bins[p->items[i].bin];
        if (b->begin < 0) {
            b->begin = used;
            used += b->count;
            group[b->begin] = b->count;
        }
        order[b->begin + b->placed++] = p->items[i].row;
    }
}

ql_status ql_pack_order(const ql_dataset *d, ql_pack_room room, int64_t *order, int64_t n,
                        int32_t *group) {
    packer *p = ql_host_calloc(1, sizeof *p);
    if (!p) return QL_NOMEM("packing");
    for (int64_t from = 0; from < n; from += QL_PACK_WINDOW) {
        int32_t count = (int32_t)(n - from < QL_PACK_WINDOW ? n - from : QL_PACK_WINDOW);
        for (int32_t i = 0; i < count; i++) {
            const ql_example *e = &d->items[order[from + i]];
            p->items[i] = (item){order[from + i], e->n, e->n_source, i, 0};
        }
        fill_bins(p, room, count);
        write_bins(p, count, order + from, group + from);
    }
    ql_host_free(p);
    return QL_OK;
}

ql_status ql_pack_count(const int32_t *lengths, int64_t n, int32_t room, int64_t *out) {
    packer *p = ql_host_calloc(1, sizeof *p);
    int64_t *order = ql_host_calloc((size_t)n + 1, sizeof *order), bins = 0;
    ql_status s = p && order ? ql_epoch_order(n, 0, 0, true, order) : QL_NOMEM("packing");
    for (int64_t from = 0; s == QL_OK && from < n; from += QL_PACK_WINDOW) {
        int32_t count = (int32_t)(n - from < QL_PACK_WINDOW ? n - from : QL_PACK_WINDOW);
        for (int32_t i = 0; i < count; i++) {
            int32_t len = lengths[order[from + i]];
            p->items[i] = (item){0, len < room ? len : room, 0, i, 0};
        }
        fill_bins(p, (ql_pack_room){room, 0, INT32_MAX}, count);
        bins += p->n_bins;
    }
    ql_host_free(order);
    ql_host_free(p);
    if (s == QL_OK) *out = bins;
    return s;
}

/* --------------------------------------------------------------- grouped by length */

typedef struct placed {
    int64_t row, at;
    int32_t chars;
} placed;

static int longest_text_first(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->chars != y->chars) return x->chars < y->chars ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

ql_status ql_group_by_length(const ql_dataset *d, int64_t batch, int64_t *order, int64_t n) {
    int64_t factor = n / (4 * batch), longest = 0;
    if (factor > 50) factor = 50;
    if (factor < 1) factor = 1;
    int64_t mega = factor * batch;
    placed *rows = ql_host_calloc((size_t)n + 1, sizeof *rows);
    if (!rows) return QL_NOMEM("grouping by length");
    for (int64_t i = 0; i < n; i++) rows[i] = (placed){order[i], i, d->items[order[i]].chars};
    for (int64_t from = 0; from < n; from += mega) {
        int64_t count = n - from < mega ? n - from : mega;
        qsort(rows + from, (size_t)count, sizeof *rows, longest_text_first);
        if (rows[from].chars > rows[longest].chars) longest = from;
    }
    placed front = rows[0];
    rows[0] = rows[longest];
    rows[longest] = front;
    for (int64_t i = 0; i < n; i++) order[i] = rows[i].row;
    ql_host_free(rows);
    return QL_OK;
}
