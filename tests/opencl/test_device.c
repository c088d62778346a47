/*
 * test_device.c - the OpenCL device below its operators: names, pieces, limits, queues, events,
 * pinned memory, the cache of kernels, the self-test.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>

#include "tests/opencl/fixture.h"
#include "tests/support/temp_folder.h"

static void fill_pattern(uint8_t *p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
}

/* ---------------------------------------------------------------------- names */

static void devices_open_by_part_of_their_name(void **state) {
    (void)state;
    ql_device_props p;
    ql_device *dev = cl_open();
    cl_close(dev);
    OK(ql_backend_find("opencl")->describe(0, &p));
    char spec[64];
    snprintf(spec, sizeof spec, "opencl:%.8s", p.name);
    OK(ql_device_open_named(spec, NULL, &dev));
    assert_string_equal(dev->props.name, p.name);
    dev->backend->device_close(dev);
    assert_true(p.mem_total > 0 && p.compute_units > 0 && p.local_mem >= 16384);
}

static void a_wrong_name_is_refused_with_the_list(void **state) {
    (void)state;
    ql_device *dev = cl_open();
    cl_close(dev);
    cl_refused(ql_device_open_named("opencl:nosuchdevice", NULL, &dev), QL_ERR_NOT_FOUND,
               "opencl:0 (");
    cl_refused(ql_device_open_named("opencl:99", NULL, &dev), QL_ERR_NOT_FOUND, "cpu:0");
}

/* ------------------------------------------------------------ memory in pieces */

static void transfers_cross_pieces(void **state) {
    (void)state;
    enum { SIZE = 10000 };
    uint8_t in[SIZE], out[SIZE];
    ql_device *dev = cl_open_limited(1024, 0);
    const ql_backend *b = dev->backend;
    ql_queue *q = cl_queue(dev);
    ql_buffer *x = cl_alloc(dev, QL_MEM_DEVICE, SIZE), *y = cl_alloc(dev, QL_MEM_DEVICE, SIZE);
    fill_pattern(in, SIZE, 1);
    OK(b->write(q, x, 0, in, SIZE));
    OK(b->copy(q, y, 77, x, 1000, 8001));
    OK(b->read(q, y, 77, out, 8001));
    assert_memory_equal(out, in + 1000, 8001);
    OK(b->read(q, x, 1023, out, 2));
    assert_memory_equal(out, in + 1023, 2);
    cl_refused(b->read(q, x, 9999, out, 2), QL_ERR_INVALID, "9999");
    b->buffer_free(x);
    b->buffer_free(y);
    b->queue_destroy(q);
    cl_close(dev);
}

static void wrapped_memory_is_copied(void **state) {
    (void)state;
    uint8_t host[5000], out[5000];
    ql_device *dev = cl_open_limited(1024, 0);
    ql_queue *q = cl_queue(dev);
    ql_buffer *b;
    fill_pattern(host, sizeof host, 2);
    OK(dev->backend->buffer_wrap(dev, host, sizeof host, &b));
    OK(dev->backend->read(q, b, 0, out, sizeof out));
    assert_memory_equal(out, host, sizeof host);
    dev->backend->buffer_free(b);
    dev->backend->queue_destroy(q);
    cl_close(dev);
}

/* A column slice of 3 x 700 floats in pieces of 2304 bytes: rows straddle, the sum must not notice.
 */
static void operators_work_across_pieces(void **state) {
    (void)state;
    enum { ROWS = 3, COLS = 700 };
    float x[ROWS * COLS], y[COLS];
    ql_device *dev = cl_open_limited(2304, 0);
    const ql_backend *b = dev->backend;
    ql_queue *q = cl_queue(dev);
    ql_buffer *xb = cl_alloc(dev, QL_MEM_DEVICE, sizeof x),
              *yb = cl_alloc(dev, QL_MEM_DEVICE, 2800), *sb = cl_alloc(dev, QL_MEM_DEVICE, 65536);
    for (int i = 0; i < ROWS * COLS; i++) x[i] = (float)(i % 97);
    OK(b->write(q, xb, 0, x, sizeof x));
    ql_sum_rows_args a = {.x = {xb, 4 * 4, ROWS, COLS - 8, COLS, QL_F32},
                          .y = {yb, 0, 1, COLS - 8, COLS - 8, QL_F32},
                          .scratch = {sb, 0, 1, 65536, 65536, QL_U8}};
    OK(ql_run_sum_rows(q, &a));
    OK(b->read(q, yb, 0, y, (COLS - 8) * sizeof(float)));
    for (int j = 0; j < COLS - 8; j++)
        assert_true(y[j] == x[j + 4] + x[COLS + j + 4] + x[2 * COLS + j + 4]);
    ql_buffer *const all[] = {xb, yb, sb};
    for (int i = 0; i < 3; i++) b->buffer_free(all[i]);
    b->queue_destroy(q);
    cl_close(dev);
}

/* More than four pieces are a sentence, not a wrong result. */
static void a_matrix_in_too_many_pieces_is_refused(void **state) {
    (void)state;
    ql_device *dev = cl_open_limited(1024, 0);
    ql_queue *q = cl_queue(dev);
    ql_buffer *b = cl_alloc(dev, QL_MEM_DEVICE, 8192);
    ql_fill_args a = {{b, 0, 1, 2048, 2048, QL_F32}, 1.0f};
    cl_refused(ql_run_fill(q, &a), QL_ERR_UNSUPPORTED, "more than 4 allocations of 1024 bytes");
    dev->backend->buffer_free(b);
    dev->backend->queue_destroy(q);
    cl_close(dev);
}

static void the_memory_limit_holds(void **state) {
    (void)state;
    ql_device *dev = cl_open_limited(0, 1 << 20);
    ql_buffer *b = cl_alloc(dev, QL_MEM_DEVICE, 900000), *c;
    uint64_t left, total;
    cl_refused(dev->backend->buffer_alloc(dev, QL_MEM_DEVICE, 200000, &c), QL_ERR_NOMEM_DEV,
               "limit 1048576, in use 900000");
    OK(dev->backend->device_memory(dev, &left, &total));
    assert_int_equal(left, 1048576 - 900000);
    dev->backend->buffer_free(b);
    b = cl_alloc(dev, QL_MEM_DEVICE, 1 << 20);
    dev->backend->buffer_free(b);
    cl_close(dev);
}

/* ------------------------------------------------------------- queues, events */

/* write on one queue, operator on the other, read on the first: ordered by events alone. */
static void events_order_two_queues(void **state) {
    (void)state;
    enum { N = 100000 };
    ql_device *dev = cl_open();
    const ql_backend *b = dev->backend;
    ql_queue *copy = cl_queue(dev), *work = cl_queue(dev);
    ql_event *there, *done;
    ql_buffer *host = cl_alloc(dev, QL_MEM_HOST, N * sizeof(float));
    ql_buffer *x = cl_alloc(dev, QL_MEM_DEVICE, N * sizeof(float));
    float *h = host->host;
    double seconds = -1.0;
    assert_non_null(h);
    OK(b->event_create(dev, &there));
    OK(b->event_create(dev, &done));
    OK(b->event_wait(work, there)); /* never recorded: no wait */
    for (int turn = 1; turn <= 5; turn++) {
        for (int i = 0; i < N; i++) h[i] = (float)(i * turn % 1000);
        OK(b->write(copy, x, 0, h, N * sizeof(float)));
        OK(b->event_record(there, copy));
        OK(b->event_wait(work, there));
        ql_axpby_args a = {.x = {x, 0, 1, N, N, QL_F32}, .y = {x, 0, 1, N, N, QL_F32}, .alpha = 2};
        OK(ql_run_axpby(work, &a));
        OK(b->event_record(done, work));
        OK(b->event_wait(copy, done));
        OK(b->read(copy, x, 0, h, N * sizeof(float)));
        OK(b->queue_sync(copy));
        for (int i = 0; i < N; i++) assert_true(h[i] == (float)(2 * (i * turn % 1000)));
    }
    OK(b->event_elapsed(there, done, &seconds));
    assert_true(seconds >= 0.0 && seconds < 60.0);
    b->event_destroy(there);
    b->event_destroy(done);
    b->buffer_free(host);
    b->buffer_free(x);
    b->queue_destroy(copy);
    b->queue_destroy(work);
    cl_close(dev);
}

/* --------------------------------------------------------- cache and self-test */

/* Overwrites byte `at` (from the end when negative) of every file in the folder; answers how many.
 */
static int damage_files(const char *folder, long at) {
    char path[1024];
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
        int c = fgetc(f);
        fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
        fputc(c ^ 0x55, f);
        fclose(f);
        n++;
    }
    closedir(d);
    return n;
}

static void damaged_cache_files_are_compiled_again(void **state) {
    (void)state;
    char inner[300];
    ql_device *dev = cl_open(); /* skips without a device */
    cl_close(dev);
    const char *folder = temp_folder();
    snprintf(inner, sizeof inner, "%s/opencl", folder);
    setenv("QLORA_CACHE", folder, 1);
    static const long places[] = {-100, 3, 20};
    cl_close(cl_open());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        assert_true(damage_files(inner, places[i]) >= 2); /* quant, gemm */
        cl_close(cl_open());                              /* its self-test passes */
    }
    setenv("QLORA_CACHE", "/proc/no/such/place", 1); /* cannot be written: no failure */
    cl_close(cl_open());
    setenv("QLORA_CACHE", "", 1);
}

static void kernels_that_do_not_compile_are_a_sentence(void **state) {
    (void)state;
    ql_device *dev = cl_open();
    cl_close(dev);
    setenv("QLORA_OPENCL_OPTIONS", "-DTM=kernels", 1);
    cl_refused(ql_device_open_named("opencl:0", NULL, &dev), QL_ERR_DRIVER, "cannot compile");
    unsetenv("QLORA_OPENCL_OPTIONS");
}

int main(void) {
    setenv("QLORA_CACHE", "", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_open_by_part_of_their_name),
        cmocka_unit_test(a_wrong_name_is_refused_with_the_list),
        cmocka_unit_test(transfers_cross_pieces),
        cmocka_unit_test(wrapped_memory_is_copied),
        cmocka_unit_test(operators_work_across_pieces),
        cmocka_unit_test(a_matrix_in_too_many_pieces_is_refused),
        cmocka_unit_test(the_memory_limit_holds),
        cmocka_unit_test(events_order_two_queues),
        cmocka_unit_test(damaged_cache_files_are_compiled_again),
        cmocka_unit_test(kernels_that_do_not_compile_are_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
