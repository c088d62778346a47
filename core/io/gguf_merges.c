/*
 * gguf_merges.c - merges as stored, or found again from SentencePiece scores.
 *
 * SentencePiece joins the pair whose result has the best score; a merge list says the same when
 * results stand in order of falling score. Pairs with equal results are ordered by the ids of
 * their parts, as transformers' converter does.
 */
#include "core/io/gguf_merges.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/io/source_internal.h"

static json_t *pair(const char *s, size_t left, size_t right_at, size_t right) {
    return json_pack("[o, o]", json_stringn(s, left), json_stringn(s + right_at, right));
}

ql_status ql_gguf_merges_stored(const ql_gguf *g, const char *path, json_t **out) {
    static const char key[] = "tokenizer.ggml.merges";
    int64_t n = ql_gguf_array_len(g, key);
    if (n < 0) return QL_FAIL(QL_ERR_FORMAT, "%s: the list '%s' is missing", path, key);
    json_t *list = json_array();
    ql_status st = list ? QL_OK : QL_NOMEM(path);
    for (int64_t i = 0; st == QL_OK && i < n; i++) {
        ql_str s;
        st = ql_gguf_array_str(g, key, i, &s);
        if (st != QL_OK) break;
        const char *space = memchr(s.s, ' ', (size_t)s.len);
        size_t left = space ? (size_t)(space - s.s) : 0;
        json_t *p = space ? pair(s.s, left, left + 1, (size_t)s.len - left - 1) : NULL;
        if (json_array_append_new(list, p) != 0) {
            st = QL_FAIL(QL_ERR_FORMAT, "%s: merge %lld of '%s' is not two texts with a space",
                         path, (long long)i, key);
        }
    }
    if (st != QL_OK) {
        json_decref(list);
        return st;
    }
    *out = list;
    return QL_OK;
}

/* -------------------------------------------------------------- from scores */

typedef struct merge {
    double score;               /* of the result               */
    int64_t whole, left, right; /* ids                         */
    size_t cut;                 /* bytes of the left part      */
} merge;

typedef struct merge_list {
    merge *items;
    size_t n, cap;
} merge_list;

static int by_score(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->whole != y->whole) return x->whole < y->whole ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

/* All cuts of piece `id` whose parts are pieces. `left` has room for the piece. */
static ql_status add_cuts(merge_list *list, const json_t *pieces, const json_t *ids, int64_t id,
                          double score, char *left) {
    const json_t *piece = json_array_get(pieces, (size_t)id);
    const char *s = json_string_value(piece);
    size_t len = json_string_length(piece);
    for (size_t cut = 1; cut < len; cut++) {
        if (((unsigned char)s[cut] & 0xC0u) == 0x80u) continue; /* inside a character */
        memcpy(left, s, cut);
        left[cut] = '\0';
        const json_t *l = json_object_get(ids, left), *r = json_object_get(ids, s + cut);
        if (!l || !r) continue;
        void *items = list->items;
        ql_status st = ql_host_grow(&items, &list->cap, list->n + 1, sizeof *list->items);
        list->items = items;
        QL_TRY(st);
        list->items[list->n++] =
            (merge){score, id, json_integer_value(l), json_integer_value(r), cut};
    }
    return QL_OK;
}

static ql_status collect(const ql_gguf *g, const char *path, const json_t *pieces,
                         const json_t *ids, merge_list *list) {
    static const char key[] = "tokenizer.ggml.scores";
    int64_t n = (int64_t)json_array_size(pieces);
    size_t longest = 0;
    if (ql_gguf_array_len(g, key) != n) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is missing or has not %lld entries", path, key,
                       (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        size_t len = json_string_length(json_array_get(pieces, (size_t)i));
        if (len > longest) longest = len;
    }
    if (longest > 4096) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: a piece of the vocabulary has %zu bytes", path, longest);
    }
    char *left = ql_host_calloc(longest + 1, 1);
    ql_status s = left ? QL_OK : QL_NOMEM(path);
    for (int64_t i = 0; s == QL_OK && i < n; i++) {
        double score = 0.0;
        s = ql_gguf_array_f64(g, key, i, &score);
        if (s == QL_OK) s = add_cuts(list, pieces, ids, i, score == score ? score : 0.0, left);
    }
    ql_host_free(left);
    return s;
}

static ql_status as_json(const char *path, const json_t *pieces, const merge_list *list,
                         json_t **out) {
    json_t *a = json_array();
    for (size_t i = 0; a && i < list->n; i++) {
        const merge *m = &list->items[i];
        const json_t *piece = json_array_get(pieces, (size_t)m->whole);
        json_t *p =
            pair(json_string_value(piece), m->cut, m->cut, json_string_length(piece) - m->cut);
        if (json_array_append_new(a, p) != 0) {
            json_decref(a);
            a = NULL;
        }
    }
    if (!a) return QL_NOMEM(path);
    *out = a;
    return QL_OK;
}

ql_status ql_gguf_merges_from_scores(const ql_gguf *g, const char *path, const json_t *pieces,
                                     const json_t *ids, json_t **out) {
    merge_list list = {0};
    ql_status s = collect(g, path, pieces, ids, &list);
    if (s == QL_OK && list.n > 1) qsort(list.items, list.n, sizeof *list.items, by_score);
    if (s == QL_OK) s = as_json(path, pieces, &list, out);
    ql_host_free(list.items);
    return s;
}
