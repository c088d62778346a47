/*
 * loftq_args.h - flags of adapters that share the weight with their base (LoftQ, PiSSA, OLoRA), and
 * the folder that comes of them: for `qlora loftq`, and for `qlora train` before it trains.
 */
#ifndef QLORA_TOOLS_LOFTQ_ARGS_H
#define QLORA_TOOLS_LOFTQ_ARGS_H

#include "core/loftq/prepare.h"
#include "tools/adapter_args.h"
#include "tools/model_args.h"

typedef struct ql_loftq_args {
    const char *iter, *svd, *keep; /* iter: a number or "auto" */
} ql_loftq_args;

/* Most iterations of --loftq_iter auto. */
#define QL_LOFTQ_AUTO_ITER 16

/* Rows of a flag table for the member `f` (a ql_loftq_args). */
#define QL_LOFTQ_ARGS(T, f)                                                                        \
    {.name = "loftq_iter",                                                                         \
     .kind = QL_ARG_TEXT,                                                                          \
     .at = offsetof(T, f.iter),                                                                    \
     .fallback = "1",                                                                              \
     .value = "T",                                                                                 \
     .help = "LoftQ: iterations, the best is kept; auto: until one is no better"},                 \
        {.name = "loftq_keep",                                                                     \
         .kind = QL_ARG_CHOICE,                                                                    \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.keep),                                                                \
         .fallback = "best",                                                                       \
         .choices = "best last",                                                                   \
         .help = "which iteration is kept; last: as PEFT does"},                                   \
    {                                                                                              \
        .name = "svd", .kind = QL_ARG_CHOICE, .flags = QL_ARG_ADVANCED, .at = offsetof(T, f.svd),  \
        .fallback = "auto", .choices = "auto exact randomized",                                    \
        .help = "how low-rank factors are found; auto: exact up to 640 rows or columns"            \
    }

/* Does --init_lora_weights change the base? */
bool ql_init_splits(const char *init);

typedef struct ql_loftq_job {
    const ql_model_args *model;
    const ql_adapter_args *adapter;
    const ql_loftq_args *loftq;
    const char *output_dir;
    bool layers_only; /* other trained values are the caller's (core/loftq/prepare.h) */
} ql_loftq_job;

/* What was made: the model whose layers the report names (both owned). */
typedef struct ql_loftq_made {
    ql_model *model;
    ql_prepare_report report;
    ql_split_method method;
} ql_loftq_made;
/* Makes the folder. Failures are said on cli->out. */
QL_NODISCARD ql_exit ql_loftq_make(ql_cli *cli, const ql_loftq_job *j, ql_loftq_made *out);
void ql_loftq_made_free(ql_loftq_made *m);

#endif /* QLORA_TOOLS_LOFTQ_ARGS_H */
