/*
 * logit_rules.h - what may not come next, or must: rules on scores before a token is chosen.
 *
 * They mean what they mean in transformers: a sequence is all that the decoder has read, a prompt
 * or start token included.
 */
#ifndef QLORA_CORE_MODEL_LOGIT_RULES_H
#define QLORA_CORE_MODEL_LOGIT_RULES_H

#include "core/model/model.h"

typedef struct ql_logit_rules {
    int32_t no_repeat_ngram; /* no run of n tokens comes twice; 0 = off                    */
    int32_t min_length;      /* shorter sequences do not end; 0 = off                      */
    int32_t forced_bos;      /* the token behind a sequence of one; -1 = none              */
    int32_t forced_eos;      /* the last token of the longest sequence; -1 = none          */
    const int32_t *eos;      /* ids that end a sequence                                    */
    int32_t n_eos;
} ql_logit_rules;

bool ql_logit_rules_any(const ql_logit_rules *r);
/* scores [vocab] behind ids[0..n) of a search that ends at `longest` tokens: forbidden ones become
 * -infinity, a forced one 0. */
void ql_logit_rules_apply(const ql_logit_rules *r, const int32_t *ids, int32_t n, int32_t longest,
                          float *scores, int64_t vocab);

/* What a model's files say about decoding: generation_config.json, without one config.json. */
typedef struct ql_decoding {
    int32_t start; /* the decoder's first token; -1 = none: a decoder, or mBART    */
    int32_t forced_bos, forced_eos;
} ql_decoding;
QL_NODISCARD ql_status ql_decoding_read(const ql_model *m, ql_decoding *out);

#endif
