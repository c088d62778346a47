/*
 * tokenizer.h - text to ids and back, from tokenizer.json (BPE) or a GGUF vocabulary.
 *
 * Immutable after opening; shared freely between threads. Encoding is about n log n in the length
 * of a pre-token.
 */
#ifndef QLORA_CORE_DATA_TOKENIZER_H
#define QLORA_CORE_DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_tokenizer ql_tokenizer;

/* `path`: folder with tokenizer.json (tokenizer_config.json, special_tokens_map.json,
 * generation_config.json, chat_template.jinja optional), or a .gguf. Only BPE models are taken;
 * what is not supported is refused by name (QL_ERR_UNSUPPORTED). */
QL_NODISCARD ql_status ql_tokenizer_open(const char *path, ql_tokenizer **out);
void ql_tokenizer_close(ql_tokenizer *t); /* NULL ok */

typedef struct ql_ids {
    int32_t *ids;
    size_t n, cap;
} ql_ids; /* zeroed = empty */
void ql_ids_free(ql_ids *v);

enum {
    QL_ENCODE_ADD_SPECIAL = 1,  /* what the post-processor adds (BOS ...)                        */
    QL_ENCODE_PARSE_SPECIAL = 2 /* special tokens written in the text become their ids           */
};
/* Appends the ids of text[0..len) to *out. Invalid UTF-8: QL_ERR_FORMAT with the byte offset. */
QL_NODISCARD ql_status ql_tokenizer_encode(const ql_tokenizer *t, const char *text, size_t len,
                                           unsigned flags, ql_ids *out);
/* *text is NUL-terminated (may hold NULs: use *len); free with ql_host_free. skip_special drops
 * special tokens. An id without a piece adds nothing (padded embeddings have such rows); a negative
 * id is QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_tokenizer_decode(const ql_tokenizer *t, const int32_t *ids, size_t n,
                                           bool skip_special, char **text, size_t *len);

int32_t ql_tokenizer_size(const ql_tokenizer *t); /* largest id + 1 */
int32_t ql_tokenizer_bos(const ql_tokenizer *t);  /* -1 = none */
int32_t ql_tokenizer_eos(const ql_tokenizer *t);
int32_t ql_tokenizer_pad(const ql_tokenizer *t);
int32_t ql_tokenizer_id(const ql_tokenizer *t, const char *piece); /* -1 = not in the vocabulary */
const char *ql_tokenizer_piece(const ql_tokenizer *t,
                               int32_t id); /* as stored; NULL = no such id */
bool ql_tokenizer_is_special(const ql_tokenizer *t, int32_t id);
bool ql_tokenizer_adds_bos(const ql_tokenizer *t);
/* The chat template text of tokenizer_config.json / chat_template.jinja / GGUF; NULL = none.
 * Borrowed. */
const char *ql_tokenizer_chat_template(const ql_tokenizer *t);

#endif
