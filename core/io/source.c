/*
 * source.c - opening a model by path, and access to its tensors under Hugging Face names.
 *
 * What kind of file it is decides once, here; afterwards each tensor knows where it lies.
 */
#include "core/io/source.h"

#include <stdlib.h>
#include <string.h>

#include "core/io/source_internal.h"

static int by_name(const void *a, const void *b) {
    const ql_source_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

static ql_status read_all(ql_source *s, bool weights) {
    if (s->is_folder) {
        QL_TRY(ql_source_read_configs(s));
        if (weights) QL_TRY(ql_source_read_folder(s));
    } else if (!weights && !has_suffix(s->path, ".gguf")) {
        QL_TRY(ql_source_read_configs(s));
    } else if (has_suffix(s->path, ".safetensors") || has_suffix(s->path, ".json")) {
        return QL_FAIL(QL_ERR_INVALID, "%s: give the model's folder, not one of its files",
                       s->path);
    } else {
        QL_TRY(ql_gguf_open(s->path, &s->gguf));
        QL_TRY(ql_source_read_gguf(s));
    }
    if (s->n > 1) qsort(s->tensors, (size_t)s->n, sizeof *s->tensors, by_name);
    return QL_OK;
}

static ql_status open_source(const char *path, bool weights, ql_source **out) {
    ql_source *s = ql_host_calloc(1, sizeof *s);
    if (!s) return QL_NOMEM(path);
    s->path = ql_host_strdup(path);
    s->is_folder = ql_dir_exists(path);
    ql_status st = s->path ? read_all(s, weights) : QL_NOMEM(path);
    if (st != QL_OK) {
        ql_source_close(s);
        return st;
    }
    *out = s;
    return QL_OK;
}

ql_status ql_source_open(const char *path, ql_source **out) {
    return open_source(path, true, out);
}

ql_status ql_source_open_config(const char *path, ql_source **out) {
    return open_source(path, false, out);
}

ql_status ql_source_open_json(const char *name, const json_t *config, ql_source **out) {
    ql_source *s = ql_host_calloc(1, sizeof *s);
    if (!s) return QL_NOMEM(name);
    s->path = ql_host_strdup(name);
    s->config = json_deep_copy(config);
    if (!s->path || !s->config) {
        ql_source_close(s);
        return QL_NOMEM(name);
    }
    *out = s;
    return QL_OK;
}

void ql_source_close(ql_source *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_files; i++) ql_st_close(s->files[i]);
    ql_host_free(s->files);
    ql_gguf_close(s->gguf);
    json_decref(s->config);
    json_decref(s->generation_config);
    ql_arena_free(&s->arena);
    ql_host_free(s->path);
    ql_host_free(s);
}

const char *ql_source_path(const ql_source *s) {
    return s->path;
}
bool ql_source_is_gguf(const ql_source *s) {
    return s->gguf != NULL;
}
const ql_gguf *ql_source_gguf(const ql_source *s) {
    return s->gguf;
}
const json_t *ql_source_config(const ql_source *s) {
    return s->config;
}
const json_t *ql_source_generation_config(const ql_source *s) {
    return s->generation_config;
}
int64_t ql_source_count(const ql_source *s) {
    return s->n;
}

const ql_source_tensor *ql_source_at(const ql_source *s, int64_t i) {
    return i >= 0 && i < s->n ? &s->tensors[i] : NULL;
}

const ql_source_tensor *ql_source_find(const ql_source *s, const char *name) {
    ql_source_tensor key = {.name = name};
    return s->n ? bsearch(&key, s->tensors, (size_t)s->n, sizeof key, by_name) : NULL;
}

int32_t ql_source_files(const ql_source *s) {
    return s->gguf ? 1 : (int32_t)s->n_files;
}

const ql_map *ql_source_map(const ql_source *s, int32_t file) {
    if (file < 0 || file >= ql_source_files(s)) return NULL;
    return s->gguf ? ql_gguf_map(s->gguf) : ql_st_map(s->files[file]);
}

/* --------------------------------------------------------------------- rows
 * A head has D rows. Hugging Face keeps the first elements of its D/2 rotation pairs, then the
 * second ones; GGUF's llama keeps each pair together: element k of half h is file row 2 k + h. */
static int64_t rotated(int64_t row, int64_t rows, int32_t heads) {
    int64_t d = rows / heads, in = row % d;
    return row - in + 2 * (in % (d / 2)) + in / (d / 2);
}

/* Hq query heads, Hk key heads. Hugging Face: for each key head its Hq / Hk query heads, k, v;
 * GGUF: all of q, all of k, all of v. */
static int64_t fused(int64_t row, int64_t rows, int32_t heads, int32_t kv) {
    int64_t d = rows / (heads + 2 * (int64_t)kv), share = heads / kv;
    int64_t in = row % d, slot = row / d % (share + 2), group = row / d / (share + 2);
    int64_t head =
        slot < share ? group * share + slot : heads + (slot - share) * (int64_t)kv + group;
    return head * d + in;
}

int64_t ql_source_file_row(const ql_source_tensor *t, int64_t row, int64_t rows) {
    if (t->permute_heads <= 0) return row;
    return t->fused_kv > 0 ? fused(row, rows, t->permute_heads, t->fused_kv)
                           : rotated(row, rows, t->permute_heads);
}

int64_t ql_source_row(const ql_source_tensor *t, int64_t row) {
    return ql_source_file_row(t, row, t->rows);
}

ql_status ql_source_read_row(const ql_source_tensor *t, int64_t row, float *out) {
    if (row < 0 || row >= t->rows) {
        return QL_FAIL(QL_ERR_INVALID, "tensor '%.200s': row %lld asked, it has %lld", t->name,
                       (long long)row, (long long)t->rows);
    }
    if (t->st) return ql_st_read_f32(t->st, row * t->cols, t->cols, out);
    return ql_gguf_read_row(t->gguf, ql_source_row(t, row), out);
}
