/*
 * gguf_values.c - parsing and typed access of GGUF's key/value pairs.
 *
 * Arrays of strings get a table of their elements, so access is O(1); all else stays in the map.
 * Arrays of arrays occur in no model file and are refused.
 */
#include "core/io/gguf_values.h"

#include <stdlib.h>
#include <string.h>

enum { /* GGUF's numbers of value types */
       GV_U8 = 0,
       GV_I8 = 1,
       GV_U16 = 2,
       GV_I16 = 3,
       GV_U32 = 4,
       GV_I32 = 5,
       GV_F32 = 6,
       GV_BOOL = 7,
       GV_STRING = 8,
       GV_ARRAY = 9,
       GV_U64 = 10,
       GV_I64 = 11,
       GV_F64 = 12,
       GV_COUNT
};

#define MAX_KEY_BYTES 65535

static const struct {
    const char *name;
    uint32_t bytes; /* 0 = not of fixed size */
} value_types[GV_COUNT] = {
    [GV_U8] = {"u8", 1},       [GV_I8] = {"i8", 1},     [GV_U16] = {"u16", 2},
    [GV_I16] = {"i16", 2},     [GV_U32] = {"u32", 4},   [GV_I32] = {"i32", 4},
    [GV_F32] = {"f32", 4},     [GV_BOOL] = {"bool", 1}, [GV_STRING] = {"string", 0},
    [GV_ARRAY] = {"array", 0}, [GV_U64] = {"u64", 8},   [GV_I64] = {"i64", 8},
    [GV_F64] = {"f64", 8},
};

/* ------------------------------------------------------------------- cursor */

ql_status ql_gguf_take(ql_gguf_cursor *c, uint64_t n, const uint8_t **out) {
    if (n > c->size - c->at) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: %llu bytes expected at offset %llu, the file has %llu; it is damaged "
                       "or cut short",
                       c->path, (unsigned long long)n, (unsigned long long)c->at,
                       (unsigned long long)c->size);
    }
    *out = c->data + c->at;
    c->at += n;
    return QL_OK;
}

ql_status ql_gguf_take_u32(ql_gguf_cursor *c, uint32_t *out) {
    const uint8_t *p = NULL;
    QL_TRY(ql_gguf_take(c, sizeof *out, &p));
    memcpy(out, p, sizeof *out);
    return QL_OK;
}

ql_status ql_gguf_take_u64(ql_gguf_cursor *c, uint64_t *out) {
    const uint8_t *p = NULL;
    QL_TRY(ql_gguf_take(c, sizeof *out, &p));
    memcpy(out, p, sizeof *out);
    return QL_OK;
}

ql_status ql_gguf_take_str(ql_gguf_cursor *c, ql_str *out) {
    uint64_t len = 0;
    const uint8_t *p = NULL;
    QL_TRY(ql_gguf_take_u64(c, &len));
    QL_TRY(ql_gguf_take(c, len, &p));
    *out = (ql_str){(const char *)p, len};
    return QL_OK;
}

ql_status ql_gguf_take_name(ql_gguf_cursor *c, ql_arena *a, uint64_t max, const char **out) {
    uint64_t at = c->at;
    ql_str s;
    QL_TRY(ql_gguf_take_str(c, &s));
    if (s.len == 0 || s.len > max || memchr(s.s, '\0', (size_t)s.len)) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the name at offset %llu has %llu bytes, 1 to %llu "
                       "without NUL expected",
                       c->path, (unsigned long long)at, (unsigned long long)s.len,
                       (unsigned long long)max);
    }
    *out = ql_arena_strndup(a, s.s, (size_t)s.len);
    return *out ? QL_OK : QL_NOMEM(c->path);
}

/* ------------------------------------------------------------------ parsing */

static ql_status too_long(const ql_gguf_cursor *c, const ql_gguf_value *v) {
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: '%.200s' claims %llu elements of type %s, the file ends before", c->path,
                   v->key, (unsigned long long)v->count, value_types[v->type].name);
}

static ql_status read_strings(ql_gguf_cursor *c, ql_arena *a, ql_gguf_value *v) {
    if (v->count > (c->size - c->at) / sizeof(uint64_t)) return too_long(c, v);
    ql_str *strings = ql_arena_alloc(a, (size_t)v->count, sizeof *strings);
    if (!strings) return QL_NOMEM(c->path);
    for (uint64_t i = 0; i < v->count; i++) QL_TRY(ql_gguf_take_str(c, &strings[i]));
    v->string = strings;
    return QL_OK;
}

static ql_status read_value(ql_gguf_cursor *c, ql_arena *a, ql_gguf_value *v) {
    QL_TRY(ql_gguf_take_name(c, a, MAX_KEY_BYTES, &v->key));
    QL_TRY(ql_gguf_take_u32(c, &v->type));
    v->count = 1;
    v->is_array = v->type == GV_ARRAY;
    if (v->is_array) {
        QL_TRY(ql_gguf_take_u32(c, &v->type));
        QL_TRY(ql_gguf_take_u64(c, &v->count));
    }
    if (v->type >= GV_COUNT || v->type == GV_ARRAY) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%.200s' has the unknown value type %u%s", c->path,
                       v->key, v->type, v->type == GV_ARRAY ? " (array of arrays)" : "");
    }
    if (v->type == GV_STRING) return read_strings(c, a, v);
    uint64_t bytes = value_types[v->type].bytes;
    if (v->count > (c->size - c->at) / bytes) return too_long(c, v);
    return ql_gguf_take(c, v->count * bytes, &v->data);
}

static int by_key(const void *a, const void *b) {
    const ql_gguf_value *x = a, *y = b;
    return strcmp(x->key, y->key);
}

ql_status ql_gguf_read_values(ql_gguf_cursor *c, ql_arena *a, uint64_t n, ql_gguf_values *out) {
    ql_gguf_values v = {.path = c->path, .n = n};
    v.values = ql_arena_alloc(a, (size_t)n, sizeof *v.values);
    if (!v.values) return QL_NOMEM(c->path);
    for (uint64_t i = 0; i < n; i++) QL_TRY(read_value(c, a, &v.values[i]));
    if (n > 1) qsort(v.values, (size_t)n, sizeof *v.values, by_key);
    for (uint64_t i = 1; i < n; i++) {
        if (by_key(&v.values[i - 1], &v.values[i]) == 0) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: the key '%.200s' appears twice", c->path,
                           v.values[i].key);
        }
    }
    *out = v;
    return QL_OK;
}

/* ------------------------------------------------------------------- access */

static const ql_gguf_value *value_find(const ql_gguf *g, const char *key) {
    const ql_gguf_values *v = ql_gguf_all_values(g);
    ql_gguf_value want = {.key = key};
    return v->n ? bsearch(&want, v->values, (size_t)v->n, sizeof want, by_key) : NULL;
}

static ql_status wrong_type(const ql_gguf *g, const ql_gguf_value *v, const char *want) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be %s, it is %s%s", ql_gguf_all_values(g)->path,
                   v->key, want, v->is_array ? "an array of " : "", value_types[v->type].name);
}

/* Element i of v as an integer of 64 bits; false: another type, or beyond INT64_MAX. */
static bool integer_at(const ql_gguf_value *v, uint64_t i, int64_t *out) {
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } x;
    uint32_t bytes = value_types[v->type].bytes;
    if (!v->data) return false;
    memcpy(&x, v->data + i * bytes, bytes);
    switch (v->type) {
    case GV_U8: *out = x.u8; return true;
    case GV_I8: *out = x.i8; return true;
    case GV_U16: *out = x.u16; return true;
    case GV_I16: *out = x.i16; return true;
    case GV_U32: *out = x.u32; return true;
    case GV_I32: *out = x.i32; return true;
    case GV_U64: *out = (int64_t)x.u64; return x.u64 <= INT64_MAX;
    case GV_I64: *out = x.i64; return true;
    default: return false;
    }
}

static bool real_at(const ql_gguf_value *v, uint64_t i, double *out) {
    int64_t integer;
    if (v->type == GV_F32) {
        float x;
        memcpy(&x, v->data + i * sizeof x, sizeof x);
        *out = x;
        return true;
    }
    if (v->type == GV_F64) {
        memcpy(out, v->data + i * sizeof *out, sizeof *out);
        return true;
    }
    if (!integer_at(v, i, &integer)) return false;
    *out = (double)integer;
    return true;
}

bool ql_gguf_has(const ql_gguf *g, const char *key) {
    return value_find(g, key) != NULL;
}

ql_status ql_gguf_get_i64(const ql_gguf *g, const char *key, int64_t *out) {
    const ql_gguf_value *v = value_find(g, key);
    if (!v) return QL_OK;
    int64_t x;
    if (v->is_array || !integer_at(v, 0, &x)) return wrong_type(g, v, "an integer below 2^63");
    *out = x;
    return QL_OK;
}

ql_status ql_gguf_get_f64(const ql_gguf *g, const char *key, double *out) {
    const ql_gguf_value *v = value_find(g, key);
    if (!v) return QL_OK;
    double x;
    if (v->is_array || !real_at(v, 0, &x)) return wrong_type(g, v, "a number");
    *out = x;
    return QL_OK;
}

ql_status ql_gguf_get_bool(const ql_gguf *g, const char *key, bool *out) {
    const ql_gguf_value *v = value_find(g, key);
    if (!v) return QL_OK;
    if (v->is_array || v->type != GV_BOOL) return wrong_type(g, v, "a bool");
    *out = v->data[0] != 0;
    return QL_OK;
}

ql_status ql_gguf_get_str(const ql_gguf *g, const char *key, ql_str *out) {
    const ql_gguf_value *v = value_find(g, key);
    if (!v) return QL_OK;
    if (v->is_array || v->type != GV_STRING) return wrong_type(g, v, "a string");
    *out = v->string[0];
    return QL_OK;
}

int64_t ql_gguf_array_len(const ql_gguf *g, const char *key) {
    const ql_gguf_value *v = value_find(g, key);
    return v && v->is_array ? (int64_t)v->count : -1;
}

/* Array `key`, with i inside it. */
static ql_status array_at(const ql_gguf *g, const char *key, int64_t i, const ql_gguf_value **out) {
    const char *path = ql_gguf_all_values(g)->path;
    const ql_gguf_value *v = value_find(g, key);
    if (!v) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: the array '%s' is missing", path, key);
    if (!v->is_array) return wrong_type(g, v, "an array");
    if (i < 0 || (uint64_t)i >= v->count) {
        return QL_FAIL(QL_ERR_INVALID, "%s: element %lld of '%s' asked, it has %llu", path,
                       (long long)i, key, (unsigned long long)v->count);
    }
    *out = v;
    return QL_OK;
}

ql_status ql_gguf_array_str(const ql_gguf *g, const char *key, int64_t i, ql_str *out) {
    const ql_gguf_value *v = NULL;
    QL_TRY(array_at(g, key, i, &v));
    if (v->type != GV_STRING) return wrong_type(g, v, "an array of strings");
    *out = v->string[i];
    return QL_OK;
}

ql_status ql_gguf_array_f64(const ql_gguf *g, const char *key, int64_t i, double *out) {
    const ql_gguf_value *v = NULL;
    QL_TRY(array_at(g, key, i, &v));
    double x;
    if (!real_at(v, (uint64_t)i, &x)) return wrong_type(g, v, "an array of numbers");
    *out = x;
    return QL_OK;
}

ql_status ql_gguf_array_i64(const ql_gguf *g, const char *key, int64_t i, int64_t *out) {
    const ql_gguf_value *v = NULL;
    QL_TRY(array_at(g, key, i, &v));
    int64_t x;
    if (!integer_at(v, (uint64_t)i, &x)) return wrong_type(g, v, "an array of integers");
    *out = x;
    return QL_OK;
}

ql_status ql_gguf_array_bool(const ql_gguf *g, const char *key, int64_t i, bool *out) {
    const ql_gguf_value *v = NULL;
    QL_TRY(array_at(g, key, i, &v));
    if (v->type != GV_BOOL) return wrong_type(g, v, "an array of bools");
    *out = v->data[i] != 0;
    return QL_OK;
}
