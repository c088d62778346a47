/*
 * buffer.c - memory of the CPU device.
 *
 * Every address is a host address. Buffers of 4 KiB and more are mappings of their own, so their
 * base is page aligned and may be write-protected; smaller ones are aligned to 64 bytes. The device
 * counts what it allocates against its limit; wrapped memory belongs to the caller and is not
 * counted.
 */
#define _GNU_SOURCE
#include "backends/cpu/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64, MAP_FROM = 4096 };

typedef struct cpu_buffer {
    ql_buffer base;
    ql_cpu_ledger *ledger; /* borrowed from the device, which closes last; NULL when wrapped */
    bool mapped;
} cpu_buffer;

static ql_status ledger_take(ql_cpu_ledger *l, uint64_t size) {
    pthread_mutex_lock(&l->lock);
    uint64_t used = l->used;
    bool fits = l->limit == 0 || (used <= l->limit && size <= l->limit - used);
    if (fits) l->used += size;
    pthread_mutex_unlock(&l->lock);
    if (fits) return QL_OK;
    return QL_FAIL(QL_ERR_NOMEM_DEV,
                   "cpu: a buffer of %llu bytes does not fit: limit %llu, in use %llu, free %llu",
                   (unsigned long long)size, (unsigned long long)l->limit, (unsigned long long)used,
                   (unsigned long long)(l->limit - used));
}

static void ledger_give(ql_cpu_ledger *l, uint64_t size) {
    pthread_mutex_lock(&l->lock);
    l->used -= size;
    pthread_mutex_unlock(&l->lock);
}

static void *memory_get(uint64_t size, bool *mapped) {
    void *p = NULL;
    *mapped = size >= MAP_FROM;
    if (*mapped) {
        p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    return posix_memalign(&p, ALIGN, (size_t)size) == 0 ? p : NULL;
}

ql_status ql_cpu_buffer_alloc(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out) {
    ql_cpu_ledger *ledger = ((ql_cpu_device *)dev)->ledger;
    if (mem != QL_MEM_DEVICE && mem != QL_MEM_HOST)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "cpu: memory kind %d cannot be allocated, only device "
                       "(0) and host (1) memory",
                       (int)mem);
    if (size == 0 || size > dev->props.max_alloc)
        return QL_FAIL(QL_ERR_NOMEM_DEV, "cpu: a buffer has 1 to %llu bytes, asked for %llu",
                       (unsigned long long)dev->props.max_alloc, (unsigned long long)size);
    QL_TRY(ledger_take(ledger, size));
    cpu_buffer *buf = calloc(1, sizeof *buf);
    bool mapped = false;
    void *host = buf ? memory_get(size, &mapped) : NULL;
    if (!host) {
        uint64_t free_now, total;
        free(buf);
        ledger_give(ledger, size);
        ql_cpuinfo_memory(&free_now, &total);
        return QL_FAIL(
            QL_ERR_NOMEM_DEV,
            "cpu: the system refused a buffer of %llu bytes: about %llu of %llu are free",
            (unsigned long long)size, (unsigned long long)free_now, (unsigned long long)total);
    }
    buf->base = (ql_buffer){.dev = dev, .size = size, .mem = mem, .host = host};
    buf->ledger = ledger;
    buf->mapped = mapped;
    *out = &buf->base;
    return QL_OK;
}

ql_status ql_cpu_buffer_wrap(ql_device *dev, void *host, uint64_t size, ql_buffer **out) {
    if (!host || size == 0 || size > dev->props.max_alloc)
        return QL_FAIL(QL_ERR_INVALID, "cpu: cannot wrap %llu bytes at %p",
                       (unsigned long long)size, host);
    cpu_buffer *buf = calloc(1, sizeof *buf);
    if (!buf) return QL_FAIL(QL_ERR_NOMEM_HOST, "cpu: out of host memory for a buffer object");
    buf->base = (ql_buffer){.dev = dev, .size = size, .mem = QL_MEM_WRAPPED, .host = host};
    *out = &buf->base;
    return QL_OK;
}

void ql_cpu_buffer_free(ql_buffer *base) {
    cpu_buffer *buf = (cpu_buffer *)base;
    if (!buf) return;
    if (buf->mapped)
        munmap(buf->base.host, (size_t)buf->base.size);
    else if (buf->ledger)
        free(buf->base.host);
    if (buf->ledger) ledger_give(buf->ledger, buf->base.size);
    free(buf);
}

/* Write-protects the whole pages of [off, off + len); the last page of a mapping belongs to it. */
static ql_status protect(cpu_buffer *buf, uint64_t off, uint64_t len) {
    long page = sysconf(_SC_PAGESIZE);
    if (!buf->mapped || page < 1) return QL_OK;
    uint64_t size = (uint64_t)page, end = off + len;
    uint64_t first = (off + size - 1) / size * size;
    uint64_t last = end == buf->base.size ? (end + size - 1) / size * size : end / size * size;
    if (first >= last) return QL_OK;
    if (mprotect((char *)buf->base.host + first, (size_t)(last - first), PROT_READ) != 0)
        return QL_FAIL(QL_ERR_DRIVER, "cpu: %llu bytes cannot be write-protected: %s",
                       (unsigned long long)(last - first), strerror(errno));
    return QL_OK;
}

ql_status ql_cpu_buffer_advise(ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what) {
    return what == QL_ADVISE_READ_ONLY ? protect((cpu_buffer *)buf, off, len) : QL_OK;
}
