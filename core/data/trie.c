/*
 * trie.c - built breadth first from the sorted pieces.
 *
 * A node stands for the interval of sorted pieces that share its path. Reading the nodes in order
 * and appending the children of each puts siblings side by side.
 */
#include "core/data/trie.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"

typedef struct entry {
    const char *s;
    uint32_t len;
    int32_t id;
} entry;

typedef struct interval {
    uint32_t begin, end; /* of the sorted pieces */
    uint32_t depth;      /* bytes they share     */
} interval;

typedef struct builder {
    ql_trie *t;
    entry *sorted;
    interval *intervals; /* one for each node */
    size_t cap;
} builder;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static ql_status add_node(builder *b, uint8_t label, interval in) {
    ql_trie *t = b->t;
    QL_TRY(ql_host_grow((void **)&t->nodes, &t->cap, t->n + 1, sizeof *t->nodes));
    QL_TRY(ql_host_grow((void **)&t->labels, &t->labels_cap, t->n + 1, sizeof *t->labels));
    QL_TRY(ql_host_grow((void **)&b->intervals, &b->cap, t->n + 1, sizeof *b->intervals));
    t->nodes[t->n] = (ql_trie_node){.id = -1};
    t->labels[t->n] = label;
    b->intervals[t->n++] = in;
    return QL_OK;
}

static ql_status expand(builder *b, size_t node) {
    interval in = b->intervals[node];
    if (in.begin < in.end && b->sorted[in.begin].len == in.depth)
        b->t->nodes[node].id = b->sorted[in.begin++].id;
    b->t->nodes[node].first = (uint32_t)b->t->n;
    while (in.begin < in.end) {
        char label = b->sorted[in.begin].s[in.depth];
        uint32_t end = in.begin + 1;
        while (end < in.end && b->sorted[end].s[in.depth] == label) end++;
        QL_TRY(add_node(b, (uint8_t)label, (interval){in.begin, end, in.depth + 1}));
        b->t->nodes[node].children++;
        in.begin = end;
    }
    return QL_OK;
}

ql_status ql_trie_build(ql_trie *t, const ql_vocab *v) {
    builder b = {.t = t, .sorted = ql_host_calloc(v->n_pieces + 1, sizeof *b.sorted)};
    if (!b.sorted) return QL_NOMEM("the pieces of a vocabulary");
    uint32_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        const ql_piece *p = &v->pieces[i];
        if (p->s && p->len) b.sorted[n++] = (entry){p->s, p->len, (int32_t)i};
    }
    if (n) qsort(b.sorted, n, sizeof *b.sorted, by_bytes);
    ql_status st = add_node(&b, 0, (interval){0, n, 0});
    for (size_t i = 0; st == QL_OK && i < t->n; i++) st = expand(&b, i);
    ql_host_free(b.sorted);
    ql_host_free(b.intervals);
    return st;
}

uint32_t ql_trie_child(const ql_trie *t, uint32_t node, uint8_t b) {
    const ql_trie_node *p = &t->nodes[node];
    if (p->children == 0) return 0;
    const uint8_t *first = t->labels + p->first, *found = memchr(first, b, p->children);
    return found ? p->first + (uint32_t)(found - first) : 0;
}

void ql_trie_free(ql_trie *t) {
    ql_host_free(t->nodes);
    ql_host_free(t->labels);
    *t = (ql_trie){0};
}
