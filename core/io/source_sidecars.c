/*
 * source_sidecars.c - the small files of a model folder: copied, or made from a GGUF.
 */
#include "core/io/gguf_tokenizer.h"
#include "core/io/source_internal.h"

/* What transformers and tokenizers may want beside the weights. */
static const char *const sidecar_names[] = {
    "config.json",     "generation_config.json",  "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model", "special_tokens_map.json", "added_tokens.json",  "vocab.json",
    "merges.txt",      "chat_template.jinja",     "chat_template.json", "spiece.model",
};

static ql_status copy_file(const char *from_dir, const char *to_dir, const char *name) {
    char from[QL_PATH_MAX], to[QL_PATH_MAX];
    QL_TRY(ql_path_join(from, from_dir, name));
    QL_TRY(ql_path_join(to, to_dir, name));
    if (!ql_file_exists(from)) return QL_OK;
    ql_map m;
    QL_TRY(ql_map_open(from, &m));
    ql_status s = ql_file_replace(to, m.data, (size_t)m.size);
    ql_map_close(&m);
    return s;
}

static ql_status write_object(const char *dir, const char *name, const json_t *j) {
    char path[QL_PATH_MAX];
    if (!j) return QL_OK;
    QL_TRY(ql_path_join(path, dir, name));
    return ql_json_write(path, j);
}

static ql_status write_gguf_tokenizer(const ql_source *s, const char *dir) {
    json_t *tokenizer = NULL, *config = NULL;
    QL_TRY(ql_gguf_tokenizer_json(s->gguf, s->path, &tokenizer, &config));
    ql_status st = write_object(dir, "tokenizer.json", tokenizer);
    if (st == QL_OK) st = write_object(dir, "tokenizer_config.json", config);
    json_decref(tokenizer);
    json_decref(config);
    return st;
}

ql_status ql_source_write_sidecars(const ql_source *s, const char *dir) {
    QL_TRY(ql_dir_create(dir));
    if (s->is_folder) {
        for (size_t i = 0; i < sizeof sidecar_names / sizeof sidecar_names[0]; i++) {
            QL_TRY(copy_file(s->path, dir, sidecar_names[i]));
        }
        return QL_OK;
    }
    QL_TRY(write_object(dir, "config.json", s->config));
    QL_TRY(write_object(dir, "generation_config.json", s->generation_config));
    return s->gguf ? write_gguf_tokenizer(s, dir) : QL_OK;
}
