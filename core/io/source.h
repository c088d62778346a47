/*
 * source.h - a model's files behind one face: a Hugging Face folder or a .gguf.
 *
 * Tensors appear under Hugging Face names ("model.layers.0.self_attn.q_proj.weight") whatever the
 * file, with Hugging Face's values. GGUF orders the rows of some matrices otherwise: ql_source_row
 * gives the file row of each Hugging Face row. Decoding goes row by row; no matrix is ever copied
 * whole.
 * bitsandbytes 4-bit / 8-bit and our own container keep their parts
 * ("P.weight", "P.weight.absmax", ...) as separate entries; core/quant/stored.h assembles them.
 */
#ifndef QLORA_CORE_IO_SOURCE_H
#define QLORA_CORE_IO_SOURCE_H

#include "core/base/json.h"
#include "core/io/gguf.h"
#include "core/io/safetensors.h"

typedef struct ql_source_tensor {
    const char *name;   /* Hugging Face name                                     */
    int64_t rows, cols; /* matrix view: last dimension = cols, the rest = rows   */
    int32_t dims;
    int64_t shape[QL_ST_MAX_DIMS];
    const ql_st_tensor *st; /* exactly one of st, gguf is set                        */
    const ql_gguf_tensor *gguf;
    int32_t permute_heads; /* > 0: GGUF's own order of rows, number of heads; see source_row */
    int32_t fused_kv; /* with permute_heads: q, k and v of this many key heads in one; 0: q or k */
    bool out_in;      /* rows, cols and shape are [out, in] where Hugging Face has [in, out] */
    int32_t file;     /* which of the source's maps holds it                   */
} ql_source_tensor;

typedef struct ql_source ql_source;
/* `path`: folder with config.json and model.safetensors or model.safetensors.index.json, or a .gguf
 * file. */
QL_NODISCARD ql_status ql_source_open(const char *path, ql_source **out);
/* Only config.json (a folder without weights, or a config.json file): count() is 0. For planning.
 */
QL_NODISCARD ql_status ql_source_open_config(const char *path, ql_source **out);
/* A configuration that is in memory (a copy is kept); `name` stands for the path. count() is 0. */
QL_NODISCARD ql_status ql_source_open_json(const char *name, const json_t *config, ql_source **out);
void ql_source_close(ql_source *s); /* NULL ok */
const char *ql_source_path(const ql_source *s);
bool ql_source_is_gguf(const ql_source *s);
const ql_gguf *ql_source_gguf(const ql_source *s); /* NULL for folders */
/* config.json; for GGUF an equivalent object made from its keys (same content as a Hugging Face
 * config). Borrowed. */
const json_t *ql_source_config(const ql_source *s);
/* generation_config.json, or made from GGUF's eos/bos keys; NULL when there is none. Borrowed. */
const json_t *ql_source_generation_config(const ql_source *s);

int64_t ql_source_count(const ql_source *s);
const ql_source_tensor *ql_source_at(const ql_source *s, int64_t i); /* sorted by name */
const ql_source_tensor *ql_source_find(const ql_source *s, const char *name);
int32_t ql_source_files(const ql_source *s);
const ql_map *ql_source_map(const ql_source *s, int32_t file);

/* File row that holds Hugging Face row `row` of t (identity unless permute_heads). */
int64_t ql_source_row(const ql_source_tensor *t, int64_t row);
/* Hugging Face row `row` as cols floats. */
QL_NODISCARD ql_status ql_source_read_row(const ql_source_tensor *t, int64_t row, float *out);

/* Writes `s` as a Hugging Face folder's small files: config.json, generation_config.json,
 * tokenizer.json, tokenizer_config.json and other tokenizer files. For folders they are copied; for
 * GGUF they are made from its keys. */
QL_NODISCARD ql_status ql_source_write_sidecars(const ql_source *s, const char *dir);

#endif
