/*
 * test_resume.c - a run of 30 steps that stops at any step k and goes on, on one or two threads,
 * ends in the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/temp_folder.h"
#include "tests/train/run_fixture.h"

enum { LONG = 30 };

static const char *folder_of(int k) {
    char name[32];
    snprintf(name, sizeof name, "step-%d", k);
    return temp_path(name);
}

/* Where the unbroken run must lead. */
typedef struct whole {
    ql_step_metrics steps[LONG];
    unsigned char *end;
    size_t bytes;
} whole;

/* All steps at once, with a checkpoint after each. */
static whole run_through(const setup *s) {
    whole w;
    memset(&w, 0, sizeof w);
    job j = start(s);
    for (int k = 0; k < LONG; k++) {
        OK(ql_trainer_step(j.t, &w.steps[k]));
        OK(ql_trainer_save(j.t, folder_of(k + 1)));
    }
    w.end = engine_state(j.t, &w.bytes);
    stop(&j);
    return w;
}

static void go_on_from(const setup *s, int k, const whole *w) {
    job j = start(s);
    OK(ql_trainer_resume(j.t, folder_of(k)));
    assert_int_equal(ql_trainer_done(j.t), k);
    for (; k < LONG; k++) {
        ql_step_metrics m;
        OK(ql_trainer_step(j.t, &m));
        const ql_step_metrics *want = &w->steps[k];
        assert_int_equal(m.step, want->step);
        assert_int_equal(m.tokens, want->tokens);
        assert_true(m.loss == want->loss && m.grad_norm == want->grad_norm);
        assert_true(m.lr == want->lr && m.epoch == want->epoch);
    }
    size_t n = 0;
    unsigned char *end = engine_state(j.t, &n);
    assert_int_equal(n, w->bytes);
    assert_memory_equal(end, w->end, n);
    free(end);
    stop(&j);
}

static void from_every_step(setup s, int threads) {
    s.o.max_steps = LONG;
    s.threads = 1;
    whole w = run_through(&s);
    s.threads = threads;
    for (int k = 1; k < LONG; k++) go_on_from(&s, k, &w);
    free(w.end);
}

static void resuming_at_every_step_ends_in_the_same_bytes(void **state) {
    (void)state;
    from_every_step(usual(), 1);
}

static void resuming_on_two_threads_does_too(void **state) {
    (void)state;
    from_every_step(usual(), 2);
}

static void with_packing_and_eight_bit_moments_too(void **state) {
    (void)state;
    setup s = usual();
    s.o.packing = true;
    s.o.optim = ql_optim_find("adamw_8bit");
    s.lora.r = 64; /* tensors that are large enough for codes */
    from_every_step(s, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_at_every_step_ends_in_the_same_bytes),
        cmocka_unit_test(resuming_on_two_threads_does_too),
        cmocka_unit_test(with_packing_and_eight_bit_moments_too),
    };
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
