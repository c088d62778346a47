/*
 * qdecode.c - decoding of every storage type, block by block.
 *
 *   W(e) = table[code(e)] * scale(b) + zero(b), then * post: each operation rounded on its own.
 *
 * e counts elements of the whole weight; codes, scales and zeros start with the item that holds
 * the first element held here (row0 * k), so a slice may begin inside a block or a byte.
 */
#include "backends/cpu/qdecode.h"

/* Number, within the whole weight, of the first element held here. */
static int64_t first_held(const ql_qmat *w) {
    return w->row0 * w->k;
}

static float block_value(const ql_mat *m, int64_t i) {
    const char *at = (const char *)m->buf->host + m->off;
    if (m->dtype == QL_F32) return ((const float *)at)[i];
    return ql_f32_from_f16(((const uint16_t *)at)[i]);
}

static int64_t block_of(const ql_qmat *w, int64_t at) {
    return at / (w->block > 0 ? w->block : w->k);
}

/* Scale of the block that holds element `at` of the whole weight, second level restored; *block =
 * its number among the blocks held here. */
static float scale_of(const ql_qmat *w, int64_t at, int64_t *block) {
    int64_t first = block_of(w, first_held(w)), b = block_of(w, at);
    *block = b - first;
    if (w->scale.dtype != QL_U8) return block_value(&w->scale, b - first);
    const uint8_t *codes = (const uint8_t *)w->scale.buf->host + w->scale.off;
    int64_t group = b / w->block2 - first / w->block2;
    float restored = ql_cpu_f32(&w->code2, 0)[codes[b - first]] * block_value(&w->scale2, group);
    return restored + *ql_cpu_f32(&w->offset, 0);
}

/* The code that starts at a bit of the stream; a 3-bit code may straddle two bytes. */
static int code_at(const uint8_t *codes, int64_t bit, int bits, ql_pack pack) {
    int shift = (int)(bit & 7), mask = (1 << bits) - 1;
    const uint8_t *p = codes + (bit >> 3);
    int pair = shift + bits > 8 ? 1 : 0; /* the second byte exists only when it is needed */
    if (pack == QL_PACK_LOW_FIRST) return ((p[0] | p[pair] << 8) >> shift) & mask;
    return ((p[0] << 8 | p[pair]) >> (16 - bits - shift)) & mask;
}

/* table[code] * scale (+ zero), then * post. */
static inline float value_of(const ql_qmat *w, const float *table, int code, float scale,
                             float zero) {
    float v = table[code] * scale;
    if (ql_cpu_has(&w->zero)) v += zero;
    return w->post != 0.0f ? v * w->post : v;
}

/* n codes of one block, the first one at `bit` of the stream. Up to 4 bits, the block's 2^bits
 * values are made once and looked up: whole bytes by the kernel, single codes in front and behind.
 */
static void decode_run(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t bit, int64_t n,
                       float scale, float zero, float *out) {
    const uint8_t *codes = (const uint8_t *)w->codes.buf->host + w->codes.off;
    const float *table = ql_cpu_f32(&w->table, 0);
    float values[16];
    int64_t i = 0;
    if (w->bits == 8) {
        for (codes += bit / 8; i < n; i++) out[i] = value_of(w, table, codes[i], scale, zero);
        return;
    }
    for (int c = 0; c < 1 << w->bits; c++) values[c] = value_of(w, table, c, scale, zero);
    for (; (bit & 7) && i < n; bit += w->bits)
        out[i++] = values[code_at(codes, bit, w->bits, w->pack)];
    const int64_t group = w->bits == 3 ? 8 : 8 / w->bits, whole = (n - i) / group * group;
    kern->decode(codes + bit / 8, whole, w->bits, w->pack == QL_PACK_LOW_FIRST, values, out + i);
    bit += whole * w->bits;
    for (i += whole; i < n; i++, bit += w->bits)
        out[i] = values[code_at(codes, bit, w->bits, w->pack)];
}

static void decode_blocks(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t row, int64_t col,
                          int64_t n, float *out) {
    const int64_t block = w->block > 0 ? w->block : w->k, first = first_held(w);
    int64_t at = first + row * w->k + col;
    int64_t bit = first * w->bits % 8 + (at - first) * w->bits;
    while (n > 0) {
        int64_t b, run = ql_cpu_min(n, block - at % block);
        float scale = scale_of(w, at, &b);
        float zero = ql_cpu_has(&w->zero) ? block_value(&w->zero, b) : 0.0f;
        decode_run(kern, w, bit, run, scale, zero, out);
        at += run;
        bit += run * w->bits;
        out += run;
        n -= run;
    }
}

/* -------------------------------------------------------------------- decode and dot */

bool ql_cpu_qdot_fits(const ql_qmat *w) {
    return w->pack != QL_PACK_GGML && w->bits <= 4 && w->block % 32 == 0 && w->block > 0 &&
           w->k % w->block == 0 && w->post == 0.0f;
}

/* Scales of blocks b .. b+n-1, counted from the first one held here: in place when stored as f32.
 */
static const float *scales_of(const ql_qmat *w, int64_t b, int64_t n, float *tmp) {
    const char *stored = (const char *)w->scale.buf->host + w->scale.off;
    if (w->scale.dtype == QL_F32) return (const float *)stored + b;
    if (w->scale.dtype == QL_F16) {
        for (int64_t i = 0; i < n; i++) tmp[i] = block_value(&w->scale, b + i);
        return tmp;
    }
    const uint8_t *codes = (const uint8_t *)stored + b;
    const float *map = ql_cpu_f32(&w->code2, 0), offset = *ql_cpu_f32(&w->offset, 0);
    const int64_t first = block_of(w, first_held(w));
    for (int64_t i = 0; i < n;) { /* run by run of one second-level scale */
        int64_t group = (first + b + i) / w->block2, end = (group + 1) * w->block2 - first - b;
        float scale2 = block_value(&w->scale2, group - first / w->block2);
        for (; i < ql_cpu_min(n, end); i++) {
            float restored = map[codes[i]] * scale2;
            tmp[i] = restored + offset;
        }
    }
    return tmp;
}

static const float *zeros_of(const ql_qmat *w, int64_t b, int64_t n, float *tmp) {
    if (!ql_cpu_has(&w->zero)) return NULL;
    if (w->zero.dtype == QL_F32) return ql_cpu_f32(&w->zero, 0) + b;
    for (int64_t i = 0; i < n; i++) tmp[i] = block_value(&w->zero, b + i);
    return tmp;
}

void ql_cpu_qdot(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t row, const float *x,
                 int64_t ldx, int32_t rows, float *sums) {
    enum { SCALES = 64 };
    const uint8_t *codes = (const uint8_t *)w->codes.buf->host + w->codes.off;
    const int64_t blocks = w->k / w->block, bytes = w->block * w->bits / 8;
    float scale[SCALES], zero[SCALES];
    for (int64_t done = 0; done < blocks; done += SCALES) {
        const int64_t n = ql_cpu_min(SCALES, blocks - done), b = row * blocks + done;
        const ql_cpu_codes c = {.codes = codes + b * bytes,
                                .bits = w->bits,
                                .low_first = w->pack == QL_PACK_LOW_FIRST,
                                .table = ql_cpu_f32(&w->table, 0),
                                .blocks = n,
                                .block = w->block,
                                .scale = scales_of(w, b, n, scale),
                                .zero = zeros_of(w, b, n, zero)};
        kern->dotq(&c, x + done * w->block, ldx, rows, sums);
    }
}

/* ------------------------------------------------------------------------ GGUF blocks */

enum { GGML_BLOCK = 32 };

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return ql_f32_from_f16(h);
}

static int64_t ggml_bytes(ql_ggml type) {
    static const int64_t bytes[] = {[QL_GGML_Q4_0] = 18,
                                    [QL_GGML_Q4_1] = 20,
                                    [QL_GGML_Q5_0] = 22,
                                    [QL_GGML_Q5_1] = 24,
                                    [QL_GGML_Q8_0] = 34};
    return bytes[type];
}

/* w = d * (q - bias) + m; absent parts are exact zeros that leave the product as it is. */
static void ggml_block(ql_ggml type, const uint8_t *p, float out[GGML_BLOCK]) {
    const float d = half_at(p);
    const bool five = type == QL_GGML_Q5_0 || type == QL_GGML_Q5_1;
    const bool affine = type == QL_GGML_Q4_1 || type == QL_GGML_Q5_1;
    const uint8_t *q = p + 2 + (affine ? 2 : 0);
    uint32_t fifth = 0;
    if (type == QL_GGML_Q8_0) {
        for (int i = 0; i < GGML_BLOCK; i++) out[i] = d * (float)(int8_t)q[i];
        return;
    }
    if (five) {
        fifth = (uint32_t)q[0] | (uint32_t)q[1] << 8 | (uint32_t)q[2] << 16 | (uint32_t)q[3] << 24;
        q += 4;
    }
    const int bias = affine ? 0 : five ? 16 : 8;
    for (int i = 0; i < GGML_BLOCK / 2; i++) {
        int low = (q[i] & 15) | (int)(fifth >> i & 1u) << 4;
        int high = q[i] >> 4 | (int)(fifth >> (i + 16) & 1u) << 4;
        out[i] = d * (float)(low - bias);
        out[i + 16] = d * (float)(high - bias);
    }
    if (!affine) return;
    const float m = half_at(p + 2);
    for (int i = 0; i < GGML_BLOCK; i++) out[i] += m;
}

static void decode_ggml(const ql_qmat *w, int64_t row, int64_t col, int64_t n, float *out) {
    const int64_t bytes = ggml_bytes(w->ggml);
    const uint8_t *p = (const uint8_t *)ql_cpu_at(&w->codes, row, 0) + col / GGML_BLOCK * bytes;
    int64_t from = col % GGML_BLOCK;
    for (; n > 0; p += bytes, from = 0) {
        float block[GGML_BLOCK];
        int64_t run = ql_cpu_min(n, GGML_BLOCK - from);
        if (run == GGML_BLOCK) {
            ggml_block(w->ggml, p, out);
        } else {
            ggml_block(w->ggml, p, block);
            memcpy(out, block + from, (size_t)run * sizeof *out);
        }
        out += run;
        n -= run;
    }
}

void ql_cpu_qdecode(const ql_cpu_kernels *kern, const ql_qmat *w, int64_t row, int64_t col,
                    int64_t n, float *out) {
    if (w->pack == QL_PACK_GGML)
        decode_ggml(w, row, col, n, out);
    else
        decode_blocks(kern, w, row, col, n, out);
}

void ql_cpu_q_decode(const ql_qmat *w, int64_t row, int64_t col, int64_t n, float *out) {
    ql_cpu_qdecode(ql_cpu_kern(), w, row, col, n, out);
}
