/*
 * trie.h - all pieces of a vocabulary that a text begins with, shortest first.
 *
 * Immutable after building. The children of a node are neighbours, so that their labels are a run
 * of bytes in which the next byte of the text is searched.
 */
#ifndef QLORA_CORE_DATA_TRIE_H
#define QLORA_CORE_DATA_TRIE_H

#include "core/data/vocab.h"

typedef struct ql_trie_node {
    uint32_t first;    /* first child */
    uint32_t children; /* how many    */
    int32_t id;        /* of the piece that ends here; -1 = none */
} ql_trie_node;

typedef struct ql_trie { /* zeroed = empty */
    ql_trie_node *nodes; /* nodes[0] is the root */
    uint8_t *labels;     /* the byte that leads to a node */
    size_t n, cap, labels_cap;
} ql_trie;

/* From the pieces that v has now. */
QL_NODISCARD ql_status ql_trie_build(ql_trie *t, const ql_vocab *v);
/* The child of `node` behind byte b; 0 = none. */
uint32_t ql_trie_child(const ql_trie *t, uint32_t node, uint8_t b);
void ql_trie_free(ql_trie *t);

#endif
