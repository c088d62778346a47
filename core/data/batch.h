/*
 * batch.h - a micro-batch of sequences packed end to end: no padding anywhere.
 *
 * Row i of the packed batch is token ids[i] at position pos[i] of its sequence; key[i] = {sample,
 * position} feeds the counter-based random numbers. Targets are shifted here: row i predicts the
 * label of row i + 1 of the same sequence; the last row of a sequence has no target.
 */
#ifndef QLORA_CORE_DATA_BATCH_H
#define QLORA_CORE_DATA_BATCH_H

#include "core/data/dataset.h"

typedef struct ql_batch {
    int32_t tokens, seqs, labelled, longest;
    int32_t *ids, *pos;                /* [tokens]                       */
    int32_t *key;                      /* [tokens, 2]                    */
    int32_t *start;                    /* [seqs + 1]                     */
    int32_t *label_row, *label_target; /* [labelled], ascending rows     */
    int32_t cap_tokens, cap_seqs;
} ql_batch;
QL_NODISCARD ql_status ql_batch_create(int32_t max_tokens, int32_t max_seqs, ql_batch *out);
void ql_batch_free(ql_batch *b);
/* Fills b from examples d->items[index[0..count)]; QL_ERR_INVALID when they do not fit. `sample` of
 * the key = the example's row. */
QL_NODISCARD ql_status ql_batch_fill(ql_batch *b, const ql_dataset *d, const int64_t *index,
                                     int32_t count);
/* Fills b from one flat sequence (evaluation windows, verify): labels may be NULL. positions NULL =
 * 0,1,2..; a position of 0 after the first token starts a new sequence. */
QL_NODISCARD ql_status ql_batch_fill_flat(ql_batch *b, const int32_t *ids, const int32_t *labels,
                                          const int32_t *positions, int32_t n);

#endif
