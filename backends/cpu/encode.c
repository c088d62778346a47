/*
 * encode.c - q_quantize: f32, bf16 or f16 weights to codes and scales, block by block.
 *
 * Rules: spec/quantization.md 1.3 to 1.5 and 2.2, formulas in ql_math.inc; the CUDA rule with an
 * exact reciprocal, since what its fast-math makes of subnormal numbers is not defined. A block
 * belongs to one task; blocks of whole bytes are spread over threads, others (a scale per row of
 * odd length) are done in order by one. Elements count from the first one held here.
 */
#include "backends/cpu/cpu.h"
#include "backends/cpu/kern.h"

enum { PIECE = 1024 }; /* elements converted at a time; whole bytes at any width */

typedef struct encoder {
    const ql_q_quantize_args *a;
    const ql_cpu_kernels *kern;
    int64_t block, count; /* elements per block; elements here */
    ql_cpu_cuts cuts;     /* NEAREST up to 4 bits */
    bool fp4_cuda;        /* sign and magnitude apart, no cuts */
} encoder;

/* What the codes of a block are computed from. */
typedef struct block_rule {
    float absmax;
    float mul;        /* code of x * mul ...                        */
    bool divide;      /* ... or of x / absmax: a partial last block */
    float low, scale; /* AFFINE                                     */
} block_rule;

/* ---------------------------------------------------------------------- code table */

static bool same_table(const float *a, const float *b) {
    for (int i = 0; i < 16; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* Codes in the order of their values (equal values in the order of codes), midpoints between
 * neighbours. A table of fewer than 16 entries is continued by cuts that nothing exceeds. */
static void cuts_of_table(const float *table, int n, ql_quant_rule rule, ql_cpu_cuts *cuts) {
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && table[i] < table[cuts->code[at - 1]]; at--)
            cuts->code[at] = cuts->code[at - 1];
        cuts->code[at] = (uint8_t)i;
    }
    for (int i = n; i < 16; i++) cuts->code[i] = cuts->code[n - 1];
    for (int i = 0; i < 15; i++)
        cuts->cut[i] =
            i + 1 < n ? (table[cuts->code[i]] + table[cuts->code[i + 1]]) * 0.5f : INFINITY;
    cuts->nan_low = rule == QL_RULE_CUDA;
    if (rule == QL_RULE_CUDA && n == 16 && same_table(table, ql_nf4_table))
        memcpy(cuts->cut, ql_nf4_mid_cuda, sizeof cuts->cut);
}

/* --------------------------------------------------------------------- reading w */

/* Elements [e, e+n) of w in row-major order; n <= PIECE. */
static const float *elements(const encoder *enc, int64_t e, int64_t n, float tmp[PIECE]) {
    const ql_mat *w = &enc->a->w;
    if (w->dtype == QL_F32 && (w->ld == w->cols || w->rows == 1)) return ql_cpu_f32(w, 0) + e;
    for (int64_t done = 0; done < n;) {
        int64_t row = (e + done) / w->cols, col = (e + done) % w->cols;
        int64_t run = ql_cpu_min(n - done, w->cols - col);
        ql_cpu_widen(w->dtype, ql_cpu_at(w, row, col), tmp + done, run);
        done += run;
    }
    return tmp;
}

/* ------------------------------------------------------------------- block statistics */

/* Largest |x|: a NaN wins, or never does. */
static float block_absmax(const encoder *enc, int64_t e, int64_t n, bool ignore_nan) {
    float tmp[PIECE], top = 0.0f;
    for (int64_t done = 0; done < n; done += PIECE) {
        int64_t run = ql_cpu_min(n - done, PIECE);
        const float *x = elements(enc, e + done, run, tmp);
        if (ignore_nan) {
            for (int64_t i = 0; i < run; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
        } else {
            float m = enc->kern->absmax(x, run);
            top = !(m <= top) && top == top ? m : top;
        }
    }
    return top;
}

static block_rule nearest_rule(const encoder *enc, int64_t e, int64_t n) {
    const bool cuda = enc->a->rule == QL_RULE_CUDA, eight = enc->a->q.bits == 8;
    block_rule r = {.absmax = block_absmax(enc, e, n, cuda || eight)};
    if (eight || cuda) {
        r.mul = 1.0f / r.absmax;
        return r;
    }
    const float floored = r.absmax <= 1e-38f ? 1e-38f : r.absmax;
    r.divide = n < enc->block && enc->a->first + e + n == enc->a->total;
    if (r.divide) r.absmax = floored;
    r.mul = 1.0f / floored;
    return r;
}

/* Range of the block; one NaN makes all of it NaN. */
static block_rule affine_rule(const encoder *enc, int64_t e, int64_t n) {
    float tmp[PIECE], low = INFINITY, high = -INFINITY;
    bool nan = false;
    for (int64_t done = 0; done < n; done += PIECE) {
        int64_t run = ql_cpu_min(n - done, PIECE);
        const float *x = elements(enc, e + done, run, tmp);
        for (int64_t i = 0; i < run; i++) {
            low = x[i] < low ? x[i] : low;
            high = x[i] > high ? x[i] : high;
            nan |= x[i] != x[i];
        }
    }
    if (nan) low = high = NAN;
    return (block_rule){.low = low, .scale = ql_affine_scale(low, high, (1 << enc->a->q.bits) - 1)};
}

static block_rule rule_of_block(const encoder *enc, int64_t e, int64_t n) {
    switch (enc->a->encode) {
    case QL_ENCODE_AFFINE: return affine_rule(enc, e, n);
    case QL_ENCODE_ROUND: return (block_rule){.absmax = block_absmax(enc, e, n, false)};
    default: return nearest_rule(enc, e, n);
    }
}

/* ------------------------------------------------------------------------------ codes */

static int code_of(const encoder *enc, const block_rule *r, float x) {
    const int bits = enc->a->q.bits;
    const bool cuda = enc->a->rule == QL_RULE_CUDA;
    if (enc->a->encode == QL_ENCODE_AFFINE)
        return ql_affine_code(x, r->low, r->scale, (1 << bits) - 1);
    if (enc->a->encode == QL_ENCODE_ROUND) return ql_int8_code(x, r->absmax);
    const float v = r->divide ? x / r->absmax : x * r->mul;
    if (bits == 8) {
        const float *map = ql_cpu_f32(&enc->a->q.table, 0);
        return cuda ? ql_dyn8_code_cuda(map, v) : ql_dyn8_code_cpu(map, v);
    }
    if (enc->fp4_cuda) return ql_fp4_code_cuda(v);
    return enc->cuts.code[enc->cuts.nan_low ? ql_count_above(v, enc->cuts.cut, 15)
                                            : ql_count_below(v, enc->cuts.cut, 15)];
}

/* Puts one code into the stream; the other bits of its bytes stay. */
static void put_code(uint8_t *codes, int64_t bit, int bits, ql_pack pack, int code) {
    for (int i = 0; i < bits; i++, bit++) { /* from the code's first stored bit on */
        bool low = pack == QL_PACK_LOW_FIRST;
        int value = low ? code >> i & 1 : code >> (bits - 1 - i) & 1;
        uint8_t mask = (uint8_t)(1 << (low ? bit & 7 : 7 - (bit & 7)));
        codes[bit >> 3] = (uint8_t)(value ? codes[bit >> 3] | mask : codes[bit >> 3] & ~mask);
    }
}

/* Codes two per byte -> codes of 2 or 3 bits, n a multiple of 8; first in the highest bits. */
static void repack(const uint8_t *pairs, int64_t n, int bits, uint8_t *out) {
    for (int64_t i = 0; i < n / 2; i += 4, out += bits) {
        uint32_t word = 0;
        for (int p = 0; p < 4; p++)
            word = word << 2 * bits | (uint32_t)(pairs[i + p] >> 4) << bits | (pairs[i + p] & 15);
        for (int b = 0; b < bits; b++) out[b] = (uint8_t)(word >> 8 * (bits - 1 - b));
    }
}

static void encode_piece(const encoder *enc, const block_rule *r, int64_t e, int64_t n,
                         const float *x, uint8_t *codes) {
    const ql_qmat *q = &enc->a->q;
    const bool fast = q->bits <= 4 && q->pack == QL_PACK_HIGH_FIRST && e * q->bits % 8 == 0 &&
                      enc->a->encode == QL_ENCODE_NEAREST && !enc->fp4_cuda;
    int64_t i = 0;
    if (fast && !r->divide && q->bits == 4) {
        i = n & ~(int64_t)1;
        enc->kern->encode4(x, i, r->mul, &enc->cuts, codes + e / 2);
    } else if (fast && !r->divide) {
        uint8_t pairs[PIECE / 2];
        i = n & ~(int64_t)7;
        enc->kern->encode4(x, i, r->mul, &enc->cuts, pairs);
        repack(pairs, i, q->bits, codes + e * q->bits / 8);
    }
    for (; i < n; i++) {
        int code = code_of(enc, r, x[i]);
        if (q->bits == 8)
            codes[e + i] = (uint8_t)code;
        else
            put_code(codes, (e + i) * q->bits, q->bits, q->pack, code);
    }
}

/* The unused end of the last byte: half a byte holds the code of 0 (spec 1.2), else zeros. */
static void fill_tail(const encoder *enc, uint8_t *codes) {
    const ql_qmat *q = &enc->a->q;
    const block_rule one = {.absmax = 1.0f, .mul = 1.0f, .scale = 1.0f};
    int64_t bit = enc->count * q->bits;
    if (q->bits == 4 && bit % 8 != 0)
        put_code(codes, bit, 4, q->pack, code_of(enc, &one, 0.0f));
    else
        for (; bit % 8 != 0; bit++) put_code(codes, bit, 1, q->pack, 0);
}

static void encode_blocks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const encoder *enc = (const encoder *)ctx;
    const ql_qmat *q = &enc->a->q;
    uint8_t *codes = (uint8_t *)ql_cpu_at(&q->codes, 0, 0);
    float tmp[PIECE];
    (void)thread;
    for (int64_t b = begin; b < end; b++) {
        int64_t e = b * enc->block, n = ql_cpu_min(enc->block, enc->count - e);
        block_rule r = rule_of_block(enc, e, n);
        for (int64_t done = 0; done < n; done += PIECE) {
            int64_t run = ql_cpu_min(n - done, PIECE);
            encode_piece(enc, &r, e + done, run, elements(enc, e + done, run, tmp), codes);
        }
        const bool affine = enc->a->encode == QL_ENCODE_AFFINE;
        ql_cpu_f32(&q->scale, 0)[b] = affine ? r.scale : r.absmax;
        if (affine) ql_cpu_f32(&q->zero, 0)[b] = r.low;
        if (e + n == enc->count) fill_tail(enc, codes);
    }
}

ql_status ql_cpu_q_quantize(ql_queue *q, const ql_q_quantize_args *a) {
    encoder enc = {.a = a,
                   .kern = ql_cpu_dev(q)->kern,
                   .block = a->q.block > 0 ? a->q.block : a->q.k,
                   .count = a->w.rows * a->w.cols};
    if (a->encode == QL_ENCODE_NEAREST && a->q.bits <= 4) {
        const float *table = ql_cpu_f32(&a->q.table, 0);
        cuts_of_table(table, 1 << a->q.bits, a->rule, &enc.cuts);
        enc.fp4_cuda = a->rule == QL_RULE_CUDA && a->q.bits == 4 && same_table(table, ql_fp4_table);
    }
    int64_t blocks = ql_cpu_ceil_div(enc.count, enc.block);
    bool whole_bytes = enc.block * a->q.bits % 8 == 0;
    int64_t grain = whole_bytes ? ql_cpu_ceil_div(16384, enc.block) : blocks;
    ql_cpu_parallel(q, blocks, grain, encode_blocks, &enc);
    return QL_OK;
}
