/*
 * test_ops.c - every case of one operator family on every device of every backend in this build.
 *
 *   test_ops <family> [--case N] [--device D] [--isa I] [--seed S] [--list] [--measure]
 *
 * A failing case prints one line that reproduces it. --list names the cases; --measure prints the
 * error of every output, which is where limits.c comes from. On the CPU each case runs with every
 * instruction set that this machine has, on devices of one and of two threads, whose outputs must
 * be equal bit for bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/device/device.h"
#include "tests/support/opcases.h"

static struct {
    int family, only;
    const char *device, *isa;
    uint64_t seed;
    bool measure;
    int ran;           /* cases that were not skipped, on any device */
    char skipped[128]; /* why the last skipped case was */
} options = {.only = -1, .seed = 42};

/* The device under test, and the same one with another number of threads (CPU only). */
typedef struct bench {
    const char *name, *isa; /* isa NULL: the device's own choice */
    ql_device *dev, *other;
    ql_queue *q, *other_q;
    int passed, skipped, failed;
} bench;

static ql_status open_queue(const bench *b, int threads, ql_device **dev, ql_queue **q) {
    const ql_device_opts opts = {.threads = threads, .isa = b->isa};
    QL_TRY(ql_device_open_named(b->name, &opts, dev));
    return (*dev)->backend->queue_create(*dev, q);
}

static void close_bench(bench *b) {
    if (b->dev) b->dev->backend->queue_destroy(b->q), b->dev->backend->device_close(b->dev);
    if (b->other)
        b->other->backend->queue_destroy(b->other_q), b->other->backend->device_close(b->other);
}

static void report(bench *b, int index, const char *label, const char *message) {
    b->failed++;
    print_error("%s: %s\n    test_ops %s --case %d --device %s%s%s --seed %llu\n", label, message,
                ql_opcase_family_name(options.family), index, b->name, b->isa ? " --isa " : "",
                b->isa ? b->isa : "", (unsigned long long)options.seed);
}

static void run_case(bench *b, int index) {
    ql_opcase_result r, again;
    ql_opcase_run(b->q, options.family, index, options.seed, &r);
    if (options.measure)
        print_message("%s %s | %s | %s | nmse %.3g limit %.3g max %.3g\n", b->name,
                      b->isa ? b->isa : "", r.label, r.operand, r.nmse, r.limit, r.max_abs);
    if (r.outcome == QL_OPCASE_SKIPPED) {
        b->skipped++;
        print_message("skipped on %s: %s: %s\n", b->name, r.label, r.message);
        snprintf(options.skipped, sizeof options.skipped, "%s: %.100s", b->name, r.message);
        return;
    }
    if (r.outcome == QL_OPCASE_FAILED) {
        report(b, index, r.label, r.message);
        return;
    }
    if (b->other) {
        ql_opcase_run(b->other_q, options.family, index, options.seed, &again);
        if (again.outcome != QL_OPCASE_PASSED) {
            report(b, index, again.label, again.message);
            return;
        }
        if (again.output_hash != r.output_hash) {
            report(b, index, r.label, "1 and 2 threads give different bits");
            return;
        }
    }
    b->passed++;
}

/* false: this machine lacks that instruction set. */
static bool run_device(const char *name, const char *isa, bool threads) {
    bench b = {.name = name, .isa = isa};
    ql_status s = open_queue(&b, threads ? 1 : 0, &b.dev, &b.q);
    if (s == QL_ERR_UNSUPPORTED && isa) return false;
    if (s == QL_OK && threads) s = open_queue(&b, 2, &b.other, &b.other_q);
    if (s != QL_OK) print_error("%s\n", ql_last_error());
    int n = s == QL_OK ? ql_opcase_count(options.family) : 0;
    for (int i = 0; i < n; i++)
        if (options.only < 0 || options.only == i) run_case(&b, i);
    close_bench(&b);
    options.ran += b.passed + b.failed;
    print_message("%s on %s %s: %d passed, %d skipped, %d failed\n",
                  ql_opcase_family_name(options.family), name, isa ? isa : "", b.passed, b.skipped,
                  b.failed);
    assert_int_equal(s, QL_OK);
    assert_int_equal(b.failed, 0);
    /* The CPU backend runs everything but the fused pair, which core composes. */
    if (threads && strcmp(ql_opcase_family_name(options.family), "lora") != 0)
        assert_int_equal(b.skipped, 0);
    return true;
}

static void run_cpu(const char *name) {
    static const char *const levels[] = {"portable", "avx2", "avx512", "avx512bf16", "neon"};
    int ran = 0;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!options.isa || strcmp(options.isa, levels[i]) == 0)
            ran += run_device(name, levels[i], true);
    assert_true(ran > 0);
}

static void all_cases_match_the_reference(void **state) {
    (void)state;
    for (int i = 0; i < ql_backend_count(); i++) {
        const ql_backend *backend = ql_backend_at(i);
        int devices = 0;
        assert_int_equal(backend->probe(&devices), QL_OK);
        for (int d = 0; d < devices; d++) {
            char name[48];
            snprintf(name, sizeof name, "%s:%d", backend->name, d);
            bool wanted = !options.device || strcmp(options.device, name) == 0 ||
                          (d == 0 && strcmp(options.device, backend->name) == 0);
            if (!wanted) continue;
            if (strcmp(backend->name, "cpu") == 0)
                run_cpu(name);
            else
                run_device(name, options.isa, false);
        }
    }
}

static void list_cases(void) {
    const bench b = {.name = "cpu"};
    ql_device *dev;
    ql_queue *q;
    if (open_queue(&b, 1, &dev, &q) != QL_OK) return;
    for (int i = 0; i < ql_opcase_count(options.family); i++) {
        ql_opcase_result r;
        ql_opcase_run(q, options.family, i, options.seed, &r);
        printf("%4d %s\n", i, r.label);
    }
    dev->backend->queue_destroy(q);
    dev->backend->device_close(dev);
}

int main(int argc, char **argv) {
    bool list = false;
    options.family = argc > 1 ? ql_opcase_family_find(argv[1]) : -1;
    for (int i = 2; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--measure") == 0)
            options.measure = true;
        else if (strcmp(argv[i], "--case") == 0 && value)
            options.only = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--device") == 0 && value)
            options.device = argv[++i];
        else if (strcmp(argv[i], "--isa") == 0 && value)
            options.isa = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0 && value)
            options.seed = strtoull(argv[++i], NULL, 10);
        else
            options.family = -1;
    }
    if (options.family < 0) {
        fprintf(stderr, "usage: test_ops <family> [--case N] [--device D] [--isa I] [--seed S] "
                        "[--list] [--measure]\n");
        return 2;
    }
    if (list) {
        list_cases();
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_cases_match_the_reference)};
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    if (result != 0 || options.ran) return result;
    if (options.device && !options.skipped[0]) { /* "opencl:0" where there is no such device */
        const size_t name = strcspn(options.device, ":");
        char backend[32];
        snprintf(backend, sizeof backend, "%.*s", name < 31 ? (int)name : 31, options.device);
        snprintf(options.skipped, sizeof options.skipped, "%.100s", ql_backend_absence(backend));
    }
    printf("skipped: %s\n", options.skipped); /* what tools/test lists */
    return 77;
}
