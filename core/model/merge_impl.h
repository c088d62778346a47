/* merge_impl.h - one merged tensor after the other into a file. */
#ifndef QLORA_CORE_MODEL_MERGE_IMPL_H
#define QLORA_CORE_MODEL_MERGE_IMPL_H

#include "core/model/merge.h"

typedef struct ql_merge_out {
    ql_model *m;
    ql_st_writer *w;
    ql_st_dtype dtype;
    bool measure;   /* compare trained values with the base's     */
    bool changed;   /* the last tensor is not the base's ...      */
    double largest; /* ... and differs from it by at most this    */
} ql_merge_out;

/* Are the weight's rows inputs in the folder that is written (Conv1D)? */
bool ql_merge_transposes(const ql_model *m, const ql_linear *l);
/* Is the head written, although it is the embedding in the base? */
bool ql_merge_unties(const ql_model *m);

/* The values of a declared tensor, in its order. */
QL_NODISCARD ql_status ql_merge_linear(ql_merge_out *o, const ql_linear *l);
QL_NODISCARD ql_status ql_merge_dense(ql_merge_out *o, const ql_dense *d);

#endif
