/*
 * normalize.h - the normalizer of a tokenizer: a list of rewriting steps.
 */
#ifndef QLORA_CORE_DATA_NORMALIZE_H
#define QLORA_CORE_DATA_NORMALIZE_H

#include "core/data/charsmap.h"
#include "core/data/pattern.h"
#include "core/data/text.h"
#include "core/data/uniset.h"

typedef enum ql_normalize_kind {
    QL_NORMALIZE_PREPEND,   /* text in front, unless there is nothing */
    QL_NORMALIZE_REPLACE,   /* every match of pattern becomes text    */
    QL_NORMALIZE_UNICODE,   /* utf8proc options in `form`             */
    QL_NORMALIZE_LOWERCASE, /* character by character                 */
    QL_NORMALIZE_STRIP,     /* white space at the left and right end  */
    QL_NORMALIZE_DROP,      /* no characters of `set`                 */
    QL_NORMALIZE_CLEAN,     /* BERT: no control, one kind of space    */
    QL_NORMALIZE_SPACE_CJK, /* BERT: a space on both sides of each    */
    QL_NORMALIZE_NMT,       /* no control, one kind of space          */
    QL_NORMALIZE_CHARSMAP   /* SentencePiece's `map`                  */
} ql_normalize_kind;

typedef struct ql_normalize_step {
    ql_normalize_kind kind;
    ql_text text;
    ql_pattern *pattern;
    int form;
    bool left, right;
    ql_uniset set;
    ql_charsmap *map;
} ql_normalize_step;

typedef struct ql_normalizer { /* zeroed = changes nothing */
    ql_normalize_step *steps;
    size_t n, cap;
} ql_normalizer;

int ql_normalize_form(const char *name); /* "NFC" ...; 0 = not a form */
/* Rewrites text[0..len) into a->text; `b` is scratch. *kept_start becomes false when a step dropped
 * the beginning, so that the result does not begin where the text does. */
QL_NODISCARD ql_status ql_normalize(const ql_normalizer *z, ql_match_work *w, const char *text,
                                    size_t len, ql_text *a, ql_text *b, bool *kept_start);
void ql_normalizer_free(ql_normalizer *z);

#endif
