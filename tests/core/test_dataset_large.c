/*
 * test_dataset_large.c - sets larger than the memory that they may take: rows go to mapped files
 * and stay what they are; several sets as one, with weights.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/batch.h"
#include "core/data/row_store.h"
#include "tests/core/data_fixture.h"
#include "tests/support/temp_folder.h"

static void ok(ql_status s) {
    if (s != QL_OK) fail_msg("%s", ql_last_error());
}

/* A file of n rows of about `bytes` bytes each; row i begins with its number. */
static const char *write_rows(const char *name, int n, int bytes) {
    char *fill = calloc((size_t)bytes + 1, 1);
    memset(fill, 'a', (size_t)bytes);
    const char *path = temp_put(name, "", 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++)
        (void)fprintf(f, "{\"prompt\":\"%d \",\"completion\":\"%s\"}\n", i, fill + i % 7);
    assert_int_equal(fclose(f), 0);
    free(fill);
    return path;
}

static ql_dataset_opts opts(uint64_t keep) {
    ql_dataset_opts o = ql_dataset_opts_default();
    o.scratch_dir = keep ? temp_folder() : NULL;
    o.keep_bytes = keep;
    return o;
}

static void assert_same_rows(const ql_dataset *a, const ql_dataset *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->supervised, b->supervised);
    assert_int_equal(a->longest, b->longest);
    assert_true(ql_dataset_digest(a) == ql_dataset_digest(b));
    for (int64_t i = 0; i < a->n; i++) {
        const ql_example *x = &a->items[i], *y = &b->items[i];
        assert_int_equal(x->row, y->row);
        assert_int_equal(x->chars, y->chars);
    }
}

static void mapped_rows_are_the_same_rows(void **state) {
    (void)state;
    static const uint64_t KEEP[] = {1, 5000, 60000, UINT64_C(1) << 30};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    const char *path = write_rows("small.jsonl", 300, 40);
    ql_dataset_opts o = opts(0);
    ql_dataset plain, stored;
    size_t live = ql_hostmem_live();
    ok(ql_dataset_load(path, tok, &o, &plain));
    for (size_t i = 0; i < sizeof KEEP / sizeof *KEEP; i++) {
        o = opts(KEEP[i]);
        ok(ql_dataset_load(path, tok, &o, &stored));
        assert_int_equal(ql_row_store_mapped(stored.store) > 0, KEEP[i] < 100000);
        assert_same_rows(&plain, &stored);
        ql_dataset_free(&stored);
    }
    ql_dataset_free(&plain);
    assert_int_equal(ql_hostmem_live(), live);
    ql_tokenizer_close(tok);
}

static void a_folder_that_is_missing_is_named(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    const char *path = write_rows("small.jsonl", 30, 40);
    ql_dataset_opts o = opts(1);
    ql_dataset d;
    o.scratch_dir = "/no/such/folder";
    size_t live = ql_hostmem_live();
    assert_int_equal(ql_dataset_load(path, tok, &o, &d), QL_ERR_IO);
    assert_non_null(strstr(ql_last_error(), "/no/such/folder"));
    assert_int_equal(ql_hostmem_live(), live);
    ql_tokenizer_close(tok);
}

#if defined(__SANITIZE_ADDRESS__)
#define LIMITED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LIMITED 0
#endif
#endif
#ifndef LIMITED
#define LIMITED 1
#endif

/* Memory that the system cannot take back: what RLIMIT_DATA counts. */
static uint64_t private_bytes(void) {
    char line[256] = "", *at = line;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    bool read = fgets(line, sizeof line, f) != NULL;
    (void)fclose(f);
    uint64_t pages = 0;
    for (int i = 0; read && i < 6; i++) pages = strtoull(at, &at, 10); /* the sixth: data + stack */
    return pages * 4096;
}

/* 24 MB of rows become 192 MB of ids and labels; the process may have 24 MB more than it has. In
 * memory alone it fails, with files it reads the set, and goes through it in a random order. */
static void a_set_larger_than_memory_is_read_and_used(void **state) {
    (void)state;
    if (!LIMITED || !private_bytes()) skip();
    ql_tokenizer *tok = fixture_byte_tokenizer();
    enum { ROWS = 6000, BYTES = 4000 };
    const char *path = write_rows("large.jsonl", ROWS, BYTES);
    struct rlimit was, tight;
    assert_int_equal(getrlimit(RLIMIT_DATA, &was), 0);
    tight = was;
    tight.rlim_cur = private_bytes() + (UINT64_C(24) << 20);
    assert_int_equal(setrlimit(RLIMIT_DATA, &tight), 0);
    ql_dataset_opts o = opts(0);
    ql_dataset d = {0};
    ql_status plain = ql_dataset_load(path, tok, &o, &d);
    if (plain == QL_OK) ql_dataset_free(&d);
    o = opts(UINT64_C(4) << 20);
    ql_status stored = ql_dataset_load(path, tok, &o, &d);
    static int64_t order[ROWS];
    ql_batch b = {0};
    ql_status filled = stored == QL_OK ? ql_batch_create(d.longest, 1, 0, &b) : stored;
    if (filled == QL_OK) filled = ql_epoch_order(d.n, 1, 0, true, order);
    for (int64_t i = 0; i < ROWS && filled == QL_OK; i++) {
        filled = ql_batch_fill(&b, &d, &order[i], 1);
        if (filled == QL_OK && b.key[0] != order[i] + 1) filled = QL_ERR_INTERNAL;
    }
    assert_int_equal(setrlimit(RLIMIT_DATA, &was), 0);
    assert_int_equal(plain, QL_ERR_NOMEM_HOST);
    ok(stored);
    ok(filled);
    assert_int_equal(d.n, ROWS);
    assert_true(d.tokens > (int64_t)ROWS * (BYTES - 10));
    assert_true(ql_row_store_mapped(d.store) > UINT64_C(150) << 20);
    ql_batch_free(&b);
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

/* ------------------------------------------------------------------ several sets */

/* Sets of 10, 6 and 4 rows, one after another; keep as in opts. */
static ql_dataset three_sets(const ql_tokenizer *tok, uint64_t keep) {
    static const int rows[] = {10, 6, 4};
    ql_dataset all = {0};
    for (int k = 0; k < 3; k++) {
        ql_dataset_opts o = opts(k == 1 ? keep : 0);
        ql_dataset part;
        ok(ql_dataset_load(write_rows("part.jsonl", rows[k], 20 + k), tok, &o, &part));
        ok(ql_dataset_append(&all, &part));
        assert_null(part.items);
    }
    return all;
}

static void joined_sets_have_different_row_numbers(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    size_t live = ql_hostmem_live();
    for (int keep = 0; keep < 2; keep++) {
        ql_dataset all = three_sets(tok, (uint64_t)keep);
        assert_int_equal(all.n, 20);
        for (int64_t i = 0; i < all.n; i++) assert_int_equal(all.items[i].row, i + 1);
        ql_dataset counted = all;
        ql_dataset_recount(&counted);
        assert_int_equal(counted.tokens, all.tokens);
        assert_int_equal(counted.longest, all.longest);
        ql_dataset_free(&all);
    }
    assert_int_equal(ql_hostmem_live(), live);
    ql_tokenizer_close(tok);
}

static int64_t rows_between(const ql_dataset *d, const ql_dataset *of, int64_t from, int64_t to) {
    int64_t n = 0;
    for (int64_t i = 0; i < d->n; i++)
        for (int64_t k = from; k < to; k++) n += d->items[i].ids == of->items[k].ids;
    return n;
}

static void weights_say_how_often_rows_are_shown(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    size_t live = ql_hostmem_live();
    for (int keep = 0; keep < 2; keep++) {
        const ql_row_weight w[] = {{10, 2.0}, {16, 0.5}, {20, 1.25}};
        ql_dataset all = three_sets(tok, (uint64_t)keep), again = three_sets(tok, (uint64_t)keep);
        ql_dataset before = all; /* its items, before they move */
        before.items = calloc(20, sizeof *before.items);
        memcpy(before.items, all.items, 20 * sizeof *before.items);
        ok(ql_dataset_weigh(&all, w, 3, 7));
        ok(ql_dataset_weigh(&again, w, 3, 7));
        assert_int_equal(all.n, 20 + 3 + 5);
        assert_int_equal(rows_between(&all, &before, 0, 10), 20);
        assert_int_equal(rows_between(&all, &before, 10, 16), 3);
        assert_int_equal(rows_between(&all, &before, 16, 20), 5);
        for (int64_t i = 0; i < all.n; i++) {
            assert_int_equal(all.items[i].row, again.items[i].row); /* the seed decides */
            for (int64_t k = 0; k < i; k++)
                assert_int_not_equal(all.items[i].row, all.items[k].row);
        }
        assert_true(ql_dataset_digest(&all) == ql_dataset_digest(&again));
        free(before.items);
        ql_dataset_free(&all);
        ql_dataset_free(&again);
    }
    const ql_row_weight bad[] = {{10, 0.0}, {20, 1001}};
    ql_dataset all = three_sets(tok, 0);
    for (int i = 0; i < 2; i++) {
        const ql_row_weight one = {20, bad[i].weight};
        assert_int_equal(ql_dataset_weigh(&all, &one, 1, 7), QL_ERR_INVALID);
        assert_int_equal(all.n, 20);
    }
    ql_dataset_free(&all);
    assert_int_equal(ql_hostmem_live(), live);
    ql_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped_rows_are_the_same_rows),
        cmocka_unit_test(a_folder_that_is_missing_is_named),
        cmocka_unit_test(a_set_larger_than_memory_is_read_and_used),
        cmocka_unit_test(joined_sets_have_different_row_numbers),
        cmocka_unit_test(weights_say_how_often_rows_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
