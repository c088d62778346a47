/*
 * build.h - a model's computation as tapes: training, loss only, logits, generation.
 */
#ifndef QLORA_CORE_MODEL_BUILD_H
#define QLORA_CORE_MODEL_BUILD_H

#include "core/model/model.h"

typedef enum ql_graph_kind {
    QL_GRAPH_TRAIN,    /* loss per labelled row and gradients of trained values         */
    QL_GRAPH_LOSS,     /* loss per labelled row                                         */
    QL_GRAPH_LOGITS,   /* logits of the labelled rows, F32                              */
    QL_GRAPH_GENERATE, /* logits of the labelled rows through a key/value cache         */
    QL_GRAPH_ENCODE    /* the encoder: fills the caches of the body's cross attention   */
} ql_graph_kind;

typedef struct ql_graph_opts {
    ql_graph_kind kind;
    ql_dtype compute;   /* QL_F32 or QL_BF16: activations; the residual stream is F32      */
    int32_t max_tokens; /* packed tokens of a micro-batch                          */
    int32_t max_seqs, max_len, max_labelled;
    int32_t max_source_tokens, max_source_len; /* of the encoder                   */
    int32_t logits_chunk; /* rows of logits that exist at once                       */
    int32_t checkpoint;   /* blocks per checkpoint segment; 0 = keep everything      */
    int32_t cache_len;    /* GENERATE, ENCODE: cached positions of each sequence      */
    uint64_t seed;        /* of dropout                                              */
    float label_smoothing;
    bool model_dropout; /* TRAIN: drop activations as config.json says              */
    bool weighted;      /* TRAIN: every target has a weight in the loss             */
} ql_graph_opts;

/* Inputs of one stack; 0 = the stack has no use for it. */
typedef struct ql_stack_io {
    ql_vid ids, pos, key, start; /* I32 [1,N] [1,N] [N,2] [1,S+1]                     */
    ql_vid place, types;         /* I32 [1,N] rows of the position and type tables    */
    ql_vid token_slot;           /* I32 [1,N] row of the trained tokens, n = none     */
    ql_vid rope, rope_local;     /* F32 [positions, rot]                              */
    ql_vid bucket;               /* I32 [1, 2L-1]                                     */
    ql_vid alibi;                /* F32 [L, heads]                                    */
} ql_stack_io;

/* Inputs and outputs of every graph in one device buffer. Offsets are known when planning. */
typedef struct ql_graph_io {
    ql_stack_io body, encoder;
    ql_vid label_row, label_target;  /* I32 [1,L]                                   */
    ql_vid label_value;              /* F32 [L,1]: regression                       */
    ql_vid label_weight;             /* F32 [1,L]: of a weighted loss               */
    ql_vid loss;                     /* F32 [1,L]                                   */
    ql_vid logits;                   /* F32 [L, outputs] (LOGITS, GENERATE)         */
    ql_vid step;                     /* U8 [1,64]                                   */
    ql_vid token_ids;                /* I32 [1,n]: the trained tokens               */
    ql_vid kv_row, kv_start, kv_len; /* GENERATE: I32 [1,N] [1,S+1] [1,S]         */
    ql_vid cross_start, cross_len;   /* GENERATE with an encoder: I32 [1,S+1] [1,S] */
    ql_vid *cache_k, *cache_v;       /* per layer of the body [max_seqs*cache_len, Hk*D] */
    ql_vid *cross_k, *cross_v;       /* per layer [max_source_tokens, Hk*D]       */
} ql_graph_io;

typedef struct ql_graph {
    ql_program *program;
    ql_graph_opts opts;
    ql_graph_io io;
    const ql_model *model;
    uint64_t io_bytes, logits_bytes, cache_bytes; /* sizes of the caller-visible buffers     */
    ql_buffer *io_buf, *logits_buf, *cache_buf;
    bool cache_shared;                 /* cache_buf belongs to another graph             */
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

/* Before binding: `g` uses the caches of `owner`, a bound graph of the same options but for kind,
 * max_tokens, max_len and max_labelled (ENCODE beside GENERATE). */
void ql_graph_share_cache(ql_graph *g, const ql_graph *owner);

/* Host access to one input or output: rows x cols elements from the start of the value. */
QL_NODISCARD ql_status ql_graph_put(ql_graph *g, ql_queue *q, ql_vid v, const void *data,
                                    uint64_t bytes);
QL_NODISCARD ql_status ql_graph_get(ql_graph *g, ql_queue *q, ql_vid v, void *data, uint64_t bytes);

/* The packed rows of one stack. */
typedef struct ql_graph_tokens {
    int32_t n, seqs;
    const int32_t *ids, *pos, *types, *key, *start; /* [n] [n] [n] or NULL [n,2] [seqs+1] */
} ql_graph_tokens;
/* Checks them, writes all of the stack's inputs and sets row counts. */
QL_NODISCARD ql_status ql_graph_put_tokens(ql_graph *g, ql_queue *q, bool encoder,
                                           const ql_graph_tokens *x);

struct ql_batch;
/* Writes a batch's inputs and sets row counts. */
QL_NODISCARD ql_status ql_graph_set_batch(ql_graph *g, ql_queue *q, const struct ql_batch *b);

#endif /* QLORA_CORE_MODEL_BUILD_H */
