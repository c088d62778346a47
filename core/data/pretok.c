/*
 * pretok.c - split, prefix, space mark and byte alphabet.
 */
#include "core/data/pretok.h"

#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/bytemap.h"

ql_status ql_pretok_add_split(ql_pretok *p, const char *pattern, size_t len, bool literal,
                              ql_split_behavior behavior, bool invert, const char *what) {
    QL_TRY(ql_host_grow((void **)&p->steps, &p->cap, p->n + 1, sizeof *p->steps));
    ql_pretok_step step = {.kind = QL_PRETOK_SPLIT, .behavior = behavior, .invert = invert};
    QL_TRY(ql_pattern_compile(pattern, len, literal, what, &step.pattern));
    p->steps[p->n++] = step;
    return QL_OK;
}

ql_status ql_pretok_add(ql_pretok *p, ql_pretok_kind kind, const char *text, bool first_only) {
    QL_TRY(ql_host_grow((void **)&p->steps, &p->cap, p->n + 1, sizeof *p->steps));
    ql_pretok_step step = {.kind = kind, .first_only = first_only};
    QL_TRY(ql_text_append(&step.text, text, strlen(text)));
    p->steps[p->n++] = step;
    return QL_OK;
}

void ql_pretok_free(ql_pretok *p) {
    for (size_t i = 0; i < p->n; i++) {
        ql_pattern_free(p->steps[i].pattern);
        ql_text_free(&p->steps[i].text);
    }
    ql_host_free(p->steps);
    *p = (ql_pretok){0};
}

/* ----------------------------------------------------------------------- split
 * One piece is read as a row of ranges, matches and what lies between them. `joins_open` says
 * whether the next range continues the piece that is open. */

typedef struct splitter {
    const ql_pretok_step *step;
    ql_pieces *out;
    ql_span open; /* empty = none */
    bool open_matched;
} splitter;

static ql_status close_piece(splitter *s) {
    ql_span o = s->open;
    s->open = (ql_span){0, 0};
    return ql_pieces_push(s->out, o.begin, o.end);
}

static bool joins_open(const splitter *s, bool matched) {
    if (s->open.begin == s->open.end) return false;
    switch (s->step->behavior) {
    case QL_SPLIT_CONTIGUOUS: return matched == s->open_matched;
    case QL_SPLIT_MERGED_PREVIOUS: return matched && !s->open_matched;
    case QL_SPLIT_MERGED_NEXT: return !matched && s->open_matched;
    case QL_SPLIT_REMOVED:
    case QL_SPLIT_ISOLATED: return false;
    }
    return false;
}

static ql_status add_range(splitter *s, size_t begin, size_t end, bool matched) {
    if (begin == end) return QL_OK;
    if (s->step->invert) matched = !matched;
    if (joins_open(s, matched)) {
        s->open.end = end;
    } else {
        QL_TRY(close_piece(s));
        if (matched && s->step->behavior == QL_SPLIT_REMOVED) return QL_OK;
        s->open = (ql_span){begin, end};
    }
    s->open_matched = matched;
    return QL_OK;
}

static ql_status split(const ql_pretok_step *p, ql_match_work *w, const ql_pieces *in,
                       ql_pieces *out) {
    splitter s = {.step = p, .out = out};
    for (size_t i = 0; i < in->n; i++) {
        size_t base = in->v[i].begin, len = in->v[i].end - base, done = 0;
        while (done < len) {
            ql_span m;
            bool found;
            QL_TRY(ql_pattern_find(p->pattern, w, in->text.s + base, len, done, &m, &found));
            if (!found) break;
            QL_TRY(add_range(&s, base + done, base + m.begin, false));
            QL_TRY(add_range(&s, base + m.begin, base + m.end, true));
            done = m.end;
        }
        QL_TRY(add_range(&s, base + done, base + len, false));
        QL_TRY(close_piece(&s));
    }
    return QL_OK;
}

/* --------------------------------------------------------- steps that change text */

static ql_status rewrite_piece(const ql_pretok_step *p, const char *s, size_t n, bool first,
                               ql_text *out) {
    if (p->kind == QL_PRETOK_PREFIX) {
        bool has = n >= p->text.n && memcmp(s, p->text.s, p->text.n) == 0;
        if (!has && (first || !p->first_only)) QL_TRY(ql_text_append(out, p->text.s, p->text.n));
        return ql_text_append(out, s, n);
    }
    if (p->kind == QL_PRETOK_BYTES) {
        for (size_t i = 0; i < n; i++)
            QL_TRY(ql_text_append_code(out, ql_byte_to_code((unsigned char)s[i])));
        return QL_OK;
    }
    for (size_t i = 0; i < n;) {
        const char *space = memchr(s + i, ' ', n - i);
        size_t end = space ? (size_t)(space - s) : n;
        QL_TRY(ql_text_append(out, s + i, end - i));
        if (space) QL_TRY(ql_text_append(out, p->text.s, p->text.n));
        i = end + (space != NULL);
    }
    return QL_OK;
}

static ql_status rewrite(const ql_pretok_step *p, const ql_pieces *in, bool at_start,
                         ql_pieces *out) {
    for (size_t i = 0; i < in->n; i++) {
        ql_span v = in->v[i];
        size_t begin = out->text.n;
        QL_TRY(rewrite_piece(p, in->text.s + v.begin, v.end - v.begin, at_start && i == 0,
                             &out->text));
        QL_TRY(ql_pieces_push(out, begin, out->text.n));
    }
    return QL_OK;
}

ql_status ql_pretok_run(const ql_pretok *p, ql_match_work *w, const char *text, size_t len,
                        bool at_start, ql_pieces *a, ql_pieces *b) {
    ql_pieces_clear(a);
    QL_TRY(ql_text_append(&a->text, text, len));
    QL_TRY(ql_pieces_push(a, 0, len));
    for (size_t i = 0; i < p->n; i++) {
        const ql_pretok_step *step = &p->steps[i];
        ql_pieces_clear(b);
        if (step->kind == QL_PRETOK_SPLIT) {
            QL_TRY(split(step, w, a, b));
            ql_text t = a->text; /* the pieces change, their text does not */
            a->text = b->text;
            b->text = t;
        } else {
            QL_TRY(rewrite(step, a, at_start, b));
        }
        ql_pieces t = *a;
        *a = *b;
        *b = t;
        at_start = at_start && a->n > 0 && a->v[0].begin == 0;
    }
    return QL_OK;
}
