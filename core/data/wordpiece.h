/*
 * wordpiece.h - one word to ids: the longest piece at each place, or unknown as a whole.
 */
#ifndef QLORA_CORE_DATA_WORDPIECE_H
#define QLORA_CORE_DATA_WORDPIECE_H

#include "core/data/tokenizer.h"
#include "core/data/trie.h"

#define QL_WORDPIECE_CHARS_MAX 1000

typedef struct ql_wordpiece { /* zeroed = no such model */
    ql_trie trie;
    uint32_t inside; /* node of the trie behind the prefix of pieces that continue a word: "##" */
    bool continues;  /* there are such pieces */
    int32_t unk_id;
    int32_t max_chars; /* a longer word is unknown */
} ql_wordpiece;

/* Takes the pieces that v has now. */
QL_NODISCARD ql_status ql_wordpiece_build(ql_wordpiece *m, const ql_vocab *v, const char *prefix);
/* Appends the ids of s (valid UTF-8, not empty). */
QL_NODISCARD ql_status ql_wordpiece_encode(const ql_wordpiece *m, const char *s, size_t len,
                                           ql_ids *out);
void ql_wordpiece_free(ql_wordpiece *m);

#endif
