/*
 * test_paging.c - moments in pinned host memory, streamed through two slots on a queue of their
 * own, give the same weights as resident ones, bit for bit, and the device never holds more than
 * the budget.
 *
 * These are the mechanisms that a page schedule needs; the schedule here is the simplest one.
 * Rules: an upload into a slot waits for that slot's last download, the kernel waits for its
 * upload, the download waits for the kernel. The first two chunks of a step also wait for the other
 * slot: the same host bytes may have gone through it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/opencl/fixture.h"

enum { ELEMENTS = 51200 + 77, STEPS = 3, UNIT = 256 };

typedef struct lab {
    ql_device *dev;
    const ql_backend *b;
    ql_queue *work, *copy;
    ql_buffer *p, *g, *step;
} lab;

static float value(int64_t i, int salt) {
    return (float)((i * 7919 + salt * 104729) % 2003 - 1001) / 5000.0f;
}

static ql_mat flat(ql_buffer *b, int64_t first, int64_t n) {
    return (ql_mat){b, (uint64_t)first * sizeof(float), 1, n, n, QL_F32};
}

static void upload(const lab *l, ql_buffer *dst, int salt) {
    float *x = malloc(ELEMENTS * sizeof *x);
    for (int64_t i = 0; i < ELEMENTS; i++) x[i] = value(i, salt);
    OK(l->b->write(l->work, dst, 0, x, ELEMENTS * sizeof *x));
    free(x);
}

static lab open_lab(void) {
    lab l = {.dev = cl_open()};
    l.b = l.dev->backend;
    l.work = cl_queue(l.dev);
    l.copy = cl_queue(l.dev);
    l.p = cl_alloc(l.dev, QL_MEM_DEVICE, ELEMENTS * sizeof(float));
    l.g = cl_alloc(l.dev, QL_MEM_DEVICE, ELEMENTS * sizeof(float));
    l.step = cl_alloc(l.dev, QL_MEM_DEVICE, QL_STEP_BLOCK_BYTES);
    return l;
}

static void close_lab(lab *l) {
    ql_buffer *const all[] = {l->p, l->g, l->step};
    for (int i = 0; i < 3; i++) l->b->buffer_free(all[i]);
    l->b->queue_destroy(l->copy);
    l->b->queue_destroy(l->work);
    cl_close(l->dev);
}

static void begin_step(const lab *l, int t) {
    float b1 = 1.0f, b2 = 1.0f;
    for (int i = 0; i < t; i++) b1 *= 0.9f, b2 *= 0.999f;
    const ql_step_block step = {
        .lr = 1e-3f, .unscale = 1, .clip = 1, .bias1 = 1 - b1, .bias2 = 1 - b2};
    OK(l->b->write(l->work, l->step, 0, &step, sizeof step));
    upload(l, l->g, t);
}

/* AdamW on elements [first, first + n) with moments m, v of just those. */
static void run_chunk(const lab *l, ql_buffer *m, ql_buffer *v, int64_t first, int64_t n) {
    const ql_opt_step_args a = {.kind = QL_OPT_ADAMW,
                                .p = flat(l->p, first, n),
                                .g = flat(l->g, first, n),
                                .m = flat(m, 0, n),
                                .v = flat(v, 0, n),
                                .step = {l->step, 0, 1, 64, 64, QL_U8},
                                .beta1 = 0.9f,
                                .beta2 = 0.999f,
                                .eps = 1e-8f,
                                .weight_decay = 0.01f,
                                .lr_scale = 1,
                                .first = first};
    OK(ql_run_opt_step(l->work, &a));
}

static void train_resident(const lab *l, float *p, float *m) {
    ql_buffer *mb = cl_alloc(l->dev, QL_MEM_DEVICE, ELEMENTS * sizeof(float));
    ql_buffer *vb = cl_alloc(l->dev, QL_MEM_DEVICE, ELEMENTS * sizeof(float));
    upload(l, l->p, 0);
    ql_fill_args zero = {flat(mb, 0, ELEMENTS), 0};
    OK(ql_run_fill(l->work, &zero));
    zero.y = flat(vb, 0, ELEMENTS);
    OK(ql_run_fill(l->work, &zero));
    for (int t = 1; t <= STEPS; t++) {
        begin_step(l, t);
        run_chunk(l, mb, vb, 0, ELEMENTS);
    }
    OK(l->b->read(l->work, l->p, 0, p, ELEMENTS * sizeof *p));
    OK(l->b->read(l->work, mb, 0, m, ELEMENTS * sizeof *m));
    l->b->buffer_free(mb);
    l->b->buffer_free(vb);
}

typedef struct slot {
    ql_buffer *m, *v;
    ql_event *up, *done, *down;
} slot;

/* One chunk through slot s; `other` is waited for at the start of a step. */
static void page_chunk(const lab *l, const slot *s, const slot *other, ql_buffer *m, ql_buffer *v,
                       int64_t first, int64_t n, bool step_begins) {
    const uint64_t at = (uint64_t)first * sizeof(float), bytes = (uint64_t)n * sizeof(float);
    OK(l->b->event_wait(l->copy, s->down));
    if (step_begins) OK(l->b->event_wait(l->copy, other->down));
    OK(l->b->copy(l->copy, s->m, 0, m, at, bytes));
    OK(l->b->copy(l->copy, s->v, 0, v, at, bytes));
    OK(l->b->event_record(s->up, l->copy));
    OK(l->b->event_wait(l->work, s->up));
    run_chunk(l, s->m, s->v, first, n);
    OK(l->b->event_record(s->done, l->work));
    OK(l->b->event_wait(l->copy, s->done));
    OK(l->b->copy(l->copy, m, at, s->m, 0, bytes));
    OK(l->b->copy(l->copy, v, at, s->v, 0, bytes));
    OK(l->b->event_record(s->down, l->copy));
}

/* `chunk` elements at a time; answers the most bytes that the device held for moments. */
static uint64_t train_paged(const lab *l, int64_t chunk, float *p, float *m) {
    ql_counts before, after;
    ql_counting_read(l->dev, &before);
    ql_buffer *mh = cl_alloc(l->dev, QL_MEM_HOST, ELEMENTS * sizeof(float));
    ql_buffer *vh = cl_alloc(l->dev, QL_MEM_HOST, ELEMENTS * sizeof(float));
    memset(mh->host, 0, ELEMENTS * sizeof(float));
    memset(vh->host, 0, ELEMENTS * sizeof(float));
    slot s[2];
    for (int i = 0; i < 2; i++) {
        s[i].m = cl_alloc(l->dev, QL_MEM_DEVICE, (uint64_t)chunk * sizeof(float));
        s[i].v = cl_alloc(l->dev, QL_MEM_DEVICE, (uint64_t)chunk * sizeof(float));
        OK(l->b->event_create(l->dev, &s[i].up));
        OK(l->b->event_create(l->dev, &s[i].done));
        OK(l->b->event_create(l->dev, &s[i].down));
    }
    ql_counting_read(l->dev, &after);
    upload(l, l->p, 0);
    for (int t = 1; t <= STEPS; t++) {
        begin_step(l, t);
        int k = 0;
        for (int64_t first = 0; first < ELEMENTS; first += chunk, k++) {
            int64_t n = ELEMENTS - first < chunk ? ELEMENTS - first : chunk;
            page_chunk(l, &s[k % 2], &s[(k + 1) % 2], mh, vh, first, n, k < 2);
        }
        OK(l->b->queue_flush(l->copy));
    }
    OK(l->b->queue_sync(l->copy));
    OK(l->b->read(l->work, l->p, 0, p, ELEMENTS * sizeof *p));
    memcpy(m, mh->host, ELEMENTS * sizeof *m);
    for (int i = 0; i < 2; i++) {
        l->b->buffer_free(s[i].m);
        l->b->buffer_free(s[i].v);
        l->b->event_destroy(s[i].up);
        l->b->event_destroy(s[i].done);
        l->b->event_destroy(s[i].down);
    }
    l->b->buffer_free(mh);
    l->b->buffer_free(vh);
    return after.device_bytes - before.device_bytes;
}

static void paged_moments_equal_resident_ones_at_every_budget(void **state) {
    (void)state;
    static float p[ELEMENTS], m[ELEMENTS], paged_p[ELEMENTS], paged_m[ELEMENTS];
    lab l = open_lab();
    train_resident(&l, p, m);
    const uint64_t all = 2 * ELEMENTS * sizeof(float);
    for (int percent = 100; percent >= 10; percent -= 15) {
        const uint64_t budget = all * (uint64_t)percent / 100;
        /* two slots of two moments; whole units keep 8-bit blocks whole */
        const int64_t chunk = (int64_t)(budget / (4 * sizeof(float))) / UNIT * UNIT;
        const uint64_t used = train_paged(&l, chunk, paged_p, paged_m);
        assert_true(used <= budget);
        assert_memory_equal(paged_p, p, sizeof p);
        assert_memory_equal(paged_m, m, sizeof m);
    }
    assert_true(p[5] != value(5, 0)); /* something was learned */
    close_lab(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paged_moments_equal_resident_ones_at_every_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
