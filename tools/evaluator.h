/*
 * evaluator.h - summed loss of token sequences under a model, and how good its predictions are: one
 * graph for each, many batches.
 */
#ifndef QLORA_TOOLS_EVALUATOR_H
#define QLORA_TOOLS_EVALUATOR_H

#include "core/train/predict.h"

typedef struct ql_evaluator {
    ql_device *dev;
    ql_model *model;
    ql_queue *queue;
    ql_graph *graph;
    ql_buffer *arena;
    ql_memory_report plan;
    float *losses;
    bool predicts; /* the model is no plain decoder */
    ql_predictor predictor;
} ql_evaluator;

/* Plans batches of up to o->batch sequences of the lengths of *o. Nothing is allocated on the
 * device. m and dev outlive the evaluator. */
QL_NODISCARD ql_status ql_evaluator_plan(ql_model *m, ql_device *dev, const ql_predict_opts *o,
                                         ql_evaluator *out);
/* Places the model and allocates what was planned. */
QL_NODISCARD ql_status ql_evaluator_start(ql_evaluator *e);
/* Adds the batch's negative log-likelihood to *nll. */
QL_NODISCARD ql_status ql_evaluator_run(ql_evaluator *e, const ql_batch *b, double *nll);
/* Predictions for every row of d against its answers. */
QL_NODISCARD ql_status ql_evaluator_scores(ql_evaluator *e, const ql_dataset *d, ql_scores *out);
/* Before the model is closed; a zeroed evaluator is empty. */
void ql_evaluator_free(ql_evaluator *e);

#endif /* QLORA_TOOLS_EVALUATOR_H */
