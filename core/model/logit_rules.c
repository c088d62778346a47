/*
 * logit_rules.c - see logit_rules.h.
 */
#include "core/model/logit_rules.h"

#include <math.h>
#include <string.h>

bool ql_logit_rules_any(const ql_logit_rules *r) {
    return r->no_repeat_ngram > 0 || r->min_length > 0 || r->forced_bos >= 0 || r->forced_eos >= 0;
}

static void force(int32_t id, float *scores, int64_t vocab) {
    for (int64_t i = 0; i < vocab; i++) scores[i] = -INFINITY;
    scores[id] = 0;
}

/* Forbids x where the last size - 1 tokens and x have been there before. */
static void forbid_repeats(int32_t size, const int32_t *ids, int32_t n, float *scores) {
    const int32_t *tail = ids + n - (size - 1);
    for (int32_t i = 0; i + size <= n; i++)
        if (memcmp(ids + i, tail, (size_t)(size - 1) * sizeof *ids) == 0)
            scores[ids[i + size - 1]] = -INFINITY;
}

void ql_logit_rules_apply(const ql_logit_rules *r, const int32_t *ids, int32_t n, int32_t longest,
                          float *scores, int64_t vocab) {
    if (r->no_repeat_ngram > 0 && n >= r->no_repeat_ngram)
        forbid_repeats(r->no_repeat_ngram, ids, n, scores);
    if (n < r->min_length)
        for (int32_t i = 0; i < r->n_eos; i++) /* a tokenizer may know more ids than the model */
            if (r->eos[i] >= 0 && r->eos[i] < vocab) scores[r->eos[i]] = -INFINITY;
    if (r->forced_bos >= 0 && n == 1) force(r->forced_bos, scores, vocab);
    if (r->forced_eos >= 0 && n == longest - 1) force(r->forced_eos, scores, vocab);
}

/* An id, or a list of one. */
static ql_status read_id(const json_t *c, const char *what, const char *key, int64_t vocab,
                         int32_t *out) {
    const json_t *v = json_object_get(c, key);
    if (json_is_array(v) && json_array_size(v) == 1) v = json_array_get(v, 0);
    if (!v || json_is_null(v)) return QL_OK;
    json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
    if (id < 0 || id >= vocab)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %s must be one token id below %lld", what, key,
                       (long long)vocab);
    *out = (int32_t)id;
    return QL_OK;
}

ql_status ql_decoding_read(const ql_model *m, ql_decoding *out) {
    ql_decoding d = {.start = -1, .forced_bos = -1, .forced_eos = -1};
    const json_t *own = ql_source_generation_config(m->source);
    const json_t *config = ql_source_config(m->source), *c = own ? own : config;
    const char *what = ql_source_path(m->source);
    int64_t vocab = m->arch.vocab;
    if (m->arch.encoder.layers) {
        d.start = m->arch.decoder_start;
        QL_TRY(read_id(config, what, "decoder_start_token_id", vocab, &d.start));
        QL_TRY(read_id(c, what, "decoder_start_token_id", vocab, &d.start));
    }
    QL_TRY(read_id(c, what, "forced_bos_token_id", vocab, &d.forced_bos));
    QL_TRY(read_id(c, what, "forced_eos_token_id", vocab, &d.forced_eos));
    *out = d;
    return QL_OK;
}
