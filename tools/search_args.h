/* search_args.h - flags of how an answer is found: sampling, beams, rules. */
#ifndef QLORA_TOOLS_SEARCH_ARGS_H
#define QLORA_TOOLS_SEARCH_ARGS_H

#include "core/model/search.h"
#include "tools/cli.h"
#include "tools/prompt.h"

typedef struct ql_search_args {
    int64_t max_new, top_k, beams, no_repeat_ngram, min_length, start, forced_bos;
    double temperature, top_p, length_penalty;
    const char *early;
    bool ignore_eos;
} ql_search_args;

/* Rows of a flag table for the member `f` (a ql_search_args). */
#define QL_SEARCH_ARGS(T, f)                                                                       \
    {.name = "max_new_tokens",                                                                     \
     .also = "-n",                                                                                 \
     .kind = QL_ARG_INT,                                                                           \
     .at = offsetof(T, f.max_new),                                                                 \
     .fallback = "256",                                                                            \
     .lo = 1,                                                                                      \
     .hi = 1 << 22,                                                                                \
     .help = "longest answer"},                                                                    \
        {.name = "temperature",                                                                    \
         .also = "--temp",                                                                         \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.temperature),                                                         \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 100,                                                                                \
         .help = "0 = always the likeliest token"},                                                \
        {.name = "top_k",                                                                          \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.top_k),                                                               \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 24,                                                                            \
         .help = "draw from the N likeliest, 0 = all"},                                            \
        {.name = "top_p",                                                                          \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.top_p),                                                               \
         .fallback = "1",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1,                                                                                  \
         .help = "draw from the likeliest with this share, 1 = all"},                              \
        {.name = "num_beams",                                                                      \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.beams),                                                               \
         .fallback = "1",                                                                          \
         .lo = 1,                                                                                  \
         .hi = 1024,                                                                               \
         .help = "beam search with N sequences at once"},                                          \
        {.name = "length_penalty",                                                                 \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.length_penalty),                                                      \
         .fallback = "1",                                                                          \
         .lo = -100,                                                                               \
         .hi = 100,                                                                                \
         .help = "beams: score = log probability / length^X; more favours long answers"},          \
        {.name = "early_stopping",                                                                 \
         .kind = QL_ARG_CHOICE,                                                                    \
         .at = offsetof(T, f.early),                                                               \
         .fallback = "false",                                                                      \
         .choices = "false true never",                                                            \
         .help = "beams: stop with the first N answers, or when none can get better"},             \
        {.name = "no_repeat_ngram_size",                                                           \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.no_repeat_ngram),                                                     \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 20,                                                                            \
         .help = "no run of N tokens comes twice, 0 = off"},                                       \
        {.name = "min_length",                                                                     \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.min_length),                                                          \
         .fallback = "0",                                                                          \
         .lo = 0,                                                                                  \
         .hi = 1 << 22,                                                                            \
         .help = "no end before so many tokens, those that the decoder is given counted"},         \
        {.name = "forced_bos_token_id",                                                            \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.forced_bos),                                                          \
         .fallback = "-1",                                                                         \
         .lo = -1,                                                                                 \
         .hi = INT32_MAX,                                                                          \
         .help = "first token of the answer, -1 = as the model's files say"},                      \
        {.name = "decoder_start_token_id",                                                         \
         .kind = QL_ARG_INT,                                                                       \
         .flags = QL_ARG_ADVANCED,                                                                 \
         .at = offsetof(T, f.start),                                                               \
         .fallback = "-1",                                                                         \
         .lo = -1,                                                                                 \
         .hi = INT32_MAX,                                                                          \
         .help = "what an encoder-decoder's answer begins behind; mBART: the language"},           \
    {                                                                                              \
        .name = "ignore_eos", .kind = QL_ARG_BOOL, .flags = QL_ARG_ADVANCED,                       \
        .at = offsetof(T, f.ignore_eos), .help = "go on to --max_new_tokens"                       \
    }

/* The search that the flags ask for, over what the model's files say. `stops` outlives *out.
 * *start: the decoder's first token, -1 for a model without an encoder. */
QL_NODISCARD ql_status ql_search_args_read(const ql_search_args *a, const ql_model *m,
                                           uint64_t seed, const ql_stops *stops,
                                           ql_search_opts *out, int32_t *start);

#endif /* QLORA_TOOLS_SEARCH_ARGS_H */
