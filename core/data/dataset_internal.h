/*
 * dataset_internal.h - what the files of the dataset reader share.
 *
 * A row becomes a ql_row (borrowed strings of its JSON document), the row becomes an example.
 */
#ifndef QLORA_CORE_DATA_DATASET_INTERNAL_H
#define QLORA_CORE_DATA_DATASET_INTERNAL_H

#include <jansson.h>

#include "core/data/dataset.h"
#include "core/data/problem.h"

#define QL_WHERE_MAX 512

/* Rows of a file, one after another. */
typedef struct ql_row_list {
    const char *name;         /* of the file, in messages                            */
    int64_t row;              /* the present one, from 1                             */
    char where[QL_WHERE_MAX]; /* "file: row 7"; a long path keeps its end            */
    ql_status (*visit)(void *user, const json_t *row);
    void *user;
    bool enough; /* set by `visit`: no more rows are wanted             */
    /* Told of a row that cannot be parsed, instead of failing; NULL = fail. */
    ql_status (*refused)(void *user, ql_status s);
    bool numbers; /* tables: labels that are numbers become numbers; GLUE's headers are known */
} ql_row_list;
/* Calls `visit` for every row of JSON lines, a JSON array, a .csv or a .tsv. */
QL_NODISCARD ql_status ql_rows_read(ql_row_list *r, const char *text, size_t len);
/* Begins the next row: counts it and names it. `line` 0 = there are no lines. */
void ql_rows_next(ql_row_list *r, int64_t line);
bool ql_text_is_blank(const char *s, size_t len);
bool ql_text_ends_with(const char *s, const char *end);
/* The rows of a .csv or .tsv as objects of strings (dataset_table.c). */
QL_NODISCARD ql_status ql_table_read(ql_row_list *r, const char *text, size_t len, char separator);
/* Hands a row that could not be parsed to `refused`. */
QL_NODISCARD ql_status ql_rows_refuse(ql_row_list *r, ql_status s);
/* Steps over a byte order mark. */
void ql_text_skip_mark(const char **text, size_t *len);

/* A row read from JSON. Either messages, or a plain pair. */
typedef struct ql_row {
    const ql_message *messages; /* NULL = plain                                        */
    size_t n_messages;
    const json_t *tools, *documents; /* of the conversation; NULL = none                  */
    const char *source, *target;     /* plain; source NULL = the row is one text, all learned */
    size_t source_len, target_len;
} ql_row;

/* Memory of the row being read; reused from row to row. Zeroed = empty. */
typedef struct ql_row_memory {
    ql_message *messages;
    size_t cap;
    char *text; /* the Alpaca prompt */
} ql_row_memory;
void ql_row_memory_free(ql_row_memory *m);

/* Makes m->text a block of `size` zeros. */
QL_NODISCARD ql_status ql_row_buffer(ql_row_memory *m, size_t size);

/* Format of an object by its keys; unknown shapes are explained. `where` names file and row. `why`
 * (NULL ok) gets what decided and what else it could be. */
QL_NODISCARD ql_status ql_row_detect(const json_t *row, const char *where, ql_task task,
                                     ql_data_format *out, char *why, size_t size);
QL_NODISCARD ql_status ql_no_object(const char *where);
/* Strings of *out live in `row` and `m`. */
QL_NODISCARD ql_status ql_row_read(const json_t *row, const char *where, ql_data_format format,
                                   const ql_dataset_opts *o, ql_row_memory *m, ql_row *out);

/* The formats of dataset_pairs.c and dataset_tree.c. */
QL_NODISCARD ql_status ql_row_read_pair(const json_t *row, const char *where, ql_data_format format,
                                        const ql_dataset_opts *o, ql_row_memory *m, ql_row *out);
QL_NODISCARD ql_status ql_row_read_oasst1(const json_t *row, const char *where,
                                          const ql_dataset_opts *o, ql_row_memory *m, ql_row *out);
/* Parts of readers: a source and an answer; one text, all learned; a pair as two turns; an answer
 * of more than white space. */
QL_NODISCARD ql_status ql_row_pair(const json_t *row, const char *where, const char *source_key,
                                   const char *target_key, ql_row *out);
QL_NODISCARD ql_status ql_row_all(const json_t *row, const char *where, const char *key,
                                  ql_row *out);
QL_NODISCARD ql_status ql_row_turns(ql_row_memory *m, ql_row *out);
QL_NODISCARD ql_status ql_row_add_message(ql_row_memory *m, ql_row *out, const ql_message *message);
QL_NODISCARD ql_status ql_row_need_answer(const char *where, const char *key, const char *text,
                                          size_t len);

/* A row of a known format to an example of the task; *texts (NULL ok) gets what was read where the
 * format has texts, and lives as long as `row` and `m`. */
QL_NODISCARD ql_status ql_example_make(const ql_tokenizer *tok, const json_t *row,
                                       const char *where, ql_data_format format,
                                       const ql_dataset_opts *o, ql_row_memory *m, ql_row *texts,
                                       ql_example *out);
/* What a format, a task and options promise must fit. `name` is the file's. */
QL_NODISCARD ql_status ql_dataset_opts_check(const char *name, const ql_dataset_opts *o);
/* Is the file one text, not rows? */
bool ql_dataset_is_text(const char *name, const ql_dataset_opts *o);
/* A row to an example: tokenized, cut, checked. */
QL_NODISCARD ql_status ql_example_from_row(const ql_tokenizer *tok, const ql_row *row,
                                           const char *where, const ql_dataset_opts *o,
                                           ql_example *out);
/* A source and a target to two token streams. */
QL_NODISCARD ql_status ql_example_seq2seq(const ql_tokenizer *tok, const ql_row *row,
                                          const char *where, const ql_dataset_opts *o,
                                          ql_example *out);
/* {"input_ids", "labels"}: source and target. */
QL_NODISCARD ql_status ql_example_seq2seq_tokens(const json_t *row, const char *where,
                                                 const ql_dataset_opts *o, ql_example *out);
/* A text, a pair of texts or, with `tokens`, ids with a class or a number. */
QL_NODISCARD ql_status ql_example_classified(const ql_tokenizer *tok, const json_t *row,
                                             const char *where, bool tokens,
                                             const ql_dataset_opts *o, ql_example *out);
/* {"input_ids", "labels"?} to an example. */
QL_NODISCARD ql_status ql_example_from_tokens(const json_t *row, const char *where,
                                              const ql_dataset_opts *o, ql_example *out);
/* n ids and labels that are complete. */
typedef struct ql_labelled {
    const int32_t *ids, *labels;
    const float *weights; /* of the labels in the loss; NULL = all 1 */
    size_t n;
    bool keep_first; /* the first id stays when the left end is cut */
} ql_labelled;
/* Applies max_len, counts, refuses rows that teach nothing. */
QL_NODISCARD ql_status ql_example_finish(const char *where, const ql_labelled *t,
                                         const ql_dataset_opts *o, ql_example *out);
/* Small parts. */
QL_NODISCARD ql_status ql_check_vocab(const char *where, const int32_t *ids, size_t n, bool labels,
                                      int32_t vocab);
/* A list of ids; `lowest` = QL_IGNORE admits ignored labels. */
QL_NODISCARD ql_status ql_row_ids(const json_t *row, const char *where, const char *key,
                                  int32_t lowest, ql_ids *out);
QL_NODISCARD ql_status ql_row_string(const json_t *row, const char *where, const char *key,
                                     const char **out, size_t *len);
/* Adds file and row in front of a message that does not have them yet. */
QL_NODISCARD ql_status ql_name_row(ql_status s, const char *where);
/* A row longer than max_len that may not be cut. */
QL_NODISCARD ql_status ql_too_long(const char *where, size_t n, size_t limit);
/* The texts of a classified row; *b NULL = one. */
QL_NODISCARD ql_status ql_row_texts(const json_t *row, const char *where, const char **a,
                                    size_t *a_len, const char **b, size_t *b_len);
/* The answer of a classified row: a name, a number or a truth value. */
typedef struct ql_row_label {
    const char *name; /* NULL = a number */
    double number;
} ql_row_label;
QL_NODISCARD ql_status ql_row_label_read(const json_t *row, const char *where, ql_row_label *out);

#endif
