/*
 * dataset_mix.c - several sets as one: joined, rows numbered on, and shown as often as their weight
 * says.
 *
 * A row that is shown again is another sample: it has a number of its own, so its dropout masks
 * differ, and shares the tokens.
 */
#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/data/dataset_internal.h"
#include "core/data/row_store.h"

void ql_dataset_recount(ql_dataset *d) {
    d->tokens = d->supervised = 0;
    d->longest = d->longest_source = 0;
    d->weighted = false;
    for (int64_t i = 0; i < d->n; i++) ql_dataset_count(d, &d->items[i]);
}

static int64_t highest_row(const ql_dataset *d) {
    int64_t row = 0;
    for (int64_t i = 0; i < d->n; i++)
        if (d->items[i].row > row) row = d->items[i].row;
    return row;
}

ql_status ql_dataset_append(ql_dataset *to, ql_dataset *from) {
    if (to->n == 0 && !to->store) {
        *to = *from;
        *from = (ql_dataset){0};
        return QL_OK;
    }
    size_t cap = (size_t)to->n;
    int64_t behind = highest_row(to);
    ql_status s = to->task == from->task
                      ? ql_row_store_grow(to->store, &to->items, &cap, (size_t)(to->n + from->n))
                      : QL_FAIL(QL_ERR_INVALID, "sets of different tasks cannot be joined");
    ql_row_store *store = s == QL_OK ? ql_row_store_join(to->store, from->store) : NULL;
    if (s == QL_OK && !store && (to->store || from->store)) s = QL_NOMEM("joined sets");
    if (s != QL_OK) {
        ql_dataset_free(from);
        return s;
    }
    for (int64_t i = 0; i < from->n; i++) {
        ql_example e = from->items[i];
        e.row += behind;
        to->items[to->n++] = e;
        ql_dataset_count(to, &e);
    }
    to->store = store;
    ql_row_store_drop(store, from->items);
    *from = (ql_dataset){0};
    return QL_OK;
}

/* ------------------------------------------------------------------- weights */

typedef struct mixer {
    const ql_row_weight *w;
    int32_t n;
    bool *drawn; /* [items]: shown once more than the whole part of the weight */
} mixer;

static int32_t set_of(const mixer *m, const ql_example *e) {
    int32_t k = 0;
    while (k < m->n - 1 && e->row > m->w[k].last_row) k++;
    return k;
}

static int64_t whole_part(const mixer *m, int32_t k) {
    return (int64_t)floor(m->w[k].weight);
}

/* Draws the fractional part of set k: a selection without return in one pass, of exactly
 * round(part * rows) of its rows. */
static void draw(const mixer *m, const ql_dataset *d, int32_t k, uint64_t seed) {
    int64_t rows = 0;
    for (int64_t i = 0; i < d->n; i++) rows += set_of(m, &d->items[i]) == k;
    double part = m->w[k].weight - floor(m->w[k].weight);
    int64_t want = (int64_t)llround(part * (double)rows);
    if (want == 0 && whole_part(m, k) == 0 && rows > 0) want = 1;
    ql_stream s = ql_stream_make(seed, QL_STREAM_SPLIT, (uint64_t)k + 1);
    for (int64_t i = 0; i < d->n && want > 0; i++) {
        if (set_of(m, &d->items[i]) != k) continue;
        m->drawn[i] = (int64_t)ql_stream_below(&s, (uint64_t)rows--) < want;
        want -= m->drawn[i];
    }
}

/* How often item i is shown. */
static int64_t times(const mixer *m, const ql_dataset *d, int64_t i) {
    return whole_part(m, set_of(m, &d->items[i])) + m->drawn[i];
}

/* The items shown `d->n` times over: the first showing of each, then the second, and so on. */
static void write_items(const mixer *m, ql_dataset *d, ql_example *items, int64_t total) {
    int64_t used = 0, next = highest_row(d) + 1;
    for (int64_t turn = 0; used < total; turn++) {
        for (int64_t i = 0; i < d->n; i++) {
            if (times(m, d, i) <= turn) continue;
            items[used] = d->items[i];
            if (turn > 0) {
                items[used].row = next++;
                items[used].borrowed = true;
            }
            used++;
        }
    }
    for (int64_t i = 0; i < d->n; i++)
        if (times(m, d, i) == 0) ql_example_free(&d->items[i]);
}

static ql_status check_weights(const ql_row_weight *w, int32_t n) {
    for (int32_t k = 0; k < n; k++) {
        if (w[k].weight > 0 && w[k].weight <= 1000) continue;
        return QL_FAIL(QL_ERR_INVALID, "the weight %g of set %d must be above 0 and at most 1000",
                       w[k].weight, k + 1);
    }
    return QL_OK;
}

ql_status ql_dataset_weigh(ql_dataset *d, const ql_row_weight *weights, int32_t n, uint64_t seed) {
    QL_TRY(check_weights(weights, n));
    mixer m = {weights, n, ql_host_calloc((size_t)d->n + 1, sizeof(bool))};
    if (!m.drawn) return QL_NOMEM("weights of sets");
    for (int32_t k = 0; k < n; k++) draw(&m, d, k, seed);
    int64_t total = 0;
    for (int64_t i = 0; i < d->n; i++) total += times(&m, d, i);
    ql_example *items = NULL;
    size_t cap = 0;
    ql_status s = ql_row_store_grow(d->store, &items, &cap, (size_t)total + 1);
    if (s == QL_OK) {
        write_items(&m, d, items, total);
        ql_row_store_drop(d->store, d->items);
        d->items = items;
        d->n = total;
        ql_dataset_recount(d);
    }
    ql_host_free(m.drawn);
    return s;
}
