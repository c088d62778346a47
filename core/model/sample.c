/*
 * sample.c - the next token from logits: greedy, or temperature with top-k and top-p.
 */
#include <math.h>
#include <stdlib.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/model/generate.h"

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* Largest first; equal logits in the order of ids, so the result is deterministic. */
static int by_logit(const void *pa, const void *pb) {
    const candidate *a = pa, *b = pb;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return a->id < b->id ? -1 : 1;
}

static ql_status draw(const ql_sampling *s, candidate *c, int64_t n, uint64_t index, int32_t *out) {
    qsort(c, (size_t)n, sizeof *c, by_logit);
    if (s->top_k > 0 && s->top_k < n) n = s->top_k;
    double total = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) total += exp((c[i].logit - c[0].logit) / s->temperature);
    int64_t keep = 0;
    while (keep < n && (keep == 0 || kept < s->top_p * total))
        kept += exp((c[keep++].logit - c[0].logit) / s->temperature);
    ql_stream stream = ql_stream_make(s->seed, QL_STREAM_SAMPLE, index);
    double at = ql_stream_uniform(&stream) * kept;
    int64_t i = 0;
    for (double sum = 0; i < keep - 1; i++) {
        sum += exp((c[i].logit - c[0].logit) / s->temperature);
        if (at < sum) break;
    }
    *out = c[i].id;
    return QL_OK;
}

ql_status ql_sample(const ql_sampling *s, const float *logits, int64_t vocab, uint64_t index,
                    int32_t *out) {
    int64_t best = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]))
            return QL_FAIL(QL_ERR_NUMERIC, "logit %lld is NaN: the model or adapter is damaged",
                           (long long)i);
        if (logits[i] > logits[best]) best = i;
    }
    if (logits[best] == -INFINITY)
        return QL_FAIL(QL_ERR_INVALID, "no token may come next: every one is forbidden");
    if (s->temperature <= 0) {
        *out = (int32_t)best;
        return QL_OK;
    }
    candidate *c = ql_host_calloc((size_t)vocab, sizeof *c);
    if (!c) return QL_NOMEM("sampling");
    for (int64_t i = 0; i < vocab; i++) c[i] = (candidate){logits[i], (int32_t)i};
    ql_status status = draw(s, c, vocab, index, out);
    ql_host_free(c);
    return status;
}
