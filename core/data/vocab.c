/*
 * vocab.c - open-addressing hash table from bytes to id over an array from id to bytes.
 *
 * The table is at most half full. Empty pieces get an id but are never found.
 */
#include "core/data/vocab.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define FIRST_SLOTS 1024u

/* Slot of the piece, or the free slot where it belongs. */
static size_t find_slot(const ql_vocab *v, const char *s, size_t len) {
    size_t mask = v->n_slots - 1;
    size_t i = (size_t)XXH3_64bits(s, len) & mask;
    while (v->slots[i]) {
        const ql_piece *p = &v->pieces[v->slots[i] - 1];
        if (p->len == len && memcmp(p->s, s, len) == 0) break;
        i = (i + 1) & mask;
    }
    return i;
}

int32_t ql_vocab_find(const ql_vocab *v, const char *s, size_t len) {
    if (len == 0 || len > v->longest) return -1;
    return (int32_t)v->slots[find_slot(v, s, len)] - 1;
}

int32_t ql_vocab_find_model(const ql_vocab *v, const char *s, size_t len) {
    int32_t id = ql_vocab_find(v, s, len);
    return id >= 0 && v->pieces[id].outside ? -1 : id;
}

void ql_vocab_find_bytes(const ql_vocab *v, int32_t ids[256]) {
    for (unsigned i = 0; i < 256; i++) {
        char s[8];
        int n = snprintf(s, sizeof s, "<0x%02X>", i);
        ids[i] = ql_vocab_find_model(v, s, (size_t)n);
    }
}

static ql_status grow_slots(ql_vocab *v) {
    size_t old_n = v->n_slots;
    uint32_t *old = v->slots;
    size_t n = old_n ? old_n * 2 : FIRST_SLOTS;
    uint32_t *slots = ql_host_calloc(n, sizeof *slots);
    if (!slots) return QL_NOMEM("the vocabulary");
    v->slots = slots;
    v->n_slots = n;
    for (size_t i = 0; i < old_n; i++) {
        if (!old[i]) continue;
        const ql_piece *p = &v->pieces[old[i] - 1];
        slots[find_slot(v, p->s, p->len)] = old[i];
    }
    ql_host_free(old);
    return QL_OK;
}

ql_status ql_vocab_add(ql_vocab *v, const char *s, size_t len, int64_t id, const char *what) {
    if (id < 0 || id >= QL_VOCAB_MAX) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: token id %lld is outside 0 to %d", what, (long long)id,
                       QL_VOCAB_MAX - 1);
    }
    if (len > UINT16_MAX) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the token with id %lld has %zu bytes, at most %d are "
                       "taken",
                       what, (long long)id, len, UINT16_MAX);
    }
    int32_t have = ql_vocab_find(v, s, len);
    if (have == id) return QL_OK;
    if (have >= 0) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: token '%s' has two ids, %d and %lld", what, s, have,
                       (long long)id);
    }
    if ((size_t)id < v->n && v->pieces[id].s) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: id %lld belongs to two tokens, '%s' and '%.*s'", what,
                       (long long)id, v->pieces[id].s, (int)len, s);
    }
    if (v->n_pieces * 2 >= v->n_slots) QL_TRY(grow_slots(v));
    QL_TRY(ql_host_grow((void **)&v->pieces, &v->cap, (size_t)id + 1, sizeof *v->pieces));
    char *copy = ql_arena_strndup(&v->arena, s, len);
    if (!copy) return QL_NOMEM("the vocabulary");
    v->pieces[id] = (ql_piece){.s = copy, .len = (uint32_t)len};
    if ((size_t)id >= v->n) v->n = (size_t)id + 1;
    if (len == 0) return QL_OK;
    if (len > v->longest) v->longest = (uint32_t)len;
    v->slots[find_slot(v, copy, len)] = (uint32_t)id + 1;
    v->n_pieces++;
    return QL_OK;
}

void ql_vocab_free(ql_vocab *v) {
    ql_arena_free(&v->arena);
    ql_host_free(v->pieces);
    ql_host_free(v->slots);
    *v = (ql_vocab){0};
}
