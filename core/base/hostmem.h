/*
 * hostmem.h - host memory of core: counted, and made to fail on demand by tests.
 *
 * All small host memory of core comes from here. Sizes are multiplied with overflow checks.
 * An arena hands out memory that is released together.
 */
#ifndef QLORA_CORE_BASE_HOSTMEM_H
#define QLORA_CORE_BASE_HOSTMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

/* a * b with overflow check: QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_mul_size(uint64_t a, uint64_t b, uint64_t *out);
QL_NODISCARD ql_status ql_add_size(uint64_t a, uint64_t b, uint64_t *out);

/* NULL on failure, or when n * size overflows. Zero-filled. Free with ql_host_free. */
void *ql_host_calloc(size_t n, size_t size);
/* Grows like realloc; the old block is kept on failure. */
void *ql_host_realloc(void *p, size_t size);
char *ql_host_strdup(const char *s);
char *ql_host_strndup(const char *s, size_t n);
void ql_host_free(void *p); /* NULL ok */

/* Grows *items (element size `size`, capacity *cap) so that index `need - 1` exists; new items are
 * zeroed. */
QL_NODISCARD ql_status ql_host_grow(void **items, size_t *cap, size_t need, size_t size);

/* For tests: the n-th allocation from now fails (0 = never); live = allocations not freed. */
void ql_hostmem_fail_after(long n);
size_t ql_hostmem_live(void);

/* Bump arena: everything is freed by ql_arena_free. A zeroed ql_arena is empty and valid. */
typedef struct ql_arena {
    struct ql_arena_block *blocks;
    size_t used;
} ql_arena;
void *ql_arena_alloc(ql_arena *a, size_t n,
                     size_t size); /* zero-filled, 16-byte aligned, or NULL */
char *ql_arena_strndup(ql_arena *a, const char *s, size_t n);
void ql_arena_free(ql_arena *a);

#define QL_NOMEM(what) QL_FAIL(QL_ERR_NOMEM_HOST, "out of host memory for %s", (what))

#endif
