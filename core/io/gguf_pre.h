/*
 * gguf_pre.h - how a byte-level vocabulary cuts text, by the name in tokenizer.ggml.pre.
 *
 * How it cuts is not in the file; the expressions behind the names are those of llama.cpp. Where
 * llama.cpp approximates a category (tekken, gpt-4o), the expression is that of the model's
 * tokenizer.json.
 */
#ifndef QLORA_CORE_IO_GGUF_PRE_H
#define QLORA_CORE_IO_GGUF_PRE_H

#include "core/io/gguf.h"

/* The words of GPT-2: contractions, letters, numbers and the rest with their space in front. */
#define QL_GPT2_WORDS                                                                              \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

#define QL_GGUF_PRE_STEPS 4
typedef struct ql_gguf_pre {
    const char *const *names;
    const char *steps[QL_GGUF_PRE_STEPS]; /* one Split after the other, each match isolated */
    bool ignore_merges;                   /* a pre-token found whole is taken at once       */
    bool add_bos;                         /* where add_bos_token is absent                  */
} ql_gguf_pre;

/* The scheme that tokenizer.ggml.pre names ("default" when absent); an unknown one is
 * QL_ERR_UNSUPPORTED. */
QL_NODISCARD ql_status ql_gguf_pre_read(const ql_gguf *g, const char *path,
                                        const ql_gguf_pre **out);

#endif
