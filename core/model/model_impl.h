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

/* A slot and a quantized weight as matrices on the device; the model must be placed. */
ql_mat ql_slot_mat(const ql_model *m, const ql_slot *s);
ql_qmat ql_linear_qmat(const ql_model *m, const ql_linear *l);
/* Gives a slot's bytes back: the tensor has become a trained one. */
void ql_slot_release(ql_model *m, ql_slot *s);
/* Finds a tensor under its full name, without the base prefix, or with LayerNorm's old names
 * (gamma, beta); NULL when the files lack it. */
const ql_source_tensor *ql_model_tensor(const ql_model *m, const char *name);
/* "a.b" in the model's string arena; NULL = out of memory. */
const char *ql_model_name(ql_model *m, const char *a, const char *b);
/* Is there nothing but a config.json? */
bool ql_model_is_plan(const ql_model *m);

/* The openers of tensors (open_tensor.c). */
typedef struct ql_dense_want {
    int64_t rows, cols; /* vectors: rows 1                                             */
    bool decay;         /* weight decay when trained                                   */
    bool f32;           /* its operator takes F32 only: decoded on loading             */
    bool optional;      /* the files may lack it: fresh                                */
    bool buffer;        /* never trained, zero when the files lack it                  */
} ql_dense_want;
QL_NODISCARD ql_status ql_open_dense(ql_model *m, const char *name, ql_dense_want want,
                                     ql_dense **out);
typedef struct ql_linear_want {
    int64_t n, k;
    bool bias, keep, transposed, is_head, optional;
} ql_linear_want;
/* A new entry of the model's linear layers without storage, named but not looked for. */
QL_NODISCARD ql_status ql_linear_add(ql_model *m, const char *module, int64_t n, int64_t k,
                                     bool is_head, ql_linear **out);
QL_NODISCARD ql_status ql_open_linear(ql_model *m, const char *module, ql_linear_want want,
                                      ql_linear **out);
/* Does every tensor of the files have its place? */
QL_NODISCARD ql_status ql_refuse_surplus(ql_model *m);

#endif
