/*
 * work.h - `qlora bench train` and `generate`: whole steps of an open decoder model on random
 * tokens.
 */
#ifndef QLORA_CORE_BENCH_WORK_H
#define QLORA_CORE_BENCH_WORK_H

#include "core/bench/row.h"
#include "core/model/model.h"

typedef struct ql_bench_work {
    int32_t batch;      /* train: sequences per step                           */
    int32_t tokens;     /* of each sequence, and of the prompt                 */
    int32_t new_tokens; /* generate: greedy ones per run                       */
    int32_t rank;       /* train: of the adapters on all linear layers         */
    bool checkpointing; /* train: every block is computed again in backward    */
    ql_dtype compute;
    double seconds; /* of measuring, per row */
    uint64_t seed;
} ql_bench_work;

/* FLOP of one training step per token, from the model's shapes: the useful work that a share counts
 * (formula in work.c). Adapters must be attached. */
double ql_bench_step_flop(ql_model *m, int32_t tokens, bool checkpointing);

/* A QLoRA step, every token labelled: row "train_step", its share that of the fp32 limit. Attaches
 * adapters and places the model, so m must be freshly open; dev is a counting device. */
QL_NODISCARD ql_status ql_bench_train(ql_model *m, const ql_bench_work *w, ql_device *dev,
                                      const ql_bench_peaks *peaks, const ql_bench_sink *sink);

/* Rows "prompt" and "generate": tokens per second of each. */
QL_NODISCARD ql_status ql_bench_generate(ql_model *m, const ql_bench_work *w, ql_device *dev,
                                         const ql_bench_sink *sink);

#endif /* QLORA_CORE_BENCH_WORK_H */
