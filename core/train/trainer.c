/*
 * trainer.c - micro-steps, accumulation, clip and update (see trainer.h).
 *
 * One optimizer step:
 *   g = 0;  per micro-batch: run the tape (g += gradients, scaled by 1 / the weights of the
 * labelled tokens of the whole step, which are 1 unless the data says otherwise);  |g| and clip
 * factor on the device;  update of the decayed, then the other parameters.
 */
#include "core/train/trainer.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/train/feed.h"
#include "core/train/trainer_impl.h"

ql_train_opts ql_train_opts_default(void) {
    return (ql_train_opts){.batch = 1,
                           .accumulate = 16,
                           .max_len = 1280,
                           .shuffle = true,
                           .max_steps = -1,
                           .epochs = 3.0,
                           .schedule = {.lr = 2e-4},
                           .optim = ql_optim_find("adamw"),
                           .max_grad_norm = 0.3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .momentum = 0.9,
                           .checkpoint = 1,
                           .model_dropout = true,
                           .logits_chunk = 64,
                           .compute = QL_F32};
}

ql_status ql_train_opts_check(const ql_train_opts *o) {
    const struct {
        const char *name;
        double value, lo, hi;
    } range[] = {{"per_device_train_batch_size", o->batch, 1, 65536},
                 {"gradient_accumulation_steps", o->accumulate, 1, 65536},
                 {"max_seq_len", o->max_len, 2, 1 << 24},
                 {"learning_rate", o->schedule.lr, 0, 1e3},
                 {"weight_decay", o->weight_decay, 0, 1e3},
                 {"max_grad_norm", o->max_grad_norm, 0, 1e9},
                 {"adam_beta1", o->beta1, 0, 0.999999},
                 {"adam_beta2", o->beta2, 0, 0.9999999},
                 {"adam_epsilon", o->epsilon, 0, 1},
                 {"sgd_momentum", o->momentum, 0, 0.999999},
                 {"label_smoothing_factor", o->label_smoothing, 0, 0.999},
                 {"logits_chunk", o->logits_chunk, 1, 1 << 20}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (!(range[i].value >= range[i].lo && range[i].value <= range[i].hi))
            return QL_FAIL(QL_ERR_INVALID, "%s is %g, expected %g to %g", range[i].name,
                           range[i].value, range[i].lo, range[i].hi);
    if ((int64_t)o->batch * o->max_len > INT32_MAX / 4)
        return QL_FAIL(QL_ERR_INVALID, "a micro-batch of %d x %d tokens is too large", o->batch,
                       o->max_len);
    if (o->max_steps <= 0 && !(o->epochs > 0))
        return QL_FAIL(QL_ERR_INVALID,
                       "neither max_steps nor num_train_epochs says how long to train");
    return QL_OK;
}

/* ---------------------------------------------------------------- planning */

/* Sequences that a packed micro-batch may hold: two tokens at least each. */
static int32_t max_seqs(const ql_train_opts *o) {
    return o->packing ? o->batch * o->max_len / 2 : o->batch;
}

ql_graph_opts ql_train_graph_opts(const ql_model *m, const ql_train_opts *o) {
    bool classes = m->arch.task == QL_TASK_CLASSIFY, pairs = m->arch.task == QL_TASK_SEQ2SEQ;
    int32_t source = !pairs ? 0 : o->max_source_len > 0 ? o->max_source_len : o->max_len;
    return (ql_graph_opts){.kind = QL_GRAPH_TRAIN,
                           .compute = o->compute,
                           .max_tokens = o->batch * o->max_len,
                           .max_seqs = max_seqs(o),
                           .max_len = o->max_len,
                           .max_source_tokens = o->batch * source,
                           .max_source_len = source,
                           .max_labelled = classes ? max_seqs(o) : o->batch * o->max_len,
                           .logits_chunk = o->logits_chunk,
                           .checkpoint = o->checkpoint,
                           .seed = o->seed,
                           .label_smoothing = (float)o->label_smoothing,
                           .model_dropout = o->model_dropout,
                           .weighted = o->weighted};
}

static ql_status make_graphs(ql_trainer *t) {
    ql_graph_opts g = ql_train_graph_opts(t->m, &t->o);
    QL_TRY(ql_graph_create(t->m, &g, t->dev, &t->train));
    if (t->o.sample.context > 0)
        QL_TRY(ql_generator_record(t->m, &t->o.sample, t->dev, &t->generator));
    if (!t->o.evaluate) return QL_OK;
    g.kind = QL_GRAPH_LOSS;
    g.label_smoothing = 0;
    g.weighted = false;
    QL_TRY(ql_graph_create(t->m, &g, t->dev, &t->loss));
    if (t->m->arch.task == QL_TASK_CAUSAL) return QL_OK;
    const ql_predict_opts p = {.compute = g.compute,
                               .batch = t->o.batch,
                               .max_len = g.max_len,
                               .max_source_len = g.max_source_len};
    return ql_predictor_plan(t->m, &p, t->dev, &t->predictor);
}

/* Scratch of the update's own operators, inside the arena (nothing else is live then). */
static uint64_t update_scratch(const ql_trainer *t) {
    ql_op_args a = {
        .sumsq = {
            .x = {.rows = 1, .cols = (int64_t)t->m->n_trained, .ld = (int64_t)t->m->n_trained},
            .y = {.rows = 1, .cols = 2, .ld = 2}}};
    return t->dev->backend->scratch_bytes(t->dev, QL_OP_SUMSQ, &a);
}

/* The arena and the sum {squares, non-finite} of the norm. */
static ql_status report(ql_trainer *t) {
    ql_memory_report *r = &t->report;
    memset(r, 0, sizeof *r);
    QL_TRY(ql_graph_report(t->train, r));
    if (t->loss) QL_TRY(ql_graph_report(t->loss, r));
    if (t->predictor.graph) QL_TRY(ql_graph_report(t->predictor.graph, r));
    if (t->generator) QL_TRY(ql_generator_count(t->generator, r));
    uint64_t scratch = update_scratch(t);
    if (scratch > r->arena_bytes) {
        r->device[QL_POOL_SCRATCH] += scratch - r->arena_bytes;
        r->arena_bytes = scratch;
    }
    r->device[QL_POOL_OPTIMIZER] += QL_OPT_SUM_BYTES + t->opt.device_bytes;
    r->device[QL_POOL_STAGING] += QL_OPT_SLOTS * t->opt.slot_bytes;
    r->host[QL_POOL_OPTIMIZER] += t->opt.host_bytes;
    r->page_in = r->page_out = ql_opt_layout_traffic(&t->opt);
    ql_model_report(t->m, r);
    for (int i = 0; i < QL_POOL_COUNT; i++) r->peak_bytes += r->device[i];
    return QL_OK;
}

static ql_status plan(ql_model *m, const ql_train_opts *o, ql_device *dev, ql_trainer **out) {
    QL_TRY(ql_train_opts_check(o));
    ql_trainer *t = ql_host_calloc(1, sizeof *t);
    if (!t) return QL_NOMEM("a trainer");
    t->m = m;
    t->o = *o;
    t->dev = dev;
    t->notes = json_object();
    ql_status s = t->notes ? make_graphs(t) : QL_NOMEM("a trainer");
    if (s == QL_OK)
        s = ql_opt_layout_plan(m, o->optim, o->momentum, dev->props.align, o->opt_budget, &t->opt);
    if (s == QL_OK) s = report(t);
    if (s != QL_OK) {
        ql_trainer_free(t);
        return s;
    }
    *out = t;
    return QL_OK;
}

ql_status ql_trainer_plan(ql_model *m, const ql_train_opts *o, ql_device *dev,
                          ql_memory_report *out) {
    ql_trainer *t = NULL;
    QL_TRY(plan(m, o, dev, &t));
    *out = t->report;
    ql_trainer_free(t);
    return QL_OK;
}

/* ---------------------------------------------------------------- life */

static ql_status total_steps(ql_trainer *t) {
    t->o.schedule.total = t->o.max_steps;
    if (!t->has_feed) return QL_OK;
    int64_t micro = 0;
    QL_TRY(ql_feed_count(&t->feed, &micro));
    t->steps_per_epoch = (micro + t->o.accumulate - 1) / t->o.accumulate;
    if (t->o.max_steps <= 0) {
        double steps = ceil((double)t->steps_per_epoch * t->o.epochs);
        if (steps > 1e15)
            return QL_FAIL(QL_ERR_INVALID, "num_train_epochs %g is too many", t->o.epochs);
        t->o.schedule.total = (int64_t)steps;
    }
    return QL_OK;
}

static ql_status allocate(ql_trainer *t, const ql_dataset *data) {
    const ql_backend *b = t->dev->backend;
    QL_TRY(b->queue_create(t->dev, &t->queue));
    QL_TRY(ql_model_place(t->m, t->dev, t->queue));
    QL_TRY(b->buffer_alloc(t->dev, QL_MEM_DEVICE, t->report.arena_bytes, &t->arena));
    QL_TRY(b->buffer_alloc(t->dev, QL_MEM_DEVICE, QL_OPT_SUM_BYTES, &t->sum));
    QL_TRY(ql_opt_store_create(&t->opt, t->queue, t->o.page_dir, &t->store));
    QL_TRY(ql_graph_bind(t->train, t->m, t->arena));
    if (t->loss) QL_TRY(ql_graph_bind(t->loss, t->m, t->arena));
    if (t->predictor.graph) QL_TRY(ql_predictor_bind(&t->predictor, t->arena));
    if (t->generator) QL_TRY(ql_generator_bind(t->generator, t->arena));
    QL_TRY(ql_model_init_trained(t->m, t->o.seed));
    int32_t tokens = t->o.batch * t->o.max_len;
    t->losses = ql_host_calloc((size_t)tokens, sizeof(float));
    t->batches = ql_host_calloc((size_t)t->o.accumulate, sizeof(ql_batch));
    if (!t->losses || !t->batches) return QL_NOMEM("micro-batches");
    if (!data) return total_steps(t);
    QL_TRY(ql_feed_create(data, &t->o, max_seqs(&t->o), &t->feed));
    t->has_feed = true;
    t->data_digest = ql_dataset_digest(data);
    int32_t source = t->feed.max_source_tokens;
    for (int32_t i = 0; i < t->o.accumulate; i++)
        QL_TRY(ql_batch_create(tokens, max_seqs(&t->o), source, &t->batches[i]));
    return total_steps(t);
}

ql_status ql_trainer_create(ql_model *m, const ql_train_opts *o, ql_device *dev,
                            const ql_dataset *data, ql_trainer **out) {
    ql_trainer *t = NULL;
    ql_train_opts with = *o;
    with.weighted = o->weighted || (data && data->weighted);
    QL_TRY(plan(m, &with, dev, &t));
    ql_status s = allocate(t, data);
    if (s != QL_OK) {
        ql_trainer_free(t);
        return s;
    }
    *out = t;
    return QL_OK;
}

void ql_trainer_free(ql_trainer *t) {
    if (!t) return;
    ql_graph_free(t->train);
    ql_graph_free(t->loss);
    ql_predictor_free(&t->predictor);
    ql_generator_free(t->generator);
    t->dev->backend->buffer_free(t->arena);
    t->dev->backend->buffer_free(t->sum);
    ql_opt_store_free(&t->store);
    ql_opt_layout_free(&t->opt);
    if (t->m->queue == t->queue) t->m->queue = NULL;
    t->dev->backend->queue_destroy(t->queue);
    for (int32_t i = 0; t->batches && i < t->o.accumulate; i++) ql_batch_free(&t->batches[i]);
    ql_host_free(t->batches);
    ql_host_free(t->losses);
    if (t->has_feed) ql_feed_free(&t->feed);
    json_decref(t->notes);
    ql_host_free(t);
}

ql_model *ql_trainer_model(ql_trainer *t) {
    return t->m;
}
const ql_train_opts *ql_trainer_opts(const ql_trainer *t) {
    return &t->o;
}
int64_t ql_trainer_total(const ql_trainer *t) {
    return t->o.schedule.total;
}
int64_t ql_trainer_done(const ql_trainer *t) {
    return t->done;
}
ql_generator *ql_trainer_generator(ql_trainer *t) {
    return t->generator;
}
json_t *ql_trainer_notes(ql_trainer *t) {
    return t->notes;
}
const ql_memory_report *ql_trainer_report(const ql_trainer *t) {
    return &t->report;
}
const ql_tape *ql_trainer_tape(const ql_trainer *t) {
    return ql_program_tape(t->train->program);
}

/* ---------------------------------------------------------------- a step */

/* The flat range [first, first + n) of a region as one row. */
static ql_mat range(ql_buffer *buf, uint64_t base, uint64_t first, uint64_t n) {
    return (ql_mat){buf, (base + first) * sizeof(float), 1, (int64_t)n, (int64_t)n, QL_F32};
}

static ql_mat step_mat(const ql_trainer *t) {
    const ql_value *v = ql_tape_at(ql_program_tape(t->train->program), t->train->io.step);
    return (ql_mat){v->buf, v->buf_off, 1, QL_STEP_BLOCK_BYTES, QL_STEP_BLOCK_BYTES, QL_U8};
}

/* `weight`: sum of the weights of the step's targets, their number where every weight is 1. */
static ql_status put_step_block(ql_trainer *t, double weight) {
    ql_step_block s = {.lr = (float)ql_schedule_lr(&t->o.schedule, t->done),
                       .loss_scale = weight > 0 ? (float)(1.0 / weight) : 0.0f,
                       .unscale = 1.0f,
                       .bias1 = (float)(1.0 - pow(t->o.beta1, (double)(t->done + 1))),
                       .bias2 = (float)(1.0 - pow(t->o.beta2, (double)(t->done + 1))),
                       .clip = 1.0f,
                       .rng_step = (uint32_t)t->done};
    _Static_assert(sizeof s == QL_STEP_BLOCK_BYTES, "step block layout");
    QL_TRY(ql_graph_put(t->train, t->queue, t->train->io.step, &s, sizeof s));
    return t->dev->backend->queue_sync(t->queue);
}

static ql_status sum_losses(ql_graph *g, ql_trainer *t, const ql_batch *b, double *sum) {
    QL_TRY(ql_graph_get(g, t->queue, g->io.loss, t->losses, (uint64_t)b->labelled * sizeof(float)));
    for (int32_t i = 0; i < b->labelled; i++) *sum += t->losses[i];
    return QL_OK;
}

ql_status ql_trainer_gradients(ql_trainer *t, const ql_batch *const *batches, int32_t n,
                               ql_step_metrics *out) {
    ql_step_metrics r = {.step = t->done, .lr = ql_schedule_lr(&t->o.schedule, t->done)};
    double weight = 0;
    for (int32_t i = 0; i < n; i++) {
        r.tokens += batches[i]->tokens;
        r.supervised += batches[i]->labelled;
        weight += t->o.weighted ? ql_batch_weight(batches[i]) : batches[i]->labelled;
    }
    ql_fill_args zero = {range(t->m->gradients, 0, 0, t->m->n_trained), 0.0f};
    QL_TRY(ql_run_fill(t->queue, &zero));
    QL_TRY(put_step_block(t, weight));
    QL_TRY(ql_opt_store_prefetch(&t->store));
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        QL_TRY(ql_graph_set_batch(t->train, t->queue, batches[i]));
        QL_TRY(ql_program_run(t->train->program, t->queue));
        QL_TRY(sum_losses(t->train, t, batches[i], &sum));
    }
    r.loss = weight > 0 ? sum / weight : 0.0;
    *out = r;
    return QL_OK;
}

static ql_status update(ql_trainer *t) {
    const ql_opt_hyper hyper = {.beta1 = t->o.beta1,
                                .beta2 = t->o.beta2,
                                .epsilon = t->o.epsilon,
                                .weight_decay = t->o.weight_decay,
                                .momentum = t->o.momentum};
    return ql_opt_store_update(&t->store, t->queue, t->m, step_mat(t), &hyper);
}

static ql_status apply(ql_trainer *t, ql_step_metrics *out) {
    ql_model *m = t->m;
    ql_mat sum = {t->sum, 0, 1, 2, 2, QL_F32};
    ql_sumsq_args squares = {.x = range(m->gradients, 0, 0, m->n_trained), .y = sum};
    uint64_t scratch = update_scratch(t);
    if (scratch)
        squares.scratch = (ql_mat){t->arena, 0, 1, (int64_t)scratch, (int64_t)scratch, QL_U8};
    QL_TRY(ql_run_sumsq(t->queue, &squares));
    ql_clip_args clip = {.sum = sum, .step = step_mat(t), .max_norm = (float)t->o.max_grad_norm};
    QL_TRY(ql_run_clip(t->queue, &clip));
    QL_TRY(update(t));
    ql_step_block s;
    QL_TRY(ql_graph_get(t->train, t->queue, t->train->io.step, &s, sizeof s));
    out->grad_norm = s.norm;
    out->skipped = s.skip != 0.0f;
    t->done++;
    out->step = t->done;
    if (t->steps_per_epoch) out->epoch = (double)t->done / (double)t->steps_per_epoch;
    return QL_OK;
}

ql_status ql_trainer_step_on(ql_trainer *t, const ql_batch *const *batches, int32_t n,
                             ql_step_metrics *out) {
    ql_step_metrics r;
    QL_TRY(ql_trainer_gradients(t, batches, n, &r));
    QL_TRY(apply(t, &r));
    *out = r;
    return QL_OK;
}

ql_status ql_trainer_step(ql_trainer *t, ql_step_metrics *out) {
    if (!t->has_feed) return QL_FAIL(QL_ERR_INVALID, "trainer: was created without data");
    int32_t n = 0;
    bool ends = false;
    while (n < t->o.accumulate && !ends) QL_TRY(ql_feed_next(&t->feed, &t->batches[n++], &ends));
    t->n_filled = n;
    const ql_batch **list = ql_host_calloc((size_t)n, sizeof *list);
    if (!list) return QL_NOMEM("micro-batches");
    for (int32_t i = 0; i < n; i++) list[i] = &t->batches[i];
    ql_status s = ql_trainer_step_on(t, list, n, out);
    ql_host_free((void *)list);
    return s;
}

int64_t ql_trainer_rows(const ql_trainer *t, int64_t *out, int64_t most) {
    int64_t n = 0;
    for (int32_t i = 0; i < t->n_filled; i++) {
        const ql_batch *b = &t->batches[i];
        for (int32_t s = 0; s < b->seqs; s++, n++)
            if (n < most) out[n] = b->key[2 * (int64_t)b->start[s]];
    }
    return n;
}

ql_status ql_trainer_eval(ql_trainer *t, const ql_dataset *data, ql_eval_metrics *out) {
    if (!t->loss) return QL_FAIL(QL_ERR_INVALID, "trainer: was created without evaluation");
    ql_train_opts o = t->o;
    o.shuffle = false;
    ql_feed feed;
    QL_TRY(ql_feed_create(data, &o, max_seqs(&o), &feed));
    ql_batch b = {0};
    ql_status s = ql_batch_create(o.batch * o.max_len, max_seqs(&o), feed.max_source_tokens, &b);
    ql_eval_metrics r = {0};
    bool ends = data->n == 0;
    while (s == QL_OK && !ends) {
        s = ql_feed_next(&feed, &b, &ends);
        if (s == QL_OK) s = ql_graph_set_batch(t->loss, t->queue, &b);
        if (s == QL_OK) s = ql_program_run(t->loss->program, t->queue);
        if (s == QL_OK) s = sum_losses(t->loss, t, &b, &r.nll);
        r.targets += b.labelled;
    }
    ql_batch_free(&b);
    ql_feed_free(&feed);
    if (s == QL_OK) *out = r;
    return s;
}

ql_status ql_trainer_predict(ql_trainer *t, const ql_dataset *data, float *logits, ql_scores *out) {
    if (!t->predictor.graph) {
        return QL_FAIL(
            QL_ERR_INVALID,
            "trainer: predicts only when made for evaluation, with a model of classes or "
            "of an encoder and a decoder");
    }
    return ql_predictor_run(&t->predictor, t->queue, data, logits, out);
}
