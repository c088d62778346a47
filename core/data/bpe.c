/*
 * bpe.c - symbols of a pre-token, the merge table, and merging by rank or by score.
 *
 * With ranked merges a character outside the vocabulary becomes its byte pieces, else the unknown
 * token, before merging. With scores it stays a symbol and becomes bytes after merging.
 */
#include "core/data/bpe.h"

ql_status ql_ids_push(ql_ids *v, int32_t id) {
    QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof *v->ids));
    v->ids[v->n++] = id;
    return QL_OK;
}

/* ---------------------------------------------------------------- merge table */

static size_t merge_slot(const ql_bpe *b, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u; /* Fibonacci hashing: the high bits are well mixed */
    size_t i = (size_t)(key >> 32) & (b->n_slots - 1);
    while (b->merges[i].left >= 0 && (b->merges[i].left != left || b->merges[i].right != right))
        i = (i + 1) & (b->n_slots - 1);
    return i;
}

ql_status ql_bpe_reserve(ql_bpe *b, size_t n) {
    size_t slots = 16;
    while (slots < n * 2) slots *= 2;
    b->merges = ql_host_calloc(slots, sizeof *b->merges);
    if (!b->merges) return QL_NOMEM("the merges of a tokenizer");
    b->n_slots = slots;
    for (size_t i = 0; i < slots; i++) b->merges[i].left = -1;
    return QL_OK;
}

ql_status ql_bpe_add_merge(ql_bpe *b, const ql_vocab *v, size_t rank, const ql_merge_names *names,
                           ql_text *joined, const char *what) {
    joined->n = 0;
    QL_TRY(ql_text_append(joined, names->left, names->left_len));
    QL_TRY(ql_text_append(joined, names->right, names->right_len));
    int32_t left = ql_vocab_find(v, names->left, names->left_len);
    int32_t right = ql_vocab_find(v, names->right, names->right_len);
    int32_t id = ql_vocab_find(v, joined->s, joined->n);
    if (left < 0 || right < 0 || id < 0) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: merge %zu (making '%.*s') names a token that is not in "
                       "the vocabulary",
                       what, rank, (int)joined->n, joined->s);
    }
    ql_merge_slot *m = &b->merges[merge_slot(b, left, right)];
    if (m->left < 0) b->n_merges++;
    *m = (ql_merge_slot){left, right, (int32_t)rank, id};
    return QL_OK;
}

void ql_bpe_free(ql_bpe *b) {
    ql_host_free(b->merges);
    ql_host_free(b->scores);
    *b = (ql_bpe){0};
}

/* ------------------------------------------------------------ merging by rank */

static bool pair_by_rank(const void *model, const ql_symbol *l, const ql_symbol *r, double *order,
                         int32_t *id) {
    const ql_bpe *b = model;
    const ql_merge_slot *m = &b->merges[merge_slot(b, l->id, r->id)];
    if (m->left < 0) return false;
    *order = m->rank;
    *id = m->id;
    return true;
}

/* True when every byte of the character has a piece. */
static bool has_bytes(const ql_bpe *b, const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (b->byte_ids[(unsigned char)s[i]] < 0) return false;
    return true;
}

/* Characters to symbols. `unk` is the length of the unknown stretch that waits to be pushed. */
static ql_status split_by_rank(const ql_bpe *b, const ql_vocab *v, ql_merge_work *w, const char *s,
                               size_t len) {
    uint32_t unk = 0;
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = ql_utf8_decode(s + i, len - i, &code);
        int32_t id = ql_vocab_find_model(v, s + i, n);
        uint32_t at = (uint32_t)i;
        if (id >= 0) {
            if (unk) QL_TRY(ql_merge_push(w, at - unk, unk, b->unk_id));
            unk = 0;
            QL_TRY(ql_merge_push(w, at, (uint32_t)n, id));
        } else if (b->byte_fallback && has_bytes(b, s + i, n)) {
            for (uint32_t k = 0; k < n; k++)
                QL_TRY(ql_merge_push(w, at + k, 1, b->byte_ids[(unsigned char)s[at + k]]));
        } else if (b->unk_id >= 0) {
            if (unk && !b->fuse_unk) QL_TRY(ql_merge_push(w, at - unk, unk, b->unk_id));
            unk = (uint32_t)n + (b->fuse_unk ? unk : 0);
        }
        i += n;
    }
    return unk ? ql_merge_push(w, (uint32_t)len - unk, unk, b->unk_id) : QL_OK;
}

/* ----------------------------------------------------------- merging by score */

typedef struct scored {
    const ql_bpe *bpe;
    const ql_vocab *vocab;
    const char *s;
} scored;

static bool pair_by_score(const void *model, const ql_symbol *l, const ql_symbol *r, double *order,
                          int32_t *id) {
    const scored *m = model;
    int32_t joined = ql_vocab_find_model(m->vocab, m->s + l->begin, (size_t)l->len + r->len);
    if (joined < 0) return false;
    *order = -(double)m->bpe->scores[joined];
    *id = joined;
    return true;
}

static ql_status split_by_score(const ql_vocab *v, ql_merge_work *w, const char *s, size_t len) {
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = ql_utf8_decode(s + i, len - i, &code);
        QL_TRY(ql_merge_push(w, (uint32_t)i, (uint32_t)n, ql_vocab_find_model(v, s + i, n)));
        i += n;
    }
    return QL_OK;
}

static ql_status push_bytes(const ql_bpe *b, const char *s, size_t len, ql_ids *out) {
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_ids[(unsigned char)s[i]];
        if (id < 0) id = b->unk_id;
        if (id >= 0) QL_TRY(ql_ids_push(out, id));
    }
    return QL_OK;
}

/* -------------------------------------------------------------------- encoding */

ql_status ql_bpe_encode(const ql_bpe *b, const ql_vocab *v, ql_merge_work *w, const char *s,
                        size_t len, ql_ids *out) {
    if (b->ignore_merges) {
        int32_t id = ql_vocab_find_model(v, s, len);
        if (id >= 0) return ql_ids_push(out, id);
    }
    w->n = 0;
    if (b->scores) {
        QL_TRY(split_by_score(v, w, s, len));
        QL_TRY(ql_merge_run(w, pair_by_score, &(scored){b, v, s}));
    } else {
        QL_TRY(split_by_rank(b, v, w, s, len));
        QL_TRY(ql_merge_run(w, pair_by_rank, b));
    }
    for (int32_t i = w->n ? 0 : -1; i >= 0; i = w->symbols[i].next) {
        const ql_symbol *y = &w->symbols[i];
        if (y->id >= 0) {
            QL_TRY(ql_ids_push(out, y->id));
        } else {
            QL_TRY(push_bytes(b, s + y->begin, y->len, out));
        }
    }
    return QL_OK;
}
