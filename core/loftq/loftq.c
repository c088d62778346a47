/* loftq.c - see loftq.h. */
#include "core/loftq/loftq.h"

#include <math.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/loftq/blas.h"

/* One call: the weight, a scratch matrix of its shape, and a row. */
typedef struct splitter {
    const ql_split_opts *o;
    const float *w;
    int64_t n, k;
    float *rest; /* [n, k] */
    float *row;  /* [k]    */
} splitter;

/* What one iteration gives; owned. */
typedef struct candidate {
    ql_qtensor q;
    float *dense, *a, *b;
    double bound, excess;
    int32_t rounds;
} candidate;

static void free_candidate(candidate *c) {
    ql_qtensor_free(&c->q);
    ql_host_free(c->dense);
    ql_host_free(c->a);
    ql_host_free(c->b);
    *c = (candidate){0};
}

void ql_split_free(ql_split *x) {
    ql_qtensor_free(&x->q);
    ql_host_free(x->dense);
    ql_host_free(x->a);
    ql_host_free(x->b);
    *x = (ql_split){0};
}

ql_status ql_split_check(const ql_split_opts *o, int64_t n, int64_t k) {
    int64_t least = n < k ? n : k;
    if (o->r < 1 || o->r > least)
        return QL_FAIL(QL_ERR_INVALID,
                       "--lora_r %d exceeds the rank of a %lld x %lld weight; the most is %lld",
                       (int)o->r, (long long)n, (long long)k, (long long)least);
    if (!(o->scaling > 0) || !isfinite(o->scaling))
        return QL_FAIL(QL_ERR_INVALID,
                       "--lora_alpha: a scaling of %g cannot be divided out of the adapter; alpha "
                       "must be above 0",
                       (double)o->scaling);
    if (o->iters < 1 || o->iters > QL_LOFTQ_MAX_ITER)
        return QL_FAIL(QL_ERR_INVALID, "--loftq_iter %d: expected 1 to %d", (int)o->iters,
                       QL_LOFTQ_MAX_ITER);
    if (o->method == QL_SPLIT_LOFTQ && !o->quantized)
        return QL_FAIL(QL_ERR_INVALID,
                       "LoftQ makes up for quantization; with --bits 16 there is nothing to do "
                       "(PiSSA and OLoRA work there)");
    return o->quantized ? ql_quant_opts_check(&o->quant) : QL_OK;
}

/* ---------------------------------------------------------------- norms */

typedef struct norms {
    double plain, weighted; /* squared */
} norms;

static void add_row(const splitter *x, const float *row, norms *sum) {
    const float *d = x->o->input_rms;
    for (int64_t j = 0; j < x->k; j++) {
        double v = (double)row[j];
        sum->plain += v * v;
        if (d) sum->weighted += v * v * (double)d[j] * (double)d[j];
    }
}

static norms norms_of(const splitter *x, const float *m) {
    norms sum = {0};
    for (int64_t i = 0; i < x->n; i++) add_row(x, m + i * x->k, &sum);
    return (norms){sqrt(sum.plain), sqrt(sum.weighted)};
}

/* ---------------------------------------------------------------- the frozen part */

static float rounded(float v, ql_st_dtype to) {
    if (to == QL_ST_F16) return ql_f32_from_f16(ql_f16_from_f32(v));
    return to == QL_ST_BF16 ? ql_f32_from_bf16(ql_bf16_from_f32(v)) : v;
}

/* Freezes x->rest into c->q or c->dense. */
static ql_status freeze(const splitter *x, candidate *c) {
    const ql_split_opts *o = x->o;
    if (o->quantized)
        return ql_quantize_with(&o->quant, o->encode, o->encode_user, x->rest, x->n, x->k, &c->q);
    c->dense = ql_host_calloc((size_t)x->n, (size_t)x->k * sizeof *c->dense);
    if (!c->dense) return QL_NOMEM("a weight without its adapter");
    for (int64_t i = 0; i < x->n * x->k; i++) c->dense[i] = rounded(x->rest[i], o->dense);
    return QL_OK;
}

/* x->rest = W - Q. */
static ql_status subtract_frozen(const splitter *x, const candidate *c) {
    for (int64_t i = 0; i < x->n; i++) {
        const float *frozen = x->row, *w = x->w + i * x->k;
        float *rest = x->rest + i * x->k;
        if (c->dense)
            frozen = c->dense + i * x->k;
        else
            QL_TRY(ql_dequantize_rows(&c->q, i, 1, x->row));
        for (int64_t j = 0; j < x->k; j++) rest[j] = w[j] - frozen[j];
    }
    return QL_OK;
}

/* x->rest -= s B A. */
static void subtract_adapter(const splitter *x, const candidate *c) {
    const ql_product ba = {
        .m = x->n, .n = x->k, .k = x->o->r, .alpha = -x->o->scaling, .beta = 1.0f};
    ql_blas_product(&ba, c->b, c->a, x->rest);
}

/* ---------------------------------------------------------------- the adapter */

/* A and B from the best rank r of x->rest, which may be overwritten. */
static ql_status factor(const splitter *x, candidate *c) {
    const float *d = x->o->input_rms;
    ql_low_rank f;
    for (int64_t i = 0; d && i < x->n; i++)
        for (int64_t j = 0; j < x->k; j++) x->rest[i * x->k + j] *= d[j];
    QL_TRY(ql_low_rank_of(&x->o->svd, x->rest, x->n, x->k, x->o->r, &f));
    float share = 1.0f / sqrtf(x->o->scaling);
    for (int64_t i = 0; i < x->n * f.r; i++) f.left[i] *= share;
    for (int32_t i = 0; i < f.r; i++)
        for (int64_t j = 0; j < x->k; j++) f.right[i * x->k + j] *= d ? share / d[j] : share;
    c->b = f.left;
    c->a = f.right;
    c->bound = f.bound;
    c->excess = f.excess;
    c->rounds = f.rounds;
    f.left = f.right = NULL;
    ql_low_rank_free(&f);
    return QL_OK;
}

static ql_status factor_qr(const splitter *x, candidate *c) {
    int32_t r = x->o->r;
    c->a = ql_host_calloc((size_t)r, (size_t)x->k * sizeof *c->a);
    c->b = ql_host_calloc((size_t)x->n, (size_t)r * sizeof *c->b);
    if (!c->a || !c->b) return QL_NOMEM("an adapter");
    return ql_blas_qr(x->n, x->k, r, x->rest, c->b, c->a);
}

/* ---------------------------------------------------------------- whole */

static void fill_rest(const splitter *x) {
    memcpy(x->rest, x->w, (size_t)x->n * (size_t)x->k * sizeof *x->rest);
}

/* Norms of W - Q and of what the adapter leaves of it, at t. */
static ql_status measure(const splitter *x, const candidate *c, int32_t t, ql_split *out) {
    QL_TRY(subtract_frozen(x, c));
    out->drift[t] = norms_of(x, x->rest).plain;
    subtract_adapter(x, c);
    norms left = norms_of(x, x->rest);
    out->residual[t] = left.plain;
    out->weighted[t] = left.weighted;
    return QL_OK;
}

/* The plain quantization of W: what there is without an adapter. */
static ql_status measure_plain(const splitter *x, ql_split *out) {
    candidate plain = {0};
    fill_rest(x);
    ql_status s = freeze(x, &plain);
    if (s == QL_OK) s = subtract_frozen(x, &plain);
    norms left = norms_of(x, x->rest);
    out->drift[0] = out->residual[0] = left.plain;
    out->weighted[0] = left.weighted;
    free_candidate(&plain);
    return s;
}

static bool is_better(const splitter *x, const ql_split *out, int32_t t) {
    if (x->o->keep_last || out->best == 0) return true;
    const double *by = x->o->input_rms ? out->weighted : out->residual;
    return by[t] < by[out->best];
}

static void keep(candidate *c, int32_t t, candidate *best, ql_split *out) {
    free_candidate(best);
    *best = *c;
    out->best = t;
}

static ql_status loftq(const splitter *x, candidate *best, ql_split *out) {
    candidate now = {0}, last = {0};
    ql_status s = QL_OK;
    const candidate *previous = NULL;
    bool done = false;
    for (int32_t t = 1; s == QL_OK && !done && t <= x->o->iters; t++) {
        out->iters = t;
        fill_rest(x);
        if (previous) subtract_adapter(x, previous);
        s = freeze(x, &now);
        if (s == QL_OK) s = subtract_frozen(x, &now);
        if (s == QL_OK && t == 1) {
            norms left = norms_of(x, x->rest);
            out->residual[0] = out->drift[0] = left.plain;
            out->weighted[0] = left.weighted;
        }
        if (s == QL_OK) s = factor(x, &now);
        if (s == QL_OK) s = measure(x, &now, t, out);
        if (s != QL_OK) break;
        free_candidate(&last);
        if (is_better(x, out, t)) {
            keep(&now, t, best, out);
            previous = best;
        } else {
            ql_qtensor_free(&now.q); /* only its adapter goes into the next iteration */
            last = now;
            previous = &last;
            done = x->o->stop_early;
        }
        now = (candidate){0};
    }
    free_candidate(&now);
    free_candidate(&last);
    return s;
}

/* PiSSA and OLoRA: the adapter first, then what is left of the weight. */
static ql_status principal(const splitter *x, candidate *best, ql_split *out) {
    out->iters = out->best = 1;
    QL_TRY(measure_plain(x, out));
    fill_rest(x);
    QL_TRY(x->o->method == QL_SPLIT_OLORA ? factor_qr(x, best) : factor(x, best));
    fill_rest(x);
    subtract_adapter(x, best);
    QL_TRY(freeze(x, best));
    return measure(x, best, 1, out);
}

ql_status ql_split_weight(const ql_split_opts *o, const float *w, int64_t n, int64_t k,
                          ql_split *out) {
    QL_TRY(ql_split_check(o, n, k));
    ql_split made = {.n = n, .k = k, .r = o->r};
    splitter x = {.o = o, .w = w, .n = n, .k = k};
    candidate best = {0};
    x.rest = ql_host_calloc((size_t)n, (size_t)k * sizeof *x.rest);
    x.row = ql_host_calloc((size_t)k, sizeof *x.row);
    ql_status s = x.rest && x.row ? QL_OK : QL_NOMEM("a weight to split");
    if (s == QL_OK) {
        made.norm = norms_of(&x, w).plain;
        s = o->method == QL_SPLIT_LOFTQ ? loftq(&x, &best, &made) : principal(&x, &best, &made);
    }
    ql_host_free(x.rest);
    ql_host_free(x.row);
    if (s != QL_OK) {
        free_candidate(&best);
        return s;
    }
    made.q = best.q;
    made.dense = best.dense;
    made.a = best.a;
    made.b = best.b;
    made.bound = best.bound;
    made.excess = best.excess;
    made.rounds = best.rounds;
    *out = made;
    return QL_OK;
}
