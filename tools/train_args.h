/* train_args.h - flags of the training loop itself: batches, steps, optimizer, schedule. */
#ifndef QLORA_TOOLS_TRAIN_ARGS_H
#define QLORA_TOOLS_TRAIN_ARGS_H

#include "core/train/trainer.h"
#include "tools/data_args.h"

typedef struct ql_train_args {
    const char *schedule, *optim, *loss, *deterministic;
    int64_t batch, accumulate, max_steps, warmup_steps, checkpoint_every, data_seed;
    double epochs, lr, warmup_ratio, weight_decay, max_grad_norm, beta1, beta2, epsilon, smoothing;
    double momentum;
    uint64_t opt_page_budget;
    bool gradient_checkpointing, full, model_dropout;
    uint64_t mem;
} ql_train_args;

/* Rows of a flag table for the member `f` (a ql_train_args) of the option struct T. */
#define QL_TRAIN_ARGS(T, f)                                                                        \
    {.name = "full",                                                                               \
     .kind = QL_ARG_BOOL,                                                                          \
     .at = offsetof(T, f.full),                                                                    \
     .fallback = "false",                                                                          \
     .value = "B",                                                                                 \
     .help = "train all weights instead of adapters"},                                             \
        {.name = "per_device_train_batch_size",                                                    \
         .also = "--batch_size -b",                                                                \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.batch),                                                               \
         .fallback = "1",                                                                          \
         .lo = 1,                                                                                  \
         .hi = 65536,                                                                              \
         .help = "rows of a micro-batch"},                                                         \
        {.name = "gradient_accumulation_steps",                                                    \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.accumulate),                                                          \
         .fallback = "16",                                                                         \
         .lo = 1,                                                                                  \
         .hi = 65536,                                                                              \
         .help = "micro-batches of a step"},                                                       \
        {.name = "max_steps",                                                                      \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.max_steps),                                                           \
         .fallback = "-1",                                                                         \
         .lo = -1,                                                                                 \
         .hi = 1e15,                                                                               \
         .help = "steps; -1: from the epochs"},                                                    \
        {.name = "num_train_epochs",                                                               \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.epochs),                                                              \
         .fallback = "3",                                                                          \
         .help = "passes over the data"},                                                          \
        {.name = "learning_rate",                                                                  \
         .also = "--lr",                                                                           \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.lr),                                                                  \
         .fallback = "2e-4",                                                                       \
         .help = "highest learning rate"},                                                         \
        {.name = "lr_scheduler_type",                                                              \
         .kind = QL_ARG_CHOICE,                                                                    \
         .at = offsetof(T, f.schedule),                                                            \
         .fallback = "constant",                                                                   \
         .choices = "constant constant_with_warmup linear cosine|cosine_with_min_lr "              \
                    "warmup_stable_decay",                                                         \
         .help = "learning rate over the steps"},                                                  \
        {.name = "warmup_ratio",                                                                   \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.warmup_ratio),                                                        \
         .fallback = "0.03",                                                                       \
         .lo = 0,                                                                                  \
         .hi = 1,                                                                                  \
         .help = "part of the steps that warms up (not with constant)"},                           \
        {.name = "warmup_steps",                                                                   \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.warmup_steps),                                                        \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1e15,                                                                               \
         .help = "the same as a number of steps, 0 = by the ratio"},                               \
        {.name = "weight_decay",                                                                   \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.weight_decay),                                                        \
         .fallback = "0.0",                                                                        \
         .help = "decoupled weight decay"},                                                        \
        {.name = "max_grad_norm",                                                                  \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.max_grad_norm),                                                       \
         .fallback = "0.3",                                                                        \
         .help = "gradients are scaled down to this norm, 0 = never"},                             \
        {.name = "optim",                                                                          \
         .kind = QL_ARG_CHOICE,                                                                    \
         .at = offsetof(T, f.optim),                                                               \
         .fallback = "paged_adamw_32bit",                                                          \
         .choices = "paged_adamw_32bit adamw adamw_8bit paged_adamw_8bit lion lion_8bit "          \
                    "paged_lion_32bit paged_lion_8bit sgd sgd_8bit",                               \
         .help = "update rule and the bits of its state"},                                         \
        {.name = "sgd_momentum",                                                                   \
         .kind = QL_ARG_REAL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.momentum),                                                            \
         .fallback = "0.9",                                                                        \
         .help = "momentum of sgd, 0 = none and no state"},                                        \
        {.name = "adam_beta1",                                                                     \
         .kind = QL_ARG_REAL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.beta1),                                                               \
         .fallback = "0.9",                                                                        \
         .help = "decay of the first moment"},                                                     \
        {.name = "adam_beta2",                                                                     \
         .kind = QL_ARG_REAL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.beta2),                                                               \
         .fallback = "0.999",                                                                      \
         .help = "decay of the second moment"},                                                    \
        {.name = "adam_epsilon",                                                                   \
         .kind = QL_ARG_REAL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.epsilon),                                                             \
         .fallback = "1e-8",                                                                       \
         .help = "added to the root"},                                                             \
        {.name = "label_smoothing_factor",                                                         \
         .kind = QL_ARG_REAL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.smoothing),                                                           \
         .fallback = "0",                                                                          \
         .help = "part of the target spread over the vocabulary"},                                 \
        {.name = "model_dropout",                                                                  \
         .kind = QL_ARG_BOOL,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.model_dropout),                                                       \
         .fallback = "true",                                                                       \
         .value = "B",                                                                             \
         .help = "drop activations as config.json says, beside lora_dropout"},                     \
        {.name = "gradient_checkpointing",                                                         \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.gradient_checkpointing),                                              \
         .fallback = "true",                                                                       \
         .value = "B",                                                                             \
         .help = "compute activations again in the backward pass instead of keeping them"},        \
        {.name = "checkpoint_every",                                                               \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.checkpoint_every),                                                    \
         .fallback = "1",                                                                          \
         .lo = 1,                                                                                  \
         .hi = 4096,                                                                               \
         .help = "blocks per recomputed segment"},                                                 \
        {.name = "data_seed",                                                                      \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.data_seed),                                                           \
         .fallback = "-1",                                                                         \
         .lo = -1,                                                                                 \
         .hi = 0x1p53,                                                                             \
         .help = "seed of order and split, -1 = --seed"},                                          \
        {.name = "deterministic",                                                                  \
         .kind = QL_ARG_CHOICE,                                                                    \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.deterministic),                                                       \
         .fallback = "true",                                                                       \
         .choices = "true|false",                                                                  \
         .help = "the same seed gives the same bytes"},                                            \
        {.name = "loss",                                                                           \
         .kind = QL_ARG_CHOICE,                                                                    \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.loss),                                                                \
         .fallback = "sft",                                                                        \
         .choices = "sft|dpo orpo",                                                                \
         .help = "what is minimized"},                                                             \
        {.name = "opt_page_budget",                                                                \
         .kind = QL_ARG_SIZE,                                                                      \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.opt_page_budget),                                                     \
         .help = "device memory for a paged optimizer's state  [as --mem leaves]"},                \
    {                                                                                              \
        .name = "mem", .kind = QL_ARG_SIZE, .at = offsetof(T, f.mem),                              \
        .help = "never use more device memory than SIZE  [all free]"                               \
    }

/* The trainer's options. `data` may be NULL (planning without data): then warm-up is not resolved.
 * */
QL_NODISCARD ql_status ql_train_args_opts(const ql_cli *cli, const ql_train_args *a,
                                          const ql_data_args *d, const ql_data *data,
                                          ql_longest longest, ql_dtype compute, ql_train_opts *out);
uint64_t ql_train_args_data_seed(const ql_cli *cli, const ql_train_args *a);

#endif /* QLORA_TOOLS_TRAIN_ARGS_H */
