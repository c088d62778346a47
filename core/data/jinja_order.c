/*
 * jinja_order.c - filters that compare items: sort, dictsort, groupby, unique, min, max, sum.
 */
#include <string.h>

#include "core/data/jinja_run.h"

/* What an item is compared by: an attribute, without case. */
typedef struct key_rule {
    ql_jval attribute; /* NONE: the item itself */
    bool case_sensitive;
} key_rule;

static ql_status key_of(ql_jrun *r, const key_rule *k, ql_jval item, ql_jval *out) {
    *out = item;
    if (k->attribute.kind != QL_JNONE) QL_TRY(ql_jpath(r, item, k->attribute, out));
    if (out->kind != QL_JSTR || k->case_sensitive) return QL_OK;
    ql_jbuf b = {0};
    QL_TRY(ql_jput_case(r, &b, out->u.s, 0, out->u.s->n, QL_JCASE_LOWER));
    return ql_jbuf_take(r, &b, out);
}

static ql_status keys_of(ql_jrun *r, const key_rule *k, const ql_jlist *l, ql_jval **out) {
    QL_TRY(ql_jalloc(r, l->n + 1, sizeof **out, out));
    for (size_t i = 0; i < l->n; i++) QL_TRY(key_of(r, k, l->items[i], &(*out)[i]));
    return QL_OK;
}

static ql_status merge(ql_jrun *r, const ql_jval *keys, const size_t *from, size_t *to,
                       size_t begin, size_t middle, size_t end, bool reverse) {
    size_t a = begin, b = middle;
    for (size_t i = begin; i < end; i++) {
        int order = a < middle ? -1 : 1;
        if (a < middle && b < end) QL_TRY(ql_jorder(r, keys[from[a]], keys[from[b]], &order));
        bool left = reverse && b < end && a < middle ? order >= 0 : order <= 0;
        to[i] = left ? from[a++] : from[b++];
    }
    return QL_OK;
}

/* A stable order of n keys, from below by merging. */
static ql_status sort_keys(ql_jrun *r, const ql_jval *keys, size_t n, bool reverse, size_t **out) {
    size_t *a, *b;
    QL_TRY(ql_jalloc(r, n + 1, sizeof *a, &a));
    QL_TRY(ql_jalloc(r, n + 1, sizeof *b, &b));
    for (size_t i = 0; i < n; i++) a[i] = i;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t middle = n - at < width ? n : at + width;
            size_t end = n - at < 2 * width ? n : at + 2 * width;
            QL_TRY(merge(r, keys, a, b, at, middle, end, reverse));
        }
        size_t *swapped = a;
        a = b;
        b = swapped;
    }
    *out = a;
    return QL_OK;
}

static ql_status sorted(ql_jrun *r, const key_rule *k, const ql_jlist *l, bool reverse,
                        ql_jlist **out) {
    ql_jval *keys;
    size_t *order;
    QL_TRY(keys_of(r, k, l, &keys));
    QL_TRY(sort_keys(r, keys, l->n, reverse, &order));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
    for (size_t i = 0; i < l->n; i++) QL_TRY(ql_jlist_push(r, *out, l->items[order[i]]));
    return QL_OK;
}

static ql_status filter_sort(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {ql_jbool(false), ql_jbool(false), QL_JNULL};
    ql_jlist *l, *made;
    QL_TRY(ql_jbind(r, "sort", a, "reverse case_sensitive attribute", 0, p));
    QL_TRY(ql_jiterate(r, v, &l));
    if (p[2].kind == QL_JSTR && memchr(p[2].u.s->s, ',', p[2].u.s->n))
        return QL_JFAIL(r, "sort: by one attribute, not by several");
    const key_rule k = {p[2], ql_jtruth(p[1])};
    QL_TRY(sorted(r, &k, l, ql_jtruth(p[0]), &made));
    *out = ql_jlist_value(made);
    return QL_OK;
}

static ql_status filter_dictsort(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {ql_jbool(false), QL_JNULL, ql_jbool(false)};
    ql_jlist *pairs, *made;
    QL_TRY(ql_jtext(r, "key", QL_ORIGIN_TEMPLATE, &p[1]));
    QL_TRY(ql_jbind(r, "dictsort", a, "case_sensitive by reverse", 0, p));
    if (v.kind != QL_JDICT) return QL_JFAIL(r, "dictsort needs a dict, not %s", ql_jtype(v));
    bool value = p[1].kind == QL_JSTR && ql_jstr_is(p[1].u.s, "value");
    if (!value && !(p[1].kind == QL_JSTR && ql_jstr_is(p[1].u.s, "key")))
        return QL_JFAIL(r, "You can only sort by either \"key\" or \"value\"");
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &pairs));
    for (size_t i = 0; i < v.u.dict->n; i++) {
        ql_jval pair;
        QL_TRY(ql_jpair(r, v.u.dict->keys[i], v.u.dict->values[i], &pair));
        QL_TRY(ql_jlist_push(r, pairs, pair));
    }
    const key_rule k = {ql_jint(value), ql_jtruth(p[0])};
    QL_TRY(sorted(r, &k, pairs, ql_jtruth(p[2]), &made));
    *out = ql_jlist_value(made);
    return QL_OK;
}

static ql_status filter_groupby(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {QL_JNULL, QL_JNULL, ql_jbool(false)};
    ql_jlist *l, *made, *groups, *group = NULL;
    QL_TRY(ql_jbind(r, "groupby", a, "attribute default case_sensitive", 1, p));
    if (p[1].kind != QL_JNONE) return QL_JFAIL(r, "groupby takes no default");
    QL_TRY(ql_jiterate(r, v, &l));
    const key_rule k = {p[0], ql_jtruth(p[2])}, exact = {p[0], true};
    QL_TRY(sorted(r, &k, l, false, &made));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &groups));
    ql_jval last = {.kind = QL_JUNDEFINED};
    for (size_t i = 0; i < made->n; i++) {
        ql_jval key, shown, pair;
        bool equal = false;
        QL_TRY(key_of(r, &k, made->items[i], &key));
        if (group) QL_TRY(ql_jequal(r, key, last, &equal));
        if (!equal) {
            QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &group));
            QL_TRY(key_of(r, &exact, made->items[i], &shown));
            QL_TRY(ql_jpair(r, shown, ql_jlist_value(group), &pair));
            pair.u.list->view = "group";
            QL_TRY(ql_jlist_push(r, groups, pair));
        }
        QL_TRY(ql_jlist_push(r, group, made->items[i]));
        last = key;
    }
    *out = ql_jlist_value(groups);
    return QL_OK;
}

static ql_status filter_unique(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {ql_jbool(false), QL_JNULL};
    ql_jlist *l, *made;
    ql_jdict *seen;
    QL_TRY(ql_jbind(r, "unique", a, "case_sensitive attribute", 0, p));
    QL_TRY(ql_jiterate(r, v, &l));
    QL_TRY(ql_jdict_new(r, &seen));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_GENERATOR, &made));
    const key_rule k = {p[1], ql_jtruth(p[0])};
    for (size_t i = 0; i < l->n; i++) {
        ql_jval key;
        size_t at;
        QL_TRY(key_of(r, &k, l->items[i], &key));
        QL_TRY(ql_jdict_find(r, seen, key, &at));
        if (at != SIZE_MAX) continue;
        QL_TRY(ql_jdict_set(r, seen, key, QL_JNULL));
        QL_TRY(ql_jlist_push(r, made, l->items[i]));
    }
    *out = ql_jlist_value(made);
    return QL_OK;
}

static ql_status extreme(ql_jrun *r, ql_jval v, const ql_jargs *a, int sign, ql_jval *out) {
    ql_jval p[2] = {ql_jbool(false), QL_JNULL}, *keys;
    ql_jlist *l;
    size_t best = 0;
    QL_TRY(ql_jbind(r, sign < 0 ? "min" : "max", a, "case_sensitive attribute", 0, p));
    QL_TRY(ql_jiterate(r, v, &l));
    const key_rule k = {p[1], ql_jtruth(p[0])};
    QL_TRY(keys_of(r, &k, l, &keys));
    for (size_t i = 1; i < l->n; i++) {
        int order;
        QL_TRY(ql_jorder(r, keys[i], keys[best], &order));
        if (order * sign > 0) best = i;
    }
    *out = l->n ? l->items[best] : (ql_jval){.kind = QL_JUNDEFINED};
    return QL_OK;
}

static ql_status filter_min(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return extreme(r, v, a, -1, out);
}
static ql_status filter_max(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    return extreme(r, v, a, 1, out);
}

static ql_status filter_sum(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, ql_jint(0)};
    ql_jlist *l;
    QL_TRY(ql_jbind(r, "sum", a, "attribute start", 0, p));
    if (p[1].kind == QL_JSTR) return QL_JFAIL(r, "sum() can't sum strings");
    QL_TRY(ql_jiterate(r, v, &l));
    for (size_t i = 0; i < l->n; i++) {
        ql_jval x = l->items[i];
        if (p[0].kind != QL_JNONE) QL_TRY(ql_jpath(r, x, p[0], &x));
        QL_TRY(ql_jstep(r, 1));
        QL_TRY(ql_jbinary(r, QL_JOP_ADD, p[1], x, &p[1]));
    }
    *out = p[1];
    return QL_OK;
}

const ql_jnamed_function ql_jfilters_order[] = {
    {"sort", filter_sort},       {"dictsort", filter_dictsort},
    {"groupby", filter_groupby}, {"unique", filter_unique},
    {"min", filter_min},         {"max", filter_max},
    {"sum", filter_sum},         {NULL, NULL},
};
