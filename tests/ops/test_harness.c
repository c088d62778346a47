/*
 * test_harness.c - the operator harness must notice a broken backend: a test that cannot fail tests
 * nothing.
 *
 * The CPU device runs behind a table whose axpby (or scratch_bytes, or supports) is wrong in one
 * way at a time; each way must turn the axpby cases of the family "elem" into failures that say so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/device/device.h"
#include "tests/support/opcases.h"

/* What the table under test does wrong; which call of axpby it is. */
static struct {
    const ql_backend *real;
    int calls;
    enum {
        RIGHT,
        ONE_VALUE_OFF,
        BEHIND_THE_ROW,
        BEFORE_THE_MATRIX,
        INPUT_CHANGED,
        SECOND_RUN_DIFFERS,
        NOTHING_WRITTEN,
        PLAN_DEPENDS_ON_BINDING,
        SAYS_NO,
        FAILS
    } defect;
} broken;

static uint8_t *byte_of(const ql_mat *m, int64_t row, int64_t col) {
    return (uint8_t *)m->buf->host + m->off +
           (uint64_t)(row * m->ld + col) * ql_dtype_size(m->dtype);
}

static ql_status broken_axpby(ql_queue *q, const ql_axpby_args *a) {
    broken.calls++;
    if (broken.defect == FAILS) return QL_FAIL(QL_ERR_DRIVER, "this driver is broken");
    if (broken.defect == NOTHING_WRITTEN) return QL_OK;
    QL_TRY(broken.real->ops.axpby(q, a));
    uint8_t *last = byte_of(&a->y, a->y.rows - 1, a->y.cols - 1);
    uint64_t size = ql_dtype_size(a->y.dtype);
    switch (broken.defect) {
    case ONE_VALUE_OFF: last[size - 1] ^= 0x40; break; /* exponent of the last element */
    case BEHIND_THE_ROW: last[size] = 0; break;
    case BEFORE_THE_MATRIX: byte_of(&a->y, 0, 0)[-1] = 0; break;
    case INPUT_CHANGED: *byte_of(&a->x, 0, 0) ^= 1; break;
    case SECOND_RUN_DIFFERS:
        if (broken.calls % 2 == 0) last[0] ^= 1;
        break;
    default: break;
    }
    return QL_OK;
}

static uint64_t broken_scratch_bytes(ql_device *dev, ql_op op, const ql_op_args *a) {
    uint64_t bytes = broken.real->scratch_bytes(dev, op, a);
    return broken.defect == PLAN_DEPENDS_ON_BINDING && a->scatter_add.dy.buf ? bytes + 64 : bytes;
}

static ql_support broken_supports(ql_device *dev, ql_op op, const ql_op_args *a, const char **why) {
    if (broken.defect != SAYS_NO) return broken.real->supports(dev, op, a, why);
    *why = "no such unit";
    return QL_SUPPORT_NO;
}

typedef struct tally {
    int passed, skipped, failed;
    char message[384];
} tally;

/* Runs the cases whose label starts with `prefix` on the CPU behind the broken table. */
static tally run_with(int defect, const char *family, const char *prefix) {
    tally t = {0};
    ql_device *dev;
    ql_queue *q;
    const ql_device_opts opts = {.threads = 1};
    assert_int_equal(ql_device_open_named("cpu", &opts, &dev), QL_OK);
    ql_backend table = *dev->backend;
    broken.real = dev->backend;
    broken.calls = 0;
    broken.defect = defect;
    table.ops.axpby = broken_axpby;
    table.scratch_bytes = broken_scratch_bytes;
    table.supports = broken_supports;
    dev->backend = &table;
    assert_int_equal(table.queue_create(dev, &q), QL_OK);
    int f = ql_opcase_family_find(family);
    for (int i = 0; i < ql_opcase_count(f); i++) {
        ql_opcase_result r;
        ql_opcase_run(q, f, i, 42, &r);
        if (strncmp(r.label, prefix, strlen(prefix)) != 0) continue;
        t.passed += r.outcome == QL_OPCASE_PASSED;
        t.skipped += r.outcome == QL_OPCASE_SKIPPED;
        t.failed += r.outcome == QL_OPCASE_FAILED;
        snprintf(t.message, sizeof t.message, "%s", r.message);
    }
    table.queue_destroy(q);
    dev->backend = broken.real;
    broken.real->device_close(dev);
    return t;
}

static void expect_all_to_fail(int defect, const char *text) {
    tally t = run_with(defect, "elem", "axpby");
    assert_int_equal(t.passed, 0);
    assert_int_equal(t.skipped, 0);
    assert_true(t.failed > 0);
    if (!strstr(t.message, text)) fail_msg("\"%s\" lacks \"%s\"", t.message, text);
}

static void right_backend_passes(void **state) {
    (void)state;
    tally t = run_with(RIGHT, "elem", "axpby");
    assert_true(t.passed > 0);
    assert_int_equal(t.failed + t.skipped, 0);
}

static void wrong_values_are_found(void **state) {
    (void)state;
    expect_all_to_fail(ONE_VALUE_OFF, "exceeds");
    expect_all_to_fail(NOTHING_WRITTEN, "y");
}

static void writes_outside_the_matrix_are_found(void **state) {
    (void)state;
    expect_all_to_fail(BEHIND_THE_ROW, "outside the matrix");
    expect_all_to_fail(BEFORE_THE_MATRIX, "outside the matrix");
}

/* In place cases have no input that must stay. */
static void changed_inputs_are_found(void **state) {
    (void)state;
    tally t = run_with(INPUT_CHANGED, "elem", "axpby [300, 200]");
    assert_true(t.failed == 2 && t.passed == 0);
    assert_non_null(strstr(t.message, "an input"));
}

static void runs_that_differ_are_found(void **state) {
    (void)state;
    expect_all_to_fail(SECOND_RUN_DIFFERS, "two runs");
}

static void plans_that_depend_on_binding_are_found(void **state) {
    (void)state;
    tally t = run_with(PLAN_DEPENDS_ON_BINDING, "rows", "scatter_add");
    assert_true(t.failed > 0 && t.passed == 0);
    assert_non_null(strstr(t.message, "unbound"));
}

static void unsupported_cases_are_skipped_with_the_reason(void **state) {
    (void)state;
    tally t = run_with(SAYS_NO, "elem", "axpby");
    assert_true(t.skipped > 0 && t.passed == 0 && t.failed == 0);
    assert_string_equal(t.message, "no such unit");
}

static void failing_calls_are_reported(void **state) {
    (void)state;
    expect_all_to_fail(FAILS, "this driver is broken");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_backend_passes),
        cmocka_unit_test(wrong_values_are_found),
        cmocka_unit_test(writes_outside_the_matrix_are_found),
        cmocka_unit_test(changed_inputs_are_found),
        cmocka_unit_test(runs_that_differ_are_found),
        cmocka_unit_test(plans_that_depend_on_binding_are_found),
        cmocka_unit_test(unsupported_cases_are_skipped_with_the_reason),
        cmocka_unit_test(failing_calls_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
