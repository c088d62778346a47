/*
 * text.h - growable byte strings, lists of pieces of one, and UTF-8.
 *
 * Text inside the tokenizer is valid UTF-8 with an explicit length; it may hold NULs.
 */
#ifndef QLORA_CORE_DATA_TEXT_H
#define QLORA_CORE_DATA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

#define QL_TEXT_MAX_BYTES ((size_t)INT32_MAX) /* positions fit in 32 bits */

typedef struct ql_text { /* zeroed = empty */
    char *s;
    size_t n, cap;
} ql_text;
QL_NODISCARD ql_status ql_text_append(ql_text *t, const char *s, size_t n);
QL_NODISCARD ql_status ql_text_append_code(ql_text *t, int32_t code);
/* Appends s with every ill-formed sequence replaced by U+FFFD (one per maximal prefix of a
 * well-formed sequence, as the Unicode standard recommends). */
QL_NODISCARD ql_status ql_text_append_lossy(ql_text *t, const char *s, size_t n);
void ql_text_free(ql_text *t);

/* Bytes [begin, end) of a text. */
typedef struct ql_span {
    size_t begin, end;
} ql_span;

/* A text cut into pieces. Pieces are in order and do not overlap. */
typedef struct ql_pieces {
    ql_text text;
    ql_span *v;
    size_t n, cap;
} ql_pieces;
QL_NODISCARD ql_status ql_pieces_push(ql_pieces *p, size_t begin, size_t end);
void ql_pieces_clear(ql_pieces *p); /* keeps the memory */
void ql_pieces_free(ql_pieces *p);

/* Length of the well-formed sequence at s (1 to 4) and its code point; 0 = ill-formed or n == 0. */
size_t ql_utf8_decode(const char *s, size_t n, int32_t *code);
size_t ql_utf8_encode(int32_t code, char out[4]);
/* Length of the longest well-formed prefix of s. */
size_t ql_utf8_valid(const char *s, size_t n);

bool ql_code_is_space(int32_t code); /* Unicode White_Space */
bool ql_code_is_word(int32_t code);  /* letters, marks, decimal digits, connectors */

#endif
