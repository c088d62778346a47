/*
 * search.c - one sequence, token by token, and the way to beam search (see search.h).
 */
#include "core/model/search.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/beam.h"

ql_search_opts ql_search_defaults(void) {
    return (ql_search_opts){.sampling = {.top_p = 1},
                            .max_new = 256,
                            .rules = {.forced_bos = -1, .forced_eos = -1},
                            .beams = 1,
                            .length_penalty = 1};
}

static ql_status check(const ql_generator *g, const ql_search_opts *o, int32_t n) {
    const ql_generator_opts *made = ql_generator_options(g);
    const int64_t vocab = ql_generator_model(g)->arch.vocab;
    const ql_logit_rules *r = &o->rules;
    if (n < 1 || n > made->context || o->max_new < 1)
        return QL_FAIL(QL_ERR_INVALID,
                       "a prompt of %d tokens and %d new ones; expected at least one of each and a "
                       "prompt within the context of %d",
                       n, o->max_new, made->context);
    if (r->forced_bos >= vocab || r->forced_eos >= vocab)
        return QL_FAIL(QL_ERR_INVALID, "forced token id %d is outside the vocabulary of %lld",
                       r->forced_bos >= vocab ? r->forced_bos : r->forced_eos, (long long)vocab);
    if (r->no_repeat_ngram < 0 || r->min_length < 0)
        return QL_FAIL(QL_ERR_INVALID, "no_repeat_ngram_size is %d and min_length %d; 0 = off",
                       r->no_repeat_ngram, r->min_length);
    if (o->beams <= 1) return QL_OK;
    if (o->sampling.temperature > 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "beams are not sampled: give a temperature of 0, or 1 beam");
    if (o->beams > made->sequences)
        return QL_FAIL(QL_ERR_INVALID, "%d beams; this generator has room for %d", o->beams,
                       made->sequences);
    if (!isfinite(o->length_penalty))
        return QL_FAIL(QL_ERR_INVALID, "length_penalty must be a finite number");
    return QL_OK;
}

/* ---------------------------------------------------------------- one sequence */

typedef struct single {
    ql_generator *g;
    const ql_search_opts *o;
    int32_t *all;  /* prompt and answer */
    int32_t n;     /* tokens of both    */
    float *scores; /* logits under the rules, NULL without rules */
    int32_t longest;
} single;

static bool is_stop(const ql_search_opts *o, int32_t id) {
    for (int32_t i = 0; i < o->n_stop; i++)
        if (o->stop[i] == id) return true;
    return false;
}

static ql_status choose(single *s, const float *logits, int32_t done, int32_t *id) {
    const int64_t vocab = ql_generator_model(s->g)->arch.vocab;
    if (s->scores) {
        memcpy(s->scores, logits, (size_t)vocab * sizeof *logits);
        ql_logit_rules_apply(&s->o->rules, s->all, s->n, s->longest, s->scores, vocab);
        logits = s->scores;
    }
    return ql_sample(&s->o->sampling, logits, vocab, s->o->first_draw + (uint64_t)done, id);
}

static ql_status run_single(single *s, int32_t prompt, ql_answer *out) {
    const float *logits;
    int32_t id;
    bool more = true;
    QL_TRY(ql_generator_feed(s->g, s->all, prompt, &logits));
    for (;;) {
        QL_TRY(choose(s, logits, s->n - prompt, &id));
        s->all[s->n++] = id;
        QL_TRY(ql_ids_push(&out->ids, id));
        out->stopped = is_stop(s->o, id);
        if (s->o->step) QL_TRY(s->o->step(s->o->user, &out->ids, &more));
        if (!more || out->stopped || s->n == s->longest) return QL_OK;
        QL_TRY(ql_generator_feed(s->g, &id, 1, &logits));
    }
}

static ql_status search_single(ql_generator *g, const ql_search_opts *o, const int32_t *prompt,
                               int32_t n, int32_t longest, ql_answer *out) {
    const size_t vocab = (size_t)ql_generator_model(g)->arch.vocab;
    bool ruled = ql_logit_rules_any(&o->rules);
    single s = {.g = g, .o = o, .n = n, .longest = longest};
    s.all = ql_host_calloc((size_t)longest, sizeof *s.all);
    if (ruled) s.scores = ql_host_calloc(vocab, sizeof *s.scores);
    ql_status status = s.all && (s.scores || !ruled) ? QL_OK : QL_NOMEM("an answer");
    if (status == QL_OK) {
        memcpy(s.all, prompt, (size_t)n * sizeof *prompt);
        status = run_single(&s, n, out);
    }
    ql_host_free(s.all);
    ql_host_free(s.scores);
    return status;
}

ql_status ql_search(ql_generator *g, const ql_search_opts *o, const int32_t *prompt, int32_t n,
                    ql_answer *out) {
    QL_TRY(check(g, o, n));
    ql_search_opts filled = *o;
    filled.rules.eos = o->stop;
    filled.rules.n_eos = o->n_stop;
    /* The last token needs no place in the caches. */
    int32_t room = ql_generator_context(g) - n + 1;
    int32_t longest = n + (o->max_new < room ? o->max_new : room);
    ql_generator_reset(g);
    ql_answer a = {.score = 0};
    ql_status s = o->beams > 1 ? ql_beam_search(g, &filled, prompt, n, longest, &a)
                               : search_single(g, &filled, prompt, n, longest, &a);
    if (s != QL_OK) {
        ql_ids_free(&a.ids);
        return s;
    }
    *out = a;
    return QL_OK;
}
