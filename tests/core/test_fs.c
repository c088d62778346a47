/* test_fs.c - maps, bounded reads, folders, and replacement that a full disk cannot spoil. */
#define _XOPEN_SOURCE 700 /* symlink, mkfifo */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/support/temp_folder.h"

static void assert_content(const char *path, const char *want) {
    char *text;
    size_t len;
    assert_int_equal(ql_file_read(path, 1000, &text, &len), QL_OK);
    assert_int_equal(len, strlen(want));
    assert_string_equal(text, want);
    ql_host_free(text);
}

/* Entries of the folder, so that forgotten temporaries are seen. */
static size_t entries(const char *dir) {
    char **names;
    size_t n;
    assert_int_equal(ql_dir_list(dir, &names, &n), QL_OK);
    ql_host_free(names);
    return n;
}

static void map_shows_the_file(void **state) {
    (void)state;
    ql_map m;
    assert_int_equal(ql_map_open(temp_put("m", "abc", 3), &m), QL_OK);
    assert_int_equal(m.size, 3);
    assert_memory_equal(m.data, "abc", 3);
    ql_map_close(&m);
    assert_null(m.data);
    assert_int_equal(ql_map_open(temp_put("empty", NULL, 0), &m), QL_OK);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    ql_map_close(&m);
}

static void what_is_no_file_is_refused_by_name(void **state) {
    (void)state;
    ql_map m = {NULL, 77};
    char *text;
    size_t len;
    const char *fifo = temp_path("fifo");
    assert_int_equal(ql_map_open(temp_path("absent"), &m), QL_ERR_NOT_FOUND);
    assert_non_null(strstr(ql_last_error(), "absent"));
    assert_int_equal(ql_map_open(temp_folder(), &m), QL_ERR_IO);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(ql_map_open(fifo, &m), QL_ERR_IO);
    assert_int_equal(ql_file_read(fifo, 10, &text, &len), QL_ERR_IO);
    assert_int_equal(m.size, 77);
}

static void read_is_bounded_and_terminated(void **state) {
    (void)state;
    char *text;
    size_t len;
    const char *path = temp_put("r", "12345", 5);
    assert_int_equal(ql_file_read(path, 4, &text, &len), QL_ERR_FORMAT);
    assert_int_equal(ql_file_read(path, 5, &text, &len), QL_OK);
    assert_string_equal(text, "12345");
    ql_host_free(text);
    ql_hostmem_fail_after(1);
    assert_int_equal(ql_file_read(path, 5, &text, &len), QL_ERR_NOMEM_HOST);
}

static void paths_join_and_have_a_limit(void **state) {
    (void)state;
    char out[QL_PATH_MAX], deep[QL_PATH_MAX + 10];
    assert_int_equal(ql_path_join(out, "a", "b"), QL_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(ql_path_join(out, "a/", "b"), QL_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(ql_path_join(out, "", "b"), QL_OK);
    assert_string_equal(out, "b");
    memset(deep, 'x', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(ql_path_join(out, "a", deep), QL_ERR_INVALID);
    assert_int_equal(ql_dir_create(deep), QL_ERR_INVALID);
    deep[QL_PATH_MAX - 2] = '\0'; /* "a/" and these: one character too many */
    assert_int_equal(ql_path_join(out, "a", deep), QL_ERR_INVALID);
    deep[QL_PATH_MAX - 3] = '\0';
    assert_int_equal(ql_path_join(out, "a", deep), QL_OK);
    ql_writer *w;
    assert_int_not_equal(ql_writer_open(out, &w), QL_OK);
}

static void folders_are_made_listed_and_removed(void **state) {
    (void)state;
    char **names;
    size_t n;
    char root[QL_PATH_MAX];
    assert_int_equal(ql_path_join(root, temp_folder(), "tree"), QL_OK);
    assert_int_equal(ql_dir_create(temp_path("tree/a/b/")), QL_OK);
    assert_int_equal(ql_dir_create(temp_path("tree/a/b")), QL_OK);
    assert_true(ql_dir_exists(root));
    assert_false(ql_file_exists(root));
    temp_put("tree/z", "1", 1);
    temp_put("tree/B", "1", 1);
    temp_put("tree/a/b/c", "1", 1);
    assert_int_equal(symlink("..", temp_path("tree/a/up")), 0);
    assert_int_equal(ql_dir_list(root, &names, &n), QL_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "a");
    assert_string_equal(names[2], "z");
    ql_host_free(names);
    temp_put("beside", "1", 1);
    assert_int_equal(ql_dir_remove(root), QL_OK);
    assert_false(ql_dir_exists(root));
    assert_true(ql_file_exists(temp_path("beside"))); /* the link was not followed */
    assert_int_equal(ql_dir_remove(root), QL_OK);
    assert_int_equal(ql_dir_remove(temp_path("beside")), QL_ERR_IO);
    assert_int_equal(ql_dir_create(temp_path("beside/x")), QL_ERR_IO);
    assert_int_equal(ql_dir_list(root, &names, &n), QL_ERR_NOT_FOUND);
}

static void deep_trees_are_removed_without_recursion(void **state) {
    (void)state;
    char path[QL_PATH_MAX];
    assert_int_equal(ql_path_join(path, temp_folder(), "deep"), QL_OK);
    for (int i = 0; i < 1500; i++) strcat(path, "/d");
    assert_int_equal(ql_dir_create(path), QL_OK);
    assert_int_equal(ql_dir_remove(temp_path("deep")), QL_OK);
    assert_false(ql_dir_exists(temp_path("deep")));
}

static void a_writer_shows_nothing_before_commit(void **state) {
    (void)state;
    ql_writer *w;
    const char *path = temp_put("w", "old", 3);
    size_t before = entries(temp_folder());
    assert_int_equal(ql_writer_open(path, &w), QL_OK);
    assert_int_equal(ql_writer_write(w, "new ", 4), QL_OK);
    assert_int_equal(ql_writer_write(w, "text", 4), QL_OK);
    assert_int_equal(ql_writer_offset(w), 8);
    assert_content(path, "old");
    assert_int_equal(ql_writer_commit(w), QL_OK);
    assert_content(path, "new text");
    assert_int_equal(ql_writer_open(path, &w), QL_OK);
    assert_int_equal(ql_writer_write(w, "x", 1), QL_OK);
    ql_writer_abort(w);
    ql_writer_abort(NULL);
    assert_content(path, "new text");
    assert_int_equal(entries(temp_folder()), before);
    assert_int_not_equal(ql_writer_open(temp_path("no/such/folder"), &w), QL_OK);
}

static void big_and_small_pieces_arrive_in_order(void **state) {
    (void)state;
    static uint8_t data[1 << 20];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 2654435761u >> 24);
    ql_writer *w;
    ql_map m;
    const char *path = temp_path("pieces");
    assert_int_equal(ql_writer_open(path, &w), QL_OK);
    size_t at = 0;
    for (size_t piece = 1; at < sizeof data; piece = piece * 3 + 1) {
        size_t n = piece < sizeof data - at ? piece : sizeof data - at;
        assert_int_equal(ql_writer_write(w, data + at, n), QL_OK);
        at += n;
    }
    assert_int_equal(ql_writer_commit(w), QL_OK);
    assert_int_equal(ql_map_open(path, &m), QL_OK);
    assert_int_equal(m.size, sizeof data);
    assert_memory_equal(m.data, data, sizeof data);
    ql_map_close(&m);
}

/* Every write call in turn finds the disk full, until the file needs no more calls. */
static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    static char big[700000];
    const char *path = temp_put("full", "old", 3);
    size_t before = entries(temp_folder());
    ql_status s = QL_ERR_IO;
    long n = 1;
    for (; s != QL_OK; n++) {
        assert_true(n < 20);
        ql_writer *w;
        assert_int_equal(ql_writer_open(path, &w), QL_OK);
        ql_fs_fail_after(n);
        s = ql_writer_write(w, big, 200000);
        if (s == QL_OK) s = ql_writer_write(w, big, sizeof big);
        if (s == QL_OK) {
            s = ql_writer_commit(w);
        } else {
            ql_writer_abort(w);
        }
        ql_fs_fail_after(0);
        if (s == QL_OK) break;
        assert_int_equal(s, QL_ERR_IO);
        assert_non_null(strstr(ql_last_error(), "No space left"));
        assert_non_null(strstr(ql_last_error(), "full"));
        assert_content(path, "old");
        assert_int_equal(entries(temp_folder()), before);
    }
    assert_true(n > 2);
}

static void commit_after_a_failed_write_refuses(void **state) {
    (void)state;
    static char big[300000];
    ql_writer *w;
    const char *path = temp_put("failed", "old", 3);
    assert_int_equal(ql_writer_open(path, &w), QL_OK);
    ql_fs_fail_after(1);
    assert_int_equal(ql_writer_write(w, big, sizeof big), QL_ERR_IO);
    assert_int_equal(ql_writer_commit(w), QL_ERR_IO);
    assert_content(path, "old");
}

static void small_files_are_replaced_whole(void **state) {
    (void)state;
    const char *path = temp_path("small");
    assert_int_equal(ql_file_replace(path, "one", 3), QL_OK);
    ql_fs_fail_after(1);
    assert_int_equal(ql_file_replace(path, "two", 3), QL_ERR_IO);
    assert_content(path, "one");
    assert_int_equal(ql_file_replace(path, NULL, 0), QL_OK);
    assert_content(path, "");
    assert_int_not_equal(ql_file_replace(temp_folder(), "x", 1), QL_OK);
}

static void folders_are_replaced_whole(void **state) {
    (void)state;
    char staged[QL_PATH_MAX], final[QL_PATH_MAX];
    assert_int_equal(ql_path_join(staged, temp_folder(), "model.tmp"), QL_OK);
    assert_int_equal(ql_path_join(final, temp_folder(), "model"), QL_OK);
    for (int round = 0; round < 2; round++) { /* first without an old one, then over it */
        size_t before = entries(temp_folder());
        assert_int_equal(ql_dir_create(staged), QL_OK);
        temp_put("model.tmp/a", round ? "new" : "old", 3);
        if (!round) temp_put("model.tmp/only-old", "x", 1);
        assert_int_equal(ql_dir_replace(staged, final), QL_OK);
        assert_false(ql_dir_exists(staged));
        assert_content(temp_path("model/a"), round ? "new" : "old");
        assert_int_equal(entries(final), round ? 1 : 2);
        assert_int_equal(entries(temp_folder()), before + !round);
    }
    assert_int_equal(ql_dir_replace(staged, final), QL_ERR_NOT_FOUND);
    assert_int_equal(ql_dir_create(staged), QL_OK);
    assert_int_equal(ql_dir_replace(staged, temp_put("plain", "x", 1)), QL_ERR_IO);
    assert_content(temp_path("plain"), "x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_shows_the_file),
        cmocka_unit_test(what_is_no_file_is_refused_by_name),
        cmocka_unit_test(read_is_bounded_and_terminated),
        cmocka_unit_test(paths_join_and_have_a_limit),
        cmocka_unit_test(folders_are_made_listed_and_removed),
        cmocka_unit_test(deep_trees_are_removed_without_recursion),
        cmocka_unit_test(a_writer_shows_nothing_before_commit),
        cmocka_unit_test(big_and_small_pieces_arrive_in_order),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(commit_after_a_failed_write_refuses),
        cmocka_unit_test(small_files_are_replaced_whole),
        cmocka_unit_test(folders_are_replaced_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
