/*
 * gguf.c - opening a GGUF file: header, key/value pairs, tensor table, layout.
 *
 * After ql_gguf_open every tensor's blocks lie inside the map at an aligned offset, and no two
 * tensors overlap. A tensor of a type that cannot be decoded refuses the file by name.
 */
#include "core/io/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/io/gguf_blocks.h"
#include "core/io/gguf_values.h"

#define GGUF_MAGIC        0x46554747u /* "GGUF" */
#define DEFAULT_ALIGNMENT 32
#define MAX_ALIGNMENT     (1 << 20)
#define MAX_KEYS          65536
#define MAX_TENSORS       (1u << 20)
#define MAX_NAME_BYTES    1024
#define MAX_DIMS          4

struct ql_gguf {
    ql_map map;
    char *path;
    ql_arena arena; /* names, values, tensors */
    ql_gguf_values values;
    ql_gguf_tensor *tensors; /* sorted by name */
    int64_t n;
};

const ql_gguf_values *ql_gguf_all_values(const ql_gguf *g) {
    return &g->values;
}

static ql_status bad(const ql_gguf *g, const ql_gguf_tensor *t, const char *what) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%.200s' %s", g->path, t->name, what);
}

static ql_status read_header(const ql_gguf *g, ql_gguf_cursor *c, uint64_t *tensors,
                             uint64_t *keys) {
    uint32_t magic = 0, version = 0;
    QL_TRY(ql_gguf_take_u32(c, &magic));
    if (magic != GGUF_MAGIC) return QL_FAIL(QL_ERR_FORMAT, "%s: no GGUF file", g->path);
    QL_TRY(ql_gguf_take_u32(c, &version));
    if (version != 2 && version != 3) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: GGUF version %u%s, versions 2 and 3 are read",
                       g->path, version, version & 0xFFFFu ? "" : " (a big-endian file)");
    }
    QL_TRY(ql_gguf_take_u64(c, tensors));
    QL_TRY(ql_gguf_take_u64(c, keys));
    if (*tensors > MAX_TENSORS || *keys > MAX_KEYS) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %llu tensors and %llu keys, at most %u and %u expected",
                       g->path, (unsigned long long)*tensors, (unsigned long long)*keys,
                       MAX_TENSORS, MAX_KEYS);
    }
    return QL_OK;
}

/* dims u32, shape u64[dims]; rows = all but the first, bytes = whole blocks per row. */
static ql_status read_shape(const ql_gguf *g, ql_gguf_cursor *c, ql_gguf_tensor *t) {
    uint32_t dims = 0;
    QL_TRY(ql_gguf_take_u32(c, &dims));
    if (dims < 1 || dims > MAX_DIMS) return bad(g, t, "does not have 1 to 4 dimensions");
    uint64_t numel = 1, rows = 1;
    for (uint32_t i = 0; i < dims; i++) {
        uint64_t d = 0;
        QL_TRY(ql_gguf_take_u64(c, &d));
        if (d == 0 || d > INT64_MAX || ql_mul_size(numel, d, &numel) != QL_OK ||
            numel > INT64_MAX / 8) {
            return bad(g, t, "has a dimension of 0, or a shape whose product overflows");
        }
        t->shape[i] = (int64_t)d;
        if (i > 0) rows *= d;
    }
    for (uint32_t i = dims; i < MAX_DIMS; i++) t->shape[i] = 1;
    t->dims = (int32_t)dims;
    t->cols = t->shape[0];
    t->rows = (int64_t)rows;
    return QL_OK;
}

static ql_status read_type(const ql_gguf *g, ql_gguf_cursor *c, ql_gguf_tensor *t) {
    uint32_t type = 0;
    QL_TRY(ql_gguf_take_u32(c, &type));
    t->type = (ql_gguf_type)type;
    if (type > INT32_MAX || !ql_gguf_type_name(t->type)) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: tensor '%.200s' has GGML type %u; F32, F16, BF16, Q4_0, Q4_1, Q5_0, "
                       "Q5_1, Q8_0 and Q2_K to Q6_K are read",
                       g->path, t->name, type);
    }
    int64_t elems = ql_gguf_block_elems(t->type);
    if (t->cols % elems != 0) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: tensor '%.200s' has rows of %lld elements, %s needs a multiple of %lld",
                       g->path, t->name, (long long)t->cols, ql_gguf_type_name(t->type),
                       (long long)elems);
    }
    t->bytes = (uint64_t)(t->rows * (t->cols / elems)) * (uint64_t)ql_gguf_block_bytes(t->type);
    return QL_OK;
}

static int by_offset(const void *a, const void *b) {
    const ql_gguf_tensor *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int by_name(const void *a, const void *b) {
    const ql_gguf_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Offsets of the table are relative to `base`; makes them absolute and checks the layout. */
static ql_status place_tensors(ql_gguf *g, uint64_t base, uint64_t alignment) {
    uint64_t room = g->map.size > base ? g->map.size - base : 0;
    for (int64_t i = 0; i < g->n; i++) {
        ql_gguf_tensor *t = &g->tensors[i];
        if (t->offset % alignment != 0) return bad(g, t, "lies at an unaligned offset");
        if (t->offset > room || t->bytes > room - t->offset) {
            return QL_FAIL(QL_ERR_FORMAT,
                           "%s: tensor '%.200s' of %llu bytes at %llu goes past the file's end; "
                           "the file is damaged or cut short",
                           g->path, t->name, (unsigned long long)t->bytes,
                           (unsigned long long)(t->offset));
        }
        t->offset += base;
        t->data = g->map.data + t->offset;
    }
    if (g->n > 1) qsort(g->tensors, (size_t)g->n, sizeof *g->tensors, by_offset);
    for (int64_t i = 1; i < g->n; i++) {
        const ql_gguf_tensor *before = &g->tensors[i - 1];
        if (g->tensors[i].offset < before->offset + before->bytes) {
            return bad(g, &g->tensors[i], "overlaps the tensor before it");
        }
    }
    if (g->n > 1) qsort(g->tensors, (size_t)g->n, sizeof *g->tensors, by_name);
    for (int64_t i = 1; i < g->n; i++) {
        if (by_name(&g->tensors[i - 1], &g->tensors[i]) == 0) {
            return bad(g, &g->tensors[i], "appears twice");
        }
    }
    return QL_OK;
}

static ql_status read_alignment(const ql_gguf *g, uint64_t *out) {
    int64_t a = DEFAULT_ALIGNMENT;
    QL_TRY(ql_gguf_get_i64(g, "general.alignment", &a));
    if (a < 1 || a > MAX_ALIGNMENT || (a & (a - 1)) != 0) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: general.alignment is %lld, a power of two expected",
                       g->path, (long long)a);
    }
    *out = (uint64_t)a;
    return QL_OK;
}

static ql_status parse_file(ql_gguf *g) {
    ql_gguf_cursor c = {.path = g->path, .data = g->map.data, .size = g->map.size};
    uint64_t n = 0, keys = 0, alignment = 0;
    QL_TRY(read_header(g, &c, &n, &keys));
    QL_TRY(ql_gguf_read_values(&c, &g->arena, keys, &g->values));
    QL_TRY(read_alignment(g, &alignment));
    g->tensors = ql_arena_alloc(&g->arena, (size_t)n, sizeof *g->tensors);
    if (!g->tensors) return QL_NOMEM(g->path);
    for (; (uint64_t)g->n < n; g->n++) {
        ql_gguf_tensor *t = &g->tensors[g->n];
        QL_TRY(ql_gguf_take_name(&c, &g->arena, MAX_NAME_BYTES, &t->name));
        QL_TRY(read_shape(g, &c, t));
        QL_TRY(read_type(g, &c, t));
        QL_TRY(ql_gguf_take_u64(&c, &t->offset));
    }
    return place_tensors(g, (c.at + alignment - 1) / alignment * alignment, alignment);
}

ql_status ql_gguf_open(const char *path, ql_gguf **out) {
    ql_gguf *g = ql_host_calloc(1, sizeof *g);
    if (!g) return QL_NOMEM(path);
    g->path = ql_host_strdup(path);
    ql_status s = g->path ? ql_map_open(path, &g->map) : QL_NOMEM(path);
    if (s == QL_OK) s = parse_file(g);
    if (s != QL_OK) {
        ql_gguf_close(g);
        return s;
    }
    *out = g;
    return QL_OK;
}

void ql_gguf_close(ql_gguf *g) {
    if (!g) return;
    ql_map_close(&g->map);
    ql_arena_free(&g->arena);
    ql_host_free(g->path);
    ql_host_free(g);
}

int64_t ql_gguf_count(const ql_gguf *g) {
    return g->n;
}

const ql_gguf_tensor *ql_gguf_at(const ql_gguf *g, int64_t i) {
    return i >= 0 && i < g->n ? &g->tensors[i] : NULL;
}

const ql_gguf_tensor *ql_gguf_find(const ql_gguf *g, const char *name) {
    ql_gguf_tensor key = {.name = name};
    return g->n ? bsearch(&key, g->tensors, (size_t)g->n, sizeof key, by_name) : NULL;
}

const ql_map *ql_gguf_map(const ql_gguf *g) {
    return &g->map;
}

ql_status ql_gguf_read_row(const ql_gguf_tensor *t, int64_t row, float *out) {
    if (row < 0 || row >= t->rows) {
        return QL_FAIL(QL_ERR_INVALID, "tensor '%.200s': row %lld asked, it has %lld", t->name,
                       (long long)row, (long long)t->rows);
    }
    int64_t blocks = t->cols / ql_gguf_block_elems(t->type);
    ql_gguf_decode(t->type, t->data + row * blocks * ql_gguf_block_bytes(t->type), blocks, out);
    return QL_OK;
}
