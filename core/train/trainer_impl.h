/* trainer_impl.h - the trainer's inside, shared by trainer.c and checkpoint*.c. */
#ifndef QLORA_CORE_TRAIN_TRAINER_IMPL_H
#define QLORA_CORE_TRAIN_TRAINER_IMPL_H

#include "core/base/json.h"
#include "core/train/feed.h"
#include "core/train/optim_store.h"

struct ql_trainer {
    ql_model *m;
    ql_train_opts o;
    ql_device *dev;
    ql_queue *queue;
    ql_graph *train, *loss;
    ql_generator *generator; /* NULL without opts.sample                                   */
    ql_predictor predictor;  /* empty without opts.evaluate and for plain decoders */
    ql_opt_layout opt;
    ql_opt_store store;
    ql_buffer *arena, *sum;
    ql_memory_report report;
    float *losses;     /* host copy of a micro-batch's losses      */
    ql_batch *batches; /* [accumulate]                             */
    int32_t n_filled;  /* of them by the last ql_trainer_step      */
    ql_feed feed;
    bool has_feed;
    uint64_t data_digest; /* of every training row                   */
    int64_t done, steps_per_epoch;
    json_t *notes; /* what the caller keeps across a stop     */
};

#endif
