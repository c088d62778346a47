/*
 * text.c - growable byte strings and UTF-8.
 */
#include "core/data/text.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/hostmem.h"

ql_status ql_text_append(ql_text *t, const char *s, size_t n) {
    if (n == 0) return QL_OK;
    if (n > QL_TEXT_MAX_BYTES - t->n) {
        return QL_FAIL(QL_ERR_INVALID, "a text grows beyond %zu bytes", QL_TEXT_MAX_BYTES);
    }
    QL_TRY(ql_host_grow((void **)&t->s, &t->cap, t->n + n, 1));
    memcpy(t->s + t->n, s, n);
    t->n += n;
    return QL_OK;
}

ql_status ql_text_append_code(ql_text *t, int32_t code) {
    char s[4];
    size_t n = ql_utf8_encode(code, s);
    return ql_text_append(t, s, n);
}

void ql_text_free(ql_text *t) {
    ql_host_free(t->s);
    *t = (ql_text){0};
}

ql_status ql_pieces_push(ql_pieces *p, size_t begin, size_t end) {
    if (begin == end) return QL_OK; /* empty pieces are never kept */
    QL_TRY(ql_host_grow((void **)&p->v, &p->cap, p->n + 1, sizeof *p->v));
    p->v[p->n++] = (ql_span){begin, end};
    return QL_OK;
}

void ql_pieces_clear(ql_pieces *p) {
    p->text.n = 0;
    p->n = 0;
}

void ql_pieces_free(ql_pieces *p) {
    ql_text_free(&p->text);
    ql_host_free(p->v);
    *p = (ql_pieces){0};
}

/* Well-formed second bytes by first byte (Unicode table 3-7); 0 = not a first byte. */
static size_t sequence_length(unsigned char first, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80;
    *hi = 0xBF;
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return 2;
    if (first >= 0xE0 && first <= 0xEF) {
        if (first == 0xE0) *lo = 0xA0;
        if (first == 0xED) *hi = 0x9F;
        return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        if (first == 0xF0) *lo = 0x90;
        if (first == 0xF4) *hi = 0x8F;
        return 4;
    }
    return 0;
}

/* Bytes of s that begin a well-formed sequence; *whole says whether they complete it. */
static size_t well_formed_prefix(const char *s, size_t n, bool *whole) {
    unsigned char lo, hi;
    size_t want = sequence_length((unsigned char)s[0], &lo, &hi);
    *whole = false;
    if (want == 0) return 0;
    size_t have = 1;
    while (have < want && have < n) {
        unsigned char b = (unsigned char)s[have];
        if (b < lo || b > hi) break;
        lo = 0x80;
        hi = 0xBF;
        have++;
    }
    *whole = have == want;
    return have;
}

size_t ql_utf8_decode(const char *s, size_t n, int32_t *code) {
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    bool whole;
    if (n == 0) return 0;
    size_t len = well_formed_prefix(s, n, &whole);
    if (!whole) return 0;
    int32_t c = (unsigned char)s[0] & mask[len];
    for (size_t i = 1; i < len; i++) c = c << 6 | ((unsigned char)s[i] & 0x3F);
    *code = c;
    return len;
}

size_t ql_utf8_encode(int32_t code, char out[4]) {
    uint32_t c = (uint32_t)code;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char head[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(head[len] | c);
    return len;
}

size_t ql_utf8_valid(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        bool whole;
        size_t len = well_formed_prefix(s + i, n - i, &whole);
        if (!whole) break;
        i += len;
    }
    return i;
}

ql_status ql_text_append_lossy(ql_text *t, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t good = ql_utf8_valid(s + i, n - i);
        QL_TRY(ql_text_append(t, s + i, good));
        i += good;
        if (i == n) break;
        bool whole;
        size_t bad = well_formed_prefix(s + i, n - i, &whole);
        QL_TRY(ql_text_append_code(t, 0xFFFD));
        i += bad ? bad : 1;
    }
    return QL_OK;
}

bool ql_code_is_space(int32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool ql_code_is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}
