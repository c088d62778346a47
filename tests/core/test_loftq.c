/*
 * test_loftq.c - one weight split into base and adapter: recorded LoftQ of PEFT and of its authors'
 * tables, and the promises that hold for every type, rank and scaling.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/loftq/blas.h"
#include "core/loftq/loftq.h"
#include "tests/core/loftq_fixture.h"
#include "tests/core/quant_fixture.h"

static ql_split_opts options(const char *type, int r, int iters) {
    ql_split_opts o = {.method = QL_SPLIT_LOFTQ,
                       .quantized = true,
                       .quant = ql_quant_opts_default(),
                       .r = r,
                       .iters = iters,
                       .scaling = 1.0f,
                       .svd = ql_svd_opts_default()};
    o.quant.type = ql_qtype_find(type)->id;
    o.quant.double_quant = false;
    return o;
}

static ql_split split(const ql_split_opts *o, const float *w, int64_t n, int64_t k) {
    ql_split x;
    if (ql_split_weight(o, w, n, k, &x) != QL_OK) fail_msg("%s", ql_last_error());
    return x;
}

/* ||W - Q - s B A|| in double from what is stored. */
static double recompute(const ql_split *x, const float *w, float s) {
    double sum = 0;
    float *row = malloc((size_t)x->k * sizeof *row);
    for (int64_t i = 0; i < x->n; i++) {
        if (x->dense)
            memcpy(row, x->dense + i * x->k, (size_t)x->k * sizeof *row);
        else
            assert_int_equal(ql_dequantize_rows(&x->q, i, 1, row), QL_OK);
        for (int64_t j = 0; j < x->k; j++) {
            double v = (double)w[i * x->k + j] - (double)row[j];
            for (int c = 0; c < x->r; c++)
                v -= (double)s * (double)x->b[i * x->r + c] * (double)x->a[c * x->k + j];
            sum += v * v;
        }
    }
    free(row);
    return sqrt(sum);
}

/* ---------------------------------------------------------------- recordings */

static void expect_near(double got, double want, double tolerance, const char *what, int t) {
    if (fabs(got - want) > tolerance * want)
        fail_msg("%s, iteration %d: %.9g, recorded %.9g", what, t, got, want);
}

static double number(const ql_st_file *f, const char *name, const char *type, int t,
                     const char *what) {
    float v;
    const ql_st_tensor *x = fixture_find(f, "%s.%s.iter%d.%s", name, type, t, what);
    assert_int_equal(ql_st_read_f32(x, 0, 1, &v), QL_OK);
    return (double)v;
}

/* B A against the recorded product, which is in float. */
static void expect_product(const ql_st_file *f, const char *name, const char *type, int t,
                           const ql_split *x) {
    if (!fixture_has(f, "%s.%s.iter%d.AB", name, type, t)) return;
    float *want = fixture_floats(fixture_find(f, "%s.%s.iter%d.AB", name, type, t));
    double norm = 0, off = 0;
    for (int64_t i = 0; i < x->n * x->k; i++) norm += (double)want[i] * (double)want[i];
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->k; j++) {
            double v = (double)want[i * x->k + j];
            for (int c = 0; c < x->r; c++)
                v -= (double)x->b[i * x->r + c] * (double)x->a[c * x->k + j];
            off += v * v;
        }
    if (sqrt(off / norm) > 1e-5)
        fail_msg("%s %s T=%d: product off by %.2g", name, type, t, sqrt(off / norm));
    free(want);
}

/* Every recorded T: both norms, and the product where it is recorded. */
static void follow(const ql_st_file *f, const char *name, const char *recorded, const char *type) {
    const ql_st_tensor *t = fixture_find(f, "%s", name);
    float *w = fixture_floats(t), rank;
    assert_int_equal(ql_st_read_f32(fixture_find(f, "%s.rank", name), 0, 1, &rank), QL_OK);
    for (int iters = 1; iters <= 5; iters++) {
        if (!fixture_has(f, "%s.%s.iter%d.err_q", name, recorded, iters)) continue;
        ql_split_opts o = options(type, (int)rank, iters);
        o.keep_last = true; /* as the recording */
        ql_split x = split(&o, w, t->shape[0], t->shape[1]);
        assert_int_equal(x.best, iters);
        expect_near(x.drift[iters], number(f, name, recorded, iters, "err_q"), 1e-5, "W - Q",
                    iters);
        expect_near(x.residual[iters], number(f, name, recorded, iters, "err_qab"), 1e-5,
                    "W - Q - AB", iters);
        expect_product(f, name, recorded, iters, &x);
        ql_split_free(&x);
    }
    free(w);
}

static void iterations_of_peft_are_reproduced(void **state) {
    (void)state;
    ql_st_file *f = fixture_open("loftq");
    for (int i = 0; i < 2; i++) {
        follow(f, i ? "w1" : "w0", "peft_nf4", "nf4");
        follow(f, i ? "w1" : "w0", "peft_int8", "llm_int8");
    }
    ql_st_close(f);
}

/* ---------------------------------------------------------------- promises */

typedef struct setting {
    const char *type;
    int r;
    double alpha;
    bool rslora, doubled;
} setting;

static const setting settings[] = {
    {"nf4", 8, 8, false, false},    {"nf4", 8, 16, false, true},  {"nf4", 8, 1, false, true},
    {"fp4", 4, 32, true, false},    {"int4", 16, 16, true, true}, {"int4a", 8, 2, false, true},
    {"int4s", 1, 16, false, false}, {"int8", 8, 16, false, true}, {"llm_int8", 8, 64, true, false}};

static float scaling_of(const setting *s) {
    return (float)(s->alpha / (s->rslora ? sqrt((double)s->r) : (double)s->r));
}

/* For every type, rank, scaling and family: the report equals what the stored parts give (1e-6),
 * the kept iteration is the smallest, and none is worse than plain quantization with the same type.
 */
static void the_kept_iteration_is_the_smallest_and_below_plain_quantization(void **state) {
    (void)state;
    enum { N = 96, K = 130, T = 4 };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int f = 0; f < WEIGHT_FAMILIES; f++) {
            const setting *s = &settings[i];
            float *w = weight_make((weight_family)f, N, K, 5);
            ql_split_opts o = options(s->type, s->r, T);
            o.quant.double_quant = s->doubled;
            o.scaling = scaling_of(s);
            ql_split x = split(&o, w, N, K);
            double have = recompute(&x, w, o.scaling);
            if (fabs(have - x.residual[x.best]) > 1e-6 * have)
                fail_msg("%s: reported %.9g, stored %.9g", s->type, x.residual[x.best], have);
            for (int t = 1; t <= T; t++) assert_true(x.residual[x.best] <= x.residual[t]);
            if (x.residual[x.best] > x.residual[0])
                fail_msg("%s r %d s %g, %s: %.9g above plain %.9g", s->type, s->r,
                         (double)o.scaling, weight_family_name((weight_family)f),
                         x.residual[x.best], x.residual[0]);
            ql_qtensor plain;
            assert_int_equal(ql_quantize(&o.quant, w, N, K, &plain), QL_OK);
            ql_split without = {.n = N, .k = K, .q = plain};
            assert_true(fabs(recompute(&without, w, 1) - x.residual[0]) <= 1e-6 * x.residual[0]);
            ql_qtensor_free(&plain);
            ql_split_free(&x);
            free(w);
        }
}

/* An adapter that ignores the scaling is worse than none at alpha = 4 r (user pains, 8); ours has
 * the same residual whatever the scaling. */
static void the_scaling_does_not_change_what_is_left(void **state) {
    (void)state;
    enum { N = 64, K = 64 };
    float *w = weight_make(WEIGHT_NORMAL, N, K, 9);
    ql_split_opts o = options("nf4", 16, 1);
    ql_split one = split(&o, w, N, K);
    assert_true(recompute(&one, w, 4.0f) > one.residual[0]);
    const float scalings[] = {0.25f, 2.0f, 4.0f, 0.3f};
    for (int i = 0; i < 4; i++) {
        o.scaling = scalings[i];
        ql_split x = split(&o, w, N, K);
        assert_true(fabs(x.residual[1] - one.residual[1]) <= 1e-6 * one.residual[1]);
        assert_true(fabs(recompute(&x, w, o.scaling) - one.residual[1]) <= 1e-6 * one.residual[1]);
        ql_split_free(&x);
    }
    ql_split_free(&one);
    free(w);
}

/* The activation-aware objective: smaller than the paper's in its own norm, never in the plain one.
 */
static void weights_of_the_inputs_pull_the_error_to_where_it_hurts_less(void **state) {
    (void)state;
    enum { N = 80, K = 120 };
    float *w = weight_make(WEIGHT_NORMAL, N, K, 3), d[K];
    for (int j = 0; j < K; j++) d[j] = j % 10 == 0 ? 8.0f : 0.5f + (float)(j % 3);
    ql_split_opts o = options("nf4", 12, 3);
    ql_split paper = split(&o, w, N, K);
    o.input_rms = d;
    ql_split aware = split(&o, w, N, K);
    double sum = 0;
    float row[K];
    for (int i = 0; i < N; i++) {
        assert_int_equal(ql_dequantize_rows(&paper.q, i, 1, row), QL_OK);
        for (int j = 0; j < K; j++) {
            double v = (double)w[i * K + j] - (double)row[j];
            for (int c = 0; c < 12; c++)
                v -= (double)paper.b[i * 12 + c] * (double)paper.a[c * K + j];
            sum += v * v * (double)d[j] * (double)d[j];
        }
    }
    assert_true(aware.weighted[aware.best] < sqrt(sum));
    assert_true(aware.residual[1] > paper.residual[1]);
    assert_true(fabs(recompute(&aware, w, 1.0f) - aware.residual[aware.best]) <=
                1e-6 * aware.residual[aware.best]);
    ql_split_free(&paper);
    ql_split_free(&aware);
    free(w);
}

/* ---------------------------------------------------------------- PiSSA, OLoRA */

/* PiSSA: s B A is the best rank r of W; the base is what is left, rounded or quantized. */
static void pissa_takes_the_principal_part(void **state) {
    (void)state;
    enum { N = 48, K = 72, R = 6 };
    float *w = weight_make(WEIGHT_LOW_RANK, N, K, 4);
    double *want = reference_low_rank(w, N, K, R), off = 0, norm = 0;
    ql_split_opts o = options("nf4", R, 1);
    o.method = QL_SPLIT_PISSA;
    o.scaling = 2.0f;
    o.quantized = false;
    o.dense = QL_ST_F32;
    ql_split x = split(&o, w, N, K);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++) {
            double v = want[i * K + j];
            norm += v * v;
            for (int c = 0; c < R; c++) v -= 2.0 * (double)x.b[i * R + c] * (double)x.a[c * K + j];
            off += v * v;
        }
    assert_true(sqrt(off / norm) < 1e-5);
    assert_true(x.residual[1] < 1e-6 * x.norm); /* float rounding */
    ql_split_free(&x);
    o.quantized = true;
    x = split(&o, w, N, K);
    assert_true(fabs(recompute(&x, w, 2.0f) - x.residual[1]) <= 1e-6 * x.residual[1]);
    assert_true(x.residual[1] < x.residual[0]); /* the rest has the smaller range */
    ql_split_free(&x);
    free(w);
    free(want);
}

/* OLoRA: B has orthonormal columns that span the first r columns of W, A is upper triangular. */
static void olora_starts_from_a_qr_factorization(void **state) {
    (void)state;
    enum { N = 40, K = 56, R = 5 };
    float *w = weight_make(WEIGHT_NORMAL, N, K, 6);
    ql_split_opts o = options("nf4", R, 1);
    o.method = QL_SPLIT_OLORA;
    o.scaling = 0.5f;
    o.quantized = false;
    o.dense = QL_ST_BF16;
    ql_split x = split(&o, w, N, K);
    for (int p = 0; p < R; p++)
        for (int q = 0; q < R; q++) {
            double dot = 0;
            for (int i = 0; i < N; i++) dot += (double)x.b[i * R + p] * (double)x.b[i * R + q];
            assert_true(fabs(dot - (p == q)) < 1e-5);
        }
    for (int p = 0; p < R; p++)
        for (int j = 0; j < p; j++) assert_true(x.a[p * K + j] == 0.0f);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < R; j++) { /* B A reproduces the first r columns */
            double v = (double)w[i * K + j];
            for (int c = 0; c < R; c++) v -= (double)x.b[i * R + c] * (double)x.a[c * K + j];
            assert_true(fabs(v) < 1e-6);
        }
    assert_true(fabs(recompute(&x, w, 0.5f) - x.residual[1]) <= 1e-6 * x.residual[1]);
    assert_true(x.residual[1] < ldexp(x.norm, -8)); /* bfloat16 keeps 8 bits */
    ql_split_free(&x);
    free(w);
}

/* ---------------------------------------------------------------- refusals */

static void bad_requests_get_a_sentence(void **state) {
    (void)state;
    float w[64 * 8] = {1};
    ql_split x;
    ql_split_opts o = options("nf4", 9, 1);
    assert_int_equal(ql_split_weight(&o, w, 64, 8, &x), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "the most is 8"));
    o.r = 2;
    o.iters = 0;
    assert_int_equal(ql_split_weight(&o, w, 64, 8, &x), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "loftq_iter"));
    o.iters = 1;
    o.scaling = 0;
    assert_int_equal(ql_split_weight(&o, w, 64, 8, &x), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "lora_alpha"));
    o.scaling = 1;
    o.quantized = false;
    assert_int_equal(ql_split_weight(&o, w, 64, 8, &x), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "--bits 16"));
}

int main(void) {
    if (ql_lapack_load() != QL_OK) {
        print_error("%s\n", ql_last_error());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iterations_of_peft_are_reproduced),
        cmocka_unit_test(the_kept_iteration_is_the_smallest_and_below_plain_quantization),
        cmocka_unit_test(the_scaling_does_not_change_what_is_left),
        cmocka_unit_test(weights_of_the_inputs_pull_the_error_to_where_it_hurts_less),
        cmocka_unit_test(pissa_takes_the_principal_part),
        cmocka_unit_test(olora_starts_from_a_qr_factorization),
        cmocka_unit_test(bad_requests_get_a_sentence),
    };
    return cmocka_run_group_tests_name("loftq", tests, NULL, NULL);
}
