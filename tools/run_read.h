/*
 * run_read.h - the folder of a run read back, for reports: its numbers over steps, settings,
 * samples, and what run.json, plan.json and data.json say.
 */
#ifndef QLORA_TOOLS_RUN_READ_H
#define QLORA_TOOLS_RUN_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

/* One number of train.jsonl over the steps that have it; null is NaN. */
typedef struct ql_column {
    char name[48];
    double *step, *value; /* [n] */
    size_t n, cap_step, cap_value;
} ql_column;

#define QL_RUN_MAX_COLUMNS 64

typedef struct ql_run_data {
    char *dir, *name; /* owned */
    ql_column columns[QL_RUN_MAX_COLUMNS];
    size_t n_columns;
    int64_t skipped;             /* logged steps without finite gradients     */
    json_t *warnings;            /* of lines with "warning": {"step", "text"} */
    json_t *about, *plan, *data; /* objects; NULL = the file is not there    */
    json_t *settings;            /* of config.yaml: name to text              */
    json_t *samples;             /* lines of samples.jsonl                    */
} ql_run_data;

/* `dir` must hold a train.jsonl: QL_ERR_NOT_FOUND otherwise. A last line that is cut off (a run
 * that is being written) is passed over. */
QL_NODISCARD ql_status ql_run_read(const char *dir, ql_run_data *out);
void ql_run_data_free(ql_run_data *r);

/* NULL = no line has it. */
const ql_column *ql_run_column(const ql_run_data *r, const char *name);
/* The newest value; NaN = none. */
double ql_run_last(const ql_run_data *r, const char *name);
double ql_run_first(const ql_run_data *r, const char *name);
/* The middle of the sorted values that are finite; NaN = none. */
double ql_run_median(const ql_run_data *r, const char *name);
/* Sum of the finite values. */
double ql_run_sum(const ql_run_data *r, const char *name);
/* The smallest finite value and its step; false = none. */
bool ql_run_smallest(const ql_run_data *r, const char *name, double *value, double *step);
/* Seconds of all sessions; NaN = unknown. */
double ql_run_seconds(const ql_run_data *r);

#endif /* QLORA_TOOLS_RUN_READ_H */
