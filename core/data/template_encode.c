/*
 * template_encode.c - a rendered conversation to ids, and the answer that each id belongs to.
 *
 * Marks that the vocabulary holds as special tokens become their id; other text is encoded without
 * looking for special tokens, so nothing that a user wrote can close a turn. A mark that the
 * vocabulary lacks (zephyr on a Llama vocabulary) is plain text and joins its neighbours.
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/space.h"
#include "core/data/template.h"

typedef struct encoder {
    const ql_tokenizer *tok;
    ql_ids *ids, *turn;
    bool space_prefix; /* a SentencePiece vocabulary puts its space mark in front of each text */
    bool continues;    /* the text now gathered follows other text without a mark between      */
    bool strips;       /* the mark before took the white space that follows                    */
    size_t begin, end; /* text gathered, not yet encoded                                       */
    size_t message;    /* whose answer the text is; 0 = nobody's                                */
} encoder;

static ql_status push(ql_ids *v, int32_t id) {
    QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof(int32_t)));
    v->ids[v->n++] = id;
    return QL_OK;
}

static ql_status push_turn(encoder *e) {
    while (e->turn && e->turn->n < e->ids->n) QL_TRY(push(e->turn, (int32_t)e->message));
    return QL_OK;
}

/* Encodes the gathered text. Where it continues other text, a vocabulary with a space prefix gives
 * back the space that the text begins with, so that one is left out: "[/INST]" + " Yes" has the ids
 * of "[/INST] Yes". */
static ql_status flush(encoder *e, const char *text) {
    size_t begin = e->begin;
    if (e->continues && e->space_prefix && begin < e->end && text[begin] == ' ') begin++;
    if (begin < e->end) {
        QL_TRY(ql_tokenizer_encode(e->tok, text + begin, e->end - begin, 0, e->ids));
        QL_TRY(push_turn(e));
    }
    e->continues = e->continues || e->begin < e->end;
    e->begin = e->end;
    return QL_OK;
}

static ql_status detect_space_prefix(encoder *e) {
    ql_ids v = {0};
    ql_status s = ql_tokenizer_encode(e->tok, "a", 1, 0, &v);
    if (s == QL_OK && v.n > 0) {
        const char *piece = ql_tokenizer_piece(e->tok, v.ids[0]);
        e->space_prefix = piece && strncmp(piece, "\xe2\x96\x81", 3) == 0;
    }
    ql_ids_free(&v);
    return s;
}

/* The special id of a mark span, -1 when the vocabulary has none. */
static ql_status mark_id(const encoder *e, const ql_rendered *r, const ql_span *s, int32_t *out) {
    char *name = ql_host_strndup(r->text + s->begin, s->end - s->begin);
    if (!name) return QL_NOMEM("a template's mark");
    int32_t id = ql_tokenizer_id(e->tok, name);
    ql_host_free(name);
    *out = id >= 0 && ql_tokenizer_is_special(e->tok, id) ? id : -1;
    return QL_OK;
}

/* White space that the marks around a text take with them. */
static void strip_left(encoder *e, const char *text, size_t end) {
    size_t n = 0;
    while (e->strips && e->begin < end && (n = ql_space_at(text + e->begin, end - e->begin)) > 0)
        e->begin += n;
    e->strips = e->strips && e->begin == end;
}

static void strip_right(encoder *e, const char *text) {
    size_t n;
    while (e->end > e->begin && (n = ql_space_before(text + e->begin, e->end - e->begin)) > 0)
        e->end -= n;
}

static ql_status encode_span(encoder *e, const ql_rendered *r, const ql_span *s) {
    int32_t id = -1;
    bool left = false, right = false;
    if (s->mark) QL_TRY(mark_id(e, r, s, &id));
    if (id >= 0) ql_tokenizer_strips(e->tok, id, &left, &right);
    if (left) strip_right(e, r->text);
    if (id >= 0 || s->turn != e->message) QL_TRY(flush(e, r->text));
    e->message = s->turn;
    if (id < 0) strip_left(e, r->text, s->end);
    e->end = s->end;
    if (id < 0) return QL_OK;
    QL_TRY(push(e->ids, id));
    QL_TRY(push_turn(e));
    e->begin = s->end;
    e->strips = right;
    e->continues = false;
    return QL_OK;
}

static ql_status add_bos(encoder *e, size_t first) {
    int32_t bos = ql_tokenizer_bos(e->tok);
    if (!ql_tokenizer_adds_bos(e->tok) || bos < 0) return QL_OK;
    if (e->ids->n > first && e->ids->ids[first] == bos) return QL_OK;
    size_t n = e->ids->n - first;
    QL_TRY(push(e->ids, bos));
    memmove(e->ids->ids + first + 1, e->ids->ids + first, n * sizeof(int32_t));
    e->ids->ids[first] = bos;
    if (!e->turn) return QL_OK;
    size_t at = e->turn->n - n;
    QL_TRY(push(e->turn, 0));
    memmove(e->turn->ids + at + 1, e->turn->ids + at, n * sizeof(int32_t));
    e->turn->ids[at] = 0;
    return QL_OK;
}

ql_status ql_rendered_encode(const ql_rendered *r, const ql_tokenizer *tok, ql_ids *ids,
                             ql_ids *turn) {
    size_t first = ids->n, first_turn = turn ? turn->n : 0;
    encoder e = {.tok = tok, .ids = ids, .turn = turn};
    if (turn && turn->n != ids->n) {
        return QL_FAIL(QL_ERR_INVALID, "rendered_encode: %zu ids but %zu turns", ids->n, turn->n);
    }
    ql_status s = detect_space_prefix(&e);
    for (size_t i = 0; s == QL_OK && i < r->n_spans; i++) s = encode_span(&e, r, &r->spans[i]);
    if (s == QL_OK) s = flush(&e, r->text);
    if (s == QL_OK) s = add_bos(&e, first);
    if (s != QL_OK) {
        ids->n = first;
        if (turn) turn->n = first_turn;
    }
    return s;
}
