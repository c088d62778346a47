/*
 * gguf_tokenizer.h - tokenizer.json and tokenizer_config.json from a GGUF's vocabulary, and what
 * the files that make them share.
 */
#ifndef QLORA_CORE_IO_GGUF_TOKENIZER_H
#define QLORA_CORE_IO_GGUF_TOKENIZER_H

#include "core/base/json.h"
#include "core/io/gguf_pre.h"

/* NULL, NULL when the file has no tokenizer. Free with json_decref. */
QL_NODISCARD ql_status ql_gguf_tokenizer_json(const ql_gguf *g, const char *path,
                                              json_t **tokenizer, json_t **config);

/* tokenizer.ggml.model: "gpt2", "llama", "t5", "bert". */
typedef enum ql_gguf_vocab_kind {
    QL_GGUF_BYTE_BPE,
    QL_GGUF_SPM_BPE,
    QL_GGUF_UNIGRAM,
    QL_GGUF_WORDPIECE
} ql_gguf_vocab_kind;

typedef struct ql_gguf_vocab {
    const ql_gguf *g;
    const char *path;
    ql_gguf_vocab_kind kind;
    int64_t n;
    const ql_gguf_pre *pre; /* BYTE_BPE */
    bool add_bos, add_eos, space_prefix;
    bool squeeze; /* UNIGRAM: spaces at the end go, several become one */
    int64_t bos, eos, pad, unk, cls, sep, mask; /* -1 = none */
    json_t *pieces;                             /* array of n texts  */
    json_t *added;                              /* added_tokens      */
} ql_gguf_vocab;

/* Parts of tokenizer.json. NULL: out of memory; json_null where a kind has none. */
json_t *ql_gguf_normalizer(const ql_gguf_vocab *v);
json_t *ql_gguf_pre_tokenizer(const ql_gguf_vocab *v);
json_t *ql_gguf_post_processor(const ql_gguf_vocab *v);
json_t *ql_gguf_decoder(const ql_gguf_vocab *v);
QL_NODISCARD ql_status ql_gguf_model(const ql_gguf_vocab *v, json_t **out);
/* The text of an id; null for -1. */
json_t *ql_gguf_piece_or_null(const ql_gguf_vocab *v, int64_t id);

#endif
