/* test_out.c - exit codes: the status and the stage together decide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/out.h"

static void exit_codes_follow_the_stage(void **state) {
    (void)state;
    static const struct {
        ql_stage stage;
        ql_status status;
        ql_exit code;
    } cases[] = {
        {QL_STAGE_RUN, QL_OK, QL_EXIT_OK},
        {QL_STAGE_USAGE, QL_ERR_INVALID, QL_EXIT_USAGE},
        {QL_STAGE_PLAN, QL_ERR_SHAPE, QL_EXIT_USAGE},
        {QL_STAGE_PLAN, QL_ERR_NOMEM_DEV, QL_EXIT_NO_FIT},
        {QL_STAGE_RUN, QL_ERR_NOMEM_DEV, QL_EXIT_FAILED},
        {QL_STAGE_DEVICE, QL_ERR_NOT_FOUND, QL_EXIT_DEVICE},
        {QL_STAGE_DEVICE, QL_ERR_UNSUPPORTED, QL_EXIT_DEVICE},
        {QL_STAGE_DEVICE, QL_ERR_INVALID, QL_EXIT_USAGE},
        {QL_STAGE_MODEL, QL_ERR_FORMAT, QL_EXIT_DAMAGED},
        {QL_STAGE_MODEL, QL_ERR_NUMERIC, QL_EXIT_DAMAGED},
        {QL_STAGE_MODEL, QL_ERR_NOT_FOUND, QL_EXIT_USAGE},
        {QL_STAGE_MODEL, QL_ERR_UNSUPPORTED, QL_EXIT_USAGE},
        {QL_STAGE_MODEL, QL_ERR_IO, QL_EXIT_FAILED},
        {QL_STAGE_DATA, QL_ERR_FORMAT, QL_EXIT_DATA},
        {QL_STAGE_DATA, QL_ERR_INVALID, QL_EXIT_DATA},
        {QL_STAGE_DATA, QL_ERR_NOT_FOUND, QL_EXIT_USAGE},
        {QL_STAGE_RUN, QL_ERR_NUMERIC, QL_EXIT_DIVERGED},
        {QL_STAGE_RUN, QL_ERR_CANCELLED, QL_EXIT_SIGINT},
        {QL_STAGE_RUN, QL_ERR_IO, QL_EXIT_FAILED},
        {QL_STAGE_DATA, QL_ERR_NOMEM_HOST, QL_EXIT_FAILED},
        {QL_STAGE_MODEL, QL_ERR_INTERNAL, QL_EXIT_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ql_exit_for(cases[i].stage, cases[i].status), cases[i].code);
    }
}

static void no_failure_has_exit_code_zero(void **state) {
    (void)state;
    for (int stage = QL_STAGE_USAGE; stage <= QL_STAGE_RUN; stage++) {
        for (int s = QL_ERR_INVALID; s <= QL_ERR_INTERNAL; s++) {
            assert_int_not_equal(ql_exit_for((ql_stage)stage, (ql_status)s), QL_EXIT_OK);
        }
    }
}

static void a_live_line_is_cut_between_characters(void **state) {
    (void)state;
    assert_int_equal(ql_text_fit("step  1/2", 100), 9);
    assert_int_equal(ql_text_fit("step  1/2", 4), 4);
    assert_int_equal(ql_text_fit("a \xC2\xB7 b", 3), 4); /* the dot has two bytes */
    assert_int_equal(ql_text_fit("a \xC2\xB7 b", 2), 2);
    assert_int_equal(ql_text_fit("\xE2\x82\xAC", 1), 3);
    assert_int_equal(ql_text_fit("", 5), 0);
    assert_int_equal(ql_text_fit("abc", 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_follow_the_stage),
        cmocka_unit_test(no_failure_has_exit_code_zero),
        cmocka_unit_test(a_live_line_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
