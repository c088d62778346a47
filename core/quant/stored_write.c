/*
 * stored_write.c - the entries of one quantized weight, listed, declared and written.
 *
 * One list (ql_stored_parts) serves all writers, so that declaring and writing cannot disagree.
 */
#include <string.h>

#include "core/quant/blob.h"
#include "core/quant/keys.h"
#include "core/quant/stored.h"

/* Adds an entry; key NULL or out of room for names = no memory. */
static ql_status add(ql_stored_parts *p, const char *key, ql_st_dtype dtype, int32_t dims,
                     int64_t n, int64_t k, const void *data, uint64_t bytes) {
    char *copy = ql_arena_strndup(&p->arena, key, strlen(key));
    if (copy == NULL) return QL_NOMEM("names of stored tensors");
    p->at[p->count++] = (ql_stored_part){
        .name = copy, .dtype = dtype, .dims = dims, .shape = {n, k}, .data = data, .bytes = bytes};
    return QL_OK;
}

static ql_status add_part(ql_stored_parts *p, const char *name, const char *part, ql_st_dtype dtype,
                          int64_t n, const void *data) {
    char key[QL_KEY_MAX];
    if (!ql_key_join(key, name, part))
        return QL_FAIL(QL_ERR_INVALID, "%s%s: the name is too long", name, part);
    return add(p, key, dtype, 1, n, 0, data, (uint64_t)n * ql_st_dtype_bytes(dtype));
}

/* Row-wise int8 under bitsandbytes' keys. */
static ql_status int8_parts(const char *name, const ql_qtensor *q, ql_stored_parts *p) {
    static const uint8_t row_major = 0;
    char key[QL_KEY_MAX];
    QL_TRY(add(p, name, QL_ST_I8, 2, q->n, q->k, q->codes, q->codes_bytes));
    if (!ql_key_scb(key, name)) return QL_FAIL(QL_ERR_INVALID, "%s: the name is too long", name);
    QL_TRY(add(p, key, QL_ST_F32, 1, q->n, 0, q->absmax, (uint64_t)q->n * sizeof(float)));
    if (!ql_key_format(key, name)) return QL_FAIL(QL_ERR_INVALID, "%s: the name is too long", name);
    return add(p, key, QL_ST_U8, 0, 0, 0, &row_major, 1);
}

/* Files hold fp4's code 8 as +0.0. */
static ql_status add_map(ql_stored_parts *p, const char *name, const ql_qtensor *q) {
    int64_t n = (int64_t)1 << q->type->bits;
    float *map = ql_arena_alloc(&p->arena, (size_t)n, sizeof *map);
    if (map == NULL) return QL_NOMEM("a code table");
    for (int64_t i = 0; i < n; i++) map[i] = q->table[i] + 0.0f;
    return add_part(p, name, QL_KEY_MAP, QL_ST_F32, n, map);
}

static ql_status add_state(ql_stored_parts *p, const char *name, const ql_qtensor *q, bool own,
                           bool padded) {
    ql_blob b = {.own = own,
                 .type = q->type,
                 .pack = q->pack,
                 .block = q->block,
                 .block2 = q->absmax_q != NULL ? q->block2 : 0,
                 .n = q->n,
                 .k = q->k,
                 .source_dtype = q->source_dtype,
                 .offset = q->offset};
    char text[QL_BLOB_TEXT_MAX], part[64] = QL_KEY_STATE;
    int longest = ql_blob_write(&b, true, text), len = ql_blob_write(&b, false, text);
    for (; padded && len < longest; len++) text[len] = ' ';
    char *copy = ql_arena_strndup(&p->arena, text, (size_t)len);
    if (copy == NULL) return QL_NOMEM("a quant_state text");
    strcat(part, own ? "qlora__" : "bitsandbytes__");
    strcat(part, q->type->name);
    return add_part(p, name, part, QL_ST_U8, len, copy);
}

static ql_status list(const char *name, const ql_qtensor *q, ql_stored_format format, bool padded,
                      ql_stored_parts *p) {
    int32_t block2 = q->absmax_q != NULL ? q->block2 : 0;
    bool own = format == QL_STORED_QLORA || !ql_bnb_holds(q->type, q->block, block2);
    if (q->pack == QL_PACK_GGML)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: GGUF blocks are not written to safetensors", name);
    if (!own && q->type->per_row) return int8_parts(name, q, p);
    QL_TRY(add(p, name, QL_ST_U8, 2, (int64_t)q->codes_bytes, 1, q->codes, q->codes_bytes));
    if (q->absmax_q != NULL) {
        QL_TRY(add_part(p, name, QL_KEY_ABSMAX, QL_ST_U8, q->n_blocks, q->absmax_q));
        QL_TRY(add_part(p, name, QL_KEY_NESTED, QL_ST_F32, q->n_blocks2, q->absmax2));
        QL_TRY(add_part(p, name, QL_KEY_NESTED_MAP, QL_ST_F32, 256, q->code2));
    } else {
        QL_TRY(add_part(p, name, QL_KEY_ABSMAX, QL_ST_F32, q->n_blocks, q->absmax));
    }
    if (q->zero != NULL) QL_TRY(add_part(p, name, QL_KEY_ZERO, QL_ST_F32, q->n_blocks, q->zero));
    if (q->zero_f16 != NULL)
        QL_TRY(add_part(p, name, QL_KEY_ZERO, QL_ST_F16, q->n_blocks, q->zero_f16));
    QL_TRY(add_map(p, name, q));
    return add_state(p, name, q, own, padded);
}

static ql_status make_parts(const char *name, const ql_qtensor *q, ql_stored_format format,
                            bool padded, ql_stored_parts *out) {
    ql_stored_parts p = {.count = 0};
    ql_status s = list(name, q, format, padded, &p);
    if (s != QL_OK) {
        ql_arena_free(&p.arena);
        return s;
    }
    *out = p;
    return QL_OK;
}

ql_status ql_stored_parts_of(const char *name, const ql_qtensor *q, ql_stored_format format,
                             ql_stored_parts *out) {
    return make_parts(name, q, format, false, out);
}

void ql_stored_parts_free(ql_stored_parts *p) {
    if (p == NULL) return;
    ql_arena_free(&p->arena);
    *p = (ql_stored_parts){.count = 0};
}

ql_status ql_stored_declare(ql_st_writer *w, const char *name, const ql_quant_opts *o, int64_t n,
                            int64_t k, const char *source_dtype) {
    static const uint8_t present = 0;
    static const float values = 0.0f;
    static const uint16_t half = 0;
    ql_qbytes size;
    QL_TRY(ql_quant_bytes(o, n, k, &size));
    const ql_qtype *type = ql_qtype_at(o->type);
    ql_qtensor shape = {.type = type,
                        .n = n,
                        .k = k,
                        .block = type->per_row ? 0 : o->block,
                        .block2 = o->block2,
                        .codes_bytes = size.codes,
                        .n_blocks = size.n_blocks,
                        .n_blocks2 = size.n_blocks2,
                        .absmax_q = o->double_quant ? &present : NULL,
                        .zero = type->affine && !o->double_quant ? &values : NULL,
                        .zero_f16 = type->affine && o->double_quant ? &half : NULL,
                        .table = type->table,
                        .source_dtype = source_dtype};
    ql_stored_parts p;
    QL_TRY(make_parts(name, &shape, QL_STORED_BNB, true, &p));
    ql_status s = QL_OK;
    for (int32_t i = 0; s == QL_OK && i < p.count; i++)
        s = ql_st_writer_declare(w, p.at[i].name, p.at[i].dtype, p.at[i].dims, p.at[i].shape);
    ql_stored_parts_free(&p);
    return s;
}

ql_status ql_stored_write(ql_st_writer *w, const char *name, const ql_qtensor *q) {
    ql_stored_parts p;
    QL_TRY(make_parts(name, q, QL_STORED_BNB, true, &p));
    ql_status s = QL_OK;
    for (int32_t i = 0; s == QL_OK && i < p.count; i++)
        s = ql_st_writer_data(w, p.at[i].data, p.at[i].bytes);
    ql_stored_parts_free(&p);
    return s;
}
