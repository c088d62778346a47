/*
 * wordpiece.c - greedy longest match in a trie, bounded by the characters a word may have.
 */
#include "core/data/wordpiece.h"

#include "core/data/bpe.h"

ql_status ql_wordpiece_build(ql_wordpiece *m, const ql_vocab *v, const char *prefix) {
    QL_TRY(ql_trie_build(&m->trie, v));
    m->continues = true;
    for (; *prefix && m->continues; prefix++) {
        m->inside = ql_trie_child(&m->trie, m->inside, (uint8_t)*prefix);
        m->continues = m->inside != 0;
    }
    return QL_OK;
}

/* Counts characters, but no further than `limit`. */
static bool longer_than(const char *s, size_t len, int32_t limit) {
    int32_t n = 0;
    for (size_t i = 0; i < len && n <= limit; i++) n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n > limit;
}

/* The longest piece at s[at]; *end is where it ends. -1 = none. */
static int32_t longest(const ql_wordpiece *m, const char *s, size_t len, size_t at, size_t *end) {
    uint32_t node = at ? m->inside : 0;
    int32_t id = -1;
    if (at && !m->continues) return id;
    for (size_t i = at; i < len; i++) {
        node = ql_trie_child(&m->trie, node, (uint8_t)s[i]);
        if (node == 0) break;
        if (m->trie.nodes[node].id < 0) continue;
        id = m->trie.nodes[node].id;
        *end = i + 1;
    }
    return id;
}

ql_status ql_wordpiece_encode(const ql_wordpiece *m, const char *s, size_t len, ql_ids *out) {
    if (longer_than(s, len, m->max_chars)) return ql_ids_push(out, m->unk_id);
    size_t before = out->n, end = 0;
    for (size_t at = 0; at < len; at = end) {
        int32_t id = longest(m, s, len, at, &end);
        if (id < 0) {
            out->n = before;
            return ql_ids_push(out, m->unk_id);
        }
        QL_TRY(ql_ids_push(out, id));
    }
    return QL_OK;
}

void ql_wordpiece_free(ql_wordpiece *m) {
    ql_trie_free(&m->trie);
    *m = (ql_wordpiece){0};
}
