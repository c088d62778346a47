/*
 * jinja_texts.c - filters that make a text of a text. Values that are no texts become one first.
 */
#include <string.h>

#include "core/data/jinja_run.h"
#include "core/data/space.h"
#include "core/data/text.h"

static ql_status no_arguments(ql_jrun *r, const char *what, const ql_jargs *a, ql_jval v,
                              const ql_jstr **s) {
    QL_TRY(ql_jbind(r, what, a, "", 0, NULL));
    return ql_jto_str(r, v, s);
}

static ql_status with_case(ql_jrun *r, const char *what, const ql_jargs *a, ql_jval v, ql_jcase how,
                           ql_jval *out) {
    const ql_jstr *s;
    ql_jbuf b = {0};
    QL_TRY(no_arguments(r, what, a, v, &s));
    QL_TRY(ql_jput_case(r, &b, s, 0, s->n, how));
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_upper(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return with_case(r, "upper", a, v, QL_JCASE_UPPER, out);
}
static ql_status filter_lower(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return with_case(r, "lower", a, v, QL_JCASE_LOWER, out);
}
static ql_status filter_capitalize(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return with_case(r, "capitalize", a, v, QL_JCASE_CAPITAL, out);
}

/* Words begin after white space and - ( { [ <. */
static bool starts_word(const ql_jstr *s, size_t i, size_t *n) {
    *n = ql_space_at(s->s + i, s->n - i);
    if (*n) return true;
    *n = 1;
    return s->s[i] && strchr("-({[<", s->s[i]);
}

static ql_status filter_title(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    ql_jbuf b = {0};
    QL_TRY(no_arguments(r, "title", a, v, &s));
    for (size_t i = 0, n; i < s->n;) {
        size_t end = i;
        while (end < s->n && !starts_word(s, end, &n)) end++;
        if (end > i) {
            size_t first = ql_jpoint_len(s, i);
            QL_TRY(ql_jput_case(r, &b, s, i, first, QL_JCASE_UPPER));
            QL_TRY(ql_jput_case(r, &b, s, i + first, end - i - first, QL_JCASE_LOWER));
        }
        i = end;
        for (; i < s->n && starts_word(s, i, &n); i += n) QL_TRY(ql_jput_part(r, &b, s, i, n));
    }
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_trim(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s, *chars = NULL;
    ql_jval p = QL_JNULL;
    QL_TRY(ql_jbind(r, "trim", a, "chars", 0, &p));
    QL_TRY(ql_jto_str(r, v, &s));
    if (p.kind != QL_JNONE) QL_TRY(ql_jneed_str(r, "trim", p, &chars));
    return ql_jstrip(r, s, chars, true, true, out);
}

static ql_status filter_replace(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s, *old, *with;
    ql_jval p[3] = {QL_JNULL, QL_JNULL, QL_JNULL};
    int64_t most = -1;
    QL_TRY(ql_jbind(r, "replace", a, "old new count", 2, p));
    QL_TRY(ql_jto_str(r, v, &s));
    QL_TRY(ql_jto_str(r, p[0], &old));
    QL_TRY(ql_jto_str(r, p[1], &with));
    if (p[2].kind != QL_JNONE) QL_TRY(ql_jneed_int(r, "replace", p[2], &most));
    return ql_jreplace(r, s, old, with, most, out);
}

/* ------------------------------------------------------------------------ indent */

/* A number of spaces, or the text itself. */
static ql_status indention(ql_jrun *r, ql_jval width, const ql_jstr **out) {
    ql_jbuf b = {0};
    ql_jval made = width;
    int64_t n;
    if (width.kind != QL_JSTR) {
        QL_TRY(ql_jneed_int(r, "indent", width, &n));
        for (int64_t i = 0; i < n; i++) QL_TRY(ql_jput(r, &b, " ", 1, QL_ORIGIN_TEMPLATE));
        QL_TRY(ql_jbuf_take(r, &b, &made));
    }
    *out = made.u.s;
    return QL_OK;
}

static ql_status filter_indent(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {ql_jint(4), ql_jbool(false), ql_jbool(false)}, text;
    const ql_jstr *s, *with;
    ql_jlist *lines;
    ql_jbuf b = {0};
    QL_TRY(ql_jbind(r, "indent", a, "width first blank", 0, p));
    QL_TRY(ql_jneed_str(r, "indent", v, &s));
    QL_TRY(indention(r, p[0], &with));
    QL_TRY(ql_jput_all(r, &b, s)); /* one more end of line: as splitlines needs it */
    QL_TRY(ql_jput(r, &b, "\n", 1, s->n ? ql_jorigin_at(s, s->n - 1) : s->origin));
    QL_TRY(ql_jbuf_take(r, &b, &text));
    QL_TRY(ql_jsplit_lines(r, text.u.s, false, &lines));
    for (size_t i = 0; i < lines->n; i++) {
        const ql_jstr *line = lines->items[i].u.s;
        uint16_t origin = line->n ? ql_jorigin_at(line, 0) : line->origin;
        if (i) QL_TRY(ql_jput(r, &b, "\n", 1, origin));
        bool indented = i == 0 ? ql_jtruth(p[1]) : line->n > 0 || ql_jtruth(p[2]);
        if (indented) QL_TRY(ql_jput_all(r, &b, with));
        QL_TRY(ql_jput_all(r, &b, line));
    }
    return ql_jbuf_take(r, &b, out);
}

/* ------------------------------------------------------------- length, escaping */

static ql_status filter_truncate(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[4] = {ql_jint(255), ql_jbool(false), QL_JNULL, ql_jint(5)};
    const ql_jstr *s, *end;
    ql_jbuf b = {0};
    int64_t length, leeway;
    QL_TRY(ql_jtext(r, "...", QL_ORIGIN_TEMPLATE, &p[2]));
    QL_TRY(ql_jbind(r, "truncate", a, "length killwords end leeway", 0, p));
    QL_TRY(ql_jneed_str(r, "truncate", p[2], &end));
    QL_TRY(ql_jneed_int(r, "truncate", p[0], &length));
    if (p[3].kind == QL_JNONE) p[3] = ql_jint(5);
    QL_TRY(ql_jneed_int(r, "truncate", p[3], &leeway));
    int64_t points, marks = (int64_t)ql_jpoints(end);
    QL_TRY(ql_jlength(r, v, &points));
    if (length < marks || leeway < 0 || length > INT32_MAX || leeway > INT32_MAX)
        return QL_JFAIL(r, "truncate: a length of %lld", (long long)length);
    *out = v; /* short values of any kind stay as they are */
    if (points <= length + leeway) return QL_OK;
    QL_TRY(ql_jneed_str(r, "truncate", v, &s));
    size_t keep = ql_jpoint_offset(s, (size_t)(length - marks));
    if (!ql_jtruth(p[1])) { /* to the last whole word */
        size_t space = keep;
        while (space > 0 && s->s[space - 1] != ' ') space--;
        if (space > 0) keep = space - 1;
    }
    QL_TRY(ql_jput_part(r, &b, s, 0, keep));
    QL_TRY(ql_jput_all(r, &b, end));
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_escape(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    ql_jbuf b = {0};
    QL_TRY(no_arguments(r, "escape", a, v, &s));
    for (size_t i = 0; i < s->n; i++) {
        const char *as = s->s[i] == '&'    ? "&amp;"
                         : s->s[i] == '<'  ? "&lt;"
                         : s->s[i] == '>'  ? "&gt;"
                         : s->s[i] == '\'' ? "&#39;"
                         : s->s[i] == '"'  ? "&#34;"
                                           : NULL;
        QL_TRY(as ? ql_jput(r, &b, as, strlen(as), ql_jorigin_at(s, i))
                  : ql_jput_part(r, &b, s, i, 1));
    }
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_urlencode(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    ql_jbuf b = {0};
    if (v.kind == QL_JLIST || v.kind == QL_JDICT)
        return QL_JFAIL(r, "urlencode needs a text, not %s", ql_jtype(v));
    QL_TRY(no_arguments(r, "urlencode", a, v, &s));
    for (size_t i = 0; i < s->n; i++) {
        char c = s->s[i], code[4];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("_.-~/", c));
        (void)snprintf(code, sizeof code, "%%%02X", (unsigned)(unsigned char)c);
        QL_TRY(plain ? ql_jput_part(r, &b, s, i, 1) : ql_jput(r, &b, code, 3, ql_jorigin_at(s, i)));
    }
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_wordcount(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    int64_t words = 0;
    QL_TRY(no_arguments(r, "wordcount", a, v, &s));
    bool inside = false;
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t code = 0;
        n = ql_utf8_decode(s->s + i, s->n - i, &code);
        if (n == 0) n = 1;
        bool word = ql_code_is_word(code);
        words += word && !inside;
        inside = word;
    }
    *out = ql_jint(words);
    return QL_OK;
}

static ql_status filter_center(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval width = ql_jint(80);
    const ql_jstr *s;
    ql_jbuf b = {0};
    int64_t n;
    QL_TRY(ql_jbind(r, "center", a, "width", 0, &width));
    QL_TRY(ql_jneed_int(r, "center", width, &n));
    QL_TRY(ql_jto_str(r, v, &s));
    int64_t space = n - (int64_t)ql_jpoints(s);
    if (space < 0) space = 0;
    int64_t left = space / 2 + (space & n & 1); /* Python puts an odd one so */
    for (int64_t i = 0; i < left; i++) QL_TRY(ql_jput(r, &b, " ", 1, QL_ORIGIN_TEMPLATE));
    QL_TRY(ql_jput_all(r, &b, s));
    for (int64_t i = left; i < space; i++) QL_TRY(ql_jput(r, &b, " ", 1, QL_ORIGIN_TEMPLATE));
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_format(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    ql_jlist *values;
    QL_TRY(ql_jto_str(r, v, &s));
    if (a->n && a->n_named) return QL_JFAIL(r, "can't handle positional and keyword arguments");
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_TUPLE, &values));
    for (size_t i = 0; i < a->n; i++) QL_TRY(ql_jlist_push(r, values, a->v[i]));
    return ql_jpercent(r, s, ql_jlist_value(values), a->n_named ? a : NULL, out);
}

const ql_jnamed_function ql_jfilters_text[] = {
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"capitalize", filter_capitalize},
    {"title", filter_title},
    {"trim", filter_trim},
    {"replace", filter_replace},
    {"indent", filter_indent},
    {"truncate", filter_truncate},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"forceescape", filter_escape},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
    {"center", filter_center},
    {"format", filter_format},
    {NULL, NULL},
};
