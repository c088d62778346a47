/*
 * test_optim.c - every optimizer by name: where its state lies, what it costs, that it learns and
 * that it goes on bit for bit.
 *
 * The operators themselves are held to bitsandbytes' recordings in test_cpu_opt.c; here the claims
 * are those of the state around them: 8-bit codes for tensors of 4096 values and more, blocks that
 * stay within a tensor, the plan's bytes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/temp_folder.h"
#include "tests/train/run_fixture.h"

static const struct {
    const char *name;
    double lr;
    int moments; /* per value */
} optims[] = {
    {"paged_adamw_32bit", 1e-2, 2},
    {"adamw", 1e-2, 2},
    {"adamw_8bit", 1e-2, 2},
    {"paged_adamw_8bit", 1e-2, 2},
    {"lion", 3e-3, 1},
    {"lion_8bit", 3e-3, 1},
    {"paged_lion_32bit", 3e-3, 1},
    {"paged_lion_8bit", 3e-3, 1},
    {"sgd", 1.0, 1},
    {"sgd_8bit", 1.0, 1},
};
#define N_OPTIMS ((int)(sizeof optims / sizeof *optims))

/* Rank 64 on tiny-llama: tensors of 2048, 4096 and 6144 values. */
static setup wide(const char *optim, double lr) {
    setup s = usual();
    s.lora.r = 64;
    s.lora.dropout = 0;
    s.o.optim = ql_optim_find(optim);
    s.o.schedule.lr = lr;
    assert_non_null(s.o.optim);
    return s;
}

static void every_listed_name_is_found_and_tested(void **state) {
    (void)state;
    const char *names = ql_optim_names();
    int n = 0;
    for (const char *at = names; *at; at += strcspn(at, " "), at += *at == ' ') n++;
    assert_int_equal(n, N_OPTIMS);
    for (int i = 0; i < N_OPTIMS; i++) {
        assert_non_null(ql_optim_find(optims[i].name));
        assert_non_null(strstr(names, optims[i].name));
    }
    assert_null(ql_optim_find("adam"));
    assert_null(ql_optim_find(""));
}

/* ---------------------------------------------------------------- layout */

static const ql_opt_run *run_of(const ql_opt_layout *s, uint64_t element) {
    for (int32_t i = 0; i < s->n_runs; i++) {
        const ql_opt_run *r = &s->runs[i];
        if (element >= r->first && element < r->first + r->n) return r;
    }
    return NULL;
}

static void large_tensors_have_codes_and_blocks_of_their_own(void **state) {
    (void)state;
    setup s = wide("adamw_8bit", 1e-2);
    job j = start(&s);
    int coded = 0, plain = 0;
    uint64_t at = 0;
    for (int32_t i = 0; i < j.t->opt.n_runs; at += j.t->opt.runs[i++].n)
        assert_int_equal(j.t->opt.runs[i].first, at);
    assert_int_equal(at, j.m->n_trained);
    for (int32_t i = 0; i < j.m->n_params; i++) {
        const ql_param *p = &j.m->params[i];
        const ql_opt_run *r = run_of(&j.t->opt, p->first);
        bool large = p->rows * p->cols >= 4096;
        assert_non_null(r);
        assert_int_equal(r->coded, large);
        assert_int_equal(r->decay, p->decay);
        if (large) assert_int_equal((p->first - r->first) % 256, 0);
        large ? coded++ : plain++;
    }
    assert_true(coded > 0 && plain > 0);
    stop(&j);
}

/* m after the first step is (1 - beta1) g either way: the absmax of a block is that of the same 256
 * values of the 32-bit moment. The update uses moments before they are rounded, so the values
 * after one step are the same bits. */
static void the_first_step_of_8_bits_is_that_of_32(void **state) {
    (void)state;
    setup s8 = wide("adamw_8bit", 1e-2), s32 = wide("adamw", 1e-2);
    job a = start(&s8), b = start(&s32);
    ql_step_metrics m;
    OK(ql_trainer_step(a.t, &m));
    OK(ql_trainer_step(b.t, &m));
    size_t na = 0, nb = 0, values = a.m->n_trained * sizeof(float);
    unsigned char *x = engine_state(a.t, &na), *y = engine_state(b.t, &nb);
    assert_memory_equal(x, y, values);
    const float *m32 = (const float *)(y + values);
    int64_t blocks = 0;
    ql_opt_part p;
    for (int32_t i = 0; ql_opt_part_at(&a.t->opt, i, &p); i++) {
        if (p.field != QL_OPT_M_ABSMAX) continue;
        const ql_opt_run *r = &a.t->opt.runs[a.t->opt.pages[p.page].run];
        float absmax[256];
        assert_true(p.count <= 256 && p.page_end == p.page + 1);
        OK(ql_opt_store_read(&a.t->store, a.m->queue, &p, p.page, 0, p.count * sizeof(float),
                             absmax));
        for (uint64_t k = 0; k < r->n; k += 256, blocks++) {
            float top = 0;
            for (uint64_t e = k; e < k + 256 && e < r->n; e++)
                top = fmaxf(top, fabsf(m32[r->first + e]));
            assert_true(absmax[k / 256] == top);
        }
    }
    assert_true(blocks > 100);
    free(x);
    free(y);
    stop(&a);
    stop(&b);
}

/* ---------------------------------------------------------------- bytes */

static void the_plan_is_what_is_allocated_and_8_bits_are_a_quarter(void **state) {
    (void)state;
    uint64_t bytes[N_OPTIMS];
    for (int i = 0; i < N_OPTIMS; i++) {
        setup s = wide(optims[i].name, optims[i].lr);
        job j = start(&s);
        const ql_memory_report *r = ql_trainer_report(j.t);
        ql_memory_report plan;
        OK(ql_trainer_plan(j.m, &s.o, j.dev, &plan));
        assert_int_equal(plan.peak_bytes, r->peak_bytes);
        assert_int_equal(engine_counts(j.dev).device_peak, plan.peak_bytes);
        bytes[i] = j.t->opt.device_bytes;
        uint64_t full = (uint64_t)optims[i].moments * j.m->n_trained * sizeof(float);
        if (!s.o.optim->coded) {
            assert_int_equal(bytes[i], full);
        } else { /* 1 byte, 4/256 of absmax; tensors of 2048 values keep 4 */
            assert_true(bytes[i] < full / 2 && bytes[i] > full / 4);
        }
        stop(&j);
    }
}

static void sgd_without_momentum_keeps_nothing(void **state) {
    (void)state;
    setup s = wide("sgd", 1.0);
    s.o.momentum = 0;
    job j = start(&s);
    assert_int_equal(j.t->opt.device_bytes, 0);
    ql_step_metrics m;
    OK(ql_trainer_step(j.t, &m));
    OK(ql_trainer_save(j.t, temp_path("none")));
    OK(ql_trainer_resume(j.t, temp_path("none")));
    stop(&j);
    s = wide("sgd_8bit", 1.0);
    s.o.momentum = 0;
    ql_device *dev = engine_device(1);
    ql_model *model = engine_model("tiny-llama", 4, 64, 0);
    ql_memory_report plan;
    FAILS(ql_trainer_plan(model, &s.o, dev, &plan), QL_ERR_INVALID, "sgd_momentum");
    ql_model_close(model);
    engine_close(dev);
}

/* ---------------------------------------------------------------- runs */

static void every_optimizer_learns(void **state) {
    (void)state;
    for (int i = 0; i < N_OPTIMS; i++) {
        setup s = wide(optims[i].name, optims[i].lr);
        s.o.max_steps = 24;
        job j = start(&s);
        ql_step_metrics m[24];
        steps(&j, 24, m);
        print_message("%-18s loss %.4f -> %.4f\n", optims[i].name, m[0].loss, m[23].loss);
        assert_true(m[23].loss < 0.9 * m[0].loss);
        stop(&j);
    }
}

static void every_optimizer_resumes_bit_for_bit(void **state) {
    (void)state;
    for (int i = 0; i < N_OPTIMS; i++) {
        setup s = wide(optims[i].name, optims[i].lr);
        job a = start(&s), b = start(&s);
        ql_step_metrics m[4];
        steps(&a, 4, m);
        steps(&b, 2, m);
        OK(ql_trainer_save(b.t, temp_path("two")));
        stop(&b);
        if (s.o.optim->paged) s.o.opt_budget = 50000; /* and with other pages */
        job c = start(&s);
        OK(ql_trainer_resume(c.t, temp_path("two")));
        steps(&c, 2, m);
        assert_same_state(&a, &c);
        stop(&a);
        stop(&c);
    }
}

/* ---------------------------------------------------------------- pages */

/* Runs `s` for 30 steps with the budget; its bytes, and what it planned. */
static unsigned char *paged_run(setup s, uint64_t budget, bool on_disk, size_t *bytes,
                                ql_memory_report *plan) {
    s.o.opt_budget = budget;
    s.o.page_dir = on_disk ? temp_folder() : NULL;
    s.o.max_steps = 30;
    job j = start(&s);
    *plan = *ql_trainer_report(j.t);
    ql_counts before = engine_counts(j.dev);
    assert_int_equal(before.device_peak, plan->peak_bytes);
    assert_int_equal(before.peak[QL_MEM_HOST], on_disk ? 0 : plan->host[QL_POOL_OPTIMIZER]);
    ql_step_metrics m[30];
    steps(&j, 30, m);
    unsigned char *state = engine_state(j.t, bytes); /* all moves are finished */
    ql_counts after = engine_counts(j.dev);
    uint64_t moved = on_disk ? 0 : 30 * (plan->page_in + plan->page_out);
    assert_int_equal(after.copy_bytes - before.copy_bytes, moved);
    assert_int_equal(after.device_peak, plan->peak_bytes);
    stop(&j);
    return state;
}

/* Budgets of 100, 50, 20, 10 and 5 % and the smallest: the same bytes after 30 steps, the device
 * never above the plan, exactly the planned bytes moved. */
static void any_budget_gives_the_same_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"paged_adamw_32bit", "paged_adamw_8bit", "paged_lion_8bit"};
    static const int percent[] = {100, 50, 20, 10, 5, 0};
    for (int k = 0; k < 3; k++) {
        setup s = wide(names[k], 3e-3);
        ql_memory_report whole, plan;
        size_t want_bytes = 0, bytes = 0;
        unsigned char *want = paged_run(s, 0, false, &want_bytes, &whole);
        job j = start(&s);
        uint64_t full = ql_opt_layout_full(&j.t->opt), least = ql_opt_layout_least(&j.t->opt);
        stop(&j);
        assert_int_equal(whole.page_in, 0);
        for (int i = 0; i < 6; i++) {
            uint64_t budget = full * (uint64_t)percent[i] / 100;
            if (budget < least) budget = least;
            unsigned char *got = paged_run(s, budget, i % 2, &bytes, &plan);
            assert_int_equal(bytes, want_bytes);
            assert_memory_equal(got, want, bytes);
            assert_true(plan.peak_bytes <= whole.peak_bytes - full + budget);
            assert_int_equal(plan.page_in == 0, budget >= full);
            free(got);
        }
        free(want);
    }
}

static void a_budget_that_is_too_small_or_of_no_use_is_a_sentence(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 64, 0);
    setup s = wide("paged_adamw_32bit", 1e-2);
    ql_memory_report plan;
    s.o.opt_budget = 100;
    FAILS(ql_trainer_plan(m, &s.o, dev, &plan), QL_ERR_NOMEM_DEV,
          "smallest --opt_page_budget is 4096");
    s = wide("adamw", 1e-2);
    s.o.opt_budget = 1 << 20;
    FAILS(ql_trainer_plan(m, &s.o, dev, &plan), QL_ERR_INVALID, "paged_adamw_32bit");
    ql_model_close(m);
    engine_close(dev);
    s = wide("paged_adamw_32bit", 1e-2);
    s.o.opt_budget = 1 << 16;
    s.o.page_dir = temp_path("absent");
    dev = engine_device(1);
    m = engine_model("tiny-llama", 4, 64, 0);
    ql_dataset d = engine_data(4, 20, (int32_t)m->arch.vocab);
    ql_trainer *t = NULL;
    FAILS(ql_trainer_create(m, &s.o, dev, &d, &t), QL_ERR_IO, "no room for a page file");
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

/* Every copy and every allocation of a paged run fails once: a status, no crash, nothing leaks. */
static void failing_moves_are_a_status(void **state) {
    (void)state;
    setup s = wide("paged_adamw_8bit", 1e-2);
    s.o.opt_budget = 40000;
    int failures = 0;
    for (uint64_t n = 1; n < 400; n += 7) {
        job j = start(&s);
        ql_counting_fail(j.dev, QL_FAULT_COPY, n);
        ql_step_metrics m;
        ql_status st = QL_OK;
        for (int i = 0; i < 3 && st == QL_OK; i++) st = ql_trainer_step(j.t, &m);
        failures += st != QL_OK;
        stop(&j);
    }
    assert_true(failures > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_listed_name_is_found_and_tested),
        cmocka_unit_test(large_tensors_have_codes_and_blocks_of_their_own),
        cmocka_unit_test(the_first_step_of_8_bits_is_that_of_32),
        cmocka_unit_test(the_plan_is_what_is_allocated_and_8_bits_are_a_quarter),
        cmocka_unit_test(sgd_without_momentum_keeps_nothing),
        cmocka_unit_test(every_optimizer_learns),
        cmocka_unit_test(every_optimizer_resumes_bit_for_bit),
        cmocka_unit_test(any_budget_gives_the_same_bytes),
        cmocka_unit_test(a_budget_that_is_too_small_or_of_no_use_is_a_sentence),
        cmocka_unit_test(failing_moves_are_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
