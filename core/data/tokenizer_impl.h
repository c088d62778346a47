/*
 * tokenizer_impl.h - what a tokenizer is made of, and the loaders that fill it.
 *
 * Encoding: added tokens of the raw text -> normalizer -> added tokens of normalized text ->
 * pre-tokenizer -> BPE, with `prefix` and `suffix` around it. Decoding: pieces -> decoder.
 */
#ifndef QLORA_CORE_DATA_TOKENIZER_IMPL_H
#define QLORA_CORE_DATA_TOKENIZER_IMPL_H

#include <jansson.h>

#include "core/data/added.h"
#include "core/data/bpe.h"
#include "core/data/decode.h"
#include "core/data/normalize.h"
#include "core/data/pretok.h"
#include "core/data/tokenizer.h"
#include "core/data/vocab.h"

struct ql_tokenizer {
    ql_vocab vocab;
    ql_bpe bpe;
    ql_added_set raw, normalized;
    ql_normalizer normalizer;
    ql_pretok pretok;
    ql_decoder decoder;
    ql_ids prefix, suffix; /* what ADD_SPECIAL puts around the ids */
    int32_t bos, eos, pad; /* -1 = none */
    char *chat_template;   /* NULL = none */
};

/* Each fills a zeroed tokenizer with bos, eos, pad and unk_id at -1; the caller closes it. */
QL_NODISCARD ql_status ql_tokenizer_load_json(ql_tokenizer *t, const char *path);
QL_NODISCARD ql_status ql_tokenizer_load_gguf(ql_tokenizer *t, const char *path);
/* The parts of tokenizer.json that are lists of components. */
QL_NODISCARD ql_status ql_tokenizer_load_normalizer(ql_tokenizer *t, const json_t *root,
                                                    const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_pretok(ql_tokenizer *t, const json_t *root,
                                                const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_decoder(ql_tokenizer *t, const json_t *root,
                                                 const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_postprocessor(ql_tokenizer *t, const json_t *root,
                                                       const char *what);
/* The files beside tokenizer.json: names of special tokens, chat template, bos and eos switches. */
QL_NODISCARD ql_status ql_tokenizer_load_config(ql_tokenizer *t, const char *dir);

typedef struct ql_added_spec {
    const char *content;
    size_t len;
    int64_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} ql_added_spec;
/* Reads content, len and the flags of an object {"content": ..., "lstrip": ...}. */
QL_NODISCARD ql_status ql_added_spec_read(const json_t *o, const char *what, ql_added_spec *out);
/* Puts the token into the vocabulary and into the set that finds it; once per token. */
QL_NODISCARD ql_status ql_tokenizer_add(ql_tokenizer *t, const ql_added_spec *spec,
                                        const char *what);

#endif
