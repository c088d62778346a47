/*
 * safetensors_write.c - the writer: a declared header, then data in the declared order.
 *
 * The header is written when the first data arrives (or at commit), so it must be complete by
 * then. Bytes are counted against the declaration; commit refuses a file with too few.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/io/safetensors.h"

#define HEADER_ALIGN 8

struct ql_st_writer {
    ql_writer *file;
    char *path;
    json_t *header;
    uint64_t declared, written; /* bytes of data */
    bool begun;                 /* the header is on its way to the disk */
};

ql_status ql_st_writer_create(const char *path, ql_st_writer **out) {
    ql_st_writer *w = ql_host_calloc(1, sizeof *w);
    if (!w) return QL_NOMEM(path);
    w->path = ql_host_strdup(path);
    w->header = json_object();
    ql_status s = w->path && w->header ? ql_writer_open(path, &w->file) : QL_NOMEM(path);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    *out = w;
    return QL_OK;
}

void ql_st_writer_abort(ql_st_writer *w) {
    if (!w) return;
    ql_writer_abort(w->file);
    json_decref(w->header);
    ql_host_free(w->path);
    ql_host_free(w);
}

static ql_status must_be_open(const ql_st_writer *w, const char *name) {
    if (!w->begun) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "%s: '%.200s' is declared after the first data", w->path, name);
}

ql_status ql_st_writer_metadata(ql_st_writer *w, const char *key, const char *value) {
    QL_TRY(must_be_open(w, key));
    json_t *m = json_object_get(w->header, "__metadata__");
    if (!m) {
        m = json_object();
        if (json_object_set_new(w->header, "__metadata__", m) != 0) return QL_NOMEM(w->path);
    }
    if (json_object_set_new(m, key, json_string(value)) != 0) {
        return QL_FAIL(QL_ERR_INVALID, "%s: metadata '%.200s' is not valid UTF-8", w->path, key);
    }
    return QL_OK;
}

/* bytes = shape x type; dims 0 is one element. */
static ql_status declared_bytes(const ql_st_writer *w, const char *name, ql_st_dtype dtype,
                                int32_t dims, const int64_t *shape, uint64_t *bytes) {
    uint64_t n = ql_st_dtype_bytes(dtype);
    if (n == 0 || dims < 0 || dims > QL_ST_MAX_DIMS) {
        return QL_FAIL(QL_ERR_INVALID, "%s: '%.200s' has an unknown type or %d dimensions", w->path,
                       name, dims);
    }
    for (int32_t i = 0; i < dims; i++) {
        if (shape[i] < 0) {
            return QL_FAIL(QL_ERR_INVALID, "%s: '%.200s' has a negative dimension", w->path, name);
        }
        QL_TRY(ql_mul_size(n, (uint64_t)shape[i], &n));
    }
    *bytes = n;
    return QL_OK;
}

static json_t *shape_list(int32_t dims, const int64_t *shape) {
    json_t *a = json_array();
    for (int32_t i = 0; a && i < dims; i++) {
        if (json_array_append_new(a, json_integer(shape[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

ql_status ql_st_writer_declare(ql_st_writer *w, const char *name, ql_st_dtype dtype, int32_t dims,
                               const int64_t *shape) {
    QL_TRY(must_be_open(w, name));
    if (strcmp(name, "__metadata__") == 0 || json_object_get(w->header, name)) {
        return QL_FAIL(QL_ERR_INVALID, "%s: '%.200s' is declared twice", w->path, name);
    }
    uint64_t bytes = 0, end = 0;
    QL_TRY(declared_bytes(w, name, dtype, dims, shape, &bytes));
    QL_TRY(ql_add_size(w->declared, bytes, &end));
    if (end > INT64_MAX) return QL_FAIL(QL_ERR_INVALID, "%s: more than 2^63 bytes", w->path);
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", ql_st_dtype_name(dtype), "shape",
                              shape_list(dims, shape), "data_offsets", (json_int_t)w->declared,
                              (json_int_t)end);
    if (!entry) return QL_NOMEM(w->path);
    if (json_object_set_new(w->header, name, entry) != 0) {
        return QL_FAIL(QL_ERR_INVALID, "%s: a tensor's name is not valid UTF-8", w->path);
    }
    w->declared = end;
    return QL_OK;
}

/* The header's text; grows as jansson writes it. */
typedef struct text_buffer {
    void *text;
    size_t cap, len;
} text_buffer;

static int append_text(const char *piece, size_t size, void *data) {
    text_buffer *b = data;
    if (ql_host_grow(&b->text, &b->cap, b->len + size + HEADER_ALIGN, 1) != QL_OK) return -1;
    memcpy((char *)b->text + b->len, piece, size);
    b->len += size;
    return 0;
}

static ql_status begin_data(ql_st_writer *w) {
    if (w->begun) return QL_OK;
    text_buffer b = {0};
    ql_status s = QL_OK;
    if (json_dump_callback(w->header, append_text, &b, JSON_COMPACT) != 0) s = QL_NOMEM(w->path);
    if (s == QL_OK) {
        for (; b.len % HEADER_ALIGN; b.len++) ((char *)b.text)[b.len] = ' ';
        uint64_t len = b.len;
        s = ql_writer_write(w->file, &len, sizeof len);
    }
    if (s == QL_OK) s = ql_writer_write(w->file, b.text, b.len);
    ql_host_free(b.text);
    w->begun = true;
    return s;
}

ql_status ql_st_writer_data(ql_st_writer *w, const void *data, uint64_t bytes) {
    if (bytes > w->declared - w->written) {
        return QL_FAIL(QL_ERR_INVALID, "%s: %llu bytes of data, %llu were declared", w->path,
                       (unsigned long long)(w->written + bytes), (unsigned long long)w->declared);
    }
    QL_TRY(begin_data(w));
    QL_TRY(ql_writer_write(w->file, data, (size_t)bytes));
    w->written += bytes;
    return QL_OK;
}

ql_status ql_st_writer_commit(ql_st_writer *w) {
    ql_status s = QL_OK;
    if (w->written != w->declared) {
        s = QL_FAIL(QL_ERR_INVALID, "%s: %llu bytes of data written, %llu were declared", w->path,
                    (unsigned long long)w->written, (unsigned long long)w->declared);
    }
    if (s == QL_OK) s = begin_data(w);
    if (s == QL_OK) {
        ql_writer *file = w->file;
        w->file = NULL;
        s = ql_writer_commit(file);
    }
    ql_st_writer_abort(w);
    return s;
}
