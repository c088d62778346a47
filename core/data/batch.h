/*
 * batch.h - a micro-batch of sequences packed end to end: no padding anywhere.
 *
 * Row i of the packed batch is token ids[i] at position pos[i] of its sequence; key[i] = {sample,
 * position} feeds the counter-based random numbers. Causal targets are shifted here: row i predicts
 * the label of row i + 1 of the same sequence; the last row of a sequence has no target. Targets of
 * an encoder-decoder are not shifted. A classified sequence has one labelled row, its first, whose
 * target is a class (label_target) or a number (label_value). Every labelled row has a weight in
 * the loss, 1 unless its example says otherwise.
 */
#ifndef QLORA_CORE_DATA_BATCH_H
#define QLORA_CORE_DATA_BATCH_H

#include "core/data/dataset.h"

/* The encoder's tokens of an encoder-decoder; sequence s belongs to sequence s of the decoder. */
typedef struct ql_batch_source {
    int32_t tokens, longest;
    int32_t *ids, *pos; /* [tokens]      */
    int32_t *key;       /* [tokens, 2]   */
    int32_t *start;     /* [seqs + 1]    */
    int32_t cap_tokens; /* 0 = none      */
} ql_batch_source;

typedef struct ql_batch {
    int32_t tokens, seqs, labelled, longest;
    int32_t *ids, *pos, *types;        /* [tokens]                       */
    int32_t *key;                      /* [tokens, 2]                    */
    int32_t *start;                    /* [seqs + 1]                     */
    int32_t *label_row, *label_target; /* [labelled], ascending rows     */
    float *label_value;                /* [labelled]: regression         */
    float *label_weight;               /* [labelled]                     */
    int32_t cap_tokens, cap_seqs;
    ql_batch_source source;
    ql_task task;
} ql_batch;
/* Sum of the weights of the labelled rows. */
double ql_batch_weight(const ql_batch *b);
/* Room for `source_tokens` encoder tokens as well (0: no encoder). */
QL_NODISCARD ql_status ql_batch_create(int32_t max_tokens, int32_t max_seqs, int32_t source_tokens,
                                       ql_batch *out);
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
