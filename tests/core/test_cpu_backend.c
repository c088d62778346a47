/*
 * test_cpu_backend.c - the CPU device's contract beside its operators: buffers, limit, queues,
 * events, copies on a second queue, instruction-set forcing, planning.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "backends/cpu/cpu.h"

static const ql_backend *cpu;

static ql_device *open_with(ql_device_opts opts) {
    ql_device *dev = NULL;
    ql_status s = cpu->device_open(0, &opts, &dev);
    if (s != QL_OK) fail_msg("device_open: %s", ql_last_error());
    return dev;
}
static ql_buffer *alloc(ql_device *dev, uint64_t size) {
    ql_buffer *b = NULL;
    assert_int_equal(cpu->buffer_alloc(dev, QL_MEM_DEVICE, size, &b), QL_OK);
    return b;
}
static ql_queue *queue(ql_device *dev) {
    ql_queue *q = NULL;
    assert_int_equal(cpu->queue_create(dev, &q), QL_OK);
    return q;
}
static ql_event *event(ql_device *dev) {
    ql_event *e = NULL;
    assert_int_equal(cpu->event_create(dev, &e), QL_OK);
    return e;
}
static ql_mat floats(ql_buffer *b, int64_t rows, int64_t cols) {
    return (ql_mat){.buf = b, .rows = rows, .cols = cols, .ld = cols, .dtype = QL_F32};
}

/* -------------------------------------------------------------------- device */

static void device_describes_itself(void **state) {
    int count = 0;
    uint64_t left = 0, total = 0;
    (void)state;
    assert_int_equal(cpu->probe(&count), QL_OK);
    assert_int_equal(count, 1);
    ql_device *dev = open_with((ql_device_opts){.threads = 2});
    assert_int_equal(dev->props.kind, QL_DEV_CPU);
    assert_ptr_equal(dev->backend, cpu);
    assert_int_equal(dev->props.align, 64);
    assert_true(dev->props.caps & QL_CAP_WRAP_HOST);
    assert_true(dev->props.name[0] != '\0' && dev->props.isa[0] != '\0');
    assert_int_equal(cpu->device_memory(dev, &left, &total), QL_OK);
    assert_true(left > 0 && left <= total);
    cpu->device_close(dev);
    cpu->device_close(NULL);
}

static void bad_device_options_are_refused(void **state) {
    ql_device *dev = NULL;
    (void)state;
    assert_int_equal(cpu->device_open(1, NULL, &dev), QL_ERR_NOT_FOUND);
    assert_int_equal(cpu->device_open(0, &(ql_device_opts){.threads = -1}, &dev), QL_ERR_INVALID);
    assert_int_equal(cpu->device_open(0, &(ql_device_opts){.threads = 99999}, &dev),
                     QL_ERR_INVALID);
    assert_null(dev);
}

static void every_level_opens_or_says_what_there_is(void **state) {
    ql_cpuinfo info;
    (void)state;
    ql_cpuinfo_read(&info);
    for (int i = 0; i < QL_CPU_ISA_COUNT; i++) {
        const char *name = ql_cpu_isa_name((ql_cpu_isa)i);
        ql_device *dev = NULL;
        ql_status s = cpu->device_open(0, &(ql_device_opts){.isa = name}, &dev);
        assert_int_equal(s, info.has[i] ? QL_OK : QL_ERR_UNSUPPORTED);
        if (s == QL_OK)
            assert_int_equal(strncmp(dev->props.isa, name, strlen(name)), 0);
        else
            assert_non_null(strstr(ql_last_error(), "portable"));
        cpu->device_close(dev);
    }
}

static void isa_comes_from_option_then_environment(void **state) {
    ql_device *dev = NULL;
    (void)state;
    const char *set = getenv("QLORA_ISA");
    char *before = set ? strdup(set) : NULL;
    setenv("QLORA_ISA", "portable", 1);
    dev = open_with((ql_device_opts){0});
    assert_int_equal(strncmp(dev->props.isa, "portable", 8), 0);
    cpu->device_close(dev);
    setenv("QLORA_ISA", "sse9", 1);
    assert_int_equal(cpu->device_open(0, NULL, &dev), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "sse9"));
    assert_non_null(strstr(ql_last_error(), "QLORA_ISA"));
    assert_non_null(strstr(ql_last_error(), "portable"));
    dev = open_with((ql_device_opts){.isa = "portable"}); /* the option wins */
    cpu->device_close(dev);
    if (before)
        setenv("QLORA_ISA", before, 1);
    else
        unsetenv("QLORA_ISA");
    free(before);
}

/* ------------------------------------------------------------------- buffers */

static void buffers_are_aligned_and_large_ones_protectable(void **state) {
    static const uint64_t sizes[] = {1, 63, 4097, 1 << 20, (1 << 20) + 1, 5 << 20};
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1});
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ql_buffer *b = alloc(dev, sizes[i]);
        assert_int_equal(b->size, sizes[i]);
        assert_int_equal((uintptr_t)b->host % 64, 0);
        memset(b->host, 0x5A, (size_t)sizes[i]);
        if (sizes[i] >= 1 << 20)
            assert_int_equal(mprotect(b->host, (size_t)sizes[i], PROT_READ), 0);
        cpu->buffer_free(b);
    }
    cpu->buffer_free(NULL);
    cpu->device_close(dev);
}

static void wrapped_memory_is_used_in_place_and_left_alone(void **state) {
    float host[6] = {1, 2, 3, 4, 5, 6};
    ql_buffer *b = NULL;
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1, .mem_limit = 1});
    ql_queue *q = queue(dev);
    assert_int_equal(cpu->buffer_wrap(dev, host, sizeof host, &b), QL_OK); /* not counted */
    assert_ptr_equal(b->host, host);
    assert_int_equal(b->mem, QL_MEM_WRAPPED);
    assert_int_equal(cpu->ops.fill(q, &(ql_fill_args){floats(b, 2, 3), 7}), QL_OK);
    assert_int_equal(cpu->queue_sync(q), QL_OK);
    cpu->buffer_free(b);
    for (int i = 0; i < 6; i++) assert_true(host[i] == 7.0f);
    assert_int_equal(cpu->buffer_wrap(dev, NULL, 4, &b), QL_ERR_INVALID);
    cpu->queue_destroy(q);
    cpu->device_close(dev);
}

static void limit_counts_what_is_allocated(void **state) {
    ql_buffer *extra = NULL;
    uint64_t left = 0, total = 0;
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1, .mem_limit = 3 << 20});
    ql_buffer *a = alloc(dev, 2 << 20), *b = alloc(dev, 1 << 20);
    assert_int_equal(cpu->buffer_alloc(dev, QL_MEM_HOST, 1, &extra), QL_ERR_NOMEM_DEV);
    assert_non_null(strstr(ql_last_error(), "3145728"));
    assert_null(extra);
    assert_int_equal(cpu->device_memory(dev, &left, &total), QL_OK);
    assert_int_equal(left, 0);
    assert_int_equal(total, 3 << 20);
    cpu->buffer_free(a);
    a = alloc(dev, 2 << 20); /* freed bytes are free again */
    cpu->buffer_free(a);
    cpu->buffer_free(b);
    cpu->device_close(dev);
}

static void impossible_buffers_are_refused(void **state) {
    ql_buffer *b = NULL;
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1});
    assert_int_equal(cpu->buffer_alloc(dev, QL_MEM_DEVICE, 0, &b), QL_ERR_NOMEM_DEV);
    assert_int_equal(cpu->buffer_alloc(dev, QL_MEM_DEVICE, UINT64_MAX, &b), QL_ERR_NOMEM_DEV);
    assert_int_equal(cpu->buffer_alloc(dev, QL_MEM_MANAGED, 64, &b), QL_ERR_UNSUPPORTED);
    assert_null(b);
    cpu->device_close(dev);
}

/* --------------------------------------------------------- queues and events */

static void transfers_move_the_bytes_asked_for(void **state) {
    char in[16] = "0123456789abcdef", out[16] = {0};
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1});
    ql_queue *queues[2] = {queue(dev), queue(dev)}; /* inline, worker */
    ql_buffer *a = alloc(dev, 16), *b = alloc(dev, 16);
    for (int i = 0; i < 2; i++) {
        ql_queue *q = queues[i];
        memset(out, 0, sizeof out);
        memset(b->host, 0, 16);
        assert_int_equal(cpu->write(q, a, 0, in, 16), QL_OK);
        assert_int_equal(cpu->copy(q, b, 3, a, 4, 8), QL_OK);
        assert_int_equal(cpu->read(q, b, 0, out, 16), QL_OK);
        assert_memory_equal(out, "\0\0\000456789ab\0\0\0\0", 15);
        assert_int_equal(cpu->copy(q, a, 2, a, 0, 8), QL_OK); /* overlapping */
        assert_int_equal(cpu->read(q, a, 0, out, 16), QL_OK);
        assert_memory_equal(out, "0101234567abcdef", 16);
        assert_int_equal(cpu->write(q, a, 10, in, 7), QL_ERR_INVALID);
        assert_int_equal(cpu->read(q, a, UINT64_MAX, out, 2), QL_ERR_INVALID);
        assert_int_equal(cpu->copy(q, a, 0, b, 16, 1), QL_ERR_INVALID);
        assert_int_equal(cpu->copy(q, a, 16, b, 16, 0), QL_OK);
        assert_int_equal(cpu->advise(q, a, 0, 16, QL_ADVISE_TO_DEVICE), QL_OK);
    }
    cpu->buffer_free(a);
    cpu->buffer_free(b);
    cpu->queue_destroy(queues[1]);
    cpu->queue_destroy(queues[0]);
    cpu->device_close(dev);
}

/* A double-buffered stream: the worker copies round r into a slot while the main queue adds the
 * slot of round r - 1; events both ways keep them apart. Wrong order gives a wrong sum. */
static void copy_queue_streams_beside_the_main_one(void **state) {
    enum { ROUNDS = 300, N = 4096 };
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 2});
    ql_queue *main_queue = queue(dev), *copies = queue(dev);
    ql_buffer *source = alloc(dev, ROUNDS * 4), *sum = alloc(dev, N * 4);
    ql_buffer *pages = alloc(dev, 8 * N * 4), *slot[2] = {alloc(dev, N * 4), alloc(dev, N * 4)};
    ql_event *full[2] = {event(dev), event(dev)}, *used[2] = {event(dev), event(dev)};
    memset(sum->host, 0, N * 4);
    for (int r = 0; r < 8; r++)
        for (int i = 0; i < N; i++) ((float *)pages->host)[r * N + i] = (float)(r + 1);
    for (int r = 0; r < ROUNDS; r++) {
        int s = r & 1;
        assert_int_equal(cpu->event_wait(copies, used[s]), QL_OK);
        assert_int_equal(cpu->copy(copies, slot[s], 0, pages, (uint64_t)(r % 8) * N * 4, N * 4),
                         QL_OK);
        assert_int_equal(cpu->event_record(full[s], copies), QL_OK);
        assert_int_equal(cpu->event_wait(main_queue, full[s]), QL_OK);
        ql_axpby_args add = {floats(slot[s], 1, N), floats(sum, 1, N), 1, 1};
        assert_int_equal(cpu->ops.axpby(main_queue, &add), QL_OK);
        assert_int_equal(cpu->event_record(used[s], main_queue), QL_OK);
    }
    assert_int_equal(cpu->queue_sync(main_queue), QL_OK);
    float want = 0;
    for (int r = 0; r < ROUNDS; r++) want += (float)(r % 8 + 1);
    for (int i = 0; i < N; i++) assert_true(((float *)sum->host)[i] == want);
    for (int s = 0; s < 2; s++) {
        cpu->event_destroy(full[s]);
        cpu->event_destroy(used[s]);
        cpu->buffer_free(slot[s]);
    }
    cpu->queue_destroy(copies);
    cpu->queue_destroy(main_queue);
    cpu->buffer_free(pages);
    cpu->buffer_free(sum);
    cpu->buffer_free(source);
    cpu->device_close(dev);
}

/* More jobs than the ring holds; destroying the queue drains it. Arguments live on the stack of the
 * call only. */
static void worker_queue_runs_operators_in_order(void **state) {
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 2});
    ql_queue *main_queue = queue(dev), *worker = queue(dev);
    ql_buffer *b = alloc(dev, 400);
    for (int r = 0; r < 500; r++) {
        ql_fill_args fill = {floats(b, 10, 10), (float)r};
        ql_axpby_args twice = {floats(b, 10, 10), floats(b, 10, 10), 2, 0};
        assert_int_equal(cpu->ops.fill(worker, &fill), QL_OK);
        assert_int_equal(cpu->ops.axpby(worker, &twice), QL_OK);
    }
    cpu->queue_destroy(worker);
    for (int i = 0; i < 100; i++) assert_true(((float *)b->host)[i] == 998.0f);
    cpu->queue_destroy(main_queue);
    cpu->buffer_free(b);
    cpu->device_close(dev);
}

static void events_order_and_time(void **state) {
    double seconds = -1;
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1});
    ql_queue *q = queue(dev), *worker = queue(dev);
    ql_event *from = event(dev), *to = event(dev);
    assert_int_equal(cpu->event_sync(from), QL_OK); /* never recorded: nothing to wait for */
    assert_int_equal(cpu->event_wait(worker, from), QL_OK);
    assert_int_equal(cpu->event_elapsed(from, to, &seconds), QL_ERR_INVALID);
    assert_true(seconds == -1);
    assert_int_equal(cpu->event_record(from, q), QL_OK);
    assert_int_equal(cpu->event_record(to, worker), QL_OK);
    assert_int_equal(cpu->event_elapsed(from, to, &seconds), QL_OK);
    assert_true(seconds >= 0 && seconds < 100);
    for (int i = 0; i < 10; i++) assert_int_equal(cpu->event_record(to, worker), QL_OK);
    cpu->event_destroy(to); /* the queue still holds it */
    cpu->event_destroy(from);
    cpu->event_destroy(NULL);
    assert_int_equal(cpu->queue_sync(worker), QL_OK);
    assert_int_equal(cpu->queue_flush(worker), QL_OK);
    cpu->queue_destroy(worker);
    cpu->queue_destroy(q);
    cpu->queue_destroy(NULL);
    cpu->device_close(dev);
}

/* ------------------------------------------------------------------ planning */

static void table_has_all_operators_but_the_composed_ones(void **state) {
    static const ql_op_args none;
    const void *entry[QL_OP_COUNT];
    (void)state;
    ql_device *dev = open_with((ql_device_opts){.threads = 1});
    assert_int_equal(sizeof entry, sizeof cpu->ops); /* function pointers only */
    memcpy(entry, &cpu->ops, sizeof entry);
    for (int op = 0; op < QL_OP_COUNT; op++) {
        const char *why = NULL;
        bool composed = op == QL_OP_LORA_FWD || op == QL_OP_LORA_BWD;
        ql_support s = cpu->supports(dev, (ql_op)op, &none, &why);
        assert_int_equal(s == QL_SUPPORT_NO, composed);
        assert_int_equal(entry[op] == NULL, composed);
        if (composed) assert_non_null(why);
    }
    cpu->device_close(dev);
}

/* A plan made before its rows are known in full must hold: monotone, and no thread count enters. */
static void scratch_grows_with_rows_and_not_with_threads(void **state) {
    uint64_t before = 0;
    (void)state;
    ql_device *one = open_with((ql_device_opts){.threads = 1});
    ql_device *many = open_with((ql_device_opts){.threads = 16});
    for (int64_t rows = 1; rows < 700; rows += 13) {
        ql_op_args a = {.norm_bwd = {.kind = QL_NORM_RMS}};
        a.norm_bwd.s = floats(NULL, rows, 96);
        a.norm_bwd.rstd = floats(NULL, 1, rows);
        a.norm_bwd.dw = floats(NULL, 1, 96);
        uint64_t bytes = cpu->scratch_bytes(one, QL_OP_NORM_BWD, &a);
        assert_true(bytes >= before && bytes > 0);
        assert_int_equal(bytes, cpu->scratch_bytes(many, QL_OP_NORM_BWD, &a));
        before = bytes;
    }
    cpu->device_close(one);
    cpu->device_close(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_describes_itself),
        cmocka_unit_test(bad_device_options_are_refused),
        cmocka_unit_test(every_level_opens_or_says_what_there_is),
        cmocka_unit_test(isa_comes_from_option_then_environment),
        cmocka_unit_test(buffers_are_aligned_and_large_ones_protectable),
        cmocka_unit_test(wrapped_memory_is_used_in_place_and_left_alone),
        cmocka_unit_test(limit_counts_what_is_allocated),
        cmocka_unit_test(impossible_buffers_are_refused),
        cmocka_unit_test(transfers_move_the_bytes_asked_for),
        cmocka_unit_test(copy_queue_streams_beside_the_main_one),
        cmocka_unit_test(worker_queue_runs_operators_in_order),
        cmocka_unit_test(events_order_and_time),
        cmocka_unit_test(table_has_all_operators_but_the_composed_ones),
        cmocka_unit_test(scratch_grows_with_rows_and_not_with_threads),
    };
    cpu = ql_cpu_backend();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
