/*
 * tokenizer.h - text to ids and back, from tokenizer.json (BPE, WordPiece or Unigram), the older
 * vocabulary files of a model folder, or a GGUF vocabulary.
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
 * generation_config.json, chat_template.jinja optional); without it vocab.json and merges.txt, or
 * vocab.txt, of a known tokenizer class; or a .gguf. What is not supported is refused by name
 * (QL_ERR_UNSUPPORTED). */
QL_NODISCARD ql_status ql_tokenizer_open(const char *path, ql_tokenizer **out);
void ql_tokenizer_close(ql_tokenizer *t); /* NULL ok */

typedef struct ql_ids {
    int32_t *ids;
    size_t n, cap;
} ql_ids; /* zeroed = empty */
void ql_ids_free(ql_ids *v);
QL_NODISCARD ql_status ql_ids_push(ql_ids *v, int32_t id);

enum {
    QL_ENCODE_ADD_SPECIAL = 1,  /* what the post-processor adds (BOS ...)                        */
    QL_ENCODE_PARSE_SPECIAL = 2 /* special tokens written in the text become their ids           */
};
/* Appends the ids of text[0..len) to *out. Invalid UTF-8: QL_ERR_FORMAT with the byte offset. */
QL_NODISCARD ql_status ql_tokenizer_encode(const ql_tokenizer *t, const char *text, size_t len,
                                           unsigned flags, ql_ids *out);
/* One text (b NULL), or two as the post-processor joins them: appends the ids to *ids and, unless
 * it is NULL, the segment of every id to *type_ids (all 0 for RoBERTa and T5, 0 and 1 for BERT).
 * Without ADD_SPECIAL the texts follow each other. */
QL_NODISCARD ql_status ql_tokenizer_encode_pair(const ql_tokenizer *t, const char *a, size_t a_len,
                                                const char *b, size_t b_len, unsigned flags,
                                                ql_ids *ids, ql_ids *type_ids);
/* The same, at most max_len ids (0 = no limit): the longer text loses its end first, as the
 * strategy "longest_first" of transformers does; its beginning where the tokenizer's
 * truncation_side is "left". A limit below the number of special tokens is QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_tokenizer_encode_pair_limit(const ql_tokenizer *t, const char *a,
                                                      size_t a_len, const char *b, size_t b_len,
                                                      int32_t max_len, unsigned flags, ql_ids *ids,
                                                      ql_ids *type_ids);
/* *text is NUL-terminated (may hold NULs: use *len); free with ql_host_free. skip_special drops
 * special tokens. An id without a piece adds nothing (padded embeddings have such rows); a negative
 * id is QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_tokenizer_decode(const ql_tokenizer *t, const int32_t *ids, size_t n,
                                           bool skip_special, char **text, size_t *len);

int32_t ql_tokenizer_size(const ql_tokenizer *t); /* largest id + 1 */
int32_t ql_tokenizer_bos(const ql_tokenizer *t);  /* -1 = none */
int32_t ql_tokenizer_eos(const ql_tokenizer *t);
int32_t ql_tokenizer_pad(const ql_tokenizer *t);
int32_t ql_tokenizer_cls(const ql_tokenizer *t);
int32_t ql_tokenizer_sep(const ql_tokenizer *t);
int32_t ql_tokenizer_mask(const ql_tokenizer *t);
int32_t ql_tokenizer_unk(const ql_tokenizer *t);
int32_t ql_tokenizer_id(const ql_tokenizer *t, const char *piece); /* -1 = not in the vocabulary */
const char *ql_tokenizer_piece(const ql_tokenizer *t,
                               int32_t id); /* as stored; NULL = no such id */
bool ql_tokenizer_is_special(const ql_tokenizer *t, int32_t id);
/* Does an added token take the white space before it, or behind it? */
void ql_tokenizer_strips(const ql_tokenizer *t, int32_t id, bool *left, bool *right);
/* Whether ADD_SPECIAL puts bos in front of a single text, or eos after it (T5). */
bool ql_tokenizer_adds_bos(const ql_tokenizer *t);
bool ql_tokenizer_adds_eos(const ql_tokenizer *t);
/* The chat template text of tokenizer_config.json / chat_template.jinja / GGUF; NULL = none.
 * Borrowed. */
const char *ql_tokenizer_chat_template(const ql_tokenizer *t);

#endif
