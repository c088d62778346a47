/*
 * jinja_filters.c - `x | name(arguments)`: the table of all filters, and those of numbers and
 * single values.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/jinja_run.h"

static ql_status filter_default(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, ql_jbool(false)};
    QL_TRY(ql_jtext(r, "", QL_ORIGIN_TEMPLATE, &p[0]));
    QL_TRY(ql_jbind(r, "default", a, "default_value boolean", 0, p));
    bool missing = v.kind == QL_JUNDEFINED || (ql_jtruth(p[1]) && !ql_jtruth(v));
    *out = missing ? p[0] : v;
    return QL_OK;
}

static ql_status filter_length(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    int64_t n;
    QL_TRY(ql_jbind(r, "length", a, "", 0, NULL));
    QL_TRY(ql_jlength(r, v, &n));
    *out = ql_jint(n);
    return QL_OK;
}

static ql_status filter_string(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s;
    QL_TRY(ql_jbind(r, "string", a, "", 0, NULL));
    QL_TRY(ql_jto_str(r, v, &s));
    *out = ql_jstring(s);
    return QL_OK;
}

static ql_status filter_attr(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval name;
    bool found = false;
    QL_TRY(ql_jbind(r, "attr", a, "name", 1, &name));
    if (name.kind == QL_JSTR && v.kind == QL_JNAMESPACE) return ql_jattribute(r, v, name.u.s, out);
    if (name.kind == QL_JSTR) QL_TRY(ql_jmethod(r, v, name.u.s, out, &found));
    if (!found) *out = (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

/* --------------------------------------------------------------------- numbers */

/* A number as Python's int() and float() read it: white space around, underscores between digits.
 * False = none. */
static bool clean_number(const ql_jstr *s, bool hexadecimal, char *out, size_t size) {
    size_t n = 0, begin = 0, end = s->n;
    while (begin < end && strchr(" \t\n\r\v\f", s->s[begin]) && s->s[begin]) begin++;
    while (end > begin && strchr(" \t\n\r\v\f", s->s[end - 1]) && s->s[end - 1]) end--;
    for (size_t i = begin; i < end; i++) {
        char c = s->s[i];
        bool between = i > begin && i + 1 < end && s->s[i - 1] >= '0' && s->s[i - 1] <= '9' &&
                       s->s[i + 1] >= '0' && s->s[i + 1] <= '9';
        if (c == '_' && between) continue;
        if (n + 1 >= size || c == '\0' || (!hexadecimal && (c == 'x' || c == 'X')) || c == '_' ||
            c == 'p')
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n > 0 && out[0] != ' ';
}

static bool parse_float(const ql_jstr *s, double *out) {
    char text[128], *end;
    if (!clean_number(s, false, text, sizeof text) || strchr(text, '(')) return false;
    *out = strtod(text, &end);
    return *end == '\0' && end != text;
}

static bool parse_int(const ql_jstr *s, int base, int64_t *out) {
    char text[128], *end;
    if (!clean_number(s, base == 0 || base == 16, text, sizeof text)) return false;
    errno = 0;
    long long v = strtoll(text, &end, base);
    *out = v;
    return *end == '\0' && end != text && errno == 0;
}

static bool whole(double f, int64_t *out) {
    if (!(f > -9.2e18 && f < 9.2e18)) return false;
    *out = (int64_t)f;
    return true;
}

static ql_status filter_int(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {ql_jint(0), ql_jint(10)};
    int64_t base, i = 0;
    double f = 0;
    QL_TRY(ql_jbind(r, "int", a, "default base", 0, p));
    QL_TRY(ql_jneed_int(r, "int", p[1], &base));
    if (base != 0 && (base < 2 || base > 36)) return QL_JFAIL(r, "int: base %lld", (long long)base);
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    bool read = ql_jis_integer(v);
    if (read) i = ql_jas_int(v);
    if (v.kind == QL_JFLOAT) read = whole(v.u.f, &i);
    if (v.kind == QL_JSTR) {
        read = parse_int(v.u.s, (int)base, &i);
        if (!read && parse_float(v.u.s, &f)) read = whole(f, &i);
    }
    *out = read ? ql_jint(i) : p[0];
    return QL_OK;
}

static ql_status filter_float(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval fallback = ql_jfloat(0);
    double f = 0;
    QL_TRY(ql_jbind(r, "float", a, "default", 0, &fallback));
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    bool read = ql_jis_number(v) || (v.kind == QL_JSTR && parse_float(v.u.s, &f));
    if (ql_jis_number(v)) f = ql_jas_float(v);
    *out = read ? ql_jfloat(f) : fallback;
    return QL_OK;
}

static ql_status filter_abs(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    QL_TRY(ql_jbind(r, "abs", a, "", 0, NULL));
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (!ql_jis_number(v)) return QL_JFAIL(r, "bad operand type for abs(): '%s'", ql_jtype(v));
    if (v.kind == QL_JFLOAT) {
        *out = ql_jfloat(fabs(v.u.f));
        return QL_OK;
    }
    return ql_jbinary(r, ql_jas_int(v) < 0 ? QL_JOP_SUB : QL_JOP_ADD, ql_jint(0), v, out);
}

/* Python's round(f, places): the decimal nearest to the exact value of f, ties to even. */
static double round_places(double f, int places) {
    char text[400];
    if (!isfinite(f)) return f;
    if (places >= 0) {
        (void)snprintf(text, sizeof text, "%.*f", places > 60 ? 60 : places, f);
        return strtod(text, NULL);
    }
    double unit = pow(10, -places);
    return nearbyint(f / unit) * unit;
}

static ql_status filter_round(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {ql_jint(0), QL_JNULL};
    int64_t places;
    QL_TRY(ql_jtext(r, "common", QL_ORIGIN_TEMPLATE, &p[1]));
    QL_TRY(ql_jbind(r, "round", a, "precision method", 0, p));
    QL_TRY(ql_jneed_int(r, "round", p[0], &places));
    bool common = p[1].kind == QL_JSTR && ql_jstr_is(p[1].u.s, "common");
    bool up = p[1].kind == QL_JSTR && ql_jstr_is(p[1].u.s, "ceil");
    if (!common && !up && !(p[1].kind == QL_JSTR && ql_jstr_is(p[1].u.s, "floor")))
        return QL_JFAIL(r, "method must be common, ceil or floor");
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (!ql_jis_number(v)) return QL_JFAIL(r, "round needs a number, not %s", ql_jtype(v));
    if (places < -300 || places > 300)
        return QL_JFAIL(r, "round: a precision of %lld", (long long)places);
    if (ql_jis_integer(v) && common && places >= 0) {
        *out = ql_jint(ql_jas_int(v));
        return QL_OK;
    }
    double f = ql_jas_float(v), unit = pow(10, (double)places);
    if (common)
        f = round_places(f, (int)places);
    else
        f = (up ? ceil(f * unit) : floor(f * unit)) / unit;
    *out = ql_jis_integer(v) && common ? ql_jint((int64_t)f) : ql_jfloat(f);
    return QL_OK;
}

/* ----------------------------------------------------------------------- table */

static const ql_jnamed_function FILTERS[] = {
    {"default", filter_default},
    {"d", filter_default},
    {"length", filter_length},
    {"count", filter_length},
    {"string", filter_string},
    {"safe", filter_string},
    {"attr", filter_attr},
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"round", filter_round},
    {"tojson", ql_jfilter_tojson},
    {NULL, NULL},
};

const ql_jnamed_function *ql_jfind_function(const ql_jnamed_function *table, const ql_jstr *name) {
    for (; table->name; table++)
        if (ql_jstr_is(name, table->name)) return table;
    return NULL;
}

static const ql_jnamed_function *find(const ql_jstr *name) {
    const ql_jnamed_function *const TABLES[] = {FILTERS, ql_jfilters_text, ql_jfilters_choose,
                                                ql_jfilters_order};
    const ql_jnamed_function *f = NULL;
    for (size_t i = 0; !f && i < sizeof TABLES / sizeof *TABLES; i++)
        f = ql_jfind_function(TABLES[i], name);
    return f;
}

bool ql_jfilter_exists(const ql_jstr *name) {
    return find(name) != NULL;
}

ql_status ql_jfilter(ql_jrun *r, const ql_jstr *name, ql_jval v, const ql_jargs *a, ql_jval *out) {
    const ql_jnamed_function *f = find(name);
    if (!f)
        return QL_JFAIL(r, "No filter named '%.*s'.", name->n < 60 ? (int)name->n : 60, name->s);
    return f->call(r, v, a, out);
}
