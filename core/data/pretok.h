/*
 * pretok.h - the pre-tokenizer: a list of steps that cut a text into pre-tokens.
 *
 * Every named component of tokenizer.json is one or two of four steps; each step sees one piece of
 * the step before at a time, so a look-ahead ends at the piece.
 */
#ifndef QLORA_CORE_DATA_PRETOK_H
#define QLORA_CORE_DATA_PRETOK_H

#include "core/data/pattern.h"
#include "core/data/text.h"

typedef enum ql_pretok_kind {
    QL_PRETOK_SPLIT,  /* cut at the matches of a pattern                             */
    QL_PRETOK_PREFIX, /* put `text` in front of pieces that do not begin with it     */
    QL_PRETOK_SPACES, /* write every space as `text`                                 */
    QL_PRETOK_BYTES   /* write every byte as its character of the byte alphabet      */
} ql_pretok_kind;

typedef enum ql_split_behavior {
    QL_SPLIT_REMOVED,
    QL_SPLIT_ISOLATED,
    QL_SPLIT_MERGED_PREVIOUS,
    QL_SPLIT_MERGED_NEXT,
    QL_SPLIT_CONTIGUOUS
} ql_split_behavior;

typedef struct ql_pretok_step {
    ql_pretok_kind kind;
    ql_pattern *pattern;
    ql_split_behavior behavior;
    bool invert;     /* SPLIT: what lies between matches counts as matched  */
    bool first_only; /* PREFIX: only at the very beginning of the text      */
    ql_text text;
} ql_pretok_step;

typedef struct ql_pretok { /* zeroed = one piece */
    ql_pretok_step *steps;
    size_t n, cap;
} ql_pretok;

/* Adds a SPLIT step. */
QL_NODISCARD ql_status ql_pretok_add_split(ql_pretok *p, const char *pattern, size_t len,
                                           bool literal, ql_split_behavior behavior, bool invert,
                                           const char *what);
QL_NODISCARD ql_status ql_pretok_add(ql_pretok *p, ql_pretok_kind kind, const char *text,
                                     bool first_only);
/* Cuts text[0..len) into a; `b` is scratch. `at_start`: the text begins the whole input. */
QL_NODISCARD ql_status ql_pretok_run(const ql_pretok *p, ql_match_work *w, const char *text,
                                     size_t len, bool at_start, ql_pieces *a, ql_pieces *b);
void ql_pretok_free(ql_pretok *p);

#endif
