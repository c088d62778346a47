/*
 * decode.h - the decoder: a list of steps from the pieces of ids to text.
 */
#ifndef QLORA_CORE_DATA_DECODE_H
#define QLORA_CORE_DATA_DECODE_H

#include "core/data/pattern.h"
#include "core/data/text.h"

typedef enum ql_decode_kind {
    QL_DECODE_REPLACE,       /* every match of pattern becomes text                         */
    QL_DECODE_BYTE_FALLBACK, /* runs of pieces "<0x41>" become the characters they spell    */
    QL_DECODE_FUSE,          /* all pieces become one                                       */
    QL_DECODE_STRIP,         /* up to `start` / `stop` copies of text at the ends of pieces */
    QL_DECODE_BYTE_LEVEL,    /* byte alphabet back to bytes, all pieces become one          */
    QL_DECODE_METASPACE,     /* text becomes a space; none in the first piece if start != 0 */
    QL_DECODE_WORDPIECE      /* pieces but the first: `text` goes, or a space comes before  */
} ql_decode_kind;

typedef struct ql_decode_step {
    ql_decode_kind kind;
    ql_pattern *pattern;
    ql_text text;
    size_t start, stop;
    bool cleanup; /* WORDPIECE: no space before punctuation and English contractions */
} ql_decode_step;

typedef struct ql_decoder { /* zeroed = pieces joined by spaces */
    ql_decode_step *steps;
    size_t n, cap;
} ql_decoder;

/* Appends a step of this kind with `text` (may be ""), to be filled in by the caller. */
QL_NODISCARD ql_status ql_decoder_add(ql_decoder *d, ql_decode_kind kind, const char *text,
                                      size_t len, ql_decode_step **out);
/* Rewrites *pieces step by step and appends the text to *out. */
QL_NODISCARD ql_status ql_decoder_run(const ql_decoder *d, ql_pieces *pieces, ql_text *out);
void ql_decoder_free(ql_decoder *d);

#endif
