/*
 * train_base.h - `qlora train --init_lora_weights loftq|pissa|olora`: the base that belongs to such
 * an adapter is made once, in RUN/base, and trained on from there.
 */
#ifndef QLORA_TOOLS_TRAIN_BASE_H
#define QLORA_TOOLS_TRAIN_BASE_H

#include "tools/job.h"

typedef struct ql_train_base {
    ql_job_args args;      /* the run's, with RUN/base for the model */
    char dir[QL_PATH_MAX]; /* RUN/base; "" = the run needs none      */
    char adapter[QL_PATH_MAX];
} ql_train_base;

/* Makes RUN/base, or takes the one that is there when it was made with the same settings. `going
 * on`: from a checkpoint, which needs the very base that it was trained on. Failures are said. */
QL_NODISCARD ql_exit ql_train_base_make(ql_cli *cli, const ql_job_args *a, const char *run,
                                        bool going_on, ql_train_base *out);

#endif /* QLORA_TOOLS_TRAIN_BASE_H */
