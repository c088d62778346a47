/*
 * jinja_words.c - what the filters and the methods of texts share: case, white space, replacing,
 * lines. Every byte keeps its origin.
 */
#include <string.h>

#include <utf8proc.h>

#include "core/data/jinja_run.h"
#include "core/data/space.h"
#include "core/data/text.h"

/* ------------------------------------------------------------------------- case */

static int32_t other_case(int32_t code, ql_jcase how, bool first) {
    switch (how) {
    case QL_JCASE_UPPER: return utf8proc_toupper(code);
    case QL_JCASE_LOWER: return utf8proc_tolower(code);
    case QL_JCASE_SWAP:
        return utf8proc_isupper(code) ? utf8proc_tolower(code) : utf8proc_toupper(code);
    case QL_JCASE_CAPITAL: break;
    }
    return first ? utf8proc_totitle(code) : utf8proc_tolower(code);
}

/* A letter whose upper case is two: sharp s; utf8proc maps one letter to one. */
static const char *two_letters(int32_t code, ql_jcase how, bool first) {
    if (code != 0xdf || how == QL_JCASE_LOWER) return NULL;
    if (how == QL_JCASE_CAPITAL) return first ? "Ss" : NULL;
    return "SS";
}

ql_status ql_jput_case(ql_jrun *r, ql_jbuf *b, const ql_jstr *s, size_t from, size_t n,
                       ql_jcase how) {
    QL_TRY(ql_jstep(r, n / 4));
    for (size_t i = from, k; i < from + n; i += k) {
        int32_t code = 0;
        char out[4];
        k = ql_utf8_decode(s->s + i, from + n - i, &code);
        if (k == 0) k = 1;
        const char *two = two_letters(code, how, i == from);
        size_t len = two ? 2 : ql_utf8_encode(other_case(code, how, i == from), out);
        QL_TRY(ql_jput(r, b, two ? two : out, len, ql_jorigin_at(s, i)));
    }
    return QL_OK;
}

/* ------------------------------------------------------------------ white space */

/* Bytes of a character to strip at the beginning of s[from..to), or at its end; 0 = it stays. */
static size_t stripped(const ql_jstr *s, const ql_jstr *chars, size_t from, size_t to, bool end) {
    if (from >= to) return 0;
    if (!chars)
        return end ? ql_space_before(s->s + from, to - from) : ql_space_at(s->s + from, to - from);
    size_t at = from;
    if (end)
        for (at = to - 1; at > from && ((unsigned char)s->s[at] & 0xc0) == 0x80;) at--;
    size_t n = ql_jpoint_len(s, at);
    for (size_t i = 0; i < chars->n; i += ql_jpoint_len(chars, i))
        if (ql_jpoint_len(chars, i) == n && memcmp(chars->s + i, s->s + at, n) == 0) return n;
    return 0;
}

ql_status ql_jstrip(ql_jrun *r, const ql_jstr *s, const ql_jstr *chars, bool left, bool right,
                    ql_jval *out) {
    size_t from = 0, to = s->n, work = chars ? chars->n / 8 + 1 : 1;
    for (size_t n; left && (n = stripped(s, chars, from, to, false)) > 0; from += n)
        QL_TRY(ql_jstep(r, work));
    for (size_t n; right && (n = stripped(s, chars, from, to, true)) > 0; to -= n)
        QL_TRY(ql_jstep(r, work));
    return ql_jsubstr(r, s, from, to - from, out);
}

/* --------------------------------------------------------------------- replacing */

/* Between all characters. */
static ql_status replace_nothing(ql_jrun *r, const ql_jstr *s, const ql_jstr *with, int64_t most,
                                 ql_jval *out) {
    ql_jbuf b = {0};
    for (size_t i = 0;;) {
        if (most != 0) QL_TRY(ql_jput_all(r, &b, with));
        if (most > 0) most--;
        if (i >= s->n) return ql_jbuf_take(r, &b, out);
        size_t n = ql_jpoint_len(s, i);
        QL_TRY(ql_jput_part(r, &b, s, i, n));
        i += n;
    }
}

ql_status ql_jreplace(ql_jrun *r, const ql_jstr *s, const ql_jstr *old, const ql_jstr *with,
                      int64_t most, ql_jval *out) {
    ql_jbuf b = {0};
    size_t at = 0;
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES * (old->n / 8 + 1)));
    if (old->n == 0) return replace_nothing(r, s, with, most, out);
    for (size_t hit; most != 0 && (hit = ql_jstr_find(s, at, old)) != SIZE_MAX; at = hit + old->n) {
        QL_TRY(ql_jstep(r, 1));
        QL_TRY(ql_jput_part(r, &b, s, at, hit - at));
        QL_TRY(ql_jput_all(r, &b, with));
        if (most > 0) most--;
    }
    QL_TRY(ql_jput_part(r, &b, s, at, s->n - at));
    return ql_jbuf_take(r, &b, out);
}

/* ------------------------------------------------------------------------- lines */

/* Bytes of the end of line at s[i], as Python's splitlines counts them; 0 = none. */
static size_t line_end(const ql_jstr *s, size_t i) {
    unsigned char c = (unsigned char)s->s[i];
    if (c == '\r') return i + 1 < s->n && s->s[i + 1] == '\n' ? 2 : 1;
    if (c == '\n' || c == '\v' || c == '\f' || (c >= 0x1c && c <= 0x1e)) return 1;
    if (c == 0xc2 && i + 1 < s->n && (unsigned char)s->s[i + 1] == 0x85) return 2;
    bool separator = c == 0xe2 && i + 2 < s->n && (unsigned char)s->s[i + 1] == 0x80 &&
                     ((unsigned char)s->s[i + 2] == 0xa8 || (unsigned char)s->s[i + 2] == 0xa9);
    return separator ? 3 : 0;
}

ql_status ql_jsplit_lines(ql_jrun *r, const ql_jstr *s, bool keep, ql_jlist **out) {
    size_t begin = 0;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES));
    for (size_t i = 0, n; i < s->n; i += n ? n : 1) {
        ql_jval line;
        n = line_end(s, i);
        if (!n) continue;
        QL_TRY(ql_jsubstr(r, s, begin, i - begin + (keep ? n : 0), &line));
        QL_TRY(ql_jlist_push(r, *out, line));
        begin = i + n;
    }
    if (begin >= s->n) return QL_OK;
    ql_jval last;
    QL_TRY(ql_jsubstr(r, s, begin, s->n - begin, &last));
    return ql_jlist_push(r, *out, last);
}
