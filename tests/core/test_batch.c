/*
 * test_batch.c - packing: shifted targets, keys, bounds of sequences, refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/data/batch.h"

static int32_t ids_a[] = {10, 11, 12, 13}, labels_a[] = {-100, -100, 12, 13};
static int32_t ids_b[] = {20, 21}, labels_b[] = {20, 21};
static int32_t ids_c[] = {30, 31, 32}, labels_c[] = {-100, 31, -100};
static ql_example items[] = {
    {.ids = ids_a, .labels = labels_a, .n = 4, .supervised = 2, .row = 1},
    {.ids = ids_b, .labels = labels_b, .n = 2, .supervised = 1, .row = 2},
    {.ids = ids_c, .labels = labels_c, .n = 3, .supervised = 1, .row = 9},
};
static const ql_dataset DATA = {.items = items, .n = 3};

static void check(const int32_t *got, const int32_t *want, int32_t n) {
    for (int32_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

static void sequences_are_packed_with_shifted_targets(void **state) {
    (void)state;
    const int64_t index[] = {2, 0, 1};
    const int32_t ids[] = {30, 31, 32, 10, 11, 12, 13, 20, 21}, pos[] = {0, 1, 2, 0, 1, 2, 3, 0, 1};
    const int32_t key[] = {9, 0, 9, 1, 9, 2, 1, 0, 1, 1, 1, 2, 1, 3, 2, 0, 2, 1};
    const int32_t start[] = {0, 3, 7, 9}, rows[] = {0, 4, 5, 7}, targets[] = {31, 12, 13, 21};
    ql_batch b;
    assert_int_equal(ql_batch_create(9, 3, 0, &b), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &DATA, index, 3), QL_OK);
    assert_int_equal(b.tokens, 9);
    assert_int_equal(b.seqs, 3);
    assert_int_equal(b.longest, 4);
    assert_int_equal(b.labelled, 4);
    check(b.ids, ids, 9);
    check(b.pos, pos, 9);
    check(b.key, key, 18);
    check(b.start, start, 4);
    check(b.label_row, rows, 4);
    check(b.label_target, targets, 4);

    const int64_t again[] = {1};
    assert_int_equal(ql_batch_fill(&b, &DATA, again, 1), QL_OK);
    assert_int_equal(b.tokens, 2);
    assert_int_equal(b.seqs, 1);
    assert_int_equal(b.longest, 2);
    assert_int_equal(b.labelled, 1);
    assert_int_equal(b.start[1], 2);
    ql_batch_free(&b);
}

static void what_does_not_fit_leaves_the_batch_as_it_was(void **state) {
    (void)state;
    const int64_t index[] = {0, 1, 2}, outside[] = {3}, negative[] = {-1};
    const int32_t ids[5] = {1, 2, 3, 4, 5}, starts[] = {0, 0, 0, 0}, bad[] = {0, -1};
    ql_batch b;
    assert_int_equal(ql_batch_create(6, 2, 0, &b), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &DATA, index, 2), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &DATA, index, 3), QL_ERR_INVALID);
    assert_non_null(
        strstr(ql_last_error(), "3 sequences of 9 tokens, room is for 2 sequences and 6"));
    assert_int_equal(ql_batch_fill(&b, &DATA, index, 0), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill(&b, &DATA, outside, 1), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill(&b, &DATA, negative, 1), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill_flat(&b, ids, NULL, NULL, 7), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill_flat(&b, ids, NULL, NULL, 0), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill_flat(&b, ids, NULL, starts, 4), QL_ERR_INVALID);
    assert_int_equal(ql_batch_fill_flat(&b, ids, NULL, bad, 2), QL_ERR_INVALID);
    assert_int_equal(b.tokens, 6);
    assert_int_equal(b.ids[5], 21);
    ql_batch_free(&b);
    ql_batch_free(&b);
    assert_int_equal(ql_batch_create(0, 1, 0, &b), QL_ERR_INVALID);
    assert_int_equal(ql_batch_create(1, 0, 0, &b), QL_ERR_INVALID);
    ql_hostmem_fail_after(1);
    assert_int_equal(ql_batch_create(1, 1, 0, &b), QL_ERR_NOMEM_HOST);
    ql_hostmem_fail_after(0);
}

/* Two rows of classes: one labelled row each, the first; types are packed, and zero again after. */
static void a_classified_sequence_is_labelled_at_its_first_row(void **state) {
    (void)state;
    int32_t types_a[] = {0, 0, 1, 1};
    ql_example rows[] = {
        {.ids = ids_a, .types = types_a, .n = 4, .target = 2, .supervised = 1, .row = 1},
        {.ids = ids_b, .n = 2, .target = 0, .value = -1.5f, .supervised = 1, .row = 2}};
    const ql_dataset d = {.items = rows, .n = 2, .task = QL_TASK_CLASSIFY};
    const int64_t index[] = {1, 0}, again[] = {0};
    const int32_t types[] = {0, 0, 0, 0, 1, 1}, label_rows[] = {0, 2}, targets[] = {0, 2};
    ql_batch b;
    assert_int_equal(ql_batch_create(6, 2, 0, &b), QL_OK);
    assert_null(b.source.ids);
    assert_int_equal(ql_batch_fill(&b, &d, index, 2), QL_OK);
    assert_int_equal(b.task, QL_TASK_CLASSIFY);
    assert_int_equal(b.labelled, 2);
    check(b.types, types, 6);
    check(b.label_row, label_rows, 2);
    check(b.label_target, targets, 2);
    assert_true(b.label_value[0] == -1.5f && b.label_value[1] == 0.0f);
    assert_int_equal(ql_batch_fill(&b, &DATA, again, 1), QL_OK);
    assert_int_equal(b.task, QL_TASK_CAUSAL);
    check(b.types, (const int32_t[4]){0}, 4);
    ql_batch_free(&b);
}

/* Labels are not shifted; sources are packed beside, with the same samples. */
static void an_encoder_decoder_has_two_streams(void **state) {
    (void)state;
    int32_t source_a[] = {7, 8, 9}, source_b[] = {5};
    ql_example rows[] = {{.ids = ids_a,
                          .labels = labels_a,
                          .n = 4,
                          .source = source_a,
                          .n_source = 3,
                          .supervised = 2,
                          .row = 1},
                         {.ids = ids_b,
                          .labels = labels_b,
                          .n = 2,
                          .source = source_b,
                          .n_source = 1,
                          .supervised = 2,
                          .row = 6}};
    const ql_dataset d = {.items = rows, .n = 2, .task = QL_TASK_SEQ2SEQ};
    const int64_t index[] = {1, 0}, again[] = {0};
    const int32_t ids[] = {5, 7, 8, 9}, pos[] = {0, 0, 1, 2}, start[] = {0, 1, 4};
    const int32_t key[] = {6, 0, 1, 0, 1, 1, 1, 2};
    const int32_t label_rows[] = {0, 1, 4, 5}, targets[] = {20, 21, 12, 13};
    ql_batch b;
    assert_int_equal(ql_batch_create(6, 2, 4, &b), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &d, index, 2), QL_OK);
    assert_int_equal(b.task, QL_TASK_SEQ2SEQ);
    assert_int_equal(b.tokens, 6);
    assert_int_equal(b.labelled, 4);
    check(b.label_row, label_rows, 4);
    check(b.label_target, targets, 4);
    assert_int_equal(b.source.tokens, 4);
    assert_int_equal(b.source.longest, 3);
    check(b.source.ids, ids, 4);
    check(b.source.pos, pos, 4);
    check(b.source.start, start, 3);
    check(b.source.key, key, 8);
    assert_int_equal(ql_batch_fill(&b, &d, again, 1), QL_OK);
    assert_int_equal(b.source.tokens, 3);
    assert_int_equal(b.source.start[1], 3);
    ql_batch_free(&b);

    assert_int_equal(ql_batch_create(6, 2, 3, &b), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &d, index, 2), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "4 source tokens, room is for 3"));
    rows[0].n_source = 0;
    assert_int_equal(ql_batch_fill(&b, &d, again, 1), QL_ERR_INVALID);
    ql_batch_free(&b);
    assert_int_equal(ql_batch_create(1, 1, -1, &b), QL_ERR_INVALID);
    for (int i = 1; i <= 2; i++) {
        ql_hostmem_fail_after(i);
        assert_int_equal(ql_batch_create(1, 1, 1, &b), QL_ERR_NOMEM_HOST);
        ql_hostmem_fail_after(0);
    }
}

static void a_flat_run_is_cut_where_positions_begin_again(void **state) {
    (void)state;
    const int32_t ids[] = {1, 2, 3, 4, 5}, labels[] = {1, 2, 3, 4, -100}, pos[] = {7, 8, 0, 1, 2};
    const int32_t start[] = {0, 2, 5}, rows[] = {0, 2}, targets[] = {2, 4};
    const int32_t key[] = {1, 7, 1, 8, 2, 0, 2, 1, 2, 2};
    ql_batch b;
    assert_int_equal(ql_batch_create(8, 2, 0, &b), QL_OK);
    assert_int_equal(ql_batch_fill_flat(&b, ids, labels, pos, 5), QL_OK);
    assert_int_equal(b.seqs, 2);
    assert_int_equal(b.longest, 3);
    assert_int_equal(b.labelled, 2);
    check(b.pos, pos, 5);
    check(b.key, key, 10);
    check(b.start, start, 3);
    check(b.label_row, rows, 2);
    check(b.label_target, targets, 2);
    assert_int_equal(ql_batch_fill_flat(&b, ids, NULL, NULL, 5), QL_OK);
    assert_int_equal(b.seqs, 1);
    assert_int_equal(b.labelled, 0);
    assert_int_equal(b.pos[4], 4);
    ql_batch_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_packed_with_shifted_targets),
        cmocka_unit_test(what_does_not_fit_leaves_the_batch_as_it_was),
        cmocka_unit_test(a_classified_sequence_is_labelled_at_its_first_row),
        cmocka_unit_test(an_encoder_decoder_has_two_streams),
        cmocka_unit_test(a_flat_run_is_cut_where_positions_begin_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
