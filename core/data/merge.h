/*
 * merge.h - the pairwise merging that BPE and SentencePiece-BPE vocabularies share.
 *
 * A pre-token starts as a row of symbols. The best mergeable neighbours (smallest order, then
 * leftmost) become one symbol until none is left: a linked list and a heap, n log n.
 */
#ifndef QLORA_CORE_DATA_MERGE_H
#define QLORA_CORE_DATA_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_symbol {
    uint32_t begin, len; /* bytes of the pre-token; len 0 = merged into its left neighbour */
    int32_t prev, next;  /* -1 = none */
    int32_t id;          /* -1 = not in the vocabulary */
} ql_symbol;

typedef struct ql_candidate {
    double order; /* smaller merges first */
    int32_t left; /* index of the left symbol */
    int32_t id;   /* what the two become */
} ql_candidate;

typedef struct ql_merge_work { /* zeroed = empty; reused from pre-token to pre-token */
    ql_symbol *symbols;
    size_t n, cap;
    ql_candidate *heap;
    size_t n_heap, heap_cap;
} ql_merge_work;

/* Whether neighbours l and r merge; then *order and *id. */
typedef bool (*ql_pair_fn)(const void *model, const ql_symbol *l, const ql_symbol *r, double *order,
                           int32_t *id);

/* Appends a symbol at the right end; w->n is set to 0 by the caller to start a pre-token. */
QL_NODISCARD ql_status ql_merge_push(ql_merge_work *w, uint32_t begin, uint32_t len, int32_t id);
QL_NODISCARD ql_status ql_merge_run(ql_merge_work *w, ql_pair_fn pair, const void *model);
void ql_merge_free(ql_merge_work *w);

#endif
