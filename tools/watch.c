/* watch.c - see watch.h. */
#include "tools/watch.h"

#include <stdio.h>

#include "tools/engine.h"

void ql_watch_start(ql_watch *w, ql_out *out, int64_t done, int64_t total) {
    *w = (ql_watch){.out = out, .first = done, .total = total, .start_s = ql_now_s()};
}

/* Time left counts evaluation and saving too, speed does not. */
void ql_watch_step(ql_watch *w, const ql_step_metrics *m, double seconds) {
    int64_t done = m->step - w->first;
    double per_step = done > 0 ? (ql_now_s() - w->start_s) / (double)done : 0;
    w->tokens += m->tokens;
    w->tok_s = seconds > 0 ? (double)m->tokens / seconds : 0;
    w->eta_s = per_step * (double)(w->total - m->step);
}

void ql_watch_show(ql_watch *w, const ql_step_metrics *m, bool milestone, uint64_t mem_bytes) {
    if (!milestone && !w->out->live) return;
    char eval[32] = "", paged[64] = "";
    if (w->has_eval) snprintf(eval, sizeof eval, "  eval %.4f", w->eval_loss);
    if (w->paged_bytes)
        snprintf(paged, sizeof paged, "  paged %s/step", ql_text_bytes(w->paged_bytes).s);
    double part = w->total ? 100.0 * (double)m->step / (double)w->total : 0;
    ql_progress(
        w->out, milestone,
        "step  %lld/%lld  %.1f %%  loss %.4f%s  lr %.2e  |g| %.3f  %s tok/s  %s%s  ETA %s%s",
        (long long)m->step, (long long)w->total, part, m->loss, eval, m->lr, m->grad_norm,
        ql_text_count((int64_t)w->tok_s).s, ql_text_bytes(mem_bytes).s, paged,
        ql_text_seconds(w->eta_s).s, m->skipped ? "  skipped: a gradient is not finite" : "");
}
