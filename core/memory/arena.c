/*
 * arena.c - places of values in the arena (see arena.h).
 *
 * A value needs [offset, offset + size) during [first, last]; two values may share bytes when their
 * ranges do not meet. Values are placed largest first; for each, the gap between already placed
 * neighbours in time that fits best is taken. O(n^2) in the number of values, which is thousands.
 */
#include "core/memory/arena.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"

typedef struct place {
    ql_vid v;
    int32_t first, last;
    uint64_t size, offset;
} place;

static uint64_t round_up(uint64_t n, uint32_t align) {
    return (n + align - 1) / align * align;
}

static int by_size(const void *pa, const void *pb) {
    const place *a = pa, *b = pb;
    if (a->size != b->size) return a->size < b->size ? 1 : -1;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return a->v < b->v ? -1 : 1;
}

/* The used planned values as places; *out is owned by the caller. */
static ql_status collect(const ql_tape *t, uint32_t align, place **out, size_t *n) {
    place *places = ql_host_calloc((size_t)ql_tape_values(t) + 1, sizeof(place));
    if (!places) return QL_NOMEM("the memory plan");
    size_t count = 0;
    for (uint32_t v = 1; v <= ql_tape_values(t); v++) {
        const ql_value *x = ql_tape_at(t, v);
        if (x->kind != QL_VALUE_PLANNED || x->first < 0) continue;
        places[count++] =
            (place){v, x->first, x->last, round_up(ql_value_bytes(x), align), x->offset};
    }
    *out = places;
    *n = count;
    return QL_OK;
}

static bool meet(const place *a, const place *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* The offset of the gap that fits p best between the placed values (sorted by offset) that live
 * when p does. */
static uint64_t best_gap(place *const *placed, size_t n, const place *p) {
    uint64_t end = 0, best = UINT64_MAX, best_room = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if (!meet(placed[i], p)) continue;
        uint64_t room = placed[i]->offset > end ? placed[i]->offset - end : 0;
        if (room >= p->size && room < best_room) {
            best = end;
            best_room = room;
        }
        uint64_t stop = placed[i]->offset + placed[i]->size;
        if (stop > end) end = stop;
    }
    return best != UINT64_MAX ? best : end;
}

/* Inserts p where its offset belongs. */
static void insert(place **placed, size_t n, place *p) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (placed[mid]->offset < p->offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(placed + lo + 1, placed + lo, (n - lo) * sizeof *placed);
    placed[lo] = p;
}

ql_status ql_arena_assign(ql_tape *t, uint32_t align, uint64_t *arena_bytes) {
    place *places = NULL;
    size_t n = 0;
    QL_TRY(collect(t, align, &places, &n));
    place **placed = ql_host_calloc(n + 1, sizeof(place *));
    if (!placed) {
        ql_host_free(places);
        return QL_NOMEM("the memory plan");
    }
    qsort(places, n, sizeof(place), by_size);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        place *p = &places[i];
        p->offset = best_gap(placed, i, p);
        insert(placed, i, p);
        if (p->offset + p->size > total) total = p->offset + p->size;
        ql_tape_at_mut(t, p->v)->offset = p->offset;
    }
    ql_host_free(placed);
    ql_host_free(places);
    *arena_bytes = total;
    return QL_OK;
}

ql_status ql_arena_report(const ql_tape *t, uint32_t align, uint64_t arena_bytes,
                          ql_memory_report *out) {
    place *places = NULL;
    size_t n = 0;
    QL_TRY(collect(t, align, &places, &n));
    int32_t records = ql_tape_count(t);
    int64_t *change = ql_host_calloc((size_t)records + 1, sizeof(int64_t));
    if (!change) {
        ql_host_free(places);
        return QL_NOMEM("the memory report");
    }
    for (size_t i = 0; i < n; i++) {
        change[places[i].first] += (int64_t)places[i].size;
        change[places[i].last + 1] -= (int64_t)places[i].size;
    }
    int64_t live = 0, peak = -1;
    int32_t at = 0;
    for (int32_t i = 0; i < records; i++) {
        live += change[i];
        if (live > peak) {
            peak = live;
            at = i;
        }
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (places[i].first > at || places[i].last < at) continue;
        out->device[ql_tape_at(t, places[i].v)->pool] += places[i].size;
        sum += places[i].size;
    }
    out->device[QL_POOL_ACTIVATIONS] += arena_bytes - sum;
    out->arena_bytes = arena_bytes;
    out->arena_lower_bound = sum;
    out->peak_record = at;
    ql_host_free(change);
    ql_host_free(places);
    return QL_OK;
}
