/*
 * jinja_tree.c - what all of the parser uses: the tokens ahead, errors, and nodes of the tree.
 */
#include <string.h>

#include "core/data/jinja_impl.h"

const ql_jtoken *ql_jpeek(const ql_jparser *p) {
    return &p->j->tokens[p->at];
}

bool ql_jtoken_is(const ql_jtoken *t, ql_jtoken_kind kind, const char *text) {
    return t->kind == kind && (!text || (strlen(text) == t->n && memcmp(t->s, text, t->n) == 0));
}

bool ql_jnext_is(const ql_jparser *p, ql_jtoken_kind kind, const char *text) {
    return ql_jtoken_is(ql_jpeek(p), kind, text);
}

bool ql_jskip(ql_jparser *p, ql_jtoken_kind kind, const char *text) {
    if (!ql_jnext_is(p, kind, text)) return false;
    p->at++;
    return true;
}

void ql_jparse_fail_at(const ql_jparser *p, const char *expected) {
    static const char *const NAMES[] = {
        [QL_JT_TEXT] = "text",
        [QL_JT_BLOCK_BEGIN] = "a block",
        [QL_JT_BLOCK_END] = "'%}'",
        [QL_JT_PRINT_BEGIN] = "'{{'",
        [QL_JT_PRINT_END] = "'}}'",
        [QL_JT_INT] = "a number",
        [QL_JT_FLOAT] = "a number",
        [QL_JT_STRING] = "a string",
        [QL_JT_END] = "the end of the template",
    };
    const ql_jtoken *t = ql_jpeek(p);
    if (t->kind == QL_JT_NAME || t->kind == QL_JT_OPERATOR) {
        (void)QL_FAIL(QL_ERR_FORMAT, "line %d: expected %s, found '%.*s'", t->line, expected,
                      t->n < 40 ? (int)t->n : 40, t->s);
        return;
    }
    (void)QL_FAIL(QL_ERR_FORMAT, "line %d: expected %s, found %s", t->line, expected,
                  NAMES[t->kind]);
}

ql_status ql_jexpect(ql_jparser *p, ql_jtoken_kind kind, const char *text) {
    if (ql_jskip(p, kind, text)) return QL_OK;
    char quoted[48];
    if (!text) return QL_JPARSE_ERROR(p, kind == QL_JT_BLOCK_END ? "'%}'" : "something else");
    (void)snprintf(quoted, sizeof quoted, "'%s'", text);
    return QL_JPARSE_ERROR(p, quoted);
}

ql_status ql_jenter(ql_jparser *p) {
    if (++p->depth <= QL_JPARSE_DEPTH) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "line %d: nested more than %d deep", ql_jpeek(p)->line,
                   QL_JPARSE_DEPTH);
}

/* -------------------------------------------------------------------- nodes */

ql_status ql_jnode_new(ql_jparser *p, ql_jnode_kind kind, ql_jnode **out) {
    ql_jnode *n = ql_arena_alloc(&p->j->arena, 1, sizeof *n);
    if (!n) return QL_NOMEM("a template");
    n->kind = kind;
    n->line = ql_jpeek(p)->line;
    *out = n;
    return QL_OK;
}

ql_status ql_jroom(ql_jparser *p, void *items_pointer, size_t *cap, size_t n, size_t size) {
    void **items = items_pointer;
    if (n < *cap) return QL_OK;
    size_t more = *cap ? 2 * *cap : 4;
    void *grown = ql_arena_alloc(&p->j->arena, more, size);
    if (!grown) return QL_NOMEM("a template");
    if (n) memcpy(grown, *items, n * size);
    *items = grown;
    *cap = more;
    return QL_OK;
}

ql_status ql_jnode_add(ql_jparser *p, ql_jnode *n, const ql_jnode *item) {
    QL_TRY(ql_jroom(p, &n->items, &n->cap, n->n, sizeof *n->items));
    n->items[n->n++] = item;
    return QL_OK;
}

ql_status ql_jnode_named(ql_jparser *p, ql_jnode *n, const ql_jstr *name, const ql_jnode *value) {
    QL_TRY(ql_jroom(p, &n->names, &n->names_cap, n->n_named, sizeof *n->names));
    QL_TRY(ql_jroom(p, &n->named, &n->named_cap, n->n_named, sizeof *n->named));
    n->names[n->n_named] = name;
    n->named[n->n_named++] = value;
    return QL_OK;
}

ql_status ql_jtext_of(ql_jparser *p, const char *s, size_t n, const ql_jstr **out) {
    ql_jstr *t = ql_arena_alloc(&p->j->arena, 1, sizeof *t);
    if (!t) return QL_NOMEM("a template");
    *t = (ql_jstr){.s = s, .n = n};
    *out = t;
    return QL_OK;
}

ql_status ql_jparse_name(ql_jparser *p, const ql_jstr **out) {
    const ql_jtoken *t = ql_jpeek(p);
    if (t->kind != QL_JT_NAME) return QL_JPARSE_ERROR(p, "a name");
    p->at++;
    return ql_jtext_of(p, t->s, t->n, out);
}

ql_status ql_jconstant(ql_jparser *p, ql_jval v, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_CONST, &n));
    n->value = v;
    p->at++;
    *out = n;
    return QL_OK;
}
