/*
 * train.c - planning, trainers, steps, evaluation, checkpoints.
 */
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"

/* ------------------------------------------------------------------ options */

static ql_status core_opts(const qlora_model *m, const qlora_data *d, const qlora_train_opts *opts,
                           ql_train_opts *out) {
    qlora_train_opts o;
    ql_train_opts c = ql_train_opts_default();
    QL_TRY(ql_api_train_opts(opts, &o));
    QL_TRY(ql_api_int("batch", o.batch, 1, 65536, &c.batch));
    QL_TRY(ql_api_int("accumulate", o.accumulate, 1, 65536, &c.accumulate));
    int64_t longest = d->rows.longest > 2 ? d->rows.longest : 2;
    QL_TRY(ql_api_int("max_len", o.max_len ? o.max_len : longest, 2, 1 << 24, &c.max_len));
    c.max_source_len = d->rows.longest_source;
    QL_TRY(ql_api_int("checkpoint_every", o.checkpoint_every, 0, 1 << 16, &c.checkpoint));
    QL_TRY(ql_api_compute(o.compute, m->session->dev, &c.compute));
    if (o.schedule && !ql_schedule_find(o.schedule, &c.schedule.kind))
        return QL_FAIL(QL_ERR_INVALID, "schedule takes one of %s, not '%.64s'", ql_schedule_names(),
                       o.schedule);
    if (o.optim && !(c.optim = ql_optim_find(o.optim)))
        return QL_FAIL(QL_ERR_INVALID, "optim takes one of %s, not '%.64s'", ql_optim_names(),
                       o.optim);
    if (o.warmup_steps < 0 || o.max_steps < 0)
        return QL_FAIL(QL_ERR_INVALID, "%s is below 0",
                       o.max_steps < 0 ? "max_steps" : "warmup_steps");
    c.max_steps = o.max_steps;
    c.epochs = o.epochs;
    c.schedule.lr = o.learning_rate;
    c.schedule.warmup = o.warmup_steps;
    c.weight_decay = o.weight_decay;
    c.max_grad_norm = o.max_grad_norm;
    c.beta1 = o.beta1;
    c.beta2 = o.beta2;
    c.epsilon = o.epsilon;
    c.momentum = o.momentum;
    c.opt_budget = o.opt_page_budget;
    c.label_smoothing = o.label_smoothing;
    c.model_dropout = !o.no_model_dropout;
    c.seed = o.seed;
    c.data_seed = o.data_seed;
    c.shuffle = o.shuffle;
    c.packing = o.packing;
    c.evaluate = o.evaluate;
    QL_TRY(ql_train_opts_check(&c));
    *out = c;
    return QL_OK;
}

static ql_status check_trainable(const qlora_model *m) {
    if (m->core->has_lora || m->core->opts.full) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "model: nothing to train; attach adapters, or open it with full");
}

/* ------------------------------------------------------------------ planning */

static ql_status plan(qlora_model *m, const ql_train_opts *o, ql_memory_report *out) {
    bool optimizer = m->core->opts.optimizer;
    m->core->opts.optimizer = true;
    ql_status s = ql_trainer_plan(m->core, o, m->session->dev, out);
    m->core->opts.optimizer = optimizer;
    return s;
}

ql_status qlora_plan(qlora_model *m, const qlora_data *d, const qlora_train_opts *opts,
                     ql_memory_report *out) {
    NOT_NULL(m);
    NOT_NULL(d);
    NOT_NULL(out);
    ql_train_opts o;
    QL_TRY(check_trainable(m));
    QL_TRY(core_opts(m, d, opts, &o));
    return plan(m, &o, out);
}

/* ------------------------------------------------------------------ trainers */

/* Afterwards the model is on the device with its own queue, or off it. */
static ql_status create_core(qlora_model *m, qlora_data *d, const ql_train_opts *o,
                             ql_trainer **out) {
    ql_trainer *t = NULL;
    m->core->opts.optimizer = true;
    ql_status s = ql_trainer_create(m->core, o, m->session->dev, &d->rows, &t);
    if (s == QL_OK) {
        m->core->queue = m->queue;
        s = ql_api_cancelled(m->session, "load");
        if (s == QL_OK) s = ql_api_restore_values(m);
    }
    if (s != QL_OK) {
        ql_trainer_free(t);
        ql_api_release(m);
        return s;
    }
    *out = t;
    return QL_OK;
}

ql_status qlora_trainer_create(qlora_model *m, const qlora_data *d, const qlora_train_opts *opts,
                               qlora_trainer **out) {
    NOT_NULL(m);
    NOT_NULL(d);
    NOT_NULL(out);
    ql_train_opts o;
    ql_memory_report needs;
    ql_device *dev = m->session->dev;
    if (m->trainer) return QL_FAIL(QL_ERR_INVALID, "model: a trainer of it is in use");
    QL_TRY(check_trainable(m));
    QL_TRY(core_opts(m, d, opts, &o));
    QL_TRY(ql_api_cancelled(m->session, "load"));
    QL_TRY(plan(m, &o, &needs));
    QL_TRY(ql_api_unplace(m));
    QL_TRY(ql_api_fits(m->session, needs.peak_bytes, needs.mapped_bytes));
    if (!m->queue) QL_TRY(dev->backend->queue_create(dev, &m->queue));
    qlora_trainer *t = ql_host_calloc(1, sizeof *t);
    if (!t) return QL_NOMEM("a trainer");
    t->data = (qlora_data *)(uintptr_t)d; /* only its count of users changes */
    ql_status s = create_core(m, t->data, &o, &t->core);
    if (s != QL_OK) {
        ql_host_free(t);
        return s;
    }
    t->model = m;
    t->data->users++;
    m->users++;
    m->trainer = t;
    m->has_values = true;
    *out = t;
    return QL_OK;
}

/* Gradients die with the trainer, values stay. */
static void free_training_memory(ql_model *c) {
    const ql_backend *b = c->dev->backend;
    b->buffer_free(c->gradients);
    c->gradients = NULL;
    c->opts.optimizer = false;
}

void qlora_trainer_free(qlora_trainer *t) {
    if (!t) return;
    qlora_model *m = t->model;
    ql_trainer_free(t->core);
    free_training_memory(m->core);
    m->trainer = NULL;
    qlora_data_free(t->data);
    ql_api_model_drop(m);
    ql_host_free(t);
}

int64_t qlora_trainer_total(const qlora_trainer *t) {
    return t ? ql_trainer_total(t->core) : 0;
}

int64_t qlora_trainer_done(const qlora_trainer *t) {
    return t ? ql_trainer_done(t->core) : 0;
}

const ql_memory_report *qlora_trainer_memory(const qlora_trainer *t) {
    return t ? ql_trainer_report(t->core) : NULL;
}

/* ------------------------------------------------------------------ steps */

ql_status qlora_trainer_step(qlora_trainer *t, qlora_step *out) {
    NOT_NULL(t);
    int64_t total = ql_trainer_total(t->core);
    ql_step_metrics r;
    QL_TRY(ql_api_cancelled(t->model->session, "train"));
    if (ql_trainer_done(t->core) >= total)
        return QL_FAIL(QL_ERR_INVALID, "trainer: all %lld steps are done", (long long)total);
    QL_TRY(ql_trainer_step(t->core, &r));
    if (!out) return QL_OK;
    *out = (qlora_step){.step = r.step,
                        .epoch = r.epoch,
                        .loss = r.loss,
                        .grad_norm = r.grad_norm,
                        .learning_rate = r.lr,
                        .tokens = r.tokens,
                        .supervised = r.supervised,
                        .skipped = r.skipped};
    return QL_OK;
}

#define EVAL_BATCHES 16 /* micro-batches between two looks at the request to cancel */

ql_status qlora_trainer_evaluate(qlora_trainer *t, const qlora_data *d, qlora_evaluation *out) {
    NOT_NULL(t);
    NOT_NULL(d);
    NOT_NULL(out);
    qlora_session *session = t->model->session;
    int64_t piece = (int64_t)ql_trainer_opts(t->core)->batch * EVAL_BATCHES;
    ql_eval_metrics sum = {0};
    for (int64_t at = 0; at < d->rows.n; at += piece) {
        ql_dataset part = d->rows; /* borrows its rows */
        ql_eval_metrics r;
        part.items += at;
        part.n = d->rows.n - at < piece ? d->rows.n - at : piece;
        (void)ql_api_progress(session, "evaluate", at, d->rows.n);
        QL_TRY(ql_api_cancelled(session, "evaluate"));
        QL_TRY(ql_trainer_eval(t->core, &part, &r));
        sum.nll += r.nll;
        sum.targets += r.targets;
    }
    *out = (qlora_evaluation){.loss = sum.targets ? sum.nll / (double)sum.targets : 0.0,
                              .targets = sum.targets};
    return QL_OK;
}

/* ------------------------------------------------------------------ checkpoints */

ql_status qlora_trainer_save(qlora_trainer *t, const char *dir) {
    NOT_NULL(t);
    NOT_NULL(dir);
    return ql_trainer_save(t->core, dir);
}

ql_status qlora_trainer_resume(qlora_trainer *t, const char *dir) {
    NOT_NULL(t);
    NOT_NULL(dir);
    return ql_trainer_resume(t->core, dir);
}
