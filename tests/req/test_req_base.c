/*
 * test_req_base.c - requirements about a training run's memory: req_18 (recomputation lowers the
 * peak and changes no bit of a gradient) and req_20 (the base is read-only while adapters train).
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "tests/req/req_model.h"

/* Weights of more than a megabyte, so that they have pages of their own. */
static const req_shape large = {512, 1376, 2, 8, 4, 600, 64, false};

static ql_train_opts short_run(void) {
    ql_train_opts o = ql_train_opts_default();
    o.max_len = 24;
    o.accumulate = 2;
    o.max_steps = 2;
    o.schedule.lr = 1e-2;
    return o;
}

/* ---------------------------------------------------------------- req_18 */

static float *gradients(const char *model, int32_t every, double dropout, uint64_t *n,
                        uint64_t *peak) {
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model(model, 4, 8, dropout);
    ql_dataset d = engine_data(6, 24, (int32_t)m->arch.vocab);
    ql_train_opts o = short_run();
    o.batch = 3;
    o.checkpoint = every;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    const int64_t index[3] = {1, 3, 5};
    ql_batch b = {0};
    ql_step_metrics s;
    OK(ql_batch_create(72, 3, 0, &b));
    OK(ql_batch_fill(&b, &d, index, 3));
    const ql_batch *list[1] = {&b};
    float *ones = calloc(m->n_trained, sizeof *ones); /* B is not zero, so that A has gradients */
    for (uint64_t i = 0; i < m->n_trained; i++) ones[i] = (float)(i % 7) * 0.01f - 0.03f;
    OK(dev->backend->write(m->queue, m->trained, 0, ones, m->n_trained * sizeof *ones));
    OK(ql_trainer_gradients(t, list, 1, &s));
    *n = m->n_trained;
    OK(dev->backend->read(m->queue, m->gradients, 0, ones, *n * sizeof *ones));
    *peak = ql_trainer_report(t)->peak_bytes;
    assert_int_equal(engine_counts(dev).device_peak, *peak); /* the plan is what was allocated */
    ql_batch_free(&b);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
    return ones;
}

static void req_18_recomputing_blocks_lowers_the_peak_and_changes_no_bit(void **state) {
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-mistral", "tiny-llama-linear"};
    for (int i = 0; i < 3; i++)
        for (int dropout = 0; dropout < 2; dropout++) {
            uint64_t n = 0, all = 0, some = 0;
            float *kept = gradients(models[i], 0, 0.1 * dropout, &n, &all);
            double sum = 0;
            for (uint64_t k = 0; k < n; k++) sum += (double)kept[k] * (double)kept[k];
            assert_true(sum > 0);
            for (int32_t every = 1; every <= 2; every++) {
                float *again = gradients(models[i], every, 0.1 * dropout, &n, &some);
                assert_memory_equal(kept, again, n * sizeof *kept);
                if (every == 1) {
                    assert_true(some < all);
                    if (!dropout)
                        print_message("req_18: %s: peak %llu kept, %llu recomputed\n", models[i],
                                      (unsigned long long)all, (unsigned long long)some);
                }
                free(again);
            }
            free(kept);
        }
}

/* ---------------------------------------------------------------- req_20 */

/* Are all pages of [p, p + n) readable and not writable, by /proc/self/maps? */
static bool read_only(const void *p, uint64_t n) {
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    uintptr_t at = (uintptr_t)p, end = at + n;
    char line[4352]; /* "from-to rwxp ..." */
    while (at < end && fgets(line, sizeof line, f)) {
        char *mode;
        uintptr_t from = strtoul(line, &mode, 16), to = strtoul(mode + 1, &mode, 16);
        if (at < from || at >= to) continue;
        if (mode[1] != 'r' || mode[2] != '-') break;
        at = to;
    }
    fclose(f);
    return at >= end;
}

/* The signal that a child gets for writing the byte at p; 0 = it could write. */
static int signal_of_writing(volatile uint8_t *p) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* not the handlers of CMocka or a sanitizer */
        signal(SIGBUS, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        *p ^= 1;
        _exit(0);
    }
    int status = 0;
    assert_true(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static uint64_t hash(const uint8_t *p, uint64_t n) {
    uint64_t h = 0xCBF29CE484222325u;
    for (uint64_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}

/* One hash over everything frozen: the weights region and the mapped tensors. */
static uint64_t base_hash(const ql_model *m) {
    uint64_t h = m->weights ? hash(m->weights->host, m->weights->size) : 0;
    for (int32_t i = 0; i < m->n_mappings; i++)
        h = h * 31 + hash(m->mappings[i].data, m->mappings[i].bytes);
    return h;
}

static void assert_protected(const ql_model *m, bool region) {
    if (region) {
        uint8_t *w = m->weights->host;
        assert_true(m->weights->size > 1 << 20);
        if (!read_only(w, m->weights->size)) fail_msg("the weights of %p are writable", (void *)w);
        const uint64_t at[] = {0, 1, m->weights->size / 2, m->weights->size - 1};
        for (int i = 0; i < 4; i++) assert_int_equal(signal_of_writing(w + at[i]), SIGSEGV);
    }
    assert_true(m->n_mappings > 0);
    for (int32_t i = 0; i < m->n_mappings; i++)
        assert_true(read_only(m->mappings[i].data, m->mappings[i].bytes));
    uint8_t *mapped = (uint8_t *)(uintptr_t)m->mappings[0].data;
    assert_int_equal(signal_of_writing(mapped), SIGSEGV);
    uint8_t *adapters = m->trained->host; /* and the child can write where it may */
    assert_int_equal(signal_of_writing(adapters), 0);
}

/* `region`: the model has weights of its own, quantized on loading. */
static void train_on_protected(const char *dir, int bits, bool region) {
    ql_device *dev = engine_device(2);
    ql_model *m = req_open(dir, bits, true);
    ql_lora_config c = ql_lora_config_default();
    c.r = 4;
    OK(ql_model_attach_lora(m, &c));
    ql_dataset d = engine_data(4, 24, (int32_t)m->arch.vocab);
    ql_train_opts o = short_run();
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, &d, &t));
    assert_protected(m, region);
    uint64_t base = base_hash(m), adapters = hash(m->trained->host, m->trained->size);
    for (int i = 0; i < 2; i++) {
        ql_step_metrics s;
        OK(ql_trainer_step(t, &s));
        assert_true(!s.skipped && s.grad_norm > 0);
    }
    assert_protected(m, region);
    assert_true(base_hash(m) == base);
    assert_true(hash(m->trained->host, m->trained->size) != adapters);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_dataset_free(&d);
    engine_close(dev);
}

static uint64_t file_hash(const char *dir) {
    char path[QL_PATH_MAX];
    ql_map map;
    OK(ql_path_join(path, dir, "model.safetensors"));
    OK(ql_map_open(path, &map));
    uint64_t h = hash(map.data, map.size);
    ql_map_close(&map);
    return h;
}

static void req_20_a_quantized_base_is_write_protected_while_training(void **state) {
    (void)state;
    const char *dir = req_write_llama("large", &large);
    uint64_t before = file_hash(dir);
    train_on_protected(dir, 4, true);
    assert_true(file_hash(dir) == before);
}

static void req_20_a_mapped_base_is_write_protected_while_training(void **state) {
    (void)state;
    const char *dir = req_write_llama("large", &large);
    uint64_t before = file_hash(dir);
    train_on_protected(dir, 16, false);
    train_on_protected(QL_TEST_DATA "/models/tiny-llama/nf4", 4,
                       false); /* stored quantized, codes mapped */
    assert_true(file_hash(dir) == before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(req_18_recomputing_blocks_lowers_the_peak_and_changes_no_bit),
        cmocka_unit_test(req_20_a_quantized_base_is_write_protected_while_training),
        cmocka_unit_test(req_20_a_mapped_base_is_write_protected_while_training),
    };
    return cmocka_run_group_tests_name("req_base", tests, NULL, NULL);
}
