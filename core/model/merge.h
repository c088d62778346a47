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
    /* A tensor that the adapter changes, and the largest change before rounding; may be NULL. */
    void (*changed)(void *user, const char *name, double largest);
    void *user;
} ql_merge_opts;

/* Every adapted layer gets W + s B A, with DoRA m (W + s B A) / |W + s B A| per row, W as it stands
 * in the files (quantized is decoded); modules trained whole and rows of tokens take the place of
 * the base's; all other tensors are as they are. With --full the trained values. Weights are laid
 * out as in the files (Conv1D is [in, out]). The model must be placed when it has trained values.
 * Staged beside `dir`, moved into place whole; quantization_config is removed. A tied head that
 * the adapter unties from the embedding is written, and config.json says so. */
QL_NODISCARD ql_status ql_merge(ql_model *m, const ql_merge_opts *o, const char *dir);

#endif
