/*
 * explain_text.c - the measured numbers as text and as JSON.
 *
 * Sentences about who wins are chosen by the numbers: nothing is claimed that the run did not show.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/quant/explain.h"

enum { LEVELS = QL_EXPLAIN_LEVELS };

/* A growing string; the first failure sticks. */
typedef struct text {
    void *s;
    size_t cap, len;
    ql_status status;
} text;

static void put(text *t, const char *fmt, ...) QL_PRINTF(2, 3);
static void put(text *t, const char *fmt, ...) {
    va_list args, again;
    if (t->status != QL_OK) return;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    size_t len = n > 0 ? (size_t)n : 0;
    t->status = ql_host_grow(&t->s, &t->cap, t->len + len + 1, 1);
    if (t->status == QL_OK) {
        vsnprintf((char *)t->s + t->len, len + 1, fmt, again);
        t->len += len;
    }
    va_end(again);
}

static void put_levels(text *t, const double *x, int n) {
    for (int i = 0; i < n; i++)
        put(t, "%s%8.4f%s", i % 8 == 0 ? "   " : "", x[i], i % 8 == 7 || i + 1 == n ? "\n" : " ");
}

static void put_construction(text *t, const ql_explain *e) {
    put(t,
        "nf4: 16 levels from the quantiles Q of the normal distribution\n\n"
        "How the table is built\n"
        "  Each level should stand for an equal share of normally distributed weights, so levels\n"
        "  are quantiles. Q(0) and Q(1) are infinite, so the ends are taken at the probability\n"
        "  0.9677083 = 1 - (1/32 + 1/30) / 2, half a step inside 1 for 16 and for 15 levels.\n"
        "    negative side:  8 probabilities from 0.9677083 to 1/2 -> -Q(p), 1/2 left out: 7 "
        "levels\n"
        "    zero:           exactly 0, so that a zero weight stays zero\n"
        "    positive side:  9 probabilities from 0.9677083 to 1/2 ->  Q(p), 1/2 left out: 8 "
        "levels\n"
        "  All are divided by the largest, Q(0.9677083), so the ends are -1 and 1. One more "
        "positive\n"
        "  level than negative: 16 levels with both ends and a zero cannot be symmetric.\n");
    double level[LEVELS];
    for (int i = 0; i < LEVELS; i++) level[i] = (double)e->built[i];
    put_levels(t, level, LEVELS);
    put(t,
        "  Largest difference to the stored constants: %.2g computed in float32 as the package\n"
        "  does, %.2g computed in double.\n\n",
        e->float_diff, e->double_diff);
    put(t,
        "Why not the formula as printed\n"
        "  q_i = (Q(i / (2^k + 1)) + Q((i + 1) / (2^k + 1))) / 2 with k = 4: i = 0 needs Q(0) and\n"
        "  i = 16 needs Q(1), both infinite. i = 1 .. 15 gives 15 finite levels, symmetric around "
        "0\n"
        "  (divided by the largest):\n");
    put_levels(t, e->literal, LEVELS - 1);
    put(t, "  The 16th code would be unused; the asymmetric construction gives it to a positive "
           "level.\n\n");
}

/* One sentence on how each other table comes about. */
static const char *describe(const char *name) {
    if (strcmp(name, "fp4") == 0)
        return "fp4: sign, two bits of exponent, one of mantissa; {0, 1/16, 2, 3, 4, 6, 8, 12} / "
               "12 and "
               "the negatives";
    if (strcmp(name, "int4") == 0) return "int4: 16 evenly spaced levels from -1 to 1, no zero";
    if (strcmp(name, "int4s") == 0)
        return "int4s: i / 7 for i = -7 .. 7, symmetric with a zero; one code unused";
    return "int4a: 16 even steps between each block's minimum and maximum";
}

static void put_table(text *t, const ql_explain *e) {
    put(t, "On %lld draws from N(0, 1), seed %llu, blocks of %d scaled by their absmax\n",
        (long long)e->draws, (unsigned long long)e->seed, (int)e->block);
    put(t, "  code            entropy      MSE        mean |e|   max |e|   least and most used "
           "level\n");
    for (int i = 0; i < e->codes; i++) {
        const ql_explain_code *c = &e->code[i];
        double low = 1.0, high = 0.0;
        for (int l = 0; l < LEVELS; l++) {
            low = fmin(low, c->share[l]);
            high = fmax(high, c->share[l]);
        }
        put(t, "  %-14s %5.3f bit  %.6f", c->name, c->entropy, c->mse);
        if (isnan(c->max_abs))
            put(t, "   -          -       ");
        else
            put(t, "   %.6f   %.4f  ", c->mean_abs, c->max_abs);
        put(t, "  %5.2f %% .. %5.2f %%\n", 100.0 * low, 100.0 * high);
    }
    put(t, "  block optimum: the 16 levels with the least squared error under the same block "
           "scaling,\n"
           "  fitted to these draws. lloyd-max: the optimum for N(0, 1) itself, no block scales "
           "(and so\n"
           "  no protection against an outlier).\n\n");
}

static void put_occupancy(text *t, const ql_explain_code *c) {
    put(t, "Share of each %s level (equal shares would be %.2f %%)\n", c->name, 100.0 / LEVELS);
    for (int l = 0; l < LEVELS; l++) {
        int bar = (int)(c->share[l] * 400.0 + 0.5);
        put(t, "  %9.5f  %6.3f %%  %.*s\n", c->level[l], 100.0 * c->share[l], bar,
            "############################################################");
    }
    put(t, "\n");
}

/* The measured value of one code under one measure; larger is better. */
static double merit(const ql_explain_code *c, int measure) {
    switch (measure) {
    case 0: return c->entropy;
    case 1: return -c->mse;
    case 2: return -c->mean_abs;
    default: return -c->max_abs;
    }
}

static void put_verdict(text *t, const ql_explain *e) {
    static const char *const measures[] = {"entropy of the codes", "mean squared error",
                                           "mean absolute error", "largest error"};
    put(t, "What nf4 wins\n");
    for (int m = 0; m < 4; m++) {
        int best = 0;
        for (int i = 1; i < 3; i++)
            if (merit(&e->code[i], m) > merit(&e->code[best], m)) best = i;
        put(t, "  %-21s best of nf4, fp4, int4: %s\n", measures[m], e->code[best].name);
    }
    const ql_explain_code *nf4 = &e->code[0], *optimum = &e->code[e->codes - 2];
    put(t,
        "  nf4 is not the least-squares optimum: its squared error is %.1f %% above the 16 best "
        "levels\n"
        "  for the same scaling, and its codes carry %.3f of 4 bits. \"Optimal\" for nf4 means "
        "levels of\n"
        "  equal expected use before the block scaling, not the least error.\n",
        100.0 * (nf4->mse / optimum->mse - 1.0), nf4->entropy);
}

ql_status ql_explain_text(const ql_explain *e, char **out) {
    text t = {.status = QL_OK};
    const ql_explain_code *asked = &e->code[0];
    for (int i = 0; i < e->codes; i++)
        if (strcmp(e->code[i].name, e->type->name) == 0) asked = &e->code[i];
    if (e->type->id == QL_QT_NF4)
        put_construction(&t, e);
    else
        put(&t, "%s\n\n", describe(e->type->name));
    put_table(&t, e);
    put_occupancy(&t, asked);
    put_verdict(&t, e);
    if (t.status != QL_OK) {
        ql_host_free(t.s);
        return t.status;
    }
    *out = t.s;
    return QL_OK;
}

ql_status ql_explain_type(const char *type, int64_t draws, uint64_t seed, char **out) {
    ql_explain e;
    QL_TRY(ql_explain_measure(type, draws, seed, &e));
    return ql_explain_text(&e, out);
}

static json_t *numbers(const double *x, int n) {
    json_t *a = json_array();
    for (int i = 0; a != NULL && i < n; i++)
        if (json_array_append_new(a, json_real(x[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *number_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *code_object(const ql_explain_code *c) {
    return json_pack("{s:s, s:b, s:o, s:o, s:f, s:f, s:o, s:o}", "name", c->name, "block_scaled",
                     c->scaled, "levels", numbers(c->level, LEVELS), "share",
                     numbers(c->share, LEVELS), "entropy", c->entropy, "mse", c->mse, "mean_abs",
                     number_or_null(c->mean_abs), "max_abs", number_or_null(c->max_abs));
}

ql_status ql_explain_json(const ql_explain *e, json_t **out) {
    double built[LEVELS];
    for (int i = 0; i < LEVELS; i++) built[i] = (double)e->built[i];
    json_t *codes = json_array();
    for (int i = 0; codes != NULL && i < e->codes; i++)
        if (json_array_append_new(codes, code_object(&e->code[i])) != 0) {
            json_decref(codes);
            codes = NULL;
        }
    json_t *j = json_pack("{s:s, s:I, s:I, s:i, s:{s:o, s:f, s:f, s:o}, s:o}", "type",
                          e->type->name, "draws", (json_int_t)e->draws, "seed", (json_int_t)e->seed,
                          "block", (int)e->block, "nf4", "levels", numbers(built, LEVELS),
                          "float_difference", e->float_diff, "double_difference", e->double_diff,
                          "literal_formula", numbers(e->literal, LEVELS - 1), "codes", codes);
    if (j == NULL) return QL_NOMEM("the JSON of --explain");
    *out = j;
    return QL_OK;
}
