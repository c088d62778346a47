/*
 * prove.c - is a saved adapter the one that was trained? (see trainer.h)
 *
 * The loss of one row with the values in memory; then these are wiped, the file is loaded as any
 * program loads it, and the loss must be the same number. What it was without them says whether the
 * adapter does anything at all.
 */
#include <math.h>

#include "core/device/device.h"
#include "core/train/trainer_impl.h"

static ql_status loss_of(ql_trainer *t, double *out) {
    const ql_batch *b = &t->batches[0];
    ql_step_metrics m;
    QL_TRY(ql_trainer_gradients(t, &b, 1, &m));
    *out = m.loss;
    return QL_OK;
}

static ql_status wipe(ql_trainer *t) {
    const int64_t n = (int64_t)t->m->n_trained;
    const ql_fill_args zero = {{t->m->trained, 0, 1, n, n, QL_F32}, 0.0f};
    return ql_run_fill(t->queue, &zero);
}

ql_status ql_trainer_prove(ql_trainer *t, const char *dir, bool *idle) {
    const int64_t first = 0;
    double trained = 0, none = 0, loaded = 0;
    *idle = false;
    if (t->m->opts.full || !t->has_feed || t->feed.data->n == 0) return QL_OK;
    QL_TRY(ql_batch_fill(&t->batches[0], t->feed.data, &first, 1));
    QL_TRY(loss_of(t, &trained));
    QL_TRY(wipe(t));
    QL_TRY(loss_of(t, &none));
    QL_TRY(ql_adapter_load(t->m, dir));
    QL_TRY(loss_of(t, &loaded));
    *idle = none == trained;
    if (loaded == trained || (isnan(loaded) && isnan(trained))) return QL_OK;
    return QL_FAIL(QL_ERR_IO,
                   "%s: is not what was trained: loaded again it gives row 1 a loss of %.9g, the "
                   "trained values give %.9g, none give %.9g",
                   dir, loaded, trained, none);
}
