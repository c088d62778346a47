/*
 * cmd_train.c - `qlora train`: fine-tunes a quantized model with adapters (or all weights), saving
 * on the way and continuing where an earlier run stopped.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/merge.h"
#include "tools/data_report.h"
#include "tools/engine.h"
#include "tools/labels.h"
#include "tools/plan_report.h"
#include "tools/score_report.h"
#include "tools/signals.h"
#include "tools/train_session.h"

typedef ql_train_args_all options;
typedef ql_session session;

/* -------------------------------------------------------------------- dry run */

static ql_exit dump_tape(session *s) {
    char *text;
    ql_status st = ql_plan_tape(&s->job, &text);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_PLAN, st);
    st = ql_file_replace(s->o->dump_tape, text, strlen(text));
    ql_host_free(text);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(&s->cli->out, QL_STAGE_RUN, st);
}

static ql_exit finish_dry_run(session *s) {
    json_t *doc;
    ql_status st = ql_plan_json(&s->job, &doc);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_PLAN, st);
    return ql_print_json(&s->cli->out, doc);
}

/* --------------------------------------------------------------------- begin */

/* config.yaml, plan.json and data.json: only when this run is sure to be, so that one that is
 * refused leaves those of the run that is there. */
static ql_status write_promises(session *s) {
    json_t *plan, *data;
    QL_TRY(ql_run_write_config(&s->run, s->cli, s->o));
    QL_TRY(ql_plan_json(&s->job, &plan));
    ql_status st = ql_run_write_json(&s->run, "plan.json", plan);
    json_decref(plan);
    QL_TRY(st);
    QL_TRY(ql_data_report_json(&s->job, &data));
    st = ql_run_write_json(&s->run, "data.json", data);
    json_decref(data);
    return st;
}

/* The checkpoint that --resume names, into s->resumed. */
static ql_exit named_checkpoint(session *s, const char *path) {
    ql_out *out = &s->cli->out;
    if (!ql_dir_exists(path) || strlen(path) >= sizeof s->resumed) {
        ql_error(out, "--resume takes auto, never or a checkpoint folder, not '%s'", path);
        return QL_EXIT_USAGE;
    }
    strcpy(s->resumed, path);
    if (ql_checkpoint_check(path) == QL_OK) return QL_EXIT_OK;
    ql_error(out, "%s", ql_last_error());
    return QL_EXIT_DAMAGED;
}

/* Which checkpoint to continue from, into s->resumed ("" = none). */
static ql_exit choose_checkpoint(session *s) {
    const char *how = s->o->resume;
    if (strcmp(how, "never") == 0) return QL_EXIT_OK;
    if (strcmp(how, "auto") != 0) return named_checkpoint(s, how);
    ql_status st = ql_run_newest(&s->run, &s->cli->out, s->resumed);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
}

/* A finished run without checkpoints: there is nothing to continue. */
static bool already_complete(const session *s) {
    return strcmp(s->o->resume, "auto") == 0 && !s->resumed[0] && ql_run_is_complete(&s->run);
}

static ql_status create_trainer(session *s) {
    /* Where device and host share memory, pages that leave the device leave memory. */
    if (s->job.dev->props.kind == QL_DEV_CPU) s->job.opts.page_dir = s->run.dir;
    QL_TRY(
        ql_trainer_create(s->job.model, &s->job.opts, s->job.dev, &s->job.data.train, &s->trainer));
    ql_progress_end(&s->cli->out);
    const char *from = s->o->job.adapter.from;
    if (s->base.dir[0] && !s->resumed[0])
        QL_TRY(ql_adapter_load_layers(s->job.model, s->base.adapter));
    if (from && !s->resumed[0]) QL_TRY(ql_adapter_load(s->job.model, from));
    if (s->resumed[0]) QL_TRY(ql_trainer_resume(s->trainer, s->resumed));
    s->best = ql_best_load(ql_trainer_notes(s->trainer), &s->rule);
    s->spikes = ql_spikes_load(ql_trainer_notes(s->trainer));
    return QL_OK;
}

/* Adapters that share the weight with their base: the run goes on with that base. */
static ql_exit change_base(session *s) {
    ql_exit code =
        ql_train_base_make(s->cli, &s->o->job, s->run.dir, s->resumed[0] != '\0', &s->base);
    if (code != QL_EXIT_OK || !s->base.dir[0]) return code;
    ql_job_close(&s->job);
    return ql_job_open(s->cli, &s->base.args, false, &s->job);
}

/* What a kill between saving and what follows it has left. */
static ql_status tidy(session *s, int64_t done) {
    QL_TRY(ql_session_link_best(s));
    return ql_run_prune(&s->run, s->o->save_total_limit, done);
}

/* A new run in a folder with an old one forgets it only now that this one is ready. */
static ql_status begin(session *s) {
    int64_t done = ql_trainer_done(s->trainer);
    QL_TRY(s->resumed[0] ? tidy(s, done) : ql_run_start_anew(&s->run));
    QL_TRY(write_promises(s));
    QL_TRY(ql_run_log_open(&s->run, done));
    QL_TRY(ql_report_to_open(&s->run, s->o->watch.report_to, done, &s->report_to));
    QL_TRY(ql_run_cut_lines(&s->run, "samples.jsonl", done));
    if (!s->resumed[0]) QL_TRY(ql_session_sample(s)); /* before the first step */
    return ql_run_about_begin(&s->run, s->cli, &s->job, s->o->watch.run_name, done,
                              ql_trainer_total(s->trainer), &s->about);
}

/* ------------------------------------------------------------------------ end */

/* --load_best_model_at_end: the result is what the best checkpoint holds. */
static ql_status load_best(session *s) {
    char path[QL_PATH_MAX];
    s->done = ql_trainer_done(s->trainer);
    if (!s->o->watch.load_best || !s->best.any || s->best.step == s->done) return QL_OK;
    QL_TRY(ql_run_checkpoint(&s->run, s->best.step, path));
    QL_TRY(ql_trainer_resume(s->trainer, path));
    ql_note(&s->cli->out, "the result is %s, the best by %s", path, s->rule.metric);
    return QL_OK;
}

/* The saved adapter, loaded as others load it, must be the trained one. */
static ql_status prove(session *s, const char *dir) {
    bool idle;
    QL_TRY(ql_trainer_prove(s->trainer, dir, &idle));
    if (idle)
        ql_note(&s->cli->out,
                "warning: %s does nothing: the loss is the same without it; is "
                "--learning_rate 0, or was every step skipped?",
                dir);
    return QL_OK;
}

static ql_status save_result(session *s) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_run_keep_open(&s->run, &s->cli->out));
    QL_TRY(ql_run_log_sync(&s->run));
    QL_TRY(ql_run_path(&s->run, s->result, path));
    if (!s->job.model->opts.full) {
        QL_TRY(ql_adapter_save(s->job.model, path));
        QL_TRY(prove(s, path));
        if (s->job.data.labels.n) QL_TRY(ql_labels_save(&s->job.data.labels, path));
    } else {
        const char *name = s->o->save_dtype;
        ql_merge_opts m = {.dtype = strcmp(name, "f32") == 0   ? QL_ST_F32
                                    : strcmp(name, "f16") == 0 ? QL_ST_F16
                                                               : QL_ST_BF16};
        QL_TRY(ql_merge(s->job.model, &m, path));
    }
    return ql_run_set_complete(&s->run, s->done);
}

/* The hash of the weights, then the last report. */
static void finish_report(session *s) {
    const char *file =
        s->job.model->opts.full ? "model/model.safetensors" : "adapter/adapter_model.safetensors";
    char path[QL_PATH_MAX];
    if (ql_run_path(&s->run, file, path) == QL_OK && ql_file_exists(path) &&
        ql_run_about_result(&s->about, file) != QL_OK)
        ql_note(&s->cli->out, "warning: the result has no hash: %s", ql_last_error());
    ql_session_report(s, ql_session_gives_up(s) ? "stopped early" : "complete");
}

static ql_exit report(session *s) {
    char path[QL_PATH_MAX];
    ql_status st = ql_run_path(&s->run, s->result, path);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    double seconds = ql_now_s() - s->watch.start_s;
    ql_print(&s->cli->out, "done  %lld steps in %s · %s %s\n", (long long)s->done,
             ql_text_seconds(seconds).s, s->result, path);
    if (s->watch.has_eval && ql_session_has_scores(s)) {
        ql_print(&s->cli->out, "eval  loss %.4f · %s\n", s->watch.eval_loss,
                 ql_scores_text(&s->scores).s);
    }
    json_t *doc =
        json_pack("{s:s, s:s, s:I, s:I, s:f, s:I, s:I}", "output_dir", s->run.dir, s->result, path,
                  "steps", (json_int_t)s->done, "tokens", (json_int_t)s->watch.tokens, "seconds",
                  seconds, "peak_bytes", (json_int_t)s->job.plan.peak_bytes, "mem_bytes",
                  (json_int_t)ql_engine_peak(s->job.dev));
    if (doc && s->last.step) json_object_set_new(doc, "loss", ql_real_or_null(s->last.loss));
    if (doc && s->watch.has_eval)
        json_object_set_new(doc, "eval_loss", ql_real_or_null(s->watch.eval_loss));
    if (doc && s->watch.has_eval && ql_session_has_scores(s))
        ql_scores_json(&s->scores, "eval_", doc);
    if (doc && s->best.any)
        json_object_set_new(doc, "best",
                            json_pack("{s:s, s:f, s:I}", "metric", s->rule.metric, "value",
                                      s->best.value, "step", (json_int_t)s->best.step));
    if (doc && ql_session_gives_up(s)) json_object_set_new(doc, "stopped_early", json_true());
    if (doc && s->resumed[0]) json_object_set_new(doc, "resumed_from", json_string(s->resumed));
    return ql_print_json(&s->cli->out, doc);
}

static ql_exit train(session *s) {
    ql_signals_watch();
    ql_status st = ql_run_open(s->o->output_dir, &s->run);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    ql_exit code = choose_checkpoint(s);
    if (code != QL_EXIT_OK) return code;
    if (already_complete(s)) {
        ql_print(&s->cli->out, "%s is complete; --resume never starts anew\n", s->run.dir);
        return ql_print_json(
            &s->cli->out, json_pack("{s:s, s:b}", "output_dir", s->run.dir, "already_complete", 1));
    }
    code = change_base(s);
    if (code != QL_EXIT_OK) return code;
    st = create_trainer(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
    st = begin(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    if (s->resumed[0]) {
        s->saved_at = ql_trainer_done(s->trainer);
        ql_note(&s->cli->out, "continuing after step %lld from %s", (long long)s->saved_at,
                s->resumed);
    }
    ql_watch_start(&s->watch, &s->cli->out, ql_trainer_done(s->trainer),
                   ql_trainer_total(s->trainer));
    s->watch.paged_bytes = s->job.plan.page_in + s->job.plan.page_out;
    code = ql_session_run(s);
    if (code != QL_EXIT_OK) return code;
    st = load_best(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
    st = ql_session_sample(s); /* of the result */
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    st = save_result(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    finish_report(s);
    return report(s);
}

/* Flags that need each other. */
static ql_status check_flags(const session *s) {
    const ql_watch_args *w = &s->o->watch;
    const char *flag = w->load_best ? "--load_best_model_at_end" : "--early_stopping_patience";
    if (!w->load_best && !w->patience) return QL_OK;
    if (!s->job.data.has_eval)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s needs rows to evaluate on: --eval_dataset or --eval_dataset_size", flag);
    if (w->eval_steps < 1) return QL_FAIL(QL_ERR_INVALID, "%s needs --eval_steps", flag);
    if (w->load_best && s->o->save_steps < 1)
        return QL_FAIL(QL_ERR_INVALID, "%s needs checkpoints: --save_steps above 0", flag);
    return QL_OK;
}

static ql_exit run_session(session *s) {
    ql_status st = ql_report_to_check(s->o->watch.report_to);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_USAGE, st);
    ql_exit code = ql_job_open(s->cli, &s->o->job, false, &s->job);
    if (code != QL_EXIT_OK) return code;
    st = check_flags(s);
    if (st == QL_OK && s->job.data.has_eval) st = ql_session_check_metric(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_USAGE, st);
    ql_plan_print(s->cli, &s->job);
    ql_data_report_print(s->cli, &s->job);
    fflush(stdout); /* before the steps, which go to stderr */
    if (s->o->dump_tape) code = dump_tape(s);
    if (code != QL_EXIT_OK) return code;
    if (s->job.plan.peak_bytes > s->job.budget) return ql_plan_refuse(s->cli, &s->job);
    return s->o->dry_run ? finish_dry_run(s) : train(s);
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    session s = {.cli = cli, .o = o, .saved_at = -1};
    s.result = o->job.train.full ? "model" : "adapter";
    s.rule = ql_best_rule_for(o->watch.metric, o->watch.patience, o->watch.threshold);
    ql_exit code = run_session(&s);
    ql_trainer_free(s.trainer);
    ql_report_to_close(&s.report_to);
    ql_run_about_free(&s.about);
    ql_run_close(&s.run);
    ql_job_close(&s.job);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    QL_JOB_ARGS(options, job, QL_ARG_REQUIRED),
    {.name = "output_dir",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output_dir),
     .value = "DIR",
     .help = "folder of the run  [runs/<time>]"},
    {.name = "resume",
     .kind = QL_ARG_TEXT,
     .at = OF(resume),
     .fallback = "auto",
     .value = "HOW",
     .help = "auto (newest whole checkpoint), never, or a checkpoint folder"},
    QL_WATCH_ARGS(options, watch),
    {.name = "save_steps",
     .kind = QL_ARG_INT,
     .at = OF(save_steps),
     .fallback = "250",
     .lo = 0,
     .hi = 1e15,
     .help = "steps between checkpoints, 0 = none"},
    {.name = "save_total_limit",
     .kind = QL_ARG_INT,
     .at = OF(save_total_limit),
     .fallback = "3",
     .lo = 0,
     .hi = 1e6,
     .help = "newest checkpoints that are kept, 0 = all"},
    {.name = "save_dtype",
     .kind = QL_ARG_CHOICE,
     .flags = QL_ARG_ADVANCED,
     .at = OF(save_dtype),
     .fallback = "f32",
     .choices = "f32 bf16 f16",
     .help = "type of the weights that --full writes"},
    {.name = "dry_run", .kind = QL_ARG_BOOL, .at = OF(dry_run), .help = "print the plan and stop"},
    {.name = "dump_tape",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_ADVANCED,
     .at = OF(dump_tape),
     .value = "FILE",
     .help = "write the recorded training step as a listing"},
};
_Static_assert(sizeof args / sizeof *args <= QL_CLI_MAX_ARGS, "too many flags");

const ql_command ql_cmd_train = {
    .name = "train",
    .summary = "Fine-tune a quantized model with low-rank adapters.",
    .usage = "-m D --dataset FILE [--output_dir RUN] [--flag value]...",
    .about = "`qlora train --help all` lists every flag. Ctrl-C finishes the step, saves and "
             "stops; the same\ncommand continues.\n",
    .examples = "  qlora train -m ./llama-7b --dataset data.jsonl --output_dir runs/a\n"
                "  qlora train -m ./llama-7b --dataset data.jsonl --mem 8G --dry_run\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
