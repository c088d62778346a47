/*
 * test_quant_explain.c - the numbers behind `quantize --explain` repeat, agree with theory, and the
 * text says what they say.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/quant/explain.h"

static ql_explain measure(const char *type, int64_t draws, uint64_t seed) {
    ql_explain e;
    if (ql_explain_measure(type, draws, seed, &e) != QL_OK) fail_msg("%s", ql_last_error());
    return e;
}

static const ql_explain_code *find(const ql_explain *e, const char *name) {
    for (int i = 0; i < e->codes; i++)
        if (strcmp(e->code[i].name, name) == 0) return &e->code[i];
    fail_msg("no code '%s'", name);
    return NULL;
}

static void same_seed_gives_the_same_numbers(void **state) {
    (void)state;
    ql_explain a = measure("nf4", 20000, 5), b = measure("nf4", 20000, 5);
    ql_explain c = measure("nf4", 20000, 6);
    assert_int_equal(a.draws, 20032); /* whole blocks of 64 */
    assert_memory_equal(a.code, b.code, sizeof a.code);
    assert_true(a.code[0].mse != c.code[0].mse);
}

static void literal_formula_gives_fifteen_symmetric_levels(void **state) {
    (void)state;
    ql_explain e = measure("nf4", 64, 1);
    for (int i = 0; i < 15; i++) {
        assert_true(isfinite(e.literal[i]));
        assert_true(fabs(e.literal[i] + e.literal[14 - i]) < 1e-14);
        if (i > 0) assert_true(e.literal[i] > e.literal[i - 1]);
    }
    assert_true(fabs(e.literal[7]) < 1e-15);
    assert_true(e.float_diff == 0.0);
    assert_true(e.double_diff < 1.2e-7); /* the difference that the requirement states: 1.1e-7 */
}

/* Lloyd-Max for 16 levels of N(0,1) has error 0.009501; 4e5 draws put the sample within 1 %. */
static void measures_agree_with_theory(void **state) {
    (void)state;
    ql_explain e = measure("nf4", 400000, 1);
    const ql_explain_code *fixed = find(&e, "lloyd-max"), *best = find(&e, "block optimum");
    assert_true(fabs(fixed->mse / 0.009501 - 1.0) < 0.01);
    for (int i = 0; i < e.codes; i++) {
        double sum = 0.0;
        for (int l = 0; l < QL_EXPLAIN_LEVELS; l++) sum += e.code[i].share[l];
        assert_true(fabs(sum - 1.0) < 1e-9);
        assert_true(e.code[i].entropy > 3.0 && e.code[i].entropy <= 4.0);
        /* nothing with block scales beats the levels fitted to these very draws */
        if (e.code[i].scaled) assert_true(e.code[i].mse >= best->mse);
    }
}

static void text_and_json_carry_the_numbers(void **state) {
    (void)state;
    ql_explain e = measure("nf4", 50000, 1);
    char *text, *other;
    assert_int_equal(ql_explain_text(&e, &text), QL_OK);
    static const char *const words[] = {"0.9677083", "15 finite levels", "exactly 0",
                                        "entropy",   "lloyd-max",        "fp4",
                                        "int4",      "0.7230",           "1.0000"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(text, words[i]) == NULL) fail_msg("the text lacks '%s'", words[i]);
    assert_int_equal(ql_explain_type("nf4", 50000, 1, &other), QL_OK);
    assert_string_equal(text, other);
    ql_host_free(text);
    ql_host_free(other);
    json_t *j;
    assert_int_equal(ql_explain_json(&e, &j), QL_OK);
    const json_t *codes = json_object_get(j, "codes");
    assert_int_equal(json_array_size(codes), e.codes);
    assert_true(json_real_value(json_object_get(json_array_get(codes, 0), "mse")) == e.code[0].mse);
    json_decref(j);
    assert_int_equal(ql_explain_type("int4s", 640, 1, &text), QL_OK);
    assert_non_null(strstr(text, "int4s"));
    ql_host_free(text);
}

static void wrong_requests_are_refused(void **state) {
    (void)state;
    ql_explain e;
    assert_int_equal(ql_explain_measure("nf5", 1000, 1, &e), QL_ERR_INVALID);
    assert_int_equal(ql_explain_measure("int8", 1000, 1, &e), QL_ERR_INVALID);
    assert_int_equal(ql_explain_measure("nf4", 10, 1, &e), QL_ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_gives_the_same_numbers),
        cmocka_unit_test(literal_formula_gives_fifteen_symmetric_levels),
        cmocka_unit_test(measures_agree_with_theory),
        cmocka_unit_test(text_and_json_carry_the_numbers),
        cmocka_unit_test(wrong_requests_are_refused),
    };
    return cmocka_run_group_tests_name("quant_explain", tests, NULL, NULL);
}
