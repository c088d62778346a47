/*
 * test_feed.c - which examples a run sees and when: epoch orders, micro-batches, packing, optimizer
 * steps at the end of an epoch, masks; and the learning rate of every step.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/train/feed.h"
#include "tests/support/engine.h"

/* ---------------------------------------------------------------- schedules */

/* transformers.optimization, its lambdas of (step, warmup, total). */
static double constant_with_warmup(double s, double w, double n) {
    (void)n;
    return s < w ? s / fmax(1.0, w) : 1.0;
}
static double linear(double s, double w, double n) {
    return s < w ? s / fmax(1.0, w) : fmax(0.0, (n - s) / fmax(1.0, n - w));
}
static double cosine(double s, double w, double n) {
    if (s < w) return s / fmax(1.0, w);
    double progress = (s - w) / fmax(1.0, n - w);
    return fmax(0.0, 0.5 * (1.0 + cos(acos(-1.0) * 2.0 * 0.5 * progress)));
}
static double constant(double s, double w, double n) {
    (void)s, (void)w, (void)n;
    return 1.0;
}

static void every_step_has_the_learning_rate_of_transformers(void **state) {
    (void)state;
    static double (*const formula[])(double, double, double) = {constant, constant_with_warmup,
                                                                linear, cosine};
    static const char *const names[] = {"constant", "constant_with_warmup", "linear", "cosine"};
    static const int64_t runs[][2] = {{0, 1},  {0, 10},  {1, 10},  {3, 10},
                                      {9, 10}, {10, 10}, {20, 10}, {100, 1875}};
    for (int k = 0; k < 4; k++) {
        ql_schedule_kind kind;
        assert_true(ql_schedule_find(names[k], &kind));
        assert_non_null(strstr(ql_schedule_names(), names[k]));
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            ql_schedule s = {kind, 2e-4, runs[i][0], runs[i][1]};
            for (int64_t step = 0; step < s.total; step++) {
                double want = 2e-4 * formula[k]((double)step, (double)s.warmup, (double)s.total);
                double got = ql_schedule_lr(&s, step);
                if (!(fabs(got - want) <= 1e-15 * 2e-4 * 4))
                    fail_msg("%s, warmup %lld of %lld, step %lld: %.17g, expected %.17g", names[k],
                             (long long)s.warmup, (long long)s.total, (long long)step, got, want);
            }
        }
    }
    ql_schedule_kind none;
    assert_false(ql_schedule_find("cosine_with_restarts", &none));
    assert_false(ql_schedule_find("", &none));
}

/* The first step of a warm-up has rate 0, as transformers does; the reported rate is the used one.
 */
static void a_step_at_rate_zero_changes_no_value(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 4, 0);
    ql_dataset d = engine_data(4, 12, (int32_t)m->arch.vocab);
    ql_train_opts o = ql_train_opts_default();
    o.max_len = 12;
    o.accumulate = 4;
    o.max_steps = 4;
    o.weight_decay = 0.1;
    o.schedule = (ql_schedule){.kind = QL_SCHEDULE_LINEAR, .lr = 1e-2, .warmup = 2};
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    size_t n = 0;
    unsigned char *before = engine_state(t, &n), *after;
    static const double want[] = {0.0, 0.5e-2, 1e-2, 0.5e-2};
    for (int i = 0; i < 4; i++) {
        ql_step_metrics s;
        OK(ql_trainer_step(t, &s));
        assert_true(fabs(s.lr - want[i]) < 1e-12);
        after = engine_state(t, &n);
        size_t values = m->n_trained * sizeof(float); /* moments move at once */
        int same = memcmp(before, after, values) == 0;
        assert_int_equal(same, i == 0);
        free(after);
    }
    free(before);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

/* ---------------------------------------------------------------- orders */

static int is_permutation(const int64_t *order, int64_t n) {
    char *seen = calloc((size_t)n + 1, 1);
    int ok = 1;
    for (int64_t i = 0; i < n; i++)
        ok &= order[i] >= 0 && order[i] < n && !seen[order[i]] && (seen[order[i]] = 1);
    free(seen);
    return ok;
}

static void an_epoch_is_a_permutation_of_seed_and_number(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 10, 1000};
    int64_t a[1000], b[1000], c[1000], d[1000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t n = sizes[i];
        OK(ql_epoch_order(n, 5, 2, true, a));
        OK(ql_epoch_order(n, 5, 2, true, b));
        OK(ql_epoch_order(n, 6, 2, true, c));
        OK(ql_epoch_order(n, 5, 3, true, d));
        assert_true(is_permutation(a, n) && is_permutation(c, n) && is_permutation(d, n));
        assert_memory_equal(a, b, (size_t)n * sizeof *a);
        if (n < 10) continue;
        assert_memory_not_equal(a, c, (size_t)n * sizeof *a);
        assert_memory_not_equal(a, d, (size_t)n * sizeof *a);
        OK(ql_epoch_order(n, 5, 2, false, a));
        for (int64_t k = 0; k < n; k++) assert_int_equal(a[k], k);
    }
    OK(ql_epoch_order(0, 5, 0, true, a));
}

/* Every permutation of 4 is as likely as any other: 24,000 epochs, 1000 +- 5 sigma each. */
static void orders_are_uniform(void **state) {
    (void)state;
    int count[256] = {0}, kinds = 0;
    for (int64_t epoch = 0; epoch < 24000; epoch++) {
        int64_t o[4];
        OK(ql_epoch_order(4, 77, epoch, true, o));
        count[o[0] * 64 + o[1] * 16 + o[2] * 4 + o[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        if (!count[i]) continue;
        kinds++;
        assert_in_range(count[i], 1000 - 155, 1000 + 155);
    }
    assert_int_equal(kinds, 24);
}

/* ---------------------------------------------------------------- micro-batches */

static ql_train_opts feed_opts(int32_t batch, int32_t max_len, bool packing, bool shuffle) {
    ql_train_opts o = ql_train_opts_default();
    o.batch = batch;
    o.max_len = max_len;
    o.packing = packing;
    o.shuffle = shuffle;
    o.data_seed = 9;
    return o;
}

/* Sequence i of b is example `row` (from 1), whole and unchanged. */
static void assert_whole(const ql_batch *b, int i, const ql_dataset *d) {
    int32_t from = b->start[i], n = b->start[i + 1] - from, row = b->key[2 * from];
    assert_in_range(row, 1, d->n);
    const ql_example *e = &d->items[row - 1];
    assert_int_equal(n, e->n);
    assert_memory_equal(b->ids + from, e->ids, (size_t)n * sizeof(int32_t));
    for (int32_t k = 0; k < n; k++) {
        assert_int_equal(b->pos[from + k], k);
        assert_int_equal(b->key[2 * (from + k)], row);
    }
}

static void every_row_comes_once_an_epoch_and_never_split(void **state) {
    (void)state;
    for (int form = 0; form < 8; form++) {
        bool packing = form & 1, shuffle = form & 2;
        ql_dataset d = engine_data(23, 31, 256);
        ql_train_opts o = feed_opts(form & 4 ? 1 : 3, 31, packing, shuffle);
        int32_t seqs = packing ? o.batch * o.max_len / 2 : o.batch, room = o.batch * o.max_len;
        ql_feed f;
        ql_batch b = {0};
        int64_t planned = 0, batches = 0;
        OK(ql_feed_create(&d, &o, seqs, &f));
        OK(ql_batch_create(room, seqs, f.max_source_tokens, &b));
        OK(ql_feed_count(&f, &planned));
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int64_t order[23], at = 0, targets = 0;
            bool in_order = !(packing && shuffle), seen[23] = {false};
            OK(ql_epoch_order(23, 9, epoch, shuffle, order));
            for (bool ends = false; !ends; batches += epoch == 0) {
                assert_int_equal(f.cursor.epoch, epoch);
                assert_int_equal(f.cursor.next, at);
                OK(ql_feed_next(&f, &b, &ends));
                assert_true(b.tokens <= room);
                for (int i = 0; i < b.seqs; i++) {
                    assert_whole(&b, i, &d);
                    int32_t row = b.key[2 * b.start[i]];
                    assert_false(seen[row - 1]);
                    seen[row - 1] = true;
                    if (in_order) assert_int_equal(row, order[at + i] + 1); /* the epoch's */
                }
                at += b.seqs;
                targets += b.labelled;
                if (packing && in_order && !ends) /* the next one would not have fitted */
                    assert_true(b.tokens + d.items[order[at]].n > room || b.seqs == seqs);
                if (!packing && !ends) assert_int_equal(b.seqs, o.batch);
            }
            assert_int_equal(at, 23);
            assert_int_equal(targets, d.supervised);
        }
        assert_int_equal(batches, planned);
        ql_batch_free(&b);
        ql_feed_free(&f);
        ql_dataset_free(&d);
    }
}

/* Sources fill the batch too: with packing no micro-batch holds more than its room on either side,
 * and it ends only where the next row would not have fitted. */
static void both_sides_of_an_encoder_decoder_are_counted(void **state) {
    (void)state;
    ql_dataset d = engine_data(23, 31, 256);
    d.task = QL_TASK_SEQ2SEQ;
    for (int i = 0; i < 23; i++) { /* sources borrow the ids; every other target is short */
        ql_example *x = &d.items[i];
        x->source = x->ids;
        x->n_source = x->n;
        if (i % 2) x->n = 1 + x->n / 8;
        if (!(i % 2)) x->n_source = 1 + x->n / 8;
        if (x->n_source > d.longest_source) d.longest_source = x->n_source;
    }
    ql_train_opts o = feed_opts(2, 31, true, false);
    o.max_source_len = d.longest_source;
    ql_feed f;
    ql_batch b = {0};
    OK(ql_feed_create(&d, &o, 31, &f));
    assert_int_equal(f.max_source_tokens, 2 * d.longest_source);
    OK(ql_batch_create(62, 31, f.max_source_tokens, &b));
    int64_t at = 0, by_source = 0, by_target = 0;
    for (bool ends = false; !ends;) {
        OK(ql_feed_next(&f, &b, &ends));
        at += b.seqs;
        if (ends) break;
        bool target = b.tokens + d.items[at].n > f.max_tokens;
        bool source = b.source.tokens + d.items[at].n_source > f.max_source_tokens;
        assert_true(target || source);
        by_source += !target;
        by_target += !source;
    }
    assert_int_equal(at, 23);
    assert_true(by_source > 0 && by_target > 0); /* both cases are reached */
    ql_batch_free(&b);
    ql_feed_free(&f);
    o.max_source_len = d.longest_source - 1;
    FAILS(ql_feed_create(&d, &o, 31, &f), QL_ERR_INVALID, "the longest source has");
    o.max_source_len = 0; /* as long as max_len */
    OK(ql_feed_create(&d, &o, 31, &f));
    assert_int_equal(f.max_source_tokens, 62);
    ql_feed_free(&f);
    ql_dataset_free(&d);
}

static void a_row_longer_than_the_plan_is_refused(void **state) {
    (void)state;
    ql_dataset d = engine_data(9, 31, 256); /* lengths 4 .. 28 */
    ql_train_opts o = feed_opts(1, 27, false, false);
    ql_feed f;
    FAILS(ql_feed_create(&d, &o, 1, &f), QL_ERR_INVALID, "28 tokens");
    ql_dataset_free(&d);
}

/* 10 rows, 2 x 2 a step: 4, 4 and 2 of them, in every epoch. */
static void an_optimizer_step_never_crosses_an_epoch(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 2, 0);
    ql_dataset d = engine_data(10, 31, (int32_t)m->arch.vocab);
    ql_train_opts o = feed_opts(2, 31, false, true);
    o.accumulate = 2;
    o.epochs = 2;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    assert_int_equal(ql_trainer_total(t), 6);
    for (int epoch = 0; epoch < 2; epoch++) {
        int64_t tokens = 0, targets = 0;
        for (int i = 0; i < 3; i++) {
            ql_step_metrics s;
            OK(ql_trainer_step(t, &s));
            tokens += s.tokens;
            targets += s.supervised;
            assert_true(fabs(s.epoch - (epoch + (i + 1) / 3.0)) < 1e-12);
        }
        assert_int_equal(tokens, d.tokens);
        assert_int_equal(targets, d.supervised);
    }
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

/* ---------------------------------------------------------------- draws */

/* Gradient norms of two steps on the same row at rate 0: only the masks can differ. */
static void norms_of_two_steps(double dropout, double norm[2]) {
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 4, dropout);
    ql_dataset d = engine_data(1, 31, (int32_t)m->arch.vocab);
    ql_train_opts o = feed_opts(1, 31, false, false);
    o.max_steps = 2;
    o.schedule.lr = 0;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    for (int i = 0; i < 2; i++) {
        ql_step_metrics s;
        OK(ql_trainer_step(t, &s));
        norm[i] = s.grad_norm;
    }
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

static void each_step_draws_new_masks(void **state) {
    (void)state;
    double norm[2];
    norms_of_two_steps(0.0, norm);
    assert_true(norm[0] > 0 && norm[0] == norm[1]);
    norms_of_two_steps(0.5, norm);
    assert_true(norm[0] > 0 && norm[0] != norm[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_has_the_learning_rate_of_transformers),
        cmocka_unit_test(a_step_at_rate_zero_changes_no_value),
        cmocka_unit_test(an_epoch_is_a_permutation_of_seed_and_number),
        cmocka_unit_test(orders_are_uniform),
        cmocka_unit_test(every_row_comes_once_an_epoch_and_never_split),
        cmocka_unit_test(both_sides_of_an_encoder_decoder_are_counted),
        cmocka_unit_test(a_row_longer_than_the_plan_is_refused),
        cmocka_unit_test(an_optimizer_step_never_crosses_an_epoch),
        cmocka_unit_test(each_step_draws_new_masks),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
