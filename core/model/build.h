/*
 * build.h - a model's computation as tapes: training, loss only, logits, generation.
 */
#ifndef QLORA_CORE_MODEL_BUILD_H
#define QLORA_CORE_MODEL_BUILD_H

#include "core/model/model.h"

typedef enum ql_graph_kind {
    QL_GRAPH_TRAIN,   /* loss per labelled row and gradients of trained values         */
    QL_GRAPH_LOSS,    /* loss per labelled row                                         */
    QL_GRAPH_LOGITS,  /* logits of the labelled rows, F32                              */
    QL_GRAPH_GENERATE /* logits of the labelled rows through a key/value cache         */
} ql_graph_kind;

typedef struct ql_graph_opts {
    ql_graph_kind kind;
    ql_dtype compute;   /* QL_F32 or QL_BF16: activations; the residual stream is F32      */
    int32_t max_tokens; /* packed tokens of a micro-batch                          */
    int32_t max_seqs, max_len, max_labelled;
    int32_t logits_chunk; /* rows of logits that exist at once                       */
    int32_t checkpoint;   /* blocks per checkpoint segment; 0 = keep everything      */
    int32_t cache_len;    /* GENERATE: positions of the cache                        */
    uint64_t seed;        /* of dropout                                              */
    float label_smoothing;
} ql_graph_opts;

/* Inputs and outputs of every graph in one device buffer. Offsets are known when planning. */
typedef struct ql_graph_io {
    ql_vid ids, pos, key, start;     /* I32 [1,N] [1,N] [N,2] [1,S+1]               */
    ql_vid label_row, label_target;  /* I32 [1,L]                                   */
    ql_vid loss;                     /* F32 [1,L]                                   */
    ql_vid logits;                   /* F32 [L,V] (LOGITS, GENERATE)                */
    ql_vid step;                     /* U8 [1,64]                                   */
    ql_vid rope;                     /* F32 [positions, rot]                        */
    ql_vid kv_row, kv_start, kv_len; /* GENERATE: I32 [1,N] [1,S+1] [1,S]           */
    ql_vid *cache_k, *cache_v;       /* GENERATE: per layer [cache_len, Hk*D]       */
} ql_graph_io;

typedef struct ql_graph {
    ql_program *program;
    ql_graph_opts opts;
    ql_graph_io io;
    ql_vid table;                                 /* the embedding: its rows are the vocabulary */
    uint64_t io_bytes, logits_bytes, cache_bytes; /* sizes of the caller-visible buffers     */
    ql_buffer *io_buf, *logits_buf, *cache_buf;
    struct ql_graph_binding *bindings; /* externals that live in the model's regions  */
    size_t n_bindings, cap_bindings;
    ql_device *dev;
} ql_graph;

/* Records and plans. The model must be open and its adapters attached; it need not be placed. */
QL_NODISCARD ql_status ql_graph_create(ql_model *m, const ql_graph_opts *o, ql_device *dev,
                                       ql_graph **out);
void ql_graph_free(ql_graph *g); /* frees its own buffers; NULL ok */
/* Adds arena (shared: only what exceeds out->arena_bytes), io, logits and cache bytes. */
QL_NODISCARD ql_status ql_graph_report(const ql_graph *g, ql_memory_report *out);
/* Allocates io, logits and cache buffers and binds everything. The model must be placed; `arena`
 * has at least ql_program_arena_bytes. */
QL_NODISCARD ql_status ql_graph_bind(ql_graph *g, ql_model *m, ql_buffer *arena);

/* Host access to one input or output: rows x cols elements from the start of the value. */
QL_NODISCARD ql_status ql_graph_put(ql_graph *g, ql_queue *q, ql_vid v, const void *data,
                                    uint64_t bytes);
QL_NODISCARD ql_status ql_graph_get(ql_graph *g, ql_queue *q, ql_vid v, void *data, uint64_t bytes);

struct ql_batch;
/* Writes a batch's inputs and sets row counts. */
QL_NODISCARD ql_status ql_graph_set_batch(ql_graph *g, ql_queue *q, const struct ql_batch *b);

#endif /* QLORA_CORE_MODEL_BUILD_H */
