/*
 * normalize.c - prepend, replace, Unicode forms, lower case, strip.
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
static ql_status apply_unicode(int form, const char *s, size_t n, ql_text *out) {
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

static ql_status apply_lowercase(const char *s, size_t n, ql_text *out) {
    for (size_t i = 0; i < n;) {
        int32_t code;
        i += ql_utf8_decode(s + i, n - i, &code);
        if (code == 0x130) { /* the one letter whose lower case has two code points */
            QL_TRY(ql_text_append_code(out, 'i'));
            QL_TRY(ql_text_append_code(out, 0x307));
        } else {
            QL_TRY(ql_text_append_code(out, utf8proc_tolower(code)));
        }
    }
    return QL_OK;
}

static ql_status apply_strip(bool left, bool right, const char *s, size_t n, ql_text *out) {
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
    if (end == 0 && (left || right)) return QL_OK; /* nothing but white space */
    if (!left) begin = 0;
    if (!right) end = n;
    return ql_text_append(out, s + begin, end - begin);
}

static ql_status apply(const ql_normalize_step *p, ql_match_work *w, const char *s, size_t n,
                       ql_text *out) {
    if (n == 0) return QL_OK; /* nothing stays nothing */
    switch (p->kind) {
    case QL_NORMALIZE_PREPEND:
        QL_TRY(ql_text_append(out, p->text.s, p->text.n));
        return ql_text_append(out, s, n);
    case QL_NORMALIZE_REPLACE: return ql_pattern_replace(p->pattern, w, s, n, &p->text, out);
    case QL_NORMALIZE_UNICODE: return apply_unicode(p->form, s, n, out);
    case QL_NORMALIZE_LOWERCASE: return apply_lowercase(s, n, out);
    case QL_NORMALIZE_STRIP: return apply_strip(p->left, p->right, s, n, out);
    }
    return QL_FAIL(QL_ERR_INTERNAL, "normalize: unknown step %d", (int)p->kind);
}

ql_status ql_normalize(const ql_normalizer *z, ql_match_work *w, const char *text, size_t len,
                       ql_text *a, ql_text *b) {
    a->n = 0;
    if (z->n == 0) return ql_text_append(a, text, len);
    QL_TRY(apply(&z->steps[0], w, text, len, a));
    for (size_t i = 1; i < z->n; i++) {
        ql_text t = *a;
        *a = *b;
        *b = t;
        a->n = 0;
        QL_TRY(apply(&z->steps[i], w, b->s, b->n, a));
    }
    return QL_OK;
}

void ql_normalizer_free(ql_normalizer *z) {
    for (size_t i = 0; i < z->n; i++) {
        ql_text_free(&z->steps[i].text);
        ql_pattern_free(z->steps[i].pattern);
    }
    ql_host_free(z->steps);
    *z = (ql_normalizer){0};
}
