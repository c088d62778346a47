/* test_lock.c - one process at a time, files of whole records, links, leftovers. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/lock.h"
#include "tests/support/temp_folder.h"

static void assert_content(const char *path, const char *want) {
    char *text;
    size_t n;
    assert_int_equal(ql_file_read(path, 1000, &text, &n), QL_OK);
    assert_string_equal(text, want);
    ql_host_free(text);
}

/* ------------------------------------------------------------------ locks */

/* A child that takes the lock, says how that went, and keeps it until it is killed. */
static pid_t locked_by_a_child(const char *path, ql_status *got) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        ql_lock *l;
        char s = (char)ql_lock_take(path, &l);
        if (write(pipes[1], &s, 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    char s = -1;
    assert_int_equal(read(pipes[0], &s, 1), 1);
    close(pipes[0]);
    close(pipes[1]);
    *got = (ql_status)s;
    return child;
}

static void end(pid_t child) {
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_lock_is_of_one_process_until_it_ends_in_any_way(void **state) {
    (void)state;
    const char *path = temp_path("lock");
    ql_status got;
    ql_lock *l;
    pid_t child = locked_by_a_child(path, &got);
    assert_int_equal(got, QL_OK);
    char want[64];
    snprintf(want, sizeof want, "process %ld", (long)child);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ql_lock_take(path, &l), QL_ERR_IO);
        assert_non_null(strstr(ql_last_error(), want));
    }
    assert_true(ql_file_exists(path)); /* asking has not taken it away */
    end(child);
    assert_true(ql_file_exists(path));
    assert_int_equal(ql_lock_take(path, &l), QL_OK);
    child = locked_by_a_child(path, &got);
    assert_int_equal(got, QL_ERR_IO);
    end(child);
    assert_true(ql_lock_is_there(l));
    ql_lock_release(l);
    ql_lock_release(NULL);
    assert_false(ql_file_exists(path));
}

static void a_lock_file_that_was_moved_or_replaced_is_noticed(void **state) {
    (void)state;
    const char *path = temp_path("moving");
    ql_lock *l;
    assert_int_equal(ql_lock_take(path, &l), QL_OK);
    assert_int_equal(rename(path, temp_path("elsewhere")), 0);
    assert_false(ql_lock_is_there(l));
    temp_put("moving", "of another", 10);
    assert_false(ql_lock_is_there(l));
    ql_lock_release(l); /* what is not ours stays */
    assert_content(path, "of another");
    assert_int_equal(ql_lock_take(temp_path("no/such/folder/lock"), &l), QL_ERR_NOT_FOUND);
}

/* ------------------------------------------------------------------ records */

static void records_stand_whole_or_not_at_all(void **state) {
    (void)state;
    const char *path = temp_put("records", "first\n", 6);
    ql_appender *a;
    assert_int_equal(ql_append_open(path, &a), QL_OK);
    assert_int_equal(ql_append(a, "second\n", 7), QL_OK);
    ql_fs_fail_after(1);
    assert_int_equal(ql_append(a, "third\n", 6), QL_ERR_IO);
    assert_non_null(strstr(ql_last_error(), "No space left"));
    assert_content(path, "first\nsecond\n");
    assert_int_equal(ql_append(a, "fourth\n", 7), QL_OK);
    assert_int_equal(ql_append_sync(a), QL_OK);
    ql_append_close(a);
    ql_append_close(NULL);
    assert_content(path, "first\nsecond\nfourth\n");
    assert_int_not_equal(ql_append_open(temp_path("no/such/file"), &a), QL_OK);
}

/* ------------------------------------------------------------------ links and leftovers */

static void links_are_replaced_and_nothing_else_is(void **state) {
    (void)state;
    const char *path = temp_path("best");
    char target[QL_PATH_MAX];
    assert_int_equal(ql_link_read(path, target), QL_ERR_NOT_FOUND);
    assert_int_equal(ql_link_replace("checkpoint-1", path), QL_OK);
    assert_int_equal(ql_link_replace("checkpoint-2", path), QL_OK);
    assert_int_equal(ql_link_read(path, target), QL_OK);
    assert_string_equal(target, "checkpoint-2");
    const char *file = temp_put("plain", "x", 1);
    assert_int_equal(ql_link_replace("checkpoint-1", file), QL_ERR_IO);
    assert_content(file, "x");
    assert_int_equal(ql_link_read(file, target), QL_ERR_IO);
}

static void removing_a_link_leaves_what_it_points_to(void **state) {
    (void)state;
    assert_int_equal(ql_dir_create(temp_path("pointed")), QL_OK);
    temp_put("pointed/x", "x", 1);
    assert_int_equal(ql_link_replace("pointed", temp_path("link")), QL_OK);
    assert_int_equal(ql_path_remove(temp_path("link")), QL_OK);
    assert_false(ql_dir_exists(temp_path("link")));
    assert_content(temp_path("pointed/x"), "x");
    assert_int_equal(ql_path_remove(temp_path("pointed/x")), QL_OK);
    assert_int_equal(ql_path_remove(temp_path("pointed")), QL_OK);
    assert_int_equal(ql_path_remove(temp_path("pointed")), QL_OK);
    assert_false(ql_dir_exists(temp_path("pointed")));
}

static void folders_are_discarded_with_all_they_hold(void **state) {
    (void)state;
    assert_int_equal(ql_dir_create(temp_path("old/deep/er")), QL_OK);
    temp_put("old/deep/x", "x", 1);
    assert_int_equal(ql_dir_discard(temp_path("old")), QL_OK);
    assert_false(ql_dir_exists(temp_path("old")));
    assert_int_equal(ql_dir_discard(temp_path("old")), QL_OK);
    char **names;
    size_t n;
    assert_int_equal(ql_dir_list(temp_folder(), &names, &n), QL_OK);
    for (size_t i = 0; i < n; i++) assert_false(ql_is_temporary(names[i]));
    ql_host_free(names);
}

static void temporaries_are_told_from_other_names(void **state) {
    (void)state;
    static const char *const ours[] = {".config.yaml.4711-0.tmp", ".a.1-2.tmp", ".a.b-3.1-22.tmp"};
    static const char *const others[] = {"",          ".tmp",        ".mine.tmp",    "a.1-2.tmp",
                                         ".1-2.tmp",  "..1-2.tmp",   ".a.1-.tmp",    ".a.-2.tmp",
                                         ".a1-2.tmp", ".a.1-2.tmp2", ".a.1-2.tmp.x", ".a.1x-2.tmp"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!ql_is_temporary(ours[i])) fail_msg("%s is ours", ours[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ql_is_temporary(others[i])) fail_msg("%s is not ours", others[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_of_one_process_until_it_ends_in_any_way),
        cmocka_unit_test(a_lock_file_that_was_moved_or_replaced_is_noticed),
        cmocka_unit_test(records_stand_whole_or_not_at_all),
        cmocka_unit_test(links_are_replaced_and_nothing_else_is),
        cmocka_unit_test(removing_a_link_leaves_what_it_points_to),
        cmocka_unit_test(folders_are_discarded_with_all_they_hold),
        cmocka_unit_test(temporaries_are_told_from_other_names),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
