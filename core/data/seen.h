/* seen.h - digests of rows and the row that had one first: duplicates and overlap of large sets. */
#ifndef QLORA_CORE_DATA_SEEN_H
#define QLORA_CORE_DATA_SEEN_H

#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

/* 128 bits: rows are equal when these are. */
typedef struct ql_row_digest {
    uint64_t lo, hi;
} ql_row_digest;

typedef struct ql_seen_slot {
    ql_row_digest digest;
    int64_t row; /* 0 = free */
    int32_t note;
} ql_seen_slot;

/* A hash table, 32 bytes a slot, at most three quarters full. Zeroed = empty. */
typedef struct ql_seen {
    ql_seen_slot *slots;
    size_t cap, n;
} ql_seen;

void ql_seen_free(ql_seen *s);
/* The slot of an equal digest; NULL = none. */
const ql_seen_slot *ql_seen_find(const ql_seen *s, ql_row_digest d);
/* Keeps (row, note) unless the digest is there already; row >= 1. */
QL_NODISCARD ql_status ql_seen_add(ql_seen *s, ql_row_digest d, int64_t row, int32_t note);

#endif
