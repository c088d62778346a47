/* fixture.c - see fixture.h. */
#define _GNU_SOURCE
#include "tests/opencl/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

ql_device *cl_open_limited(unsigned long piece, uint64_t mem_limit) {
    const ql_device_opts opts = {.mem_limit = mem_limit};
    ql_device *inner, *dev;
    char text[32];
    const char *why = ql_backend_absence("opencl");
    if (*why) {
        print_message("skipped: opencl: %s\n", why);
        skip();
    }
    snprintf(text, sizeof text, "%lu", piece);
    if (piece) {
        setenv("QLORA_OPENCL_MAX_ALLOC", text, 1);
        setenv("QLORA_OPENCL_SELFTEST", "0", 1); /* its matrices need larger pieces */
    }
    ql_status s = ql_device_open_named("opencl:0", &opts, &inner);
    unsetenv("QLORA_OPENCL_MAX_ALLOC");
    unsetenv("QLORA_OPENCL_SELFTEST");
    OK(s);
    OK(ql_counting_open(inner, &dev));
    return dev;
}

ql_device *cl_open(void) {
    return cl_open_limited(0, 0);
}

void cl_close(ql_device *dev) {
    ql_counts n;
    ql_counting_read(dev, &n);
    assert_int_equal(n.device_bytes, 0);
    dev->backend->device_close(dev);
}

ql_queue *cl_queue(ql_device *dev) {
    ql_queue *q;
    OK(dev->backend->queue_create(dev, &q));
    return q;
}

ql_buffer *cl_alloc(ql_device *dev, ql_mem mem, uint64_t size) {
    ql_buffer *b;
    OK(dev->backend->buffer_alloc(dev, mem, size, &b));
    return b;
}

void cl_refused(ql_status got, ql_status s, const char *text) {
    assert_int_equal(got, s);
    if (!strstr(ql_last_error(), text)) fail_msg("\"%s\" lacks \"%s\"", ql_last_error(), text);
}
