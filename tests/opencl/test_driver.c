/*
 * test_driver.c - what a failing driver does to the program: a sentence each, nothing else changed,
 * and the device goes on unless it is lost.
 *
 *   test_driver [crash]     crash: the driver dies while it is asked for its devices
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/opencl/driver.h"
#include "tests/opencl/fixture.h"

enum { N = 1000, OUT_OF_MEMORY = -4, OUT_OF_RESOURCES = -5, BUILD_FAILURE = -11, BAD_QUEUE = -36 };

typedef struct bench {
    ql_device *dev;
    const ql_backend *b;
    ql_queue *q;
    ql_buffer *x;
} bench;

/* A device with one buffer that holds 0, 1, 2, ... */
static bench begin(void) {
    float v[N];
    bench t = {.dev = cl_open()};
    t.b = t.dev->backend;
    t.q = cl_queue(t.dev);
    t.x = cl_alloc(t.dev, QL_MEM_DEVICE, sizeof v);
    for (int i = 0; i < N; i++) v[i] = (float)i;
    OK(t.b->write(t.q, t.x, 0, v, sizeof v));
    return t;
}

static ql_status scale(const bench *t, float by) {
    const ql_mat x = {t->x, 0, 1, N, N, QL_F32};
    const ql_axpby_args a = {.x = x, .y = x, .alpha = by};
    return ql_run_axpby(t->q, &a);
}

/* The buffer still holds multiples of its place, and nothing else is allocated. */
static void expect_intact(const bench *t, float factor) {
    float v[N];
    ql_counts n;
    OK(t->b->read(t->q, t->x, 0, v, sizeof v));
    for (int i = 0; i < N; i++) assert_true(v[i] == factor * (float)i);
    ql_counting_read(t->dev, &n);
    assert_int_equal(n.device_bytes, sizeof v);
}

static void end(bench *t) {
    t->b->buffer_free(t->x);
    t->b->queue_destroy(t->q);
    cl_close(t->dev);
}

static void a_refused_allocation_is_a_sentence(void **state) {
    (void)state;
    bench t = begin();
    ql_buffer *b = NULL;
    uint64_t before, after, total;
    OK(t.b->device_memory(t.dev, &before, &total));
    driver_fail(DRIVER_CREATE_BUFFER, 1, OUT_OF_MEMORY);
    cl_refused(t.b->buffer_alloc(t.dev, QL_MEM_DEVICE, 123456, &b), QL_ERR_NOMEM_DEV,
               "refused 123456 bytes (CL_MEM_OBJECT_ALLOCATION_FAILURE, -4)");
    assert_null(b);
    OK(t.b->device_memory(t.dev, &after, &total));
    assert_int_equal(before, after);
    expect_intact(&t, 1.0f);
    end(&t);
}

static void a_refused_launch_is_a_sentence_and_changes_nothing(void **state) {
    (void)state;
    bench t = begin();
    OK(scale(&t, 1.0f)); /* compiled */
    driver_fail(DRIVER_ENQUEUE, 1, OUT_OF_RESOURCES);
    cl_refused(scale(&t, 2.0f), QL_ERR_DRIVER, "running kernel axpby on '");
    assert_non_null(strstr(ql_last_error(), "CL_OUT_OF_RESOURCES (-5); the device ran out"));
    expect_intact(&t, 1.0f);
    OK(scale(&t, 2.0f)); /* the device goes on */
    expect_intact(&t, 2.0f);
    end(&t);
}

static void a_failing_compiler_is_a_sentence_and_is_asked_again(void **state) {
    (void)state;
    bench t = begin();
    driver_fail(DRIVER_BUILD, 1, BUILD_FAILURE);
    cl_refused(scale(&t, 2.0f), QL_ERR_DRIVER, "cannot compile the kernels of 'elem'");
    expect_intact(&t, 1.0f);
    OK(scale(&t, 2.0f));
    expect_intact(&t, 2.0f);
    end(&t);
}

static void failing_transfers_and_waits_are_sentences(void **state) {
    (void)state;
    bench t = begin();
    float v = 0;
    driver_fail(DRIVER_WRITE, 1, OUT_OF_RESOURCES);
    cl_refused(t.b->write(t.q, t.x, 0, &v, sizeof v), QL_ERR_DRIVER, "writing on '");
    driver_fail(DRIVER_READ, 1, OUT_OF_RESOURCES);
    cl_refused(t.b->read(t.q, t.x, 0, &v, sizeof v), QL_ERR_DRIVER, "reading on '");
    driver_fail(DRIVER_FINISH, 1, OUT_OF_RESOURCES);
    cl_refused(t.b->queue_sync(t.q), QL_ERR_DRIVER, "finishing a queue on '");
    expect_intact(&t, 1.0f);
    end(&t);
}

static void a_lost_device_stays_lost(void **state) {
    (void)state;
    bench t = begin();
    OK(scale(&t, 1.0f));
    driver_fail(DRIVER_ENQUEUE, 1, BAD_QUEUE);
    cl_refused(scale(&t, 2.0f), QL_ERR_DEVICE_LOST, "CL_INVALID_COMMAND_QUEUE (-36)");
    float v;
    ql_buffer *b;
    cl_refused(scale(&t, 2.0f), QL_ERR_DEVICE_LOST, "was lost");
    cl_refused(t.b->read(t.q, t.x, 0, &v, sizeof v), QL_ERR_DEVICE_LOST, "was lost");
    cl_refused(t.b->queue_sync(t.q), QL_ERR_DEVICE_LOST, "was lost");
    cl_refused(t.b->buffer_alloc(t.dev, QL_MEM_DEVICE, 64, &b), QL_ERR_DEVICE_LOST, "was lost");
    end(&t); /* what it held can be given back */
}

/* One wrong bit in what the self-test reads back: what a miscompiling driver would do. */
static void a_device_that_computes_wrongly_is_refused(void **state) {
    (void)state;
    ql_device *dev = cl_open();
    cl_close(dev);
    driver_corrupt_read();
    cl_refused(ql_device_open_named("opencl:0", NULL, &dev), QL_ERR_DRIVER, "fails its self-test");
    assert_non_null(strstr(ql_last_error(), "QLORA_OPENCL_SELFTEST=0"));
    driver_corrupt_read();
    setenv("QLORA_OPENCL_SELFTEST", "0", 1);
    OK(ql_device_open_named("opencl:0", NULL, &dev));
    dev->backend->device_close(dev);
    unsetenv("QLORA_OPENCL_SELFTEST");
}

/* The child dies, this process says so and goes on. */
static void a_crashing_driver_is_a_sentence(void **state) {
    (void)state;
    ql_device *dev;
    int n = -1;
    const ql_backend *b = ql_backend_find("opencl");
    if (!b) skip();
    driver_crash(SIGSEGV);
    OK(b->probe(&n));
    assert_int_equal(n, 0);
    assert_non_null(strstr(ql_backend_absence("opencl"), "crashed while it was asked"));
    cl_refused(ql_device_open_named("opencl:0", NULL, &dev), QL_ERR_NOT_FOUND, "cpu:0");
    OK(ql_device_open_named("cpu", NULL, &dev));
    dev->backend->device_close(dev);
}

int main(int argc, char **argv) {
    setenv("QLORA_CACHE", "", 1);
    const struct CMUnitTest crash[] = {cmocka_unit_test(a_crashing_driver_is_a_sentence)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_allocation_is_a_sentence),
        cmocka_unit_test(a_refused_launch_is_a_sentence_and_changes_nothing),
        cmocka_unit_test(a_failing_compiler_is_a_sentence_and_is_asked_again),
        cmocka_unit_test(failing_transfers_and_waits_are_sentences),
        cmocka_unit_test(a_lost_device_stays_lost),
        cmocka_unit_test(a_device_that_computes_wrongly_is_refused),
    };
    return argc > 1 && strcmp(argv[1], "crash") == 0 ? cmocka_run_group_tests(crash, NULL, NULL)
                                                     : cmocka_run_group_tests(tests, NULL, NULL);
}
