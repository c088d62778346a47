/* build_impl.h - the builder's context, shared by graph.c, linear.c, block.c and head.c. */
#ifndef QLORA_CORE_MODEL_BUILD_IMPL_H
#define QLORA_CORE_MODEL_BUILD_IMPL_H

#include "core/model/build.h"
#include "core/model/model_impl.h"

/* Where an external value of a graph lives. */
typedef enum ql_home {
    QL_HOME_SLOT,
    QL_HOME_TRAINED,
    QL_HOME_GRADIENT,
    QL_HOME_IO,
    QL_HOME_LOGITS,
    QL_HOME_CACHE
} ql_home;

typedef struct ql_graph_binding {
    ql_vid v;
    ql_home home;
    ql_slot slot; /* QL_HOME_SLOT                      */
    uint64_t off; /* the other homes: byte offset      */
} ql_graph_binding;

typedef struct ql_builder {
    ql_model *m;
    ql_graph *g;
    ql_tape *t;
    const ql_graph_opts *o;
    ql_graph_io *io;
    ql_dtype compute;
    ql_dim labelled;
    bool train;
    /* the stack that is being built */
    const ql_stack_tensors *stack;
    const ql_stack *arch;
    const ql_stack_io *in;
    ql_dim tokens;
    int32_t max_len;
    int32_t layer;
    ql_vid key;        /* of dropout on the rows at hand; 0: {row, 0}                       */
    ql_vid memory;     /* the encoder's output, for cross attention                         */
    ql_vid relative;   /* DeBERTa's normalized table [2P, C]                                */
    ql_vid token_rows; /* Z = T - E[ids] of the trained tokens [n + 1, E], last row zero    */
} ql_builder;

/* Notes where an external value lives; returns it. */
ql_vid ql_build_bound(ql_builder *b, ql_vid v, ql_graph_binding binding);
/* The frozen tensor in `slot` as a value. */
ql_vid ql_build_slot(ql_builder *b, const ql_slot *slot, const char *name);
/* A parameter as a value; trained (with its gradient) in a training graph. */
ql_vid ql_build_param(ql_builder *b, int32_t param);
/* A dense tensor, frozen or trained; 0 when absent (d NULL). */
ql_vid ql_build_dense(ql_builder *b, const ql_dense *d);
/* A new activation of the compute type with the stack's rows. */
ql_vid ql_build_value(ql_builder *b, int64_t cols, const char *name);
/* x with probability p dropped (training with model_dropout only), in place; `site` names the
 * random stream together with the layer. */
void ql_build_drop(ql_builder *b, ql_vid x, float p, const char *site);
/* The random stream of a site. */
ql_rng ql_build_rng(ql_builder *b, const char *site);
/* y += x, in place of y; returns y. */
ql_vid ql_build_add(ql_builder *b, ql_vid x, ql_vid y);

/* Declares every input and output of the graph (graph_io.c). */
void ql_build_declare(ql_builder *b);
/* Tables that never change: rotations, buckets, ids of trained tokens (graph_io.c). */
QL_NODISCARD ql_status ql_graph_fill_tables(ql_graph *g, const ql_model *m, ql_queue *q);

/* y [rows, n] = x W^T + bias + s (dropout(x) A^T) B^T; dtype of y. (linear.c) */
ql_vid ql_build_linear(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype y_dtype,
                       const char *name);
/* y = norm(x) * w + b per row, or per `groups` slices of a row (norm.c). */
ql_vid ql_build_norm(ql_builder *b, const ql_norm *n, ql_vid x, int32_t groups, ql_dtype y_dtype,
                     const char *name);
/* The same into an existing value, which may be a slice of columns. */
void ql_build_norm_into(ql_builder *b, const ql_norm *n, ql_vid x, ql_vid y, int32_t groups,
                        const char *name);
/* What enters a stack, F32 [N, C] (embed.c); then trained tokens (token_rows.c). */
ql_vid ql_build_front(ql_builder *b);
void ql_build_token_rows(ql_builder *b);
/* Attention of the current layer: rows n -> output projection, F32 (attention.c). */
ql_vid ql_build_self_attention(ql_builder *b, const ql_layer *l, ql_vid n);
ql_vid ql_build_cross_attention(ql_builder *b, const ql_layer *l, ql_vid n);
/* ENCODE: keys and values of the encoder's rows into the caches of every layer. */
void ql_build_cross_caches(ql_builder *b);
/* DeBERTa's table, and its two score terms for q and k of a layer (relative.c). */
ql_vid ql_build_relative_table(ql_builder *b);
void ql_build_relative_scores(ql_builder *b, const ql_layer *l, ql_vid q, ql_vid k, ql_vid *c2p,
                              ql_vid *p2c);
/* One block: h [N, C] -> h (block.c). */
ql_vid ql_build_layer(ql_builder *b, ql_vid h);
/* Final norm, logits of the labelled rows, loss; in a training graph also the backward of the
 * chunks. Returns the number of records in front of the chunks (head.c). */
int32_t ql_build_head(ql_builder *b, ql_vid h);

/* The scalars of a quantized weight; then with its matrices on the device (linear.c, slots.c). */
ql_qmat ql_linear_qmat_shape(const ql_linear *l);

#endif
