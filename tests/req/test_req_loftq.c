/*
 * test_req_loftq.c - requirements about LoftQ, by their numbers in the list of what must work:
 * req_21 .. req_25 on single weights; req_26, req_32 and req_33 on a trained model: loftq.sh.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/loftq/crew.h"
#include "core/loftq/lapack.h"
#include "core/loftq/loftq.h"
#include "tests/core/loftq_fixture.h"

enum { N = 72, K = 96, R = 6, T = 5 };
#define SEED 31u /* of all weights below */

static ql_split_opts options(const char *type, int iters) {
    ql_split_opts o = {.quantized = true,
                       .quant = ql_quant_opts_default(),
                       .r = R,
                       .iters = iters,
                       .scaling = 0.5f,
                       .svd = ql_svd_opts_default()};
    o.quant.type = ql_qtype_find(type)->id;
    return o;
}

static ql_split split(const ql_split_opts *o, const float *w) {
    ql_split x;
    if (ql_split_weight(o, w, N, K, &x) != QL_OK) fail_msg("%s", ql_last_error());
    return x;
}

/* Codes of w and what they decode to. */
static void decoded(const ql_quant_opts *o, const float *w, float *out) {
    ql_qtensor q;
    assert_int_equal(ql_quantize(o, w, N, K, &q), QL_OK);
    assert_int_equal(ql_dequantize_rows(&q, 0, N, out), QL_OK);
    ql_qtensor_free(&q);
}

static double distance(const float *w, const float *q, const double *ab) {
    double sum = 0;
    for (int i = 0; i < N * K; i++) {
        double v = (double)w[i] - (double)q[i] - (ab ? ab[i] : 0.0);
        sum += v * v;
    }
    return sqrt(sum);
}

/* The objective ||W - Q - s B A||_F as a number, against its value in double. */
static void req_21_the_objective_is_reported(void **state) {
    (void)state;
    float *w = weight_make(WEIGHT_NORMAL, N, K, SEED), q[N * K];
    double ab[N * K];
    ql_split_opts o = options("nf4", 1);
    ql_split x = split(&o, w);
    assert_int_equal(ql_dequantize_rows(&x.q, 0, N, q), QL_OK);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++) {
            ab[i * K + j] = 0;
            for (int c = 0; c < R; c++)
                ab[i * K + j] += 0.5 * (double)x.b[i * R + c] * (double)x.a[c * K + j];
        }
    assert_true(fabs(distance(w, q, ab) - x.residual[1]) <= 1e-6 * x.residual[1]);
    assert_true(fabs(distance(w, q, NULL) - x.drift[1]) <= 1e-6 * x.drift[1]);
    ql_split_free(&x);
    free(w);
}

/* The alternation as a loop over a decomposition in double: every Q_t and every norm. */
static void req_22_iterations_equal_a_loop_in_double(void **state) {
    (void)state;
    static const char *const types[] = {"nf4", "nf2", "int3"};
    float *w = weight_make(WEIGHT_HEAVY, N, K, SEED), rest[N * K], q[N * K];
    for (int i = 0; i < 3; i++) {
        ql_split_opts o = options(types[i], T);
        ql_split x = split(&o, w);
        double *ab = NULL;
        for (int t = 1; t <= T; t++) {
            for (int e = 0; e < N * K; e++) rest[e] = (float)((double)w[e] - (ab ? ab[e] : 0.0));
            decoded(&o.quant, rest, q);
            for (int e = 0; e < N * K; e++) rest[e] = w[e] - q[e];
            free(ab);
            ab = reference_low_rank(rest, N, K, R);
            double want = distance(w, q, ab);
            if (fabs(x.residual[t] - want) > 1e-4 * want) /* a code at a tie may fall otherwise */
                fail_msg("%s, T = %d: %.9g, the loop gives %.9g", types[i], t, x.residual[t], want);
        }
        free(ab);
        ql_split_free(&x);
    }
    free(w);
}

/* T = 1: the codes are QLoRA's, the adapter is the SVD of what they lose. */
static void req_23_one_iteration_keeps_the_codes_of_qlora(void **state) {
    (void)state;
    static const char *const types[] = {"nf4", "nf3", "nf2", "int4", "int2a"};
    float *w = weight_make(WEIGHT_NORMAL, N, K, SEED), rest[N * K];
    for (int i = 0; i < 5; i++) {
        ql_split_opts o = options(types[i], 1);
        ql_split x = split(&o, w);
        ql_qtensor q;
        assert_int_equal(ql_quantize(&o.quant, w, N, K, &q), QL_OK);
        assert_int_equal(q.codes_bytes, x.q.codes_bytes);
        assert_memory_equal(q.codes, x.q.codes, q.codes_bytes);
        assert_int_equal(ql_dequantize_rows(&q, 0, N, rest), QL_OK);
        ql_qtensor_free(&q);
        for (int e = 0; e < N * K; e++) rest[e] = w[e] - rest[e];
        double *want = reference_low_rank(rest, N, K, R), off = 0, norm = 0;
        for (int r = 0; r < N; r++)
            for (int c = 0; c < K; c++) {
                double v = want[r * K + c];
                norm += v * v;
                for (int d = 0; d < R; d++)
                    v -= 0.5 * (double)x.b[r * R + d] * (double)x.a[d * K + c];
                off += v * v;
            }
        assert_true(sqrt(off / norm) < 1e-5);
        free(want);
        ql_split_free(&x);
    }
    free(w);
}

/* Small T does most of it; the best T is kept wherever the curve turns, on five families. */
static void req_24_the_best_iteration_is_kept_on_five_families(void **state) {
    (void)state;
    static const char *const types[] = {"nf4", "nf2"};
    enum { MANY = 12 };
    int turned = 0;
    for (int i = 0; i < 2; i++)
        for (int f = 0; f < WEIGHT_FAMILIES; f++) {
            float *w = weight_make((weight_family)f, N, K, SEED);
            ql_split_opts o = options(types[i], MANY);
            ql_split x = split(&o, w);
            double least = x.residual[1];
            for (int t = 1; t <= MANY; t++) least = fmin(least, x.residual[t]);
            assert_true(x.residual[x.best] == least);
            assert_true(least <= x.residual[0]);
            turned += x.best < MANY;
            double whole = x.residual[0] - least, first = x.residual[0] - x.residual[1];
            if (first < 0.25 * whole)
                fail_msg("%s %s: one iteration gives %.3g of %.3g", types[i],
                         weight_family_name((weight_family)f), first, whole);
            o.stop_early = true;
            ql_split early = split(&o, w);
            assert_true(early.iters <= early.best + 1);
            ql_split_free(&early);
            ql_split_free(&x);
            free(w);
        }
    print_message("the curve turns before T = %d in %d of 10 cases\n", MANY, turned);
    assert_true(turned > 0); /* more iterations are not always better */
}

/* ---------------------------------------------------------------- 25 */

enum { LAYERS = 7 };
typedef struct layers {
    float *w[LAYERS];
    ql_split x[LAYERS];
} layers;

static ql_status split_one(void *user, int64_t i) {
    layers *l = user;
    ql_split_opts o = options("nf3", 3);
    o.svd.method = i % 2 ? QL_SVD_RANDOMIZED : QL_SVD_EXACT;
    return ql_split_weight(&o, l->w[i], N, K, &l->x[i]);
}

/* Layers are independent: any number of threads gives the same bytes. */
static void req_25_any_number_of_threads_gives_the_same_bytes(void **state) {
    (void)state;
    layers runs[3] = {0};
    const int threads[3] = {1, 2, 5};
    for (int k = 0; k < 3; k++) {
        ql_crew *crew;
        for (int i = 0; i < LAYERS; i++)
            runs[k].w[i] = weight_make((weight_family)(i % WEIGHT_FAMILIES), N, K, SEED + i);
        assert_int_equal(ql_crew_start(threads[k], LAYERS, split_one, &runs[k], &crew), QL_OK);
        for (int i = 0; i < LAYERS; i++) assert_int_equal(ql_crew_take(crew, i), QL_OK);
        ql_crew_stop(crew);
    }
    for (int i = 0; i < LAYERS; i++)
        for (int k = 1; k < 3; k++) {
            const ql_split *a = &runs[0].x[i], *b = &runs[k].x[i];
            assert_memory_equal(a->a, b->a, R * K * sizeof(float));
            assert_memory_equal(a->b, b->b, N * R * sizeof(float));
            assert_memory_equal(a->q.codes, b->q.codes, a->q.codes_bytes);
            assert_memory_equal(a->residual, b->residual, sizeof a->residual);
        }
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < LAYERS; i++) {
            free(runs[k].w[i]);
            ql_split_free(&runs[k].x[i]);
        }
}

int main(void) {
    if (ql_lapack_load() != QL_OK) {
        fprintf(stderr, "%s\n", ql_last_error());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(req_21_the_objective_is_reported),
        cmocka_unit_test(req_22_iterations_equal_a_loop_in_double),
        cmocka_unit_test(req_23_one_iteration_keeps_the_codes_of_qlora),
        cmocka_unit_test(req_24_the_best_iteration_is_kept_on_five_families),
        cmocka_unit_test(req_25_any_number_of_threads_gives_the_same_bytes),
    };
    return cmocka_run_group_tests_name("req_loftq", tests, NULL, NULL);
}
