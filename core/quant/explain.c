/*
 * explain.c - the numbers of `quantize --explain`: tables from quantiles, and every code measured
 * on the same normal draws.
 *
 * The codes are the ones that ql_quantize uses, block by block, so the text cannot drift from what
 * the program does.
 */
#include "core/quant/explain.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/quant/lloyd.h"
#include "core/quant/normal.h"
#include "core/quant/quantize.h"

enum { BLOCK = 64, LEVELS = QL_EXPLAIN_LEVELS };

#define OFFSET 0.9677083

/* ------------------------------------------------------------------------------- construction */

/* The asymmetric construction without any rounding to float32. */
static void normal_map_double(double *out) {
    const int half = LEVELS / 2;
    double top = ql_normal_quantile(OFFSET);
    for (int i = 0; i < half - 1; i++)
        out[i] = -ql_normal_quantile(OFFSET + (0.5 - OFFSET) * i / (half - 1)) / top;
    out[half - 1] = 0.0;
    for (int i = 0; i < half; i++)
        out[LEVELS - 1 - i] = ql_normal_quantile(OFFSET + (0.5 - OFFSET) * i / half) / top;
}

static void construct(ql_explain *e) {
    double exact[LEVELS], top;
    const float *stored = ql_qtype_at(QL_QT_NF4)->table;
    ql_normal_map(4, OFFSET, e->built);
    normal_map_double(exact);
    e->float_diff = e->double_diff = 0.0;
    for (int i = 0; i < LEVELS; i++) {
        e->float_diff = fmax(e->float_diff, fabs((double)e->built[i] - (double)stored[i]));
        e->double_diff = fmax(e->double_diff, fabs(exact[i] - (double)stored[i]));
    }
    for (int i = 1; i < LEVELS; i++)
        e->literal[i - 1] = 0.5 * (ql_normal_quantile(i / (LEVELS + 1.0)) +
                                   ql_normal_quantile((i + 1) / (LEVELS + 1.0)));
    top = e->literal[LEVELS - 2];
    for (int i = 0; i < LEVELS - 1; i++) e->literal[i] /= top;
}

/* --------------------------------------------------------------------------------- measuring */

/* Sums while draws come in. */
typedef struct tally {
    ql_quant_opts opts;
    double count[LEVELS]; /* by code */
    double square, absolute, largest;
} tally;

static void add_error(tally *t, uint32_t code, double error) {
    double a = fabs(error);
    t->count[code] += 1.0;
    t->square += a * a;
    t->absolute += a;
    t->largest = a > t->largest ? a : t->largest;
}

/* One block through encoder and decoder of a type. */
static ql_status add_block(tally *t, const float x[BLOCK]) {
    uint8_t codes[BLOCK / 2];
    float absmax, zero = 0.0f, back[BLOCK];
    QL_TRY(ql_encode_scalar(NULL, &t->opts, x, 1, BLOCK, codes, &absmax, &zero));
    const ql_qtype *type = ql_qtype_at(t->opts.type);
    ql_qtensor q = {.type = type,
                    .n = 1,
                    .k = BLOCK,
                    .block = BLOCK,
                    .pack = QL_PACK_HIGH_FIRST,
                    .codes = codes,
                    .codes_bytes = sizeof codes,
                    .n_blocks = 1,
                    .absmax = &absmax,
                    .zero = type->affine ? &zero : NULL,
                    .table = type->table};
    QL_TRY(ql_dequantize_rows(&q, 0, 1, back));
    for (int i = 0; i < BLOCK; i++)
        add_error(t, i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15,
                  (double)x[i] - (double)back[i]);
    return QL_OK;
}

/* Without block scales: nearest of ascending levels. */
static void add_unscaled(tally *t, const double *level, const float x[BLOCK]) {
    for (int i = 0; i < BLOCK; i++) {
        double v = (double)x[i];
        uint32_t c = 0;
        while (c + 1 < LEVELS && v > 0.5 * (level[c] + level[c + 1])) c++;
        add_error(t, c, v - level[c]);
    }
}

static double entropy(const double *share, int n) {
    double bits = 0.0;
    for (int i = 0; i < n; i++)
        if (share[i] > 0.0) bits -= share[i] * log2(share[i]);
    return bits;
}

static void finish(ql_explain_code *c, const tally *t, int64_t draws) {
    c->mse = t->square / (double)draws;
    c->mean_abs = t->absolute / (double)draws;
    c->max_abs = t->largest;
    c->entropy = entropy(c->share, LEVELS);
}

/* Levels and shares of a type in ascending order of its levels. */
static void sort_levels(ql_explain_code *c, const tally *t, int64_t draws) {
    const float *table = ql_qtype_at(t->opts.type)->table;
    for (int i = 0; i < LEVELS; i++) {
        int at = i;
        double level = (double)table[i], share = t->count[i] / (double)draws;
        for (; at > 0 && c->level[at - 1] > level; at--) {
            c->level[at] = c->level[at - 1];
            c->share[at] = c->share[at - 1];
        }
        c->level[at] = level;
        c->share[at] = share;
    }
}

/* Which types are measured: nf4, fp4, int4, and the one asked for. */
static int choose_types(const ql_qtype *type, const ql_qtype *chosen[4]) {
    int n = 0;
    chosen[n++] = ql_qtype_at(QL_QT_NF4);
    chosen[n++] = ql_qtype_at(QL_QT_FP4);
    chosen[n++] = ql_qtype_at(QL_QT_INT4);
    for (int i = 0; i < n; i++)
        if (chosen[i] == type) return n;
    chosen[n++] = type;
    return n;
}

static ql_status measure_all(ql_explain *e, ql_lloyd_bin *bins) {
    const ql_qtype *chosen[4];
    int types = choose_types(e->type, chosen);
    tally t[5] = {{.largest = 0.0}};
    double fixed[LEVELS];
    ql_lloyd_normal(LEVELS, fixed);
    for (int i = 0; i < types; i++)
        t[i].opts = (ql_quant_opts){.type = chosen[i]->id, .block = BLOCK};
    ql_stream stream = ql_stream_make(e->seed, QL_STREAM_SAMPLE, 0);
    for (int64_t done = 0; done < e->draws; done += BLOCK) {
        float x[BLOCK], absmax = 0.0f;
        for (int i = 0; i < BLOCK; i++) {
            x[i] = ql_stream_normal(&stream);
            absmax = fabsf(x[i]) > absmax ? fabsf(x[i]) : absmax;
        }
        for (int i = 0; i < types; i++) QL_TRY(add_block(&t[i], x));
        add_unscaled(&t[types], fixed, x);
        double a = (double)absmax;
        for (int i = 0; i < BLOCK; i++) ql_lloyd_add(bins, (double)x[i] / a, a * a);
    }
    for (int i = 0; i < types; i++) {
        ql_explain_code *c = &e->code[e->codes++];
        *c = (ql_explain_code){.name = chosen[i]->name, .scaled = true};
        sort_levels(c, &t[i], e->draws);
        finish(c, &t[i], e->draws);
    }
    ql_explain_code *best = &e->code[e->codes++], *normal = &e->code[e->codes++];
    *best = (ql_explain_code){.name = "block optimum", .scaled = true};
    memcpy(best->level, e->code[0].level, sizeof best->level);
    double error = ql_lloyd_bins(bins, LEVELS, best->level, best->share);
    best->mse = error / (double)e->draws;
    best->mean_abs = best->max_abs = NAN;
    best->entropy = entropy(best->share, LEVELS);
    *normal = (ql_explain_code){.name = "lloyd-max"};
    memcpy(normal->level, fixed, sizeof fixed);
    for (int i = 0; i < LEVELS; i++) normal->share[i] = t[types].count[i] / (double)e->draws;
    finish(normal, &t[types], e->draws);
    return QL_OK;
}

ql_status ql_explain_measure(const char *type, int64_t draws, uint64_t seed, ql_explain *out) {
    const ql_qtype *t = ql_qtype_find(type);
    if (t == NULL || t->bits != 4)
        return QL_FAIL(QL_ERR_INVALID,
                       "--explain %s: expected a 4-bit type: nf4, fp4, int4, int4s or int4a", type);
    if (draws < BLOCK || draws > INT64_C(1000000000000))
        return QL_FAIL(QL_ERR_INVALID, "--explain: %lld draws, expected %d to 10^12",
                       (long long)draws, BLOCK);
    ql_explain e = {
        .type = t, .draws = (draws + BLOCK - 1) / BLOCK * BLOCK, .seed = seed, .block = BLOCK};
    construct(&e);
    ql_lloyd_bin *bins = ql_host_calloc(QL_LLOYD_BINS, sizeof *bins);
    if (bins == NULL) return QL_NOMEM("the bins of --explain");
    ql_status s = measure_all(&e, bins);
    ql_host_free(bins);
    if (s == QL_OK) *out = e;
    return s;
}
