/*
 * vocab.h - the pieces of a vocabulary: id to bytes and bytes to id.
 *
 * A piece has one id and an id has one piece; a file that says otherwise is refused.
 */
#ifndef QLORA_CORE_DATA_VOCAB_H
#define QLORA_CORE_DATA_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/hostmem.h"
#include "qlora/status.h"

#define QL_VOCAB_MAX (1 << 22) /* ids are below this; the largest vocabularies have 2^18 pieces */

typedef struct ql_piece {
    const char *s; /* NUL-terminated copy; NULL = no such id */
    uint32_t len;
    bool special;        /* dropped by a decoder that skips special tokens */
    bool lstrip, rstrip; /* an added token that takes the white space on that side */
    bool added;          /* found in the text before anything else         */
    bool outside;        /* an added token that the model does not know    */
} ql_piece;

typedef struct ql_vocab { /* zeroed = empty */
    ql_arena arena;
    ql_piece *pieces;
    size_t n, cap;   /* n = largest id + 1 */
    uint32_t *slots; /* id + 1 by hash of the bytes, 0 = free; a power of two of them */
    size_t n_slots;
    size_t n_pieces;
    uint32_t longest; /* bytes of the longest piece */
} ql_vocab;

/* Adds a piece; the same piece with the same id again is fine. `what` names the file. */
QL_NODISCARD ql_status ql_vocab_add(ql_vocab *v, const char *s, size_t len, int64_t id,
                                    const char *what);
int32_t ql_vocab_find(const ql_vocab *v, const char *s, size_t len); /* -1 = not there */
/* The same among the pieces of the model: not those that are only added tokens. */
int32_t ql_vocab_find_model(const ql_vocab *v, const char *s, size_t len);
/* Ids of the pieces "<0x00>" to "<0xFF>"; -1 = none. */
void ql_vocab_find_bytes(const ql_vocab *v, int32_t ids[256]);
void ql_vocab_free(ql_vocab *v);

#endif
