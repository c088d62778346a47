/*
 * source_folder.c - a Hugging Face folder: config files, and one or several safetensors.
 *
 * A shard's name comes from a file of unknown origin: it must be a plain name inside the folder.
 */
#include <string.h>

#include "core/io/source_internal.h"

#define MAX_CONFIG_BYTES (64u << 20)
#define MAX_SHARDS       4096

static ql_status read_object(const char *path, json_t **out) {
    char *text;
    size_t len;
    json_t *j = NULL;
    QL_TRY(ql_file_read(path, MAX_CONFIG_BYTES, &text, &len));
    ql_status s = ql_json_parse(text, len, path, &j);
    ql_host_free(text);
    QL_TRY(s);
    if (!json_is_object(j)) {
        json_decref(j);
        return QL_FAIL(QL_ERR_FORMAT, "%s: a JSON object was expected", path);
    }
    *out = j;
    return QL_OK;
}

ql_status ql_source_read_configs(ql_source *s) {
    char path[QL_PATH_MAX];
    if (!s->is_folder) return read_object(s->path, &s->config);
    QL_TRY(ql_path_join(path, s->path, "config.json"));
    if (!ql_file_exists(path)) {
        return QL_FAIL(QL_ERR_NOT_FOUND,
                       "%s: no config.json here; a Hugging Face model folder or a .gguf file was "
                       "expected",
                       s->path);
    }
    QL_TRY(read_object(path, &s->config));
    QL_TRY(ql_path_join(path, s->path, "generation_config.json"));
    return ql_file_exists(path) ? read_object(path, &s->generation_config) : QL_OK;
}

/* Opens one safetensors file of the folder; *index is its place in s->files. */
static ql_status open_file(ql_source *s, const char *name, size_t *index) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, s->path, name));
    if (s->n_files >= MAX_SHARDS) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: more than %d shards", s->path, MAX_SHARDS);
    }
    void *files = s->files;
    QL_TRY(ql_host_grow(&files, &s->cap_files, s->n_files + 1, sizeof *s->files));
    s->files = files;
    QL_TRY(ql_st_open(path, &s->files[s->n_files]));
    *index = s->n_files++;
    return QL_OK;
}

static ql_source_tensor from_safetensors(const ql_st_tensor *t, size_t file) {
    ql_source_tensor v = {
        .name = t->name, .rows = 1, .cols = 1, .dims = t->dims, .st = t, .file = (int32_t)file};
    memcpy(v.shape, t->shape, sizeof v.shape);
    for (int32_t i = 0; i + 1 < t->dims; i++) v.rows *= t->shape[i];
    if (t->dims > 0) v.cols = t->shape[t->dims - 1];
    return v;
}

static ql_status read_single(ql_source *s) {
    size_t file = 0;
    QL_TRY(open_file(s, "model.safetensors", &file));
    const ql_st_file *f = s->files[file];
    s->tensors = ql_arena_alloc(&s->arena, (size_t)ql_st_count(f), sizeof *s->tensors);
    if (!s->tensors) return QL_NOMEM(s->path);
    for (; s->n < ql_st_count(f); s->n++) {
        s->tensors[s->n] = from_safetensors(ql_st_at(f, s->n), file);
    }
    return QL_OK;
}

static bool is_plain_name(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n < 256 && name[0] != '.' && !strpbrk(name, "/\\:");
}

/* Place in s->files of the shard `name`, opened on first use. `seen` maps names to places. */
static ql_status shard(ql_source *s, const char *index, json_t *seen, const char *name,
                       size_t *file) {
    const json_t *known = json_object_get(seen, name);
    if (known) {
        *file = (size_t)json_integer_value(known);
        return QL_OK;
    }
    if (!is_plain_name(name)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the shard '%.200s' is not a plain file name inside the folder", index,
                       name);
    }
    QL_TRY(open_file(s, name, file));
    if (json_object_set_new(seen, name, json_integer((json_int_t)*file)) != 0) {
        return QL_NOMEM(index);
    }
    return QL_OK;
}

static ql_status read_weight_map(ql_source *s, const char *index, json_t *map, json_t *seen) {
    s->tensors = ql_arena_alloc(&s->arena, json_object_size(map), sizeof *s->tensors);
    if (!s->tensors) return QL_NOMEM(index);
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        size_t file = 0;
        if (!json_is_string(value)) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: weight_map of '%.200s' is not a file name", index,
                           name);
        }
        QL_TRY(shard(s, index, seen, json_string_value(value), &file));
        const ql_st_tensor *t = ql_st_find(s->files[file], name);
        if (!t) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: the tensor '%.200s' is not in %.200s", index, name,
                           json_string_value(value));
        }
        s->tensors[s->n++] = from_safetensors(t, file);
    }
    return QL_OK;
}

static ql_status read_index(ql_source *s, const char *index) {
    json_t *j = NULL;
    QL_TRY(read_object(index, &j));
    json_t *map = json_object_get(j, "weight_map"), *seen = json_object();
    ql_status st = QL_OK;
    if (!seen) {
        st = QL_NOMEM(index);
    } else if (!json_is_object(map) || json_object_size(map) == 0) {
        st = QL_FAIL(QL_ERR_FORMAT, "%s: it has no weight_map", index);
    } else {
        st = read_weight_map(s, index, map, seen);
    }
    json_decref(seen);
    json_decref(j);
    return st;
}

ql_status ql_source_read_folder(ql_source *s) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, s->path, "model.safetensors"));
    if (ql_file_exists(path)) return read_single(s);
    QL_TRY(ql_path_join(path, s->path, "model.safetensors.index.json"));
    if (ql_file_exists(path)) return read_index(s, path);
    QL_TRY(ql_path_join(path, s->path, "pytorch_model.bin"));
    const char *cure =
        ql_file_exists(path) ? "; convert pytorch_model.bin with save_pretrained first" : "";
    return QL_FAIL(QL_ERR_NOT_FOUND,
                   "%s: neither model.safetensors nor model.safetensors.index.json is here%s",
                   s->path, cure);
}
