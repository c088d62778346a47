/*
 * jinja_primary.c - tokens to values and what stands behind them: attributes, indices, calls,
 * filters, tests.
 */
#include <string.h>

#include "core/data/jinja_impl.h"

/* ------------------------------------------------------------------ primaries */

/* Strings that follow each other are one. */
static ql_status strings(ql_jparser *p, const ql_jnode **out) {
    size_t n = 0, at = p->at;
    for (size_t i = at; p->j->tokens[i].kind == QL_JT_STRING; i++) n += p->j->tokens[i].n;
    char *s = ql_arena_alloc(&p->j->arena, n + 1, 1);
    if (!s) return QL_NOMEM("a template");
    ql_jval v = {.kind = QL_JSTR};
    QL_TRY(ql_jtext_of(p, s, n, &v.u.s));
    for (; p->j->tokens[p->at].kind == QL_JT_STRING; p->at++) {
        const ql_jtoken *t = ql_jpeek(p);
        if (t->n) memcpy(s, t->s, t->n);
        s += t->n;
    }
    p->at--;
    return ql_jconstant(p, v, out);
}

static ql_status list(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_LIST, &n));
    while (!ql_jskip_op(p, "]")) {
        const ql_jnode *item;
        if (n->n) QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ","));
        if (n->n && ql_jskip_op(p, "]")) break;
        QL_TRY(ql_jparse_expression(p, true, &item));
        QL_TRY(ql_jnode_add(p, n, item));
    }
    *out = n;
    return QL_OK;
}

static ql_status dictionary(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_DICT, &n));
    while (!ql_jskip_op(p, "}")) {
        const ql_jnode *key, *value;
        if (n->n) QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ","));
        if (n->n && ql_jskip_op(p, "}")) break;
        QL_TRY(ql_jparse_expression(p, true, &key));
        QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ":"));
        QL_TRY(ql_jparse_expression(p, true, &value));
        QL_TRY(ql_jnode_add(p, n, key));
        QL_TRY(ql_jnode_add(p, n, value));
    }
    *out = n;
    return QL_OK;
}

static void note_name(ql_jparser *p, const ql_jtoken *t) {
    if (!p->macro) return;
    p->macro->uses_caller = p->macro->uses_caller || ql_jtoken_is(t, QL_JT_NAME, "caller");
    p->macro->uses_varargs = p->macro->uses_varargs || ql_jtoken_is(t, QL_JT_NAME, "varargs");
    p->macro->uses_kwargs = p->macro->uses_kwargs || ql_jtoken_is(t, QL_JT_NAME, "kwargs");
}

static ql_status name(ql_jparser *p, const ql_jnode **out) {
    const ql_jtoken *t = ql_jpeek(p);
    bool yes = ql_jtoken_is(t, QL_JT_NAME, "true") || ql_jtoken_is(t, QL_JT_NAME, "True");
    bool no = ql_jtoken_is(t, QL_JT_NAME, "false") || ql_jtoken_is(t, QL_JT_NAME, "False");
    if (yes || no) return ql_jconstant(p, (ql_jval){.kind = QL_JBOOL, .u.b = yes}, out);
    if (ql_jtoken_is(t, QL_JT_NAME, "none") || ql_jtoken_is(t, QL_JT_NAME, "None"))
        return ql_jconstant(p, (ql_jval){.kind = QL_JNONE}, out);
    ql_jnode *n;
    note_name(p, t);
    QL_TRY(ql_jnode_new(p, QL_JN_NAME, &n));
    QL_TRY(ql_jparse_name(p, &n->name));
    *out = n;
    return QL_OK;
}

static ql_status parenthesized(ql_jparser *p, const ql_jnode **out) {
    if (ql_jskip_op(p, ")")) {
        ql_jnode *empty;
        QL_TRY(ql_jnode_new(p, QL_JN_TUPLE, &empty));
        *out = empty;
        return QL_OK;
    }
    QL_TRY(ql_jparse_tuple(p, true, out));
    return ql_jexpect(p, QL_JT_OPERATOR, ")");
}

static ql_status primary(ql_jparser *p, const ql_jnode **out) {
    const ql_jtoken *t = ql_jpeek(p);
    switch (t->kind) {
    case QL_JT_NAME: return name(p, out);
    case QL_JT_STRING: return strings(p, out);
    case QL_JT_INT: return ql_jconstant(p, (ql_jval){.kind = QL_JINT, .u.i = t->i}, out);
    case QL_JT_FLOAT: return ql_jconstant(p, (ql_jval){.kind = QL_JFLOAT, .u.f = t->f}, out);
    default: break;
    }
    if (ql_jskip_op(p, "(")) return parenthesized(p, out);
    if (ql_jskip_op(p, "[")) return list(p, out);
    if (ql_jskip_op(p, "{")) return dictionary(p, out);
    return QL_JPARSE_ERROR(p, "an expression");
}

/* -------------------------------------------------------------------- postfix */

static ql_status arguments(ql_jparser *p, ql_jnode *n) {
    QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, "("));
    for (bool any = false; !ql_jskip_op(p, ")"); any = true) {
        const ql_jnode *value;
        if (any) QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ","));
        if (any && ql_jskip_op(p, ")")) break;
        if (ql_jis_op(p, "*") || ql_jis_op(p, "**"))
            return QL_JPARSE_ERROR(p, "an argument ('*' and '**' are not supported)");
        bool named =
            ql_jpeek(p)->kind == QL_JT_NAME && ql_jtoken_is(ql_jpeek(p) + 1, QL_JT_OPERATOR, "=");
        const ql_jstr *key = NULL;
        if (named) {
            QL_TRY(ql_jparse_name(p, &key));
            p->at++;
        } else if (n->n_named) {
            return QL_JPARSE_ERROR(p, "a named argument after a named one");
        }
        QL_TRY(ql_jparse_expression(p, true, &value));
        QL_TRY(named ? ql_jnode_named(p, n, key, value) : ql_jnode_add(p, n, value));
    }
    return QL_OK;
}

static ql_status call(ql_jparser *p, const ql_jnode *a, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_CALL, &n));
    n->a = a;
    QL_TRY(arguments(p, n));
    *out = n;
    return QL_OK;
}

static ql_status slice(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n;
    const ql_jnode *part[3] = {NULL, NULL, NULL};
    int i = 0;
    QL_TRY(ql_jnode_new(p, QL_JN_SLICE, &n));
    for (;;) {
        if (!ql_jis_op(p, ":") && !ql_jis_op(p, "]") && !ql_jis_op(p, ","))
            QL_TRY(ql_jparse_expression(p, true, &part[i]));
        if (!ql_jis_op(p, ":")) break;
        if (++i > 2) return QL_JPARSE_ERROR(p, "']'");
        p->at++;
    }
    n->a = part[0];
    n->b = part[1];
    n->c = part[2];
    *out = i == 0 ? part[0] : n;
    return i == 0 && !part[0] ? QL_JPARSE_ERROR(p, "an index") : QL_OK;
}

static ql_status subscript(ql_jparser *p, const ql_jnode *a, const ql_jnode **out) {
    ql_jnode *n;
    if (ql_jskip_op(p, ".")) {
        if (ql_jpeek(p)->kind == QL_JT_INT) {
            QL_TRY(ql_jnode_new(p, QL_JN_ITEM, &n));
            n->a = a;
            QL_TRY(ql_jconstant(p, (ql_jval){.kind = QL_JINT, .u.i = ql_jpeek(p)->i}, &n->b));
        } else {
            QL_TRY(ql_jnode_new(p, QL_JN_ATTRIBUTE, &n));
            n->a = a;
            QL_TRY(ql_jparse_name(p, &n->name));
        }
    } else {
        p->at++;
        QL_TRY(ql_jnode_new(p, QL_JN_ITEM, &n));
        n->a = a;
        QL_TRY(slice(p, &n->b));
        QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, "]"));
    }
    *out = n;
    return QL_OK;
}

static ql_status postfix(ql_jparser *p, const ql_jnode **v) {
    for (int n = 0;; n++) {
        if (n > QL_JPARSE_DEPTH) return QL_JPARSE_ERROR(p, "fewer than 150 steps in a row");
        if (ql_jis_op(p, ".") || ql_jis_op(p, "["))
            QL_TRY(subscript(p, *v, v));
        else if (ql_jis_op(p, "("))
            QL_TRY(call(p, *v, v));
        else
            return QL_OK;
    }
}

/* A filter's or test's name; dots belong to it. */
static ql_status dotted(ql_jparser *p, const ql_jstr **out) {
    QL_TRY(ql_jparse_name(p, out));
    if (ql_jis_op(p, ".")) return QL_JPARSE_ERROR(p, "a name without dots");
    return QL_OK;
}

/* A filter whose "|" is behind, applied to *v. */
static ql_status filter(ql_jparser *p, const ql_jnode **v) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_FILTER, &n));
    n->a = *v;
    QL_TRY(dotted(p, &n->name));
    if (ql_jis_op(p, "(")) QL_TRY(arguments(p, n));
    *v = n;
    return QL_OK;
}

ql_status ql_jparse_filters(ql_jparser *p, bool first, const ql_jnode **v) {
    for (int n = 0; first || ql_jskip_op(p, "|"); n++, first = false) {
        if (n > QL_JPARSE_DEPTH) return QL_JPARSE_ERROR(p, "fewer than 150 filters in a row");
        QL_TRY(filter(p, v));
    }
    return QL_OK;
}

static ql_status test(ql_jparser *p, const ql_jnode *a, const ql_jnode **out) {
    ql_jnode *n, *not = NULL;
    if (ql_jskip(p, QL_JT_NAME, "not")) QL_TRY(ql_jnode_new(p, QL_JN_NOT, &not ));
    QL_TRY(ql_jnode_new(p, QL_JN_TEST, &n));
    n->a = a;
    QL_TRY(dotted(p, &n->name));
    const ql_jtoken *t = ql_jpeek(p);
    bool value = t->kind == QL_JT_NAME || t->kind == QL_JT_STRING || t->kind == QL_JT_INT ||
                 t->kind == QL_JT_FLOAT || ql_jis_op(p, "[") || ql_jis_op(p, "{");
    if (ql_jis_word(p, "is")) return QL_JPARSE_ERROR(p, "one test, not a chain of them");
    if (ql_jis_op(p, "(")) {
        QL_TRY(arguments(p, n));
    } else if (value && !ql_jis_word(p, "else") && !ql_jis_word(p, "or") &&
               !ql_jis_word(p, "and")) {
        const ql_jnode *argument;
        QL_TRY(primary(p, &argument));
        QL_TRY(postfix(p, &argument));
        QL_TRY(ql_jnode_add(p, n, argument));
    }
    if (not ) not ->a = n;
    *out = not ? not : n;
    return QL_OK;
}

/* Filters, tests and calls behind a value. */
static ql_status filters(ql_jparser *p, const ql_jnode **v) {
    for (int n = 0;; n++) {
        if (n > QL_JPARSE_DEPTH) return QL_JPARSE_ERROR(p, "fewer than 150 steps in a row");
        if (ql_jskip_op(p, "|")) {
            QL_TRY(filter(p, v));
        } else if (ql_jskip(p, QL_JT_NAME, "is")) {
            QL_TRY(test(p, *v, v));
        } else if (ql_jis_op(p, "(")) {
            QL_TRY(call(p, *v, v));
        } else {
            return QL_OK;
        }
    }
}

ql_status ql_jparse_value(ql_jparser *p, const ql_jnode **out) {
    QL_TRY(primary(p, out));
    return postfix(p, out);
}

ql_status ql_jparse_behind(ql_jparser *p, bool with_filters, const ql_jnode **v) {
    QL_TRY(postfix(p, v));
    return with_filters ? filters(p, v) : QL_OK;
}
