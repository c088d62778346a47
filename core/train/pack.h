/*
 * pack.h - rows into micro-batches that are as full as they can be: best fit, decreasing.
 *
 * Rows of a window of the epoch's order are taken longest first; each goes into the fullest
 * micro-batch that still has room for it. Micro-batches then stand in the order of their first row,
 * so the epoch stays as random as its order is, and a window bounds the work.
 */
#ifndef QLORA_CORE_TRAIN_PACK_H
#define QLORA_CORE_TRAIN_PACK_H

#include "core/data/dataset.h"

#define QL_PACK_WINDOW 2048 /* rows that are packed together */

/* What one micro-batch holds. */
typedef struct ql_pack_room {
    int32_t tokens, source, seqs;
} ql_pack_room;

/* Rewrites order[0..n) so that the rows of a micro-batch follow each other; group[i] is the number
 * of rows of the micro-batch that begins at i (other entries are 0). Every row fits into the room
 * alone. */
QL_NODISCARD ql_status ql_pack_order(const ql_dataset *d, ql_pack_room room, int64_t *order,
                                     int64_t n, int32_t *group);
/* Micro-batches of `room` tokens that rows of these lengths, shuffled, make; longer ones count as
 * `room`. */
QL_NODISCARD ql_status ql_pack_count(const int32_t *lengths, int64_t n, int32_t room, int64_t *out);

/* The order of transformers' LengthGroupedSampler, from a shuffled one: megabatches of up to 50
 * batches sorted by the characters of their rows, longest first, and the longest row of all at the
 * very front. `batch`: rows of an optimizer step. */
QL_NODISCARD ql_status ql_group_by_length(const ql_dataset *d, int64_t batch, int64_t *order,
                                          int64_t n);

#endif
