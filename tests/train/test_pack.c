/*
 * test_pack.c - rows that are packed by best fit: against the best of all ways for small sets,
 * every row once, room kept on both sides, the same whenever it is asked for; and the order of
 * transformers' length-grouped sampler.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/train/feed.h"
#include "core/train/pack.h"
#include "tests/support/engine.h"

enum { MOST = 3000 };

/* Rows of the given lengths, until the next call; ids are not looked at. */
static ql_dataset rows_of(const int32_t *lengths, size_t n) {
    static ql_example items[MOST];
    ql_dataset d = {.items = items, .n = (int64_t)n, .format = QL_DATA_TOKENS};
    assert_true(n <= MOST);
    for (size_t i = 0; i < n; i++) {
        d.items[i] = (ql_example){.n = lengths[i], .chars = lengths[i], .row = (int64_t)i + 1};
        ql_dataset_count(&d, &d.items[i]);
    }
    return d;
}

/* Micro-batches that `order` and `group` make; checks that every row is in one of them and that
 * none is too full. */
static int64_t count_groups(const ql_dataset *d, ql_pack_room room, const int64_t *order,
                            const int32_t *group) {
    static char seen[MOST];
    int64_t bins = 0, at = 0;
    memset(seen, 0, sizeof seen);
    for (; at < d->n; bins++) {
        int64_t tokens = 0, source = 0;
        assert_in_range(group[at], 1, room.seqs);
        for (int32_t k = 0; k < group[at]; k++) {
            int64_t row = order[at + k];
            if (k) assert_int_equal(group[at + k], 0);
            assert_false(seen[row]);
            seen[row] = 1;
            tokens += d->items[row].n;
            source += d->items[row].n_source;
        }
        assert_true(tokens <= room.tokens && source <= room.source);
        at += group[at];
    }
    assert_int_equal(at, d->n);
    return bins;
}

static int64_t pack(const ql_dataset *d, ql_pack_room room, uint64_t seed, int64_t *order,
                    int32_t *group) {
    OK(ql_epoch_order(d->n, seed, 0, true, order));
    OK(ql_pack_order(d, room, order, d->n, group));
    return count_groups(d, room, order, group);
}

/* ------------------------------------------------------------------ the optimum */

typedef struct search {
    const int32_t *lengths;
    int32_t n, room, left[12], best;
} search;

/* Fewest bins by trying every bin for every row (branch and bound). */
static void place(search *s, int32_t i, int32_t bins) {
    if (bins >= s->best) return;
    if (i == s->n) {
        s->best = bins;
        return;
    }
    for (int32_t b = 0; b <= bins; b++) {
        int32_t had = b == bins ? s->room : s->left[b];
        if (had < s->lengths[i]) continue;
        s->left[b] = had - s->lengths[i];
        place(s, i + 1, b == bins ? bins + 1 : bins);
        s->left[b] = had;
        if (b == bins) break;
    }
}

static int32_t fewest_bins(const int32_t *lengths, int32_t n, int32_t room) {
    search s = {.lengths = lengths, .n = n, .room = room, .best = n + 1};
    place(&s, 0, 0);
    return s.best;
}

/* Best fit decreasing needs at most 11/9 of the optimum and 6/9 of a bin (Dosa 2007 for first fit,
 * which best fit never exceeds on so few rows); nearly always it is the optimum. */
static void small_sets_are_packed_as_well_as_by_trying_everything(void **state) {
    (void)state;
    int64_t order[10];
    int32_t group[10], lengths[10], equal = 0, cases = 400;
    ql_stream s = ql_stream_make(11, QL_STREAM_SAMPLE, 0);
    for (int c = 0; c < cases; c++) {
        int32_t n = 1 + (int32_t)ql_stream_below(&s, 10),
                room = 20 + (int32_t)ql_stream_below(&s, 30);
        for (int32_t i = 0; i < n; i++)
            lengths[i] = 1 + (int32_t)ql_stream_below(&s, (uint64_t)room);
        ql_dataset d = rows_of(lengths, (size_t)n);
        int64_t bins = pack(&d, (ql_pack_room){room, 0, n}, (uint64_t)c, order, group), counted;
        int32_t best = fewest_bins(lengths, n, room);
        assert_true(bins >= best);
        assert_true(9 * bins <= 11 * best + 6);
        equal += bins == best;
        OK(ql_pack_count(lengths, n, room, &counted));
        assert_int_equal(counted, bins);
    }
    assert_true(equal * 100 >= 95 * cases);
}

/* Lengths as answers have them: many short, few long. Packed in order they fill about three
 * quarters of the room, by best fit nearly all of it. */
static void a_large_set_fills_its_room(void **state) {
    (void)state;
    static int64_t order[MOST];
    static int32_t group[MOST], lengths[MOST];
    ql_stream s = ql_stream_make(12, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < MOST; i++) {
        float u = ql_stream_uniform(&s);
        lengths[i] = 8 + (int32_t)(500 * u * u);
    }
    ql_dataset d = rows_of(lengths, MOST);
    ql_pack_room room = {512, 0, 256};
    int64_t bins = pack(&d, room, 3, order, group);
    assert_true((double)d.tokens / ((double)bins * room.tokens) > 0.99);
    ql_train_opts o = ql_train_opts_default();
    o.packing = true;
    o.max_len = room.tokens;
    ql_feed f;
    int64_t fitted = 0, in_order = 0;
    OK(ql_feed_create(&d, &o, 256, &f));
    OK(ql_feed_count(&f, &fitted));
    ql_feed_free(&f);
    o.shuffle = false;
    OK(ql_feed_create(&d, &o, 256, &f));
    OK(ql_feed_count(&f, &in_order));
    ql_feed_free(&f);
    assert_true((double)fitted < 0.92 * (double)in_order);
}

static void both_sides_and_the_number_of_rows_are_kept(void **state) {
    (void)state;
    int64_t order[500];
    int32_t group[500], lengths[500];
    ql_stream s = ql_stream_make(13, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < 500; i++) lengths[i] = 1 + (int32_t)ql_stream_below(&s, 40);
    ql_dataset d = rows_of(lengths, 500);
    for (int i = 0; i < 500; i++) d.items[i].n_source = 1 + (int32_t)ql_stream_below(&s, 60);
    (void)pack(&d, (ql_pack_room){64, 80, 500}, 1, order, group);
    assert_true(pack(&d, (ql_pack_room){1 << 20, 1 << 20, 3}, 1, order, group) == 167);
}

/* Order and groups depend on (seed, epoch) only: a feed that begins in the middle goes on alike. */
static void a_cursor_goes_on_with_the_same_micro_batches(void **state) {
    (void)state;
    ql_dataset d = engine_data(61, 31, 256);
    ql_train_opts o = ql_train_opts_default();
    o.batch = 2;
    o.max_len = 31;
    for (int packing = 0; packing < 2; packing++) {
        o.packing = packing;
        o.group_by_length = !packing;
        ql_feed f, g;
        ql_batch b = {0}, c = {0};
        OK(ql_feed_create(&d, &o, packing ? 31 : 2, &f));
        OK(ql_batch_create(62, 31, 0, &b));
        OK(ql_batch_create(62, 31, 0, &c));
        for (int i = 0; i < 60; i++) {
            bool ends, also;
            OK(ql_feed_create(&d, &o, packing ? 31 : 2, &g));
            g.cursor = f.cursor;
            OK(ql_feed_next(&f, &b, &ends));
            OK(ql_feed_next(&g, &c, &also));
            assert_int_equal(ends, also);
            assert_int_equal(b.tokens, c.tokens);
            assert_memory_equal(b.ids, c.ids, (size_t)b.tokens * sizeof *b.ids);
            assert_memory_equal(b.key, c.key, (size_t)b.tokens * 2 * sizeof *b.key);
            ql_feed_free(&g);
        }
        assert_true(f.cursor.epoch > 0);
        ql_batch_free(&b);
        ql_batch_free(&c);
        ql_feed_free(&f);
    }
    ql_dataset_free(&d);
}

/* -------------------------------------------------------------- grouped by length */

/* transformers.trainer_pt_utils.get_length_grouped_indices (5.24.0) with its permutation replaced
 * by i * 7 mod n, lengths i * i mod 23, batch 2: printed by that function. */
static void length_groups_are_those_of_transformers(void **state) {
    (void)state;
    static const int64_t want[20] = {8,  7,  1, 0,  14, 15, 9,  2, 17, 3,
                                     10, 16, 4, 11, 18, 5,  19, 6, 13, 12};
    static const int64_t odd[11] = {8, 7, 0, 6, 10, 2, 9, 5, 1, 3, 4};
    int32_t lengths[20];
    int64_t order[20];
    for (int i = 0; i < 20; i++) lengths[i] = i * i % 23;
    ql_dataset d = rows_of(lengths, 20);
    for (int i = 0; i < 20; i++) order[i] = i * 7 % 20;
    OK(ql_group_by_length(&d, 2, order, 20));
    assert_memory_equal(order, want, sizeof want);
    for (int i = 0; i < 11; i++) order[i] = i * 7 % 11;
    OK(ql_group_by_length(&d, 3, order, 11));
    assert_memory_equal(order, odd, sizeof odd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_sets_are_packed_as_well_as_by_trying_everything),
        cmocka_unit_test(a_large_set_fills_its_room),
        cmocka_unit_test(both_sides_and_the_number_of_rows_are_kept),
        cmocka_unit_test(a_cursor_goes_on_with_the_same_micro_batches),
        cmocka_unit_test(length_groups_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
