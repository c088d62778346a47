/*
 * test_best.c - which evaluation is the best and when a run gives up.
 *
 * The cases were recorded from transformers 5.24.0: EarlyStoppingCallback.on_evaluate, then the
 * trainer's own rule for best_metric (strictly better), on random values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "tools/best.h"

static const struct {
    double values[8];
    int patience;
    double threshold;
    bool greater;
    int stop, best; /* evaluation after which it stops, 0 = never; the best until then */
} recorded[] = {
    {{2, 1.89, 1.75, 1.62, 1.72, 1.69, 1.31, 1.37}, 1, 0.1, false, 5, 4},
    {{0.99, 0.95, 1, 1, 0.99, 1.05, 0.99, 0.95}, 3, 0.05, false, 4, 2},
    {{2.4, 1.89, 1.75, 2.05, 1.47, 1.21, 1.59, 0.78}, 3, 0.1, false, 0, 8},
    {{2.4, 1.93, 1.78, 1.87, 1.63, 1.81, 1.13, 1.74}, 2, 0.1, true, 3, 1},
    {{0.95, 0.95, 0.99, 1.05, 1.05, 1.05, 1.05, 1}, 3, 0.1, false, 4, 1},
    {{2, 1.81, 2.05, 1.66, 1.81, 1.83, 2.17, 1.7}, 3, 0.1, false, 7, 4},
    {{1.98, 1.97, 1.65, 1.88, 1.9, 1.81, 1.66, 1.86}, 3, 0.05, false, 6, 3},
    {{0.95, 0.99, 1.05, 0.99, 1, 0.95, 0.99, 1.05}, 2, 0, true, 5, 3},
    {{2, 1.89, 1.85, 1.92, 1.4, 1.65, 1.27, 1.88}, 2, 0.05, false, 4, 3},
    {{2.4, 1.89, 1.91, 1.84, 1.57, 1.43, 1.77, 1.31}, 3, 0.05, false, 0, 8},
    {{0.99, 1, 1.05, 1, 1, 0.95, 0.99, 0.95}, 3, 0.05, false, 4, 1},
    {{2, 1.92, 1.9, 2.23, 1.33, 1.23, 1.36, 2.14}, 1, 0.05, true, 2, 1},
};

static void decisions_are_those_of_transformers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++) {
        ql_best_rule r = ql_best_rule_for(recorded[i].greater ? "accuracy" : "loss",
                                          recorded[i].patience, recorded[i].threshold);
        assert_int_equal(r.greater, recorded[i].greater);
        ql_best b = {.any = false};
        int stop = 0;
        for (int k = 0; k < 8 && !stop; k++) {
            ql_best_take(&b, &r, recorded[i].values[k], k + 1);
            if (ql_best_gives_up(&b, &r)) stop = k + 1;
        }
        assert_int_equal(stop, recorded[i].stop);
        assert_int_equal(b.step, recorded[i].best);
    }
}

/* Stored after any evaluation and loaded again, the rest is decided alike. */
static void a_stop_in_between_changes_no_decision(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++) {
        ql_best_rule r = ql_best_rule_for(recorded[i].greater ? "accuracy" : "loss",
                                          recorded[i].patience, recorded[i].threshold);
        ql_best b = {.any = false};
        int stop = 0;
        for (int k = 0; k < 8 && !stop; k++) {
            json_t *notes = json_object();
            assert_int_equal(ql_best_store(&b, &r, notes), QL_OK);
            char *text = json_dumps(notes, 0);
            json_decref(notes);
            notes = json_loads(text, 0, NULL);
            free(text);
            b = ql_best_load(notes, &r);
            json_decref(notes);
            ql_best_take(&b, &r, recorded[i].values[k] / 3, k + 1); /* many digits */
            if (ql_best_gives_up(&b, &r)) stop = k + 1;
        }
        ql_best whole = {.any = false};
        for (int k = 0; k < (stop ? stop : 8); k++)
            ql_best_take(&whole, &r, recorded[i].values[k] / 3, k + 1);
        assert_true(whole.value == b.value && whole.step == b.step && whole.waited == b.waited);
    }
}

static void what_is_not_finite_is_never_the_best(void **state) {
    (void)state;
    ql_best_rule r = ql_best_rule_for("loss", 2, 0);
    ql_best b = {.any = false};
    assert_false(ql_best_take(&b, &r, NAN, 1));
    assert_false(b.any);
    assert_true(ql_best_take(&b, &r, 3, 2));
    assert_int_equal(b.waited, 0);
    assert_false(ql_best_take(&b, &r, -INFINITY, 3));
    assert_false(ql_best_take(&b, &r, NAN, 4));
    assert_true(ql_best_gives_up(&b, &r));
    assert_int_equal(b.step, 2);
}

static void notes_of_another_metric_say_nothing(void **state) {
    (void)state;
    ql_best_rule loss = ql_best_rule_for("loss", 2, 0), f1 = ql_best_rule_for("f1", 2, 0);
    ql_best b = {.any = true, .value = 0.5, .step = 7, .waited = 1};
    json_t *notes = json_object();
    assert_int_equal(ql_best_store(&b, &loss, notes), QL_OK);
    assert_true(ql_best_load(notes, &loss).any);
    assert_false(ql_best_load(notes, &f1).any);
    assert_int_equal(ql_best_load(notes, &f1).waited, 0);
    json_object_set_new(notes, "best", json_string("not an object"));
    assert_false(ql_best_load(notes, &loss).any);
    json_decref(notes);
    assert_false(ql_best_load(NULL, &loss).any);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions_are_those_of_transformers),
        cmocka_unit_test(a_stop_in_between_changes_no_decision),
        cmocka_unit_test(what_is_not_finite_is_never_the_best),
        cmocka_unit_test(notes_of_another_metric_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
