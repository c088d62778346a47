/*
 * jinja_eval.c - expressions: names, attributes, items, slices, comparisons.
 */
#include <string.h>

#include "core/data/jinja_run.h"

/* --------------------------------------------------------- attributes and items */

static ql_jval missing(ql_jval of, const ql_jstr *name) {
    return (ql_jval){.kind = QL_JUNDEFINED, .of = (uint8_t)(of.kind + 1), .u.s = name};
}

/* x.name: an attribute first (methods, fields of a loop), then an item of that key. */
ql_status ql_jattribute(ql_jrun *r, ql_jval v, const ql_jstr *name, ql_jval *out) {
    bool found = false;
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (v.kind == QL_JLOOP) {
        QL_TRY(ql_jloop_attribute(r, v.u.loop, name, out, &found));
    } else if (v.kind != QL_JNAMESPACE) {
        QL_TRY(ql_jmethod(r, v, name, out, &found));
    }
    if (found) return QL_OK;
    if (v.kind == QL_JDICT || v.kind == QL_JNAMESPACE) {
        size_t at;
        QL_TRY(ql_jdict_find(r, v.u.dict, ql_jstring(name), &at));
        if (at != SIZE_MAX) {
            *out = v.u.dict->values[at];
            return QL_OK;
        }
    }
    *out = missing(v, name);
    return QL_OK;
}

static ql_status character(ql_jrun *r, const ql_jstr *s, int64_t i, ql_jval *out) {
    int64_t n = (int64_t)ql_jpoints(s);
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES));
    if (i < 0) i += n;
    if (i < 0 || i >= n) {
        *out = (ql_jval){.kind = QL_JUNDEFINED};
        return QL_OK;
    }
    size_t at = ql_jpoint_offset(s, (size_t)i);
    return ql_jsubstr(r, s, at, ql_jpoint_len(s, at), out);
}

static ql_status list_item(const ql_jlist *l, int64_t i, ql_jval *out) {
    if (i < 0) i += (int64_t)l->n;
    bool there = i >= 0 && i < (int64_t)l->n && l->shape < QL_JSHAPE_VIEW;
    *out = there ? l->items[i] : (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

/* x[key]: an item first, then an attribute of that name. */
ql_status ql_jitem(ql_jrun *r, ql_jval v, ql_jval key, ql_jval *out) {
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (key.kind == QL_JUNDEFINED && (v.kind == QL_JLIST || v.kind == QL_JSTR)) {
        *out = (ql_jval){.kind = QL_JUNDEFINED};
        return QL_OK;
    }
    if (v.kind == QL_JDICT && key.kind != QL_JLIST && key.kind != QL_JDICT) {
        size_t at;
        QL_TRY(ql_jdict_find(r, v.u.dict, key, &at));
        if (at != SIZE_MAX) {
            *out = v.u.dict->values[at];
            return QL_OK;
        }
    }
    if (ql_jis_integer(key) && v.kind == QL_JLIST) return list_item(v.u.list, ql_jas_int(key), out);
    if (ql_jis_integer(key) && v.kind == QL_JSTR) return character(r, v.u.s, ql_jas_int(key), out);
    if (key.kind != QL_JSTR) {
        *out = (ql_jval){.kind = QL_JUNDEFINED};
        return QL_OK;
    }
    if (v.kind == QL_JDICT) {
        bool found = false;
        QL_TRY(ql_jmethod(r, v, key.u.s, out, &found));
        if (!found) *out = missing(v, key.u.s);
        return QL_OK;
    }
    return ql_jattribute(r, v, key.u.s, out);
}

/* ------------------------------------------------------------------------ slices */

typedef struct slice {
    int64_t start, stop, step, n;
} slice;

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    if (i < 0) i = i < -n ? low : i + n < low ? low : i + n;
    return i > high ? high : i;
}

/* Python's rule for what start:stop:step means on a sequence of n. */
static ql_status resolve(ql_jrun *r, const ql_jval part[3], int64_t n, slice *out) {
    int64_t step = 1, v;
    if (part[2].kind != QL_JNONE) QL_TRY(ql_jneed_int(r, "a slice", part[2], &step));
    if (step == 0) return QL_JFAIL(r, "slice step cannot be zero");
    if (step < -(INT64_MAX / 2)) step = -(INT64_MAX / 2);
    if (step > INT64_MAX / 2) step = INT64_MAX / 2;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    slice s = {.start = step < 0 ? high : low, .stop = step < 0 ? low : high, .step = step};
    if (part[0].kind != QL_JNONE) {
        QL_TRY(ql_jneed_int(r, "a slice", part[0], &v));
        s.start = clamp(v, n, low, high);
    }
    if (part[1].kind != QL_JNONE) {
        QL_TRY(ql_jneed_int(r, "a slice", part[1], &v));
        s.stop = clamp(v, n, low, high);
    }
    int64_t far = step > 0 ? s.stop - s.start : s.start - s.stop, stride = step > 0 ? step : -step;
    s.n = far > 0 ? (far - 1) / stride + 1 : 0;
    *out = s;
    return QL_OK;
}

static ql_status slice_text(ql_jrun *r, const ql_jstr *t, const slice *s, ql_jval *out) {
    if (s->step == 1 || s->n == 0) {
        size_t from = s->n ? ql_jpoint_offset(t, (size_t)s->start) : 0;
        size_t to = s->n ? ql_jpoint_offset(t, (size_t)(s->start + s->n)) : 0;
        QL_TRY(ql_jstep(r, to / QL_JWORK_BYTES));
        return ql_jsubstr(r, t, from, to - from, out);
    }
    ql_jlist *all;
    ql_jbuf b = {0};
    QL_TRY(ql_jiterate(r, ql_jstring(t), &all));
    for (int64_t i = 0; i < s->n; i++)
        QL_TRY(ql_jput_all(r, &b, all->items[s->start + i * s->step].u.s));
    return ql_jbuf_take(r, &b, out);
}

ql_status ql_jslice(ql_jrun *r, ql_jval v, const ql_jval part[3], ql_jval *out) {
    slice s;
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (v.kind == QL_JSTR) {
        QL_TRY(ql_jstep(r, v.u.s->n / QL_JWORK_BYTES));
        QL_TRY(resolve(r, part, (int64_t)ql_jpoints(v.u.s), &s));
        return slice_text(r, v.u.s, &s, out);
    }
    if (v.kind != QL_JLIST || v.u.list->shape >= QL_JSHAPE_VIEW)
        return QL_JFAIL(r, "a slice of '%s'", ql_jtype(v));
    ql_jlist *l;
    ql_jshape shape = v.u.list->shape == QL_JSHAPE_RANGE ? QL_JSHAPE_LIST : v.u.list->shape;
    QL_TRY(resolve(r, part, (int64_t)v.u.list->n, &s));
    QL_TRY(ql_jlist_new(r, shape, &l));
    QL_TRY(ql_jstep(r, (size_t)s.n / 8));
    for (int64_t i = 0; i < s.n; i++)
        QL_TRY(ql_jlist_push(r, l, v.u.list->items[s.start + i * s.step]));
    *out = ql_jlist_value(l);
    out->origin = v.origin;
    return QL_OK;
}

/* ------------------------------------------------------------------- expressions */

static ql_status eval_list(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, n->kind == QL_JN_TUPLE ? QL_JSHAPE_TUPLE : QL_JSHAPE_LIST, &l));
    for (size_t i = 0; i < n->n; i++) {
        ql_jval v;
        QL_TRY(ql_jeval(r, n->items[i], &v));
        QL_TRY(ql_jlist_push(r, l, v));
    }
    *out = ql_jlist_value(l);
    return QL_OK;
}

static ql_status eval_dict(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jdict *d;
    QL_TRY(ql_jdict_new(r, &d));
    for (size_t i = 0; i + 1 < n->n; i += 2) {
        ql_jval key, v;
        QL_TRY(ql_jeval(r, n->items[i], &key));
        QL_TRY(ql_jeval(r, n->items[i + 1], &v));
        QL_TRY(ql_jdict_set(r, d, key, v));
    }
    *out = (ql_jval){.kind = QL_JDICT, .u.dict = d};
    return QL_OK;
}

static ql_status compare(ql_jrun *r, ql_jop op, ql_jval a, ql_jval b, bool *out) {
    int order = 0;
    switch (op) {
    case QL_JOP_EQ:
    case QL_JOP_NE:
        QL_TRY(ql_jequal(r, a, b, out));
        *out = *out == (op == QL_JOP_EQ);
        return QL_OK;
    case QL_JOP_IN:
    case QL_JOP_NOT_IN:
        QL_TRY(ql_jcontains(r, b, a, out));
        *out = *out == (op == QL_JOP_IN);
        return QL_OK;
    default: break;
    }
    QL_TRY(ql_jorder(r, a, b, &order));
    *out = op == QL_JOP_LT   ? order < 0
           : op == QL_JOP_LE ? order <= 0
           : op == QL_JOP_GT ? order > 0
                             : order >= 0;
    return QL_OK;
}

static ql_status eval_compare(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jval left, right;
    bool holds = true;
    QL_TRY(ql_jeval(r, n->a, &left));
    for (size_t i = 0; holds && i < n->n; i++) {
        QL_TRY(ql_jeval(r, n->items[i], &right));
        r->line = n->line;
        QL_TRY(compare(r, (ql_jop)n->ops[i], left, right, &holds));
        left = right;
    }
    *out = ql_jbool(holds);
    return QL_OK;
}

static ql_status eval_concat(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jbuf b = {0};
    for (size_t i = 0; i < n->n; i++) {
        ql_jval v;
        QL_TRY(ql_jeval(r, n->items[i], &v));
        QL_TRY(ql_jput_str(r, &b, v));
    }
    return ql_jbuf_take(r, &b, out);
}

static ql_status eval_if_else(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jval test;
    QL_TRY(ql_jeval(r, n->a, &test));
    if (ql_jtruth(test)) return ql_jeval(r, n->b, out);
    if (n->c) return ql_jeval(r, n->c, out);
    *out = (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

static ql_status eval_item(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jval v, key;
    QL_TRY(ql_jeval(r, n->a, &v));
    if (n->b->kind != QL_JN_SLICE) {
        QL_TRY(ql_jeval(r, n->b, &key));
        r->line = n->line;
        return ql_jitem(r, v, key, out);
    }
    const ql_jnode *parts[] = {n->b->a, n->b->b, n->b->c};
    ql_jval part[3] = {QL_JNULL, QL_JNULL, QL_JNULL};
    for (int i = 0; i < 3; i++)
        if (parts[i]) QL_TRY(ql_jeval(r, parts[i], &part[i]));
    r->line = n->line;
    return ql_jslice(r, v, part, out);
}

ql_status ql_jarguments(ql_jrun *r, const ql_jnode *n, ql_jargs *out) {
    ql_jargs a = {.n = n->n, .n_named = n->n_named, .names = n->names};
    if (n->n) QL_TRY(ql_jalloc(r, n->n, sizeof *a.v, &a.v));
    if (n->n_named) QL_TRY(ql_jalloc(r, n->n_named, sizeof *a.named, &a.named));
    for (size_t i = 0; i < n->n; i++) QL_TRY(ql_jeval(r, n->items[i], &a.v[i]));
    for (size_t i = 0; i < n->n_named; i++) QL_TRY(ql_jeval(r, n->named[i], &a.named[i]));
    *out = a;
    return QL_OK;
}

static ql_status eval_call(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jval v;
    ql_jargs a;
    if (n->a)
        QL_TRY(ql_jeval(r, n->a, &v));
    else
        v = r->block; /* the first filter of a block */
    QL_TRY(ql_jarguments(r, n, &a));
    r->line = n->line;
    if (n->kind == QL_JN_FILTER) return ql_jfilter(r, n->name, v, &a, out);
    if (n->kind == QL_JN_CALL) return ql_jcall(r, v, &a, out);
    bool holds = false;
    QL_TRY(ql_jtest(r, n->name, v, &a, &holds));
    *out = ql_jbool(holds);
    return QL_OK;
}

static ql_status eval_operator(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jval a, b = {.kind = QL_JNONE};
    QL_TRY(ql_jeval(r, n->a, &a));
    switch (n->kind) {
    case QL_JN_NOT: *out = ql_jbool(!ql_jtruth(a)); return QL_OK;
    case QL_JN_AND:
    case QL_JN_OR:
        *out = a;
        return ql_jtruth(a) == (n->kind == QL_JN_OR) ? QL_OK : ql_jeval(r, n->b, out);
    case QL_JN_UNARY:
        r->line = n->line;
        if (a.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, a);
        if (!ql_jis_number(a)) return QL_JFAIL(r, "bad operand type for a sign: '%s'", ql_jtype(a));
        if (a.kind != QL_JFLOAT) return ql_jbinary(r, (ql_jop)n->op, ql_jint(0), a, out);
        *out = ql_jfloat(n->op == QL_JOP_SUB ? -a.u.f : a.u.f);
        return QL_OK;
    default: break;
    }
    QL_TRY(ql_jeval(r, n->b, &b));
    r->line = n->line;
    return ql_jbinary(r, (ql_jop)n->op, a, b, out);
}

static ql_status eval(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    switch (n->kind) {
    case QL_JN_TEXT:
    case QL_JN_CONST: *out = n->value; return QL_OK;
    case QL_JN_NAME: return ql_jlookup(r, n->name, out);
    case QL_JN_LIST:
    case QL_JN_TUPLE: return eval_list(r, n, out);
    case QL_JN_DICT: return eval_dict(r, n, out);
    case QL_JN_IF_ELSE: return eval_if_else(r, n, out);
    case QL_JN_COMPARE: return eval_compare(r, n, out);
    case QL_JN_CONCAT: return eval_concat(r, n, out);
    case QL_JN_ITEM: return eval_item(r, n, out);
    case QL_JN_CALL:
    case QL_JN_FILTER:
    case QL_JN_TEST: return eval_call(r, n, out);
    case QL_JN_ATTRIBUTE: {
        ql_jval v;
        QL_TRY(ql_jeval(r, n->a, &v));
        r->line = n->line;
        return ql_jattribute(r, v, n->name, out);
    }
    default: return eval_operator(r, n, out);
    }
}

ql_status ql_jeval(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    r->line = n->line;
    QL_TRY(ql_jstep(r, 1));
    if (r->depth >= r->in->limits.depth)
        return QL_JFAIL(r, "calls and expressions are nested more than %d deep", r->depth);
    r->depth++;
    ql_status s = eval(r, n, out);
    r->depth--;
    return s;
}
