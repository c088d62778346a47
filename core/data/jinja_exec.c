/*
 * jinja_exec.c - statements: text, conditions, loops, assignments, macros, blocks.
 *
 * A loop, a macro, a call block, a filter block, {% with %} and {% generation %} have a scope of
 * their own; a condition has not.
 */
#include <string.h>

#include "core/data/jinja_run.h"

/* ------------------------------------------------------------------- assignments */

static ql_status assign(ql_jrun *r, const ql_jnode *target, ql_jval v);

static ql_status unpack(ql_jrun *r, const ql_jnode *target, ql_jval v) {
    ql_jlist *l;
    QL_TRY(ql_jiterate(r, v, &l));
    if (l->n != target->n) {
        return QL_JFAIL(r, "%s values to unpack (expected %zu, got %zu)",
                        l->n < target->n ? "not enough" : "too many", target->n, l->n);
    }
    for (size_t i = 0; i < l->n; i++) QL_TRY(assign(r, target->items[i], l->items[i]));
    return QL_OK;
}

static ql_status assign(ql_jrun *r, const ql_jnode *target, ql_jval v) {
    if (target->kind == QL_JN_TUPLE) return unpack(r, target, v);
    if (target->kind == QL_JN_NAME) return ql_jassign(r, r->scope, target->name, v);
    ql_jval space;
    QL_TRY(ql_jlookup(r, target->a->name, &space));
    if (space.kind != QL_JNAMESPACE)
        return QL_JFAIL(r, "cannot assign an attribute of what is no namespace");
    if (target->name->n && target->name->s[0] == '_')
        return QL_JFAIL(r, "a namespace has no attributes that begin with an underscore");
    return ql_jdict_set(r, space.u.dict, ql_jstring(target->name), v);
}

/* ------------------------------------------------------------------------ blocks */

/* A body with a scope of its own, as a text. */
static ql_status scoped_text(ql_jrun *r, const ql_jnode *body, ql_jval *out) {
    ql_jscope *saved = r->scope, *own;
    ql_jbuf b = {0};
    QL_TRY(ql_jscope_new(r, saved, &own));
    r->scope = own;
    QL_TRY(ql_jexec(r, body, &b));
    r->scope = saved;
    return ql_jbuf_take(r, &b, out);
}

/* `filters` is a chain whose first input is r->block; NULL = none. */
static ql_status through(ql_jrun *r, const ql_jnode *filters, ql_jval *text) {
    ql_jval saved = r->block;
    if (!filters) return QL_OK;
    r->block = *text;
    QL_TRY(ql_jeval(r, filters, text));
    r->block = saved;
    return QL_OK;
}

static ql_status exec_set_block(ql_jrun *r, const ql_jnode *n) {
    ql_jval text;
    QL_TRY(scoped_text(r, n->body, &text));
    QL_TRY(through(r, n->b, &text));
    return assign(r, n->a, text);
}

static ql_status exec_filter_block(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    ql_jval text;
    QL_TRY(scoped_text(r, n->body, &text));
    QL_TRY(through(r, n->b, &text));
    return ql_jput_str(r, out, text);
}

static ql_status exec_generation(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    ql_jval text;
    QL_TRY(scoped_text(r, n->body, &text));
    const ql_jstr *s = text.u.s;
    for (size_t i = 0; i < s->n; i++) {
        uint16_t origin = (uint16_t)(ql_jorigin_at(s, i) | QL_ORIGIN_GENERATION);
        QL_TRY(ql_jput(r, out, s->s + i, 1, origin));
    }
    return QL_OK;
}

static ql_status exec_with(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    ql_jscope *saved = r->scope, *own;
    QL_TRY(ql_jscope_new(r, saved, &own));
    for (size_t i = 0; i + 1 < n->n; i += 2) {
        ql_jval v;
        QL_TRY(ql_jeval(r, n->items[i + 1], &v)); /* the names are not seen yet */
        r->scope = own;
        QL_TRY(assign(r, n->items[i], v));
        r->scope = saved;
    }
    r->scope = own;
    QL_TRY(ql_jexec(r, n->body, out));
    r->scope = saved;
    return QL_OK;
}

static ql_status exec_if(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    for (size_t i = 0; i + 1 < n->n; i += 2) {
        ql_jval test;
        QL_TRY(ql_jeval(r, n->items[i], &test));
        if (ql_jtruth(test)) return ql_jexec(r, n->items[i + 1], out);
    }
    return n->c ? ql_jexec(r, n->c, out) : QL_OK;
}

/* ------------------------------------------------------------------------- loops */

/* The items that the loop's own condition lets through. */
static ql_status filtered(ql_jrun *r, const ql_jnode *n, ql_jlist *all, ql_jlist **out) {
    ql_jscope *saved = r->scope, *own;
    *out = all;
    if (!n->test) return QL_OK;
    QL_TRY(ql_jlist_new(r, QL_JSHAPE_LIST, out));
    QL_TRY(ql_jscope_new(r, saved, &own));
    r->scope = own;
    for (size_t i = 0; i < all->n; i++) {
        ql_jval test;
        QL_TRY(assign(r, n->a, all->items[i]));
        QL_TRY(ql_jeval(r, n->test, &test));
        if (ql_jtruth(test)) QL_TRY(ql_jlist_push(r, *out, all->items[i]));
    }
    r->scope = saved;
    return QL_OK;
}

/* *ended: some round came to its end, without break or continue. */
static ql_status iterations(ql_jrun *r, ql_jloop *loop, ql_jbuf *out, bool *ended) {
    static const ql_jstr LOOP = {.s = "loop", .n = 4};
    const ql_jval self = {.kind = QL_JLOOP, .u.loop = loop};
    size_t n = loop->items->n;
    for (loop->at = 0; loop->at < n; loop->at++) {
        QL_TRY(ql_jscope_new(r, loop->scope, &r->scope));
        QL_TRY(ql_jassign(r, r->scope, &LOOP, self));
        QL_TRY(assign(r, loop->node->a, loop->items->items[loop->at]));
        QL_TRY(ql_jexec(r, loop->node->body, out));
        bool stop = r->flow == QL_JFLOW_BREAK;
        *ended = *ended || r->flow == QL_JFLOW_ON;
        r->flow = QL_JFLOW_ON;
        if (stop) break;
    }
    return QL_OK;
}

ql_status ql_jrun_loop(ql_jrun *r, const ql_jnode *n, ql_jscope *around, ql_jval over, int depth,
                       ql_jbuf *out) {
    ql_jscope *saved = r->scope;
    ql_jlist *all, *items;
    ql_jloop *loop;
    r->line = n->line;
    QL_TRY(ql_jiterate(r, over, &all));
    r->scope = around;
    QL_TRY(filtered(r, n, all, &items));
    QL_TRY(ql_jalloc(r, 1, sizeof *loop, &loop));
    *loop = (ql_jloop){.node = n, .scope = around, .items = items, .depth = depth};
    bool ended = false;
    QL_TRY(iterations(r, loop, out, &ended));
    r->scope = around;
    if (!ended && n->c) { /* as jinja2 compiles it: also after a break in the first round */
        QL_TRY(ql_jscope_new(r, around, &r->scope));
        QL_TRY(ql_jexec(r, n->c, out));
    }
    r->scope = saved;
    return QL_OK;
}

static ql_jval neighbour(const ql_jloop *loop, bool next) {
    size_t n = loop->items->n, at = loop->at;
    if (next ? at + 1 < n : at > 0) return loop->items->items[next ? at + 1 : at - 1];
    return (ql_jval){.kind = QL_JUNDEFINED};
}

static ql_status loop_function(ql_jrun *r, ql_jloop *loop, ql_jfunction_kind kind, ql_jval *out) {
    ql_jfunction *f;
    QL_TRY(ql_jalloc(r, 1, sizeof *f, &f));
    *f = (ql_jfunction){.kind = kind,
                        .name = kind == QL_JF_CYCLE ? "loop.cycle" : "loop.changed",
                        .self = {.kind = QL_JLOOP, .u.loop = loop}};
    *out = (ql_jval){.kind = QL_JFUNCTION, .u.function = f};
    return QL_OK;
}

ql_status ql_jloop_attribute(ql_jrun *r, ql_jloop *loop, const ql_jstr *name, ql_jval *out,
                             bool *found) {
    int64_t at = (int64_t)loop->at, n = (int64_t)loop->items->n;
    const struct {
        const char *name;
        ql_jval v;
    } FIELDS[] = {
        {"index", ql_jint(at + 1)},
        {"index0", ql_jint(at)},
        {"revindex", ql_jint(n - at)},
        {"revindex0", ql_jint(n - at - 1)},
        {"first", ql_jbool(at == 0)},
        {"last", ql_jbool(at + 1 >= n)},
        {"length", ql_jint(n)},
        {"depth", ql_jint(loop->depth + 1)},
        {"depth0", ql_jint(loop->depth)},
        {"previtem", neighbour(loop, false)},
        {"nextitem", neighbour(loop, true)},
    };
    *found = true;
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        if (!ql_jstr_is(name, FIELDS[i].name)) continue;
        *out = FIELDS[i].v;
        return QL_OK;
    }
    if (ql_jstr_is(name, "cycle")) return loop_function(r, loop, QL_JF_CYCLE, out);
    if (ql_jstr_is(name, "changed")) return loop_function(r, loop, QL_JF_CHANGED, out);
    *found = false;
    return QL_OK;
}

/* ------------------------------------------------------------------------ macros */

static ql_status define(ql_jrun *r, const ql_jnode *n, ql_jval *out) {
    ql_jfunction *f;
    QL_TRY(ql_jalloc(r, 1, sizeof *f, &f));
    char *name;
    QL_TRY(ql_jalloc(r, n->name->n + 1, 1, &name));
    memcpy(name, n->name->s, n->name->n);
    *f = (ql_jfunction){.kind = QL_JF_MACRO, .name = name, .macro = n, .scope = r->scope};
    *out = (ql_jval){.kind = QL_JFUNCTION, .u.function = f};
    return QL_OK;
}

static ql_status exec_macro(ql_jrun *r, const ql_jnode *n) {
    ql_jval f;
    QL_TRY(define(r, n, &f));
    return ql_jassign(r, r->scope, n->name, f);
}

/* {% call f(...) %}: f gets the body as `caller`. */
static ql_status exec_call_block(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    static const ql_jstr CALLER = {.s = "caller", .n = 6};
    ql_jval f, v;
    ql_jargs a, with;
    QL_TRY(ql_jeval(r, n->b->a, &f));
    QL_TRY(ql_jarguments(r, n->b, &a));
    with = a;
    with.n_named++;
    QL_TRY(ql_jalloc(r, with.n_named, sizeof *with.named, &with.named));
    QL_TRY(ql_jalloc(r, with.n_named, sizeof *with.names, &with.names));
    for (size_t i = 0; i < a.n_named; i++) {
        with.names[i] = a.names[i];
        with.named[i] = a.named[i];
    }
    with.names[a.n_named] = &CALLER;
    QL_TRY(define(r, n, &with.named[a.n_named]));
    r->line = n->line;
    QL_TRY(ql_jcall(r, f, &with, &v));
    return ql_jput_str(r, out, v);
}

/* -------------------------------------------------------------------- statements */

static ql_status exec_for(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    ql_jval over;
    QL_TRY(ql_jeval(r, n->b, &over));
    return ql_jrun_loop(r, n, r->scope, over, 0, out);
}

static ql_status exec_value(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    ql_jval v;
    if (n->kind == QL_JN_TEXT) return ql_jput_all(r, out, n->value.u.s);
    QL_TRY(ql_jeval(r, n->kind == QL_JN_SET ? n->b : n->a, &v));
    r->line = n->line;
    return n->kind == QL_JN_SET ? assign(r, n->a, v) : ql_jput_str(r, out, v);
}

static ql_status exec_body(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    for (size_t i = 0; i < n->n && r->flow == QL_JFLOW_ON; i++)
        QL_TRY(ql_jexec(r, n->items[i], out));
    return QL_OK;
}

static ql_status exec(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    switch (n->kind) {
    case QL_JN_BODY: return exec_body(r, n, out);
    case QL_JN_IF: return exec_if(r, n, out);
    case QL_JN_FOR: return exec_for(r, n, out);
    case QL_JN_SET_BLOCK: return exec_set_block(r, n);
    case QL_JN_MACRO: return exec_macro(r, n);
    case QL_JN_CALL_BLOCK: return exec_call_block(r, n, out);
    case QL_JN_FILTER_BLOCK: return exec_filter_block(r, n, out);
    case QL_JN_WITH: return exec_with(r, n, out);
    case QL_JN_GENERATION: return exec_generation(r, n, out);
    case QL_JN_BREAK: r->flow = QL_JFLOW_BREAK; return QL_OK;
    case QL_JN_CONTINUE: r->flow = QL_JFLOW_CONTINUE; return QL_OK;
    default: return exec_value(r, n, out);
    }
}

ql_status ql_jexec(ql_jrun *r, const ql_jnode *n, ql_jbuf *out) {
    r->line = n->line;
    QL_TRY(ql_jstep(r, 1));
    if (r->depth >= r->in->limits.depth)
        return QL_JFAIL(r, "calls and blocks are nested more than %d deep", r->depth);
    r->depth++;
    ql_status s = exec(r, n, out);
    r->depth--;
    return s;
}
