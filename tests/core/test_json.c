/* test_json.c - what the JSON layer refuses, what it reads, and the sentences of its getters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "tests/support/temp_folder.h"

static ql_status parse(const char *text, json_t **out) {
    return ql_json_parse(text, strlen(text), "file.json", out);
}

static void bad_texts_are_refused_with_a_place(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "{\"a\": 1,}",
                                      "{\"a\": 1, \"a\": 2}",
                                      "{\"o\": {\"b\": 1, \"b\": 1}}",
                                      "{\"a\": 01}",
                                      "{\"a\": \"\xFF\"}",
                                      "{\"a\": \"\xC0\x80\"}",
                                      "{\"a\": \"\xED\xA0\x80\"}",
                                      "{\"a\": \"\\ud800\"}",
                                      "{\"a\": 1} x",
                                      "{\"a\": NaN}",
                                      "{\"a\": 1e999}",
                                      "{\"a\": 99999999999999999999x}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *j = NULL;
        assert_int_equal(parse(bad[i], &j), QL_ERR_FORMAT);
        assert_null(j);
        assert_non_null(strstr(ql_last_error(), "file.json: not valid JSON at line 1, column "));
    }
}

static void enormous_nesting_is_refused(void **state) {
    (void)state;
    enum { DEPTH = 200000 };
    char *text = malloc(2 * DEPTH);
    json_t *j = NULL;
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    assert_int_equal(ql_json_parse(text, 2 * DEPTH, "deep", &j), QL_ERR_FORMAT);
    free(text);
}

static void too_much_text_is_refused_unread(void **state) {
    (void)state;
    json_t *j = NULL;
    assert_int_equal(ql_json_parse("", (size_t)QL_JSON_MAX_BYTES + 1, "big", &j), QL_ERR_FORMAT);
}

/* Python writes model_max_length as an integer of 31 digits. */
static void integers_beyond_64_bits_are_reals(void **state) {
    (void)state;
    json_t *j = NULL;
    assert_int_equal(parse("{\"m\": 1000000000000000019884624838656, \"s\": "
                           "\"1000000000000000019884624838656 \\\" 2\", \"n\": "
                           "[-99999999999999999999,9223372036854775807], \"r\": "
                           "99999999999999999999.5e-3, \"i\": 7}",
                           &j),
                     QL_OK);
    assert_true(json_real_value(json_object_get(j, "m")) == 1e30);
    assert_string_equal(json_string_value(json_object_get(j, "s")),
                        "1000000000000000019884624838656 \" 2");
    assert_true(json_real_value(json_array_get(json_object_get(j, "n"), 0)) == -1e20);
    assert_true(json_real_value(json_object_get(j, "r")) == 99999999999999999999.5e-3);
    assert_true(json_is_integer(json_object_get(j, "i")));
    json_decref(j);
}

static void documents_survive_writing(void **state) {
    (void)state;
    json_t *j = NULL, *again = NULL;
    assert_int_equal(parse("{\"b\": [1, -2.5, true, null, \"\xC3\xA4 \\\" \\u0001\"], \"a\": 1e-05,"
                           " \"t\": 0.1}",
                           &j),
                     QL_OK);
    const char *path = temp_path("j.json");
    assert_int_equal(ql_json_write(path, j), QL_OK);
    assert_int_equal(ql_json_read(path, &again), QL_OK);
    assert_true(json_equal(j, again));
    json_decref(again);
    ql_fs_fail_after(1);
    assert_int_equal(ql_json_write(path, json_object_get(j, "b")), QL_ERR_IO);
    assert_int_equal(ql_json_read(path, &again), QL_OK);
    assert_true(json_equal(j, again));
    json_decref(again);
    json_decref(j);
    assert_int_equal(ql_json_read(temp_path("absent.json"), &j), QL_ERR_NOT_FOUND);
}

static void getters_keep_defaults_and_name_the_fault(void **state) {
    (void)state;
    json_t *j = NULL;
    int64_t i = 42;
    double x = 4.5;
    bool b = true;
    const char *s = "default";
    assert_int_equal(parse("{\"i\": 7, \"x\": 0.5, \"b\": false, \"s\": \"t\", \"n\": null}", &j),
                     QL_OK);
    assert_int_equal(ql_json_get_i64(j, "f", "n", 0, 1, &i), QL_OK);
    assert_int_equal(ql_json_get_f64(j, "f", "absent", 0, 1, &x), QL_OK);
    assert_int_equal(ql_json_get_bool(j, "f", "n", &b), QL_OK);
    assert_int_equal(ql_json_get_str(j, "f", "n", &s), QL_OK);
    assert_true(i == 42 && x == 4.5 && b && strcmp(s, "default") == 0);
    assert_int_equal(ql_json_get_i64(j, "f", "i", 0, 6, &i), QL_ERR_FORMAT);
    assert_string_equal(ql_last_error(), "f: 'i' is 7, expected 0 to 6");
    assert_int_equal(ql_json_get_i64(j, "f", "x", 0, 6, &i), QL_ERR_FORMAT);
    assert_string_equal(ql_last_error(), "f: 'x' must be an integer, it is a real number");
    assert_int_equal(ql_json_get_f64(j, "f", "x", 0.6, 1, &x), QL_ERR_FORMAT);
    assert_int_equal(ql_json_get_f64(j, "f", "s", 0, 1, &x), QL_ERR_FORMAT);
    assert_int_equal(ql_json_get_bool(j, "f", "i", &b), QL_ERR_FORMAT);
    assert_int_equal(ql_json_get_str(j, "f", "b", &s), QL_ERR_FORMAT);
    assert_true(i == 42 && x == 4.5 && b && strcmp(s, "default") == 0);
    assert_int_equal(ql_json_get_i64(j, "f", "i", 0, 7, &i), QL_OK);
    assert_int_equal(ql_json_get_f64(j, "f", "i", 0, 7, &x), QL_OK);
    assert_true(i == 7 && x == 7.0);
    assert_int_equal(ql_json_get_f64(j, "f", "x", 0, 7, &x), QL_OK);
    assert_int_equal(ql_json_get_bool(j, "f", "b", &b), QL_OK);
    assert_int_equal(ql_json_get_str(j, "f", "s", &s), QL_OK);
    assert_true(x == 0.5 && !b && strcmp(s, "t") == 0);
    assert_true(ql_json_has(j, "i") && !ql_json_has(j, "n") && !ql_json_has(j, "absent"));
    json_decref(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_refused_with_a_place),
        cmocka_unit_test(enormous_nesting_is_refused),
        cmocka_unit_test(too_much_text_is_refused_unread),
        cmocka_unit_test(integers_beyond_64_bits_are_reals),
        cmocka_unit_test(documents_survive_writing),
        cmocka_unit_test(getters_keep_defaults_and_name_the_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
