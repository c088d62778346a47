/*
 * weights.c - quantized weights for the cases: every storage type with random codes and scales.
 *
 * Code tables are computed here from their definition in spec/quantization.md (sections 1.1, 6, 9).
 */
#include <math.h>
#include <string.h>

#include "tests/ref/ref.h"
#include "tests/support/opcase.h"

typedef enum table_kind {
    TABLE_LIST,   /* the values below                          */
    TABLE_EVEN,   /* linspace(-1, 1, 2^bits)                   */
    TABLE_SIGNED, /* i / (2^(bits-1) - 1), i from -2^(bits-1)  */
    TABLE_COUNT,  /* 0, 1, 2, ...: affine                      */
    TABLE_BYTE,   /* the byte in two's complement              */
    TABLE_SQUARE  /* any sorted 256 values                     */
} table_kind;

typedef struct storage {
    const char *name;
    int32_t bits;
    table_kind table;
    const double *values;
    ql_pack pack;
    ql_ggml ggml;
    bool affine, half; /* zeros; scales and zeros are f16 */
    float post;
} storage;

static const double nf4[16] = {-1.0,
                               -0.6961928009986877,
                               -0.5250730514526367,
                               -0.39491748809814453,
                               -0.28444138169288635,
                               -0.18477343022823334,
                               -0.09105003625154495,
                               0.0,
                               0.07958029955625534,
                               0.16093020141124725,
                               0.24611230194568634,
                               0.33791524171829224,
                               0.44070982933044434,
                               0.5626170039176941,
                               0.7229568362236023,
                               1.0};
static const double fp4[16] = {0.0,
                               0.0052083334885537624,
                               0.6666666865348816,
                               1.0,
                               0.3333333432674408,
                               0.5,
                               0.1666666716337204,
                               0.25,
                               0.0,
                               -0.0052083334885537624,
                               -0.6666666865348816,
                               -1.0,
                               -0.3333333432674408,
                               -0.5,
                               -0.1666666716337204,
                               -0.25};
static const double nf2[4] = {-1.0, 0.0, 0.33791524171829224, 1.0};
static const double nf3[8] = {-1.0,
                              -0.4786292016506195,
                              -0.217141792178154,
                              0.0,
                              0.16093020141124725,
                              0.33791524171829224,
                              0.5626170039176941,
                              1.0};

#define HIGH QL_PACK_HIGH_FIRST
#define LOW  QL_PACK_LOW_FIRST
static const storage types[] = {
    {"nf4", 4, TABLE_LIST, nf4, HIGH, 0, false, false, 0},
    {"fp4", 4, TABLE_LIST, fp4, HIGH, 0, false, false, 0},
    {"nf2", 2, TABLE_LIST, nf2, HIGH, 0, false, false, 0},
    {"nf2-low", 2, TABLE_LIST, nf2, LOW, 0, false, false, 0},
    {"nf3", 3, TABLE_LIST, nf3, HIGH, 0, false, false, 0},
    {"nf3-low", 3, TABLE_LIST, nf3, LOW, 0, false, false, 0},
    {"nf4-low", 4, TABLE_LIST, nf4, LOW, 0, false, false, 0},
    {"int2", 2, TABLE_EVEN, NULL, HIGH, 0, false, false, 0},
    {"int3", 3, TABLE_EVEN, NULL, HIGH, 0, false, false, 0},
    {"int4", 4, TABLE_EVEN, NULL, HIGH, 0, false, false, 0},
    {"int2s", 2, TABLE_SIGNED, NULL, HIGH, 0, false, false, 0},
    {"int3s", 3, TABLE_SIGNED, NULL, HIGH, 0, false, false, 0},
    {"int4s", 4, TABLE_SIGNED, NULL, HIGH, 0, false, false, 0},
    {"int4a", 4, TABLE_COUNT, NULL, HIGH, 0, true, false, 0},
    {"int4a-f16", 4, TABLE_COUNT, NULL, LOW, 0, true, true, 0},
    {"int3a", 3, TABLE_COUNT, NULL, HIGH, 0, true, false, 0},
    {"int2a", 2, TABLE_COUNT, NULL, HIGH, 0, true, false, 0},
    {"int8", 8, TABLE_BYTE, NULL, HIGH, 0, false, false, 7.874015718698502e-3f},
    {"dyn8", 8, TABLE_SQUARE, NULL, HIGH, 0, false, false, 0},
    {"q4_0", 0, 0, NULL, QL_PACK_GGML, QL_GGML_Q4_0, false, false, 0},
    {"q4_1", 0, 0, NULL, QL_PACK_GGML, QL_GGML_Q4_1, false, false, 0},
    {"q5_0", 0, 0, NULL, QL_PACK_GGML, QL_GGML_Q5_0, false, false, 0},
    {"q5_1", 0, 0, NULL, QL_PACK_GGML, QL_GGML_Q5_1, false, false, 0},
    {"q8_0", 0, 0, NULL, QL_PACK_GGML, QL_GGML_Q8_0, false, false, 0},
};
#undef HIGH
#undef LOW

int tc_weight_find(const char *name) {
    for (int i = 0; i < (int)(sizeof types / sizeof *types); i++)
        if (strcmp(types[i].name, name) == 0) return i;
    return -1;
}

void tc_weight_table(int type, double *v) {
    const storage *t = &types[type];
    int n = 1 << t->bits;
    for (int i = 0; i < n; i++) {
        double u = (i - 127) / 128.0;
        switch (t->table) {
        case TABLE_LIST: v[i] = t->values[i]; break;
        case TABLE_EVEN: v[i] = -1.0 + 2.0 * i / (n - 1); break;
        case TABLE_SIGNED: v[i] = (double)(i - n / 2) / (n / 2 - 1); break;
        case TABLE_COUNT: v[i] = i; break;
        case TABLE_BYTE: v[i] = i < 128 ? i : i - 256; break;
        case TABLE_SQUARE: v[i] = u * fabs(u); break;
        }
        v[i] = ref_round_to(QL_F32, v[i]);
    }
}

/* Random bytes, but the f16 numbers of each block are moderate: sign, exponent near -4. */
static void add_ggml(opcase *c, ql_qmat *w, int64_t n, int64_t k) {
    static const int bytes[] = {0, 18, 20, 22, 24, 34};
    int size = bytes[w->ggml], halves = w->ggml == QL_GGML_Q4_1 || w->ggml == QL_GGML_Q5_1 ? 2 : 1;
    int64_t cols = k / 32 * size;
    double *v = tc_in(c, &w->codes, "w.codes", QL_U8, n, cols);
    tc_find(c, &w->codes)->form = FORM_PACKED;
    tc_range(c, v, n * cols, 0, 256);
    for (int64_t b = 0; v && b < n * cols; b += size)
        for (int h = 0; h < halves; h++) v[b + 2 * h + 1] = (double)((tc_bits(c) & 0x83) | 0x28);
}

/* Block scales: f32 or f16; or 8-bit codes of a map, scaled again by block2, plus an offset. */
static void add_scales(opcase *c, ql_qmat *w, const storage *t, int64_t first, int64_t last,
                       bool doubled) {
    ql_dtype type = t->half ? QL_F16 : QL_F32;
    int64_t blocks = last - first + 1;
    double *v;
    if (!doubled) {
        v = tc_in(c, &w->scale, "w.scale", type, 1, blocks);
        for (int64_t i = 0; v && i < blocks; i++) v[i] = 0.02 + 0.1 * tc_uniform(c);
    } else {
        int64_t groups = last / w->block2 - first / w->block2 + 1;
        tc_range(c, tc_in(c, &w->scale, "w.scale", QL_U8, 1, blocks), blocks, 0, 256);
        v = tc_in(c, &w->scale2, "w.scale2", QL_F32, 1, groups);
        for (int64_t i = 0; v && i < groups; i++) v[i] = 0.01 + 0.01 * tc_uniform(c);
        v = tc_in(c, &w->code2, "w.code2", QL_F32, 1, 256);
        if (v) tc_weight_table(tc_weight_find("dyn8"), v);
        v = tc_in(c, &w->offset, "w.offset", QL_F32, 1, 1);
        if (v) v[0] = 0.05;
    }
    if (doubled) type = QL_F16; /* of zeros, beside a second level */
    if (t->affine) tc_normal(c, tc_in(c, &w->zero, "w.zero", type, 1, blocks), blocks, 0.1);
}

void tc_weight(opcase *c, ql_qmat *w, const weight_shape *s) {
    int type = tc_weight_find(s->type);
    const storage *t = &types[type];
    *w = (ql_qmat){.n = s->n,
                   .k = s->k,
                   .row0 = s->row0,
                   .bits = t->bits,
                   .block = s->block,
                   .block2 = s->doubled ? 8 : 0,
                   .pack = t->pack,
                   .ggml = t->ggml,
                   .post = t->post};
    if (t->ggml != QL_GGML_NONE) {
        add_ggml(c, w, s->n, s->k);
        return;
    }
    int64_t block = s->block == 0 ? s->k : s->block, e0 = s->row0 * s->k, e1 = e0 + s->n * s->k;
    int64_t bytes = (e1 * t->bits + 7) / 8 - e0 * t->bits / 8;
    tc_range(c, tc_in(c, &w->codes, "w.codes", QL_U8, 1, bytes), bytes, 0, 256);
    tc_find(c, &w->codes)->form = FORM_PACKED;
    double *table = tc_in(c, &w->table, "w.table", QL_F32, 1, (int64_t)1 << t->bits);
    if (table) tc_weight_table(type, table);
    add_scales(c, w, t, e0 / block, (e1 - 1) / block, s->doubled);
}
