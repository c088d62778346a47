/*
 * pattern.h - regular expressions of tokenizer.json over PCRE2.
 *
 * The patterns are written for Oniguruma (Ruby syntax). What both engines read alike is compiled,
 * \s \w \d \b are spelled out as the Unicode sets that Oniguruma means, and the rest is refused by
 * name. Matching is bounded: a pattern that backtracks too much is an error, not a hang.
 */
#ifndef QLORA_CORE_DATA_PATTERN_H
#define QLORA_CORE_DATA_PATTERN_H

#include "core/data/text.h"

/* Unicode's Alphabetic and marks, to stand inside brackets; \p{Alphabetic} needs PCRE2 10.40. */
#define QL_PATTERN_LETTERS                                                                         \
    "\\p{L}\\p{M}\\p{Nl}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}"             \
    "\\x{1F170}-\\x{1F189}"

typedef struct ql_pattern ql_pattern; /* immutable, shared between threads */

/* A regular expression that never matches nothing, or with `literal` the text itself. `what` names
 * the file in messages. */
QL_NODISCARD ql_status ql_pattern_compile(const char *s, size_t n, bool literal, const char *what,
                                          ql_pattern **out);
void ql_pattern_free(ql_pattern *p);

/* Scratch of one thread; zeroed = empty. */
typedef struct ql_match_work {
    void *data, *context, *stack;
} ql_match_work;
void ql_match_free(ql_match_work *w);

/* First match in text[from..len), never empty; `found` says whether there is one. */
QL_NODISCARD ql_status ql_pattern_find(const ql_pattern *p, ql_match_work *w, const char *text,
                                       size_t len, size_t from, ql_span *match, bool *found);
/* Appends text with every match replaced by `with`; *first (NULL ok) is the first match, empty
 * when there is none. */
QL_NODISCARD ql_status ql_pattern_replace(const ql_pattern *p, ql_match_work *w, const char *text,
                                          size_t len, const ql_text *with, ql_text *out,
                                          ql_span *first);

#endif
