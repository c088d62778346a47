/*
 * generate.h - tokens one after another through a key/value cache.
 */
#ifndef QLORA_CORE_MODEL_GENERATE_H
#define QLORA_CORE_MODEL_GENERATE_H

#include "core/model/build.h"

typedef struct ql_sampling {
    double temperature; /* 0 = greedy                                    */
    int32_t top_k;      /* 0 = off                                       */
    double top_p;       /* 1 = off                                       */
    uint64_t seed;      /* draws depend on (seed, number of the token)   */
} ql_sampling;

typedef struct ql_generator ql_generator;

/* Exact device bytes for `context` positions of cache. */
QL_NODISCARD ql_status ql_generator_plan(ql_model *m, ql_dtype compute, int32_t context,
                                         ql_device *dev, ql_memory_report *out);
/* Places the model on dev unless it is placed already (then dev must be the same). Adapters keep
 * their values. m and dev outlive the generator. */
QL_NODISCARD ql_status ql_generator_create(ql_model *m, ql_dtype compute, int32_t context,
                                           ql_device *dev, ql_generator **out);
void ql_generator_free(ql_generator *g); /* NULL ok */
/* Bytes on the device and how they are used. */
const ql_memory_report *ql_generator_report(const ql_generator *g);
/* Forgets the conversation. */
void ql_generator_reset(ql_generator *g);
int32_t ql_generator_position(const ql_generator *g);
int32_t ql_generator_context(const ql_generator *g);
/* Appends n tokens; *logits: [vocab] after the last one, borrowed until the next call. */
QL_NODISCARD ql_status ql_generator_feed(ql_generator *g, const int32_t *ids, int32_t n,
                                         const float **logits);
/* The next token from logits [vocab]; `index` numbers the draw. A NaN is QL_ERR_NUMERIC. */
QL_NODISCARD ql_status ql_sample(const ql_sampling *s, const float *logits, int64_t vocab,
                                 uint64_t index, int32_t *out);

#endif
