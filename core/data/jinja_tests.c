/*
 * jinja_tests.c - `x is name(arguments)`.
 */
#include <math.h>
#include <string.h>

#include <utf8proc.h>

#include "core/data/jinja_run.h"
#include "core/data/text.h"

/* str(v).islower(), isupper(): there is a cased letter and none of the other case. */
static ql_status cased(ql_jrun *r, ql_jval v, bool upper, bool *out) {
    const ql_jstr *s;
    bool any = false, other = false;
    QL_TRY(ql_jto_str(r, v, &s));
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t code = 0;
        n = ql_utf8_decode(s->s + i, s->n - i, &code);
        if (n == 0) n = 1;
        bool up = utf8proc_isupper(code), low = utf8proc_islower(code);
        any = any || (upper ? up : low);
        other = other || (upper ? low : up);
    }
    *out = any && !other;
    return QL_OK;
}

static bool callable(ql_jval v) {
    return v.kind == QL_JFUNCTION || v.kind == QL_JLOOP || v.kind == QL_JUNDEFINED ||
           (v.kind == QL_JCYCLER && v.u.cycler->joiner);
}

static ql_status divisible(ql_jrun *r, ql_jval v, ql_jval by, bool *out) {
    ql_jval rest;
    QL_TRY(ql_jbinary(r, QL_JOP_MOD, v, by, &rest));
    *out = !ql_jtruth(rest);
    return QL_OK;
}

/* x is y, for what Python keeps one of; else equal scalars count as one. */
static ql_status same(ql_jrun *r, ql_jval a, ql_jval b, bool *out) {
    *out = false;
    if (a.kind != b.kind) return QL_OK;
    if (a.kind == QL_JLIST || a.kind == QL_JDICT) {
        *out = a.u.list == b.u.list;
        return QL_OK;
    }
    return ql_jequal(r, a, b, out);
}

typedef enum which {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_TRUE,
    IS_FALSE,
    IS_BOOLEAN,
    IS_INTEGER,
    IS_FLOAT,
    IS_NUMBER,
    IS_STRING,
    IS_MAPPING,
    IS_SEQUENCE,
    IS_ITERABLE,
    IS_CALLABLE,
    IS_ODD,
    IS_EVEN,
    IS_LOWER,
    IS_UPPER,
    IS_ESCAPED,
    IS_DIVISIBLE,
    IS_SAME,
    IS_IN,
    IS_FILTER,
    IS_TEST,
    IS_EQ,
    IS_NE,
    IS_LT,
    IS_LE,
    IS_GT,
    IS_GE
} which;

static const struct {
    const char *name;
    which test;
} TESTS[] = {
    {"defined", IS_DEFINED},
    {"undefined", IS_UNDEFINED},
    {"none", IS_NONE},
    {"true", IS_TRUE},
    {"false", IS_FALSE},
    {"boolean", IS_BOOLEAN},
    {"integer", IS_INTEGER},
    {"float", IS_FLOAT},
    {"number", IS_NUMBER},
    {"string", IS_STRING},
    {"mapping", IS_MAPPING},
    {"sequence", IS_SEQUENCE},
    {"iterable", IS_ITERABLE},
    {"callable", IS_CALLABLE},
    {"odd", IS_ODD},
    {"even", IS_EVEN},
    {"lower", IS_LOWER},
    {"upper", IS_UPPER},
    {"escaped", IS_ESCAPED},
    {"divisibleby", IS_DIVISIBLE},
    {"sameas", IS_SAME},
    {"in", IS_IN},
    {"filter", IS_FILTER},
    {"test", IS_TEST},
    {"eq", IS_EQ},
    {"equalto", IS_EQ},
    {"==", IS_EQ},
    {"ne", IS_NE},
    {"!=", IS_NE},
    {"lt", IS_LT},
    {"lessthan", IS_LT},
    {"<", IS_LT},
    {"le", IS_LE},
    {"<=", IS_LE},
    {"gt", IS_GT},
    {"greaterthan", IS_GT},
    {">", IS_GT},
    {"ge", IS_GE},
    {">=", IS_GE},
};

static ql_status find(const ql_jrun *r, const ql_jstr *name, which *out) {
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        if (!ql_jstr_is(name, TESTS[i].name)) continue;
        *out = TESTS[i].test;
        return QL_OK;
    }
    return QL_JFAIL(r, "No test named '%.*s'.", name->n < 60 ? (int)name->n : 60, name->s);
}

static bool is_kind(which t, ql_jval v) {
    ql_jkind k = (ql_jkind)v.kind;
    bool sized = k == QL_JLIST && v.u.list->shape < QL_JSHAPE_VIEW;
    switch (t) {
    case IS_DEFINED: return k != QL_JUNDEFINED;
    case IS_UNDEFINED: return k == QL_JUNDEFINED;
    case IS_NONE: return k == QL_JNONE;
    case IS_TRUE: return k == QL_JBOOL && v.u.b;
    case IS_FALSE: return k == QL_JBOOL && !v.u.b;
    case IS_BOOLEAN: return k == QL_JBOOL;
    case IS_INTEGER: return k == QL_JINT;
    case IS_FLOAT: return k == QL_JFLOAT;
    case IS_NUMBER: return ql_jis_number(v);
    case IS_STRING: return k == QL_JSTR;
    case IS_MAPPING: return k == QL_JDICT;
    case IS_SEQUENCE: return sized || k == QL_JSTR || k == QL_JDICT || k == QL_JUNDEFINED;
    case IS_ITERABLE:
        return k == QL_JLIST || k == QL_JSTR || k == QL_JDICT || k == QL_JUNDEFINED ||
               k == QL_JLOOP;
    case IS_CALLABLE: return callable(v);
    default: return false;
    }
}

static ql_status with_argument(ql_jrun *r, which t, ql_jval v, ql_jval x, bool *out) {
    int order = 0;
    switch (t) {
    case IS_DIVISIBLE: return divisible(r, v, x, out);
    case IS_SAME: return same(r, v, x, out);
    case IS_IN: return ql_jcontains(r, x, v, out);
    case IS_EQ:
    case IS_NE:
        QL_TRY(ql_jequal(r, v, x, out));
        *out = *out == (t == IS_EQ);
        return QL_OK;
    default: break;
    }
    QL_TRY(ql_jorder(r, v, x, &order));
    *out = t == IS_LT ? order < 0 : t == IS_LE ? order <= 0 : t == IS_GT ? order > 0 : order >= 0;
    return QL_OK;
}

ql_status ql_jtest(ql_jrun *r, const ql_jstr *name, ql_jval v, const ql_jargs *a, bool *out) {
    which t = IS_DEFINED;
    ql_jval x = QL_JNULL, rest;
    char what[64];
    QL_TRY(find(r, name, &t));
    (void)snprintf(what, sizeof what, "the test '%.*s'", (int)name->n, name->s);
    bool one = t >= IS_DIVISIBLE && t != IS_FILTER && t != IS_TEST;
    QL_TRY(ql_jbind(r, what, a,
                    one ? (t == IS_DIVISIBLE ? "num"
                           : t == IS_IN      ? "seq"
                                             : "other")
                        : "",
                    one, &x));
    if (one) return with_argument(r, t, v, x, out);
    switch (t) {
    case IS_ODD:
    case IS_EVEN:
        QL_TRY(ql_jbinary(r, QL_JOP_MOD, v, ql_jint(2), &rest));
        QL_TRY(ql_jequal(r, rest, ql_jint(t == IS_ODD), out));
        return QL_OK;
    case IS_LOWER:
    case IS_UPPER: return cased(r, v, t == IS_UPPER, out);
    case IS_FILTER: *out = v.kind == QL_JSTR && ql_jfilter_exists(v.u.s); return QL_OK;
    case IS_TEST:
        *out = false;
        for (size_t i = 0; v.kind == QL_JSTR && i < sizeof TESTS / sizeof *TESTS; i++)
            *out = *out || ql_jstr_is(v.u.s, TESTS[i].name);
        return QL_OK;
    case IS_ESCAPED: *out = false; return QL_OK;
    default: *out = is_kind(t, v); return QL_OK;
    }
}
