/*
 * jinja_value.c - lists and dictionaries, truth, equality, order, membership and iteration as
 * Python has them.
 */
#include <math.h>
#include <string.h>

#include "core/data/jinja_run.h"

ql_jval ql_jbool(bool b) {
    return (ql_jval){.kind = QL_JBOOL, .u.b = b};
}
ql_jval ql_jint(int64_t i) {
    return (ql_jval){.kind = QL_JINT, .u.i = i};
}
ql_jval ql_jfloat(double f) {
    return (ql_jval){.kind = QL_JFLOAT, .u.f = f};
}
ql_jval ql_jstring(const ql_jstr *s) {
    return (ql_jval){.kind = QL_JSTR, .origin = s->origin, .u.s = s};
}
ql_jval ql_jlist_value(ql_jlist *l) {
    return (ql_jval){.kind = QL_JLIST, .u.list = l};
}

const char *ql_jtype(ql_jval v) {
    static const char *const NAMES[] = {[QL_JUNDEFINED] = "Undefined", [QL_JNONE] = "NoneType",
                                        [QL_JBOOL] = "bool",           [QL_JINT] = "int",
                                        [QL_JFLOAT] = "float",         [QL_JSTR] = "str",
                                        [QL_JLIST] = "list",           [QL_JDICT] = "dict",
                                        [QL_JNAMESPACE] = "Namespace", [QL_JFUNCTION] = "function",
                                        [QL_JLOOP] = "LoopContext",    [QL_JCYCLER] = "Cycler"};
    static const char *const SHAPES[] = {[QL_JSHAPE_LIST] = "list",
                                         [QL_JSHAPE_TUPLE] = "tuple",
                                         [QL_JSHAPE_RANGE] = "range",
                                         [QL_JSHAPE_VIEW] = "dict view",
                                         [QL_JSHAPE_GENERATOR] = "generator"};
    return v.kind == QL_JLIST ? SHAPES[v.u.list->shape] : NAMES[v.kind];
}

void ql_jundefined_at(const ql_jrun *r, ql_jval v) {
    if (!v.u.s) {
        ql_jfail_at(r, "a value is undefined");
        return;
    }
    int n = v.u.s->n < 80 ? (int)v.u.s->n : 80;
    if (v.of == 0) {
        ql_jfail_at(r, "'%.*s' is undefined", n, v.u.s->s);
        return;
    }
    ql_jfail_at(r, "'%s object' has no attribute '%.*s'",
                ql_jtype((ql_jval){.kind = (uint8_t)(v.of - 1),
                                   .u.list = &(ql_jlist){.shape = QL_JSHAPE_LIST}}),
                n, v.u.s->s);
}

/* ----------------------------------------------------------- lists, dictionaries */

ql_status ql_jlist_new(ql_jrun *r, ql_jshape shape, ql_jlist **out) {
    QL_TRY(ql_jalloc(r, 1, sizeof **out, out));
    (*out)->shape = shape;
    return QL_OK;
}

ql_status ql_jlist_push(ql_jrun *r, ql_jlist *l, ql_jval v) {
    QL_TRY(ql_jgrow(r, &l->items, &l->cap, l->n + 1, sizeof v));
    l->items[l->n++] = v;
    return QL_OK;
}

ql_status ql_jpair(ql_jrun *r, ql_jval a, ql_jval b, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_TUPLE, &l));
    QL_TRY(ql_jlist_push(r, l, a));
    QL_TRY(ql_jlist_push(r, l, b));
    *out = ql_jlist_value(l);
    return QL_OK;
}

ql_status ql_jdict_new(ql_jrun *r, ql_jdict **out) {
    return ql_jalloc(r, 1, sizeof **out, out);
}

static bool hashable(ql_jval v) {
    if (v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_TUPLE) {
        for (size_t i = 0; i < v.u.list->n; i++) {
            ql_jval x = v.u.list->items[i];
            if (x.kind == QL_JLIST || x.kind == QL_JDICT) return false;
        }
        return true;
    }
    return v.kind != QL_JLIST && v.kind != QL_JDICT;
}

ql_status ql_jdict_find(ql_jrun *r, const ql_jdict *d, ql_jval key, size_t *at) {
    if (!hashable(key)) return QL_JFAIL(r, "unhashable type: '%s'", ql_jtype(key));
    QL_TRY(ql_jstep(r, d->n / 8));
    for (size_t i = 0; i < d->n; i++) {
        bool equal;
        QL_TRY(ql_jequal(r, d->keys[i], key, &equal));
        if (!equal) continue;
        *at = i;
        return QL_OK;
    }
    *at = SIZE_MAX;
    return QL_OK;
}

size_t ql_jdict_find_text(const ql_jdict *d, const char *key) {
    for (size_t i = 0; i < d->n; i++)
        if (d->keys[i].kind == QL_JSTR && ql_jstr_is(d->keys[i].u.s, key)) return i;
    return SIZE_MAX;
}

ql_status ql_jdict_set(ql_jrun *r, ql_jdict *d, ql_jval key, ql_jval value) {
    size_t at;
    QL_TRY(ql_jdict_find(r, d, key, &at));
    if (at != SIZE_MAX) {
        d->values[at] = value;
        return QL_OK;
    }
    QL_TRY(ql_jgrow(r, &d->keys, &d->keys_cap, d->n + 1, sizeof key));
    QL_TRY(ql_jgrow(r, &d->values, &d->values_cap, d->n + 1, sizeof value));
    d->keys[d->n] = key;
    d->values[d->n++] = value;
    return QL_OK;
}

/* --------------------------------------------------------------- numbers, truth */

bool ql_jis_integer(ql_jval v) {
    return v.kind == QL_JBOOL || v.kind == QL_JINT;
}
bool ql_jis_number(ql_jval v) {
    return ql_jis_integer(v) || v.kind == QL_JFLOAT;
}
int64_t ql_jas_int(ql_jval v) {
    return v.kind == QL_JBOOL ? v.u.b : v.u.i;
}
double ql_jas_float(ql_jval v) {
    return v.kind == QL_JFLOAT ? v.u.f : (double)ql_jas_int(v);
}

bool ql_jtruth(ql_jval v) {
    switch ((ql_jkind)v.kind) {
    case QL_JUNDEFINED:
    case QL_JNONE: return false;
    case QL_JBOOL: return v.u.b;
    case QL_JINT: return v.u.i != 0;
    case QL_JFLOAT: return v.u.f != 0;
    case QL_JSTR: return v.u.s->n > 0;
    case QL_JLIST: return v.u.list->shape == QL_JSHAPE_GENERATOR || v.u.list->n > 0;
    case QL_JDICT: return v.u.dict->n > 0;
    default: return true;
    }
}

/* ------------------------------------------------------------- equality and order */

static ql_status equal_lists(ql_jrun *r, const ql_jlist *a, const ql_jlist *b, bool *out) {
    bool tuple_a = a->shape == QL_JSHAPE_TUPLE, tuple_b = b->shape == QL_JSHAPE_TUPLE;
    *out = a == b || (a->n == b->n && tuple_a == tuple_b);
    for (size_t i = 0; a != b && *out && i < a->n; i++)
        QL_TRY(ql_jequal(r, a->items[i], b->items[i], out));
    return QL_OK;
}

static ql_status equal_dicts(ql_jrun *r, const ql_jdict *a, const ql_jdict *b, bool *out) {
    *out = a == b || a->n == b->n;
    for (size_t i = 0; a != b && *out && i < a->n; i++) {
        size_t at;
        QL_TRY(ql_jdict_find(r, b, a->keys[i], &at));
        *out = at != SIZE_MAX;
        if (*out) QL_TRY(ql_jequal(r, a->values[i], b->values[at], out));
    }
    return QL_OK;
}

ql_status ql_jequal(ql_jrun *r, ql_jval a, ql_jval b, bool *out) {
    if (ql_jis_number(a) && ql_jis_number(b)) {
        *out = ql_jis_integer(a) && ql_jis_integer(b) ? ql_jas_int(a) == ql_jas_int(b)
                                                      : ql_jas_float(a) == ql_jas_float(b);
        return QL_OK;
    }
    *out = false;
    if (a.kind != b.kind) return QL_OK;
    if (a.kind == QL_JSTR) {
        *out = a.u.s->n == b.u.s->n && memcmp(a.u.s->s, b.u.s->s, a.u.s->n) == 0;
        return *out ? ql_jstep(r, a.u.s->n / QL_JWORK_BYTES) : QL_OK;
    }
    if (a.kind != QL_JLIST && a.kind != QL_JDICT) {
        *out = a.kind == QL_JNONE || a.kind == QL_JUNDEFINED || a.u.function == b.u.function;
        return QL_OK;
    }
    QL_TRY(ql_jstep(r, 1));
    if (r->value_depth >= QL_JVALUE_DEPTH)
        return QL_JFAIL(r, "values are nested more than 100 deep");
    r->value_depth++;
    ql_status s = a.kind == QL_JLIST ? equal_lists(r, a.u.list, b.u.list, out)
                                     : equal_dicts(r, a.u.dict, b.u.dict, out);
    r->value_depth--;
    return s;
}

static ql_status order_lists(ql_jrun *r, const ql_jlist *a, const ql_jlist *b, int *out) {
    if (r->value_depth >= QL_JVALUE_DEPTH)
        return QL_JFAIL(r, "values are nested more than 100 deep");
    r->value_depth++;
    *out = 0;
    ql_status s = QL_OK;
    for (size_t i = 0; s == QL_OK && *out == 0 && i < a->n && i < b->n; i++) {
        bool equal = false;
        s = ql_jequal(r, a->items[i], b->items[i], &equal);
        if (s == QL_OK && !equal) s = ql_jorder(r, a->items[i], b->items[i], out);
    }
    if (*out == 0) *out = (a->n > b->n) - (a->n < b->n);
    r->value_depth--;
    return s;
}

ql_status ql_jorder(ql_jrun *r, ql_jval a, ql_jval b, int *out) {
    QL_TRY(ql_jstep(r, 1));
    if (a.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, a);
    if (b.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, b);
    if (ql_jis_integer(a) && ql_jis_integer(b)) {
        int64_t x = ql_jas_int(a), y = ql_jas_int(b);
        *out = (x > y) - (x < y);
        return QL_OK;
    }
    if (ql_jis_number(a) && ql_jis_number(b)) {
        double x = ql_jas_float(a), y = ql_jas_float(b);
        *out = (x > y) - (x < y);
        return QL_OK;
    }
    if (a.kind == QL_JSTR && b.kind == QL_JSTR) {
        QL_TRY(ql_jstep(r, a.u.s->n / QL_JWORK_BYTES));
        *out = ql_jstr_compare(a.u.s, b.u.s);
        return QL_OK;
    }
    if (a.kind == QL_JLIST && b.kind == QL_JLIST && a.u.list->shape == b.u.list->shape &&
        a.u.list->shape <= QL_JSHAPE_TUPLE) {
        return order_lists(r, a.u.list, b.u.list, out);
    }
    return QL_JFAIL(r, "'%s' and '%s' have no order", ql_jtype(a), ql_jtype(b));
}

/* ---------------------------------------------------------------- what is inside */

ql_status ql_jcontains(ql_jrun *r, ql_jval in, ql_jval v, bool *out) {
    *out = false;
    if (in.kind == QL_JSTR) {
        if (v.kind != QL_JSTR)
            return QL_JFAIL(r, "'in <string>' requires string as left operand, not %s",
                            ql_jtype(v));
        QL_TRY(ql_jstep(r, in.u.s->n / QL_JWORK_BYTES * (v.u.s->n / 8 + 1)));
        *out = ql_jstr_find(in.u.s, 0, v.u.s) != SIZE_MAX;
        return QL_OK;
    }
    if (in.kind == QL_JDICT) {
        size_t at;
        QL_TRY(ql_jdict_find(r, in.u.dict, v, &at));
        *out = at != SIZE_MAX;
        return QL_OK;
    }
    ql_jlist *l;
    QL_TRY(ql_jiterate(r, in, &l));
    QL_TRY(ql_jstep(r, l->n / 8));
    for (size_t i = 0; !*out && i < l->n; i++) QL_TRY(ql_jequal(r, l->items[i], v, out));
    return QL_OK;
}

static ql_status characters(ql_jrun *r, const ql_jstr *s, ql_jlist *l) {
    for (size_t i = 0, n; i < s->n; i += n) {
        ql_jval c;
        n = ql_jpoint_len(s, i);
        QL_TRY(ql_jsubstr(r, s, i, n, &c));
        QL_TRY(ql_jlist_push(r, l, c));
    }
    return ql_jstep(r, s->n / 8);
}

ql_status ql_jiterate(ql_jrun *r, ql_jval v, ql_jlist **out) {
    if (v.kind == QL_JLIST) {
        *out = v.u.list;
        if (v.u.list->shape != QL_JSHAPE_GENERATOR) return QL_OK;
        QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
        **out = (ql_jlist){.items = v.u.list->items, .n = v.u.list->n, .cap = v.u.list->n};
        v.u.list->n = 0;
        return QL_OK;
    }
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
    switch ((ql_jkind)v.kind) {
    case QL_JUNDEFINED: return QL_OK;
    case QL_JSTR: return characters(r, v.u.s, *out);
    case QL_JDICT:
        **out = (ql_jlist){.items = v.u.dict->keys, .n = v.u.dict->n, .cap = v.u.dict->n};
        return QL_OK;
    default: return QL_JFAIL(r, "'%s' object is not iterable", ql_jtype(v));
    }
}

ql_status ql_jlength(ql_jrun *r, ql_jval v, int64_t *out) {
    bool generator = v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_GENERATOR;
    *out = 0;
    if (v.kind == QL_JUNDEFINED) return QL_OK;
    if (v.kind == QL_JSTR) {
        *out = (int64_t)ql_jpoints(v.u.s);
        return ql_jstep(r, v.u.s->n / QL_JWORK_BYTES);
    }
    if (v.kind == QL_JLIST && !generator) *out = (int64_t)v.u.list->n;
    if (v.kind == QL_JDICT) *out = (int64_t)v.u.dict->n;
    if (v.kind == QL_JLOOP) *out = (int64_t)v.u.loop->items->n;
    if (generator || (v.kind != QL_JLIST && v.kind != QL_JDICT && v.kind != QL_JLOOP))
        return QL_JFAIL(r, "object of type '%s' has no len()", ql_jtype(v));
    return QL_OK;
}
