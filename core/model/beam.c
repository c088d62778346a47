/*
 * beam.c - the k best unfinished sequences go on together (see search.h for the score).
 *
 * Every step takes the (1 + number of end tokens) k best continuations of all beams. Those that end
 * (an end token, or the longest length) are done: of the first k of them the best k ever are kept.
 * The best k of the others are the next beams. Scores are floats and equal ones keep their order,
 * beams before tokens. Ends that are not reached yet have the score NOT_YET.
 */
#include "core/model/beam.h"

#include <math.h>
#include <string.h>

#include "core/base/hostmem.h"

#define NOT_YET (-1e9f)

typedef struct hypothesis {
    int32_t *ids; /* new tokens */
    int32_t n;
    float score;
    bool done;
} hypothesis;

typedef struct candidate {
    float score; /* sum of log probabilities */
    int32_t beam, id;
    bool ends, taken;
} candidate;

typedef struct search {
    ql_generator *g;
    const ql_search_opts *o;
    int32_t beams, kept;        /* k; candidates of a step                                     */
    int32_t prompt, n, longest; /* tokens: of the prompt, of each beam, at most         */
    int64_t vocab;
    int32_t *tokens;            /* [4 k, longest] behind the following                  */
    int32_t *beam, *other;      /* [k, longest] the beams, prompt included; their successors */
    float *score;               /* [k] sums of log probabilities                        */
    hypothesis *lists;          /* [2 k] behind the following                           */
    hypothesis *found, *merged; /* [k] the best that ended; those of the next step      */
    candidate *best;            /* [kept], falling scores                               */
    float *row;                 /* [vocab]                                              */
    int32_t *parent, *ids;      /* [k] each                                             */
    bool hopeful;               /* a beam may still become better than what was found   */
} search;

static ql_status allocate(search *s) {
    size_t k = (size_t)s->beams, longest = (size_t)s->longest;
    s->beam = s->tokens = ql_host_calloc(4 * k, longest * sizeof(int32_t));
    s->found = s->lists = ql_host_calloc(2 * k, sizeof(hypothesis));
    s->best = ql_host_calloc((size_t)s->kept, sizeof(candidate));
    s->row = ql_host_calloc((size_t)s->vocab, sizeof(float));
    s->score = ql_host_calloc(k, sizeof(float));
    s->parent = ql_host_calloc(2 * k, sizeof(int32_t));
    if (!s->tokens || !s->lists || !s->best || !s->row || !s->score || !s->parent)
        return QL_NOMEM("a beam search");
    s->other = s->beam + k * longest;
    s->merged = s->found + k;
    s->ids = s->parent + k;
    for (size_t i = 0; i < 2 * k; i++)
        s->found[i] = (hypothesis){.ids = s->other + (k + i) * longest, .score = NOT_YET};
    return QL_OK;
}

static void release(search *s) {
    ql_host_free(s->tokens);
    ql_host_free(s->lists);
    ql_host_free(s->best);
    ql_host_free(s->row);
    ql_host_free(s->score);
    ql_host_free(s->parent);
}

/* ---------------------------------------------------------------- candidates */

/* row = log softmax(logits) under the rules. */
static ql_status log_probabilities(search *s, const float *logits, const int32_t *ids) {
    float top = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        if (logits[i] > top) top = logits[i];
    for (int64_t i = 0; i < s->vocab; i++) sum += exp((double)logits[i] - (double)top);
    if (!(sum > 0) || !isfinite(sum))
        return QL_FAIL(QL_ERR_NUMERIC, "the logits have no finite sum: the model or adapter is "
                                       "damaged");
    double norm = (double)top + log(sum);
    for (int64_t i = 0; i < s->vocab; i++) s->row[i] = (float)((double)logits[i] - norm);
    ql_logit_rules_apply(&s->o->rules, ids, s->n, s->longest, s->row, s->vocab);
    return QL_OK;
}

static bool is_stop(const ql_search_opts *o, int32_t id) {
    for (int32_t i = 0; i < o->n_stop; i++)
        if (o->stop[i] == id) return true;
    return false;
}

/* Keeps c among the best when it is; equal scores stay in the order of their coming. */
static int32_t insert(search *s, int32_t have, candidate c) {
    if (have == s->kept && !(c.score > s->best[have - 1].score)) return have;
    int32_t at = have < s->kept ? have++ : have - 1;
    for (; at > 0 && c.score > s->best[at - 1].score; at--) s->best[at] = s->best[at - 1];
    s->best[at] = c;
    return have;
}

/* The best continuations of all beams; in the first step they are all the same sequence. */
static ql_status find_best(search *s, const float *logits, bool first) {
    int32_t have = 0;
    for (int32_t b = 0; b < s->beams; b++) {
        QL_TRY(log_probabilities(s, logits + (first ? 0 : b * s->vocab),
                                 s->beam + (int64_t)b * s->longest));
        for (int64_t i = 0; i < s->vocab; i++) {
            const candidate c = {.score = s->row[i] + s->score[b], .beam = b, .id = (int32_t)i};
            have = insert(s, have, c);
        }
    }
    for (int32_t i = 0; i < have; i++)
        s->best[i].ends = is_stop(s->o, s->best[i].id) || s->n + 1 == s->longest;
    return QL_OK;
}

/* ---------------------------------------------------------------- what has ended */

static bool all_done(const search *s) {
    for (int32_t i = 0; i < s->beams; i++)
        if (!s->found[i].done) return false;
    return true;
}

/* The score of candidate i as a sequence that ended, NOT_YET and worse where it did not. */
static float final_score(const search *s, int32_t i, bool full) {
    double length = s->n + 1 - s->prompt;
    if (s->best[i].score == -INFINITY) return -INFINITY;
    float score = (float)((double)s->best[i].score / pow(length, s->o->length_penalty));
    if (full) score += NOT_YET;
    if (!s->hopeful) score += NOT_YET;
    return s->best[i].ends && i < s->beams ? score : score + NOT_YET;
}

static void take_candidate(const search *s, int32_t i, float score, hypothesis *h) {
    const candidate *c = &s->best[i];
    h->n = s->n + 1 - s->prompt;
    h->score = score;
    h->done = c->ends && i < s->beams;
    memcpy(h->ids, s->beam + (int64_t)c->beam * s->longest + s->prompt,
           (size_t)(h->n - 1) * sizeof *h->ids);
    h->ids[h->n - 1] = c->id;
}

static void copy_hypothesis(const hypothesis *from, hypothesis *to) {
    int32_t *own = to->ids;
    memcpy(own, from->ids, (size_t)from->n * sizeof *own);
    *to = *from;
    to->ids = own;
}

/* The best candidate that is not taken, the first of equal ones. */
static int32_t best_end(const search *s, bool full, float *score) {
    int32_t best = -1;
    *score = -INFINITY;
    for (int32_t i = 0; i < s->kept; i++) {
        float x = final_score(s, i, full);
        if (s->best[i].taken || (best >= 0 && !(x > *score))) continue;
        best = i;
        *score = x;
    }
    return best;
}

/* found = the best k of found and of this step's ends. */
static void merge_found(search *s) {
    bool full = s->o->early == QL_EARLY_TRUE && all_done(s);
    int32_t old = 0;
    for (int32_t slot = 0; slot < s->beams; slot++) {
        float score;
        int32_t next = best_end(s, full, &score);
        if (s->found[old].score >= score) {
            copy_hypothesis(&s->found[old++], &s->merged[slot]);
            continue;
        }
        s->best[next].taken = true;
        take_candidate(s, next, score, &s->merged[slot]);
    }
    hypothesis *swap = s->found;
    s->found = s->merged;
    s->merged = swap;
}

/* ---------------------------------------------------------------- what goes on */

/* The best k candidates that did not end become the beams. */
static void next_beams(search *s) {
    int32_t b = 0;
    for (int32_t i = 0; i < s->kept && b < s->beams; i++) {
        const candidate *c = &s->best[i];
        if (c->ends) continue;
        int32_t *to = s->other + (int64_t)b * s->longest;
        memcpy(to, s->beam + (int64_t)c->beam * s->longest, (size_t)s->n * sizeof *to);
        to[s->n] = s->ids[b] = c->id;
        s->parent[b] = c->beam;
        s->score[b++] = c->score;
    }
    int32_t *swap = s->beam;
    s->beam = s->other;
    s->other = swap;
    s->n++;
}

/* Can the best beam become better than what was found? Judged by its present length, or with
 * QL_EARLY_NEVER by the longest where that helps. */
static bool may_improve(const search *s) {
    bool far = s->o->early == QL_EARLY_NEVER && s->o->length_penalty > 0;
    double length = (far ? s->longest : s->n) - s->prompt;
    float best = (float)((double)s->score[0] / pow(length, s->o->length_penalty));
    float worst = s->found[s->beams - 1].score; /* they are sorted */
    for (int32_t i = 0; i < s->beams; i++)
        if (best > (s->found[i].done ? worst : NOT_YET)) return true;
    return false;
}

/* One step on the host: true = there are beams to go on with. */
static bool advance(search *s) {
    bool last = s->n + 1 == s->longest;
    merge_found(s);
    if (last) return false;
    next_beams(s);
    s->hopeful = s->hopeful && may_improve(s);
    return s->hopeful && !(s->o->early == QL_EARLY_TRUE && all_done(s));
}

static ql_status run(search *s, const int32_t *prompt) {
    const float *logits;
    bool more = true;
    QL_TRY(ql_generator_feed(s->g, prompt, s->prompt, &logits));
    for (bool first = true;; first = false) {
        QL_TRY(find_best(s, logits, first));
        if (!advance(s)) return QL_OK;
        if (first) memset(s->parent, 0, (size_t)s->beams * sizeof *s->parent);
        if (s->o->step) QL_TRY(s->o->step(s->o->user, NULL, &more));
        QL_TRY(ql_generator_step(s->g, s->beams, s->parent, s->ids, &logits));
    }
}

static ql_status answer(const search *s, ql_answer *out) {
    const hypothesis *h = &s->found[0];
    if (!h->done) return QL_FAIL(QL_ERR_INVALID, "no token may come next: every one is forbidden");
    for (int32_t i = 0; i < h->n; i++) QL_TRY(ql_ids_push(&out->ids, h->ids[i]));
    out->stopped = is_stop(s->o, h->ids[h->n - 1]);
    out->score = (double)h->score;
    return QL_OK;
}

ql_status ql_beam_search(ql_generator *g, const ql_search_opts *o, const int32_t *prompt, int32_t n,
                         int32_t longest, ql_answer *out) {
    search s = {.g = g,
                .o = o,
                .beams = o->beams,
                .prompt = n,
                .n = n,
                .longest = longest,
                .vocab = ql_generator_model(g)->arch.vocab,
                .hopeful = true};
    int64_t ends = o->n_stop > 1 ? o->n_stop : 1;
    if ((1 + ends) * o->beams > s.vocab)
        return QL_FAIL(QL_ERR_INVALID,
                       "%d beams with %d end tokens are too many for a vocabulary of %lld",
                       o->beams, o->n_stop, (long long)s.vocab);
    s.kept = (int32_t)(1 + ends) * o->beams;
    ql_status status = allocate(&s);
    for (int32_t b = 0; b < s.beams && status == QL_OK; b++) {
        memcpy(s.beam + (int64_t)b * longest, prompt, (size_t)n * sizeof *prompt);
        s.score[b] = b ? NOT_YET : 0; /* equal beams would find the same: the first finds */
    }
    if (status == QL_OK) status = run(&s, prompt);
    if (status == QL_OK) status = answer(&s, out);
    release(&s);
    return status;
}
