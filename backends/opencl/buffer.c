/*
 * buffer.c - memory: device buffers in pieces of what the device allows at once, and pinned host
 * memory for transfers that do not block.
 *
 * Every byte of device memory passes through the device's ledger (used, limit): OpenCL has no
 * portable query for what is free. Drivers may allocate late, so a buffer that was created can
 * still fail when it is first used; that failure comes out of the command.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl.h"

static ql_status ledger_take(ql_cl_device *d, uint64_t size) {
    pthread_mutex_lock(&d->lock);
    uint64_t used = d->used;
    bool fits = d->limit == 0 || (used <= d->limit && size <= d->limit - used);
    if (fits) d->used += size;
    pthread_mutex_unlock(&d->lock);
    if (fits) return QL_OK;
    return QL_FAIL(QL_ERR_NOMEM_DEV,
                   "opencl: a buffer of %llu bytes does not fit '%s': limit %llu, in use %llu",
                   (unsigned long long)size, d->base.props.name, (unsigned long long)d->limit,
                   (unsigned long long)used);
}

static void ledger_give(ql_cl_device *d, uint64_t size) {
    pthread_mutex_lock(&d->lock);
    d->used -= size;
    pthread_mutex_unlock(&d->lock);
}

static ql_cl_buffer *object(ql_cl_device *d, ql_mem mem, uint64_t size) {
    ql_cl_buffer *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->base = (ql_buffer){.dev = &d->base, .size = size, .mem = mem};
    b->d = d;
    return b;
}

void ql_cl_buffer_free(ql_buffer *base) {
    ql_cl_buffer *b = (ql_cl_buffer *)base;
    if (!b) return;
    ql_cl_device *d = b->d;
    if (base->mem == QL_MEM_HOST) {
        pthread_mutex_lock(&d->lock);
        ql_cl_buffer **at = &d->hosts;
        while (*at && *at != b) at = &(*at)->next_host;
        if (*at) *at = b->next_host;
        pthread_mutex_unlock(&d->lock);
        if (b->mapper) {
            clEnqueueUnmapMemObject(b->mapper, b->piece[0], base->host, 0, NULL, NULL);
            clFinish(b->mapper);
            clReleaseCommandQueue(b->mapper);
        } else {
            free(base->host);
        }
    }
    for (int i = 0; b->piece && i < b->n_pieces; i++)
        if (b->piece[i]) clReleaseMemObject(b->piece[i]);
    if (b->counted) ledger_give(d, b->counted);
    free(b->piece);
    free(b);
}

/* Pieces of the buffer; host != NULL: filled from there. */
static ql_status create_pieces(ql_cl_buffer *b, const void *host) {
    ql_cl_device *d = b->d;
    uint64_t chunk = d->info.chunk, n = (b->base.size + chunk - 1) / chunk;
    b->piece = n <= INT32_MAX ? calloc((size_t)n, sizeof *b->piece) : NULL;
    if (!b->piece) return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for a buffer object");
    for (; b->n_pieces < (int)n; b->n_pieces++) {
        uint64_t from = (uint64_t)b->n_pieces * chunk, left = b->base.size - from;
        cl_mem_flags flags = CL_MEM_READ_WRITE | (host ? CL_MEM_COPY_HOST_PTR : 0);
        void *src = host ? (void *)((uintptr_t)host + from) : NULL;
        cl_int e;
        b->piece[b->n_pieces] =
            clCreateBuffer(d->context, flags, left < chunk ? left : chunk, src, &e);
        if (e == CL_SUCCESS) continue;
        return QL_FAIL(e == CL_OUT_OF_HOST_MEMORY ? QL_ERR_NOMEM_HOST : QL_ERR_NOMEM_DEV,
                       "opencl: '%s' refused %llu bytes (%s, %d): %llu bytes in use, the largest "
                       "single allocation is %llu",
                       d->base.props.name, (unsigned long long)b->base.size, ql_cl_error_name(e),
                       (int)e, (unsigned long long)(d->used - b->counted),
                       (unsigned long long)d->info.chunk);
    }
    return QL_OK;
}

static ql_status device_buffer(ql_cl_device *d, ql_mem mem, uint64_t size, const void *host,
                               ql_buffer **out) {
    QL_TRY(ql_cl_alive(d));
    QL_TRY(ledger_take(d, size));
    ql_cl_buffer *b = object(d, mem, size);
    if (!b) {
        ledger_give(d, size);
        return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for a buffer object");
    }
    b->counted = size;
    ql_status s = create_pieces(b, host);
    if (s != QL_OK) {
        ql_cl_buffer_free(&b->base);
        return s;
    }
    *out = &b->base;
    return QL_OK;
}

/* Memory that the driver has pinned, mapped for as long as it lives. NULL: it cannot. */
static void *pinned(ql_cl_buffer *b) {
    ql_cl_device *d = b->d;
    cl_int e;
    if (b->base.size > d->info.chunk) return NULL;
    b->piece = calloc(1, sizeof *b->piece);
    if (!b->piece) return NULL;
    b->piece[0] = clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
                                 b->base.size, NULL, &e);
    if (e != CL_SUCCESS) return NULL;
    b->n_pieces = 1;
    b->mapper = clCreateCommandQueue(d->context, d->id, 0, &e);
    void *host = NULL;
    if (e == CL_SUCCESS)
        host = clEnqueueMapBuffer(b->mapper, b->piece[0], CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                                  b->base.size, 0, NULL, NULL, &e);
    if (e == CL_SUCCESS) return host;
    if (b->mapper) clReleaseCommandQueue(b->mapper);
    b->mapper = NULL;
    clReleaseMemObject(b->piece[0]);
    b->n_pieces = 0;
    return NULL;
}

static ql_status host_buffer(ql_cl_device *d, uint64_t size, ql_buffer **out) {
    ql_cl_buffer *b = object(d, QL_MEM_HOST, size);
    if (b) b->base.host = pinned(b);
    if (b && !b->base.host && posix_memalign(&b->base.host, QL_CL_ALIGN, size) != 0)
        b->base.host = NULL;
    if (!b || !b->base.host) {
        if (b) free(b->piece);
        free(b);
        return QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no %llu bytes of host memory",
                       (unsigned long long)size);
    }
    pthread_mutex_lock(&d->lock);
    b->next_host = d->hosts;
    d->hosts = b;
    pthread_mutex_unlock(&d->lock);
    *out = &b->base;
    return QL_OK;
}

ql_status ql_cl_buffer_alloc(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out) {
    ql_cl_device *d = (ql_cl_device *)dev;
    if (mem != QL_MEM_DEVICE && mem != QL_MEM_HOST)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "opencl: memory kind %d cannot be allocated, only device (0) and host (1)",
                       (int)mem);
    if (size == 0 || size > dev->props.max_alloc)
        return QL_FAIL(QL_ERR_NOMEM_DEV, "opencl: a buffer has 1 to %llu bytes, asked for %llu",
                       (unsigned long long)dev->props.max_alloc, (unsigned long long)size);
    return mem == QL_MEM_HOST ? host_buffer(d, size, out) : device_buffer(d, mem, size, NULL, out);
}

/* A copy on the device: the caller's memory is only read, and only now. */
ql_status ql_cl_buffer_wrap(ql_device *dev, void *host, uint64_t size, ql_buffer **out) {
    if (!host || size == 0 || size > dev->props.max_alloc)
        return QL_FAIL(QL_ERR_INVALID, "opencl: cannot wrap %llu bytes at %p",
                       (unsigned long long)size, host);
    return device_buffer((ql_cl_device *)dev, QL_MEM_WRAPPED, size, host, out);
}
