/*
 * walk.h - every row of a file, the good and the refused: what `qlora data` looks at.
 *
 * Where training stops at the first row that it refuses, a walk goes on and says what is wrong.
 */
#ifndef QLORA_CORE_DATA_WALK_H
#define QLORA_CORE_DATA_WALK_H

#include "core/data/dataset_internal.h"

/* A row; everything in it lives until the visitor returns. */
typedef struct ql_walk_row {
    int64_t row;               /* from 1                                               */
    const char *where;         /* "file: row 7"                                        */
    const json_t *object;      /* NULL = could not be parsed                           */
    const ql_row *texts;       /* NULL = refused before, or the format has none        */
    const ql_example *example; /* NULL = refused, or without a tokenizer               */
    ql_status status;
    ql_problem kind;     /* of a refusal                                         */
    const char *message; /* of a refusal, without `where`; otherwise ""          */
} ql_walk_row;

typedef struct ql_walk {
    const char *path;
    const ql_tokenizer *tok; /* NULL = texts are read, not tokenized */
    const ql_dataset_opts *o;
    ql_status (*visit)(void *user, const ql_walk_row *row);
    void *user;
    /* results */
    int64_t rows;
    ql_data_format format;
    char why[QL_WHY_MAX];
    bool enough; /* set by `visit`: no more rows are wanted */
} ql_walk;
/* Fails for what concerns the whole file, and when `visit` does. */
QL_NODISCARD ql_status ql_walk_file(ql_walk *w);

#endif
