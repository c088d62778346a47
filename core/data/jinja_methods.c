/*
 * jinja_methods.c - methods of texts, dictionaries and lists that do not change them. What would
 * (append, update, pop ...) is as if it did not exist, as in a sandboxed environment.
 */
#include <string.h>

#include <utf8proc.h>

#include "core/data/jinja_run.h"
#include "core/data/text.h"

/* --------------------------------------------------------------- texts: asking */

/* Does s begin (or end) with x, a text or a tuple of texts? */
static ql_status touches(ql_jrun *r, ql_jval self, const ql_jargs *a, bool end, ql_jval *out) {
    const ql_jstr *s = self.u.s, *x;
    ql_jval p;
    ql_jlist *l;
    bool holds = false;
    QL_TRY(ql_jbind(r, end ? "endswith" : "startswith", a, "prefix", 1, &p));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &l));
    bool tuple = p.kind == QL_JLIST && p.u.list->shape == QL_JSHAPE_TUPLE;
    if (tuple) l = p.u.list;
    if (!tuple) QL_TRY(ql_jlist_push(r, l, p));
    for (size_t i = 0; i < l->n; i++) {
        QL_TRY(ql_jneed_str(r, "startswith and endswith", l->items[i], &x));
        QL_TRY(ql_jstep(r, x->n / QL_JWORK_BYTES));
        size_t at = end && x->n <= s->n ? s->n - x->n : 0;
        holds = holds || (x->n <= s->n && memcmp(s->s + at, x->s, x->n) == 0);
    }
    *out = ql_jbool(holds);
    return QL_OK;
}

static ql_status startswith(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return touches(r, self, a, false, out);
}
static ql_status endswith(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return touches(r, self, a, true, out);
}

/* Place of x in s, in code points; -1 = nowhere. */
static ql_status place(ql_jrun *r, ql_jval self, const ql_jargs *a, bool last, int64_t *out) {
    const ql_jstr *s = self.u.s, *x;
    ql_jval p[2] = {QL_JNULL, ql_jint(0)};
    int64_t from;
    QL_TRY(ql_jbind(r, "find", a, "sub start", 1, p));
    QL_TRY(ql_jneed_str(r, "find", p[0], &x));
    QL_TRY(ql_jneed_int(r, "find", p[1], &from));
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES * (x->n / 8 + 1)));
    int64_t points = (int64_t)ql_jpoints(s);
    if (from < 0) from = from + points < 0 ? 0 : from + points;
    *out = -1;
    if (from > points) return QL_OK;
    size_t hit = ql_jstr_find(s, ql_jpoint_offset(s, (size_t)from), x), next = hit;
    while (last && next != SIZE_MAX) {
        hit = next;
        next = ql_jstr_find(s, hit + 1, x);
        QL_TRY(ql_jstep(r, 1));
    }
    if (hit != SIZE_MAX) *out = (int64_t)ql_jpoints(&(ql_jstr){.s = s->s, .n = hit});
    return QL_OK;
}

static ql_status find(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    int64_t at;
    QL_TRY(place(r, self, a, false, &at));
    *out = ql_jint(at);
    return QL_OK;
}
static ql_status rfind(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    int64_t at;
    QL_TRY(place(r, self, a, true, &at));
    *out = ql_jint(at);
    return QL_OK;
}
static ql_status index_of(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    QL_TRY(find(r, self, a, out));
    return out->u.i < 0 ? QL_JFAIL(r, "substring not found") : QL_OK;
}

static ql_status count(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    const ql_jstr *s = self.u.s, *x;
    ql_jval p;
    int64_t n = 0;
    QL_TRY(ql_jbind(r, "count", a, "sub", 1, &p));
    QL_TRY(ql_jneed_str(r, "count", p, &x));
    QL_TRY(ql_jstep(r, s->n / QL_JWORK_BYTES * (x->n / 8 + 1)));
    if (x->n == 0) n = (int64_t)ql_jpoints(s) + 1;
    for (size_t at = 0; x->n && (at = ql_jstr_find(s, at, x)) != SIZE_MAX; at += x->n) n++;
    *out = ql_jint(n);
    return QL_OK;
}

/* isdigit and its like: every character is of the class, and there is one. */
static bool of_class(int32_t code, char which) {
    utf8proc_category_t c = utf8proc_category(code);
    bool letter = c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL ||
                  c == UTF8PROC_CATEGORY_LT || c == UTF8PROC_CATEGORY_LM ||
                  c == UTF8PROC_CATEGORY_LO;
    bool digit = c == UTF8PROC_CATEGORY_ND;
    bool space = ql_code_is_space(code) || (code >= 0x1c && code <= 0x1f);
    return which == 'a' ? letter : which == 'd' ? digit : which == 's' ? space : letter || digit;
}

static ql_status all_are(ql_jrun *r, ql_jval self, const ql_jargs *a, char which, ql_jval *out) {
    const ql_jstr *s = self.u.s;
    bool all = s->n > 0;
    QL_TRY(ql_jbind(r, "is...", a, "", 0, NULL));
    QL_TRY(ql_jstep(r, s->n / 8));
    for (size_t i = 0, n; all && i < s->n; i += n) {
        int32_t code = 0;
        n = ql_utf8_decode(s->s + i, s->n - i, &code);
        if (n == 0) n = 1;
        all = of_class(code, which);
    }
    *out = ql_jbool(all);
    return QL_OK;
}

static ql_status isalpha_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return all_are(r, self, a, 'a', out);
}
static ql_status isdigit_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return all_are(r, self, a, 'd', out);
}
static ql_status isspace_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return all_are(r, self, a, 's', out);
}
static ql_status isalnum_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return all_are(r, self, a, 'n', out);
}

static ql_status test_case(ql_jrun *r, ql_jval self, const ql_jargs *a, const char *test,
                           ql_jval *out) {
    const ql_jstr name = {.s = test, .n = strlen(test)};
    bool holds;
    QL_TRY(ql_jtest(r, &name, self, a, &holds));
    *out = ql_jbool(holds);
    return QL_OK;
}
static ql_status isupper_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return test_case(r, self, a, "upper", out);
}
static ql_status islower_(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return test_case(r, self, a, "lower", out);
}

/* --------------------------------------------------------- dictionaries, lists */

static ql_status get(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2] = {QL_JNULL, QL_JNULL};
    size_t at;
    QL_TRY(ql_jbind(r, "get", a, "key default", 1, p));
    QL_TRY(ql_jdict_find(r, self.u.dict, p[0], &at));
    *out = at == SIZE_MAX ? p[1] : self.u.dict->values[at];
    return QL_OK;
}

static ql_status view(ql_jrun *r, ql_jval self, const ql_jargs *a, const char *name, ql_jval *out) {
    const ql_jdict *d = self.u.dict;
    ql_jlist *l;
    QL_TRY(ql_jbind(r, name, a, "", 0, NULL));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_VIEW, &l));
    l->view = name;
    for (size_t i = 0; i < d->n; i++) {
        ql_jval v = name[5] == 'k' ? d->keys[i] : d->values[i];
        if (name[5] == 'i') QL_TRY(ql_jpair(r, d->keys[i], d->values[i], &v));
        QL_TRY(ql_jlist_push(r, l, v));
    }
    *out = ql_jlist_value(l);
    return QL_OK;
}

static ql_status items(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return view(r, self, a, "dict_items", out);
}
static ql_status keys(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return view(r, self, a, "dict_keys", out);
}
static ql_status values(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    return view(r, self, a, "dict_values", out);
}

/* Nothing changes a value, so that the value is its own copy. */
static ql_status copy(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    QL_TRY(ql_jbind(r, "copy", a, "", 0, NULL));
    *out = self;
    return QL_OK;
}

static ql_status list_find(ql_jrun *r, ql_jval self, const ql_jargs *a, int64_t *first,
                           int64_t *n) {
    ql_jval x;
    QL_TRY(ql_jbind(r, "index and count", a, "value", 1, &x));
    QL_TRY(ql_jstep(r, self.u.list->n / 8));
    *first = -1;
    *n = 0;
    for (size_t i = 0; i < self.u.list->n; i++) {
        bool equal;
        QL_TRY(ql_jequal(r, self.u.list->items[i], x, &equal));
        if (equal && *first < 0) *first = (int64_t)i;
        *n += equal;
    }
    return QL_OK;
}
static ql_status list_index(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    int64_t first, n;
    QL_TRY(list_find(r, self, a, &first, &n));
    *out = ql_jint(first);
    return first < 0 ? QL_JFAIL(r, "the value is not in the list") : QL_OK;
}
static ql_status list_count(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    int64_t first, n;
    QL_TRY(list_find(r, self, a, &first, &n));
    *out = ql_jint(n);
    return QL_OK;
}

static ql_status cycler_next(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jcycler *c = self.u.cycler;
    QL_TRY(ql_jbind(r, "next", a, "", 0, NULL));
    *out = c->items->items[c->at];
    c->at = (c->at + 1) % c->items->n;
    return QL_OK;
}
static ql_status cycler_reset(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    QL_TRY(ql_jbind(r, "reset", a, "", 0, NULL));
    self.u.cycler->at = 0;
    *out = QL_JNULL;
    return QL_OK;
}

/* ----------------------------------------------------------------------- tables */

static const ql_jnamed_function ASKING[] = {{"startswith", startswith},
                                            {"endswith", endswith},
                                            {"find", find},
                                            {"rfind", rfind},
                                            {"index", index_of},
                                            {"count", count},
                                            {"isalpha", isalpha_},
                                            {"isdigit", isdigit_},
                                            {"isdecimal", isdigit_},
                                            {"isnumeric", isdigit_},
                                            {"isspace", isspace_},
                                            {"isalnum", isalnum_},
                                            {"isupper", isupper_},
                                            {"islower", islower_},
                                            {"format", ql_jmethod_format},
                                            {NULL, NULL}};
static const ql_jnamed_function OF_DICT[] = {{"get", get},       {"items", items}, {"keys", keys},
                                             {"values", values}, {"copy", copy},   {NULL, NULL}};
static const ql_jnamed_function OF_LIST[] = {
    {"index", list_index}, {"count", list_count}, {"copy", copy}, {NULL, NULL}};
static const ql_jnamed_function OF_TUPLE[] = {
    {"index", list_index}, {"count", list_count}, {NULL, NULL}};
static const ql_jnamed_function OF_CYCLER[] = {
    {"next", cycler_next}, {"reset", cycler_reset}, {NULL, NULL}};

static const ql_jnamed_function *method_of(ql_jval v, const ql_jstr *name) {
    const ql_jnamed_function *f;
    switch ((ql_jkind)v.kind) {
    case QL_JSTR:
        f = ql_jfind_function(ASKING, name);
        if (!f) f = ql_jfind_function(ql_jmethods_text, name);
        return f ? f : ql_jfind_function(ql_jmethods_split, name);
    case QL_JDICT: return ql_jfind_function(OF_DICT, name);
    case QL_JLIST:
        if (v.u.list->shape > QL_JSHAPE_RANGE) return NULL;
        return ql_jfind_function(v.u.list->shape == QL_JSHAPE_LIST ? OF_LIST : OF_TUPLE, name);
    case QL_JCYCLER: return v.u.cycler->joiner ? NULL : ql_jfind_function(OF_CYCLER, name);
    default: return NULL;
    }
}

/* Fields that are no methods: of a group, of a cycler. */
static bool field_of(ql_jval v, const ql_jstr *name, ql_jval *out) {
    if (v.kind == QL_JCYCLER && !v.u.cycler->joiner && ql_jstr_is(name, "current")) {
        *out = v.u.cycler->items->items[v.u.cycler->at];
        return true;
    }
    bool group = v.kind == QL_JLIST && v.u.list->shape == QL_JSHAPE_TUPLE && v.u.list->view;
    bool first = ql_jstr_is(name, "grouper");
    if (!group || (!first && !ql_jstr_is(name, "list"))) return false;
    *out = v.u.list->items[first ? 0 : 1];
    return true;
}

ql_status ql_jmethod(ql_jrun *r, ql_jval v, const ql_jstr *name, ql_jval *out, bool *found) {
    *found = field_of(v, name, out);
    if (*found) return QL_OK;
    const ql_jnamed_function *method = method_of(v, name);
    if (!method) return QL_OK;
    ql_jfunction *f;
    QL_TRY(ql_jalloc(r, 1, sizeof *f, &f));
    *f =
        (ql_jfunction){.kind = QL_JF_METHOD, .name = method->name, .call = method->call, .self = v};
    *out = (ql_jval){.kind = QL_JFUNCTION, .u.function = f};
    *found = true;
    return QL_OK;
}
