/*
 * test_checkpoint_faults.c - every single file operation of a save fails once, in every way: the
 * checkpoint that was there or the new one is whole afterwards, and going on from it ends in the
 * same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/faults.h"
#include "tests/support/temp_folder.h"
#include "tests/train/run_fixture.h"

/* Two runs of the same settings: `old` stands at step 1, `now` at step 2; what step 3 must give. */
typedef struct scene {
    setup s;
    job old, now;
    unsigned char *end;
    size_t end_bytes;
} scene;

static scene set(const setup *s) {
    scene c = {.s = *s, .old = start(s), .now = start(s)};
    ql_step_metrics m[3];
    steps(&c.old, 1, m);
    steps(&c.now, 2, m);
    job whole = start(s);
    steps(&whole, 3, m);
    c.end = engine_state(whole.t, &c.end_bytes);
    stop(&whole);
    return c;
}

static void strike(scene *c) {
    stop(&c->old);
    stop(&c->now);
    free(c->end);
}

/* The folder's checkpoint is whole, of step 1 or 2, and going on from it ends where it must. */
static int64_t step_that_survived(scene *c) {
    ql_step_metrics m;
    size_t n = 0;
    OK(ql_checkpoint_check(checkpoint_dir()));
    job k = start(&c->s);
    OK(ql_trainer_resume(k.t, checkpoint_dir()));
    int64_t step = ql_trainer_done(k.t);
    while (ql_trainer_done(k.t) < 3) OK(ql_trainer_step(k.t, &m));
    unsigned char *end = engine_state(k.t, &n);
    assert_int_equal(n, c->end_bytes);
    assert_memory_equal(end, c->end, n);
    free(end);
    stop(&k);
    return step;
}

/* A save of step 2 over step 1 whose n-th operation is struck. false = it has no n-th one. */
static bool save_with(scene *c, fault_kind kind, long n, ql_status *got) {
    OK(ql_trainer_save(c->old.t, checkpoint_dir()));
    fault_at(kind, n);
    *got = ql_trainer_save(c->now.t, checkpoint_dir());
    bool struck = fault_hit();
    fault_at(FAULT_NONE, 0);
    return struck;
}

static void what_survives(scene *c, fault_kind kind, bool may_fail) {
    ql_status got;
    long n = 1, old = 0, new = 0;
    for (; save_with(c, kind, n, &got); n++) {
        if (got != QL_OK && !may_fail)
            fail_msg("%s at operation %ld: %s", fault_names[kind], n, ql_last_error());
        if (got != QL_OK) assert_true(strlen(ql_last_error()) > 10);
        int64_t step = step_that_survived(c);
        assert_true(step == 1 || step == 2);
        if (got == QL_OK) assert_int_equal(step, 2); /* a save that says so has saved */
        step == 1 ? old++ : new ++;
    }
    OK(got);
    assert_int_equal(step_that_survived(c), 2);
    print_message("%s: %ld operations, %ld times the old checkpoint, %ld times the new one\n",
                  fault_names[kind], n - 1, old, new);
    assert_true(n > 40);
    assert_true(new > 0 && (old > 0) == may_fail);
}

static void any_operation_that_fails_leaves_a_whole_checkpoint(void **state) {
    (void)state;
    setup s = usual();
    scene c = set(&s);
    what_survives(&c, FAULT_ENOSPC, true);
    what_survives(&c, FAULT_FULL, true);
    what_survives(&c, FAULT_EIO, true);
    strike(&c);
}

static void interrupted_calls_and_short_writes_fail_nothing(void **state) {
    (void)state;
    setup s = usual();
    scene c = set(&s);
    what_survives(&c, FAULT_EINTR, false);
    what_survives(&c, FAULT_SHORT, false);
    strike(&c);
}

static void full_training_survives_too(void **state) {
    (void)state;
    setup s = usual();
    s.full = true;
    s.model = "tiny-mistral";
    scene c = set(&s);
    ql_status got;
    for (long n = 1; save_with(&c, FAULT_EIO, n, &got); n += 3) {
        int64_t step = step_that_survived(&c);
        assert_true(step == 2 || got != QL_OK);
    }
    strike(&c);
}

/* One bit of one write is another on the disk: reading back notices it, whatever file it is. */
static void a_bit_that_the_disk_changed_is_noticed_before_the_old_one_goes(void **state) {
    (void)state;
    setup s = usual();
    scene c = set(&s);
    ql_status got;
    long noticed = 0;
    for (long n = 1; save_with(&c, FAULT_FLIP, n, &got); n++) {
        int64_t step = step_that_survived(&c);
        assert_int_equal(step, got == QL_OK ? 2 : 1);
        noticed += got != QL_OK;
    }
    print_message("%ld changed writes noticed\n", noticed);
    assert_int_equal(noticed, N_FILES + 1); /* every file of a checkpoint and its manifest */
    strike(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_operation_that_fails_leaves_a_whole_checkpoint),
        cmocka_unit_test(interrupted_calls_and_short_writes_fail_nothing),
        cmocka_unit_test(full_training_survives_too),
        cmocka_unit_test(a_bit_that_the_disk_changed_is_noticed_before_the_old_one_goes),
    };
    return cmocka_run_group_tests_name("checkpoint_faults", tests, NULL, NULL);
}
