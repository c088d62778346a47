/*
 * shard.c - see shard.h. The spool costs one extra write of a shard, and saves a second reading and
 * encoding of the whole model, which the unknown length of quant_state would otherwise ask for.
 */
#include "core/quant/shard.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"

typedef struct entry {
    const char *name;
    ql_st_dtype dtype;
    int32_t dims;
    int64_t shape[QL_ST_MAX_DIMS];
    const uint8_t *data; /* NULL: in the spool */
    uint64_t at, bytes;
} entry;

struct ql_shard {
    char path[QL_PATH_MAX], spool_dir[QL_PATH_MAX], spool[QL_PATH_MAX];
    ql_writer *writer;
    entry *entries;
    size_t count, cap;
    ql_arena names;
};

ql_status ql_shard_open(const char *dir, const char *file, ql_shard **out) {
    ql_shard *s = ql_host_calloc(1, sizeof *s);
    if (s == NULL) return QL_NOMEM("an output file");
    ql_status status = ql_path_join(s->path, dir, file);
    if (status == QL_OK) status = ql_path_join(s->spool_dir, dir, "spool");
    if (status == QL_OK) status = ql_path_join(s->spool, s->spool_dir, "data");
    if (status == QL_OK) status = ql_dir_create(s->spool_dir);
    if (status == QL_OK) status = ql_writer_open(s->spool, &s->writer);
    if (status != QL_OK) {
        ql_shard_abort(s);
        return status;
    }
    *out = s;
    return QL_OK;
}

void ql_shard_abort(ql_shard *s) {
    if (s == NULL) return;
    ql_writer_abort(s->writer);
    ql_host_free(s->entries);
    ql_arena_free(&s->names);
    ql_host_free(s);
}

static ql_status add(ql_shard *s, const entry *e) {
    void *items = s->entries;
    ql_status status = ql_host_grow(&items, &s->cap, s->count + 1, sizeof *s->entries);
    s->entries = items;
    if (status != QL_OK) return status;
    entry copy = *e;
    copy.name = ql_arena_strndup(&s->names, e->name, strlen(e->name));
    if (copy.name == NULL) return QL_NOMEM("names of stored tensors");
    s->entries[s->count++] = copy;
    return QL_OK;
}

ql_status ql_shard_entry(ql_shard *s, const char *name, ql_st_dtype dtype, int32_t dims,
                         const int64_t *shape) {
    entry e = {.name = name, .dtype = dtype, .dims = dims, .at = ql_writer_offset(s->writer)};
    if (dims < 0 || dims > QL_ST_MAX_DIMS)
        return QL_FAIL(QL_ERR_INVALID, "%s: %d dimensions", name, (int)dims);
    for (int32_t i = 0; i < dims; i++) e.shape[i] = shape[i];
    return add(s, &e);
}

ql_status ql_shard_append(ql_shard *s, const void *data, uint64_t bytes) {
    QL_TRY(ql_writer_write(s->writer, data, (size_t)bytes));
    s->entries[s->count - 1].bytes += bytes;
    return QL_OK;
}

ql_status ql_shard_mapped(ql_shard *s, const ql_st_tensor *t) {
    entry e = {.name = t->name, .dtype = t->dtype, .dims = t->dims, .data = t->data};
    for (int32_t i = 0; i < t->dims; i++) e.shape[i] = t->shape[i];
    e.bytes = t->bytes;
    return add(s, &e);
}

/* Place of a type in the package's order. */
static int rank(ql_st_dtype t) {
    static const uint8_t order[QL_ST_DTYPE_COUNT] = {
        [QL_ST_BOOL] = 0,    [QL_ST_U8] = 1,   [QL_ST_I8] = 2,   [QL_ST_F8_E5M2] = 3,
        [QL_ST_F8_E4M3] = 4, [QL_ST_I16] = 5,  [QL_ST_U16] = 6,  [QL_ST_F16] = 7,
        [QL_ST_BF16] = 8,    [QL_ST_I32] = 9,  [QL_ST_U32] = 10, [QL_ST_F32] = 11,
        [QL_ST_F64] = 12,    [QL_ST_I64] = 13, [QL_ST_U64] = 14};
    return order[t];
}

static int compare(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->dtype != b->dtype) return rank(b->dtype) - rank(a->dtype);
    return strcmp(a->name, b->name);
}

static ql_status write_file(const ql_shard *s, const ql_map *spool, uint64_t *bytes) {
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(s->path, &w));
    ql_status status = ql_st_writer_metadata(w, "format", "pt");
    uint64_t total = 0;
    for (size_t i = 0; status == QL_OK && i < s->count; i++) {
        const entry *e = &s->entries[i];
        status = ql_st_writer_declare(w, e->name, e->dtype, e->dims, e->shape);
        total += e->bytes;
    }
    for (size_t i = 0; status == QL_OK && i < s->count; i++) {
        const entry *e = &s->entries[i];
        const uint8_t *data = e->data != NULL ? e->data : spool->data + e->at;
        if (e->bytes > 0) status = ql_st_writer_data(w, data, e->bytes);
    }
    if (status != QL_OK) {
        ql_st_writer_abort(w);
        return status;
    }
    QL_TRY(ql_st_writer_commit(w));
    *bytes = total;
    return QL_OK;
}

ql_status ql_shard_commit(ql_shard *s, uint64_t *bytes) {
    ql_writer *spooled = s->writer;
    ql_map map = {0};
    s->writer = NULL;
    ql_status status = ql_writer_commit(spooled);
    if (status == QL_OK) status = ql_map_open(s->spool, &map);
    if (status == QL_OK) {
        if (s->count > 1) qsort(s->entries, s->count, sizeof *s->entries, compare);
        status = write_file(s, &map, bytes);
        ql_map_close(&map);
    }
    if (status == QL_OK) status = ql_dir_remove(s->spool_dir);
    ql_shard_abort(s);
    return status;
}
