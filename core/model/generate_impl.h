/*
 * generate_impl.h - what stands behind a generator, shared by generate.c and generate_run.c.
 *
 * The self-attention caches have `sequences` regions of `context` rows. A live sequence owns one
 * region; `held` says how many rows of a region are keys and values of the ids in `history`, so
 * that a sequence which moves copies only what its new region does not hold already.
 */
#ifndef QLORA_CORE_MODEL_GENERATE_IMPL_H
#define QLORA_CORE_MODEL_GENERATE_IMPL_H

#include "core/model/generate.h"

/* Host copies of a pass's inputs, one block of memory; r rows, s sequences. */
typedef struct ql_pass {
    int32_t rows, seqs;
    int32_t *ids, *pos, *kv_row, *key;       /* [r] [r] [r] [r, 2]                     */
    int32_t *start, *kv_start, *cross_start; /* [s + 1] each                           */
    int32_t *kv_len, *cross_len, *label;     /* [s] each                               */
} ql_pass;

struct ql_generator {
    ql_model *m;
    ql_device *dev;
    ql_generator_opts o;
    ql_graph *graph, *encode; /* encode: NULL without an encoder                       */
    ql_buffer *arena; /* of both graphs, which never run at the same time; NULL = another's  */
    ql_queue *queue;  /* owned when this generator placed the model            */
    ql_memory_report report;
    int32_t piece;           /* prompt tokens that go through the graph at once       */
    int32_t position, live;  /* tokens of each live sequence; how many live           */
    int32_t source;          /* rows of the encoder in the caches, 0 = none           */
    int32_t *region, *next;  /* [sequences] of each live sequence; during a step      */
    int32_t *owner;          /* [sequences] the sequence of each region, during a step */
    int32_t *history, *held; /* [sequences, context], [sequences]                     */
    int32_t *words;          /* the block behind `pass`                               */
    ql_pass pass;
    float *logits; /* [sequences, vocab]                                              */
};

#endif
