/*
 * test_trainer.c - a training run keeps its promises: memory as planned, same bytes for any thread
 * count, accumulation and packing that change nothing, recomputation that changes no bit.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "tests/support/engine.h"

typedef struct run {
    const char *model;
    int bits, r, threads;
    double dropout;
    ql_train_opts o;
    int steps, rows;
    double losses[16];
    unsigned char *state;
    size_t bytes;
} run;

static run base_run(void) {
    run r = {.model = "tiny-llama", .bits = 4, .r = 4, .threads = 1, .steps = 3, .rows = 8};
    r.o = ql_train_opts_default();
    r.o.max_len = 25;
    r.o.max_steps = 16;
    r.o.accumulate = 8;
    r.o.schedule.lr = 1e-2;
    r.o.weight_decay = 0.01;
    return r;
}

/* Trains and keeps losses and state; asserts the plan on the way. */
static void execute(run *r) {
    ql_device *dev = engine_device(r->threads);
    ql_model *m = engine_model(r->model, r->bits, r->r, r->dropout);
    ql_dataset d = engine_data(r->rows, r->o.max_len, (int32_t)m->arch.vocab);
    ql_memory_report plan;
    OK(ql_trainer_plan(m, &r->o, dev, &plan));
    assert_int_equal(engine_counts(dev).allocs, 0); /* planning touches no device memory */
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &r->o, dev, &d, &t));
    ql_counts before = engine_counts(dev);
    for (int i = 0; i < r->steps; i++) {
        ql_step_metrics s;
        OK(ql_trainer_step(t, &s));
        r->losses[i] = s.loss;
        assert_true(isfinite(s.loss) && s.grad_norm > 0 && !s.skipped);
    }
    ql_counts after = engine_counts(dev);
    assert_int_equal(before.allocs + before.wraps, after.allocs + after.wraps);
    assert_int_equal(after.device_peak, plan.peak_bytes);
    uint64_t sum = 0;
    for (int i = 0; i < QL_POOL_COUNT; i++) sum += plan.device[i];
    assert_int_equal(sum, plan.peak_bytes);
    assert_true(plan.arena_lower_bound <= plan.arena_bytes);
    r->state = engine_state(t, &r->bytes);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    after = engine_counts(dev);
    assert_int_equal(after.device_bytes, 0); /* everything was given back */
    engine_close(dev);
}

static void plan_equals_allocation_over_many_configurations(void **state) {
    (void)state;
    const struct {
        const char *model;
        int bits, r, batch, accumulate, checkpoint, chunk;
        bool packing, evaluate;
        ql_dtype compute;
    } c[] = {{"tiny-llama", 4, 4, 1, 8, 1, 64, false, false, QL_F32},
             {"tiny-llama", 4, 8, 4, 2, 0, 7, false, true, QL_F32},
             {"tiny-llama", 16, 2, 2, 2, 2, 1, true, true, QL_F32},
             {"tiny-llama", 8, 1, 3, 1, 1, 16, true, false, QL_BF16},
             {"tiny-llama-linear", 4, 64, 8, 1, 1, 64, false, true, QL_BF16},
             {"tiny-mistral", 16, 3, 2, 3, 0, 64, false, false, QL_F32},
             {"tiny-llama-yarn", 4, 5, 8, 1, 2, 33, true, true, QL_F32}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        run r = base_run();
        r.model = c[i].model;
        r.bits = c[i].bits;
        r.r = c[i].r;
        r.o.batch = c[i].batch;
        r.o.accumulate = c[i].accumulate;
        r.o.checkpoint = c[i].checkpoint;
        r.o.logits_chunk = c[i].chunk;
        r.o.packing = c[i].packing;
        r.o.evaluate = c[i].evaluate;
        r.o.compute = c[i].compute;
        execute(&r);
        free(r.state);
    }
}

static void same_bytes(run *a, run *b) {
    execute(a);
    execute(b);
    for (int i = 0; i < a->steps; i++) assert_true(a->losses[i] == b->losses[i]);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->state, b->state, a->bytes);
    free(a->state);
    free(b->state);
}

static void one_and_two_threads_and_a_repeat_give_the_same_bytes(void **state) {
    (void)state;
    for (int compute = 0; compute < 2; compute++) {
        run a = base_run(), b = base_run();
        a.dropout = b.dropout = 0.1;
        a.o.compute = b.o.compute = compute ? QL_BF16 : QL_F32;
        run c = a;
        b.threads = 2;
        same_bytes(&a, &b);
        same_bytes(&b, &c);
    }
}

static void recomputed_segments_change_no_bit(void **state) {
    (void)state;
    for (int every = 1; every <= 2; every++) {
        run a = base_run(), b = base_run();
        a.dropout = b.dropout = 0.2; /* masks are drawn again */
        a.o.checkpoint = 0;
        b.o.checkpoint = every;
        same_bytes(&a, &b);
    }
}

static void checkpointing_lowers_the_peak(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_memory_report with, without;
    run r = base_run();
    r.o.max_len = 64;
    r.o.batch = 4;
    for (int i = 0; i < 2; i++) {
        ql_model *m = engine_model("tiny-llama", 4, 4, 0);
        r.o.checkpoint = i;
        OK(ql_trainer_plan(m, &r.o, dev, i ? &with : &without));
        ql_model_close(m);
    }
    assert_true(with.arena_bytes < without.arena_bytes);
    engine_close(dev);
}

/* 8 rows an optimizer step, split in different ways; test_splits.c compares the trained values. */
static void accumulation_and_packing_give_equal_losses(void **state) {
    (void)state;
    const struct {
        int batch, accumulate;
        bool packing;
    } c[] = {{1, 8, false}, {2, 4, false}, {4, 2, false}, {8, 1, false}, {8, 1, true}};
    run first = base_run();
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        run r = base_run();
        r.dropout = 0.1; /* draws follow the sample, not its place in a batch */
        r.o.shuffle = false;
        r.o.batch = c[i].batch;
        r.o.accumulate = c[i].accumulate;
        r.o.packing = c[i].packing;
        execute(&r);
        if (i == 0) {
            first = r;
            continue;
        }
        for (int k = 0; k < r.steps; k++) assert_true(r.losses[k] == first.losses[k]);
        free(r.state);
    }
    free(first.state);
}

static void sixteen_bit_lora_and_full_training_learn(void **state) {
    (void)state;
    ql_device *dev = engine_device(2);
    for (int full = 0; full < 2; full++) {
        ql_source *source = NULL;
        OK(ql_source_open(QL_TEST_DATA "/models/tiny-llama", &source));
        ql_model_opts mo = ql_model_opts_default();
        mo.bits = 16;
        mo.full = full;
        mo.optimizer = true;
        ql_model *m = NULL;
        OK(ql_model_open(source, &mo, &m));
        if (!full) {
            ql_lora_config c = ql_lora_config_default();
            c.r = 8;
            OK(ql_model_attach_lora(m, &c));
        }
        run r = base_run();
        ql_dataset d = engine_data(8, 25, (int32_t)m->arch.vocab);
        ql_memory_report plan;
        OK(ql_trainer_plan(m, &r.o, dev, &plan));
        ql_trainer *t = NULL;
        OK(ql_trainer_create(m, &r.o, dev, &d, &t));
        ql_step_metrics first, last = {0};
        OK(ql_trainer_step(t, &first));
        for (int i = 0; i < 12; i++) OK(ql_trainer_step(t, &last));
        assert_true(last.loss < 0.8 * first.loss);
        ql_trainer_free(t);
        ql_model_close(m);
        ql_dataset_free(&d);
    }
    engine_close(dev);
}

static void evaluation_equals_the_training_loss_of_the_same_rows(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-mistral", 4, 4, 0);
    ql_dataset d = engine_data(8, 25, (int32_t)m->arch.vocab);
    run r = base_run();
    r.o.evaluate = true;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &r.o, dev, &d, &t));
    ql_eval_metrics e;
    OK(ql_trainer_eval(t, &d, &e));
    ql_step_metrics s;
    OK(ql_trainer_step(t, &s));
    assert_int_equal(e.targets, d.supervised);
    assert_int_equal(s.supervised, d.supervised);
    assert_true(fabs(e.nll / (double)e.targets - s.loss) <= 1e-6 * s.loss);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

/* The loss of a step is the mean over its targets by weight: rows of which one counts three times.
 */
static void weights_of_targets_make_a_weighted_mean(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    run r = base_run();
    double loss[2], targets[2], norm[2];
    float weights[25];
    for (int i = 0; i < 25; i++) weights[i] = 3;
    for (int weighted = 0; weighted < 2; weighted++) {
        ql_model *m = engine_model("tiny-llama", 4, 4, 0);
        ql_dataset d = engine_data(2, 25, (int32_t)m->arch.vocab);
        ql_trainer *t = NULL;
        ql_batch b = {0};
        ql_step_metrics s;
        d.items[0].weights = weighted ? weights : NULL;
        d.weighted = weighted;
        OK(ql_trainer_create(m, &r.o, dev, &d, &t));
        OK(ql_batch_create(50, 2, 0, &b));
        const ql_batch *one = &b;
        for (int64_t i = 0; i < 2 && !weighted; i++) {
            OK(ql_batch_fill(&b, &d, &i, 1));
            OK(ql_trainer_gradients(t, &one, 1, &s));
            loss[i] = s.loss;
            targets[i] = (double)s.supervised;
        }
        OK(ql_trainer_step(t, &s));
        norm[weighted] = s.grad_norm;
        assert_int_equal(s.supervised, d.supervised);
        double w = weighted ? 3 : 1;
        double want =
            (w * targets[0] * loss[0] + targets[1] * loss[1]) / (w * targets[0] + targets[1]);
        assert_true(fabs(s.loss - want) <= 1e-6 * want);
        ql_batch_free(&b);
        ql_trainer_free(t);
        d.items[0].weights = NULL;
        ql_model_close(m);
        ql_dataset_free(&d);
    }
    assert_true(fabs(norm[0] - norm[1]) > 1e-3 * norm[0]); /* the gradient moved too */
    engine_close(dev);
}

static void every_failing_allocation_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    run r = base_run();
    for (uint64_t n = 1;; n++) {
        ql_device *dev = engine_device(1);
        ql_model *m = engine_model("tiny-llama", 4, 4, 0);
        ql_dataset d = engine_data(8, 25, (int32_t)m->arch.vocab);
        ql_counting_fail(dev, QL_FAULT_ALLOC, n);
        ql_trainer *t = NULL;
        ql_status s = ql_trainer_create(m, &r.o, dev, &d, &t);
        if (s == QL_OK) ql_trainer_free(t);
        ql_model_close(m);
        ql_dataset_free(&d);
        assert_int_equal(engine_counts(dev).device_bytes, 0);
        engine_close(dev);
        if (s == QL_OK) {
            assert_true(n > 5);
            return;
        }
        assert_int_equal(s, QL_ERR_NOMEM_DEV);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_equals_allocation_over_many_configurations),
        cmocka_unit_test(one_and_two_threads_and_a_repeat_give_the_same_bytes),
        cmocka_unit_test(recomputed_segments_change_no_bit),
        cmocka_unit_test(checkpointing_lowers_the_peak),
        cmocka_unit_test(accumulation_and_packing_give_equal_losses),
        cmocka_unit_test(sixteen_bit_lora_and_full_training_learn),
        cmocka_unit_test(evaluation_equals_the_training_loss_of_the_same_rows),
        cmocka_unit_test(weights_of_targets_make_a_weighted_mean),
        cmocka_unit_test(every_failing_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
