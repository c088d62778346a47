/*
 * run_dir.h - the folder of a training run: settings, plan, log, checkpoints, adapter, `completed`.
 *
 * One process at a time: the folder is locked while a run is open (.lock). The log (train.jsonl)
 * grows by one line per logged step; after a resume the lines behind the checkpoint are dropped, so
 * that each step stands there once. Everything else is replaced whole.
 */
#ifndef QLORA_TOOLS_RUN_DIR_H
#define QLORA_TOOLS_RUN_DIR_H

#include "core/base/fs.h"
#include "core/base/lock.h"
#include "tools/cli.h"

typedef struct ql_run {
    char dir[QL_PATH_MAX];
    ql_appender *log; /* NULL before ql_run_log_open */
    ql_lock *lock;
} ql_run;

/* Creates the folder (`dir` NULL = "runs/<time>", a new one), locks it, and removes what a killed
 * run left half done. */
QL_NODISCARD ql_status ql_run_open(const char *dir, ql_run *out);
/* Before something is saved: when the folder has been moved or removed, a new one takes its place,
 * with a warning on `notes`, rather than that work is lost. */
QL_NODISCARD ql_status ql_run_keep_open(ql_run *r, ql_out *notes);
void ql_run_close(ql_run *r);
/* dir/name into out. */
QL_NODISCARD ql_status ql_run_path(const ql_run *r, const char *name, char out[QL_PATH_MAX]);

/* config.yaml: every flag of the command with its value; `--config` takes it. */
QL_NODISCARD ql_status ql_run_write_config(const ql_run *r, const ql_cli *cli, const void *opts);
QL_NODISCARD ql_status ql_run_write_json(const ql_run *r, const char *name, const json_t *doc);

/* Keeps the lines of dir/name whose "step" is at most `keep`; a torn or foreign one is dropped. */
QL_NODISCARD ql_status ql_run_cut_lines(const ql_run *r, const char *name, int64_t keep);
/* Keeps the log's lines of steps up to `keep` and opens it for more. */
QL_NODISCARD ql_status ql_run_log_open(ql_run *r, int64_t keep);
/* Appends one line and releases `line`; reals have 9 significant digits. */
QL_NODISCARD ql_status ql_run_log(ql_run *r, json_t *line);
/* What was logged outlives the machine: before a checkpoint that counts on it. */
QL_NODISCARD ql_status ql_run_log_sync(ql_run *r);

/* ------------------------------------------------- checkpoints (run_checkpoints.c) */

/* Path of checkpoint-<step>. */
QL_NODISCARD ql_status ql_run_checkpoint(const ql_run *r, int64_t step, char out[QL_PATH_MAX]);
/* Is it the name under which a checkpoint is built? */
bool ql_run_is_staged_checkpoint(const char *name);
/* The newest checkpoint whose hashes agree, into out ("" = there is none). Damaged ones are named
 * on `notes` and skipped; when all are damaged: QL_ERR_FORMAT; one of a later version of this
 * program is QL_ERR_UNSUPPORTED. */
QL_NODISCARD ql_status ql_run_newest(const ql_run *r, ql_out *notes, char out[QL_PATH_MAX]);
/* After checkpoint `newest` was saved: removes all but the `limit` newest up to it; 0 = keeps all.
 * The one that `best` names stays in any case. */
QL_NODISCARD ql_status ql_run_prune(const ql_run *r, int64_t limit, int64_t newest);
/* The link `best` names checkpoint-<step> from now on. */
QL_NODISCARD ql_status ql_run_set_best(const ql_run *r, int64_t step);
QL_NODISCARD ql_status ql_run_forget_checkpoints(const ql_run *r);

/* ------------------------------------------------- beginning and end */

/* Forgets an earlier run in this folder: checkpoints, logs, `completed`. Its adapter stays. */
QL_NODISCARD ql_status ql_run_start_anew(const ql_run *r);
bool ql_run_is_complete(const ql_run *r);
QL_NODISCARD ql_status ql_run_set_complete(const ql_run *r, int64_t step);

#endif /* QLORA_TOOLS_RUN_DIR_H */
