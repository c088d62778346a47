/*
 * test_checkpoint.c - a run that stops and resumes is the run that did not stop, bit for bit; a
 * full disk costs nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"
#include "tests/train/run_fixture.h"

/* ---------------------------------------------------------------- resuming */

/* 6 steps at once against k, save, a new trainer, resume, 6 - k. */
static void compare_with_a_stop(const setup *s, int k) {
    ql_step_metrics whole[STEPS], parts[STEPS];
    memset(whole, 0, sizeof whole);
    memset(parts, 0, sizeof parts);
    job a = start(s), b = start(s);
    steps(&a, STEPS, whole);
    steps(&b, k, parts);
    OK(ql_trainer_save(b.t, temp_path("stop")));
    OK(ql_checkpoint_check(temp_path("stop")));
    stop(&b);
    job c = start(s);
    OK(ql_trainer_resume(c.t, temp_path("stop")));
    assert_int_equal(ql_trainer_done(c.t), k);
    steps(&c, STEPS - k, parts + k);
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(whole[i].step, i + 1);
        assert_int_equal(parts[i].step, i + 1);
        assert_int_equal(whole[i].tokens, parts[i].tokens);
        assert_int_equal(whole[i].supervised, parts[i].supervised);
        assert_true(whole[i].loss == parts[i].loss && whole[i].lr == parts[i].lr);
        assert_true(whole[i].grad_norm == parts[i].grad_norm && whole[i].epoch == parts[i].epoch);
    }
    assert_same_state(&a, &c);
    stop(&a);
    stop(&c);
}

static void resuming_is_bit_equal_anywhere_in_an_epoch(void **state) {
    (void)state;
    setup s = usual();
    for (int k = 1; k < STEPS; k++) compare_with_a_stop(&s, k); /* 3: at the end of an epoch */
}

static void resuming_is_bit_equal_with_packing_bf16_and_full_training(void **state) {
    (void)state;
    setup s = usual();
    s.o.packing = true;
    compare_with_a_stop(&s, 1);
    compare_with_a_stop(&s, 2);
    s = usual();
    s.o.compute = QL_BF16;
    s.lora.rslora = true;
    compare_with_a_stop(&s, 2);
    s = usual();
    s.full = true;
    s.model = "tiny-mistral";
    compare_with_a_stop(&s, 2);
    compare_with_a_stop(&s, 3);
}

static void a_checkpoint_of_a_checkpoint_is_the_same_bytes(void **state) {
    (void)state;
    setup s = usual();
    job a = start(&s), b = start(&s);
    ql_step_metrics m[2];
    steps(&a, 2, m);
    OK(ql_trainer_save(a.t, temp_path("first")));
    OK(ql_trainer_resume(b.t, temp_path("first")));
    OK(ql_trainer_save(b.t, temp_path("second")));
    for (int i = 0; i < N_FILES; i++) {
        char p[QL_PATH_MAX], *x = NULL, *y = NULL;
        size_t nx = 0, ny = 0;
        OK(ql_path_join(p, temp_path("first"), checkpoint_files[i]));
        OK(ql_file_read(p, 1u << 26, &x, &nx));
        OK(ql_path_join(p, temp_path("second"), checkpoint_files[i]));
        OK(ql_file_read(p, 1u << 26, &y, &ny));
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        ql_host_free(x);
        ql_host_free(y);
    }
    stop(&a);
    stop(&b);
}

/* Notes come back as they were, to the last bit of a real; a refused resume leaves those of now. */
static void what_the_caller_noted_comes_back(void **state) {
    (void)state;
    setup s = usual();
    job a = start(&s), b = start(&s);
    ql_step_metrics m;
    assert_int_equal(json_object_size(ql_trainer_notes(a.t)), 0);
    json_object_set_new(ql_trainer_notes(a.t), "best",
                        json_pack("{s:f,s:i}", "loss", 0.1, "step", 1));
    OK(ql_trainer_step(a.t, &m));
    OK(ql_trainer_save(a.t, temp_path("noted")));
    OK(ql_trainer_resume(b.t, temp_path("noted")));
    assert_true(json_equal(ql_trainer_notes(a.t), ql_trainer_notes(b.t)));
    json_object_set_new(ql_trainer_notes(b.t), "other", json_true());
    OK(ql_file_replace(temp_path("noted/optimizer.safetensors"), "", 0));
    FAILS(ql_trainer_resume(b.t, temp_path("noted")), QL_ERR_FORMAT, "optimizer.safetensors");
    assert_int_equal(json_object_size(ql_trainer_notes(b.t)), 2);
    stop(&a);
    stop(&b);
}

/* ---------------------------------------------------------------- proof */

/* A good adapter passes and stays in memory; one of another step, under the right names, does not.
 */
static void a_saved_adapter_is_proved_to_be_the_trained_one(void **state) {
    (void)state;
    setup s = usual();
    job j = start(&s);
    ql_step_metrics m[3];
    bool idle = true;
    OK(ql_adapter_save(j.m, temp_path("untrained")));
    OK(ql_trainer_prove(j.t, temp_path("untrained"), &idle));
    assert_true(idle); /* B is zero */
    steps(&j, 3, m);
    OK(ql_adapter_save(j.m, temp_path("trained")));
    size_t n = 0;
    unsigned char *before = engine_state(j.t, &n);
    OK(ql_trainer_prove(j.t, temp_path("trained"), &idle));
    assert_false(idle);
    unsigned char *after = engine_state(j.t, &n);
    assert_memory_equal(before, after, n);
    FAILS(ql_trainer_prove(j.t, temp_path("untrained"), &idle), QL_ERR_IO, "not what was trained");
    free(before);
    free(after);
    stop(&j);
}

/* ---------------------------------------------------------------- a full disk */

static void a_full_disk_leaves_the_previous_checkpoint(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s); /* the checkpoint is of step 1, the job is at 2 */
    long n = 1;
    for (;; n++) {
        ql_fs_fail_after(n);
        ql_status got = ql_trainer_save(j.t, checkpoint_dir());
        ql_fs_fail_after(0);
        if (got == QL_OK) break;
        assert_int_equal(got, QL_ERR_IO);
        assert_non_null(strstr(ql_last_error(), "o space left"));
        OK(ql_checkpoint_check(checkpoint_dir()));
        assert_false(ql_dir_exists(temp_path("checkpoint.tmp")));
        if (n % 4) continue;
        job k = start(&s);
        OK(ql_trainer_resume(k.t, checkpoint_dir()));
        assert_int_equal(ql_trainer_done(k.t), 1);
        stop(&k);
    }
    assert_true(n > N_FILES + 1); /* every file and the manifest failed at least once */
    print_message("%ld writes made to fail\n", n - 1);
    job k = start(&s);
    OK(ql_trainer_resume(k.t, checkpoint_dir()));
    assert_int_equal(ql_trainer_done(k.t), 2);
    assert_same_state(&j, &k);
    stop(&j);
    stop(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_is_bit_equal_anywhere_in_an_epoch),
        cmocka_unit_test(resuming_is_bit_equal_with_packing_bf16_and_full_training),
        cmocka_unit_test(a_checkpoint_of_a_checkpoint_is_the_same_bytes),
        cmocka_unit_test(what_the_caller_noted_comes_back),
        cmocka_unit_test(a_saved_adapter_is_proved_to_be_the_trained_one),
        cmocka_unit_test(a_full_disk_leaves_the_previous_checkpoint),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
