/*
 * added.c - leftmost-longest search over a sorted list of added tokens.
 *
 * At a position the interval of tokens that agree with the text so far is narrowed byte by byte
 * with two binary searches; a token whose bytes are used up stands at the low end of it.
 */
#include "core/data/added.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"

ql_status ql_added_push(ql_added_set *set, ql_added *token) {
    QL_TRY(ql_host_grow((void **)&set->v, &set->cap, set->n + 1, sizeof *set->v));
    set->v[set->n++] = *token;
    *token = (ql_added){0};
    return QL_OK;
}

static int by_content(const void *a, const void *b) {
    const ql_added *s = a, *t = b;
    const ql_text *x = &s->content, *y = &t->content;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    if (c == 0) c = (x->n > y->n) - (x->n < y->n);
    return c ? c : (s->id > t->id) - (s->id < t->id);
}

static bool same_content(const ql_text *x, const ql_text *y) {
    return x->n == y->n && memcmp(x->s, y->s, x->n) == 0;
}

void ql_added_finish(ql_added_set *set) {
    if (set->n) qsort(set->v, set->n, sizeof *set->v, by_content);
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (kept && same_content(&set->v[kept - 1].content, &set->v[i].content)) {
            ql_text_free(&set->v[i].content);
        } else {
            set->v[kept++] = set->v[i];
        }
    }
    set->n = kept;
    for (size_t b = 0, i = 0; b <= 256; b++) {
        while (i < set->n && (unsigned char)set->v[i].content.s[0] < b) i++;
        set->first[b] = i;
    }
}

void ql_added_free(ql_added_set *set) {
    for (size_t i = 0; i < set->n; i++) ql_text_free(&set->v[i].content);
    ql_host_free(set->v);
    *set = (ql_added_set){0};
}

/* First token in [lo, hi) whose byte `at` is >= b. All of them have more than `at` bytes. */
static size_t lower_bound(const ql_added_set *set, size_t lo, size_t hi, size_t at, unsigned b) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)set->v[mid].content.s[at] < b) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Longest token that text begins with, or NULL. */
static const ql_added *longest_at(const ql_added_set *set, const char *text, size_t len) {
    unsigned b = (unsigned char)text[0];
    size_t lo = set->first[b], hi = set->first[b + 1];
    const ql_added *best = NULL;
    for (size_t at = 1; lo < hi; at++) {
        if (set->v[lo].content.n == at) best = &set->v[lo++];
        if (at == len || lo == hi) break;
        b = (unsigned char)text[at];
        lo = lower_bound(set, lo, hi, at, b);
        hi = lower_bound(set, lo, hi, at, b + 1);
    }
    return best;
}

/* Code point that ends at text[end). */
static int32_t code_before(const char *text, size_t end) {
    size_t i = end - 1;
    while (i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80) i--;
    int32_t code = 0;
    (void)ql_utf8_decode(text + i, end - i, &code);
    return code;
}

static bool stands_alone(const ql_added_walk *w, size_t begin, size_t end) {
    int32_t code = 0;
    if (begin > 0 && ql_code_is_word(code_before(w->text, begin))) return false;
    return end == w->len || !ql_utf8_decode(w->text + end, w->len - end, &code) ||
           !ql_code_is_word(code);
}

static size_t strip_left(const ql_added_walk *w, size_t begin) {
    while (begin > w->done) {
        int32_t code = code_before(w->text, begin);
        char unused[4];
        if (!ql_code_is_space(code)) break;
        begin -= ql_utf8_encode(code, unused);
    }
    return begin;
}

static size_t strip_right(const ql_added_walk *w, size_t end) {
    while (end < w->len) {
        int32_t code;
        size_t n = ql_utf8_decode(w->text + end, w->len - end, &code);
        if (n == 0 || !ql_code_is_space(code)) break;
        end += n;
    }
    return end;
}

bool ql_added_next(ql_added_walk *w) {
    const ql_added_set *set = w->set;
    while (set->n && w->scan < w->len) {
        const ql_added *t = longest_at(set, w->text + w->scan, w->len - w->scan);
        if (!t) {
            w->scan++;
            continue;
        }
        size_t begin = w->scan, end = begin + t->content.n;
        w->scan = end; /* a match that does not count hides what overlaps it all the same */
        if (t->special && !w->parse_special) continue;
        if (t->single_word && !stands_alone(w, begin, end)) continue;
        if (t->lstrip) begin = strip_left(w, begin);
        if (t->rstrip) end = strip_right(w, end);
        w->gap = (ql_span){w->done, begin};
        w->token = t;
        w->scan = w->done = end;
        return true;
    }
    w->gap = (ql_span){w->done, w->len};
    w->done = w->len;
    return false;
}
