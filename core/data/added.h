/*
 * added.h - added tokens: texts that become one id wherever they stand.
 *
 * The longest match at the leftmost place wins. Two sets exist in a tokenizer: one looks at the raw
 * text, the other at normalized text.
 */
#ifndef QLORA_CORE_DATA_ADDED_H
#define QLORA_CORE_DATA_ADDED_H

#include "core/data/text.h"

#define QL_ADDED_MAX_BYTES 1024u

typedef struct ql_added {
    ql_text content;
    int32_t id;
    bool special;        /* only recognised when the caller parses special tokens  */
    bool single_word;    /* only between characters that are not part of a word    */
    bool lstrip, rstrip; /* takes the white space on that side too                 */
} ql_added;

typedef struct ql_added_set { /* zeroed = empty */
    ql_added *v;              /* sorted bytewise after ql_added_finish */
    size_t n, cap;
    size_t first[257]; /* v[first[b]] to v[first[b + 1] - 1] begin with byte b */
} ql_added_set;

/* Takes over token->content on success. It is not empty. */
QL_NODISCARD ql_status ql_added_push(ql_added_set *set, ql_added *token);
/* Sorts the set; of tokens with equal content the smallest id stays. */
void ql_added_finish(ql_added_set *set);
void ql_added_free(ql_added_set *set);

/* Walks over a text. After each ql_added_next that returns true, `gap` is the text before the token
 * and `token` the token; after the one that returns false, `gap` is the rest. */
typedef struct ql_added_walk {
    const ql_added_set *set;
    const char *text;
    size_t len;
    bool parse_special;
    size_t scan, done; /* where to search on, where the next gap begins: start with 0 */
    ql_span gap;
    const ql_added *token;
} ql_added_walk;
bool ql_added_next(ql_added_walk *w);

#endif
