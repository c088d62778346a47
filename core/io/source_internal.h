/*
 * source_internal.h - what the files behind source.h share: the object and its builders.
 *
 * Builders fill a zeroed ql_source; whoever called them closes it when they fail.
 */
#ifndef QLORA_CORE_IO_SOURCE_INTERNAL_H
#define QLORA_CORE_IO_SOURCE_INTERNAL_H

#include "core/base/hostmem.h"
#include "core/io/source.h"

struct ql_source {
    char *path;
    bool is_folder;
    ql_gguf *gguf;      /* owned; NULL for folders              */
    ql_st_file **files; /* owned; shards in order of first name */
    size_t n_files, cap_files;
    json_t *config, *generation_config; /* owned; the second may be NULL */
    ql_arena arena;                     /* tensors and names of the GGUF */
    ql_source_tensor *tensors;          /* sorted by name after opening  */
    int64_t n;
};

/* config.json and, when present, generation_config.json of a folder, or one config.json file. */
QL_NODISCARD ql_status ql_source_read_configs(ql_source *s);
/* Tensors of the folder's model.safetensors or of the shards that its index names. */
QL_NODISCARD ql_status ql_source_read_folder(ql_source *s);
/* Config and tensors of the open s->gguf. */
QL_NODISCARD ql_status ql_source_read_gguf(ql_source *s);

/* Where row `row` of `rows` (or element of a vector) lies in the order of t's file. */
int64_t ql_source_file_row(const ql_source_tensor *t, int64_t row, int64_t rows);

/* A GGUF string as JSON; QL_ERR_FORMAT when it is not UTF-8 or holds NUL. */
QL_NODISCARD ql_status ql_gguf_json_string(const char *path, const char *key, ql_str s,
                                           json_t **out);
/* Optional id under tokenizer.ggml.: -1 when absent; inside [0, size) otherwise. */
QL_NODISCARD ql_status ql_gguf_token_id(const ql_gguf *g, const char *path, const char *key,
                                        int64_t size, int64_t *out);

#endif
