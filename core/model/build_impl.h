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
    ql_dim tokens, labelled;
    bool train;
} ql_builder;

/* The frozen tensor in `slot` as a value. */
ql_vid ql_build_slot(ql_builder *b, const ql_slot *slot, const char *name);
/* A parameter as a value; trained (with its gradient) in a training graph. */
ql_vid ql_build_param(ql_builder *b, int32_t param);
/* A dense tensor, frozen or trained; 0 when absent. */
ql_vid ql_build_dense(ql_builder *b, const ql_dense *d);
/* A new activation. */
ql_vid ql_build_value(ql_builder *b, ql_dim rows, int64_t cols, const char *name);

/* y [rows, n] = x W^T + bias + s (dropout(x) A^T) B^T; dtype of y. (linear.c) */
ql_vid ql_build_linear(ql_builder *b, const ql_linear *l, ql_vid x, ql_dtype y_dtype,
                       const char *name);
/* y = norm(x) * w (block.c). */
ql_vid ql_build_norm(ql_builder *b, const ql_dense *w, ql_vid x, const char *name);
/* One decoder layer: h [N, C] -> h (block.c). */
ql_vid ql_build_layer(ql_builder *b, int32_t layer, ql_vid h);
/* Final norm, logits of the labelled rows, loss; in a training graph also their backward (head.c).
 */
void ql_build_head(ql_builder *b, ql_vid h);

#endif
