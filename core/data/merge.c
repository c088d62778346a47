/*
 * merge.c - linked list of symbols and a binary heap of candidates.
 *
 * Candidates are not removed when a neighbour changes: a candidate taken from the heap counts only
 * if its left symbol is alive and still makes the same token with its right neighbour.
 */
#include "core/data/merge.h"

#include "core/base/hostmem.h"

static bool before(ql_candidate a, ql_candidate b) {
    return a.order < b.order || (a.order == b.order && a.left < b.left);
}

static ql_status heap_push(ql_merge_work *w, ql_candidate c) {
    QL_TRY(ql_host_grow((void **)&w->heap, &w->heap_cap, w->n_heap + 1, sizeof *w->heap));
    size_t i = w->n_heap++;
    for (; i > 0 && before(c, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
    return QL_OK;
}

static ql_candidate heap_pop(ql_merge_work *w) {
    ql_candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_heap) break;
        if (child + 1 < w->n_heap && before(w->heap[child + 1], w->heap[child])) child++;
        if (!before(w->heap[child], last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* Offers the pair (left, its right neighbour) to the heap. */
static ql_status offer(ql_merge_work *w, int32_t left, ql_pair_fn pair, const void *model) {
    const ql_symbol *l = &w->symbols[left];
    ql_candidate c = {.left = left};
    if (l->next < 0 || !pair(model, l, &w->symbols[l->next], &c.order, &c.id)) return QL_OK;
    return heap_push(w, c);
}

ql_status ql_merge_push(ql_merge_work *w, uint32_t begin, uint32_t len, int32_t id) {
    QL_TRY(ql_host_grow((void **)&w->symbols, &w->cap, w->n + 1, sizeof *w->symbols));
    int32_t i = (int32_t)w->n;
    if (i > 0) w->symbols[i - 1].next = i;
    w->symbols[w->n++] = (ql_symbol){begin, len, i - 1, -1, id};
    return QL_OK;
}

ql_status ql_merge_run(ql_merge_work *w, ql_pair_fn pair, const void *model) {
    w->n_heap = 0;
    for (size_t i = 0; i + 1 < w->n; i++) QL_TRY(offer(w, (int32_t)i, pair, model));
    while (w->n_heap) {
        ql_candidate c = heap_pop(w);
        ql_symbol *l = &w->symbols[c.left];
        if (l->len == 0 || l->next < 0) continue;
        ql_symbol *r = &w->symbols[l->next];
        double order;
        int32_t id;
        if (!pair(model, l, r, &order, &id) || id != c.id) continue;
        l->id = c.id;
        l->len += r->len;
        l->next = r->next;
        if (r->next >= 0) w->symbols[r->next].prev = c.left;
        r->len = 0;
        if (l->prev >= 0) QL_TRY(offer(w, l->prev, pair, model));
        QL_TRY(offer(w, c.left, pair, model));
    }
    return QL_OK;
}

void ql_merge_free(ql_merge_work *w) {
    ql_host_free(w->symbols);
    ql_host_free(w->heap);
    *w = (ql_merge_work){0};
}
