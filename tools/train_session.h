/*
 * train_session.h - one `qlora train` between its files: cmd_train.c begins and ends it,
 * train_steps.c runs its steps, train_measure.c evaluates and logs.
 */
#ifndef QLORA_TOOLS_TRAIN_SESSION_H
#define QLORA_TOOLS_TRAIN_SESSION_H

#include "tools/best.h"
#include "tools/job.h"
#include "tools/report_to.h"
#include "tools/run_about.h"
#include "tools/spikes.h"
#include "tools/train_base.h"
#include "tools/watch.h"
#include "tools/watch_args.h"

typedef struct ql_train_args_all {
    ql_job_args job;
    ql_watch_args watch;
    const char *output_dir, *resume, *save_dtype, *dump_tape;
    int64_t save_steps, save_total_limit;
    bool dry_run;
} ql_train_args_all;

typedef struct ql_session {
    ql_cli *cli;
    const ql_train_args_all *o;
    ql_job job;
    ql_train_base base; /* of an adapter that changes it */
    ql_run run;
    ql_report_to report_to;
    ql_run_about about;
    ql_trainer *trainer;
    ql_watch watch;
    ql_scores scores;  /* of the last evaluation; no plain decoder           */
    ql_best_rule rule; /* which evaluation is the best, when to give up      */
    ql_best best;
    ql_spikes spikes;  /* what loss is usual                                  */
    char warning[640]; /* about the last step; "" = nothing                   */
    ql_step_metrics last;
    char resumed[QL_PATH_MAX]; /* the checkpoint that was continued, "" = none */
    int skipped;               /* steps in a row without a finite gradient     */
    int64_t saved_at;          /* step of the newest checkpoint, -1 = none     */
    int64_t done;              /* steps of the run, at its end                 */
    const char *result;        /* "adapter" or "model"                         */
} ql_session;

/* ------------------------------------------------------------------ train_measure.c */

/* Does the task have scores beside the loss? */
bool ql_session_has_scores(const ql_session *s);
/* Is --metric_for_best_model one that this task has? */
QL_NODISCARD ql_status ql_session_check_metric(const ql_session *s);
/* Evaluates with the present values. */
QL_NODISCARD ql_status ql_session_evaluate(ql_session *s);
/* Looks at a step that was just made: what stands out is said, and in s->warning. */
void ql_session_inspect(ql_session *s, const ql_step_metrics *m);
/* "rows 3, 17, 29 and 5 more of data.jsonl": those of the last step. */
typedef struct ql_rows_text {
    char s[320];
} ql_rows_text;
ql_rows_text ql_session_rows(const ql_session *s);
/* Logs a step, `with_eval` with the evaluation just made; then *best says whether it is the best so
 * far. */
QL_NODISCARD ql_status ql_session_log(ql_session *s, const ql_step_metrics *m, bool with_eval,
                                      bool *best);
json_t *ql_real_or_null(double x);

/* ------------------------------------------------------------------- train_samples.c */

/* Writes what the model writes now to samples.jsonl, once per step; nothing without samples. */
QL_NODISCARD ql_status ql_session_sample(ql_session *s);

/* -------------------------------------------------------------------- train_steps.c */

/* Every step that is left, with evaluations and checkpoints; stops early by signal or patience. */
QL_NODISCARD ql_exit ql_session_run(ql_session *s);
/* run.json and report.html as the run stands; a failure is a warning: it must not end a run. */
void ql_session_report(ql_session *s, const char *state);
/* Has the patience of --early_stopping_patience run out? */
bool ql_session_gives_up(const ql_session *s);
/* The link `best`, after a checkpoint or a resume. */
QL_NODISCARD ql_status ql_session_link_best(ql_session *s);

#endif /* QLORA_TOOLS_TRAIN_SESSION_H */
