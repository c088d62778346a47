/*
 * unigram.c - Viterbi search over the pieces that begin at each character.
 *
 * Paths are extended from left to right, shorter pieces first, and only a larger sum replaces a
 * path: of equal ones the path whose last piece begins first stays. Sums are double, as the scores.
 */
#include "core/data/unigram.h"

#include "core/base/hostmem.h"
#include "core/data/bpe.h"
#include "core/data/text.h"

#define UNKNOWN_PENALTY 10.0

/* The best path that ends at a byte of the text: its sum and its last piece. */
struct ql_unigram_node {
    double sum;
    uint32_t len; /* bytes of the last piece; 0 = no path yet. Afterwards: of the next piece */
    int32_t id;
};
typedef struct ql_unigram_node node;

static void extend(node *end, double sum, size_t len, int32_t id) {
    if (end->len == 0 || sum > end->sum) *end = (node){sum, (uint32_t)len, id};
}

static ql_status no_unknown(size_t at) {
    return QL_FAIL(QL_ERR_FORMAT,
                   "tokenizer: a character (byte %zu of a word) is not in the Unigram vocabulary, "
                   "which has no unknown token",
                   at);
}

/* All pieces that begin at s[at]; every character is a piece or unknown, so there is a path. */
static ql_status extend_from(const ql_unigram *u, node *best, const char *s, size_t len, size_t at,
                             size_t char_len) {
    double sum = best[at].sum;
    bool single = false;
    uint32_t place = 0;
    for (size_t i = at; i < len; i++) {
        place = ql_trie_child(&u->trie, place, (uint8_t)s[i]);
        if (place == 0) break;
        int32_t id = u->trie.nodes[place].id;
        if (id < 0) continue;
        extend(&best[i + 1], u->scores[id] + sum, i + 1 - at, id);
        single = single || i + 1 - at == char_len;
    }
    if (single) return QL_OK;
    extend(&best[at + char_len], u->min_score - UNKNOWN_PENALTY + sum, char_len, -1);
    return best[at + char_len].id < 0 && u->unk_id < 0 ? no_unknown(at) : QL_OK;
}

/* Turns the links from each end to its beginning around: best[begin].len leads to the end. */
static void turn(node *best, size_t len) {
    size_t end = len;
    node step = best[end];
    while (end > 0) {
        size_t begin = end - step.len;
        node before = best[begin];
        best[begin] = step;
        step = before;
        end = begin;
    }
}

static bool is_unknown(const ql_unigram *u, const node *p) {
    return p->id < 0 || p->id == u->unk_id;
}

/* A stretch of unknown characters: itself if it is a piece after all, its bytes, or unknown. */
static ql_status push_unknown(const ql_unigram *u, const ql_vocab *v, const char *s, size_t len,
                              ql_ids *out) {
    int32_t id = ql_vocab_find_model(v, s, len);
    if (id >= 0) return ql_ids_push(out, id);
    size_t known = 0;
    while (u->byte_fallback && known < len && u->byte_ids[(unsigned char)s[known]] >= 0) known++;
    if (known < len) return ql_ids_push(out, u->unk_id);
    for (size_t i = 0; i < len; i++) QL_TRY(ql_ids_push(out, u->byte_ids[(unsigned char)s[i]]));
    return QL_OK;
}

ql_status ql_unigram_encode(const ql_unigram *u, const ql_vocab *v, ql_unigram_work *w,
                            const char *s, size_t len, ql_ids *out) {
    QL_TRY(ql_host_grow((void **)&w->best, &w->cap, len + 1, sizeof *w->best));
    node *best = w->best;
    for (size_t i = 0; i <= len; i++) best[i] = (node){0};
    for (size_t at = 0; at < len;) {
        int32_t code;
        size_t n = ql_utf8_decode(s + at, len - at, &code);
        QL_TRY(extend_from(u, best, s, len, at, n));
        at += n;
    }
    turn(best, len);
    for (size_t at = 0; at < len;) {
        size_t end = at + best[at].len;
        if (!is_unknown(u, &best[at])) {
            QL_TRY(ql_ids_push(out, best[at].id));
        } else {
            while (end < len && is_unknown(u, &best[end])) end += best[end].len;
            QL_TRY(push_unknown(u, v, s + at, end - at, out));
        }
        at = end;
    }
    return QL_OK;
}

void ql_unigram_free(ql_unigram *u) {
    ql_trie_free(&u->trie);
    ql_host_free(u->scores);
    *u = (ql_unigram){0};
}

void ql_unigram_work_free(ql_unigram_work *w) {
    ql_host_free(w->best);
    *w = (ql_unigram_work){0};
}
