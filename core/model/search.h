/*
 * search.h - an answer to a prompt: the likeliest tokens, drawn ones, or the best of several beams.
 *
 * Beam search follows transformers' generate: the score of a sequence of n new tokens is the sum of
 * their log probabilities over n^length_penalty, its end token counted.
 */
#ifndef QLORA_CORE_MODEL_SEARCH_H
#define QLORA_CORE_MODEL_SEARCH_H

#include "core/data/tokenizer.h"
#include "core/model/generate.h"
#include "core/model/logit_rules.h"

typedef enum ql_early_stopping {
    QL_EARLY_FALSE, /* ends when the best beam, as long as it is, is worse than all found       */
    QL_EARLY_TRUE,  /* ends when as many sequences were found as there are beams                */
    QL_EARLY_NEVER  /* like FALSE, but with the longest length where long sequences are favoured */
} ql_early_stopping;

typedef struct ql_search_opts {
    ql_sampling sampling;
    uint64_t first_draw; /* number of the first draw                                         */
    int32_t max_new;     /* the generator's context may end it sooner                        */
    const int32_t *stop; /* ids that end an answer                                           */
    int32_t n_stop;
    ql_logit_rules rules; /* whose eos are filled in from `stop`                             */
    int32_t beams;        /* 0, 1 = one sequence; more: needs as many sequences, no sampling */
    double length_penalty;
    ql_early_stopping early;
    /* Called after each token with the new ids so far, *more = false: enough. While beams run:
     * NULL, and *more counts for nothing. */
    ql_status (*step)(void *user, const ql_ids *ids, bool *more);
    void *user;
} ql_search_opts;

typedef struct ql_answer {
    ql_ids ids;   /* new ones, the id that ended the answer included                          */
    bool stopped; /* by one of `stop`                                                         */
    double score; /* of a beam search                                                         */
} ql_answer;

ql_search_opts ql_search_defaults(void);
/* The answer to prompt[0..n), n >= 1; of a decoder behind an encoder the prompt is its start token,
 * and the source text must be set. Free out->ids. */
QL_NODISCARD ql_status ql_search(ql_generator *g, const ql_search_opts *o, const int32_t *prompt,
                                 int32_t n, ql_answer *out);

#endif
