/*
 * normalize.c - prepend, replace, Unicode forms, lower case, strip, and dropping characters.
 */
#include "core/data/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/hostmem.h"

int ql_normalize_form(const char *name) {
    static const struct {
        const char *name;
        int form;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(name, forms[i].name) == 0) return forms[i].form;
    return 0;
}

static bool is_ascii(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0x80) return false;
    return true;
}

/* Decomposes into 32-bit code points, orders and composes them, writes UTF-8. */
static ql_status normalize_run(int form, const char *s, size_t n, ql_text *out) {
    if (is_ascii(s, n)) return ql_text_append(out, s, n);
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)s;
    utf8proc_option_t options = (utf8proc_option_t)form;
    utf8proc_ssize_t codes = utf8proc_decompose(u, (utf8proc_ssize_t)n, NULL, 0, options);
    if (codes < 0) {
        return QL_FAIL(QL_ERR_FORMAT, "tokenizer: text cannot be normalized: %s",
                       utf8proc_errmsg(codes));
    }
    /* one more element than needed: utf8proc_reencode ends with a NUL */
    utf8proc_int32_t *buffer = ql_host_calloc((size_t)codes + 1, sizeof *buffer);
    if (!buffer) return QL_NOMEM("normalized text");
    codes = utf8proc_decompose(u, (utf8proc_ssize_t)n, buffer, codes, options);
    utf8proc_ssize_t bytes = codes < 0 ? codes : utf8proc_reencode(buffer, codes, options);
    ql_status st = bytes < 0 ? QL_FAIL(QL_ERR_FORMAT, "tokenizer: text cannot be normalized: %s",
                                       utf8proc_errmsg(bytes))
                             : ql_text_append(out, (const char *)buffer, (size_t)bytes);
    ql_host_free(buffer);
    return st;
}

/* The forms of the package's Unicode version: characters that came later part the text. */
static ql_status apply_unicode(int form, const char *s, size_t n, ql_text *out) {
    if (is_ascii(s, n)) return ql_text_append(out, s, n);
    size_t done = 0;
    for (size_t i = 0; i < n;) {
        int32_t code;
        size_t k = ql_utf8_decode(s + i, n - i, &code);
        if (k > 1 && ql_uniset_has(QL_UNISET_LATER, code)) {
            QL_TRY(normalize_run(form, s + done, i - done, out));
            QL_TRY(ql_text_append(out, s + i, k));
            done = i + k;
        }
        i += k;
    }
    return normalize_run(form, s + done, n - done, out);
}

/* ------------------------------------------------------------ character by character
 * Each rule appends what one character becomes. */

typedef ql_status (*rule_fn)(const ql_normalize_step *p, int32_t code, ql_text *out);

static ql_status lowercase(const ql_normalize_step *p, int32_t code, ql_text *out) {
    (void)p;
    /* newer than utf8proc 2.8 */
    static const struct {
        int32_t first, last, distance;
    } later[] = {{0x1C89, 0x1C89, 1},    {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                 {0xA7CC, 0xA7CC, 1},    {0xA7CE, 0xA7CE, 1},
                 {0xA7D2, 0xA7D2, 1},    {0xA7D4, 0xA7D4, 1},
                 {0xA7DA, 0xA7DA, 1},    {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                 {0x10D50, 0x10D65, 32}, {0x16EA0, 0x16EB8, 27}};
    if (code == 0x130) { /* the one letter whose lower case has two code points */
        QL_TRY(ql_text_append_code(out, 'i'));
        return ql_text_append_code(out, 0x307);
    }
    for (size_t i = 0; code >= 0x1C89 && i < sizeof later / sizeof *later; i++)
        if (code >= later[i].first && code <= later[i].last)
            return ql_text_append_code(out, code + later[i].distance);
    return ql_text_append_code(out, utf8proc_tolower(code));
}

static ql_status drop(const ql_normalize_step *p, int32_t code, ql_text *out) {
    return ql_uniset_has(p->set, code) ? QL_OK : ql_text_append_code(out, code);
}

static ql_status clean(const ql_normalize_step *p, int32_t code, ql_text *out) {
    (void)p;
    if (ql_uniset_has(QL_UNISET_CONTROL, code)) return QL_OK;
    return ql_text_append_code(out, ql_code_is_space(code) ? ' ' : code);
}

static bool is_cjk(int32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

static ql_status space_cjk(const ql_normalize_step *p, int32_t code, ql_text *out) {
    (void)p;
    bool cjk = is_cjk(code);
    if (cjk) QL_TRY(ql_text_append(out, " ", 1));
    QL_TRY(ql_text_append_code(out, code));
    return cjk ? ql_text_append(out, " ", 1) : QL_OK;
}

static ql_status nmt(const ql_normalize_step *p, int32_t c, ql_text *out) {
    (void)p;
    if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
        c == 0x8F || c == 0x9F)
        return QL_OK;
    bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xFEFF || c == 0xFFFD;
    return ql_text_append_code(out, space ? ' ' : c);
}

static ql_status each_character(const ql_normalize_step *p, rule_fn rule, const char *s, size_t n,
                                ql_text *out, bool *kept_start) {
    for (size_t i = 0; i < n;) {
        int32_t code;
        i += ql_utf8_decode(s + i, n - i, &code);
        QL_TRY(rule(p, code, out));
        if (out->n == 0) *kept_start = false;
    }
    return QL_OK;
}

/* ---------------------------------------------------------------------------- steps */

static ql_status apply_strip(const ql_normalize_step *p, const char *s, size_t n, ql_text *out,
                             bool *kept_start) {
    size_t begin = n, end = 0; /* of everything between the first and last other character */
    for (size_t i = 0; i < n;) {
        int32_t code;
        size_t len = ql_utf8_decode(s + i, n - i, &code);
        if (!ql_code_is_space(code)) {
            if (begin > i) begin = i;
            end = i + len;
        }
        i += len;
    }
    if (end == 0 && (p->left || p->right)) return QL_OK; /* nothing but white space */
    if (!p->left) begin = 0;
    if (!p->right) end = n;
    if (begin) *kept_start = false;
    return ql_text_append(out, s + begin, end - begin);
}

/* What replaces a match stands where the match's last character stood. */
static ql_status apply_replace(const ql_normalize_step *p, ql_match_work *w, const char *s,
                               size_t n, ql_text *out, bool *kept_start) {
    ql_span first;
    int32_t code;
    QL_TRY(ql_pattern_replace(p->pattern, w, s, n, &p->text, out, &first));
    bool at_start = first.begin == 0 && first.end > 0;
    if (at_start && (p->text.n == 0 || ql_utf8_decode(s, n, &code) < first.end))
        *kept_start = false;
    return QL_OK;
}

/* `out` is empty. */
static ql_status apply(const ql_normalize_step *p, ql_match_work *w, const char *s, size_t n,
                       ql_text *out, bool *kept_start) {
    if (n == 0) return QL_OK; /* nothing stays nothing */
    switch (p->kind) {
    case QL_NORMALIZE_PREPEND:
        QL_TRY(ql_text_append(out, p->text.s, p->text.n));
        return ql_text_append(out, s, n);
    case QL_NORMALIZE_REPLACE: return apply_replace(p, w, s, n, out, kept_start);
    case QL_NORMALIZE_UNICODE: return apply_unicode(p->form, s, n, out);
    case QL_NORMALIZE_STRIP: return apply_strip(p, s, n, out, kept_start);
    case QL_NORMALIZE_LOWERCASE: return each_character(p, lowercase, s, n, out, kept_start);
    case QL_NORMALIZE_DROP: return each_character(p, drop, s, n, out, kept_start);
    case QL_NORMALIZE_CLEAN: return each_character(p, clean, s, n, out, kept_start);
    case QL_NORMALIZE_SPACE_CJK: return each_character(p, space_cjk, s, n, out, kept_start);
    case QL_NORMALIZE_NMT: return each_character(p, nmt, s, n, out, kept_start);
    case QL_NORMALIZE_CHARSMAP: return ql_charsmap_apply(p->map, s, n, out, kept_start);
    }
    return QL_FAIL(QL_ERR_INTERNAL, "normalize: unknown step %d", (int)p->kind);
}

ql_status ql_normalize(const ql_normalizer *z, ql_match_work *w, const char *text, size_t len,
                       ql_text *a, ql_text *b, bool *kept_start) {
    a->n = 0;
    if (z->n == 0) return ql_text_append(a, text, len);
    QL_TRY(apply(&z->steps[0], w, text, len, a, kept_start));
    for (size_t i = 1; i < z->n; i++) {
        ql_text t = *a;
        *a = *b;
        *b = t;
        a->n = 0;
        QL_TRY(apply(&z->steps[i], w, b->s, b->n, a, kept_start));
    }
    return QL_OK;
}

void ql_normalizer_free(ql_normalizer *z) {
    for (size_t i = 0; i < z->n; i++) {
        ql_text_free(&z->steps[i].text);
        ql_pattern_free(z->steps[i].pattern);
        ql_charsmap_close(z->steps[i].map);
    }
    ql_host_free(z->steps);
    *z = (ql_normalizer){0};
}
