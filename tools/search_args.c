/* search_args.c - see search_args.h. */
#include "tools/search_args.h"

#include <string.h>

static ql_early_stopping early_of(const char *text) {
    if (strcmp(text, "true") == 0) return QL_EARLY_TRUE;
    return strcmp(text, "never") == 0 ? QL_EARLY_NEVER : QL_EARLY_FALSE;
}

static ql_status check_id(const char *flag, int64_t id, const ql_model *m) {
    if (id < m->arch.vocab) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "--%s: id %lld is outside the vocabulary of %lld", flag,
                   (long long)id, (long long)m->arch.vocab);
}

static ql_status find_start(const ql_search_args *a, const ql_model *m, const ql_decoding *d,
                            int32_t *start) {
    bool encoder = m->arch.encoder.layers > 0;
    *start = a->start >= 0 ? (int32_t)a->start : d->start;
    if (!encoder && a->start >= 0)
        return QL_FAIL(QL_ERR_INVALID, "--decoder_start_token_id: a %s model has no encoder",
                       m->arch.family);
    if (encoder && *start < 0)
        return QL_FAIL(QL_ERR_INVALID,
                       "this %s model names no token that answers begin behind: give the "
                       "language's id with --decoder_start_token_id",
                       m->arch.family);
    return QL_OK;
}

ql_status ql_search_args_read(const ql_search_args *a, const ql_model *m, uint64_t seed,
                              const ql_stops *stops, ql_search_opts *out, int32_t *start) {
    ql_decoding d;
    QL_TRY(ql_decoding_read(m, &d));
    QL_TRY(check_id("decoder_start_token_id", a->start, m));
    QL_TRY(check_id("forced_bos_token_id", a->forced_bos, m));
    QL_TRY(find_start(a, m, &d, start));
    ql_search_opts o = ql_search_defaults();
    o.sampling = (ql_sampling){
        .temperature = a->temperature, .top_k = (int32_t)a->top_k, .top_p = a->top_p, .seed = seed};
    o.max_new = (int32_t)a->max_new;
    if (!a->ignore_eos) {
        o.stop = stops->ids;
        o.n_stop = stops->n;
        o.rules.forced_eos = d.forced_eos;
    }
    o.rules.forced_bos = a->forced_bos >= 0 ? (int32_t)a->forced_bos : d.forced_bos;
    o.rules.no_repeat_ngram = (int32_t)a->no_repeat_ngram;
    o.rules.min_length = (int32_t)a->min_length;
    o.beams = (int32_t)a->beams;
    o.length_penalty = a->length_penalty;
    o.early = early_of(a->early);
    if (o.beams > 1 && a->temperature > 0)
        return QL_FAIL(QL_ERR_INVALID, "--num_beams and --temperature: beams are not sampled, give "
                                       "one of the two");
    *out = o;
    return QL_OK;
}
