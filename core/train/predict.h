/*
 * predict.h - what a model answers on labelled rows, and how good that is.
 *
 * Classes and numbers come from the logits of each sequence; an encoder-decoder is asked, with
 * teacher forcing, for every token of its targets. Works inside a trainer and on its own.
 *
 * Life: plan (records the graph, allocates nothing on the device) -> report -> bind -> run ... ->
 * free. Nothing allocates on the device after bind.
 */
#ifndef QLORA_CORE_TRAIN_PREDICT_H
#define QLORA_CORE_TRAIN_PREDICT_H

#include "core/data/batch.h"
#include "core/model/build.h"
#include "core/train/metric.h"

/* How good the predictions of a data set are; the part of its task is filled. */
typedef struct ql_scores {
    ql_task task;
    int32_t n_labels; /* CLASSIFY: 1 = numbers, otherwise classes */
    int64_t rows;
    ql_class_metrics classes;
    ql_number_metrics numbers;
    ql_sequence_metrics sequences;
} ql_scores;

typedef struct ql_predict_opts {
    ql_dtype compute;
    int32_t batch, max_len, max_source_len; /* rows at once; their longest, 0 = max_len */
} ql_predict_opts;

typedef struct ql_predictor {
    ql_graph *graph;
    ql_model *model;
    int32_t n_labels;
    ql_batch batch;
    float *logits; /* host copy of a batch's: [max_labelled, outputs] */
} ql_predictor;

/* For a model that classifies or has an encoder and a decoder; m and dev outlive the predictor. */
QL_NODISCARD ql_status ql_predictor_plan(ql_model *m, const ql_predict_opts *o, ql_device *dev,
                                         ql_predictor *out);
/* The model must be placed; `arena` as for ql_graph_bind. */
QL_NODISCARD ql_status ql_predictor_bind(ql_predictor *p, ql_buffer *arena);
/* Predicts every row of d. `logits`: [d->n, n_labels] of CLASSIFY, or NULL. */
QL_NODISCARD ql_status ql_predictor_run(ql_predictor *p, ql_queue *queue, const ql_dataset *d,
                                        float *logits, ql_scores *out);
void ql_predictor_free(ql_predictor *p); /* a zeroed predictor is empty */

#endif
