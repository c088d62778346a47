/*
 * shard.h - one .safetensors file of a model, filled tensor by tensor, laid out as the safetensors
 * package does: by type (widest first), then by name.
 *
 * Data goes to a spool file until commit knows all entries; mapped data is not copied there.
 */
#ifndef QLORA_CORE_QUANT_SHARD_H
#define QLORA_CORE_QUANT_SHARD_H

#include "core/io/safetensors.h"

typedef struct ql_shard ql_shard;
/* The file dir/file appears at commit; dir/spool exists until then. */
QL_NODISCARD ql_status ql_shard_open(const char *dir, const char *file, ql_shard **out);
/* A new entry; its bytes follow through ql_shard_append. Names are copied. */
QL_NODISCARD ql_status ql_shard_entry(ql_shard *s, const char *name, ql_st_dtype dtype,
                                      int32_t dims, const int64_t *shape);
QL_NODISCARD ql_status ql_shard_append(ql_shard *s, const void *data, uint64_t bytes);
/* An entry whose bytes stay where they are until commit (a mapped file). */
QL_NODISCARD ql_status ql_shard_mapped(ql_shard *s, const ql_st_tensor *t);
/* Writes the file and frees s in every case; *bytes receives the size of its tensors. */
QL_NODISCARD ql_status ql_shard_commit(ql_shard *s, uint64_t *bytes);
void ql_shard_abort(ql_shard *s); /* NULL ok */

#endif
