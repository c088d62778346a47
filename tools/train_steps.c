/* train_steps.c - the steps of a run with all that follows each; see train_session.h. */
#include <math.h>
#include <stdio.h>

#include "tools/engine.h"
#include "tools/report_html.h"
#include "tools/score_report.h"
#include "tools/signals.h"
#include "tools/train_session.h"

#define MAX_SKIPPED 3 /* steps in a row with non-finite gradients: diverged */

static bool is_multiple(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

void ql_session_report(ql_session *s, const char *state) {
    double seconds = ql_now_s() - s->watch.start_s;
    int64_t step = s->done ? s->done : ql_trainer_done(s->trainer);
    ql_status st = ql_run_about_update(&s->about, state, step, seconds);
    if (st == QL_OK) st = ql_report_refresh(s->run.dir);
    if (st != QL_OK)
        ql_note(&s->cli->out, "warning: the report was not written: %s", ql_last_error());
}

/* ------------------------------------------------------------------ checkpoints */

ql_status ql_session_link_best(ql_session *s) {
    char path[QL_PATH_MAX];
    if (!s->best.any) return QL_OK;
    QL_TRY(ql_run_checkpoint(&s->run, s->best.step, path));
    return ql_dir_exists(path) ? ql_run_set_best(&s->run, s->best.step) : QL_OK;
}

static ql_status save_checkpoint(ql_session *s) {
    char path[QL_PATH_MAX];
    int64_t step = ql_trainer_done(s->trainer);
    QL_TRY(ql_run_checkpoint(&s->run, step, path));
    QL_TRY(ql_run_keep_open(&s->run, &s->cli->out));
    QL_TRY(ql_run_log_sync(&s->run));
    QL_TRY(ql_spikes_store(&s->spikes, ql_trainer_notes(s->trainer)));
    QL_TRY(ql_trainer_save(s->trainer, path));
    s->saved_at = step;
    char hash[33];
    QL_TRY(ql_checkpoint_hash(path, hash));
    ql_note(&s->cli->out, "saved %s (hash %.8s, verified)", path, hash);
    QL_TRY(ql_session_link_best(s)); /* before pruning, which keeps it */
    QL_TRY(ql_run_prune(&s->run, s->o->save_total_limit, step));
    ql_session_report(s, "running");
    return QL_OK;
}

/* ------------------------------------------------------------------------ steps */

bool ql_session_gives_up(const ql_session *s) {
    return ql_best_gives_up(&s->best, &s->rule);
}

static void show_scores(ql_session *s, int64_t step) {
    ql_note(&s->cli->out, "eval  %lld/%lld  loss %.4f · %s", (long long)step,
            (long long)ql_trainer_total(s->trainer), s->watch.eval_loss,
            ql_scores_text(&s->scores).s);
}

static ql_status check_diverged(const ql_session *s) {
    if (s->skipped < MAX_SKIPPED) return QL_OK;
    return QL_FAIL(QL_ERR_NUMERIC,
                   "the gradients of %d steps in a row are not finite (up to step %lld, learning "
                   "rate %.2e, %s): lower --learning_rate; the last checkpoint is from step %lld",
                   s->skipped, (long long)s->last.step, s->last.lr, ql_session_rows(s).s,
                   (long long)(s->saved_at > 0 ? s->saved_at : 0));
}

/* One step with all that follows it. */
static ql_status one_step(ql_session *s) {
    const ql_train_args_all *o = s->o;
    ql_step_metrics m;
    double start = ql_now_s();
    QL_TRY(ql_trainer_step(s->trainer, &m));
    ql_watch_step(&s->watch, &m, ql_now_s() - start);
    s->last = m;
    s->skipped = m.skipped || !isfinite(m.loss) ? s->skipped + 1 : 0;
    bool last = m.step == ql_trainer_total(s->trainer), best = false;
    bool eval = s->job.data.has_eval && (is_multiple(m.step, o->watch.eval_steps) || last);
    if (eval) QL_TRY(ql_session_evaluate(s));
    ql_session_inspect(s, &m);
    bool logged =
        m.step == 1 || is_multiple(m.step, o->watch.logging_steps) || last || eval || s->warning[0];
    if (logged) QL_TRY(ql_session_log(s, &m, eval, &best));
    ql_watch_show(&s->watch, &m, logged, ql_engine_peak(s->job.dev));
    if (eval && ql_session_has_scores(s)) show_scores(s, m.step);
    QL_TRY(check_diverged(s));
    if (is_multiple(m.step, o->job.sample.steps) || last) QL_TRY(ql_session_sample(s));
    bool due = is_multiple(m.step, o->save_steps) || last || best || ql_session_gives_up(s);
    return due && o->save_steps > 0 ? save_checkpoint(s) : QL_OK;
}

static ql_exit stop_by_signal(ql_session *s) {
    int64_t step = ql_trainer_done(s->trainer);
    if (step > 0 && s->saved_at != step) {
        ql_status st = save_checkpoint(s);
        if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    }
    ql_session_report(s, "stopped");
    ql_note(&s->cli->out, "stopped after step %lld; the same command continues", (long long)step);
    return ql_signals_exit();
}

static void say_given_up(ql_session *s) {
    char better[48] = "";
    if (s->rule.threshold > 0) snprintf(better, sizeof better, " by %g", s->rule.threshold);
    ql_note(&s->cli->out,
            "stopped early after step %lld: the evaluation's %s has not got better%s in %lld "
            "evaluations; the best is %.6g at step %lld",
            (long long)ql_trainer_done(s->trainer), s->rule.metric, better,
            (long long)s->best.waited, s->best.value, (long long)s->best.step);
}

ql_exit ql_session_run(ql_session *s) {
    while (ql_trainer_done(s->trainer) < ql_trainer_total(s->trainer) && !ql_session_gives_up(s)) {
        if (ql_signals_stop()) return stop_by_signal(s);
        ql_status st = one_step(s);
        if (st == QL_OK) continue;
        ql_exit code = ql_fail(&s->cli->out, QL_STAGE_RUN, st);
        ql_session_report(s, code == QL_EXIT_DIVERGED ? "diverged" : "failed");
        return code;
    }
    ql_progress_end(&s->cli->out);
    if (ql_session_gives_up(s)) say_given_up(s);
    return QL_EXIT_OK;
}
