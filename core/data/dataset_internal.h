/*
 * dataset_internal.h - what the files of the dataset reader share.
 *
 * A row becomes a ql_row (borrowed strings of its JSON document), the row becomes an example.
 */
#ifndef QLORA_CORE_DATA_DATASET_INTERNAL_H
#define QLORA_CORE_DATA_DATASET_INTERNAL_H

#include <jansson.h>

#include "core/data/dataset.h"

/* A row read from JSON. Either messages, or a plain pair. */
typedef struct ql_row {
    const ql_message *messages; /* NULL = plain                                        */
    size_t n_messages;
    const char *source, *target; /* plain; source NULL = the row is one text, all learned */
    size_t source_len, target_len;
} ql_row;

/* Memory of the row being read; reused from row to row. Zeroed = empty. */
typedef struct ql_row_memory {
    ql_message *messages;
    size_t cap;
    char *text; /* the Alpaca prompt */
} ql_row_memory;
void ql_row_memory_free(ql_row_memory *m);

/* Format of an object by its keys; unknown shapes are explained. `where` names file and row. */
QL_NODISCARD ql_status ql_row_detect(const json_t *row, const char *where, ql_data_format *out);
/* Strings of *out live in `row` and `m`. */
QL_NODISCARD ql_status ql_row_read(const json_t *row, const char *where, ql_data_format format,
                                   const ql_dataset_opts *o, ql_row_memory *m, ql_row *out);

/* A row to an example: tokenized, cut, checked. */
QL_NODISCARD ql_status ql_example_from_row(const ql_tokenizer *tok, const ql_row *row,
                                           const char *where, const ql_dataset_opts *o,
                                           ql_example *out);
/* {"input_ids", "labels"?} to an example. */
QL_NODISCARD ql_status ql_example_from_tokens(const json_t *row, const char *where,
                                              const ql_dataset_opts *o, ql_example *out);
/* Takes n ids and labels that are complete: applies max_len, counts, refuses rows that teach
 * nothing. */
QL_NODISCARD ql_status ql_example_finish(const char *where, const int32_t *ids,
                                         const int32_t *labels, size_t n, bool keep_first,
                                         const ql_dataset_opts *o, ql_example *out);

#endif
