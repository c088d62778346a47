/*
 * logits.h - logits of every position of one sequence, computed at once and without a cache.
 *
 * The slow and plain way, against which generation through the cache is held.
 */
#ifndef QLORA_TESTS_MODELS_LOGITS_H
#define QLORA_TESTS_MODELS_LOGITS_H

#include "core/model/build.h"

/* m must be placed; out is [n, vocab]: row i is what the model expects after ids[0..i]. */
QL_NODISCARD ql_status logits_of_sequence(ql_model *m, ql_dtype compute, const int32_t *ids,
                                          int32_t n, float *out);
/* The same of a decoder's ids behind an encoder that reads `source`. */
QL_NODISCARD ql_status logits_of_pair(ql_model *m, ql_dtype compute, const int32_t *source,
                                      int32_t n_source, const int32_t *ids, int32_t n, float *out);
/* Places a model on dev with a queue of its own; give the queue back with logits_release. */
QL_NODISCARD ql_status logits_place(ql_model *m, ql_device *dev, ql_queue **out);
void logits_release(ql_model *m, ql_queue *q);
/* Index of the largest of n values, the first of equal ones. */
int32_t logits_argmax(const float *x, int64_t n);

#endif
