/*
 * jinja_run.c - a rendering: budget, scopes, and the way from a template to its text.
 */
#include "core/data/jinja_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

ql_jinja_limits ql_jinja_limits_default(void) {
    return (ql_jinja_limits){
        .steps = 20000000, .bytes = 256u << 20, .text = 16u << 20, .depth = 400};
}

/* ------------------------------------------------------------------------ budget */

void ql_jfail_at(const ql_jrun *r, const char *fmt, ...) {
    char what[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    (void)QL_FAIL(QL_ERR_FORMAT, "line %d: %s", r->line, what);
}

ql_status ql_jstep(ql_jrun *r, size_t work) {
    if (work < r->steps) {
        r->steps -= work;
        return QL_OK;
    }
    r->steps = 0;
    return QL_JFAIL(r, "the template takes more than %llu steps",
                    (unsigned long long)r->in->limits.steps);
}

ql_status ql_jalloc(ql_jrun *r, size_t n, size_t size, void *out_pointer) {
    uint64_t bytes;
    QL_TRY(ql_mul_size(n, size, &bytes));
    if (bytes > r->bytes) {
        return QL_JFAIL(r, "the template needs more than %zu MiB of memory",
                        r->in->limits.bytes >> 20);
    }
    r->bytes -= (size_t)bytes;
    void *p = ql_arena_alloc(&r->arena, n, size);
    if (!p) return QL_NOMEM("a rendering");
    memcpy(out_pointer, &p, sizeof p);
    return QL_OK;
}

ql_status ql_jgrow(ql_jrun *r, void *items_pointer, size_t *cap, size_t need, size_t size) {
    void *old, *grown = NULL;
    if (need <= *cap) return QL_OK;
    size_t more = *cap < 4 ? 4 : *cap;
    while (more < need) more *= 2;
    QL_TRY(ql_jalloc(r, more, size, &grown));
    memcpy(&old, items_pointer, sizeof old);
    if (*cap) memcpy(grown, old, *cap * size);
    memcpy(items_pointer, &grown, sizeof grown);
    *cap = more;
    return QL_OK;
}

/* ------------------------------------------------------------------------ scopes */

ql_status ql_jscope_new(ql_jrun *r, ql_jscope *up, ql_jscope **out) {
    QL_TRY(ql_jalloc(r, 1, sizeof **out, out));
    (*out)->up = up;
    return QL_OK;
}

static ql_jvar *find(ql_jscope *scope, const ql_jstr *name) {
    for (size_t i = scope->n; i-- > 0;) {
        const ql_jstr *have = scope->vars[i].name;
        if (have->n == name->n && memcmp(have->s, name->s, name->n) == 0) return &scope->vars[i];
    }
    return NULL;
}

ql_status ql_jassign(ql_jrun *r, ql_jscope *scope, const ql_jstr *name, ql_jval v) {
    QL_TRY(ql_jstep(r, scope->n / 8));
    ql_jvar *var = find(scope, name);
    if (!var) {
        QL_TRY(ql_jgrow(r, &scope->vars, &scope->cap, scope->n + 1, sizeof *scope->vars));
        var = &scope->vars[scope->n++];
        var->name = name;
    }
    var->value = v;
    return QL_OK;
}

ql_status ql_jlookup(ql_jrun *r, const ql_jstr *name, ql_jval *out) {
    for (ql_jscope *scope = r->scope; scope; scope = scope->up) {
        QL_TRY(ql_jstep(r, scope->n / 8 + 1));
        const ql_jvar *var = find(scope, name);
        if (!var) continue;
        *out = var->value;
        return QL_OK;
    }
    bool found = false;
    QL_TRY(ql_jglobal(r, name, out, &found));
    if (!found) *out = (ql_jval){.kind = QL_JUNDEFINED, .u.s = name};
    return QL_OK;
}

/* ---------------------------------------------------------------------- rendering */

static ql_status put_variables(ql_jrun *r) {
    for (size_t i = 0; i < r->in->n_vars; i++) {
        const ql_jinja_var *var = &r->in->vars[i];
        ql_jval name, v;
        QL_TRY(ql_jtext(r, var->name, QL_ORIGIN_TEMPLATE, &name));
        QL_TRY(ql_jfrom_var(r, var, &v));
        QL_TRY(ql_jassign(r, r->scope, name.u.s, v));
    }
    return QL_OK;
}

static ql_status copy_output(const ql_jbuf *b, ql_jinja_output *out) {
    ql_jinja_output o = {.len = b->n};
    o.text = ql_host_strndup(b->n ? b->s : "", b->n);
    o.origin = ql_host_calloc(b->n + 1, sizeof *o.origin);
    if (!o.text || !o.origin) {
        ql_jinja_output_free(&o);
        return QL_NOMEM("a rendered text");
    }
    for (size_t i = 0; i < b->n; i++) o.origin[i] = b->origins ? b->origins[i] : b->origin;
    *out = o;
    return QL_OK;
}

ql_status ql_jinja_render(const ql_jinja *j, const ql_jinja_input *in, ql_jinja_output *out) {
    ql_jrun r = {.in = in, .steps = in->limits.steps, .bytes = in->limits.bytes};
    ql_jbuf b = {0};
    ql_status s = ql_jscope_new(&r, NULL, &r.scope);
    if (s == QL_OK) s = put_variables(&r);
    if (s == QL_OK) s = ql_jexec(&r, j->body, &b);
    if (s == QL_OK) s = copy_output(&b, out);
    ql_arena_free(&r.arena);
    return s;
}

void ql_jinja_output_free(ql_jinja_output *o) {
    if (!o) return;
    ql_host_free(o->text);
    ql_host_free(o->origin);
    *o = (ql_jinja_output){0};
}
