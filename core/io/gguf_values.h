/*
 * gguf_values.h - the key/value part of a GGUF file, as gguf.c reads it.
 *
 * A cursor walks the map and never leaves it; values point into the map (unaligned).
 */
#ifndef QLORA_CORE_IO_GGUF_VALUES_H
#define QLORA_CORE_IO_GGUF_VALUES_H

#include "core/base/hostmem.h"
#include "core/io/gguf.h"

typedef struct ql_gguf_cursor {
    const char *path; /* for messages */
    const uint8_t *data;
    uint64_t size, at;
} ql_gguf_cursor;

/* The next n bytes; QL_ERR_FORMAT names the position when the file ends before them. */
QL_NODISCARD ql_status ql_gguf_take(ql_gguf_cursor *c, uint64_t n, const uint8_t **out);
QL_NODISCARD ql_status ql_gguf_take_u32(ql_gguf_cursor *c, uint32_t *out);
QL_NODISCARD ql_status ql_gguf_take_u64(ql_gguf_cursor *c, uint64_t *out);
QL_NODISCARD ql_status ql_gguf_take_str(ql_gguf_cursor *c, ql_str *out);
/* A name: a string of 1..max bytes without NUL, copied NUL-terminated into the arena. */
QL_NODISCARD ql_status ql_gguf_take_name(ql_gguf_cursor *c, ql_arena *a, uint64_t max,
                                         const char **out);

typedef struct ql_gguf_value {
    const char *key;
    uint32_t type;        /* of the value, or of the elements of an array  */
    bool is_array;        /*                                               */
    uint64_t count;       /* elements; 1 for a single value                */
    const uint8_t *data;  /* fixed-size elements, one after the other      */
    const ql_str *string; /* strings: count of them; NULL for other types  */
} ql_gguf_value;

typedef struct ql_gguf_values {
    const char *path;      /* borrowed, for messages                        */
    ql_gguf_value *values; /* sorted by key                                 */
    uint64_t n;
} ql_gguf_values;

/* Reads n key/value pairs. Memory comes from the arena. */
QL_NODISCARD ql_status ql_gguf_read_values(ql_gguf_cursor *c, ql_arena *a, uint64_t n,
                                           ql_gguf_values *out);
/* The getters of gguf.h go through this. */
const ql_gguf_values *ql_gguf_all_values(const ql_gguf *g);

#endif
