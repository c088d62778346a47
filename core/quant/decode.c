/*
 * decode.c - quantized rows back to float32 (spec 1.6): table value, scale, zero, each rounded on
 * its own. Generic over bits, packing order, blocks that straddle rows, and GGUF blocks.
 */
#include "core/base/half.h"
#include "core/io/gguf.h"
#include "core/quant/quantize.h"

/* Where the codes are and how they are packed. */
typedef struct code_reader {
    const uint8_t *codes;
    int32_t bits;
    bool low_first;
} code_reader;

/* 2, 4 and 8 bits lie inside one byte; 3 bits may span two. The bytes form one string of bits, its
 * start in the highest (high first) or lowest (low first) bit of byte 0. */
static inline uint32_t code_at(const code_reader *r, int64_t e) {
    uint64_t bit = (uint64_t)e * (uint32_t)r->bits;
    const uint8_t *p = r->codes + bit / 8;
    uint32_t shift = bit % 8, bits = (uint32_t)r->bits, mask = (1u << bits) - 1;
    uint32_t next = shift + bits > 8 ? p[1] : 0;
    if (r->low_first) return ((p[0] | next << 8) >> shift) & mask;
    return (((uint32_t)p[0] << 8 | next) >> (16 - shift - bits)) & mask;
}

float ql_qtensor_scale(const ql_qtensor *q, int64_t b) {
    if (q->absmax_q == NULL) return q->absmax[b];
    float scaled = q->code2[q->absmax_q[b]] * q->absmax2[b / q->block2];
    return scaled + q->offset;
}

static inline float value(const ql_qtensor *q, uint32_t code, float scale) {
    float y = q->table[code] * scale;
    return q->type->post != 0.0f ? y * q->type->post : y;
}

/* Elements [first, first + count) of one block. */
static void decode_run(const ql_qtensor *q, const code_reader *r, int64_t b, int64_t first,
                       int64_t count, float *out) {
    float scale = ql_qtensor_scale(q, b), scaled[16];
    if (r->bits > 4) {
        for (int64_t i = 0; i < count; i++) out[i] = value(q, r->codes[first + i], scale);
    } else {
        for (uint32_t c = 0; c < 1u << r->bits; c++) scaled[c] = value(q, c, scale);
        for (int64_t i = 0; i < count; i++) out[i] = scaled[code_at(r, first + i)];
    }
    if (q->zero == NULL && q->zero_f16 == NULL) return;
    float zero = q->zero != NULL ? q->zero[b] : ql_f32_from_f16(q->zero_f16[b]);
    for (int64_t i = 0; i < count; i++) out[i] += zero;
}

static ql_gguf_type gguf_type(ql_ggml layout) {
    switch (layout) {
    case QL_GGML_Q4_0: return QL_GT_Q4_0;
    case QL_GGML_Q4_1: return QL_GT_Q4_1;
    case QL_GGML_Q5_0: return QL_GT_Q5_0;
    case QL_GGML_Q5_1: return QL_GT_Q5_1;
    default: return QL_GT_Q8_0;
    }
}

static ql_status decode_ggml(const ql_qtensor *q, int64_t row0, int64_t rows, float *out) {
    ql_gguf_tensor t = {.name = "quantized weight",
                        .type = gguf_type(q->ggml),
                        .dims = 2,
                        .shape = {q->k, q->n, 1, 1},
                        .rows = q->n,
                        .cols = q->k,
                        .bytes = q->codes_bytes,
                        .data = q->codes};
    for (int64_t r = 0; r < rows; r++) QL_TRY(ql_gguf_read_row(&t, row0 + r, out + r * q->k));
    return QL_OK;
}

ql_status ql_dequantize_rows(const ql_qtensor *q, int64_t row0, int64_t rows, float *out) {
    if (row0 < 0 || rows < 0 || row0 > q->n || rows > q->n - row0)
        return QL_FAIL(QL_ERR_SHAPE, "dequantize: rows %lld to %lld of a weight with %lld rows",
                       (long long)row0, (long long)row0 + rows, (long long)q->n);
    if (q->pack == QL_PACK_GGML) return decode_ggml(q, row0, rows, out);
    code_reader reader = {q->codes, q->type->bits, q->pack == QL_PACK_LOW_FIRST};
    int64_t block = q->block > 0 ? q->block : q->k;
    int64_t e = row0 * q->k, end = (row0 + rows) * q->k;
    while (e < end) {
        int64_t b = e / block, stop = (b + 1) * block < end ? (b + 1) * block : end;
        decode_run(q, &reader, b, e, stop - e, out);
        out += stop - e;
        e = stop;
    }
    return QL_OK;
}
