/*
 * test_counting.c - the counting device: what it counts, that it is transparent, and that failures
 * injected anywhere surface as errors without a leak.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "tests/support/opcases.h"

typedef struct bench {
    ql_device *inner, *dev;
    const ql_backend *b;
    size_t live_before;
} bench;

static int open_bench(void **state) {
    static bench t;
    const ql_device_opts opts = {.threads = 1};
    t.live_before = ql_hostmem_live();
    assert_int_equal(ql_device_open_named("cpu", &opts, &t.inner), QL_OK);
    assert_int_equal(ql_counting_open(t.inner, &t.dev), QL_OK);
    t.b = t.dev->backend;
    *state = &t;
    return 0;
}

static int close_bench(void **state) {
    bench *t = *state;
    t->b->device_close(t->dev);
    assert_int_equal(ql_hostmem_live(), t->live_before);
    return 0;
}

static ql_counts counts_of(const bench *t) {
    ql_counts c;
    ql_counting_read(t->dev, &c);
    return c;
}

static void it_looks_like_the_inner_device(void **state) {
    const bench *t = *state;
    uint64_t free_now, total;
    assert_true(ql_counting_is(t->dev));
    assert_false(ql_counting_is(t->inner));
    assert_string_equal(t->b->name, "cpu");
    assert_memory_equal(&t->dev->props, &t->inner->props, sizeof t->dev->props);
    assert_true((t->b->ops.lora_fwd == NULL) == (t->inner->backend->ops.lora_fwd == NULL));
    assert_non_null(t->b->ops.gemm);
    assert_int_equal(t->b->device_memory(t->dev, &free_now, &total), QL_OK);
    ql_device *again;
    assert_int_equal(t->b->device_open(0, NULL, &again), QL_ERR_UNSUPPORTED);
    int n = 7;
    assert_int_equal(t->b->probe(&n), QL_OK);
    assert_int_equal(n, 0);
}

static void bytes_and_high_water_marks_are_exact(void **state) {
    const bench *t = *state;
    static uint8_t host[4096];
    ql_buffer *a, *b, *h, *w;
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_DEVICE, 1000, &a), QL_OK);
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_DEVICE, 500, &b), QL_OK);
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_HOST, 70, &h), QL_OK);
    assert_ptr_equal(a->dev, t->dev);
    ql_counts c = counts_of(t);
    assert_int_equal(c.device_bytes, 1500);
    assert_int_equal(c.bytes[QL_MEM_DEVICE], 1500);
    assert_int_equal(c.bytes[QL_MEM_HOST], 70);
    t->b->buffer_free(a);
    assert_int_equal(counts_of(t).device_bytes, 500);
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_DEVICE, 800, &a), QL_OK);
    assert_int_equal(counts_of(t).device_peak, 1500);
    assert_int_equal(t->b->buffer_wrap(t->dev, host, sizeof host, &w), QL_OK);
    c = counts_of(t);
    assert_int_equal(c.device_peak, 500 + 800 + 4096);
    assert_int_equal(c.peak[QL_MEM_WRAPPED], 4096);
    assert_int_equal(c.peak[QL_MEM_DEVICE], 1500);
    assert_true(c.allocs == 4 && c.wraps == 1 && c.frees == 1);
    t->b->buffer_free(a);
    t->b->buffer_free(b);
    t->b->buffer_free(h);
    t->b->buffer_free(w);
    t->b->buffer_free(NULL);
    c = counts_of(t);
    assert_true(c.device_bytes == 0 && c.bytes[QL_MEM_HOST] == 0 && c.frees == 5);
}

static void transfers_events_and_calls_go_through(void **state) {
    const bench *t = *state;
    const float in[4] = {1, 2, 3, 4};
    float out[4] = {0};
    ql_queue *q;
    ql_event *e, *f;
    ql_buffer *x, *y;
    double seconds;
    assert_int_equal(t->b->queue_create(t->dev, &q), QL_OK);
    assert_ptr_equal(q->dev, t->dev);
    assert_int_equal(t->b->event_create(t->dev, &e), QL_OK);
    assert_int_equal(t->b->event_create(t->dev, &f), QL_OK);
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_DEVICE, sizeof in, &x), QL_OK);
    assert_int_equal(t->b->buffer_alloc(t->dev, QL_MEM_DEVICE, sizeof in, &y), QL_OK);
    assert_int_equal(t->b->event_record(e, q), QL_OK);
    assert_int_equal(t->b->write(q, x, 0, in, sizeof in), QL_OK);
    assert_int_equal(t->b->copy(q, y, 0, x, 0, sizeof in), QL_OK);
    assert_int_equal(t->b->advise(q, y, 0, sizeof in, QL_ADVISE_READ_MOSTLY), QL_OK);
    const ql_mat m = {.buf = x, .rows = 1, .cols = 4, .ld = 4, .dtype = QL_F32};
    ql_mat n = m;
    n.buf = y;
    assert_int_equal(
        ql_run_axpby(q, &(ql_axpby_args){.x = m, .y = n, .alpha = 10.0f, .beta = 1.0f}), QL_OK);
    assert_int_equal(t->b->event_record(f, q), QL_OK);
    assert_int_equal(t->b->event_wait(q, f), QL_OK);
    assert_int_equal(t->b->queue_flush(q), QL_OK);
    assert_int_equal(t->b->event_sync(f), QL_OK);
    assert_int_equal(t->b->event_elapsed(e, f, &seconds), QL_OK);
    assert_true(seconds >= 0.0);
    assert_int_equal(t->b->read(q, y, 0, out, sizeof out), QL_OK);
    assert_int_equal(t->b->queue_sync(q), QL_OK);
    for (int i = 0; i < 4; i++) assert_true(out[i] == 11.0f * in[i]);
    ql_counts c = counts_of(t);
    assert_true(c.writes == 1 && c.reads == 1 && c.copies == 1);
    assert_true(c.write_bytes == 16 && c.read_bytes == 16 && c.copy_bytes == 16);
    assert_int_equal(c.calls[QL_OP_AXPBY], 1);
    assert_int_equal(c.calls[QL_OP_GEMM], 0);
    t->b->buffer_free(x);
    t->b->buffer_free(y);
    t->b->event_destroy(e);
    t->b->event_destroy(f);
    t->b->event_destroy(NULL);
    t->b->queue_destroy(q);
    t->b->queue_destroy(NULL);
}

/* Every operator behaves as on the bare device. */
static void all_operators_pass_behind_it(void **state) {
    const bench *t = *state;
    ql_queue *q;
    assert_int_equal(t->b->queue_create(t->dev, &q), QL_OK);
    for (int f = 0; f < ql_opcase_family_count(); f++)
        for (int i = 0; i < ql_opcase_count(f); i += 7) {
            ql_opcase_result r;
            ql_opcase_run(q, f, i, 42, &r);
            if (r.outcome == QL_OPCASE_FAILED) fail_msg("%s: %s", r.label, r.message);
        }
    t->b->queue_destroy(q);
    ql_counts c = counts_of(t);
    assert_int_equal(c.allocs + c.wraps, c.frees);
    assert_int_equal(c.device_bytes, 0);
    assert_true(c.calls[QL_OP_AXPBY] > 0 && c.calls[QL_OP_GEMM_Q] > 0);
}

/* Fails the 1st, 2nd, ... call of one kind inside a case with scratch, until the case gets through:
 * each time an error with the injected sentence, and nothing is left behind. */
static void fail_each(const bench *t, ql_fault what, const char *text) {
    ql_queue *q;
    int f = ql_opcase_family_find("norm"), index = 2 * 15; /* norm_bwd with scratch */
    assert_int_equal(t->b->queue_create(t->dev, &q), QL_OK);
    for (uint64_t n = 1;; n++) {
        ql_opcase_result r;
        assert_true(n < 200);
        ql_counting_fail(t->dev, what, n);
        ql_opcase_run(q, f, index, 42, &r);
        ql_counts c = counts_of(t);
        assert_int_equal(c.allocs + c.wraps, c.frees);
        if (r.outcome == QL_OPCASE_PASSED) {
            assert_true(n > 1);
            break;
        }
        if (!strstr(r.message, "injected") || !strstr(r.message, text))
            fail_msg("failure %d is told as \"%s\"", (int)n, r.message);
    }
    ql_counting_fail(t->dev, what, 0);
    t->b->queue_destroy(q);
}

static void injected_failures_surface_and_leak_nothing(void **state) {
    const bench *t = *state;
    fail_each(t, QL_FAULT_ALLOC, "allocation of");
    fail_each(t, QL_FAULT_COPY, "bytes");
    fail_each(t, QL_FAULT_OP, "operator norm_bwd");
    fail_each(t, QL_FAULT_SYNC, "queue_sync");
}

static void creation_fails_on_demand(void **state) {
    const bench *t = *state;
    ql_queue *q = NULL;
    ql_event *e = NULL;
    ql_buffer *buf = NULL;
    ql_device *dev = NULL;
    uint8_t host[64];
    ql_counting_fail(t->dev, QL_FAULT_ALLOC, 1);
    assert_int_equal(t->b->queue_create(t->dev, &q), QL_ERR_NOMEM_DEV);
    ql_counting_fail(t->dev, QL_FAULT_ALLOC, 1);
    assert_int_equal(t->b->event_create(t->dev, &e), QL_ERR_NOMEM_DEV);
    ql_counting_fail(t->dev, QL_FAULT_ALLOC, 1);
    assert_int_equal(t->b->buffer_wrap(t->dev, host, sizeof host, &buf), QL_ERR_NOMEM_DEV);
    ql_hostmem_fail_after(1);
    assert_int_equal(t->b->queue_create(t->dev, &q), QL_ERR_NOMEM_HOST);
    ql_hostmem_fail_after(1);
    assert_int_equal(t->b->event_create(t->dev, &e), QL_ERR_NOMEM_HOST);
    ql_hostmem_fail_after(1);
    assert_int_equal(ql_counting_open(t->inner, &dev), QL_ERR_NOMEM_HOST);
    ql_hostmem_fail_after(0);
    assert_true(!q && !e && !buf && !dev);
    assert_int_equal(counts_of(t).wraps, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_looks_like_the_inner_device),
        TEST(bytes_and_high_water_marks_are_exact),
        TEST(transfers_events_and_calls_go_through),
        TEST(all_operators_pass_behind_it),
        TEST(injected_failures_surface_and_leak_nothing),
        TEST(creation_fails_on_demand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
