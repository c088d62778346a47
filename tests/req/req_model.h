/*
 * req_model.h - models for the requirement tests: any llama shape with random weights, and the
 * logits of a model.
 */
#ifndef QLORA_TESTS_REQ_REQ_MODEL_H
#define QLORA_TESTS_REQ_REQ_MODEL_H

#include "tests/support/engine.h"

typedef struct req_shape {
    int hidden, ffn, layers, heads, kv_heads, vocab, positions;
    bool tied;
} req_shape;

/* A folder with config.json and model.safetensors (BF16, N(0, 0.02^2), seed 1) in the test's
 * temporary folder; borrowed. */
const char *req_write_llama(const char *name, const req_shape *s);
/* The same without weights, for planning: opened with these options. */
ql_model *req_plan_llama(const req_shape *s, const ql_model_opts *o);
/* A folder opened; `bits` 16 = as stored. Gradients and moments are there when `train`. */
ql_model *req_open(const char *dir, int bits, bool train);

/* Logits after each but the last of the fixed tokens 3, 10, 17, ... (n of them), [n - 1, vocab]
 * (room for n); free with free(). Places the model on dev and initializes adapters unless it is
 * placed; the caller closes it before the queue, which *queue receives. */
float *req_logits(ql_model *m, ql_device *dev, ql_queue **queue, int n);

#endif
