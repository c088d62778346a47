/*
 * safetensors.h - reader (mapped) and writer of one .safetensors file.
 *
 * File: u64 header length, JSON header, data. Every length, offset and shape is checked against the
 * file before use: header within the file and below 100 MiB, offsets ascending without overlap and
 * inside the data, no holes, nothing behind the last tensor, shape x dtype == bytes, no duplicate
 * names.
 */
#ifndef QLORA_CORE_IO_SAFETENSORS_H
#define QLORA_CORE_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/fs.h"
#include "qlora/status.h"

typedef enum ql_st_dtype {
    QL_ST_BOOL,
    QL_ST_U8,
    QL_ST_I8,
    QL_ST_I16,
    QL_ST_U16,
    QL_ST_F16,
    QL_ST_BF16,
    QL_ST_I32,
    QL_ST_U32,
    QL_ST_F32,
    QL_ST_F64,
    QL_ST_I64,
    QL_ST_U64,
    QL_ST_F8_E4M3,
    QL_ST_F8_E5M2,
    QL_ST_DTYPE_COUNT
} ql_st_dtype;
const char *ql_st_dtype_name(ql_st_dtype t); /* "BF16" */
uint32_t ql_st_dtype_bytes(ql_st_dtype t);

#define QL_ST_MAX_DIMS 8
typedef struct ql_st_tensor {
    const char *name; /* borrowed from the file object */
    ql_st_dtype dtype;
    int32_t dims;
    int64_t shape[QL_ST_MAX_DIMS];
    int64_t numel;
    uint64_t offset, bytes; /* offset from the start of the file */
    const uint8_t *data;    /* inside the map; may be unaligned */
} ql_st_tensor;

typedef struct ql_st_file ql_st_file;
QL_NODISCARD ql_status ql_st_open(const char *path, ql_st_file **out);
void ql_st_close(ql_st_file *f); /* NULL ok */
int64_t ql_st_count(const ql_st_file *f);
const ql_st_tensor *ql_st_at(const ql_st_file *f, int64_t i);          /* sorted by name */
const ql_st_tensor *ql_st_find(const ql_st_file *f, const char *name); /* NULL = absent */
const char *ql_st_metadata(const ql_st_file *f, const char *key);      /* NULL = absent */
const ql_map *ql_st_map(const ql_st_file *f);
const char *ql_st_path(const ql_st_file *f);

/* Elements [first, first+n) of a floating or integer tensor as float32 (exact where the type
 * allows). */
QL_NODISCARD ql_status ql_st_read_f32(const ql_st_tensor *t, int64_t first, int64_t n, float *out);
QL_NODISCARD ql_status ql_st_read_i64(const ql_st_tensor *t, int64_t first, int64_t n,
                                      int64_t *out);

/* Writer: declare all tensors, then write their data in the declared order in pieces of any size,
 * then commit. The header is padded with spaces to a multiple of 8. Nothing appears at `path`
 * before commit. */
typedef struct ql_st_writer ql_st_writer;
QL_NODISCARD ql_status ql_st_writer_create(const char *path, ql_st_writer **out);
QL_NODISCARD ql_status ql_st_writer_metadata(ql_st_writer *w, const char *key, const char *value);
QL_NODISCARD ql_status ql_st_writer_declare(ql_st_writer *w, const char *name, ql_st_dtype dtype,
                                            int32_t dims, const int64_t *shape);
QL_NODISCARD ql_status ql_st_writer_data(ql_st_writer *w, const void *data, uint64_t bytes);
QL_NODISCARD ql_status ql_st_writer_commit(ql_st_writer *w); /* frees w in every case */
void ql_st_writer_abort(ql_st_writer *w);                    /* NULL ok */

#endif
