/* seen.c - see seen.h. Linear probing. */
#include "core/data/seen.h"

#include "core/base/hostmem.h"

void ql_seen_free(ql_seen *s) {
    ql_host_free(s->slots);
    *s = (ql_seen){0};
}

/* The slot with this digest, or the free one where it belongs. cap > n. */
static ql_seen_slot *probe(const ql_seen *s, ql_row_digest d) {
    size_t i = (size_t)d.lo & (s->cap - 1);
    while (s->slots[i].row && (s->slots[i].digest.lo != d.lo || s->slots[i].digest.hi != d.hi))
        i = (i + 1) & (s->cap - 1);
    return &s->slots[i];
}

const ql_seen_slot *ql_seen_find(const ql_seen *s, ql_row_digest d) {
    if (!s->cap) return NULL;
    const ql_seen_slot *slot = probe(s, d);
    return slot->row ? slot : NULL;
}

static ql_status grow(ql_seen *s) {
    ql_seen bigger = {.cap = s->cap ? 2 * s->cap : 1024, .n = s->n};
    bigger.slots = ql_host_calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots) return QL_NOMEM("the digests of rows");
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i].row) *probe(&bigger, s->slots[i].digest) = s->slots[i];
    ql_host_free(s->slots);
    *s = bigger;
    return QL_OK;
}

ql_status ql_seen_add(ql_seen *s, ql_row_digest d, int64_t row, int32_t note) {
    if (4 * (s->n + 1) > 3 * s->cap) QL_TRY(grow(s));
    ql_seen_slot *slot = probe(s, d);
    if (slot->row) return QL_OK;
    *slot = (ql_seen_slot){d, row, note};
    s->n++;
    return QL_OK;
}
