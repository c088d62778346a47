/*
 * jinja_text.c - texts with the origin of every byte: building, cutting, searching, code points;
 * str() and repr() of values as Python writes them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "core/data/jinja_run.h"
#include "core/data/text.h"

/* ---------------------------------------------------------------------- building */

uint16_t ql_jorigin_at(const ql_jstr *s, size_t i) {
    return s->origins ? s->origins[i] : s->origin;
}

static ql_status make_room(ql_jrun *r, ql_jbuf *b, size_t n) {
    QL_TRY(ql_jstep(r, n / QL_JWORK_BYTES));
    if (n > r->in->limits.text - b->n) {
        return QL_JFAIL(r, "a text grows beyond %zu MiB", r->in->limits.text >> 20);
    }
    QL_TRY(ql_jgrow(r, &b->s, &b->cap, b->n + n + 1, 1));
    return b->origins ? ql_jgrow(r, &b->origins, &b->origins_cap, b->n + n, sizeof *b->origins)
                      : QL_OK;
}

/* From one origin for all bytes to one for each. */
static ql_status split_origins(ql_jrun *r, ql_jbuf *b, size_t n) {
    if (b->origins) return QL_OK;
    QL_TRY(ql_jgrow(r, &b->origins, &b->origins_cap, b->n + n, sizeof *b->origins));
    for (size_t i = 0; i < b->n; i++) b->origins[i] = b->origin;
    return QL_OK;
}

ql_status ql_jput(ql_jrun *r, ql_jbuf *b, const char *s, size_t n, uint16_t origin) {
    if (n == 0) return QL_OK;
    QL_TRY(make_room(r, b, n));
    if (b->n == 0) b->origin = origin;
    if (origin != b->origin) QL_TRY(split_origins(r, b, n));
    for (size_t i = 0; b->origins && i < n; i++) b->origins[b->n + i] = origin;
    memcpy(b->s + b->n, s, n);
    b->n += n;
    return QL_OK;
}

ql_status ql_jput_part(ql_jrun *r, ql_jbuf *b, const ql_jstr *s, size_t from, size_t n) {
    if (!s->origins) return ql_jput(r, b, s->s + from, n, s->origin);
    if (n == 0) return QL_OK;
    QL_TRY(make_room(r, b, n));
    QL_TRY(split_origins(r, b, n));
    memcpy(b->origins + b->n, s->origins + from, n * sizeof *b->origins);
    memcpy(b->s + b->n, s->s + from, n);
    b->n += n;
    return QL_OK;
}

ql_status ql_jput_all(ql_jrun *r, ql_jbuf *b, const ql_jstr *s) {
    return ql_jput_part(r, b, s, 0, s->n);
}

ql_status ql_jbuf_take(ql_jrun *r, ql_jbuf *b, ql_jval *out) {
    ql_jstr *s;
    QL_TRY(ql_jalloc(r, 1, sizeof *s, &s));
    *s = (ql_jstr){.s = b->n ? b->s : "", .n = b->n, .origins = b->origins, .origin = b->origin};
    *out = ql_jstring(s);
    *b = (ql_jbuf){0};
    return QL_OK;
}

ql_status ql_jsubstr(ql_jrun *r, const ql_jstr *s, size_t from, size_t n, ql_jval *out) {
    ql_jstr *part;
    QL_TRY(ql_jalloc(r, 1, sizeof *part, &part));
    *part = (ql_jstr){.s = s->s + from,
                      .n = n,
                      .origins = s->origins ? s->origins + from : NULL,
                      .origin = s->origin};
    *out = ql_jstring(part);
    return QL_OK;
}

ql_status ql_jtext(ql_jrun *r, const char *s, uint16_t origin, ql_jval *out) {
    ql_jbuf b = {0};
    QL_TRY(ql_jput(r, &b, s, strlen(s), origin));
    return ql_jbuf_take(r, &b, out);
}

/* --------------------------------------------------------------------- comparing */

bool ql_jstr_is(const ql_jstr *s, const char *text) {
    return strlen(text) == s->n && memcmp(s->s, text, s->n) == 0;
}

/* The order of UTF-8 bytes is the order of code points. */
int ql_jstr_compare(const ql_jstr *a, const ql_jstr *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    int c = n ? memcmp(a->s, b->s, n) : 0;
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

size_t ql_jstr_find(const ql_jstr *s, size_t from, const ql_jstr *needle) {
    if (needle->n == 0) return from <= s->n ? from : SIZE_MAX;
    for (size_t at = from; at + needle->n <= s->n; at++) {
        const char *hit = memchr(s->s + at, needle->s[0], s->n - needle->n - at + 1);
        if (!hit) return SIZE_MAX;
        at = (size_t)(hit - s->s);
        if (memcmp(hit, needle->s, needle->n) == 0) return at;
    }
    return SIZE_MAX;
}

/* ------------------------------------------------------------------- code points */

size_t ql_jpoint_len(const ql_jstr *s, size_t i) {
    unsigned char c = (unsigned char)s->s[i];
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t ql_jpoints(const ql_jstr *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += ((unsigned char)s->s[i] & 0xc0) != 0x80;
    return n;
}

size_t ql_jpoint_offset(const ql_jstr *s, size_t k) {
    size_t at = 0;
    for (; k > 0 && at < s->n; k--) at += ql_jpoint_len(s, at);
    return at;
}

/* ------------------------------------------------------------------ str and repr */

/* The shortest digits that read back as the same number, as Python's repr lays them out. */
ql_status ql_jput_float(ql_jrun *r, ql_jbuf *b, double f, uint16_t origin) {
    char digits[40], out[64];
    if (isnan(f)) return ql_jput(r, b, "nan", 3, origin);
    if (isinf(f)) return ql_jput(r, b, f < 0 ? "-inf" : "inf", f < 0 ? 4 : 3, origin);
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*e", precision, f);
        if (strtod(digits, NULL) == f) break;
    }
    char *e = strchr(digits, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10), n = 0;
    *e = '\0';
    if (exponent < -4 || exponent >= 16) {
        n = snprintf(out, sizeof out, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int shown = (int)strlen(digits) - (digits[0] == '-') - 1 - (strchr(digits, '.') != NULL);
        int places = shown - exponent;
        n = snprintf(out, sizeof out, "%.*f", places > 1 ? places : 1, f);
    }
    return ql_jput(r, b, out, (size_t)n, origin);
}

static bool printable(int32_t code) {
    if (code == ' ') return true;
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

static ql_status put_escaped(ql_jrun *r, ql_jbuf *b, int32_t code, char quote, uint16_t origin) {
    char out[16];
    int n;
    switch (code) {
    case '\n': n = snprintf(out, sizeof out, "\\n"); break;
    case '\r': n = snprintf(out, sizeof out, "\\r"); break;
    case '\t': n = snprintf(out, sizeof out, "\\t"); break;
    default:
        if (code == '\\' || code == quote)
            n = snprintf(out, sizeof out, "\\%c", (char)code);
        else if (code < 0x100)
            n = snprintf(out, sizeof out, "\\x%02x", (unsigned)code);
        else if (code < 0x10000)
            n = snprintf(out, sizeof out, "\\u%04x", (unsigned)code);
        else
            n = snprintf(out, sizeof out, "\\U%08x", (unsigned)code);
    }
    return ql_jput(r, b, out, (size_t)n, origin);
}

static ql_status put_str_repr(ql_jrun *r, ql_jbuf *b, const ql_jstr *s) {
    bool single = s->n && memchr(s->s, '\'', s->n), twice = s->n && memchr(s->s, '"', s->n);
    char quote = single && !twice ? '"' : '\'';
    uint16_t origin = s->n ? ql_jorigin_at(s, 0) : s->origin;
    QL_TRY(ql_jput(r, b, &quote, 1, origin));
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t code = 0;
        n = ql_utf8_decode(s->s + i, s->n - i, &code);
        if (n == 0) n = 1;
        origin = ql_jorigin_at(s, i);
        if (code == '\\' || code == quote || !printable(code))
            QL_TRY(put_escaped(r, b, code, quote, origin));
        else
            QL_TRY(ql_jput_part(r, b, s, i, n));
    }
    return ql_jput(r, b, &quote, 1, origin);
}

static ql_status put_list(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    const ql_jlist *l = v.u.list;
    bool tuple = l->shape == QL_JSHAPE_TUPLE;
    const char *open = tuple ? "(" : "[", *close = tuple ? (l->n == 1 ? ",)" : ")") : "]";
    if (l->shape == QL_JSHAPE_GENERATOR) return ql_jput(r, b, "<generator>", 11, v.origin);
    if (l->shape == QL_JSHAPE_VIEW) {
        QL_TRY(ql_jput(r, b, l->view, strlen(l->view), v.origin));
        QL_TRY(ql_jput(r, b, "(", 1, v.origin));
    }
    QL_TRY(ql_jput(r, b, open, 1, v.origin));
    for (size_t i = 0; i < l->n; i++) {
        if (i) QL_TRY(ql_jput(r, b, ", ", 2, v.origin));
        QL_TRY(ql_jput_repr(r, b, l->items[i]));
    }
    QL_TRY(ql_jput(r, b, close, strlen(close), v.origin));
    return l->shape == QL_JSHAPE_VIEW ? ql_jput(r, b, ")", 1, v.origin) : QL_OK;
}

static ql_status put_range(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    char out[96];
    const ql_jlist *l = v.u.list; /* items behind the last: start, stop, step */
    int64_t start = l->items[l->n].u.i, stop = l->items[l->n + 1].u.i,
            step = l->items[l->n + 2].u.i;
    int n = snprintf(out, sizeof out, "range(%lld, %lld", (long long)start, (long long)stop);
    if (step != 1) n += snprintf(out + n, sizeof out - (size_t)n, ", %lld", (long long)step);
    QL_TRY(ql_jput(r, b, out, (size_t)n, v.origin));
    return ql_jput(r, b, ")", 1, v.origin);
}

static ql_status put_dict(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    const ql_jdict *d = v.u.dict;
    if (v.kind == QL_JNAMESPACE) QL_TRY(ql_jput(r, b, "<Namespace ", 11, v.origin));
    for (int i = 0; i + 1 < r->value_depth; i++) /* a namespace may hold itself */
        if (r->printing[i] == d) return ql_jput(r, b, "{...}>", 6, v.origin);
    QL_TRY(ql_jput(r, b, "{", 1, v.origin));
    for (size_t i = 0; i < d->n; i++) {
        if (i) QL_TRY(ql_jput(r, b, ", ", 2, v.origin));
        QL_TRY(ql_jput_repr(r, b, d->keys[i]));
        QL_TRY(ql_jput(r, b, ": ", 2, v.origin));
        QL_TRY(ql_jput_repr(r, b, d->values[i]));
    }
    QL_TRY(ql_jput(r, b, "}", 1, v.origin));
    return v.kind == QL_JNAMESPACE ? ql_jput(r, b, ">", 1, v.origin) : QL_OK;
}

/* Values inside values: str and repr are the same. */
static ql_status put_nested(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    if (r->value_depth >= QL_JVALUE_DEPTH)
        return QL_JFAIL(r, "values are nested more than 100 deep");
    r->printing[r->value_depth++] = v.kind == QL_JNAMESPACE ? v.u.dict : NULL;
    bool range = v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_RANGE;
    ql_status s = range                ? put_range(r, b, v)
                  : v.kind == QL_JLIST ? put_list(r, b, v)
                                       : put_dict(r, b, v);
    r->value_depth--;
    return s;
}

ql_status ql_jput_repr(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    char out[80];
    int n = 0;
    QL_TRY(ql_jstep(r, 1));
    switch ((ql_jkind)v.kind) {
    case QL_JSTR: return put_str_repr(r, b, v.u.s);
    case QL_JLIST:
    case QL_JDICT:
    case QL_JNAMESPACE: return put_nested(r, b, v);
    case QL_JFLOAT: return ql_jput_float(r, b, v.u.f, v.origin);
    case QL_JINT: n = snprintf(out, sizeof out, "%lld", (long long)v.u.i); break;
    case QL_JBOOL: n = snprintf(out, sizeof out, "%s", v.u.b ? "True" : "False"); break;
    case QL_JNONE: n = snprintf(out, sizeof out, "None"); break;
    case QL_JUNDEFINED: n = snprintf(out, sizeof out, "Undefined"); break;
    case QL_JFUNCTION:
        n = v.u.function->kind == QL_JF_MACRO
                ? snprintf(out, sizeof out, "<Macro '%.40s'>", v.u.function->name)
                : snprintf(out, sizeof out, "<function %.40s>", v.u.function->name);
        break;
    case QL_JLOOP:
        n = snprintf(out, sizeof out, "<LoopContext %zu/%zu>", v.u.loop->at + 1,
                     v.u.loop->items->n);
        break;
    case QL_JCYCLER: n = snprintf(out, sizeof out, "<Cycler>"); break;
    }
    return ql_jput(r, b, out, (size_t)n, v.origin);
}

ql_status ql_jput_str(ql_jrun *r, ql_jbuf *b, ql_jval v) {
    if (v.kind == QL_JSTR) return ql_jput_all(r, b, v.u.s);
    return v.kind == QL_JUNDEFINED ? QL_OK : ql_jput_repr(r, b, v);
}

ql_status ql_jto_str(ql_jrun *r, ql_jval v, const ql_jstr **out) {
    ql_jbuf b = {0};
    ql_jval made = v;
    if (v.kind != QL_JSTR) {
        QL_TRY(ql_jput_str(r, &b, v));
        QL_TRY(ql_jbuf_take(r, &b, &made));
    }
    *out = made.u.s;
    return QL_OK;
}
