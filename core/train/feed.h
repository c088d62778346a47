/*
 * feed.h - micro-batches of a run in their order: which examples, across epochs.
 *
 * The order of an epoch, and how it is packed, depend on (data_seed, epoch) only, so a cursor
 * {epoch, next} is all a checkpoint needs. An optimizer step never crosses an epoch.
 */
#ifndef QLORA_CORE_TRAIN_FEED_H
#define QLORA_CORE_TRAIN_FEED_H

#include "core/train/trainer.h"

typedef struct ql_feed {
    const ql_dataset *data;
    int32_t batch, max_tokens; /* sequences per micro-batch; tokens it can hold */
    int32_t max_source_tokens; /* encoder tokens it can hold; 0 = no encoder    */
    bool packing, shuffle, group_by_length;
    int64_t step_rows; /* rows of an optimizer step */
    uint64_t seed;
    ql_cursor cursor;
    int64_t *order;
    int32_t *group; /* packed by best fit: rows of the micro-batch that begins there; or NULL */
    int64_t order_epoch; /* epoch that `order` holds; -1 = none */
} ql_feed;

QL_NODISCARD ql_status ql_feed_create(const ql_dataset *data, const ql_train_opts *o,
                                      int32_t max_seqs, ql_feed *out);
void ql_feed_free(ql_feed *f);
/* Fills b with the next micro-batch. *epoch_ends: it was the last of its epoch. */
QL_NODISCARD ql_status ql_feed_next(ql_feed *f, ql_batch *b, bool *epoch_ends);
/* Micro-batches of epoch 0 (packing depends on the order; other epochs may differ slightly). */
QL_NODISCARD ql_status ql_feed_count(ql_feed *f, int64_t *out);

#endif
