/* evaluator.h - summed loss of token sequences under a model: one graph, many batches. */
#ifndef QLORA_TOOLS_EVALUATOR_H
#define QLORA_TOOLS_EVALUATOR_H

#include "core/data/batch.h"
#include "core/model/build.h"

typedef struct ql_evaluator {
    ql_device *dev;
    ql_model *model;
    ql_queue *queue;
    ql_graph *graph;
    ql_buffer *arena;
    ql_memory_report plan;
    float *losses;
} ql_evaluator;

/* Plans batches of up to `seqs` sequences of at most `longest` tokens each. Nothing is allocated on
 * the device. m and dev outlive the evaluator. */
QL_NODISCARD ql_status ql_evaluator_plan(ql_model *m, ql_device *dev, ql_dtype compute,
                                         int32_t longest, int32_t seqs, ql_evaluator *out);
/* Places the model and allocates what was planned. */
QL_NODISCARD ql_status ql_evaluator_start(ql_evaluator *e);
/* Adds the batch's negative log-likelihood to *nll. */
QL_NODISCARD ql_status ql_evaluator_run(ql_evaluator *e, const ql_batch *b, double *nll);
/* Before the model is closed; a zeroed evaluator is empty. */
void ql_evaluator_free(ql_evaluator *e);

#endif /* QLORA_TOOLS_EVALUATOR_H */
