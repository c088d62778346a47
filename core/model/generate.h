/*
 * generate.h - tokens one after another through a key/value cache; sequences side by side.
 *
 * A generator runs a decoder, or an encoder once per source text and then its decoder. It holds a
 * number of live sequences of equal length: one after a reset, as many as were asked for after a
 * step, each going on from one of those before it. Nothing allocates on the device after creation.
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

typedef struct ql_generator_opts {
    ql_dtype compute;
    int32_t context;   /* positions of a sequence: prompt and answer               */
    int32_t sequences; /* at once, 1 to 1024                                       */
    int32_t source;    /* longest source text; 0 without an encoder                */
} ql_generator_opts;

typedef struct ql_generator ql_generator;

/* Exact device bytes: caches, graphs, and the model's own. */
QL_NODISCARD ql_status ql_generator_plan_for(ql_model *m, const ql_generator_opts *o,
                                             ql_device *dev, ql_memory_report *out);
/* Places the model on dev unless it is placed already (then dev must be the same). Adapters keep
 * their values. m and dev outlive the generator. */
QL_NODISCARD ql_status ql_generator_create_for(ql_model *m, const ql_generator_opts *o,
                                               ql_device *dev, ql_generator **out);
/* The same for one sequence of a decoder. */
QL_NODISCARD ql_status ql_generator_plan(ql_model *m, ql_dtype compute, int32_t context,
                                         ql_device *dev, ql_memory_report *out);
QL_NODISCARD ql_status ql_generator_create(ql_model *m, ql_dtype compute, int32_t context,
                                           ql_device *dev, ql_generator **out);
/* A generator inside something that has an arena and reports memory, such as a trainer: recorded
 * (nothing is allocated), counted, and bound to the arena when the model is placed. Between its
 * runs the arena may serve others; the caches are the generator's own. */
QL_NODISCARD ql_status ql_generator_record(ql_model *m, const ql_generator_opts *o, ql_device *dev,
                                           ql_generator **out);
QL_NODISCARD ql_status ql_generator_count(const ql_generator *g, ql_memory_report *r);
QL_NODISCARD ql_status ql_generator_bind(ql_generator *g, ql_buffer *arena);
void ql_generator_free(ql_generator *g); /* NULL ok */
/* Bytes on the device and how they are used. */
const ql_memory_report *ql_generator_report(const ql_generator *g);
/* Forgets the conversation; the source text stays. */
void ql_generator_reset(ql_generator *g);
int32_t ql_generator_position(const ql_generator *g); /* tokens of each live sequence */
int32_t ql_generator_context(const ql_generator *g);
const ql_generator_opts *ql_generator_options(const ql_generator *g);
const ql_model *ql_generator_model(const ql_generator *g);

/* Runs the encoder over a source text; resets. The decoder then begins with its start token. */
QL_NODISCARD ql_status ql_generator_set_source(ql_generator *g, const int32_t *ids, int32_t n);
/* Appends n tokens to the only live sequence; *logits: [vocab] after the last one, borrowed until
 * the next call. */
QL_NODISCARD ql_status ql_generator_feed(ql_generator *g, const int32_t *ids, int32_t n,
                                         const float **logits);
/* n sequences live on: s is the one that was number parent[s], and ids[s] behind it. *logits:
 * [n, vocab], borrowed until the next call. */
QL_NODISCARD ql_status ql_generator_step(ql_generator *g, int32_t n, const int32_t *parent,
                                         const int32_t *ids, const float **logits);

/* The next token from logits [vocab]; `index` numbers the draw. A NaN is QL_ERR_NUMERIC. */
QL_NODISCARD ql_status ql_sample(const ql_sampling *s, const float *logits, int64_t vocab,
                                 uint64_t index, int32_t *out);

#endif
