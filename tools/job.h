/*
 * job.h - a training run before it starts: device, model with adapters, data, options and the exact
 * memory plan. `train` and `plan` open the same job, so what is planned is what is run.
 */
#ifndef QLORA_TOOLS_JOB_H
#define QLORA_TOOLS_JOB_H

#include "core/train/budget.h"
#include "tools/adapter_args.h"
#include "tools/bits_args.h"
#include "tools/loftq_args.h"
#include "tools/model_args.h"
#include "tools/sampler.h"
#include "tools/train_args.h"

typedef struct ql_job_args {
    ql_model_args model;
    ql_bits_args bits;
    ql_adapter_args adapter;
    ql_loftq_args loftq;
    ql_data_args data;
    ql_train_args train;
    ql_sample_args sample;
} ql_job_args;

#define QL_JOB_ARGS(T, f, dataset_flags)                                                           \
    QL_MODEL_ARGS(T, f.model, "4", "2, 3, 4, 8, or 16 = as the files hold it"),                    \
        QL_BITS_ARGS(T, f.bits), QL_DATA_ARGS(T, f.data, dataset_flags),                           \
        QL_ADAPTER_ARGS(T, f.adapter), QL_LOFTQ_ARGS(T, f.loftq), QL_TRAIN_ARGS(T, f.train),       \
        QL_SAMPLE_ARGS(T, f.sample)

typedef struct ql_job {
    const ql_job_args *args;
    ql_device *dev;
    ql_model *model;
    ql_data data;
    bool has_data;
    ql_sampler sampler; /* empty: no samples */
    ql_train_opts opts;
    ql_memory_report plan;
    uint64_t budget;
    ql_rung rung; /* what the budget cost; QL_RUNG_COUNT: the run does not fit */
} ql_job;

/* Opens everything but places nothing on the device. `shapes`: a model without weights will do, and
 * so will no data set. Failures are said on cli->out. Does not compare plan and budget. */
QL_NODISCARD ql_exit ql_job_open(ql_cli *cli, const ql_job_args *a, bool shapes, ql_job *out);
void ql_job_close(ql_job *j);

#endif /* QLORA_TOOLS_JOB_H */
