/*
 * jinja_ops.c - arithmetic as Python has it. Whole numbers have 64 bits here: what does not fit is
 * refused, never wrapped.
 */
#include <math.h>
#include <string.h>

#include "core/data/jinja_run.h"

static ql_status overflow(const ql_jrun *r) {
    return QL_JFAIL(r, "a whole number does not fit in 64 bits");
}

/* Python's // and %: the quotient goes down, the remainder has the sign of the divisor. */
static int64_t floor_div(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a % b < 0) != (b < 0) ? q - 1 : q;
}

static ql_status power(ql_jrun *r, int64_t base, int64_t exponent, ql_jval *out) {
    int64_t v = 1;
    if (exponent < 0) {
        if (base == 0) return QL_JFAIL(r, "0 cannot be raised to a negative power");
        *out = ql_jfloat(pow((double)base, (double)exponent));
        return QL_OK;
    }
    if (base == 0 || base == 1 || base == -1) exponent = exponent ? 2 - exponent % 2 : 0;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(v, base, &v)) return overflow(r);
    *out = ql_jint(v);
    return QL_OK;
}

static ql_status integers(ql_jrun *r, ql_jop op, int64_t a, int64_t b, ql_jval *out) {
    int64_t v = 0;
    bool over = false;
    if ((op == QL_JOP_DIV || op == QL_JOP_FLOOR || op == QL_JOP_MOD) && b == 0)
        return QL_JFAIL(r, "division by zero");
    switch (op) {
    case QL_JOP_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case QL_JOP_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case QL_JOP_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case QL_JOP_DIV: *out = ql_jfloat((double)a / (double)b); return QL_OK;
    case QL_JOP_POW: return power(r, a, b, out);
    default:
        over = a == INT64_MIN && b == -1;
        if (!over) v = op == QL_JOP_FLOOR ? floor_div(a, b) : a - b * floor_div(a, b);
    }
    if (over) return overflow(r);
    *out = ql_jint(v);
    return QL_OK;
}

static ql_status reals(ql_jrun *r, ql_jop op, double a, double b, ql_jval *out) {
    double v = 0;
    if ((op == QL_JOP_DIV || op == QL_JOP_FLOOR || op == QL_JOP_MOD) && b == 0)
        return QL_JFAIL(r, "division by zero");
    double rest = op == QL_JOP_FLOOR || op == QL_JOP_MOD ? fmod(a, b) : 0;
    switch (op) {
    case QL_JOP_ADD: v = a + b; break;
    case QL_JOP_SUB: v = a - b; break;
    case QL_JOP_MUL: v = a * b; break;
    case QL_JOP_DIV: v = a / b; break;
    case QL_JOP_POW: v = pow(a, b); break;
    case QL_JOP_MOD: v = rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest; break;
    default:
        v = (a - rest) / b;
        if (rest != 0 && (rest < 0) != (b < 0)) v -= 1;
        v = floor(v + 0.5);
    }
    if (isnan(v) && !isnan(a) && !isnan(b)) return QL_JFAIL(r, "a power has no real value");
    *out = ql_jfloat(v);
    return QL_OK;
}

static ql_status join_lists(ql_jrun *r, ql_jval a, ql_jval b, ql_jval *out) {
    const ql_jlist *x = a.u.list, *y = b.u.list;
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, x->shape, &l));
    QL_TRY(ql_jstep(r, (x->n + y->n) / 8));
    for (size_t i = 0; i < x->n; i++) QL_TRY(ql_jlist_push(r, l, x->items[i]));
    for (size_t i = 0; i < y->n; i++) QL_TRY(ql_jlist_push(r, l, y->items[i]));
    *out = ql_jlist_value(l);
    out->origin = a.origin;
    return QL_OK;
}

static ql_status repeat(ql_jrun *r, ql_jval v, int64_t times, ql_jval *out) {
    ql_jbuf b = {0};
    if (v.kind == QL_JSTR) {
        for (int64_t i = 0; v.u.s->n && i < times; i++) {
            QL_TRY(ql_jstep(r, 1));
            QL_TRY(ql_jput_all(r, &b, v.u.s));
        }
        return ql_jbuf_take(r, &b, out);
    }
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, v.u.list->shape, &l));
    for (int64_t i = 0; v.u.list->n && i < times; i++) {
        QL_TRY(ql_jstep(r, v.u.list->n / 8 + 1));
        for (size_t k = 0; k < v.u.list->n; k++) QL_TRY(ql_jlist_push(r, l, v.u.list->items[k]));
    }
    *out = ql_jlist_value(l);
    out->origin = v.origin;
    return QL_OK;
}

static bool joins(ql_jval v) {
    return v.kind == QL_JLIST && v.u.list->shape <= QL_JSHAPE_TUPLE;
}

ql_status ql_jbinary(ql_jrun *r, ql_jop op, ql_jval a, ql_jval b, ql_jval *out) {
    static const char *const SIGNS[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (a.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, a);
    if (b.kind == QL_JUNDEFINED && !(a.kind == QL_JSTR && op == QL_JOP_MOD))
        return QL_JUNDEFINED_ERROR(r, b);
    if (ql_jis_integer(a) && ql_jis_integer(b))
        return integers(r, op, ql_jas_int(a), ql_jas_int(b), out);
    if (ql_jis_number(a) && ql_jis_number(b))
        return reals(r, op, ql_jas_float(a), ql_jas_float(b), out);
    if (op == QL_JOP_ADD && a.kind == QL_JSTR && b.kind == QL_JSTR) {
        ql_jbuf joined = {0};
        QL_TRY(ql_jput_all(r, &joined, a.u.s));
        QL_TRY(ql_jput_all(r, &joined, b.u.s));
        return ql_jbuf_take(r, &joined, out);
    }
    if (op == QL_JOP_ADD && joins(a) && joins(b) && a.u.list->shape == b.u.list->shape)
        return join_lists(r, a, b, out);
    if (op == QL_JOP_MUL && (a.kind == QL_JSTR || joins(a)) && ql_jis_integer(b))
        return repeat(r, a, ql_jas_int(b), out);
    if (op == QL_JOP_MUL && (b.kind == QL_JSTR || joins(b)) && ql_jis_integer(a))
        return repeat(r, b, ql_jas_int(a), out);
    if (op == QL_JOP_MOD && a.kind == QL_JSTR) return ql_jpercent(r, a.u.s, b, NULL, out);
    if (op == QL_JOP_ADD && a.kind == QL_JSTR)
        return QL_JFAIL(r, "can only concatenate str (not \"%s\") to str", ql_jtype(b));
    return QL_JFAIL(r, "unsupported operand types for %s: '%s' and '%s'", SIGNS[op], ql_jtype(a),
                    ql_jtype(b));
}
