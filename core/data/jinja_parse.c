/*
 * jinja_parse.c - tokens to expressions, with the precedence of jinja2:
 * if-else, or, and, not, comparison, + -, ~, * / // %, **, unary.
 */
#include <string.h>

#include "core/data/jinja_impl.h"

static ql_status binary(ql_jparser *p, ql_jnode_kind kind, int operator_, const ql_jnode *a,
                        const ql_jnode *b, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, kind, &n));
    n->line = a->line;
    n->op = (uint8_t)operator_;
    n->a = a;
    n->b = b;
    *out = n;
    return QL_OK;
}

/* ------------------------------------------------------------------ operators */

static ql_status unary(ql_jparser *p, bool with_filters, const ql_jnode **out) {
    bool minus = ql_jis_op(p, "-"), plus = ql_jis_op(p, "+");
    if (minus || plus) {
        const ql_jnode *a;
        QL_TRY(ql_jenter(p));
        p->at++;
        QL_TRY(unary(p, false, &a));
        QL_TRY(binary(p, QL_JN_UNARY, minus ? QL_JOP_SUB : QL_JOP_ADD, a, NULL, out));
        p->depth--;
    } else {
        QL_TRY(ql_jparse_value(p, out));
    }
    return ql_jparse_behind(p, with_filters, out);
}

typedef struct level {
    const char *text;
    ql_jop op;
} level;

static ql_status product(ql_jparser *p, const ql_jnode **out) {
    static const level OPS[] = {
        {"*", QL_JOP_MUL}, {"/", QL_JOP_DIV}, {"//", QL_JOP_FLOOR}, {"%", QL_JOP_MOD}};
    const ql_jnode *b;
    for (int first = 1, i = 0;;) {
        const ql_jnode *power;
        QL_TRY(unary(p, true, &power));
        for (int n = 0; ql_jskip_op(p, "**"); n++) {
            if (n > QL_JPARSE_DEPTH) return QL_JPARSE_ERROR(p, "fewer powers in a row");
            QL_TRY(unary(p, true, &b));
            QL_TRY(binary(p, QL_JN_BINARY, QL_JOP_POW, power, b, &power));
        }
        if (first)
            *out = power;
        else
            QL_TRY(binary(p, QL_JN_BINARY, OPS[i].op, *out, power, out));
        for (i = 0; i < 4 && !ql_jskip_op(p, OPS[i].text);) i++;
        if (i == 4) return QL_OK;
        first = 0;
    }
}

static ql_status concatenation(ql_jparser *p, const ql_jnode **out) {
    QL_TRY(product(p, out));
    if (!ql_jis_op(p, "~")) return QL_OK;
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_CONCAT, &n));
    QL_TRY(ql_jnode_add(p, n, *out));
    while (ql_jskip_op(p, "~")) {
        const ql_jnode *item;
        QL_TRY(product(p, &item));
        QL_TRY(ql_jnode_add(p, n, item));
    }
    *out = n;
    return QL_OK;
}

static ql_status sum(ql_jparser *p, const ql_jnode **out) {
    QL_TRY(concatenation(p, out));
    for (;;) {
        bool add = ql_jis_op(p, "+");
        const ql_jnode *b;
        if (!add && !ql_jis_op(p, "-")) return QL_OK;
        p->at++;
        QL_TRY(concatenation(p, &b));
        QL_TRY(binary(p, QL_JN_BINARY, add ? QL_JOP_ADD : QL_JOP_SUB, *out, b, out));
    }
}

/* The comparison that comes next, taken; -1 = none. */
static int comparison_op(ql_jparser *p) {
    static const level OPS[] = {{"==", QL_JOP_EQ}, {"!=", QL_JOP_NE}, {"<", QL_JOP_LT},
                                {"<=", QL_JOP_LE}, {">", QL_JOP_GT},  {">=", QL_JOP_GE}};
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
        if (ql_jskip_op(p, OPS[i].text)) return (int)OPS[i].op;
    if (ql_jskip(p, QL_JT_NAME, "in")) return QL_JOP_IN;
    if (ql_jis_word(p, "not") && ql_jtoken_is(ql_jpeek(p) + 1, QL_JT_NAME, "in")) {
        p->at += 2;
        return QL_JOP_NOT_IN;
    }
    return -1;
}

static ql_status comparison(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n = NULL;
    QL_TRY(sum(p, out));
    for (int code; (code = comparison_op(p)) >= 0;) {
        const ql_jnode *b;
        if (!n) {
            QL_TRY(ql_jnode_new(p, QL_JN_COMPARE, &n));
            n->a = *out;
            *out = n;
        }
        QL_TRY(sum(p, &b));
        QL_TRY(ql_jroom(p, &n->ops, &n->ops_cap, n->n, 1));
        n->ops[n->n] = (uint8_t)code;
        QL_TRY(ql_jnode_add(p, n, b));
    }
    return QL_OK;
}

static ql_status negation(ql_jparser *p, const ql_jnode **out) {
    if (!ql_jskip(p, QL_JT_NAME, "not")) return comparison(p, out);
    const ql_jnode *a;
    QL_TRY(ql_jenter(p));
    QL_TRY(negation(p, &a));
    p->depth--;
    return binary(p, QL_JN_NOT, 0, a, NULL, out);
}

static ql_status conjunction(ql_jparser *p, const ql_jnode **out) {
    QL_TRY(negation(p, out));
    while (ql_jskip(p, QL_JT_NAME, "and")) {
        const ql_jnode *b;
        QL_TRY(negation(p, &b));
        QL_TRY(binary(p, QL_JN_AND, 0, *out, b, out));
    }
    return QL_OK;
}

static ql_status disjunction(ql_jparser *p, const ql_jnode **out) {
    QL_TRY(conjunction(p, out));
    while (ql_jskip(p, QL_JT_NAME, "or")) {
        const ql_jnode *b;
        QL_TRY(conjunction(p, &b));
        QL_TRY(binary(p, QL_JN_OR, 0, *out, b, out));
    }
    return QL_OK;
}

ql_status ql_jparse_expression(ql_jparser *p, bool with_if, const ql_jnode **out) {
    const ql_jnode *v;
    QL_TRY(ql_jenter(p));
    QL_TRY(disjunction(p, &v));
    while (with_if && ql_jskip(p, QL_JT_NAME, "if")) {
        ql_jnode *n;
        QL_TRY(ql_jnode_new(p, QL_JN_IF_ELSE, &n));
        n->b = v;
        QL_TRY(disjunction(p, &n->a));
        if (ql_jskip(p, QL_JT_NAME, "else")) QL_TRY(ql_jparse_expression(p, true, &n->c));
        v = n;
    }
    p->depth--;
    *out = v;
    return QL_OK;
}

/* Can no item of a tuple begin here? */
static bool tuple_ends(const ql_jparser *p) {
    return ql_jpeek(p)->kind == QL_JT_BLOCK_END || ql_jpeek(p)->kind == QL_JT_PRINT_END ||
           ql_jis_op(p, ")") || ql_jis_word(p, "in") || ql_jis_word(p, "recursive") ||
           ql_jis_op(p, "=");
}

ql_status ql_jparse_tuple(ql_jparser *p, bool with_if, const ql_jnode **out) {
    const ql_jnode *item;
    ql_jnode *n;
    QL_TRY(ql_jparse_expression(p, with_if, &item));
    *out = item;
    if (!ql_jis_op(p, ",")) return QL_OK;
    QL_TRY(ql_jnode_new(p, QL_JN_TUPLE, &n));
    QL_TRY(ql_jnode_add(p, n, item));
    while (ql_jskip_op(p, ",") && !tuple_ends(p)) {
        QL_TRY(ql_jparse_expression(p, with_if, &item));
        QL_TRY(ql_jnode_add(p, n, item));
    }
    *out = n;
    return QL_OK;
}
