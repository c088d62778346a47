/*
 * test_metric.c - metrics against scikit-learn, scipy and rouge_score (tests/data/metrics.json, by
 * tests/golden/make_metrics.py), against values by hand, and what is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/train/metric.h"

#define MOST 128
#define EPS  1e-12 /* both sides compute in double; only the order of sums differs */

static json_t *recorded(const char *what) {
    static json_t *doc;
    if (!doc) assert_int_equal(ql_json_read(QL_TEST_DATA "/metrics.json", &doc), QL_OK);
    json_t *list = json_object_get(doc, what);
    assert_true(json_array_size(list) >= 7);
    return list;
}

static void close_to(const char *what, size_t i, double got, const json_t *want) {
    if (json_is_null(want)) {
        if (!isnan(got)) fail_msg("case %zu, %s: %.17g, expected none", i, what, got);
        return;
    }
    assert_true(json_is_number(want));
    double w = json_number_value(want);
    if (!(fabs(got - w) <= EPS * fmax(1, fabs(w))))
        fail_msg("case %zu, %s: %.17g, expected %.17g", i, what, got, w);
}

static int64_t read_ints(const json_t *list, int32_t *out) {
    size_t n = json_array_size(list);
    assert_in_range(n, 1, MOST);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int64_t)n;
}

static int64_t read_floats(const json_t *list, float *out) {
    size_t n = json_array_size(list);
    assert_in_range(n, 1, MOST);
    for (size_t i = 0; i < n; i++) out[i] = (float)json_number_value(json_array_get(list, i));
    return (int64_t)n;
}

static void classes_equal_scikit_learn(void **state) {
    (void)state;
    json_t *list = recorded("classes"), *c;
    size_t i;
    json_array_foreach(list, i, c) {
        int32_t truth[MOST], predicted[MOST];
        int64_t n = read_ints(json_object_get(c, "truth"), truth);
        assert_int_equal(read_ints(json_object_get(c, "predicted"), predicted), n);
        int32_t classes = (int32_t)json_integer_value(json_object_get(c, "classes"));
        ql_class_metrics m;
        assert_int_equal(ql_metric_classes(predicted, truth, n, classes, &m), QL_OK);
        close_to("accuracy", i, m.accuracy, json_object_get(c, "accuracy"));
        close_to("f1", i, m.f1, json_object_get(c, "f1"));
        close_to("macro f1", i, m.macro_f1, json_object_get(c, "macro_f1"));
        close_to("matthews", i, m.matthews, json_object_get(c, "matthews"));
    }
}

/* 3 true positives, 1 false positive, 2 false negatives, 4 true negatives. */
static void classes_by_hand(void **state) {
    (void)state;
    const int32_t truth[] = {1, 1, 1, 0, 1, 1, 0, 0, 0, 0};
    const int32_t predicted[] = {1, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    ql_class_metrics m;
    assert_int_equal(ql_metric_classes(predicted, truth, 10, 2, &m), QL_OK);
    assert_true(fabs(m.accuracy - 0.7) < EPS);
    assert_true(fabs(m.f1 - 6.0 / 9.0) < EPS); /* 2 TP / (2 TP + FP + FN) */
    assert_true(fabs(m.macro_f1 - (6.0 / 9.0 + 8.0 / 11.0) / 2) < EPS);
    assert_true(fabs(m.matthews - (12.0 - 2.0) / sqrt(4.0 * 5 * 5 * 6)) < EPS);
}

static void numbers_equal_scipy(void **state) {
    (void)state;
    json_t *list = recorded("numbers"), *c;
    size_t i;
    json_array_foreach(list, i, c) {
        float truth[MOST], predicted[MOST];
        int64_t n = read_floats(json_object_get(c, "truth"), truth);
        assert_int_equal(read_floats(json_object_get(c, "predicted"), predicted), n);
        ql_number_metrics m;
        assert_int_equal(ql_metric_numbers(predicted, truth, n, &m), QL_OK);
        close_to("pearson", i, m.pearson, json_object_get(c, "pearson"));
        close_to("spearman", i, m.spearman, json_object_get(c, "spearman"));
        close_to("mse", i, m.mse, json_object_get(c, "mse"));
    }
    const float truth[] = {1, 2, 3}, broken[] = {1, NAN, 3};
    ql_number_metrics m;
    assert_int_equal(ql_metric_numbers(broken, truth, 3, &m), QL_OK);
    assert_true(isnan(m.pearson) && isnan(m.spearman) && isnan(m.mse));
}

static void overlap_equals(const char *what, size_t i, const ql_overlap *got, const json_t *want) {
    close_to(what, i, got->precision, json_array_get(want, 0));
    close_to(what, i, got->recall, json_array_get(want, 1));
    close_to(what, i, got->f, json_array_get(want, 2));
}

static void rouge_equals_rouge_score(void **state) {
    (void)state;
    json_t *list = recorded("rouge"), *c;
    size_t i, live = ql_hostmem_live();
    json_array_foreach(list, i, c) {
        const json_t *t = json_object_get(c, "truth"), *p = json_object_get(c, "predicted");
        ql_rouge r;
        assert_int_equal(ql_metric_rouge(json_string_value(p), json_string_length(p),
                                         json_string_value(t), json_string_length(t), &r),
                         QL_OK);
        overlap_equals("rouge1", i, &r.one, json_object_get(c, "rouge1"));
        overlap_equals("rouge2", i, &r.two, json_object_get(c, "rouge2"));
        overlap_equals("rougeL", i, &r.l, json_object_get(c, "rougeL"));
    }
    assert_int_equal(ql_hostmem_live(), live);
}

static void sequences_count_tokens_and_whole_rows(void **state) {
    (void)state;
    const int32_t truth[] = {4, 5, 6}, right[] = {4, 5, 6}, wrong[] = {4, 9, 6};
    ql_sequence_metrics m = {0};
    ql_metric_add_sequence(&m, right, truth, 3);
    ql_metric_add_sequence(&m, wrong, truth, 3);
    ql_metric_add_sequence(&m, right, truth, 2);
    assert_int_equal(m.tokens, 8);
    assert_int_equal(m.right, 7);
    assert_int_equal(m.sequences, 3);
    assert_int_equal(m.exact, 2);
}

static void what_is_no_prediction_is_refused(void **state) {
    (void)state;
    const int32_t good[] = {0, 1}, high[] = {0, 2}, low[] = {-1, 0};
    const float x[] = {1, 2};
    ql_class_metrics c;
    ql_number_metrics m;
    ql_rouge r;
    assert_int_equal(ql_metric_classes(good, high, 2, 2, &c), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "row 2"));
    assert_int_equal(ql_metric_classes(high, good, 2, 2, &c), QL_ERR_INVALID);
    assert_int_equal(ql_metric_classes(low, good, 2, 2, &c), QL_ERR_INVALID);
    assert_int_equal(ql_metric_classes(good, good, 0, 2, &c), QL_ERR_INVALID);
    assert_int_equal(ql_metric_classes(good, good, 2, 1, &c), QL_ERR_INVALID);
    assert_int_equal(ql_metric_numbers(x, x, 0, &m), QL_ERR_INVALID);
    size_t live = ql_hostmem_live();
    for (int i = 1; i < 40; i++) {
        ql_hostmem_fail_after(i);
        ql_status s[] = {ql_metric_classes(good, good, 2, 2, &c), ql_metric_numbers(x, x, 2, &m),
                         ql_metric_rouge("a b", 3, "b c", 3, &r)};
        ql_hostmem_fail_after(0);
        int failed = 0;
        for (int k = 0; k < 3; k++) {
            assert_true(s[k] == QL_OK || s[k] == QL_ERR_NOMEM_HOST);
            failed += s[k] != QL_OK;
        }
        assert_int_equal(ql_hostmem_live(), live);
        if (failed == 0) return;
    }
    fail_msg("40 allocations, at most 3 + 7 expected");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_equal_scikit_learn),
        cmocka_unit_test(classes_by_hand),
        cmocka_unit_test(numbers_equal_scipy),
        cmocka_unit_test(rouge_equals_rouge_score),
        cmocka_unit_test(sequences_count_tokens_and_whole_rows),
        cmocka_unit_test(what_is_no_prediction_is_refused),
    };
    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
