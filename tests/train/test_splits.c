/*
 * test_splits.c - how a step is cut into micro-batches, and whether rows are packed, changes no bit
 * of losses and adapters, with dropout on.
 *
 * Draws belong to a sample and a position; a row's values do not depend on its neighbours;
 * gradients are summed sequence by sequence (core/graph/program_apart.c). Full training sums a
 * whole micro-batch at once and is equal to rounding only.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "tests/train/run_fixture.h"

enum { ROWS = 8, N_STEPS = 12 }; /* an epoch is a step: a packed one has the same rows */

typedef struct result {
    double losses[N_STEPS];
    unsigned char *state; /* adapters and moments */
    size_t bytes, values;
} result;

static const struct {
    int batch, accumulate;
    bool packing;
} splits[] = {{1, 8, false}, {2, 4, false}, {4, 2, false}, {8, 1, false}, {8, 1, true}};
enum { N_SPLITS = sizeof splits / sizeof *splits };

static result train(setup s, int split, int threads) {
    result r = {{0}, NULL, 0, 0};
    s.rows = ROWS;
    s.o.max_steps = N_STEPS;
    s.o.batch = splits[split].batch;
    s.o.accumulate = splits[split].accumulate;
    s.o.packing = splits[split].packing;
    s.threads = threads;
    job j = start(&s);
    for (int i = 0; i < N_STEPS; i++) {
        ql_step_metrics m;
        OK(ql_trainer_step(j.t, &m));
        r.losses[i] = m.loss;
    }
    r.state = engine_state(j.t, &r.bytes);
    r.values = j.m->n_trained;
    stop(&j);
    return r;
}

/* ||a - b|| / ||a|| of the trained values, which come first. */
static double distance(const result *a, const result *b) {
    double num = 0, den = 0;
    for (size_t i = 0; i < a->values; i++) {
        float x, y;
        memcpy(&x, a->state + i * sizeof x, sizeof x);
        memcpy(&y, b->state + i * sizeof y, sizeof y);
        num += ((double)x - (double)y) * ((double)x - (double)y);
        den += (double)x * (double)x;
    }
    return sqrt(num / den);
}

static void assert_same(const char *name, const result *a, const result *b) {
    assert_int_equal(a->bytes, b->bytes);
    for (int i = 0; i < N_STEPS; i++)
        if (a->losses[i] != b->losses[i])
            fail_msg("%s: the loss of step %d is %.17g, it should be %.17g", name, i + 1,
                     b->losses[i], a->losses[i]);
    if (memcmp(a->state, b->state, a->bytes) != 0)
        fail_msg("%s: trained values differ, by %.3g of their norm", name, distance(a, b));
}

/* Every split against the first. */
static void every_split_gives_the_same_bytes(const char *name, const setup *s) {
    result first = train(*s, 0, 1);
    for (int i = 1; i < N_SPLITS; i++) {
        result r = train(*s, i, 1);
        assert_same(name, &first, &r);
        free(r.state);
    }
    free(first.state);
}

static void splits_and_packing_change_no_bit(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        setup s = usual();
        s.o.seed = seed;
        every_split_gives_the_same_bytes("lora", &s);
    }
    setup s = usual();
    result one = train(s, 0, 1), two = train(s, 3, 2);
    assert_same("two threads", &one, &two);
    free(one.state);
    free(two.state);
}

static void they_change_no_bit_for_other_models_bases_and_adapters(void **state) {
    (void)state;
    setup s = usual();
    s.model = "tiny-mistral";
    s.bits = 16;
    every_split_gives_the_same_bytes("16 bits", &s);
    s = usual();
    s.bits = 8;
    s.lora.rslora = true;
    s.o.optim = ql_optim_find("lion");
    every_split_gives_the_same_bytes("8 bits, rslora, lion", &s);
    s = usual();
    s.lora.dora = true;
    every_split_gives_the_same_bytes("dora", &s);
    s = usual();
    s.o.compute = QL_BF16;
    every_split_gives_the_same_bytes("bf16", &s);
    s = usual();
    s.o.checkpoint = 0;
    s.o.logits_chunk = 13; /* a sequence lies in two of them */
    every_split_gives_the_same_bytes("chunks", &s);
}

/* Not one product per sequence here: equal to rounding. Measured: loss 6e-8. */
static void full_training_is_equal_to_rounding(void **state) {
    (void)state;
    setup s = usual();
    s.full = true;
    s.o.schedule.lr = 1e-3;
    result first = train(s, 0, 1);
    for (int i = 1; i < N_SPLITS; i++) {
        result r = train(s, i, 1);
        double worst = 0;
        for (int k = 0; k < N_STEPS; k++)
            worst = fmax(worst, fabs(r.losses[k] - first.losses[k]) / first.losses[k]);
        print_message("full: loss %.1e, values %.1e of their norm\n", worst, distance(&first, &r));
        assert_true(worst <= 1e-6 && distance(&first, &r) <= 1e-6);
        free(r.state);
    }
    free(first.state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_and_packing_change_no_bit),
        cmocka_unit_test(they_change_no_bit_for_other_models_bases_and_adapters),
        cmocka_unit_test(full_training_is_equal_to_rounding),
    };
    return cmocka_run_group_tests_name("splits", tests, NULL, NULL);
}
