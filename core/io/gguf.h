/*
 * gguf.h - reader of GGUF v2/v3 files (mapped) and row decoding of its block types.
 *
 * All counts, string lengths, dimensions, offsets and alignments are checked against the file.
 * Element and block formats are GGML's; the decoders follow the public description of the formats.
 */
#ifndef QLORA_CORE_IO_GGUF_H
#define QLORA_CORE_IO_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/fs.h"
#include "qlora/backend.h"
#include "qlora/status.h"

typedef enum ql_gguf_type { /* GGML's numbers */
                            QL_GT_F32 = 0,
                            QL_GT_F16 = 1,
                            QL_GT_Q4_0 = 2,
                            QL_GT_Q4_1 = 3,
                            QL_GT_Q5_0 = 6,
                            QL_GT_Q5_1 = 7,
                            QL_GT_Q8_0 = 8,
                            QL_GT_Q2_K = 10,
                            QL_GT_Q3_K = 11,
                            QL_GT_Q4_K = 12,
                            QL_GT_Q5_K = 13,
                            QL_GT_Q6_K = 14,
                            QL_GT_BF16 = 30
} ql_gguf_type;
const char *ql_gguf_type_name(ql_gguf_type t); /* "Q4_K"; NULL = not supported */
int64_t ql_gguf_block_elems(ql_gguf_type t);   /* 1, 32 or 256 */
int64_t ql_gguf_block_bytes(ql_gguf_type t);
/* Blocks that the generic quantized weight holds exactly; QL_GGML_NONE otherwise. */
ql_ggml ql_gguf_trainable(ql_gguf_type t);

typedef struct ql_gguf_tensor {
    const char *name;
    ql_gguf_type type;
    int32_t dims;
    int64_t shape[4];   /* GGML order: shape[0] is the row length (in_features) */
    int64_t rows, cols; /* [rows, cols] row-major: cols = shape[0]              */
    uint64_t offset, bytes;
    const uint8_t *data;
} ql_gguf_tensor;

typedef struct ql_gguf ql_gguf;
QL_NODISCARD ql_status ql_gguf_open(const char *path, ql_gguf **out);
void ql_gguf_close(ql_gguf *g); /* NULL ok */
int64_t ql_gguf_count(const ql_gguf *g);
const ql_gguf_tensor *ql_gguf_at(const ql_gguf *g, int64_t i);
const ql_gguf_tensor *ql_gguf_find(const ql_gguf *g, const char *name);
const ql_map *ql_gguf_map(const ql_gguf *g);

/* Metadata. Absent: *out keeps its value and QL_OK; wrong type: QL_ERR_FORMAT. Integers of any
 * width are taken. */
bool ql_gguf_has(const ql_gguf *g, const char *key);
QL_NODISCARD ql_status ql_gguf_get_i64(const ql_gguf *g, const char *key, int64_t *out);
QL_NODISCARD ql_status ql_gguf_get_f64(const ql_gguf *g, const char *key, double *out);
QL_NODISCARD ql_status ql_gguf_get_bool(const ql_gguf *g, const char *key, bool *out);
/* Strings are not NUL-terminated in the file: pointer and length, borrowed. */
typedef struct ql_str {
    const char *s;
    uint64_t len;
} ql_str;
QL_NODISCARD ql_status ql_gguf_get_str(const ql_gguf *g, const char *key, ql_str *out);
int64_t ql_gguf_array_len(const ql_gguf *g, const char *key); /* -1 = absent or no array */
QL_NODISCARD ql_status ql_gguf_array_str(const ql_gguf *g, const char *key, int64_t i,
                                         ql_str *out); /* O(1) */
QL_NODISCARD ql_status ql_gguf_array_f64(const ql_gguf *g, const char *key, int64_t i, double *out);
QL_NODISCARD ql_status ql_gguf_array_i64(const ql_gguf *g, const char *key, int64_t i,
                                         int64_t *out);

QL_NODISCARD ql_status ql_gguf_array_bool(const ql_gguf *g, const char *key, int64_t i, bool *out);

/* Row `row` of t as cols floats. */
QL_NODISCARD ql_status ql_gguf_read_row(const ql_gguf_tensor *t, int64_t row, float *out);

#endif
