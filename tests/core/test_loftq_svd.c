/*
 * test_loftq_svd.c - low-rank approximations against a Jacobi decomposition in double, over five
 * families of weights and the shapes at the edges of the panels.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/loftq/blas.h"
#include "core/loftq/svd.h"
#include "tests/core/loftq_fixture.h"

#define SEED 77u /* of all weights and projections below */

typedef struct shape {
    int64_t n, k;
    int r;
} shape;

static ql_svd_opts by(ql_svd_method method) {
    ql_svd_opts o = ql_svd_opts_default();
    o.method = method;
    o.seed = SEED;
    o.which = UINT64_C(0x1234567800000000);
    return o;
}

static ql_low_rank factors(ql_svd_method method, const float *w, shape s) {
    ql_svd_opts o = by(method);
    ql_low_rank f;
    if (ql_low_rank_of(&o, w, s.n, s.k, s.r, &f) != QL_OK) fail_msg("%s", ql_last_error());
    return f;
}

/* sqrt of the sum of the squares of all but the first r values. */
static double best_residual(const double *sigma, int64_t count, int r) {
    double sum = 0;
    for (int64_t i = r; i < count; i++) sum += sigma[i] * sigma[i];
    return sqrt(sum);
}

/* The claim is 1e-5 of the float64 reference; measured is below 1e-6. */
static void exact_factors_equal_the_reference(void **state) {
    (void)state;
    const shape shapes[] = {{96, 64, 8},  {64, 96, 8},   {1, 40, 1},    {40, 1, 1},
                            {127, 33, 5}, {33, 129, 33}, {128, 128, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int f = 0; f < WEIGHT_FAMILIES; f++) {
            shape s = shapes[i];
            float *w = weight_make((weight_family)f, s.n, s.k, SEED + i);
            double *want = reference_low_rank(w, s.n, s.k, s.r), norm = 0, off = 0;
            double *sigma = reference_singular_values(w, s.n, s.k);
            ql_low_rank got = factors(QL_SVD_EXACT, w, s);
            assert_int_equal(got.rounds, 0);
            for (int c = 0; c < s.r; c++)
                if (fabs(got.sigma[c] - sigma[c]) > 1e-5 * sigma[0])
                    fail_msg("%s %lld x %lld: value %d is %.9g, not %.9g", weight_family_name(f),
                             (long long)s.n, (long long)s.k, c, got.sigma[c], sigma[c]);
            for (int64_t row = 0; row < s.n; row++)
                for (int64_t col = 0; col < s.k; col++) {
                    double v = want[row * s.k + col];
                    norm += v * v;
                    for (int c = 0; c < s.r; c++)
                        v -= (double)got.left[row * s.r + c] * (double)got.right[c * s.k + col];
                    off += v * v;
                }
            if (sqrt(off / norm) > 1e-5)
                fail_msg("%s %lld x %lld: the product is off by %.3g", weight_family_name(f),
                         (long long)s.n, (long long)s.k, sqrt(off / norm));
            ql_low_rank_free(&got);
            free(w);
            free(want);
            free(sigma);
        }
}

/* What is left over: within 0.1 % of the best possible, and within the bound that is reported. */
static void randomized_residuals_are_within_a_thousandth_of_the_best(void **state) {
    (void)state;
    const shape shapes[] = {{256, 192, 8}, {192, 256, 16}, {160, 160, 64}, {300, 40, 32}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int f = 0; f < WEIGHT_FAMILIES; f++) {
            shape s = shapes[i];
            float *w = weight_make((weight_family)f, s.n, s.k, SEED + i);
            double *sigma = reference_singular_values(w, s.n, s.k);
            double best = best_residual(sigma, s.n < s.k ? s.n : s.k, s.r);
            ql_low_rank got = factors(QL_SVD_RANDOMIZED, w, s);
            double have = residual_of(w, got.left, got.right, s.n, s.k, s.r);
            double excess = have / best - 1.0;
            if (excess > 1e-3 || excess > got.bound + 1e-6)
                fail_msg("%s %lld x %lld rank %d: %.3g above the best (bound %.3g, %d rounds)",
                         weight_family_name(f), (long long)s.n, (long long)s.k, s.r, excess,
                         got.bound, got.rounds);
            assert_true(got.rounds >= 1);
            ql_low_rank_free(&got);
            free(w);
            free(sigma);
        }
}

static void the_best_approximation_of_a_matrix_of_low_rank_is_itself(void **state) {
    (void)state;
    enum { N = 50, K = 70, R = 3 };
    float *w = calloc(N * K, sizeof *w), *u = weight_make(WEIGHT_NORMAL, N, R, 1),
          *v = weight_make(WEIGHT_NORMAL, R, K, 2);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++)
            for (int c = 0; c < R; c++) w[i * K + j] += u[i * R + c] * v[c * K + j];
    for (int m = QL_SVD_EXACT; m <= QL_SVD_RANDOMIZED; m++) {
        ql_low_rank f = factors((ql_svd_method)m, w, (shape){N, K, 8});
        double scale = f.sigma[0];
        assert_true(residual_of(w, f.left, f.right, N, K, 8) < 1e-6 * scale);
        for (int64_t i = 0; i < N * 8; i++) assert_true(isfinite(f.left[i]));
        for (int64_t i = 0; i < 8 * K; i++) assert_true(isfinite(f.right[i]));
        ql_low_rank_free(&f);
    }
    memset(w, 0, N * K * sizeof *w);
    for (int m = QL_SVD_EXACT; m <= QL_SVD_RANDOMIZED; m++) { /* zero has no directions at all */
        ql_low_rank f = factors((ql_svd_method)m, w, (shape){N, K, 8});
        assert_true(residual_of(w, f.left, f.right, N, K, 8) == 0.0);
        ql_low_rank_free(&f);
    }
    free(w);
    free(u);
    free(v);
}

static void a_projection_depends_on_seed_and_name_only(void **state) {
    (void)state;
    const shape s = {90, 120, 6};
    float *w = weight_make(WEIGHT_NORMAL, s.n, s.k, SEED);
    ql_low_rank a = factors(QL_SVD_RANDOMIZED, w, s), b = factors(QL_SVD_RANDOMIZED, w, s), c;
    assert_memory_equal(a.left, b.left, (size_t)(s.n * s.r) * sizeof(float));
    ql_svd_opts other = by(QL_SVD_RANDOMIZED);
    other.seed++;
    assert_int_equal(ql_low_rank_of(&other, w, s.n, s.k, s.r, &c), QL_OK);
    assert_memory_not_equal(a.left, c.left, (size_t)(s.n * s.r) * sizeof(float));
    ql_low_rank_free(&a);
    ql_low_rank_free(&b);
    ql_low_rank_free(&c);
    free(w);
}

static void wrong_ranks_are_refused_and_no_memory_is_kept(void **state) {
    (void)state;
    float w[12] = {1};
    ql_svd_opts o = by(QL_SVD_EXACT);
    ql_low_rank f;
    assert_int_equal(ql_low_rank_of(&o, w, 3, 4, 4, &f), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "expected 1 to 3"));
    assert_int_equal(ql_low_rank_of(&o, w, 3, 4, 0, &f), QL_ERR_INVALID);
    for (int m = QL_SVD_EXACT; m <= QL_SVD_RANDOMIZED; m++) {
        o.method = (ql_svd_method)m;
        size_t before = ql_hostmem_live();
        for (long n = 1; n < 100; n++) { /* every allocation fails once */
            ql_hostmem_fail_after(n);
            ql_status s = ql_low_rank_of(&o, w, 3, 4, 2, &f);
            ql_hostmem_fail_after(0);
            if (s == QL_OK) break;
            assert_int_equal(s, QL_ERR_NOMEM_HOST);
            assert_int_equal(ql_hostmem_live(), before);
            assert_true(n < 99);
        }
        ql_low_rank_free(&f);
        assert_int_equal(ql_hostmem_live(), before);
    }
}

int main(void) {
    if (ql_lapack_load() != QL_OK) {
        print_error("%s\n", ql_last_error());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_factors_equal_the_reference),
        cmocka_unit_test(randomized_residuals_are_within_a_thousandth_of_the_best),
        cmocka_unit_test(the_best_approximation_of_a_matrix_of_low_rank_is_itself),
        cmocka_unit_test(a_projection_depends_on_seed_and_name_only),
        cmocka_unit_test(wrong_ranks_are_refused_and_no_memory_is_kept),
    };
    return cmocka_run_group_tests_name("loftq_svd", tests, NULL, NULL);
}
