/*
 * report_to.h - what --report_to asks for beside train.jsonl: train.csv, and event files of
 * TensorBoard.
 *
 * After a resume train.csv holds each step once, as train.jsonl does; TensorBoard's readers are
 * told from which step on the older files are void.
 */
#ifndef QLORA_TOOLS_REPORT_TO_H
#define QLORA_TOOLS_REPORT_TO_H

#include "tools/events.h"
#include "tools/run_dir.h"

typedef struct ql_report_to {
    ql_appender *csv;  /* NULL = not wanted */
    ql_events *events; /* NULL = not wanted */
} ql_report_to;

/* Is `list` a list of jsonl, csv and tensorboard, or none or all? */
QL_NODISCARD ql_status ql_report_to_check(const char *list);
/* After ql_run_log_open, which kept the lines of steps up to `keep`. */
QL_NODISCARD ql_status ql_report_to_open(const ql_run *run, const char *list, int64_t keep,
                                         ql_report_to *out);
/* One line of train.jsonl. */
QL_NODISCARD ql_status ql_report_to_line(ql_report_to *r, json_t *line);
/* A text that the model wrote at `step`: for TensorBoard. */
QL_NODISCARD ql_status ql_report_to_text(ql_report_to *r, const char *tag, int64_t step,
                                         const char *text);
void ql_report_to_close(ql_report_to *r); /* a zeroed one is closed */

#endif /* QLORA_TOOLS_REPORT_TO_H */
