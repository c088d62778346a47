/*
 * check_text.h - what the texts of a row must not hold: control marks of templates, characters that
 * are damage, the question as the answer, turns out of order.
 */
#ifndef QLORA_CORE_DATA_CHECK_TEXT_H
#define QLORA_CORE_DATA_CHECK_TEXT_H

#include "core/data/walk.h"

/* Marks that a text must not hold. Those of well-known templates are always in it. */
typedef struct ql_marks {
    const char **texts; /* borrowed from the tokenizer and constants */
    size_t n, cap;
    bool first[256]; /* bytes that begin some mark */
} ql_marks;
QL_NODISCARD ql_status ql_marks_collect(const ql_tokenizer *tok, ql_marks *out); /* tok NULL ok */
void ql_marks_free(ql_marks *m);

/* The user's own texts of a row, without what a format or template writes around them. */
typedef struct ql_text_part {
    const char *key, *text;
    size_t len;
} ql_text_part;
#define QL_MOST_PARTS 512 /* of a row; the texts behind are not looked at */
size_t ql_row_parts(const ql_walk_row *row, ql_data_format format, ql_text_part *parts);

/* Each writes a sentence into out[size] and returns true when something is wrong. */
bool ql_check_marks(const ql_marks *m, ql_data_format format, const ql_template *chat,
                    const ql_text_part *part, char *out, size_t size);
bool ql_check_encoding(const ql_text_part *part, char *out, size_t size);
bool ql_check_turns(const ql_row *row, char *out, size_t size);
bool ql_check_echo(const ql_row *row, ql_data_format format, const json_t *object, char *out,
                   size_t size);
bool ql_check_prompt(const ql_row *row, ql_data_format format, const json_t *object, char *out,
                     size_t size);

#endif
