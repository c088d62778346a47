/*
 * check.h - what is wrong with the rows of a file, row by row, and what the rows are together.
 *
 * One pass over the file; a row and 32 bytes for each earlier one are in memory, and 4 bytes for
 * its length.
 */
#ifndef QLORA_CORE_DATA_CHECK_H
#define QLORA_CORE_DATA_CHECK_H

#include "core/data/walk.h"

typedef struct ql_check_opts {
    const char *eval_path;         /* rows that must not be in the file; NULL = none   */
    bool ignore[QL_PROBLEM_COUNT]; /* kinds that are not looked for                    */
    int32_t stop[4], n_stop;       /* tokens that end an answer                        */
    ql_status (*problem)(void *user, int64_t row, ql_problem kind, const char *message);
    /* After the problems of the row; `n` how many they were. NULL = not wanted. */
    ql_status (*row)(void *user, const ql_walk_row *row, int64_t n);
    void *user;
} ql_check_opts;

typedef struct ql_check_report {
    int64_t rows, good; /* good: without a problem                          */
    int64_t problems[QL_PROBLEM_COUNT], n_problems;
    int64_t tokens, supervised; /* of the rows that became tokens                   */
    int32_t *lengths;           /* [n_lengths], owned: tokens of each such row      */
    int64_t n_lengths;
    ql_data_format format;
    char why[QL_WHY_MAX];
} ql_check_report;
void ql_check_report_free(ql_check_report *r);

/* Fails for what concerns the whole file, and when a callback does. */
QL_NODISCARD ql_status ql_check_file(const char *path, const ql_tokenizer *tok,
                                     const ql_dataset_opts *o, const ql_check_opts *c,
                                     ql_check_report *out);

#endif
