/* model_impl.h - what the files of core/model share about places of tensors. */
#ifndef QLORA_CORE_MODEL_MODEL_IMPL_H
#define QLORA_CORE_MODEL_MODEL_IMPL_H

#include "core/model/model.h"

#define QL_SLOT_ALIGN 64

/* A slot of the weights region. */
ql_slot ql_slot_weights(ql_model *m, int64_t rows, int64_t cols, ql_dtype dtype);
/* A slot inside a mapped file when [p, p + bytes) lies in one of the source's maps, is aligned to
 * the element size and mapping is allowed; otherwise one of the weights region. */
QL_NODISCARD ql_status ql_slot_for(ql_model *m, const void *p, int64_t rows, int64_t cols,
                                   ql_dtype dtype, ql_slot *out);
uint64_t ql_slot_bytes(const ql_slot *s);

/* A new trained tensor; -1 with a latched error in *s. */
QL_NODISCARD ql_status ql_param_add(ql_model *m, int64_t rows, int64_t cols, bool decay,
                                    int32_t *out, const char *name_fmt, ...) QL_PRINTF(6, 7);
/* Orders the trained region: parameters with decay first. Sets n_trained, n_decay. */
void ql_params_layout(ql_model *m);

/* The dtype in which a dense tensor of the file lies on the device. */
ql_dtype ql_dense_dtype(const ql_source_tensor *t);
/* Its raw bytes when they can be used as they are (no decoding, no row order), else NULL. */
const uint8_t *ql_dense_raw(const ql_source_tensor *t);

/* Visits every dense tensor: embedding, norms, biases. Returns NULL past the end. */
ql_dense *ql_model_dense(ql_model *m, int64_t i);

#endif
