/*
 * bpe.h - one pre-token to ids: BPE by ranked merges, or SentencePiece-BPE by scores.
 */
#ifndef QLORA_CORE_DATA_BPE_H
#define QLORA_CORE_DATA_BPE_H

#include "core/data/merge.h"
#include "core/data/text.h"
#include "core/data/tokenizer.h"
#include "core/data/vocab.h"

typedef struct ql_merge_slot {
    int32_t left, right; /* ids of the pair; left -1 = free */
    int32_t rank, id;    /* order among merges; id of the two together */
} ql_merge_slot;

typedef struct ql_bpe {    /* zeroed = empty */
    ql_merge_slot *merges; /* open addressing, a power of two, at most half full */
    size_t n_merges, n_slots;
    float *scores; /* not NULL: merges go by score of the joined piece, `merges` is unused */
    int32_t byte_ids[256]; /* of "<0x00>" to "<0xFF>" when byte_fallback; -1 = none */
    int32_t unk_id;        /* -1 = unknown characters are dropped */
    bool byte_fallback;
    bool fuse_unk;      /* neighbouring unknowns become one */
    bool ignore_merges; /* a pre-token that is a piece is taken whole */
} ql_bpe;

/* Room for n merges before the first ql_bpe_add_merge. */
QL_NODISCARD ql_status ql_bpe_reserve(ql_bpe *b, size_t n);
/* A merge by the names of its halves, which the file owns. */
typedef struct ql_merge_names {
    const char *left, *right;
    size_t left_len, right_len;
} ql_merge_names;
/* Both halves and the two together must be in v. A pair that is there already takes the later rank.
 * `joined` is scratch; `what` names the file. Needs room reserved. */
QL_NODISCARD ql_status ql_bpe_add_merge(ql_bpe *b, const ql_vocab *v, size_t rank,
                                        const ql_merge_names *names, ql_text *joined,
                                        const char *what);
/* Appends the ids of the pre-token s (valid UTF-8, shorter than 2^31 bytes). */
QL_NODISCARD ql_status ql_bpe_encode(const ql_bpe *b, const ql_vocab *v, ql_merge_work *w,
                                     const char *s, size_t len, ql_ids *out);
void ql_bpe_free(ql_bpe *b);

#endif
