/*
 * stored.c - a quantized weight out of a model's files: bitsandbytes 4-bit, LLM.int8, our own
 * container, GGUF blocks.
 *
 * Everything is hostile: the text decides the shape, every array must have exactly the size that
 * follows from it, scales and tables must be finite. Float arrays that a file holds at an odd
 * address are copied into the tensor's arena; codes are always borrowed, unless GGUF's rotated q
 * and k rows have to be put in order.
 */
#include "core/quant/stored.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/half.h"
#include "core/quant/blob.h"
#include "core/quant/keys.h"

enum { TEXT_LIMIT = 1 << 16 };

typedef struct opening {
    const ql_source *s;
    const char *name; /* "P.weight" */
    ql_qtensor q;
} opening;

static ql_status bad(const opening *o, const char *part, const char *what) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: %s%s: %s", ql_source_path(o->s), o->name, part, what);
}

/* Index of the first tensor whose name is not below `name`. */
static int64_t lower_bound(const ql_source *s, const char *name) {
    int64_t lo = 0, hi = ql_source_count(s);
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (strcmp(ql_source_at(s, mid)->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Number of entries NAME.quant_state.*; *out is the last of them. */
static int find_state(const ql_source *s, const char *name, const ql_source_tensor **out) {
    char prefix[QL_KEY_MAX];
    if (!ql_key_join(prefix, name, QL_KEY_STATE)) return 0;
    int count = 0;
    for (int64_t i = lower_bound(s, prefix); i < ql_source_count(s); i++) {
        const ql_source_tensor *t = ql_source_at(s, i);
        if (strncmp(t->name, prefix, strlen(prefix)) != 0) break;
        *out = t;
        count++;
    }
    return count;
}

/* The tensor NAME + part of a folder; NULL when absent. */
static const ql_st_tensor *find_part(const ql_source *s, const char *name, const char *part) {
    char key[QL_KEY_MAX];
    if (!ql_key_join(key, name, part)) return NULL;
    const ql_source_tensor *t = ql_source_find(s, key);
    return t != NULL ? t->st : NULL;
}

static const ql_st_tensor *find_scb(const ql_source *s, const char *name) {
    char key[QL_KEY_MAX];
    if (!ql_key_scb(key, name)) return NULL;
    const ql_source_tensor *t = ql_source_find(s, key);
    return t != NULL ? t->st : NULL;
}

bool ql_stored_is_quantized(const ql_source *s, const char *name) {
    const ql_source_tensor *t = ql_source_find(s, name), *state = NULL;
    if (t == NULL) return false;
    if (t->gguf != NULL) return t->dims == 2 && ql_gguf_trainable(t->gguf->type) != QL_GGML_NONE;
    if (t->st->dtype == QL_ST_I8 && find_scb(s, name) != NULL) return true;
    return find_state(s, name, &state) > 0;
}

bool ql_stored_is_part(const ql_source *s, const char *name) {
    char base[QL_KEY_MAX];
    return ql_key_base(base, name) && ql_stored_is_quantized(s, base);
}

/* Borrows or copies an array of exactly n values, aligned to their size. */
static ql_status values(opening *o, const ql_st_tensor *t, const char *part, int64_t n,
                        const void **out) {
    if (t->numel != n)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s%s: %lld values, the shape asks for %lld",
                       ql_source_path(o->s), o->name, part, (long long)t->numel, (long long)n);
    *out = t->data;
    if ((uintptr_t)t->data % ql_st_dtype_bytes(t->dtype) == 0) return QL_OK;
    void *copy = ql_arena_alloc(&o->q.arena, (size_t)n, (size_t)ql_st_dtype_bytes(t->dtype));
    if (copy == NULL) return QL_NOMEM("a quantized weight");
    memcpy(copy, t->data, t->bytes);
    *out = copy;
    return QL_OK;
}

static ql_status not_finite(const opening *o, const char *part, int64_t i) {
    return QL_FAIL(QL_ERR_FORMAT, "%s: %s%s: value %lld is not finite", ql_source_path(o->s),
                   o->name, part, (long long)i);
}

/* n finite float32 values. */
static ql_status floats(opening *o, const ql_st_tensor *t, const char *part, int64_t n,
                        const float **out) {
    if (t == NULL) return bad(o, part, "missing");
    if (t->dtype != QL_ST_F32) return bad(o, part, "expected float32 values");
    const void *data;
    QL_TRY(values(o, t, part, n, &data));
    const float *x = data;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return not_finite(o, part, i);
    *out = x;
    return QL_OK;
}

/* Zeros of an affine type: float32, or float16 as they are beside a second level. */
static ql_status open_zeros(opening *o, const ql_st_tensor *t, int64_t n) {
    if (t == NULL || t->dtype != QL_ST_F16) return floats(o, t, QL_KEY_ZERO, n, &o->q.zero);
    const void *data;
    QL_TRY(values(o, t, QL_KEY_ZERO, n, &data));
    const uint16_t *half = data;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(ql_f32_from_f16(half[i]))) return not_finite(o, QL_KEY_ZERO, i);
    o->q.zero_f16 = half;
    return QL_OK;
}

static ql_status bytes_of(const opening *o, const ql_st_tensor *t, const char *part, uint64_t n,
                          const uint8_t **out) {
    if (t == NULL) return bad(o, part, "missing");
    if (t->bytes != n)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s%s: %llu bytes, the shape asks for %llu",
                       ql_source_path(o->s), o->name, part, (unsigned long long)t->bytes,
                       (unsigned long long)n);
    *out = t->data;
    return QL_OK;
}

/* The file's table; the built-in one when they are equal (fp4's -0.0 is +0.0 in files). */
static ql_status open_table(opening *o) {
    ql_qtensor *q = &o->q;
    int64_t n = (int64_t)1 << q->type->bits;
    const float *table;
    QL_TRY(floats(o, find_part(o->s, o->name, QL_KEY_MAP), QL_KEY_MAP, n, &table));
    int64_t same = 0;
    while (same < n && table[same] == q->type->table[same]) same++;
    q->table = same == n ? q->type->table : table;
    return QL_OK;
}

static ql_status open_scales(opening *o, const ql_blob *b, const ql_qbytes *size) {
    ql_qtensor *q = &o->q;
    const ql_st_tensor *absmax = find_part(o->s, o->name, QL_KEY_ABSMAX);
    if (b->block2 == 0) {
        if (find_part(o->s, o->name, QL_KEY_NESTED) != NULL)
            return bad(o, QL_KEY_NESTED, "present, but quant_state names no second level");
        return floats(o, absmax, QL_KEY_ABSMAX, size->n_blocks, &q->absmax);
    }
    if (absmax != NULL && absmax->dtype != QL_ST_U8)
        return bad(o, QL_KEY_ABSMAX, "expected uint8 codes of the second level");
    QL_TRY(bytes_of(o, absmax, QL_KEY_ABSMAX, size->scale, &q->absmax_q));
    QL_TRY(floats(o, find_part(o->s, o->name, QL_KEY_NESTED), QL_KEY_NESTED, size->n_blocks2,
                  &q->absmax2));
    QL_TRY(
        floats(o, find_part(o->s, o->name, QL_KEY_NESTED_MAP), QL_KEY_NESTED_MAP, 256, &q->code2));
    if (memcmp(q->code2, ql_dyn8_signed(), 256 * sizeof(float)) == 0) q->code2 = ql_dyn8_signed();
    q->n_blocks2 = size->n_blocks2;
    q->block2 = b->block2;
    q->offset = b->offset;
    return QL_OK;
}

static ql_status read_state(const ql_source *s, const char *name, ql_blob *out) {
    const ql_source_tensor *state = NULL;
    int count = find_state(s, name, &state);
    if (count != 1)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s has %d quant_state entries, expected one",
                       ql_source_path(s), name, count);
    const ql_st_tensor *t = state->st;
    if (t == NULL || (t->dtype != QL_ST_U8 && t->dtype != QL_ST_I8) || t->bytes > TEXT_LIMIT)
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s: expected at most %d bytes of text",
                       ql_source_path(s), state->name, TEXT_LIMIT);
    char what[QL_PATH_MAX + QL_KEY_MAX];
    snprintf(what, sizeof what, "%s: %s", ql_source_path(s), state->name);
    const char *suffix = state->name + strlen(name) + strlen(QL_KEY_STATE);
    return ql_blob_read((const char *)t->data, (size_t)t->bytes, suffix, what, out);
}

static ql_status open_state(opening *o, const ql_source_tensor *t) {
    ql_blob b;
    QL_TRY(read_state(o->s, o->name, &b));
    ql_quant_opts opts = {
        .type = b.type->id, .block = b.block, .block2 = b.block2, .double_quant = b.block2 > 0};
    ql_qbytes size;
    QL_TRY(ql_quant_bytes(&opts, b.n, b.k, &size));
    ql_qtensor *q = &o->q;
    q->type = b.type;
    q->n = b.n;
    q->k = b.k;
    q->block = b.block;
    q->pack = b.pack;
    q->source_dtype = b.source_dtype;
    q->codes_bytes = size.codes;
    q->n_blocks = size.n_blocks;
    QL_TRY(bytes_of(o, t->st, "", size.codes, &q->codes));
    QL_TRY(open_table(o));
    QL_TRY(open_scales(o, &b, &size));
    const ql_st_tensor *zero = find_part(o->s, o->name, QL_KEY_ZERO);
    if (q->type->affine) return open_zeros(o, zero, size.n_blocks);
    return zero == NULL ? QL_OK : bad(o, QL_KEY_ZERO, "this type has no zeros");
}

/* bitsandbytes' 8-bit rows: P.weight int8, P.SCB float32, P.weight_format 0 (row-major). */
static ql_status open_int8(opening *o, const ql_source_tensor *t) {
    ql_qtensor *q = &o->q;
    char key[QL_KEY_MAX];
    const ql_source_tensor *format = ql_key_format(key, o->name) ? ql_source_find(o->s, key) : NULL;
    if (format != NULL && format->st != NULL &&
        (format->st->bytes != 1 || format->st->data[0] != 0))
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %s: only row-major weights (format 0) are read",
                       ql_source_path(o->s), key);
    if (t->dims != 2 || t->rows < 1 || t->cols < 1)
        return bad(o, "", "an 8-bit weight must have two dimensions");
    q->type = ql_qtype_at(QL_QT_LLM_INT8);
    q->n = q->n_blocks = t->rows;
    q->k = t->cols;
    q->pack = QL_PACK_HIGH_FIRST;
    q->table = q->type->table;
    q->source_dtype = "float16";
    q->codes = t->st->data;
    q->codes_bytes = t->st->bytes;
    return floats(o, find_scb(o->s, o->name), " (SCB)", t->rows, &q->absmax);
}

static ql_status open_gguf(opening *o, const ql_source_tensor *t) {
    ql_qtensor *q = &o->q;
    const ql_gguf_tensor *g = t->gguf;
    q->type = ql_qtype_at(QL_QT_GGML);
    q->n = t->rows;
    q->k = t->cols;
    q->block = (int32_t)ql_gguf_block_elems(g->type);
    q->pack = QL_PACK_GGML;
    q->ggml = ql_gguf_trainable(g->type);
    q->codes = g->data;
    q->codes_bytes = g->bytes;
    q->n_blocks = t->rows * (t->cols / q->block);
    q->source_dtype = "bfloat16";
    if (t->permute_heads <= 0) return QL_OK;
    size_t row = (size_t)(g->bytes / (uint64_t)t->rows);
    uint8_t *ordered = ql_arena_alloc(&q->arena, (size_t)t->rows, row);
    if (ordered == NULL) return QL_NOMEM("a GGUF weight");
    for (int64_t r = 0; r < t->rows; r++)
        memcpy(ordered + (size_t)r * row, g->data + (size_t)ql_source_row(t, r) * row, row);
    q->codes = ordered;
    return QL_OK;
}

ql_status ql_stored_open(const ql_source *s, const char *name, ql_qtensor *out) {
    const ql_source_tensor *t = ql_source_find(s, name);
    if (t == NULL) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: no tensor '%s'", ql_source_path(s), name);
    if (!ql_stored_is_quantized(s, name))
        return QL_FAIL(QL_ERR_INVALID, "%s: %s is not stored quantized", ql_source_path(s), name);
    opening o = {.s = s, .name = name};
    ql_status status;
    if (t->gguf != NULL)
        status = open_gguf(&o, t);
    else if (t->st->dtype == QL_ST_I8 && find_scb(s, name) != NULL)
        status = open_int8(&o, t);
    else
        status = open_state(&o, t);
    if (status != QL_OK) {
        ql_qtensor_free(&o.q);
        return status;
    }
    *out = o.q;
    return QL_OK;
}

ql_status ql_stored_shape(const ql_source *s, const char *name, int64_t *n, int64_t *k) {
    const ql_source_tensor *t = ql_source_find(s, name), *state = NULL;
    if (t == NULL) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: no tensor '%s'", ql_source_path(s), name);
    if (t->gguf == NULL && find_state(s, name, &state) > 0) {
        ql_blob b;
        QL_TRY(read_state(s, name, &b));
        *n = b.n;
        *k = b.k;
        return QL_OK;
    }
    *n = t->rows;
    *k = t->cols;
    return QL_OK;
}
