/*
 * jinja_call.c - calling what a template can call: macros, loops, methods and the global functions.
 */
#include <string.h>
#include <time.h>

#include "core/data/jinja_run.h"

/* -------------------------------------------------------------------- arguments */

ql_status ql_jneed_str(ql_jrun *r, const char *what, ql_jval v, const ql_jstr **out) {
    if (v.kind != QL_JSTR) return QL_JFAIL(r, "%s needs a text, not %s", what, ql_jtype(v));
    *out = v.u.s;
    return QL_OK;
}

ql_status ql_jneed_int(ql_jrun *r, const char *what, ql_jval v, int64_t *out) {
    if (v.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, v);
    if (!ql_jis_integer(v))
        return QL_JFAIL(r, "%s needs a whole number, not %s", what, ql_jtype(v));
    *out = ql_jas_int(v);
    return QL_OK;
}

/* Place of `name` among the parameters of `spec`; SIZE_MAX = none. */
static size_t parameter(const char *spec, const ql_jstr *name) {
    for (size_t i = 0; *spec; i++) {
        size_t n = strcspn(spec, " ");
        if (n == name->n && memcmp(spec, name->s, n) == 0) return i;
        spec += n;
        if (*spec) spec++;
    }
    return SIZE_MAX;
}

static size_t parameters(const char *spec) {
    size_t n = *spec != '\0';
    for (; *spec; spec++) n += *spec == ' ';
    return n;
}

ql_status ql_jbind(ql_jrun *r, const char *what, const ql_jargs *a, const char *spec,
                   size_t required, ql_jval *out) {
    uint32_t given = 0;
    if (a->n > parameters(spec))
        return QL_JFAIL(r, "%s takes at most %zu arguments, not %zu", what, parameters(spec), a->n);
    for (size_t i = 0; i < a->n; i++) {
        out[i] = a->v[i];
        given |= 1u << i;
    }
    for (size_t i = 0; i < a->n_named; i++) {
        size_t at = parameter(spec, a->names[i]);
        if (at == SIZE_MAX || (given & 1u << at)) {
            return QL_JFAIL(r, "%s takes no argument '%.*s' here", what,
                            a->names[i]->n < 40 ? (int)a->names[i]->n : 40, a->names[i]->s);
        }
        out[at] = a->named[i];
        given |= 1u << at;
    }
    for (size_t i = 0; i < required; i++)
        if (!(given & 1u << i)) return QL_JFAIL(r, "%s lacks its argument %zu", what, i + 1);
    return QL_OK;
}

/* ------------------------------------------------------------------------ macros */

static ql_status rest_of(ql_jrun *r, const ql_jnode *m, const ql_jargs *a, ql_jscope *scope) {
    static const ql_jstr VARARGS = {.s = "varargs", .n = 7}, KWARGS = {.s = "kwargs", .n = 6};
    ql_jlist *more;
    ql_jdict *named;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_TUPLE, &more));
    for (size_t i = m->n; i < a->n; i++) QL_TRY(ql_jlist_push(r, more, a->v[i]));
    if (more->n && !m->uses_varargs)
        return QL_JFAIL(r, "a macro takes at most %zu arguments, not %zu", m->n, a->n);
    if (m->uses_varargs) QL_TRY(ql_jassign(r, scope, &VARARGS, ql_jlist_value(more)));
    QL_TRY(ql_jdict_new(r, &named));
    for (size_t i = 0; i < a->n_named; i++) {
        const ql_jstr *name = a->names[i];
        bool known = false;
        for (size_t k = 0; k < m->n; k++)
            known = known || !ql_jstr_compare(m->items[k]->name, name);
        if (known) continue;
        if (ql_jstr_is(name, "caller") && m->uses_caller) {
            QL_TRY(ql_jassign(r, scope, name, a->named[i]));
        } else if (m->uses_kwargs) {
            QL_TRY(ql_jdict_set(r, named, ql_jstring(name), a->named[i]));
        } else {
            return QL_JFAIL(r, "a macro takes no argument '%.*s'", name->n < 40 ? (int)name->n : 40,
                            name->s);
        }
    }
    if (!m->uses_kwargs) return QL_OK;
    return ql_jassign(r, scope, &KWARGS, (ql_jval){.kind = QL_JDICT, .u.dict = named});
}

/* Parameters in order: by place, by name, by default, else undefined. */
static ql_status bind_macro(ql_jrun *r, const ql_jnode *m, const ql_jargs *a, ql_jscope *scope) {
    for (size_t i = 0; i < m->n; i++) {
        const ql_jstr *name = m->items[i]->name;
        ql_jval v = {.kind = QL_JUNDEFINED, .u.s = name};
        bool given = i < a->n;
        if (given) v = a->v[i];
        for (size_t k = 0; k < a->n_named; k++) {
            if (ql_jstr_compare(a->names[k], name) != 0) continue;
            if (given) return QL_JFAIL(r, "a macro got its argument %zu twice", i + 1);
            v = a->named[k];
            given = true;
        }
        if (!given && i >= m->n - m->n_named)
            QL_TRY(ql_jeval(r, m->named[i - (m->n - m->n_named)], &v));
        QL_TRY(ql_jassign(r, scope, name, v));
    }
    return rest_of(r, m, a, scope);
}

ql_status ql_jcall_macro(ql_jrun *r, const ql_jfunction *f, const ql_jargs *a, ql_jval *out) {
    ql_jscope *saved = r->scope, *own;
    ql_jbuf b = {0};
    QL_TRY(ql_jscope_new(r, f->scope, &own));
    r->scope = own;
    QL_TRY(bind_macro(r, f->macro, a, own));
    QL_TRY(ql_jexec(r, f->macro->body, &b));
    r->scope = saved;
    return ql_jbuf_take(r, &b, out);
}

/* ------------------------------------------------------------------------- calls */

static ql_status recurse(ql_jrun *r, ql_jloop *loop, const ql_jargs *a, ql_jval *out) {
    ql_jval over;
    ql_jbuf b = {0};
    if (!loop->node->recursive) return QL_JFAIL(r, "the loop is not marked 'recursive'");
    QL_TRY(ql_jbind(r, "loop", a, "iterable", 1, &over));
    QL_TRY(ql_jrun_loop(r, loop->node, loop->scope, over, loop->depth + 1, &b));
    return ql_jbuf_take(r, &b, out);
}

static ql_status cycle(ql_jrun *r, const ql_jloop *loop, const ql_jargs *a, ql_jval *out) {
    if (a->n == 0) return QL_JFAIL(r, "no items for cycling given");
    *out = a->v[loop->at % a->n];
    return QL_OK;
}

static ql_status changed(ql_jrun *r, ql_jloop *loop, const ql_jargs *a, ql_jval *out) {
    ql_jlist *l;
    bool equal = false;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_TUPLE, &l));
    for (size_t i = 0; i < a->n; i++) QL_TRY(ql_jlist_push(r, l, a->v[i]));
    if (loop->has_changed) QL_TRY(ql_jequal(r, loop->changed, ql_jlist_value(l), &equal));
    loop->has_changed = true;
    loop->changed = ql_jlist_value(l);
    *out = ql_jbool(!equal);
    return QL_OK;
}

ql_status ql_jcall(ql_jrun *r, ql_jval f, const ql_jargs *a, ql_jval *out) {
    if (f.kind == QL_JLOOP) return recurse(r, f.u.loop, a, out);
    if (f.kind == QL_JCYCLER && f.u.cycler->joiner) {
        ql_jcycler *c = f.u.cycler;
        *out = c->items->items[c->at > 0];
        c->at = 1;
        return QL_OK;
    }
    if (f.kind == QL_JUNDEFINED) return QL_JUNDEFINED_ERROR(r, f);
    if (f.kind != QL_JFUNCTION) return QL_JFAIL(r, "'%s' object is not callable", ql_jtype(f));
    const ql_jfunction *function = f.u.function;
    switch (function->kind) {
    case QL_JF_MACRO: return ql_jcall_macro(r, function, a, out);
    case QL_JF_RECURSE: return recurse(r, function->self.u.loop, a, out);
    case QL_JF_CYCLE: return cycle(r, function->self.u.loop, a, out);
    case QL_JF_CHANGED: return changed(r, function->self.u.loop, a, out);
    default: return function->call(r, function->self, a, out);
    }
}

/* ------------------------------------------------------------- global functions */

static ql_status range(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval p[3] = {ql_jint(0), ql_jint(0), ql_jint(1)};
    int64_t v[3];
    (void)self;
    QL_TRY(ql_jbind(r, "range", a, "start stop step", 1, p));
    if (a->n == 1) {
        p[1] = p[0];
        p[0] = ql_jint(0);
    }
    for (int i = 0; i < 3; i++) QL_TRY(ql_jneed_int(r, "range", p[i], &v[i]));
    if (v[2] == 0) return QL_JFAIL(r, "range() arg 3 must not be zero");
    uint64_t far = v[2] > 0 ? (v[1] > v[0] ? (uint64_t)v[1] - (uint64_t)v[0] : 0)
                            : (v[0] > v[1] ? (uint64_t)v[0] - (uint64_t)v[1] : 0);
    uint64_t stride = v[2] > 0 ? (uint64_t)v[2] : -(uint64_t)v[2],
             n = far ? (far - 1) / stride + 1 : 0;
    if (n > 100000) return QL_JFAIL(r, "a range of more than 100000 numbers");
    ql_jlist *l;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_RANGE, &l));
    QL_TRY(ql_jgrow(r, &l->items, &l->cap, (size_t)n + 3, sizeof *l->items));
    QL_TRY(ql_jstep(r, (size_t)n / 8));
    for (uint64_t i = 0; i < n; i++)
        l->items[l->n++] = ql_jint((int64_t)((uint64_t)v[0] + i * (uint64_t)v[2]));
    for (int i = 0; i < 3; i++) l->items[l->n + (size_t)i] = p[i]; /* for repr */
    *out = ql_jlist_value(l);
    return QL_OK;
}

/* dict(mapping or pairs, name=value ...). */
static ql_status make_dict(ql_jrun *r, const ql_jargs *a, ql_jdict **out) {
    ql_jdict *d;
    QL_TRY(ql_jdict_new(r, &d));
    if (a->n > 1) return QL_JFAIL(r, "dict expected at most 1 argument, got %zu", a->n);
    if (a->n == 1 && (a->v[0].kind == QL_JDICT || a->v[0].kind == QL_JNAMESPACE)) {
        const ql_jdict *from = a->v[0].u.dict;
        for (size_t i = 0; i < from->n; i++)
            QL_TRY(ql_jdict_set(r, d, from->keys[i], from->values[i]));
    } else if (a->n == 1) {
        ql_jlist *pairs, *pair;
        QL_TRY(ql_jiterate(r, a->v[0], &pairs));
        for (size_t i = 0; i < pairs->n; i++) {
            QL_TRY(ql_jiterate(r, pairs->items[i], &pair));
            if (pair->n != 2) return QL_JFAIL(r, "dict: item %zu is no pair", i);
            QL_TRY(ql_jdict_set(r, d, pair->items[0], pair->items[1]));
        }
    }
    for (size_t i = 0; i < a->n_named; i++)
        QL_TRY(ql_jdict_set(r, d, ql_jstring(a->names[i]), a->named[i]));
    *out = d;
    return QL_OK;
}

static ql_status dict(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jdict *d;
    (void)self;
    QL_TRY(make_dict(r, a, &d));
    *out = (ql_jval){.kind = QL_JDICT, .u.dict = d};
    return QL_OK;
}

static ql_status space(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jdict *d;
    (void)self;
    QL_TRY(make_dict(r, a, &d));
    for (size_t i = 0; i < d->n; i++) {
        if (d->keys[i].kind == QL_JSTR && d->keys[i].u.s->n && d->keys[i].u.s->s[0] == '_')
            return QL_JFAIL(r, "a namespace has no attributes that begin with an underscore");
    }
    *out = (ql_jval){.kind = QL_JNAMESPACE, .u.dict = d};
    return QL_OK;
}

static ql_status raise_exception(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval message = {.kind = QL_JUNDEFINED};
    const ql_jstr *s;
    (void)self;
    (void)out;
    QL_TRY(ql_jbind(r, "raise_exception", a, "message", 1, &message));
    QL_TRY(ql_jto_str(r, message, &s));
    return QL_JFAIL(r, "the template refuses the conversation: %.*s", s->n < 300 ? (int)s->n : 300,
                    s->s);
}

/* The Gregorian date of a number of seconds since 1970, by eras of 400 years of 146097 days. */
static struct tm date_of(int64_t seconds) {
    static const int BEFORE[] = {306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275};
    int64_t days = seconds / 86400 - (seconds % 86400 < 0), of_day = seconds - days * 86400;
    int64_t shifted = days + 719468, era = (shifted < 0 ? shifted - 146096 : shifted) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100); /* from 1 March */
    int month = (int)((5 * of_year + 2) / 153);                      /* 0 = March       */
    int64_t full = year + era * 400 + (month >= 10);
    month = month < 10 ? month + 2 : month - 10;
    bool leap = full % 4 == 0 && (full % 100 != 0 || full % 400 == 0);
    return (struct tm){.tm_sec = (int)(of_day % 60),
                       .tm_min = (int)(of_day / 60 % 60),
                       .tm_hour = (int)(of_day / 3600),
                       .tm_mday = (int)of_year - BEFORE[month] + 1,
                       .tm_mon = month,
                       .tm_year = (int)(full - 1900),
                       .tm_wday = (int)(((days + 4) % 7 + 7) % 7),
                       .tm_yday = (int)(month < 2 ? of_year - 306 : of_year + 59 + leap)};
}

static ql_status strftime_now(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval format = {.kind = QL_JUNDEFINED};
    const ql_jstr *s = NULL;
    char pattern[128], text[512];
    struct tm t = date_of(r->in->now);
    (void)self;
    QL_TRY(ql_jbind(r, "strftime_now", a, "format", 1, &format));
    QL_TRY(ql_jneed_str(r, "strftime_now", format, &s));
    if (s->n + 2 > sizeof pattern || memchr(s->s, '\0', s->n))
        return QL_JFAIL(r, "strftime_now: a format of %zu bytes", s->n);
    memcpy(pattern, s->s, s->n);
    memcpy(pattern + s->n, " ", 2); /* so that an empty result is not taken for a failure */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, pattern, &t);
#pragma GCC diagnostic pop
    if (n == 0) return QL_JFAIL(r, "strftime_now: the date is too long");
    text[n - 1] = '\0';
    return ql_jtext(r, text, QL_ORIGIN_TEMPLATE, out);
}

static ql_status cycler(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jcycler *c;
    (void)self;
    if (a->n == 0) return QL_JFAIL(r, "at least one item has to be provided");
    QL_TRY(ql_jalloc(r, 1, sizeof *c, &c));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &c->items));
    for (size_t i = 0; i < a->n; i++) QL_TRY(ql_jlist_push(r, c->items, a->v[i]));
    *out = (ql_jval){.kind = QL_JCYCLER, .u.cycler = c};
    return QL_OK;
}

static ql_status joiner(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out) {
    ql_jval p[2];
    ql_jcycler *c;
    (void)self;
    QL_TRY(ql_jtext(r, "", QL_ORIGIN_TEMPLATE, &p[0]));
    QL_TRY(ql_jtext(r, ", ", QL_ORIGIN_TEMPLATE, &p[1]));
    QL_TRY(ql_jbind(r, "joiner", a, "sep", 0, &p[1]));
    QL_TRY(ql_jalloc(r, 1, sizeof *c, &c));
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, &c->items));
    QL_TRY(ql_jlist_push(r, c->items, p[0]));
    QL_TRY(ql_jlist_push(r, c->items, p[1]));
    c->joiner = true;
    *out = (ql_jval){.kind = QL_JCYCLER, .u.cycler = c};
    return QL_OK;
}

ql_status ql_jglobal(ql_jrun *r, const ql_jstr *name, ql_jval *out, bool *found) {
    static const ql_jfunction GLOBALS[] = {
        {.name = "range", .call = range},
        {.name = "dict", .call = dict},
        {.name = "namespace", .call = space},
        {.name = "raise_exception", .call = raise_exception},
        {.name = "strftime_now", .call = strftime_now},
        {.name = "cycler", .call = cycler},
        {.name = "joiner", .call = joiner},
    };
    *found = false;
    QL_TRY(ql_jstep(r, 1));
    for (size_t i = 0; i < sizeof GLOBALS / sizeof *GLOBALS; i++) {
        if (!ql_jstr_is(name, GLOBALS[i].name)) continue;
        *out = (ql_jval){.kind = QL_JFUNCTION, .u.function = &GLOBALS[i]};
        *found = true;
    }
    return QL_OK;
}
