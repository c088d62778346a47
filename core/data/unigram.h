/*
 * unigram.h - one pre-token to ids: the pieces whose scores have the largest sum.
 *
 * A character that is no piece costs the lowest score minus 10; neighbouring unknown characters
 * become one, which is their byte pieces or the unknown token.
 */
#ifndef QLORA_CORE_DATA_UNIGRAM_H
#define QLORA_CORE_DATA_UNIGRAM_H

#include "core/data/tokenizer.h"
#include "core/data/trie.h"

#define QL_UNIGRAM_PIECE_MAX 1024u /* bytes: what a position of the text can cost */

typedef struct ql_unigram { /* zeroed = no such model */
    ql_trie trie;
    double *scores; /* by id, one for each piece of the model */
    double min_score;
    int32_t unk_id; /* -1 = none: an unknown character is an error */
    bool byte_fallback;
    int32_t byte_ids[256]; /* of "<0x00>" to "<0xFF>"; -1 = none */
} ql_unigram;

typedef struct ql_unigram_work { /* zeroed = empty; reused from pre-token to pre-token */
    struct ql_unigram_node *best;
    size_t cap;
} ql_unigram_work;

/* Appends the ids of s (valid UTF-8, shorter than 2^31 bytes). */
QL_NODISCARD ql_status ql_unigram_encode(const ql_unigram *u, const ql_vocab *v, ql_unigram_work *w,
                                         const char *s, size_t len, ql_ids *out);
void ql_unigram_free(ql_unigram *u);
void ql_unigram_work_free(ql_unigram_work *w);

#endif
