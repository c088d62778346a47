/*
 * hostmem.c - counted host memory and the bump arena.
 *
 * Counters are atomic: any thread may allocate and free. A request of zero bytes gives one byte,
 * so NULL always means failure.
 */
#include "core/base/hostmem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t live_blocks;
static atomic_long fail_countdown;

ql_status ql_mul_size(uint64_t a, uint64_t b, uint64_t *out) {
    if (b != 0 && a > UINT64_MAX / b) {
        return QL_FAIL(QL_ERR_INVALID, "size overflow: %llu x %llu does not fit in 64 bits",
                       (unsigned long long)a, (unsigned long long)b);
    }
    *out = a * b;
    return QL_OK;
}

ql_status ql_add_size(uint64_t a, uint64_t b, uint64_t *out) {
    if (a > UINT64_MAX - b) {
        return QL_FAIL(QL_ERR_INVALID, "size overflow: %llu + %llu does not fit in 64 bits",
                       (unsigned long long)a, (unsigned long long)b);
    }
    *out = a + b;
    return QL_OK;
}

void ql_hostmem_fail_after(long n) {
    atomic_store(&fail_countdown, n);
}

size_t ql_hostmem_live(void) {
    return atomic_load(&live_blocks);
}

/* True for exactly one allocation: the one that brings the countdown from 1 to 0. */
static bool must_fail(void) {
    long n = atomic_load(&fail_countdown);
    while (n > 0) {
        if (atomic_compare_exchange_weak(&fail_countdown, &n, n - 1)) return n == 1;
    }
    return false;
}

void *ql_host_calloc(size_t n, size_t size) {
    if (size != 0 && n > SIZE_MAX / size) return NULL;
    if (must_fail()) return NULL;
    size_t bytes = n * size;
    void *p = calloc(1, bytes ? bytes : 1);
    if (p) atomic_fetch_add(&live_blocks, 1);
    return p;
}

void *ql_host_realloc(void *p, size_t size) {
    if (must_fail()) return NULL;
    void *q = realloc(p, size ? size : 1);
    if (q && !p) atomic_fetch_add(&live_blocks, 1);
    return q;
}

char *ql_host_strndup(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *d = ql_host_calloc(n + 1, 1);
    if (d && n) memcpy(d, s, n);
    return d;
}

char *ql_host_strdup(const char *s) {
    return ql_host_strndup(s, strlen(s));
}

void ql_host_free(void *p) {
    if (!p) return;
    atomic_fetch_sub(&live_blocks, 1);
    free(p);
}

ql_status ql_host_grow(void **items, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return QL_OK;
    size_t want = *cap > SIZE_MAX / 2 ? need : *cap * 2;
    if (want < 16) want = 16;
    if (want < need) want = need;
    if (size != 0 && want > SIZE_MAX / size) {
        return QL_FAIL(QL_ERR_NOMEM_HOST, "out of host memory for %zu items of %zu bytes", want,
                       size);
    }
    char *p = ql_host_realloc(*items, want * size);
    if (!p) {
        return QL_FAIL(QL_ERR_NOMEM_HOST, "out of host memory for %zu items of %zu bytes", want,
                       size);
    }
    memset(p + *cap * size, 0, (want - *cap) * size);
    *items = p;
    *cap = want;
    return QL_OK;
}

/* ---------------------------------------------------------------------- arena
 * Blocks form a list, newest first; `used` counts bytes of the newest. A request that does not fit
 * opens a block of twice the last size, or of its own size when it is larger. */

#define ARENA_ALIGN       16u
#define ARENA_FIRST_BYTES 4096u
#define ARENA_MAX_BYTES   (1u << 20)

struct ql_arena_block {
    struct ql_arena_block *next;
    size_t size; /* bytes of data */
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void *ql_arena_alloc(ql_arena *a, size_t n, size_t size) {
    if (size != 0 && n > SIZE_MAX / size) return NULL;
    size_t bytes = n * size;
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (bytes == 0) bytes = ARENA_ALIGN;
    if (!a->blocks || a->blocks->size - a->used < bytes) {
        size_t want = a->blocks ? a->blocks->size * 2 : ARENA_FIRST_BYTES;
        if (want > ARENA_MAX_BYTES) want = ARENA_MAX_BYTES;
        if (want < bytes) want = bytes;
        struct ql_arena_block *b = ql_host_calloc(1, sizeof *b + want);
        if (!b) return NULL;
        b->size = want;
        b->next = a->blocks;
        a->blocks = b;
        a->used = 0;
    }
    void *p = a->blocks->data + a->used;
    a->used += bytes;
    return p;
}

char *ql_arena_strndup(ql_arena *a, const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *d = ql_arena_alloc(a, n + 1, 1);
    if (d && n) memcpy(d, s, n);
    return d;
}

void ql_arena_free(ql_arena *a) {
    struct ql_arena_block *b = a->blocks;
    while (b) {
        struct ql_arena_block *next = b->next;
        ql_host_free(b);
        b = next;
    }
    *a = (ql_arena){0};
}
