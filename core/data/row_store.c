/* row_store.c - see row_store.h. */
#include "core/data/row_store.h"

#include <string.h>

#include "core/base/fs_pages.h"
#include "core/base/hostmem.h"

#define PIECE_BYTES (UINT64_C(32) << 20) /* of tokens mapped at once */

typedef struct piece {
    void *data;
    uint64_t size;
} piece;

struct ql_row_store {
    char *dir;
    uint64_t keep, held; /* bytes that may stay in memory; that do */
    uint64_t mapped;
    piece *pieces;
    size_t n, cap;
    size_t open;        /* the piece that is being filled, 1-based; 0 = none */
    uint64_t open_used; /* bytes of it */
};

ql_status ql_row_store_create(const char *dir, uint64_t keep_bytes, ql_row_store **out) {
    ql_row_store *s = ql_host_calloc(1, sizeof *s);
    if (!s) return QL_NOMEM("a store of rows");
    s->dir = ql_host_strdup(dir);
    s->keep = keep_bytes;
    if (!s->dir) {
        ql_host_free(s);
        return QL_NOMEM("a store of rows");
    }
    *out = s;
    return QL_OK;
}

void ql_row_store_free(ql_row_store *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) ql_pages_unmap(s->pieces[i].data, s->pieces[i].size);
    ql_host_free(s->pieces);
    ql_host_free(s->dir);
    ql_host_free(s);
}

/* A new piece at the end of the list. */
static ql_status map_piece(ql_row_store *s, uint64_t size, void **out) {
    QL_TRY(ql_host_grow((void **)&s->pieces, &s->cap, s->n + 1, sizeof *s->pieces));
    QL_TRY(ql_pages_map(s->dir, size, out));
    s->pieces[s->n++] = (piece){*out, size};
    s->mapped += size;
    return QL_OK;
}

static bool is_piece(const ql_row_store *s, const void *data) {
    for (size_t i = 0; i < s->n; i++)
        if (data && s->pieces[i].data == data) return true;
    return false;
}

static void unmap_piece(ql_row_store *s, const void *data) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->pieces[i].data != data || !data) continue;
        ql_pages_unmap(s->pieces[i].data, s->pieces[i].size);
        s->mapped -= s->pieces[i].size;
        s->pieces[i] = (piece){0};
    }
}

/* `bytes` bytes of the open piece, or of a new one. */
static ql_status place(ql_row_store *s, uint64_t bytes, void **out) {
    if (!s->open || s->pieces[s->open - 1].size - s->open_used < bytes) {
        void *data;
        QL_TRY(map_piece(s, bytes > PIECE_BYTES ? bytes : PIECE_BYTES, &data));
        s->open = s->n;
        s->open_used = 0;
    }
    *out = (char *)s->pieces[s->open - 1].data + s->open_used;
    s->open_used += bytes;
    return QL_OK;
}

/* Items of an example's block: ids and what lies behind them. */
static uint64_t block_items(const ql_example *e) {
    uint64_t parts = 1 + (e->labels != NULL) + (e->types != NULL) + (e->weights != NULL);
    return parts * (uint64_t)e->n + (uint64_t)e->n_source;
}

ql_status ql_row_store_take(ql_row_store *s, ql_example *e) {
    uint64_t bytes = block_items(e) * sizeof(int32_t);
    if (s->held + bytes <= s->keep) {
        s->held += bytes;
        return QL_OK;
    }
    void *data;
    QL_TRY(place(s, bytes, &data));
    int32_t *block = data, *old = e->ids;
    memcpy(block, old, bytes);
    if (e->labels) e->labels = block + (e->labels - old);
    if (e->types) e->types = block + (e->types - old);
    if (e->source) e->source = block + (e->source - old);
    if (e->weights) e->weights = (float *)(block + ((int32_t *)e->weights - old));
    e->ids = block;
    e->borrowed = true;
    ql_host_free(old);
    return QL_OK;
}

ql_status ql_row_store_grow(ql_row_store *s, ql_example **items, size_t *cap, size_t need) {
    size_t size = sizeof **items;
    if (need <= *cap) return QL_OK;
    size_t want = *cap ? 2 * *cap : 64;
    if (want < need) want = need;
    if (!s || (want * size <= s->keep / 2 && !is_piece(s, *items)))
        return ql_host_grow((void **)items, cap, need, size);
    void *data;
    QL_TRY(map_piece(s, want * size, &data));
    if (*cap) memcpy(data, *items, *cap * size);
    ql_row_store_drop(s, *items);
    *items = data;
    *cap = want;
    return QL_OK;
}

void ql_row_store_drop(ql_row_store *s, ql_example *items) {
    if (s && is_piece(s, items)) {
        unmap_piece(s, items);
    } else {
        ql_host_free(items);
    }
}

ql_row_store *ql_row_store_join(ql_row_store *to, ql_row_store *from) {
    if (!to || !from) return to ? to : from;
    size_t all = to->n + from->n;
    if (ql_host_grow((void **)&to->pieces, &to->cap, all, sizeof *to->pieces) != QL_OK) return NULL;
    for (size_t i = 0; i < from->n; i++) {
        if (!from->pieces[i].data) continue;
        to->pieces[to->n++] = from->pieces[i];
        to->mapped += from->pieces[i].size;
        from->pieces[i] = (piece){0};
    }
    to->held += from->held;
    ql_row_store_free(from);
    return to;
}

uint64_t ql_row_store_mapped(const ql_row_store *s) {
    return s ? s->mapped : 0;
}
