/*
 * test_quant_tables.c - every stored table against the package's values and against its own
 * construction, and the normal quantile against known values.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/quant/lloyd.h"
#include "core/quant/normal.h"
#include "tests/core/quant_fixture.h"

static void check_table(const ql_st_file *f, const float *got, const char *name) {
    const ql_st_tensor *t = fixture_find(f, "%s", name);
    float *want = fixture_floats(t);
    assert_floats_equal(got, want, t->numel, name);
    free(want);
}

static void stored_tables_equal_those_of_the_packages(void **state) {
    (void)state;
    static const struct {
        const char *type, *tensor;
    } cases[] = {{"nf4", "nf4"},
                 {"nf2", "loftq_nf2"},
                 {"nf3", "loftq_nf3"},
                 {"nf4", "loftq_nf4"},
                 {"int2", "loftq_uniform2"},
                 {"int3", "loftq_uniform3"},
                 {"int4", "loftq_uniform4"}};
    ql_st_file *f = fixture_open("tables");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_table(f, ql_qtype_find(cases[i].type)->table, cases[i].tensor);
    check_table(f, ql_dyn8_signed(), "dynamic_signed_8");
    check_table(f, ql_dyn8_unsigned(), "dynamic_unsigned_8");
    float fp4[16]; /* decoding gives -0.0 for code 8, files hold +0.0 */
    for (int i = 0; i < 16; i++) fp4[i] = ql_qtype_find("fp4")->table[i] + 0.0f;
    check_table(f, fp4, "fp4");
    assert_true(signbit(ql_qtype_find("fp4")->table[8]));
    ql_st_close(f);
}

static void normal_maps_are_bit_equal_when_built_from_quantiles(void **state) {
    (void)state;
    ql_st_file *f = fixture_open("tables");
    float map[256];
    static const int bits[] = {2, 3, 4, 8};
    for (size_t i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "loftq_nf%d", bits[i]);
        ql_normal_map(bits[i], 0.9677083, map);
        check_table(f, map, name);
    }
    ql_st_close(f);
}

/* Spec 2.1: float32 steps of linspace(0.1, 1, k + 1) with a fused multiply-add, means of
 * neighbours, times a power of ten. */
static int dynamic_map(bool with_sign, float *out) {
    int n = 0;
    for (int i = 0; i < 7; i++) {
        int k = 1 << (with_sign ? i : i + 1);
        float step = (1.0f - 0.1f) / (float)k, edge[129];
        for (int j = 0; j <= k; j++)
            edge[j] =
                j < (k + 1) / 2 ? fmaf(step, (float)j, 0.1f) : fmaf(-step, (float)(k - j), 1.0f);
        for (int j = 0; j < k; j++) {
            float mean = (edge[j] + edge[j + 1]) / 2.0f * (float)pow(10.0, i - 6);
            out[n++] = mean;
            if (with_sign) out[n++] = -mean;
        }
    }
    out[n++] = 0.0f;
    out[n++] = 1.0f;
    return n;
}

static int by_value(const void *a, const void *b) {
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void dynamic_maps_equal_their_recipe(void **state) {
    (void)state;
    float map[256];
    assert_int_equal(dynamic_map(true, map), 256);
    qsort(map, 256, sizeof map[0], by_value);
    assert_floats_equal(map, ql_dyn8_signed(), 256, "signed");
    assert_int_equal(dynamic_map(false, map), 256);
    qsort(map, 256, sizeof map[0], by_value);
    assert_floats_equal(map, ql_dyn8_unsigned(), 256, "unsigned");
}

static void integer_tables_follow_their_definition(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        char name[16];
        int n = 1 << bits, half = n / 2;
        snprintf(name, sizeof name, "int%ds", bits);
        const float *symmetric = ql_qtype_find(name)->table;
        snprintf(name, sizeof name, "int%da", bits);
        const float *affine = ql_qtype_find(name)->table;
        snprintf(name, sizeof name, "int%d", bits);
        const float *even = ql_qtype_find(name)->table;
        for (int i = 0; i < n; i++) {
            assert_true(symmetric[i] == (float)((double)(i - half) / (half - 1)));
            assert_true(affine[i] == (float)i);
            assert_true(fabs((double)even[i] - (-1.0 + 2.0 * i / (n - 1))) < 6e-8);
            assert_true(even[i] == -even[n - 1 - i]);
        }
    }
    const float *bytes = ql_qtype_find("int8")->table;
    for (int i = 0; i < 256; i++) assert_true(bytes[i] == (float)(int8_t)i);
}

static void types_are_found_by_name_and_consistent(void **state) {
    (void)state;
    char listed[256] = "";
    for (int id = 0; id < QL_QT_COUNT; id++) {
        const ql_qtype *t = ql_qtype_at(id);
        assert_int_equal(t->id, id);
        assert_non_null(t->name);
        if (id == QL_QT_GGML) continue;
        assert_ptr_equal(ql_qtype_find(t->name), t);
        assert_non_null(t->table);
        assert_true(t->bits == 2 || t->bits == 3 || t->bits == 4 || t->bits == 8);
        strcat(listed, listed[0] != '\0' ? ", " : "");
        strcat(listed, t->name);
    }
    assert_string_equal(ql_qtype_names(), listed);
    assert_null(ql_qtype_find("nf5"));
    assert_null(ql_qtype_find("ggml"));
    assert_null(ql_qtype_at(QL_QT_COUNT));
}

/* Values from Newton's method in 60-digit decimal arithmetic at the same binary64 p. */
static void normal_quantile_is_exact_to_rounding(void **state) {
    (void)state;
    static const struct {
        double p, x;
    } known[] = {{0.975, 1.959963984540053855},  {0.9677083, 1.848130959757373369},
                 {0.9, 1.281551565544600593},    {0.75, 0.674489750196081743},
                 {0.6, 0.253347103135799741},    {1e-10, -6.361340902404056199},
                 {1e-300, -37.04709629936119923}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double got = ql_normal_quantile(known[i].p);
        if (fabs(got - known[i].x) > 4e-15 * fabs(known[i].x))
            fail_msg("quantile(%g) = %.17g, expected %.17g", known[i].p, got, known[i].x);
    }
    assert_true(fabs(ql_normal_quantile(0.5)) < 1e-16);
    for (int i = 1; i < 500; i++)
        assert_true(fabs(ql_normal_cdf(ql_normal_quantile(i / 1000.0)) - i / 1000.0) < 1e-15);
    assert_true(isinf(ql_normal_quantile(0.0)) && isinf(ql_normal_quantile(1.0)));
    assert_true(isnan(ql_normal_quantile(-0.1)) && isnan(ql_normal_quantile(NAN)));
}

/* Max (1960), table I: least mean squared errors for N(0, 1). */
static void lloyd_max_reaches_the_published_errors(void **state) {
    (void)state;
    static const struct {
        int n;
        double mse;
    } known[] = {{2, 0.3634}, {4, 0.1175}, {8, 0.03454}, {16, 0.009497}};
    double levels[256];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double got = ql_lloyd_normal(known[i].n, levels);
        if (fabs(got - known[i].mse) > 0.0006 * known[i].mse)
            fail_msg("%d levels: %.7g, published %.7g", known[i].n, got, known[i].mse);
    }
    assert_true(fabs(levels[0] + levels[15]) < 1e-9); /* symmetric */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_tables_equal_those_of_the_packages),
        cmocka_unit_test(normal_maps_are_bit_equal_when_built_from_quantiles),
        cmocka_unit_test(dynamic_maps_equal_their_recipe),
        cmocka_unit_test(integer_tables_follow_their_definition),
        cmocka_unit_test(types_are_found_by_name_and_consistent),
        cmocka_unit_test(normal_quantile_is_exact_to_rounding),
        cmocka_unit_test(lloyd_max_reaches_the_published_errors),
    };
    return cmocka_run_group_tests_name("quant_tables", tests, NULL, NULL);
}
