/*
 * counting.c - a device that forwards to another one, counts, and fails on demand.
 *
 * How the objects are wrapped:
 *   device  own object (counting_device) with its own backend table, a copy of inner's shape: an
 *           operator that inner lacks is NULL here too.
 *   queue   own object around inner's queue.
 *   event   own object around inner's event.
 *   buffer  inner's own object, so that operator arguments pass through untouched. Only its `dev`
 *           is set to the counting device, which is how buffer_free finds the counters; it is set
 *           back to inner before inner's buffer_free runs. A backend therefore finds its device
 *           through the queue (or through its own part of the buffer), never through buf->dev.
 * Counters are atomic: queues of one device may be used from different threads.
 */
#include <stdatomic.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"

typedef _Atomic uint64_t counter;

typedef struct counting_device {
    ql_device base; /* first: the device that callers hold */
    ql_backend table;
    ql_device *inner;
    counter bytes[4], peak[4], device_bytes, device_peak;
    counter allocs, wraps, frees, writes, reads, copies, write_bytes, read_bytes, copy_bytes;
    counter calls[QL_OP_COUNT];
    counter until_fault[QL_FAULT_COUNT]; /* 0 = off, n = the n-th call from now */
} counting_device;

typedef struct counting_queue {
    ql_queue base;
    ql_queue *inner;
} counting_queue;

typedef struct counting_event {
    ql_event base;
    ql_event *inner;
} counting_event;

static counting_device *device_of(ql_device *dev) {
    return (counting_device *)dev;
}
static ql_queue *inner_queue(ql_queue *q) {
    return ((counting_queue *)q)->inner;
}
static ql_event *inner_event(ql_event *e) {
    return ((counting_event *)e)->inner;
}
static const ql_backend *inner_of(ql_device *dev) {
    return device_of(dev)->inner->backend;
}

/* Counts one call of kind `what` down; true = this one fails. */
static bool fault_now(ql_device *dev, ql_fault what) {
    counter *left = &device_of(dev)->until_fault[what];
    uint64_t n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1)) {}
    return n == 1;
}

static void raise_peak(counter *peak, uint64_t value) {
    uint64_t seen = atomic_load(peak);
    while (seen < value && !atomic_compare_exchange_weak(peak, &seen, value)) {}
}

static void add_bytes(counting_device *d, ql_mem mem, uint64_t size) {
    raise_peak(&d->peak[mem], atomic_fetch_add(&d->bytes[mem], size) + size);
    if (mem != QL_MEM_HOST)
        raise_peak(&d->device_peak, atomic_fetch_add(&d->device_bytes, size) + size);
}

/* -------------------------------------------------------------------- devices */

static ql_status counting_probe(int *count) {
    *count = 0; /* not a backend of its own: it exists around an open device only */
    return QL_OK;
}

static ql_status counting_device_open(int index, const ql_device_opts *opts, ql_device **out) {
    (void)opts, (void)out;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "counting device %d: open the device that it counts, then ql_counting_open",
                   index);
}

static void counting_device_close(ql_device *dev) {
    if (!dev) return;
    ql_device *inner = device_of(dev)->inner;
    ql_host_free(dev);
    inner->backend->device_close(inner);
}

static ql_status counting_device_memory(ql_device *dev, uint64_t *free_now, uint64_t *total) {
    return inner_of(dev)->device_memory(device_of(dev)->inner, free_now, total);
}

/* -------------------------------------------------------------------- buffers */

static ql_status counting_buffer_alloc(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out) {
    if (fault_now(dev, QL_FAULT_ALLOC))
        return QL_FAIL(QL_ERR_NOMEM_DEV, "%s: injected failure of an allocation of %llu bytes",
                       dev->props.name, (unsigned long long)size);
    counting_device *d = device_of(dev);
    ql_buffer *buf;
    QL_TRY(inner_of(dev)->buffer_alloc(d->inner, mem, size, &buf));
    buf->dev = dev;
    atomic_fetch_add(&d->allocs, 1);
    add_bytes(d, buf->mem, buf->size);
    *out = buf;
    return QL_OK;
}

static ql_status counting_buffer_wrap(ql_device *dev, void *host, uint64_t size, ql_buffer **out) {
    if (fault_now(dev, QL_FAULT_ALLOC))
        return QL_FAIL(QL_ERR_NOMEM_DEV, "%s: injected failure of wrapping %llu bytes",
                       dev->props.name, (unsigned long long)size);
    counting_device *d = device_of(dev);
    ql_buffer *buf;
    QL_TRY(inner_of(dev)->buffer_wrap(d->inner, host, size, &buf));
    buf->dev = dev;
    atomic_fetch_add(&d->wraps, 1);
    add_bytes(d, buf->mem, buf->size);
    *out = buf;
    return QL_OK;
}

static void counting_buffer_free(ql_buffer *buf) {
    if (!buf) return;
    counting_device *d = device_of(buf->dev);
    atomic_fetch_add(&d->frees, 1);
    atomic_fetch_sub(&d->bytes[buf->mem], buf->size);
    if (buf->mem != QL_MEM_HOST) atomic_fetch_sub(&d->device_bytes, buf->size);
    buf->dev = d->inner;
    d->inner->backend->buffer_free(buf);
}

static ql_status counting_advise(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len,
                                 ql_advice what) {
    return inner_of(q->dev)->advise(inner_queue(q), buf, off, len, what);
}

/* --------------------------------------------------------------------- queues */

static ql_status counting_queue_create(ql_device *dev, ql_queue **out) {
    if (fault_now(dev, QL_FAULT_ALLOC))
        return QL_FAIL(QL_ERR_NOMEM_DEV, "%s: injected failure of a queue", dev->props.name);
    counting_queue *q = ql_host_calloc(1, sizeof *q);
    if (!q) return QL_NOMEM("a queue");
    q->base.dev = dev;
    ql_status s = inner_of(dev)->queue_create(device_of(dev)->inner, &q->inner);
    if (s != QL_OK) {
        ql_host_free(q);
        return s;
    }
    *out = &q->base;
    return QL_OK;
}

static void counting_queue_destroy(ql_queue *q) {
    if (!q) return;
    inner_of(q->dev)->queue_destroy(inner_queue(q));
    ql_host_free(q);
}

static ql_status counting_queue_flush(ql_queue *q) {
    return inner_of(q->dev)->queue_flush(inner_queue(q));
}

static ql_status counting_queue_sync(ql_queue *q) {
    if (fault_now(q->dev, QL_FAULT_SYNC))
        return QL_FAIL(QL_ERR_DRIVER, "%s: injected failure of queue_sync", q->dev->props.name);
    return inner_of(q->dev)->queue_sync(inner_queue(q));
}

/* --------------------------------------------------------------------- events */

static ql_status counting_event_create(ql_device *dev, ql_event **out) {
    if (fault_now(dev, QL_FAULT_ALLOC))
        return QL_FAIL(QL_ERR_NOMEM_DEV, "%s: injected failure of an event", dev->props.name);
    counting_event *e = ql_host_calloc(1, sizeof *e);
    if (!e) return QL_NOMEM("an event");
    e->base.dev = dev;
    ql_status s = inner_of(dev)->event_create(device_of(dev)->inner, &e->inner);
    if (s != QL_OK) {
        ql_host_free(e);
        return s;
    }
    *out = &e->base;
    return QL_OK;
}

static void counting_event_destroy(ql_event *e) {
    if (!e) return;
    inner_of(e->dev)->event_destroy(inner_event(e));
    ql_host_free(e);
}

static ql_status counting_event_record(ql_event *e, ql_queue *q) {
    return inner_of(e->dev)->event_record(inner_event(e), inner_queue(q));
}

static ql_status counting_event_wait(ql_queue *q, ql_event *e) {
    return inner_of(e->dev)->event_wait(inner_queue(q), inner_event(e));
}

static ql_status counting_event_sync(ql_event *e) {
    if (fault_now(e->dev, QL_FAULT_SYNC))
        return QL_FAIL(QL_ERR_DRIVER, "%s: injected failure of event_sync", e->dev->props.name);
    return inner_of(e->dev)->event_sync(inner_event(e));
}

static ql_status counting_event_elapsed(ql_event *from, ql_event *to, double *seconds) {
    return inner_of(from->dev)->event_elapsed(inner_event(from), inner_event(to), seconds);
}

/* ------------------------------------------------------------------ transfers */

static ql_status count_transfer(ql_queue *q, const char *what, counter *calls, counter *bytes,
                                uint64_t len) {
    if (fault_now(q->dev, QL_FAULT_COPY))
        return QL_FAIL(QL_ERR_DRIVER, "%s: injected failure of %s of %llu bytes",
                       q->dev->props.name, what, (unsigned long long)len);
    atomic_fetch_add(calls, 1);
    atomic_fetch_add(bytes, len);
    return QL_OK;
}

static ql_status counting_write(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src,
                                uint64_t len) {
    counting_device *d = device_of(q->dev);
    QL_TRY(count_transfer(q, "write", &d->writes, &d->write_bytes, len));
    return inner_of(q->dev)->write(inner_queue(q), dst, off, src, len);
}

static ql_status counting_read(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len) {
    counting_device *d = device_of(q->dev);
    QL_TRY(count_transfer(q, "read", &d->reads, &d->read_bytes, len));
    return inner_of(q->dev)->read(inner_queue(q), src, off, dst, len);
}

static ql_status counting_copy(ql_queue *q, ql_buffer *dst, uint64_t doff, ql_buffer *src,
                               uint64_t soff, uint64_t len) {
    counting_device *d = device_of(q->dev);
    QL_TRY(count_transfer(q, "copy", &d->copies, &d->copy_bytes, len));
    return inner_of(q->dev)->copy(inner_queue(q), dst, doff, src, soff, len);
}

/* ------------------------------------------------------------------ operators */

static ql_support counting_supports(ql_device *dev, ql_op op, const ql_op_args *a,
                                    const char **why) {
    return inner_of(dev)->supports(device_of(dev)->inner, op, a, why);
}

static uint64_t counting_scratch_bytes(ql_device *dev, ql_op op, const ql_op_args *a) {
    return inner_of(dev)->scratch_bytes(device_of(dev)->inner, op, a);
}

static ql_status count_call(ql_queue *q, ql_op op) {
    if (fault_now(q->dev, QL_FAULT_OP))
        return QL_FAIL(QL_ERR_DRIVER, "%s: injected failure of operator %s", q->dev->props.name,
                       ql_op_name(op));
    atomic_fetch_add(&device_of(q->dev)->calls[op], 1);
    return QL_OK;
}

#define QL_X(ID, name, family)                                                                     \
    static ql_status counting_##name(ql_queue *q, const ql_##name##_args *a) {                     \
        QL_TRY(count_call(q, QL_OP_##ID));                                                         \
        return inner_of(q->dev)->ops.name(inner_queue(q), a);                                      \
    }
QL_OPS(QL_X)
#undef QL_X

static void fill_table(ql_backend *t, const ql_backend *inner) {
    *t = (ql_backend){
        .abi = QL_BACKEND_ABI,
        .size = sizeof(ql_backend),
        .name = inner->name,
        .probe = counting_probe,
        .device_open = counting_device_open,
        .device_close = counting_device_close,
        .device_memory = counting_device_memory,
        .buffer_alloc = counting_buffer_alloc,
        .buffer_wrap = counting_buffer_wrap,
        .buffer_free = counting_buffer_free,
        .advise = counting_advise,
        .queue_create = counting_queue_create,
        .queue_destroy = counting_queue_destroy,
        .queue_flush = counting_queue_flush,
        .queue_sync = counting_queue_sync,
        .event_create = counting_event_create,
        .event_destroy = counting_event_destroy,
        .event_record = counting_event_record,
        .event_wait = counting_event_wait,
        .event_sync = counting_event_sync,
        .event_elapsed = counting_event_elapsed,
        .write = counting_write,
        .read = counting_read,
        .copy = counting_copy,
        .supports = counting_supports,
        .scratch_bytes = counting_scratch_bytes,
    };
#define QL_X(ID, name, family)                                                                     \
    if (inner->ops.name) t->ops.name = counting_##name;
    QL_OPS(QL_X)
#undef QL_X
}

/* ------------------------------------------------------------------------ api */

ql_status ql_counting_open(ql_device *inner, ql_device **out) {
    counting_device *d = ql_host_calloc(1, sizeof *d);
    if (!d) return QL_NOMEM("a counting device");
    fill_table(&d->table, inner->backend);
    d->base = (ql_device){.backend = &d->table, .props = inner->props};
    d->inner = inner;
    *out = &d->base;
    return QL_OK;
}

bool ql_counting_is(const ql_device *dev) {
    return dev && dev->backend->device_close == counting_device_close;
}

void ql_counting_read(const ql_device *dev, ql_counts *out) {
    const counting_device *d = (const counting_device *)dev;
    *out = (ql_counts){
        .device_bytes = atomic_load(&d->device_bytes),
        .device_peak = atomic_load(&d->device_peak),
        .allocs = atomic_load(&d->allocs),
        .wraps = atomic_load(&d->wraps),
        .frees = atomic_load(&d->frees),
        .writes = atomic_load(&d->writes),
        .reads = atomic_load(&d->reads),
        .copies = atomic_load(&d->copies),
        .write_bytes = atomic_load(&d->write_bytes),
        .read_bytes = atomic_load(&d->read_bytes),
        .copy_bytes = atomic_load(&d->copy_bytes),
    };
    for (int i = 0; i < 4; i++) {
        out->bytes[i] = atomic_load(&d->bytes[i]);
        out->peak[i] = atomic_load(&d->peak[i]);
    }
    for (int i = 0; i < QL_OP_COUNT; i++) out->calls[i] = atomic_load(&d->calls[i]);
}

void ql_counting_fail(ql_device *dev, ql_fault what, uint64_t n) {
    atomic_store(&device_of(dev)->until_fault[what], n);
}
