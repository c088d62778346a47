/* test_spikes.c - which losses stand out: a jump does, noise and a slow change do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "tools/spikes.h"

/* Uniform in [-1, 1), the same in every run. */
static double noise(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 33) / 0x1p30 - 1;
}

/* Steps that stand out among n of `level(i)` with noise, the first in *first. */
static int count(double (*level)(int), double width, int n, int *first) {
    ql_spikes s = {.n = 0};
    uint64_t seed = 7;
    int found = 0;
    for (int i = 0; i < n; i++) {
        if (!ql_spikes_take(&s, level(i) + width * noise(&seed))) continue;
        if (!found++) *first = i;
    }
    return found;
}

static double falling(int i) {
    return 1.2 + 1.5 * exp(-i / 300.0);
}
static double jumping(int i) {
    return falling(i) + (i == 812 ? 2.6 : 0);
}
static double rising(int i) {
    return 1 + i * 0.01;
}
static double higher(int i) {
    return i < 500 ? 1 : 4;
}
static double early(int i) {
    return i == 10 ? 50 : 1;
}

static void noise_and_slow_changes_do_not_stand_out(void **state) {
    (void)state;
    int first = -1;
    assert_int_equal(count(falling, 0.4, 5000, &first), 0);
    assert_int_equal(count(rising, 0.1, 1000, &first), 0);
    assert_int_equal(count(early, 0.1, 1000, &first), 0); /* nothing is usual yet */
}

static void a_jump_stands_out_once(void **state) {
    (void)state;
    int first = -1;
    assert_int_equal(count(jumping, 0.1, 2000, &first), 1);
    assert_int_equal(first, 812);
}

static void a_lasting_change_becomes_usual(void **state) {
    (void)state;
    int first = -1, found = count(higher, 0.05, 2000, &first);
    assert_int_equal(first, 500);
    assert_in_range(found, 1, 40);
}

static void a_stop_changes_nothing_and_what_is_not_finite_is_passed_over(void **state) {
    (void)state;
    ql_spikes whole = {.n = 0}, parts = {.n = 0};
    uint64_t seed = 3;
    for (int i = 0; i < 300; i++) {
        double loss = jumping(600 + i) + 0.3 * noise(&seed);
        json_t *notes = json_object();
        assert_int_equal(ql_spikes_store(&parts, notes), QL_OK);
        char *text = json_dumps(notes, 0);
        json_decref(notes);
        notes = json_loads(text, 0, NULL);
        free(text);
        parts = ql_spikes_load(notes);
        json_decref(notes);
        assert_int_equal(ql_spikes_take(&whole, loss), ql_spikes_take(&parts, loss));
        assert_false(ql_spikes_take(&whole, NAN));
        assert_false(ql_spikes_take(&whole, INFINITY));
        assert_true(whole.mean == parts.mean && whole.variance == parts.variance);
        assert_int_equal(whole.n, parts.n);
    }
    assert_int_equal(ql_spikes_load(NULL).n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_and_slow_changes_do_not_stand_out),
        cmocka_unit_test(a_jump_stands_out_once),
        cmocka_unit_test(a_lasting_change_becomes_usual),
        cmocka_unit_test(a_stop_changes_nothing_and_what_is_not_finite_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
