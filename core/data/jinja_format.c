/*
 * jinja_format.c - text % values and text.format(values): %s %r %d %i %f %x with width, precision
 * and flags; {} {0} {name} without a format behind.
 */
#include <stdlib.h>
#include <string.h>

#include "core/data/jinja_run.h"

typedef struct spec {
    bool left, zero, plus;
    int width, precision; /* precision -1 = none */
    char kind;
} spec;

static int read_number(const ql_jstr *s, size_t *at) {
    int n = 0;
    for (; *at < s->n && s->s[*at] >= '0' && s->s[*at] <= '9' && n < 10000; ++*at)
        n = 10 * n + (s->s[*at] - '0');
    return n;
}

static void read_spec(const ql_jstr *s, size_t *at, spec *f) {
    *f = (spec){.precision = -1};
    for (; *at < s->n && s->s[*at] && strchr("-0+", s->s[*at]); ++*at) {
        f->left = f->left || s->s[*at] == '-';
        f->zero = f->zero || s->s[*at] == '0';
        f->plus = f->plus || s->s[*at] == '+';
    }
    f->width = read_number(s, at);
    if (*at < s->n && s->s[*at] == '.') {
        ++*at;
        f->precision = read_number(s, at);
    }
    if (*at < s->n) f->kind = s->s[(*at)++];
}

static ql_status pad(ql_jrun *r, ql_jbuf *b, int n, char with) {
    for (int i = 0; i < n; i++) QL_TRY(ql_jput(r, b, &with, 1, QL_ORIGIN_TEMPLATE));
    return QL_OK;
}

static ql_status put_number(ql_jrun *r, ql_jbuf *b, const spec *f, ql_jval v) {
    char digits[400];
    int n;
    if (!ql_jis_number(v))
        return QL_JFAIL(r, "%%%c: a number is required, not %s", f->kind, ql_jtype(v));
    if (f->kind == 'f') {
        int places = f->precision < 0 ? 6 : f->precision > 50 ? 50 : f->precision;
        n = snprintf(digits, sizeof digits, f->plus ? "%+.*f" : "%.*f", places, ql_jas_float(v));
    } else if (f->kind == 'x') {
        if (v.kind == QL_JFLOAT || ql_jas_int(v) < 0)
            return QL_JFAIL(r, "%%x: a whole number from 0 on is required");
        n = snprintf(digits, sizeof digits, "%llx", (unsigned long long)ql_jas_int(v));
    } else {
        int64_t i = v.kind == QL_JFLOAT ? (int64_t)(v.u.f > 9e18 || v.u.f < -9e18 ? 0 : v.u.f)
                                        : ql_jas_int(v);
        n = snprintf(digits, sizeof digits, f->plus ? "%+lld" : "%lld", (long long)i);
    }
    bool sign = digits[0] == '-' || digits[0] == '+';
    int space = f->width - n;
    if (!f->left && !f->zero) QL_TRY(pad(r, b, space, ' '));
    if (f->zero && !f->left && sign) QL_TRY(ql_jput(r, b, digits, 1, v.origin));
    if (f->zero && !f->left) QL_TRY(pad(r, b, space, '0'));
    size_t skip = f->zero && !f->left && sign;
    QL_TRY(ql_jput(r, b, digits + skip, (size_t)n - skip, v.origin));
    return f->left ? pad(r, b, space, ' ') : QL_OK;
}

static ql_status put_value(ql_jrun *r, ql_jbuf *b, const spec *f, ql_jval v) {
    if (f->kind && strchr("dixf", f->kind)) return put_number(r, b, f, v);
    if (f->kind != 's' && f->kind != 'r')
        return QL_JFAIL(r, "unsupported format character '%c'", f->kind ? f->kind : ' ');
    ql_jbuf made = {0};
    ql_jval text;
    QL_TRY(f->kind == 'r' ? ql_jput_repr(r, &made, v) : ql_jput_str(r, &made, v));
    QL_TRY(ql_jbuf_take(r, &made, &text));
    size_t points = ql_jpoints(text.u.s), bytes = text.u.s->n;
    if (f->precision >= 0 && (size_t)f->precision < points) {
        points = (size_t)f->precision;
        bytes = ql_jpoint_offset(text.u.s, points);
    }
    int space = points < (size_t)f->width ? f->width - (int)points : 0;
    if (!f->left) QL_TRY(pad(r, b, space, ' '));
    QL_TRY(ql_jput_part(r, b, text.u.s, 0, bytes));
    return f->left ? pad(r, b, space, ' ') : QL_OK;
}

/* "(name)" of a format by name; *found = false without it. */
static ql_status named_value(ql_jrun *r, const ql_jstr *s, size_t *at, ql_jval values,
                             const ql_jargs *named, ql_jval *out, bool *found) {
    *found = *at < s->n && s->s[*at] == '(';
    if (!*found) return QL_OK;
    const char *end = memchr(s->s + *at, ')', s->n - *at);
    if (!end) return QL_JFAIL(r, "incomplete format key");
    ql_jval key;
    QL_TRY(ql_jsubstr(r, s, *at + 1, (size_t)(end - s->s) - *at - 1, &key));
    *at = (size_t)(end - s->s) + 1;
    for (size_t i = 0; named && i < named->n_named; i++) {
        if (ql_jstr_compare(named->names[i], key.u.s) != 0) continue;
        *out = named->named[i];
        return QL_OK;
    }
    if (named || values.kind != QL_JDICT) return QL_JFAIL(r, "format requires a mapping");
    return ql_jitem(r, values, key, out);
}

ql_status ql_jpercent(ql_jrun *r, const ql_jstr *s, ql_jval values, const ql_jargs *named,
                      ql_jval *out) {
    bool tuple = values.kind == QL_JLIST && values.u.list->shape == QL_JSHAPE_TUPLE;
    size_t n = tuple ? values.u.list->n : 1, used = 0, begin = 0;
    bool by_name = false;
    ql_jbuf b = {0};
    for (size_t at = 0; at < s->n;) {
        if (s->s[at] != '%') {
            at++;
            continue;
        }
        QL_TRY(ql_jput_part(r, &b, s, begin, at - begin));
        at++;
        if (at < s->n && s->s[at] == '%') {
            begin = at++;
            continue;
        }
        spec f;
        ql_jval v;
        bool found;
        QL_TRY(named_value(r, s, &at, values, named, &v, &found));
        read_spec(s, &at, &f);
        by_name = by_name || found;
        if (!found && used >= n) return QL_JFAIL(r, "not enough arguments for format string");
        if (!found) v = tuple ? values.u.list->items[used] : values;
        used += !found;
        QL_TRY(put_value(r, &b, &f, v));
        begin = at;
    }
    /* Python asks only whether values could have been looked up by name: lists can */
    bool mapping = values.kind == QL_JDICT || values.kind == QL_JLIST ||
                   values.kind == QL_JUNDEFINED || values.kind == QL_JNAMESPACE;
    if (used < n && !by_name && !named && (tuple || !mapping))
        return QL_JFAIL(r, "not all arguments converted during string formatting");
    QL_TRY(ql_jput_part(r, &b, s, begin, s->n - begin));
    return ql_jbuf_take(r, &b, out);
}

/* The value of "{field}". */
static ql_status field(ql_jrun *r, const ql_jstr *s, size_t from, size_t n, const ql_jargs *a,
                       size_t *next, ql_jval *out) {
    size_t at = from;
    if (n == 0) {
        if (*next >= a->n) return QL_JFAIL(r, "format: there is no argument %zu", *next);
        *out = a->v[(*next)++];
        return QL_OK;
    }
    int number = read_number(s, &at);
    if (at == from + n && (size_t)number < a->n) {
        *out = a->v[number];
        return QL_OK;
    }
    for (size_t i = 0; i < a->n_named; i++) {
        if (a->names[i]->n != n || memcmp(a->names[i]->s, s->s + from, n) != 0) continue;
        *out = a->named[i];
        return QL_OK;
    }
    return QL_JFAIL(r, "format: the field '%.*s' is not supported or has no argument",
                    n < 40 ? (int)n : 40, s->s + from);
}

ql_status ql_jmethod_format(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s = self.u.s;
    size_t begin = 0, next = 0;
    ql_jbuf b = {0};
    for (size_t at = 0; at < s->n;) {
        char c = s->s[at];
        if (c != '{' && c != '}') {
            at++;
            continue;
        }
        bool twice = at + 1 < s->n && s->s[at + 1] == c;
        QL_TRY(ql_jput_part(r, &b, s, begin, at - begin + twice));
        if (twice) {
            begin = at += 2;
            continue;
        }
        const char *end = memchr(s->s + at, '}', s->n - at);
        if (c == '}' || !end) return QL_JFAIL(r, "single '%c' in a format", c);
        ql_jval v;
        QL_TRY(field(r, s, at + 1, (size_t)(end - s->s) - at - 1, a, &next, &v));
        QL_TRY(ql_jput_str(r, &b, v));
        begin = at = (size_t)(end - s->s) + 1;
    }
    QL_TRY(ql_jput_part(r, &b, s, begin, s->n - begin));
    return ql_jbuf_take(r, &b, out);
}
