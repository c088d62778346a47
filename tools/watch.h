/* watch.h - the progress of a training run: speed, time left, the line that people see. */
#ifndef QLORA_TOOLS_WATCH_H
#define QLORA_TOOLS_WATCH_H

#include "core/train/trainer.h"
#include "tools/out.h"

typedef struct ql_watch {
    ql_out *out;
    int64_t first, total; /* steps done at the start of this process; of the whole run */
    double start_s;
    int64_t tokens;       /* of this process     */
    double tok_s, eta_s;  /* of the last step; of the whole run */
    uint64_t paged_bytes; /* moved between host and device in a step, as planned */
    bool has_eval;
    double eval_loss;
} ql_watch;

void ql_watch_start(ql_watch *w, ql_out *out, int64_t done, int64_t total);
/* Counts a finished step that took `seconds`: updates speed and time left. */
void ql_watch_step(ql_watch *w, const ql_step_metrics *m, double seconds);
/* Shows the step; `milestone`: one of the logged steps. On a terminal every step is shown. */
void ql_watch_show(ql_watch *w, const ql_step_metrics *m, bool milestone, uint64_t mem_bytes);

#endif /* QLORA_TOOLS_WATCH_H */
