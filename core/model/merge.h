/*
 * merge.h - a whole model written as a Hugging Face folder: adapter merged, or fully trained
 * weights.
 */
#ifndef QLORA_CORE_MODEL_MERGE_H
#define QLORA_CORE_MODEL_MERGE_H

#include "core/model/model.h"

typedef struct ql_merge_opts {
    ql_st_dtype dtype; /* of every tensor: QL_ST_F32, QL_ST_F16, QL_ST_BF16             */
    bool (*progress)(void *user, int64_t done, int64_t total, const char *name); /* false = stop */
    void *user;
} ql_merge_opts;

/* W + s B A for every adapted layer, W as it stands in the files (quantized is decoded); all other
 * tensors as they are; with --full the trained values. The model must be placed (adapter values
 * come from the device). Staged beside `dir`, moved into place whole; quantization_config is
 * removed. */
QL_NODISCARD ql_status ql_merge(ql_model *m, const ql_merge_opts *o, const char *dir);

#endif
