/*
 * source_llama.h - the numbers of a llama-family GGUF and the config made from them.
 */
#ifndef QLORA_CORE_IO_SOURCE_LLAMA_H
#define QLORA_CORE_IO_SOURCE_LLAMA_H

#include "core/io/source_internal.h"

/* What the file's keys say, checked: all sizes are in range and fit together. */
typedef struct ql_llama_keys {
    int64_t layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context;
    int64_t window;        /* 0 = none  */
    int64_t bos, eos, pad; /* -1 = none */
    int64_t eot;           /* end of turn, -1 = none */
    double eps, theta;
    bool tied, attention_bias, mlp_bias;
} ql_llama_keys;

/* Reads and checks the keys of s->gguf. */
QL_NODISCARD ql_status ql_llama_keys_read(const ql_source *s, ql_llama_keys *out);
/* Fills s->config and s->generation_config. */
QL_NODISCARD ql_status ql_llama_config_make(ql_source *s, const ql_llama_keys *k);

#endif
