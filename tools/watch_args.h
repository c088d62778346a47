/* watch_args.h - flags of `train` for watching a run: where its numbers go, evaluating,
 * stopping early.
 */
#ifndef QLORA_TOOLS_WATCH_ARGS_H
#define QLORA_TOOLS_WATCH_ARGS_H

#include "tools/args.h"

typedef struct ql_watch_args {
    const char *report_to, *run_name, *metric;
    int64_t logging_steps, eval_steps, patience;
    double threshold;
    bool load_best;
} ql_watch_args;

/* Rows of a flag table for the member `f` (a ql_watch_args) of the option struct T. */
#define QL_WATCH_ARGS(T, f)                                                                        \
    {.name = "run_name",                                                                           \
     .kind = QL_ARG_TEXT,                                                                          \
     .at = offsetof(T, f.run_name),                                                                \
     .value = "NAME",                                                                              \
     .help = "what reports call the run  [its folder]"},                                           \
        {.name = "logging_steps",                                                                  \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.logging_steps),                                                       \
         .fallback = "10",                                                                         \
         .lo = 1,                                                                                  \
         .hi = 1e15,                                                                               \
         .help = "steps between lines of train.jsonl"},                                            \
        {.name = "report_to",                                                                      \
         .kind = QL_ARG_TEXT,                                                                      \
         .flags = QL_ARG_LIST,                                                                     \
         .at = offsetof(T, f.report_to),                                                           \
         .fallback = "jsonl",                                                                      \
         .value = "LIST",                                                                          \
         .help = "beside train.jsonl: csv, tensorboard, or all"},                                  \
        {.name = "early_stopping_patience",                                                        \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.patience),                                                            \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1e9,                                                                                \
         .help = "stop after N evaluations in a row without a better one, 0 = never"},             \
        {.name = "early_stopping_threshold",                                                       \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.threshold),                                                           \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1e9,                                                                                \
         .help = "how much better counts as better, for the patience"},                            \
        {.name = "metric_for_best_model",                                                          \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.metric),                                                              \
         .fallback = "loss",                                                                       \
         .value = "NAME",                                                                          \
         .help = "loss, or a score that the evaluation prints"},                                   \
        {.name = "load_best_model_at_end",                                                         \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.load_best),                                                           \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "the result is the best checkpoint instead of the last step"},                    \
    {                                                                                              \
        .name = "eval_steps", .kind = QL_ARG_INT, .at = offsetof(T, f.eval_steps),                 \
        .fallback = "0", .lo = 0, .hi = 1e15,                                                      \
        .help = "steps between evaluations, 0 = at the end only"                                   \
    }

#endif /* QLORA_TOOLS_WATCH_ARGS_H */
