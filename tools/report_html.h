/*
 * report_html.h - the page of one run, or of several beside each other.
 *
 * report_html.c writes what both have (curves, tables of JSON), report_run.c the page of one run,
 * report_compare.c that of several.
 */
#ifndef QLORA_TOOLS_REPORT_HTML_H
#define QLORA_TOOLS_REPORT_HTML_H

#include "tools/html.h"
#include "tools/plot.h"
#include "tools/run_read.h"

#define QL_REPORT_MAX_RUNS QL_PLOT_COLOURS

/* Replaces the page `path`; n = 1 .. QL_REPORT_MAX_RUNS. */
QL_NODISCARD ql_status ql_report_write(const ql_run_data *const *runs, size_t n, const char *path);
/* Reads the run in `dir` and writes its page to dir/report.html. */
QL_NODISCARD ql_status ql_report_refresh(const char *dir);

/* ------------------------------------------------------------------- parts (internal) */

void ql_report_one(ql_html *h, const ql_run_data *r);
void ql_report_several(ql_html *h, const ql_run_data *const *runs, size_t n);

/* Curves of every number worth one, a colour per run (of one run: per kind). */
void ql_report_curves(ql_html *h, const ql_run_data *const *runs, size_t n);
/* The members of an object as names and values, inner ones as "outer.inner". */
void ql_report_pairs(ql_html *h, json_t *object);
/* A scalar as text: strings as they are, other values as JSON. */
typedef struct ql_report_cell {
    char s[256];
} ql_report_cell;
ql_report_cell ql_report_scalar(const json_t *v);
/* "1.214", "" when there is none; with `unit` behind it. */
ql_report_cell ql_report_number(double v, const char *unit);
ql_report_cell ql_report_bytes(double v);
ql_report_cell ql_report_time(double seconds);

#endif /* QLORA_TOOLS_REPORT_HTML_H */
