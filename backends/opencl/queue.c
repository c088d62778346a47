/*
 * queue.c - queues and transfers.
 *
 * A queue is one in-order command queue. Transfers whose host side is a pinned buffer of this
 * device are enqueued and left alone; any other host memory belongs to the caller, so those return
 * when it is no longer needed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl.h"

ql_status ql_cl_queue_create(ql_device *dev, ql_queue **out) {
    ql_cl_device *d = (ql_cl_device *)dev;
    QL_TRY(ql_cl_alive(d));
    ql_cl_queue *q = calloc(1, sizeof *q);
    if (!q) return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for a queue");
    cl_int e;
    q->base.dev = dev;
    q->cl = clCreateCommandQueue(d->context, d->id, CL_QUEUE_PROFILING_ENABLE, &e);
    if (e != CL_SUCCESS) {
        free(q);
        return ql_cl_fail(d, e, "creating a queue");
    }
    *out = &q->base;
    return QL_OK;
}

void ql_cl_queue_destroy(ql_queue *base) {
    ql_cl_queue *q = (ql_cl_queue *)base;
    if (!q) return;
    clFinish(q->cl);
    clReleaseCommandQueue(q->cl);
    free(q);
}

ql_status ql_cl_queue_flush(ql_queue *q) {
    QL_TRY(ql_cl_alive(ql_cl_dev(q)));
    QL_CL_TRY(ql_cl_dev(q), "starting a queue", clFlush(((ql_cl_queue *)q)->cl));
    return QL_OK;
}

ql_status ql_cl_queue_sync(ql_queue *q) {
    QL_TRY(ql_cl_alive(ql_cl_dev(q)));
    QL_CL_TRY(ql_cl_dev(q), "finishing a queue", clFinish(((ql_cl_queue *)q)->cl));
    return QL_OK;
}

/* ---------------------------------------------------------------- transfers */

static ql_status check_range(const char *what, const ql_buffer *buf, uint64_t off, uint64_t len) {
    if (off <= buf->size && len <= buf->size - off) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "opencl: %s of %llu bytes at %llu in a buffer of %llu", what,
                   (unsigned long long)len, (unsigned long long)off, (unsigned long long)buf->size);
}

/* Is [p, p + len) inside a host buffer of this device? */
static bool is_pinned(ql_cl_device *d, const void *p, uint64_t len) {
    bool found = false;
    pthread_mutex_lock(&d->lock);
    for (const ql_cl_buffer *b = d->hosts; b && !found; b = b->next_host) {
        uintptr_t from = (uintptr_t)b->base.host, at = (uintptr_t)p;
        found = at >= from && at - from <= b->base.size && len <= b->base.size - (at - from);
    }
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* The part of [off, off + len) that lies in the piece of `off`; *at = its place there. */
static uint64_t run_in_piece(const ql_cl_buffer *b, uint64_t off, uint64_t len, cl_mem *piece,
                             uint64_t *at) {
    uint64_t chunk = b->d->info.chunk, left = chunk - off % chunk;
    *piece = b->piece[off / chunk];
    *at = off % chunk;
    return len < left ? len : left;
}

static ql_status move(ql_queue *q, ql_cl_buffer *b, uint64_t off, void *host, uint64_t len,
                      bool to_device) {
    ql_cl_device *d = ql_cl_dev(q);
    cl_command_queue cl = ((ql_cl_queue *)q)->cl;
    bool blocking = !is_pinned(d, host, len);
    QL_TRY(ql_cl_alive(d));
    if (b->base.mem == QL_MEM_HOST) { /* both sides are host memory: when all before is done */
        QL_CL_TRY(d, "finishing a queue", clFinish(cl));
        if (to_device)
            memmove((char *)b->base.host + off, host, len);
        else
            memmove(host, (char *)b->base.host + off, len);
        return QL_OK;
    }
    for (char *p = host; len > 0;) {
        cl_mem piece;
        uint64_t at, n = run_in_piece(b, off, len, &piece, &at);
        cl_int e = to_device ? clEnqueueWriteBuffer(cl, piece, blocking, at, n, p, 0, NULL, NULL)
                             : clEnqueueReadBuffer(cl, piece, blocking, at, n, p, 0, NULL, NULL);
        if (e != CL_SUCCESS) return ql_cl_fail(d, e, to_device ? "writing" : "reading");
        p += n;
        off += n;
        len -= n;
    }
    return QL_OK;
}

ql_status ql_cl_write(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src, uint64_t len) {
    QL_TRY(check_range("write", dst, off, len));
    return move(q, (ql_cl_buffer *)dst, off, (void *)(uintptr_t)src, len, true);
}

ql_status ql_cl_read(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len) {
    QL_TRY(check_range("read", src, off, len));
    return move(q, (ql_cl_buffer *)src, off, dst, len, false);
}

static ql_status copy_on_device(ql_queue *q, const ql_cl_buffer *dst, uint64_t doff,
                                const ql_cl_buffer *src, uint64_t soff, uint64_t len) {
    ql_cl_device *d = ql_cl_dev(q);
    QL_TRY(ql_cl_alive(d));
    while (len > 0) {
        cl_mem from, to;
        uint64_t at_from, at_to;
        uint64_t n = run_in_piece(src, soff, len, &from, &at_from);
        n = run_in_piece(dst, doff, n, &to, &at_to);
        QL_CL_TRY(d, "copying",
                  clEnqueueCopyBuffer(((ql_cl_queue *)q)->cl, from, to, at_from, at_to, n, 0, NULL,
                                      NULL));
        soff += n;
        doff += n;
        len -= n;
    }
    return QL_OK;
}

ql_status ql_cl_copy(ql_queue *q, ql_buffer *dst, uint64_t doff, ql_buffer *src, uint64_t soff,
                     uint64_t len) {
    QL_TRY(check_range("copy to", dst, doff, len));
    QL_TRY(check_range("copy from", src, soff, len));
    if (dst->mem == QL_MEM_HOST) return ql_cl_read(q, src, soff, (char *)dst->host + doff, len);
    if (src->mem == QL_MEM_HOST) return ql_cl_write(q, dst, doff, (char *)src->host + soff, len);
    return copy_on_device(q, (ql_cl_buffer *)dst, doff, (ql_cl_buffer *)src, soff, len);
}

/* Hints about migration: nothing migrates here. */
ql_status ql_cl_advise(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what) {
    (void)q;
    (void)what;
    return check_range("advice", buf, off, len);
}
