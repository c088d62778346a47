/* train_measure.c - evaluation during training and the line of a step; see train_session.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "tools/engine.h"
#include "tools/score_report.h"
#include "tools/train_session.h"

bool ql_session_has_scores(const ql_session *s) {
    return s->job.model->arch.task != QL_TASK_CAUSAL;
}

json_t *ql_real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* ------------------------------------------------------------------- evaluation */

/* "eval_<metric>" as a line of the log has it. */
static void metric_key(const ql_session *s, char key[80]) {
    snprintf(key, 80, "eval_%s", s->rule.metric);
}

ql_status ql_session_check_metric(const ql_session *s) {
    char key[80], names[256] = "loss";
    json_t *doc = json_pack("{s:n}", "eval_loss");
    if (!doc) return QL_NOMEM("the names of scores");
    const ql_scores none = {.task = s->job.model->arch.task,
                            .n_labels = s->job.model->arch.n_labels};
    if (ql_session_has_scores(s)) ql_scores_json(&none, "eval_", doc);
    metric_key(s, key);
    bool known = json_object_get(doc, key) != NULL;
    const char *name;
    json_t *value;
    json_object_foreach(doc, name, value) {
        size_t n = strlen(names);
        if (strcmp(name, "eval_loss") != 0) snprintf(names + n, sizeof names - n, ", %s", name + 5);
    }
    json_decref(doc);
    if (known) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "--metric_for_best_model takes %s here, not '%.64s'", names,
                   s->rule.metric);
}

ql_status ql_session_evaluate(ql_session *s) {
    ql_eval_metrics e;
    QL_TRY(ql_trainer_eval(s->trainer, &s->job.data.eval, &e));
    s->watch.has_eval = e.targets > 0;
    s->watch.eval_loss = e.targets > 0 ? e.nll / (double)e.targets : 0;
    if (!ql_session_has_scores(s)) return QL_OK;
    return ql_trainer_predict(s->trainer, &s->job.data.eval, NULL, &s->scores);
}

/* Takes the evaluation of a line into account. */
static ql_status judge(ql_session *s, const json_t *line, int64_t step, bool *best) {
    char key[80];
    metric_key(s, key);
    const json_t *v = json_object_get(line, key);
    *best = ql_best_take(&s->best, &s->rule, json_is_number(v) ? json_number_value(v) : NAN, step);
    return ql_best_store(&s->best, &s->rule, ql_trainer_notes(s->trainer));
}

/* ----------------------------------------------------------------- what stands out */

#define SHOWN 8 /* rows that are named */

ql_rows_text ql_session_rows(const ql_session *s) {
    int64_t rows[SHOWN], n = ql_trainer_rows(s->trainer, rows, SHOWN);
    ql_rows_text t;
    size_t at = (size_t)snprintf(t.s, sizeof t.s, n == 1 ? "row" : "rows");
    for (int64_t i = 0; i < n && i < SHOWN; i++)
        at +=
            (size_t)snprintf(t.s + at, sizeof t.s - at, i ? ", %lld" : " %lld", (long long)rows[i]);
    if (n > SHOWN)
        at += (size_t)snprintf(t.s + at, sizeof t.s - at, " and %lld more", (long long)(n - SHOWN));
    snprintf(t.s + at, sizeof t.s - at, " of %.100s", s->o->job.data.dataset);
    return t;
}

void ql_session_inspect(ql_session *s, const ql_step_metrics *m) {
    double usual = s->spikes.mean;
    bool spike = ql_spikes_take(&s->spikes, m->loss);
    s->warning[0] = '\0';
    if (m->skipped || !isfinite(m->loss))
        snprintf(s->warning, sizeof s->warning,
                 "step %lld: %s is not finite%s (learning rate %.2e; %s): if this goes on, lower "
                 "--learning_rate; if the same rows are named again, look at them",
                 (long long)m->step, isfinite(m->loss) ? "a gradient" : "the loss",
                 m->skipped ? ", the step changed nothing" : "", m->lr, ql_session_rows(s).s);
    else if (spike)
        snprintf(s->warning, sizeof s->warning,
                 "step %lld: the loss jumped to %.4g, %.4g is usual (gradient norm %.3g, learning "
                 "rate %.2e; %s): look at these rows; if it happens often, lower --learning_rate "
                 "or --max_grad_norm",
                 (long long)m->step, m->loss, usual, m->grad_norm, m->lr, ql_session_rows(s).s);
    if (s->warning[0]) ql_note(&s->cli->out, "warning: %s", s->warning);
}

/* -------------------------------------------------------------------- the line */

static json_t *line_of(const ql_session *s, const ql_step_metrics *m, bool with_eval) {
    json_t *line = json_object();
    if (!line) return NULL;
    json_object_set_new(line, "step", json_integer(m->step));
    json_object_set_new(line, "epoch", json_real(m->epoch));
    json_object_set_new(line, "loss", ql_real_or_null(m->loss));
    if (with_eval) json_object_set_new(line, "eval_loss", ql_real_or_null(s->watch.eval_loss));
    if (with_eval && ql_session_has_scores(s)) ql_scores_json(&s->scores, "eval_", line);
    json_object_set_new(line, "grad_norm", ql_real_or_null(m->grad_norm));
    json_object_set_new(line, "lr", json_real(m->lr));
    json_object_set_new(line, "tokens", json_integer(m->tokens));
    json_object_set_new(line, "supervised", json_integer(m->supervised));
    json_object_set_new(line, "tok_s", json_real(s->watch.tok_s));
    json_object_set_new(line, "mem_bytes", json_integer((json_int_t)ql_engine_peak(s->job.dev)));
    json_object_set_new(line, "paged_bytes", json_integer((json_int_t)s->watch.paged_bytes));
    json_object_set_new(line, "eta_s", json_real(s->watch.eta_s));
    if (m->skipped) json_object_set_new(line, "skipped", json_true());
    if (s->warning[0]) json_object_set_new(line, "warning", json_string(s->warning));
    return line;
}

ql_status ql_session_log(ql_session *s, const ql_step_metrics *m, bool with_eval, bool *best) {
    json_t *line = line_of(s, m, with_eval);
    ql_status st = line ? ql_report_to_line(&s->report_to, line) : QL_OK;
    if (st == QL_OK && line && with_eval) st = judge(s, line, m->step, best);
    QL_TRY(ql_run_log(&s->run, line));
    return st;
}
