/*
 * sampler.h - texts that a model writes while it is trained: the prompts, how much room on the
 * device they take, and the lines of samples.jsonl.
 *
 * Prompts come from --sample_prompts, or are the beginnings of the first rows that are evaluated
 * (or trained) on, whose ends are then what is expected. Always the likeliest token is taken, so
 * that what changes from sample to sample is the model.
 */
#ifndef QLORA_TOOLS_SAMPLER_H
#define QLORA_TOOLS_SAMPLER_H

#include "core/train/trainer.h"
#include "tools/data_args.h"
#include "tools/search_args.h"

typedef struct ql_sample_args {
    const char *prompts;
    int64_t steps, max_new;
} ql_sample_args;

/* Rows of a flag table for the member `f` (a ql_sample_args) of the option struct T. */
#define QL_SAMPLE_ARGS(T, f)                                                                       \
    {.name = "sample_steps",                                                                       \
     .kind = QL_ARG_INT,                                                                           \
     .at = offsetof(T, f.steps),                                                                   \
     .fallback = "0",                                                                              \
     .lo = 0,                                                                                      \
     .hi = 1e15,                                                                                   \
     .help = "steps between samples of text, also before and after; 0 = none"},                    \
        {.name = "sample_prompts",                                                                 \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.prompts),                                                             \
         .value = "TEXT",                                                                          \
         .help = "a prompt, or a .jsonl of prompts  [the first rows of the data]"},                \
    {                                                                                              \
        .name = "sample_max_new_tokens", .kind = QL_ARG_INT, .at = offsetof(T, f.max_new),         \
        .fallback = "64", .lo = 1, .hi = 65536, .help = "longest sample"                           \
    }

typedef struct ql_sample_prompt {
    ql_ids ids;
    char *text, *expected; /* as it is shown, owned; expected: NULL = nobody said */
} ql_sample_prompt;

typedef struct ql_sampler {
    ql_sample_prompt *prompts;
    size_t n, cap;
    const ql_tokenizer *tok; /* borrowed; NULL: ids are shown */
    bool encoder;            /* a prompt is a source text     */
    ql_stops stops;
    ql_search_opts search;
    int32_t start; /* the decoder's first token behind an encoder */
} ql_sampler;

/* Are samples wanted? */
bool ql_sample_wanted(const ql_sample_args *a);
/* Reads the prompts; `data` NULL = planning without data. Belongs to QL_STAGE_DATA. */
QL_NODISCARD ql_status ql_sampler_open(const ql_sample_args *a, const ql_model *m,
                                       const ql_data *data, ql_sampler *out);
/* The generator they need; without prompts one for rows of `longest`. */
ql_generator_opts ql_sampler_room(const ql_sampler *s, const ql_model *m, ql_longest longest,
                                  ql_dtype compute);
void ql_sampler_free(ql_sampler *s); /* a zeroed one is empty */

/* What generator g writes to prompt i, as a line {"step", "index" (from 1), "prompt", "expected",
 * "text", "stop"}, owned. */
QL_NODISCARD ql_status ql_sampler_write(const ql_sampler *s, ql_generator *g, size_t i,
                                        int64_t step, json_t **out);

#endif /* QLORA_TOOLS_SAMPLER_H */
