/*
 * trainer.h - the training loop's machine: micro-steps, clip, update, evaluation, exact memory.
 *
 * Life: plan (device opened, nothing allocated) or create (allocates all that the plan says, loads
 * weights) -> step, eval, save, resume ... -> free. Nothing allocates on the device after create.
 */
#ifndef QLORA_CORE_TRAIN_TRAINER_H
#define QLORA_CORE_TRAIN_TRAINER_H

#include <jansson.h>

#include "core/data/batch.h"
#include "core/model/generate.h"
#include "core/train/optim.h"
#include "core/train/predict.h"
#include "core/train/schedule.h"

typedef struct ql_train_opts {
    int32_t batch;          /* sequences per micro-batch (1)                                     */
    int32_t accumulate;     /* micro-batches per optimizer step (16)                             */
    int32_t max_len;        /* longest sequence that can occur                                   */
    int32_t max_source_len; /* longest encoder sequence (SEQ2SEQ); 0 = max_len                 */
    bool packing;           /* fill micro-batches up to batch * max_len tokens; with shuffle, the
                               rows that fit best together                                       */
    bool shuffle;           /* new order each epoch                                              */
    bool group_by_length;   /* with shuffle, without packing: rows of similar length in a step   */
    int64_t max_steps;      /* optimizer steps; <= 0: from epochs                                */
    double epochs;          /* 3                                                                 */
    ql_schedule schedule;   /* learning rate over steps; total is filled in                      */
    const ql_optim *optim;  /* adamw                                                           */
    double weight_decay, max_grad_norm, beta1, beta2, epsilon;
    double momentum;      /* of SGD (0.9)                                                    */
    uint64_t opt_budget;  /* device bytes of a paged optimizer's state; 0 = all resident     */
    const char *page_dir; /* pages that leave the device lie in a file in this folder, which
                             outlives the trainer; NULL = in host memory                     */
    double label_smoothing;
    int32_t checkpoint;   /* blocks per gradient-checkpointing segment; 0 = off (1)            */
    int32_t logits_chunk; /* rows of logits at once (64)                                       */
    ql_dtype compute;     /* QL_F32, QL_BF16                                                   */
    uint64_t seed, data_seed;
    bool model_dropout; /* drop activations as config.json says (true)                  */
    bool evaluate;      /* reserve a loss-only graph                                         */
    bool weighted;      /* targets have weights: loss = sum of weight * loss / sum of weights;
                           set by data that has any                                          */
    ql_generator_opts sample; /* reserve a generator for samples on the way; context 0: none      */
} ql_train_opts;
ql_train_opts ql_train_opts_default(void);
QL_NODISCARD ql_status ql_train_opts_check(const ql_train_opts *o);

typedef struct ql_step_metrics {
    int64_t step; /* after this update; the first update is step 1                     */
    double epoch, loss, grad_norm, lr;
    int64_t tokens, supervised; /* of this step                                                  */
    bool skipped; /* a gradient was not finite: nothing was changed                    */
} ql_step_metrics;

typedef struct ql_eval_metrics {
    double nll; /* summed over targets, natural logarithm                            */
    int64_t targets;
} ql_eval_metrics;

/* Where the data stands: the next example of the current epoch's order. */
typedef struct ql_cursor {
    int64_t epoch, next;
} ql_cursor;

typedef struct ql_trainer ql_trainer;

/* The training graph that these options mean for a model. */
ql_graph_opts ql_train_graph_opts(const ql_model *m, const ql_train_opts *o);

/* Beside the optimizer's state: the sum {squares, non-finite} of the norm. */
#define QL_OPT_SUM_BYTES 64
/* Exact device bytes of a trainer for this model (open, adapters attached, not placed). */
QL_NODISCARD ql_status ql_trainer_plan(ql_model *m, const ql_train_opts *o, ql_device *dev,
                                       ql_memory_report *out);

/* Places the model on dev (with progress of its options), allocates everything, initializes trained
 * values from o->seed. m, dev and data outlive the trainer; data may be NULL for a trainer that
 * only gets explicit batches. */
QL_NODISCARD ql_status ql_trainer_create(ql_model *m, const ql_train_opts *o, ql_device *dev,
                                         const ql_dataset *data, ql_trainer **out);
void ql_trainer_free(ql_trainer *t); /* NULL ok */

ql_model *ql_trainer_model(ql_trainer *t);
const ql_train_opts *ql_trainer_opts(const ql_trainer *t);
/* Optimizer steps of the whole run, and done so far. */
int64_t ql_trainer_total(const ql_trainer *t);
int64_t ql_trainer_done(const ql_trainer *t);
const ql_memory_report *ql_trainer_report(const ql_trainer *t);
/* The tape of the training step, for dumps. */
const ql_tape *ql_trainer_tape(const ql_trainer *t);

/* One optimizer step on the next micro-batches of the data. */
QL_NODISCARD ql_status ql_trainer_step(ql_trainer *t, ql_step_metrics *out);
/* The rows (numbers in their file, from 1) of the last ql_trainer_step, in its order: the first
 * `most` into out; returns how many there were. */
int64_t ql_trainer_rows(const ql_trainer *t, int64_t *out, int64_t most);
/* One optimizer step on these micro-batches. */
QL_NODISCARD ql_status ql_trainer_step_on(ql_trainer *t, const ql_batch *const *batches, int32_t n,
                                          ql_step_metrics *out);
/* Loss and gradients of one step without the update; gradients stay readable. */
QL_NODISCARD ql_status ql_trainer_gradients(ql_trainer *t, const ql_batch *const *batches,
                                            int32_t n, ql_step_metrics *out);
/* Summed loss over a data set with the present values; needs opts.evaluate. */
QL_NODISCARD ql_status ql_trainer_eval(ql_trainer *t, const ql_dataset *data, ql_eval_metrics *out);
/* Predictions for every row of a data set against its answers; for models that classify or have an
 * encoder and a decoder; needs opts.evaluate. `logits`: [data->n, n_labels] of CLASSIFY, or NULL.
 */
QL_NODISCARD ql_status ql_trainer_predict(ql_trainer *t, const ql_dataset *data, float *logits,
                                          ql_scores *out);

/* Writes text with the present values, between steps; NULL without opts.sample. */
ql_generator *ql_trainer_generator(ql_trainer *t);

/* ---------------------------------------------------------------- checkpoints (checkpoint.c)
 * Folder: adapter/ (PEFT layout), optimizer.safetensors (m, v; trained values with --full),
 * state.json (step, cursor, notes, settings that must agree), MANIFEST.json (hash of every file,
 * written last). Staged beside, read back and compared with what the trainer holds, then moved into
 * place whole. */
QL_NODISCARD ql_status ql_trainer_save(ql_trainer *t, const char *dir);
/* Restores everything; continuing is bit-equal to not having stopped. A folder whose hashes do not
 * agree or whose settings or data differ is refused by name. */
QL_NODISCARD ql_status ql_trainer_resume(ql_trainer *t, const char *dir);
/* After the last step: the adapter folder `dir` is loaded in place of the values in memory and must
 * give the first row the same loss to the last bit; QL_ERR_IO says both. *idle: the loss is that
 * without any adapter, which then does nothing. Needs data; does nothing with --full. */
QL_NODISCARD ql_status ql_trainer_prove(ql_trainer *t, const char *dir, bool *idle);
/* What the caller must remember for the continuation to be the same run, e.g. the best evaluation
 * so far: a JSON object, borrowed, saved with every checkpoint and replaced by resume. The trainer
 * itself never looks inside; each user keeps to one key of its own. */
json_t *ql_trainer_notes(ql_trainer *t);
/* Are all files of checkpoint `dir` present with the hashes of its MANIFEST? */
QL_NODISCARD ql_status ql_checkpoint_check(const char *dir);
/* The hash of the manifest, which has the hashes of all files, as 32 hexadecimal digits. */
QL_NODISCARD ql_status ql_checkpoint_hash(const char *dir, char out[33]);

#endif /* QLORA_CORE_TRAIN_TRAINER_H */
