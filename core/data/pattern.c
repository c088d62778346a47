/*
 * pattern.c - translation from Oniguruma's dialect, compilation and bounded matching.
 */
#include "core/data/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "core/base/hostmem.h"

#define PATTERN_MAX_BYTES 16384u
#define MATCH_LIMIT       1000000u /* internal steps of one search, plus some per byte of text */
#define HEAP_LIMIT_KIB    65536u
#define JIT_STACK_BYTES   (512u << 10)

struct ql_pattern {
    pcre2_code *code;
};

static void *pcre_alloc(PCRE2_SIZE n, void *user) {
    (void)user;
    return ql_host_calloc(n, 1);
}

static void pcre_release(void *p, void *user) {
    (void)user;
    ql_host_free(p);
}

/* ----------------------------------------------------------------- translation */

/* Oniguruma's sets, to stand inside brackets. PCRE2's \s has U+180E besides and its \w no marks;
 * Oniguruma takes the numbers of Latin-1, but no others beyond decimal digits, into \w. White space
 * is spelled out because \p{White_Space} needs PCRE2 10.40; its sets start with the lowest code
 * point and end with a range, so that a hyphen beside them is never the middle of a range. */
#define SPACE_SET                                                                                  \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{202F}\\x{205F}\\x{3000}"                       \
    "\\x{2000}-\\x{200A}\\x{2028}-\\x{2029}"
#define NOT_SPACE_SET                                                                              \
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}"                   \
    "\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}"                 \
    "\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"
#define DIGIT_SET "\\p{Nd}"
#define WORD_SET  QL_PATTERN_LETTERS "\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

typedef struct translation {
    const char *s, *what;
    size_t n, i;
    bool in_class;
    bool after_interval; /* the last thing read was {n,m} */
    ql_text *out;
} translation;

static ql_status refuse(const translation *t, size_t n, const char *why) {
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: the regular expression has '%.*s' at byte %zu, %s",
                   t->what, (int)n, t->s + t->i, t->i, why);
}

static ql_status emit(translation *t, const char *s) {
    return ql_text_append(t->out, s, strlen(s));
}

/* Copies n bytes of the pattern and moves on. */
static ql_status copy(translation *t, size_t n) {
    t->i += n;
    return ql_text_append(t->out, t->s + t->i - n, n);
}

static bool at(const translation *t, const char *s) {
    size_t n = strlen(s);
    return t->n - t->i >= n && memcmp(t->s + t->i, s, n) == 0;
}

/* Replaces an escape of two bytes by `set`, bracketed outside a class. */
static ql_status emit_set(translation *t, const char *set, bool negated) {
    if (t->in_class && negated) { return refuse(t, 2, "which inside brackets is not supported"); }
    if (!t->in_class) QL_TRY(emit(t, negated ? "[^" : "["));
    QL_TRY(emit(t, set));
    if (!t->in_class) QL_TRY(emit(t, "]"));
    t->i += 2;
    return QL_OK;
}

static ql_status emit_word_boundary(translation *t) {
    t->i += 2;
    return emit(t,
                "(?:(?<=[" WORD_SET "])(?![" WORD_SET "])|(?<![" WORD_SET "])(?=[" WORD_SET "]))");
}

/* \p{name}, \P{name} or \x{code point}. */
static ql_status copy_braced(translation *t) {
    size_t n = 2;
    if (t->i + n == t->n || t->s[t->i + n] != '{') {
        return refuse(t, 2, "which needs braces after it");
    }
    while (t->i + n < t->n && t->s[t->i + n] != '}') n++;
    return copy(t, t->i + n < t->n ? n + 1 : n); /* PCRE2 reports a missing end */
}

static ql_status translate_escape(translation *t) {
    if (t->i + 1 == t->n) return refuse(t, 1, "with nothing after it");
    char c = t->s[t->i + 1];
    switch (c) {
    case 's': return emit_set(t, SPACE_SET, false);
    case 'S':
        if (!t->in_class) return emit_set(t, SPACE_SET, true);
        t->i += 2;
        return emit(t, NOT_SPACE_SET);
    case 'd': return emit_set(t, DIGIT_SET, false);
    case 'D':
        if (!t->in_class) return emit_set(t, DIGIT_SET, true);
        t->i += 2;
        return emit(t, "\\P{Nd}");
    case 'w': return emit_set(t, WORD_SET, false);
    case 'W': return emit_set(t, WORD_SET, true);
    case 'b':
        if (t->in_class) return refuse(t, 2, "which inside brackets is not supported");
        return emit_word_boundary(t);
    case 'p':
    case 'P':
    case 'x': return copy_braced(t);
    case 'r':
    case 'n':
    case 't':
    case 'f': return copy(t, 2);
    default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            return refuse(t, 2, "an escape that is not supported");
        if ((unsigned char)c >= 0x80) return refuse(t, 1, "before a character outside ASCII");
        return copy(t, 2);
    }
}

static ql_status translate_group(translation *t) {
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (at(t, known[k])) return copy(t, strlen(known[k]));
    if (at(t, "(?i)") && t->i == 0) return copy(t, 4);
    if (at(t, "(?") || at(t, "(*")) return refuse(t, 3, "a group that is not supported");
    return copy(t, 1);
}

/* "{n}", "{n,}" or "{n,m}" at the cursor: its length; otherwise 0. */
static size_t interval_length(const translation *t) {
    size_t i = t->i + 1, digits = 0;
    for (; i < t->n && t->s[i] >= '0' && t->s[i] <= '9'; i++) digits++;
    if (!digits) return 0;
    if (i < t->n && t->s[i] == ',')
        for (i++; i < t->n && t->s[i] >= '0' && t->s[i] <= '9'; i++) {}
    return i < t->n && t->s[i] == '}' ? i + 1 - t->i : 0;
}

static ql_status translate_plain(translation *t) {
    bool after_interval = t->after_interval;
    t->after_interval = false;
    switch (t->s[t->i]) {
    case '(': return translate_group(t);
    case '[':
        t->in_class = true;
        QL_TRY(copy(t, at(t, "[^") ? 2 : 1));
        return at(t, "]") ? refuse(t, 1, "as the first member of brackets") : QL_OK;
    case '{': {
        size_t n = interval_length(t);
        if (n == 0) return refuse(t, 1, "which is not an interval like {1,3}; escape it");
        t->after_interval = true;
        return copy(t, n);
    }
    case '+':
        if (after_interval)
            return refuse(t, 1, "after an interval, which engines read differently");
        return copy(t, 1);
    default: return copy(t, 1);
    }
}

static ql_status translate_member(translation *t) {
    if (at(t, "[")) return refuse(t, 1, "inside brackets, which is not supported; escape it");
    if (at(t, "&&")) return refuse(t, 2, "inside brackets, which is not supported");
    if (at(t, "]")) t->in_class = false;
    return copy(t, 1);
}

static ql_status translate(translation *t) {
    while (t->i < t->n) {
        if (t->s[t->i] == '\\') {
            t->after_interval = false;
            QL_TRY(translate_escape(t));
        } else if (t->in_class) {
            QL_TRY(translate_member(t));
        } else {
            QL_TRY(translate_plain(t));
        }
    }
    return QL_OK;
}

/* ----------------------------------------------------------------- compilation */

static ql_status compile_code(const ql_text *s, uint32_t options, const char *what,
                              pcre2_code **out) {
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_release, NULL);
    pcre2_compile_context *c = g ? pcre2_compile_context_create(g) : NULL;
    int error = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE where = 0;
    if (c) {
        pcre2_set_newline(c, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(c, 50);
        *out = pcre2_compile((PCRE2_SPTR)s->s, s->n, options, &error, &where, c);
    }
    pcre2_compile_context_free(c);
    pcre2_general_context_free(g);
    if (c && *out) return QL_OK;
    /* 121 is the compiler's own "out of memory" */
    if (!c || error == PCRE2_ERROR_HEAP_FAILED) return QL_NOMEM("a regular expression");
    char why[160] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: the regular expression cannot be compiled: %s (near byte "
                   "%zu)",
                   what, why, (size_t)where);
}

ql_status ql_pattern_compile(const char *s, size_t n, bool literal, const char *what,
                             ql_pattern **out) {
    if (n == 0 || n > PATTERN_MAX_BYTES) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: a pattern has %zu bytes, expected 1 to %u", what, n,
                       PATTERN_MAX_BYTES);
    }
    ql_text text = {0};
    translation t = {.s = s, .what = what, .n = n, .out = &text};
    ql_status st = literal ? ql_text_append(&text, s, n) : translate(&t);
    uint32_t options = literal ? PCRE2_LITERAL | PCRE2_UTF
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE;
    pcre2_code *code = NULL;
    if (st == QL_OK) st = compile_code(&text, options, what, &code);
    ql_text_free(&text);
    if (st != QL_OK) return st;
    uint32_t empty = 0;
    pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) {
        pcre2_code_free(code);
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: a regular expression matches the empty string, "
                       "which is not supported",
                       what);
    }
    ql_pattern *p = ql_host_calloc(1, sizeof *p);
    if (!p) {
        pcre2_code_free(code);
        return QL_NOMEM("a regular expression");
    }
    p->code = code;
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it matching is interpreted */
    *out = p;
    return QL_OK;
}

void ql_pattern_free(ql_pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    ql_host_free(p);
}

/* -------------------------------------------------------------------- matching */

static ql_status match_prepare(ql_match_work *w) {
    if (w->data) return QL_OK;
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_release, NULL);
    w->data = g ? pcre2_match_data_create(1, g) : NULL;
    w->context = w->data ? pcre2_match_context_create(g) : NULL;
    w->stack = w->context ? pcre2_jit_stack_create(32768, JIT_STACK_BYTES, g) : NULL;
    pcre2_general_context_free(g);
    if (!w->context) {
        ql_match_free(w);
        return QL_NOMEM("matching a regular expression");
    }
    pcre2_set_heap_limit(w->context, HEAP_LIMIT_KIB);
    if (w->stack) pcre2_jit_stack_assign(w->context, NULL, w->stack);
    return QL_OK;
}

void ql_match_free(ql_match_work *w) {
    pcre2_jit_stack_free(w->stack);
    pcre2_match_context_free(w->context);
    pcre2_match_data_free(w->data);
    *w = (ql_match_work){0};
}

static int run_match(const ql_pattern *p, ql_match_work *w, const char *text, size_t len,
                     size_t from, uint32_t options) {
    size_t limit = MATCH_LIMIT + (len - from) * 4;
    pcre2_set_match_limit(w->context, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit);
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, options, w->data, w->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from, options | PCRE2_NO_JIT, w->data,
                         w->context);
    }
    return rc;
}

ql_status ql_pattern_find(const ql_pattern *p, ql_match_work *w, const char *text, size_t len,
                          size_t from, ql_span *match, bool *found) {
    QL_TRY(match_prepare(w));
    int rc = run_match(p, w, text, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *found = false;
        return QL_OK;
    }
    if (rc == PCRE2_ERROR_NOMEMORY) return QL_NOMEM("matching a regular expression");
    if (rc < 0) {
        char why[160] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return QL_FAIL(QL_ERR_FORMAT,
                       "tokenizer: a regular expression gave up at byte %zu of %zu "
                       "(%s)",
                       from, len, why);
    }
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(w->data);
    *match = (ql_span){v[0], v[1]};
    *found = true;
    return QL_OK;
}

ql_status ql_pattern_replace(const ql_pattern *p, ql_match_work *w, const char *text, size_t len,
                             const ql_text *with, ql_text *out, ql_span *first) {
    size_t done = 0;
    bool found;
    if (first) *first = (ql_span){0, 0};
    while (done < len) {
        ql_span m;
        QL_TRY(ql_pattern_find(p, w, text, len, done, &m, &found));
        if (!found) return ql_text_append(out, text + done, len - done);
        if (first && done == 0) *first = m;
        QL_TRY(ql_text_append(out, text + done, m.begin - done));
        QL_TRY(ql_text_append(out, with->s, with->n));
        done = m.end;
    }
    return QL_OK;
}
