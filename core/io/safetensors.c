/*
 * safetensors.c - element types and the reader of one mapped .safetensors file.
 *
 * What ql_st_open accepts, it has checked completely: after it every tensor's bytes lie inside the
 * map, tensors neither overlap nor leave holes (the format forbids both), and shape x type equals
 * the bytes. Data may be unaligned; elements are loaded by memcpy. Hosts are little-endian.
 */
#include "core/io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are read as they lie");

#define MAX_HEADER_BYTES (100u << 20)

/* -------------------------------------------------------------------- types */

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[QL_ST_DTYPE_COUNT] = {
    [QL_ST_BOOL] = {"BOOL", 1}, [QL_ST_U8] = {"U8", 1},           [QL_ST_I8] = {"I8", 1},
    [QL_ST_I16] = {"I16", 2},   [QL_ST_U16] = {"U16", 2},         [QL_ST_F16] = {"F16", 2},
    [QL_ST_BF16] = {"BF16", 2}, [QL_ST_I32] = {"I32", 4},         [QL_ST_U32] = {"U32", 4},
    [QL_ST_F32] = {"F32", 4},   [QL_ST_F64] = {"F64", 8},         [QL_ST_I64] = {"I64", 8},
    [QL_ST_U64] = {"U64", 8},   [QL_ST_F8_E4M3] = {"F8_E4M3", 1}, [QL_ST_F8_E5M2] = {"F8_E5M2", 1},
};

const char *ql_st_dtype_name(ql_st_dtype t) {
    return (unsigned)t < QL_ST_DTYPE_COUNT ? dtypes[t].name : "?";
}

uint32_t ql_st_dtype_bytes(ql_st_dtype t) {
    return (unsigned)t < QL_ST_DTYPE_COUNT ? dtypes[t].bytes : 0;
}

/* ------------------------------------------------------------------ opening */

struct ql_st_file {
    ql_map map;
    char *path;
    ql_arena arena; /* tensors and their names */
    ql_st_tensor *tensors;
    int64_t n;
    json_t *metadata; /* owned; NULL = none */
};

static ql_status bad(const ql_st_file *f, const char *name, const char *what) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%.200s' %s", f->path, name, what);
}

static ql_status parse_dtype(const ql_st_file *f, const json_t *entry, ql_st_tensor *t) {
    const char *s = json_string_value(json_object_get(entry, "dtype"));
    if (!s) return bad(f, t->name, "has no dtype text");
    for (int i = 0; i < QL_ST_DTYPE_COUNT; i++) {
        if (strcmp(s, dtypes[i].name) == 0) {
            t->dtype = (ql_st_dtype)i;
            return QL_OK;
        }
    }
    return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%.200s' has the unknown dtype '%.32s'", f->path,
                   t->name, s);
}

static ql_status parse_shape(const ql_st_file *f, const json_t *entry, ql_st_tensor *t) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape)) return bad(f, t->name, "has no shape list");
    size_t dims = json_array_size(shape);
    if (dims > QL_ST_MAX_DIMS) return bad(f, t->name, "has more than 8 dimensions");
    uint64_t numel = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0) {
            return bad(f, t->name, "has a dimension that is no integer >= 0");
        }
        t->shape[i] = json_integer_value(d);
        if (ql_mul_size(numel, (uint64_t)t->shape[i], &numel) != QL_OK || numel > INT64_MAX / 8) {
            return bad(f, t->name, "has a shape whose product overflows");
        }
    }
    t->dims = (int32_t)dims;
    t->numel = (int64_t)numel;
    return QL_OK;
}

/* data_offsets are relative to the data, which begins at `base`. */
static ql_status parse_range(const ql_st_file *f, const json_t *entry, uint64_t base,
                             ql_st_tensor *t) {
    const json_t *range = json_object_get(entry, "data_offsets");
    const json_t *from = json_array_get(range, 0), *to = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(from) || !json_is_integer(to)) {
        return bad(f, t->name, "has no data_offsets pair");
    }
    json_int_t a = json_integer_value(from), b = json_integer_value(to);
    uint64_t room = f->map.size - base;
    if (a < 0 || b < a || (uint64_t)b > room) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: tensor '%.200s' lies at %lld..%lld of %llu data bytes; the file is "
                       "damaged or cut short",
                       f->path, t->name, (long long)a, (long long)b, (unsigned long long)room);
    }
    t->offset = base + (uint64_t)a;
    t->bytes = (uint64_t)(b - a);
    t->data = f->map.data + t->offset;
    uint64_t want = (uint64_t)t->numel * dtypes[t->dtype].bytes;
    if (want != t->bytes) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: tensor '%.200s' needs %llu bytes for its shape, data_offsets give %llu",
                       f->path, t->name, (unsigned long long)want, (unsigned long long)t->bytes);
    }
    return QL_OK;
}

static int by_offset(const void *a, const void *b) {
    const ql_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b) {
    const ql_st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static ql_status check_layout(const ql_st_file *f, uint64_t base) {
    if (f->n > 1) qsort(f->tensors, (size_t)f->n, sizeof *f->tensors, by_offset);
    uint64_t at = base;
    for (int64_t i = 0; i < f->n; i++) {
        const ql_st_tensor *t = &f->tensors[i];
        if (t->offset < at) return bad(f, t->name, "overlaps the tensor before it");
        if (t->offset > at) return bad(f, t->name, "leaves a hole before its data");
        at += t->bytes;
    }
    if (at != f->map.size) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %llu bytes after the last tensor belong to nothing",
                       f->path, (unsigned long long)(f->map.size - at));
    }
    if (f->n > 1) qsort(f->tensors, (size_t)f->n, sizeof *f->tensors, by_name);
    return QL_OK;
}

static ql_status parse_tensors(ql_st_file *f, json_t *header, uint64_t base) {
    f->tensors = ql_arena_alloc(&f->arena, json_object_size(header), sizeof *f->tensors);
    if (!f->tensors) return QL_NOMEM(f->path);
    const char *key;
    json_t *entry;
    json_object_foreach(header, key, entry) {
        if (strcmp(key, "__metadata__") == 0) continue;
        ql_st_tensor *t = &f->tensors[f->n];
        t->name = ql_arena_strndup(&f->arena, key, strlen(key));
        if (!t->name) return QL_NOMEM(f->path);
        if (!json_is_object(entry)) return bad(f, key, "is not described by an object");
        QL_TRY(parse_dtype(f, entry, t));
        QL_TRY(parse_shape(f, entry, t));
        QL_TRY(parse_range(f, entry, base, t));
        f->n++;
    }
    return check_layout(f, base);
}

static ql_status take_metadata(ql_st_file *f, json_t *header) {
    json_t *m = json_object_get(header, "__metadata__");
    if (!m) return QL_OK;
    if (!json_is_object(m)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: __metadata__ is not an object", f->path);
    }
    const char *key;
    json_t *value;
    json_object_foreach(m, key, value) {
        if (!json_is_string(value)) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: __metadata__ '%.200s' is not a text", f->path, key);
        }
    }
    f->metadata = json_incref(m);
    return QL_OK;
}

static ql_status parse_file(ql_st_file *f) {
    uint64_t len;
    if (f->map.size < sizeof len) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %llu bytes are too few for a safetensors file", f->path,
                       (unsigned long long)f->map.size);
    }
    memcpy(&len, f->map.data, sizeof len);
    if (len > MAX_HEADER_BYTES || len > f->map.size - sizeof len) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: header of %llu bytes in a file of %llu; it is no safetensors file or "
                       "it is cut short",
                       f->path, (unsigned long long)len, (unsigned long long)f->map.size);
    }
    json_t *header = NULL;
    QL_TRY(ql_json_parse((const char *)f->map.data + sizeof len, (size_t)len, f->path, &header));
    ql_status s = QL_OK;
    if (!json_is_object(header)) {
        s = QL_FAIL(QL_ERR_FORMAT, "%s: the header is not an object", f->path);
    }
    if (s == QL_OK) s = take_metadata(f, header);
    if (s == QL_OK) s = parse_tensors(f, header, sizeof len + len);
    json_decref(header);
    return s;
}

ql_status ql_st_open(const char *path, ql_st_file **out) {
    ql_st_file *f = ql_host_calloc(1, sizeof *f);
    if (!f) return QL_NOMEM(path);
    f->path = ql_host_strdup(path);
    ql_status s = f->path ? ql_map_open(path, &f->map) : QL_NOMEM(path);
    if (s == QL_OK) s = parse_file(f);
    if (s != QL_OK) {
        ql_st_close(f);
        return s;
    }
    *out = f;
    return QL_OK;
}

void ql_st_close(ql_st_file *f) {
    if (!f) return;
    json_decref(f->metadata);
    ql_map_close(&f->map);
    ql_arena_free(&f->arena);
    ql_host_free(f->path);
    ql_host_free(f);
}

/* ------------------------------------------------------------------- access */

int64_t ql_st_count(const ql_st_file *f) {
    return f->n;
}

const ql_st_tensor *ql_st_at(const ql_st_file *f, int64_t i) {
    return i >= 0 && i < f->n ? &f->tensors[i] : NULL;
}

const ql_st_tensor *ql_st_find(const ql_st_file *f, const char *name) {
    ql_st_tensor key = {.name = name};
    return f->n ? bsearch(&key, f->tensors, (size_t)f->n, sizeof *f->tensors, by_name) : NULL;
}

const char *ql_st_metadata(const ql_st_file *f, const char *key) {
    return json_string_value(json_object_get(f->metadata, key));
}

const ql_map *ql_st_map(const ql_st_file *f) {
    return &f->map;
}

const char *ql_st_path(const ql_st_file *f) {
    return f->path;
}

/* ----------------------------------------------------------------- elements */

static ql_status check_range(const ql_st_tensor *t, int64_t first, int64_t n) {
    if (first >= 0 && n >= 0 && first <= t->numel && n <= t->numel - first) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "tensor '%.200s': elements %lld + %lld asked, it has %lld",
                   t->name, (long long)first, (long long)n, (long long)t->numel);
}

/* Eight bits, bias 7, no infinities, S.1111.111 = NaN (OCP FP8, table 1). */
static float f32_from_e4m3(uint8_t b) {
    uint32_t e = (b >> 3) & 15u, m = b & 7u;
    float x = e ? ldexpf((float)(8u + m), (int)e - 10) : ldexpf((float)m, -9);
    if ((b & 0x7Fu) == 0x7Fu) x = NAN;
    return b & 0x80u ? -x : x;
}

/* One loop per type: `load` reads the i-th element p[i] as type T, `conv` makes it a float. */
#define CONVERT(T, conv)                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                              \
        T v;                                                                                       \
        memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                            \
        out[i] = (conv);                                                                           \
    }                                                                                              \
    return QL_OK

ql_status ql_st_read_f32(const ql_st_tensor *t, int64_t first, int64_t n, float *out) {
    QL_TRY(check_range(t, first, n));
    const uint8_t *p = t->data + (uint64_t)first * dtypes[t->dtype].bytes;
    switch (t->dtype) {
    case QL_ST_F32: CONVERT(float, v);
    case QL_ST_BF16: CONVERT(uint16_t, ql_f32_from_bf16(v));
    case QL_ST_F16: CONVERT(uint16_t, ql_f32_from_f16(v));
    case QL_ST_F64: CONVERT(double, (float)v);
    case QL_ST_F8_E4M3: CONVERT(uint8_t, f32_from_e4m3(v));
    case QL_ST_F8_E5M2: CONVERT(uint8_t, ql_f32_from_f16((uint16_t)(v << 8)));
    case QL_ST_BOOL: CONVERT(uint8_t, v ? 1.0f : 0.0f);
    case QL_ST_U8: CONVERT(uint8_t, (float)v);
    case QL_ST_I8: CONVERT(int8_t, (float)v);
    case QL_ST_I16: CONVERT(int16_t, (float)v);
    case QL_ST_U16: CONVERT(uint16_t, (float)v);
    case QL_ST_I32: CONVERT(int32_t, (float)v);
    case QL_ST_U32: CONVERT(uint32_t, (float)v);
    case QL_ST_I64: CONVERT(int64_t, (float)v);
    case QL_ST_U64: CONVERT(uint64_t, (float)v);
    case QL_ST_DTYPE_COUNT: break;
    }
    return QL_FAIL(QL_ERR_DTYPE, "tensor '%.200s': unknown element type", t->name);
}

ql_status ql_st_read_i64(const ql_st_tensor *t, int64_t first, int64_t n, int64_t *out) {
    QL_TRY(check_range(t, first, n));
    const uint8_t *p = t->data + (uint64_t)first * dtypes[t->dtype].bytes;
    switch (t->dtype) {
    case QL_ST_BOOL: CONVERT(uint8_t, v != 0);
    case QL_ST_U8: CONVERT(uint8_t, v);
    case QL_ST_I8: CONVERT(int8_t, v);
    case QL_ST_I16: CONVERT(int16_t, v);
    case QL_ST_U16: CONVERT(uint16_t, v);
    case QL_ST_I32: CONVERT(int32_t, v);
    case QL_ST_U32: CONVERT(uint32_t, v);
    case QL_ST_I64: CONVERT(int64_t, v);
    default: break;
    }
    return QL_FAIL(QL_ERR_DTYPE, "tensor '%.200s' holds %s, integers of at most 64 bits expected",
                   t->name, ql_st_dtype_name(t->dtype));
}
