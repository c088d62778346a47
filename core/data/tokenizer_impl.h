/*
 * tokenizer_impl.h - what a tokenizer is made of, and the loaders that fill it.
 *
 * Encoding: added tokens of the raw text -> normalizer -> added tokens of normalized text ->
 * pre-tokenizer -> model -> post-processor. Decoding: pieces -> decoder.
 */
#ifndef QLORA_CORE_DATA_TOKENIZER_IMPL_H
#define QLORA_CORE_DATA_TOKENIZER_IMPL_H

#include <jansson.h>

#include "core/data/added.h"
#include "core/data/bpe.h"
#include "core/data/decode.h"
#include "core/data/normalize.h"
#include "core/data/postprocess.h"
#include "core/data/pretok.h"
#include "core/data/tokenizer.h"
#include "core/data/unigram.h"
#include "core/data/vocab.h"
#include "core/data/wordpiece.h"

typedef enum ql_model_kind { QL_MODEL_BPE, QL_MODEL_UNIGRAM, QL_MODEL_WORDPIECE } ql_model_kind;

struct ql_tokenizer {
    ql_vocab vocab;
    ql_model_kind kind; /* which of the three is filled */
    ql_bpe bpe;
    ql_unigram unigram;
    ql_wordpiece wordpiece;
    ql_added_set raw, normalized;
    ql_normalizer normalizer;
    ql_pretok pretok;
    ql_decoder decoder;
    ql_postprocess post;                        /* what ADD_SPECIAL adds                */
    int32_t bos, eos, pad, cls, sep, mask, unk; /* -1 = none                            */
    bool cut_left;                              /* truncation takes the beginning away  */
    char *chat_template;                        /* NULL = none                          */
};

/* Each fills a zeroed tokenizer with all ids at -1; the caller closes it. */
QL_NODISCARD ql_status ql_tokenizer_load_json(ql_tokenizer *t, const char *path);
/* From the document of a tokenizer.json; `what` names it. */
QL_NODISCARD ql_status ql_tokenizer_load_root(ql_tokenizer *t, const json_t *root,
                                              const char *what);
/* vocab.json with merges.txt, or vocab.txt, of a folder without tokenizer.json. */
QL_NODISCARD ql_status ql_tokenizer_load_files(ql_tokenizer *t, const char *dir);
QL_NODISCARD ql_status ql_tokenizer_load_gguf(ql_tokenizer *t, const char *path);
/* 'model' of tokenizer.json. */
QL_NODISCARD ql_status ql_tokenizer_load_model(ql_tokenizer *t, const json_t *root,
                                               const char *what);
/* The parts of tokenizer.json that are lists of components. */
QL_NODISCARD ql_status ql_tokenizer_load_normalizer(ql_tokenizer *t, const json_t *root,
                                                    const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_pretok(ql_tokenizer *t, const json_t *root,
                                                const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_decoder(ql_tokenizer *t, const json_t *root,
                                                 const char *what);
QL_NODISCARD ql_status ql_tokenizer_load_postprocessor(ql_tokenizer *t, const json_t *root,
                                                       const char *what);
/* Replaces the post-processor: bos before and eos after every text; -1 = without. */
QL_NODISCARD ql_status ql_tokenizer_surround(ql_tokenizer *t, int32_t bos, int32_t eos);
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
