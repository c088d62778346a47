/* train_args.c - see train_args.h. */
#include "tools/train_args.h"

#include <math.h>

#include "core/train/feed.h"

uint64_t ql_train_args_data_seed(const ql_cli *cli, const ql_train_args *a) {
    return (uint64_t)(a->data_seed >= 0 ? a->data_seed : cli->seed);
}

/* Optimizer steps of the whole run, as the trainer counts them. */
static ql_status total_steps(const ql_train_opts *o, const ql_dataset *data, int64_t *out) {
    int64_t micro = 0;
    *out = o->max_steps;
    if (o->max_steps > 0) return QL_OK;
    ql_feed feed;
    QL_TRY(ql_feed_create(data, o, o->packing ? o->batch * o->max_len / 2 : o->batch, &feed));
    ql_status s = ql_feed_count(&feed, &micro);
    ql_feed_free(&feed);
    QL_TRY(s);
    int64_t per_epoch = (micro + o->accumulate - 1) / o->accumulate;
    *out = (int64_t)ceil((double)per_epoch * o->epochs);
    return QL_OK;
}

ql_status ql_train_args_opts(const ql_cli *cli, const ql_train_args *a, const ql_data_args *d,
                             const ql_data *data, ql_longest longest, ql_dtype compute,
                             ql_train_opts *out) {
    ql_train_opts o = ql_train_opts_default();
    if (d->group_by_length && !d->shuffle) {
        return QL_FAIL(QL_ERR_INVALID, "--group_by_length shuffles before it groups; it takes no "
                                       "--shuffle false");
    }
    o.batch = (int32_t)a->batch;
    o.accumulate = (int32_t)a->accumulate;
    o.max_len = longest.row;
    o.max_source_len = longest.source;
    o.packing = d->packing;
    o.shuffle = d->shuffle;
    o.group_by_length = d->group_by_length;
    o.max_steps = a->max_steps;
    o.epochs = a->epochs;
    o.schedule.lr = a->lr;
    o.weight_decay = a->weight_decay;
    o.max_grad_norm = a->max_grad_norm;
    o.beta1 = a->beta1;
    o.beta2 = a->beta2;
    o.epsilon = a->epsilon;
    o.momentum = a->momentum;
    o.opt_budget = a->opt_page_budget;
    o.optim = ql_optim_find(a->optim);
    o.label_smoothing = a->smoothing;
    o.model_dropout = a->model_dropout;
    o.checkpoint = a->gradient_checkpointing ? (int32_t)a->checkpoint_every : 0;
    o.compute = compute;
    o.seed = (uint64_t)cli->seed;
    o.data_seed = ql_train_args_data_seed(cli, a);
    o.evaluate = data && data->has_eval;
    if (!ql_schedule_find(a->schedule, &o.schedule.kind)) {
        return QL_FAIL(QL_ERR_INVALID, "--lr_scheduler_type takes one of %s, not '%s'",
                       ql_schedule_names(), a->schedule);
    }
    QL_TRY(ql_train_opts_check(&o));
    o.schedule.warmup = a->warmup_steps;
    if (!o.schedule.warmup && data) {
        int64_t total = 0;
        QL_TRY(total_steps(&o, &data->train, &total));
        o.schedule.warmup = (int64_t)ceil((double)total * a->warmup_ratio);
    }
    *out = o;
    return QL_OK;
}
