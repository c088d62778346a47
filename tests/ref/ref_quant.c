/*
 * ref_quant.c - quantized weights after spec/quantization.md: decoding of every storage type, the
 * encoders under both rules, and the roundings that belong to the formulas.
 *
 * Quantization is defined in float32 steps, so these functions compute in float and are exact:
 * codes and decoded values must equal a backend's bit for bit.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/ref/ref.h"

/* ------------------------------------------------------------------------ rounding */

/* x to `digits` significant bits, ties to even, with the smallest exponent `min_exp` and the
 * largest finite value `max`. */
static double round_bits(double x, int digits, int min_exp, double max) {
    if (x == 0.0 || !isfinite(x)) return x;
    int e;
    frexp(x, &e); /* x = m 2^e, 0.5 <= |m| < 1 */
    if (e < min_exp) e = min_exp;
    double unit = ldexp(1.0, e - digits);
    double y = nearbyint(x / unit) * unit; /* round half to even */
    return fabs(y) > max ? copysign(INFINITY, x) : y;
}

double ref_round_to(ql_dtype t, double x) {
    switch (t) {
    case QL_F32: return (double)(float)x;
    case QL_F16: return round_bits(x, 11, -13, 65504.0);
    case QL_BF16: return round_bits(x, 8, -125, 3.3895313892515355e38);
    default: return x;
    }
}

/* ------------------------------------------------------------------------ decoding */

static float f32_at(const ql_mat *m, int64_t i) {
    return (float)ref_values(m)[i];
}

static int64_t block_of(const ql_qmat *w, int64_t e) {
    return e / (w->block == 0 ? w->k : w->block);
}

/* Scale of block b of the whole weight: stored, or (code2[q] * scale2[b / block2]) + offset in two
 * roundings. The arrays begin with the block (group) that holds the first element held here. */
static float scale_of(const ql_qmat *w, int64_t b) {
    int64_t first = block_of(w, w->row0 * w->k);
    if (!w->scale2.buf) return f32_at(&w->scale, b - first);
    int code = (int)ref_values(&w->scale)[b - first];
    int64_t group = b / w->block2 - first / w->block2;
    float product = f32_at(&w->code2, code) * f32_at(&w->scale2, group);
    return product + f32_at(&w->offset, 0);
}

/* Code of flat element e of the whole weight: `bits` bits of the stream of bytes, from either end
 * of each byte. The bytes begin with the one that holds the first element held here. */
static int code_of(const ql_qmat *w, int64_t e) {
    int64_t first_byte = w->row0 * w->k * w->bits / 8;
    int code = 0;
    for (int i = 0; i < w->bits; i++) {
        int64_t at = e * w->bits + i;
        int byte = (int)ref_values(&w->codes)[at / 8 - first_byte], in_byte = (int)(at % 8);
        if (w->pack == QL_PACK_HIGH_FIRST)
            code = code << 1 | (byte >> (7 - in_byte) & 1);
        else
            code |= (byte >> in_byte & 1) << i;
    }
    return code;
}

/* f16 number from two bytes, low byte first. */
static float f16_at(const double *bytes) {
    int u = (int)bytes[0] | (int)bytes[1] << 8, exponent = u >> 10 & 31, fraction = u & 1023;
    double v = exponent == 0    ? ldexp(fraction, -24)
               : exponent == 31 ? (fraction ? (double)NAN : INFINITY)
                                : ldexp(1024 + fraction, exponent - 25);
    return (float)(u >> 15 ? -v : v);
}

/* Block layouts of backend.h: 32 elements; low nibbles are elements 0..15, high ones 16..31. */
static float ggml_weight(const ql_qmat *w, int64_t row, int64_t col) {
    static const int block_bytes[] = {0, 18, 20, 22, 24, 34};
    const double *block = ref_row(&w->codes, row) + col / 32 * block_bytes[w->ggml];
    int i = (int)(col % 32);
    float d = f16_at(block);
    if (w->ggml == QL_GGML_Q8_0) {
        int q = (int)block[2 + i];
        return d * (float)(q < 128 ? q : q - 256);
    }
    bool has_min = w->ggml == QL_GGML_Q4_1 || w->ggml == QL_GGML_Q5_1;
    bool five = w->ggml == QL_GGML_Q5_0 || w->ggml == QL_GGML_Q5_1;
    const double *high = block + (has_min ? 4 : 2), *low = high + (five ? 4 : 0);
    int byte = (int)low[i % 16], q = i < 16 ? byte & 15 : byte >> 4;
    if (five) q |= ((int)high[i / 8] >> i % 8 & 1) << 4;
    if (!has_min) return d * (float)(q - (five ? 16 : 8));
    float product = d * (float)q;
    return product + f16_at(block + 2);
}

float ref_weight(const ql_qmat *w, int64_t row, int64_t col) {
    if (w->pack == QL_PACK_GGML) return ggml_weight(w, row, col);
    int64_t e = (w->row0 + row) * w->k + col, b = block_of(w, e);
    float v = f32_at(&w->table, code_of(w, e)) * scale_of(w, b);
    if (w->zero.buf) v += f32_at(&w->zero, b - block_of(w, w->row0 * w->k));
    if (w->post != 0.0f) v *= w->post;
    return v;
}

void ql_ref_q_dequantize(const ql_q_dequantize_args *a) {
    for (int64_t i = 0; i < a->w.rows; i++)
        for (int64_t j = 0; j < a->q.k; j++)
            ref_row(&a->w, i)[j] =
                ref_round_to(a->w.dtype, (double)ref_weight(&a->q, a->row0 + i, j));
}

/* ------------------------------------------------------------------------ encoding */

/* A code table in sorted order (stable), with its float32 midpoints. */
typedef struct sorted_table {
    int n;
    int code[256];
    float value[256], mid[256];
} sorted_table;

static void sort_table(const ql_mat *table, sorted_table *s) {
    s->n = (int)table->cols;
    for (int i = 0; i < s->n; i++) {
        int at = i;
        for (; at > 0 && s->value[at - 1] > f32_at(table, i); at--) {
            s->value[at] = s->value[at - 1];
            s->code[at] = s->code[at - 1];
        }
        s->value[at] = f32_at(table, i);
        s->code[at] = i;
    }
    for (int i = 0; i + 1 < s->n; i++) s->mid[i] = (s->value[i] + s->value[i + 1]) / 2.0f;
}

/* CPU rule 1.3: the number of midpoints strictly below v; a NaN is above all. */
static int nearest_cpu(const sorted_table *s, float v) {
    int place = 0;
    while (place + 1 < s->n && !(v <= s->mid[place])) place++;
    return s->code[place];
}

static const float nf4_table[16] = {-1.0f,
                                    -0.6961928009986877f,
                                    -0.5250730514526367f,
                                    -0.39491748809814453f,
                                    -0.28444138169288635f,
                                    -0.18477343022823334f,
                                    -0.09105003625154495f,
                                    0.0f,
                                    0.07958029955625534f,
                                    0.16093020141124725f,
                                    0.24611230194568634f,
                                    0.33791524171829224f,
                                    0.44070982933044434f,
                                    0.5626170039176941f,
                                    0.7229568362236023f,
                                    1.0f};

static bool is_nf4(const ql_mat *table) {
    for (int i = 0; i < 16; i++)
        if (table->cols != 16 || f32_at(table, i) != nf4_table[i]) return false;
    return true;
}

static bool is_fp4(const ql_mat *table) {
    return table->cols == 16 && f32_at(table, 1) == 0.0052083334885537624f &&
           f32_at(table, 3) == 1.0f && f32_at(table, 11) == -1.0f;
}

/* CUDA rule 1.4: thresholds of its own, `>`, NaN compares false everywhere. */
static int nearest_cuda(const ql_mat *table, const sorted_table *s, float v) {
    static const float fp4[7] = {0.0026041700039058924f, 0.0859375f,          0.2083333283662796f,
                                 0.2916666567325592f,    0.4166666865348816f, 0.5833330154418945f,
                                 0.8333333134651184f};
    static const int fp4_code[8] = {0, 1, 6, 7, 4, 5, 2, 3};
    int place = 0;
    if (is_fp4(table)) {
        for (int i = 0; i < 7; i++) place += fabsf(v) > fp4[i];
        return fp4_code[place] | (v < 0.0f ? 8 : 0);
    }
    bool nf4 = is_nf4(table);
    for (int i = 0; i + 1 < s->n; i++) {
        float t = s->mid[i];
        if (nf4 && i == 0) t = -0.8480964303016663f;
        if (nf4 && i == 8) t = 0.1202552542090416f;
        if (nf4 && i == 12) t = 0.5016633868217468f;
        if (nf4 && i == 14) t = 0.8614783883094788f;
        place += v > t;
    }
    return s->code[place];
}

static void put_code(const ql_qmat *q, int64_t e, int code) {
    for (int i = 0; i < q->bits; i++) {
        int64_t at = e * q->bits + i;
        bool high = q->pack == QL_PACK_HIGH_FIRST;
        int bit = code >> (high ? q->bits - 1 - i : i) & 1;
        int place = (int)(high ? 7 - at % 8 : at % 8);
        double *byte = ref_values(&q->codes) + at / 8;
        *byte = ((int)*byte & ~(1 << place)) | bit << place;
    }
}

/* max |w| of a block; the CPU rule keeps a NaN, the CUDA rule passes over it. */
static float absmax_of(const double *w, int64_t n, ql_quant_rule rule) {
    float top = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        float x = fabsf((float)w[i]);
        if (rule == QL_RULE_CPU && isnan(x)) return NAN;
        if (x > top) top = x;
    }
    return top;
}

static float clamp1(float v) {
    return v > 1.0f ? 1.0f : v < -1.0f ? -1.0f : v;
}

/* One block of n elements from flat element e0. `partial`: the last, incomplete block of the whole
 * weight. */
static void encode_nearest(const ql_q_quantize_args *a, const sorted_table *s, int64_t b,
                           int64_t e0, int64_t n, bool partial) {
    const double *w = ref_values(&a->w) + e0;
    float top = absmax_of(w, n, a->rule);
    if (a->rule == QL_RULE_CPU && partial && top < 1e-38f) top = 1e-38f;
    float floor = top < 1e-38f ? 1e-38f : top; /* a NaN stays */
    ref_values(&a->q.scale)[b] = (double)top;
    for (int64_t i = 0; i < n; i++) {
        float x = (float)w[i], v;
        int code;
        if (a->rule == QL_RULE_CPU) {
            v = clamp1(partial ? x / floor : x * (1.0f / floor));
            code = nearest_cpu(s, v);
        } else {
            v = x * (1.0f / (top < FLT_MIN ? 0.0f : top));
            code = nearest_cuda(&a->q.table, s, v);
        }
        put_code(&a->q, e0 + i, code);
    }
}

/* X = round_half_even(127 / absmax * x) as a byte in two's complement; absmax 0 gives 0. */
static void encode_round(const ql_q_quantize_args *a, int64_t b, int64_t e0, int64_t n) {
    const double *w = ref_values(&a->w) + e0;
    float top = absmax_of(w, n, a->rule);
    ref_values(&a->q.scale)[b] = (double)top;
    for (int64_t i = 0; i < n; i++) {
        float q = top > 0.0f ? nearbyintf((float)w[i] * (127.0f / top)) : 0.0f;
        put_code(&a->q, e0 + i, (int)q & 255);
    }
}

/* scale = (max - min) / (2^bits - 1), zero = min, q = round_half_even((x - min) / scale). */
static void encode_affine(const ql_q_quantize_args *a, int64_t b, int64_t e0, int64_t n) {
    const double *w = ref_values(&a->w) + e0;
    float low = (float)w[0], high = low;
    for (int64_t i = 1; i < n; i++) {
        low = fminf(low, (float)w[i]);
        high = fmaxf(high, (float)w[i]);
    }
    float levels = (float)((1 << a->q.bits) - 1), scale = (high - low) / levels;
    ref_values(&a->q.scale)[b] = (double)scale;
    ref_values(&a->q.zero)[b] = (double)low;
    for (int64_t i = 0; i < n; i++) {
        float q = scale > 0.0f ? nearbyintf(((float)w[i] - low) / scale) : 0.0f;
        put_code(&a->q, e0 + i, (int)fminf(q, levels));
    }
}

/* ---------------------------------------------------------------- 8-bit codes, 2.2 */

int ref_dyn8_code(const double *map, float v) {
    if (isnan(v)) return 0;
    float t = truncf((clamp1(v) + 1.0f) * 0.5f * 65535.0f + 0.5f);
    float snapped = -1.0f + 2.0f * t / 65535.0f;
    int code = 0;
    while (code < 255 && 0.5f * ((float)map[code] + (float)map[code + 1]) < snapped) code++;
    return code;
}

/* CUDA rule of 2.2: binary search from entry 127, then the midpoint to the neighbour on the side of
 * v. */
static int dyn8_code_cuda(const ql_mat *map, float v) {
    int at = 127;
    for (int step = 64; step > 0; step /= 2) at += v > f32_at(map, at) ? step : -step;
    if (v > f32_at(map, at))
        return at < 255 && v > (f32_at(map, at + 1) + f32_at(map, at)) * 0.5f ? at + 1 : at;
    return at > 0 && v < (f32_at(map, at - 1) + f32_at(map, at)) * 0.5f ? at - 1 : at;
}

/* Nearest entry of an 8-bit map (spec 2.2): a NaN is passed over, every block is treated alike. */
static void encode_dyn8(const ql_q_quantize_args *a, int64_t b, int64_t e0, int64_t n) {
    const double *w = ref_values(&a->w) + e0;
    float top = absmax_of(w, n, QL_RULE_CUDA);
    ref_values(&a->q.scale)[b] = (double)top;
    for (int64_t i = 0; i < n; i++) {
        float v = (float)w[i] * (1.0f / top);
        put_code(&a->q, e0 + i,
                 a->rule == QL_RULE_CPU ? ref_dyn8_code(ref_values(&a->q.table), v)
                                        : dyn8_code_cuda(&a->q.table, v));
    }
}

/* Codes that fill up the last byte: the code of 0.0 for four bits (spec 1.2), zeros otherwise. */
static void fill_last_byte(const ql_q_quantize_args *a, const sorted_table *s, int64_t size) {
    int64_t bits = size * a->q.bits;
    if (bits % 8 == 0) return;
    int code = a->encode != QL_ENCODE_NEAREST ? 0
               : a->rule == QL_RULE_CPU       ? nearest_cpu(s, 0.0f)
                                              : nearest_cuda(&a->q.table, s, 0.0f);
    if (a->q.bits == 4) put_code(&a->q, size, code);
}

void ql_ref_q_quantize(const ql_q_quantize_args *a) {
    sorted_table s = {0};
    sort_table(&a->q.table, &s);
    int64_t size = a->q.n * a->q.k, block = a->q.block == 0 ? a->q.k : a->q.block;
    for (int64_t i = 0; i < a->q.codes.rows * a->q.codes.cols; i++)
        ref_values(&a->q.codes)[i] = 0.0;
    fill_last_byte(a, &s, size);
    for (int64_t e0 = 0; e0 < size; e0 += block) {
        int64_t n = size - e0 < block ? size - e0 : block;
        bool partial = n < block && a->first + size == a->total;
        if (a->encode == QL_ENCODE_AFFINE)
            encode_affine(a, e0 / block, e0, n);
        else if (a->encode == QL_ENCODE_ROUND)
            encode_round(a, e0 / block, e0, n);
        else if (a->q.bits == 8)
            encode_dyn8(a, e0 / block, e0, n);
        else
            encode_nearest(a, &s, e0 / block, e0, n, partial);
    }
}
