/*
 * jinja_choose.c - filters that take items out of a sequence or make others of them: map, select,
 * reject, first, last, list, items, join, batch, slice.
 */
#include <string.h>

#include "core/data/jinja_run.h"

ql_status ql_jpath(ql_jrun *r, ql_jval item, ql_jval path, ql_jval *out) {
    *out = item;
    if (path.kind != QL_JSTR) return ql_jitem(r, item, path, out);
    const ql_jstr *s = path.u.s;
    for (size_t at = 0; at <= s->n;) {
        ql_jval key;
        size_t end = at, digits = 0;
        for (; end < s->n && s->s[end] != '.'; end++)
            digits += s->s[end] >= '0' && s->s[end] <= '9';
        if (digits > 0 && digits == end - at && digits < 10) {
            int64_t i = 0;
            for (; at < end; at++) i = 10 * i + (s->s[at] - '0');
            key = ql_jint(i);
        } else {
            QL_TRY(ql_jsubstr(r, s, at, end - at, &key));
        }
        QL_TRY(ql_jitem(r, *out, key, out));
        at = end + 1;
    }
    return QL_OK;
}

static ql_status generator(ql_jrun *r, ql_jlist **out) {
    return ql_jlist_new(r, QL_JSHAPE_GENERATOR, out);
}

/* `a` without its first `n` positional arguments. */
static ql_jargs rest(const ql_jargs *a, size_t n) {
    ql_jargs b = *a;
    b.v = a->n > n ? a->v + n : NULL;
    b.n = a->n > n ? a->n - n : 0;
    return b;
}

/* ------------------------------------------------------------------------- map */

static ql_status map_attribute(ql_jrun *r, const ql_jlist *l, const ql_jargs *a, ql_jlist *to) {
    ql_jval p[2] = {QL_JNULL, {.kind = QL_JUNDEFINED}};
    ql_jargs named = rest(a, a->n);
    if (a->n) return QL_JFAIL(r, "map takes an attribute or a filter, not both");
    QL_TRY(ql_jbind(r, "map", &named, "attribute default", 0, p));
    for (size_t i = 0; i < l->n; i++) {
        ql_jval v;
        QL_TRY(ql_jpath(r, l->items[i], p[0], &v));
        if (v.kind == QL_JUNDEFINED && p[1].kind != QL_JUNDEFINED) v = p[1];
        QL_TRY(ql_jlist_push(r, to, v));
    }
    return QL_OK;
}

static ql_status filter_map(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l, *to;
    const ql_jstr *name;
    bool attribute = false;
    for (size_t i = 0; i < a->n_named; i++)
        attribute = attribute || ql_jstr_is(a->names[i], "attribute");
    QL_TRY(generator(r, &to));
    *out = ql_jlist_value(to);
    if (!ql_jtruth(v)) return QL_OK;
    QL_TRY(ql_jiterate(r, v, &l));
    if (attribute) return map_attribute(r, l, a, to);
    if (a->n == 0) return QL_JFAIL(r, "map requires a filter argument");
    ql_jargs more = rest(a, 1);
    QL_TRY(ql_jneed_str(r, "map", a->v[0], &name));
    for (size_t i = 0; i < l->n; i++) {
        ql_jval made;
        QL_TRY(ql_jstep(r, 1));
        QL_TRY(ql_jfilter(r, name, l->items[i], &more, &made));
        QL_TRY(ql_jlist_push(r, to, made));
    }
    return QL_OK;
}

/* -------------------------------------------------------------- select, reject */

/* Items whose value (an attribute's, or their own) passes the test named next, or is true. */
static ql_status choose(ql_jrun *r, ql_jval v, const ql_jargs *a, bool attribute, bool keep,
                        ql_jval *out) {
    ql_jlist *l, *to;
    const ql_jstr *test = NULL;
    size_t skip = attribute ? 1 : 0;
    QL_TRY(generator(r, &to));
    *out = ql_jlist_value(to);
    if (!ql_jtruth(v)) return QL_OK;
    if (attribute && a->n == 0) return QL_JFAIL(r, "an attribute's name is missing");
    if (a->n > skip) QL_TRY(ql_jneed_str(r, "a test", a->v[skip], &test));
    ql_jargs more = rest(a, skip + 1);
    QL_TRY(ql_jiterate(r, v, &l));
    for (size_t i = 0; i < l->n; i++) {
        ql_jval x = l->items[i];
        QL_TRY(ql_jstep(r, 1));
        if (attribute) QL_TRY(ql_jpath(r, x, a->v[0], &x));
        bool holds = ql_jtruth(x);
        if (test) QL_TRY(ql_jtest(r, test, x, &more, &holds));
        if (holds == keep) QL_TRY(ql_jlist_push(r, to, l->items[i]));
    }
    return QL_OK;
}

static ql_status filter_select(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return choose(r, v, a, false, true, out);
}
static ql_status filter_reject(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return choose(r, v, a, false, false, out);
}
static ql_status filter_selectattr(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return choose(r, v, a, true, true, out);
}
static ql_status filter_rejectattr(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return choose(r, v, a, true, false, out);
}

/* ------------------------------------------------------------- first, last, list */

static ql_status filter_first(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "first", a, "", 0, NULL));
    QL_TRY(ql_jiterate(r, v, &l));
    *out = l->n ? l->items[0] : (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

static ql_status filter_last(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "last", a, "", 0, NULL));
    if (v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_GENERATOR)
        return QL_JFAIL(r, "'generator' object is not reversible");
    QL_TRY(ql_jiterate(r, v, &l));
    *out = l->n ? l->items[l->n - 1] : (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

static ql_status copy_list(ql_jrun *r, ql_jval v, ql_jlist **out) {
    ql_jlist *l;
    QL_TRY(ql_jiterate(r, v, &l));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
    QL_TRY(ql_jstep(r, l->n / 8));
    for (size_t i = 0; i < l->n; i++) QL_TRY(ql_jlist_push(r, *out, l->items[i]));
    return QL_OK;
}

static ql_status filter_list(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "list", a, "", 0, NULL));
    QL_TRY(copy_list(r, v, &l));
    *out = ql_jlist_value(l);
    out->origin = v.origin;
    return QL_OK;
}

static ql_status filter_reverse(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    ql_jbuf b = {0};
    QL_TRY(ql_jbind(r, "reverse", a, "", 0, NULL));
    QL_TRY(copy_list(r, v, &l));
    if (v.kind == QL_JSTR) {
        for (size_t i = l->n; i-- > 0;) QL_TRY(ql_jput_all(r, &b, l->items[i].u.s));
        return ql_jbuf_take(r, &b, out);
    }
    for (size_t i = 0; i < l->n / 2; i++) {
        ql_jval swapped = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = swapped;
    }
    bool kept = v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_GENERATOR;
    l->shape = kept ? QL_JSHAPE_LIST : QL_JSHAPE_GENERATOR;
    *out = ql_jlist_value(l);
    return QL_OK;
}

static ql_status filter_items(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "items", a, "", 0, NULL));
    QL_TRY(generator(r, &l));
    if (v.kind != QL_JUNDEFINED && v.kind != QL_JDICT)
        return QL_JFAIL(r, "Can only get item pairs from a mapping.");
    for (size_t i = 0; v.kind == QL_JDICT && i < v.u.dict->n; i++) {
        ql_jval pair;
        QL_TRY(ql_jpair(r, v.u.dict->keys[i], v.u.dict->values[i], &pair));
        QL_TRY(ql_jlist_push(r, l, pair));
    }
    *out = ql_jlist_value(l);
    return QL_OK;
}

/* ------------------------------------------------------------------------- join */

ql_status ql_jjoin(ql_jrun *r, const ql_jstr *separator, const ql_jlist *l, bool strict,
                   ql_jval *out) {
    ql_jbuf b = {0};
    for (size_t i = 0; i < l->n; i++) {
        QL_TRY(ql_jstep(r, 1));
        if (i) QL_TRY(ql_jput_all(r, &b, separator));
        if (strict && l->items[i].kind != QL_JSTR) {
            return QL_JFAIL(r, "sequence item %zu: expected str instance, %s found", i,
                            ql_jtype(l->items[i]));
        }
        QL_TRY(ql_jput_str(r, &b, l->items[i]));
    }
    return ql_jbuf_take(r, &b, out);
}

static ql_status filter_join(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, QL_JNULL};
    ql_jlist *l, *of;
    const ql_jstr *separator;
    QL_TRY(ql_jtext(r, "", QL_ORIGIN_TEMPLATE, &p[0]));
    QL_TRY(ql_jbind(r, "join", a, "d attribute", 0, p));
    QL_TRY(ql_jto_str(r, p[0], &separator));
    QL_TRY(ql_jiterate(r, v, &l));
    if (p[1].kind == QL_JNONE) return ql_jjoin(r, separator, l, false, out);
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &of));
    for (size_t i = 0; i < l->n; i++) {
        ql_jval item;
        QL_TRY(ql_jpath(r, l->items[i], p[1], &item));
        QL_TRY(ql_jlist_push(r, of, item));
    }
    return ql_jjoin(r, separator, of, false, out);
}

/* ----------------------------------------------------------------- batch, slice */

static ql_status part(ql_jrun *r, const ql_jlist *l, size_t from, size_t to, size_t fill,
                      ql_jval with, ql_jlist *out) {
    ql_jlist *some;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &some));
    for (size_t i = from; i < to; i++) QL_TRY(ql_jlist_push(r, some, l->items[i]));
    for (size_t i = 0; i < fill; i++) QL_TRY(ql_jlist_push(r, some, with));
    return ql_jlist_push(r, out, ql_jlist_value(some));
}

static ql_status filter_batch(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, QL_JNULL};
    ql_jlist *l, *to;
    int64_t n;
    QL_TRY(ql_jbind(r, "batch", a, "linecount fill_with", 1, p));
    QL_TRY(ql_jneed_int(r, "batch", p[0], &n));
    QL_TRY(ql_jiterate(r, v, &l));
    QL_TRY(generator(r, &to));
    if (n < 1 || n > 100000) return QL_JFAIL(r, "batch: lines of %lld", (long long)n);
    for (size_t at = 0; at < l->n; at += (size_t)n) {
        size_t end = l->n - at < (size_t)n ? l->n : at + (size_t)n;
        size_t fill = p[1].kind == QL_JNONE ? 0 : (size_t)n - (end - at);
        QL_TRY(part(r, l, at, end, fill, p[1], to));
    }
    *out = ql_jlist_value(to);
    return QL_OK;
}

static ql_status filter_slice(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, QL_JNULL};
    ql_jlist *l, *to;
    int64_t n;
    QL_TRY(ql_jbind(r, "slice", a, "slices fill_with", 1, p));
    QL_TRY(ql_jneed_int(r, "slice", p[0], &n));
    QL_TRY(ql_jiterate(r, v, &l));
    QL_TRY(generator(r, &to));
    if (n < 1 || n > 100000) return QL_JFAIL(r, "slice: %lld slices", (long long)n);
    size_t each = l->n / (size_t)n, longer = l->n % (size_t)n, at = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t end = at + each + (i < longer);
        QL_TRY(part(r, l, at, end, p[1].kind != QL_JNONE && i >= longer, p[1], to));
        at = end;
    }
    *out = ql_jlist_value(to);
    return QL_OK;
}

const ql_jnamed_function ql_jfilters_choose[] = {
    {"map", filter_map},
    {"select", filter_select},
    {"reject", filter_reject},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {"first", filter_first},
    {"last", filter_last},
    {"list", filter_list},
    {"reverse", filter_reverse},
    {"items", filter_items},
    {"join", filter_join},
    {"batch", filter_batch},
    {"slice", filter_slice},
    {NULL, NULL},
};
