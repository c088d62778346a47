/*
 * run_about.h - run.json: what a run is and how it is going: program, machine, model, and its
 * sessions (one per start of the program).
 */
#ifndef QLORA_TOOLS_RUN_ABOUT_H
#define QLORA_TOOLS_RUN_ABOUT_H

#include "tools/job.h"
#include "tools/run_dir.h"

typedef struct ql_run_about {
    const ql_run *run;
    json_t *doc;     /* owned */
    json_t *session; /* the last of doc's, borrowed */
} ql_run_about;

/* Writes run.json at the start of a session that continues after step `from` (0 = a new run, which
 * forgets earlier sessions). `name` NULL = the folder's. */
QL_NODISCARD ql_status ql_run_about_begin(const ql_run *run, const ql_cli *cli, const ql_job *job,
                                          const char *name, int64_t from, int64_t total,
                                          ql_run_about *out);
/* Where the session stands: "running", "complete", "stopped early", "stopped", "diverged" or
 * "failed". */
QL_NODISCARD ql_status ql_run_about_update(ql_run_about *a, const char *state, int64_t step,
                                           double seconds);
/* Hash of the result's weights: of `file` in the run's folder. */
QL_NODISCARD ql_status ql_run_about_result(ql_run_about *a, const char *file);
void ql_run_about_free(ql_run_about *a); /* a zeroed one is empty */

#endif /* QLORA_TOOLS_RUN_ABOUT_H */
