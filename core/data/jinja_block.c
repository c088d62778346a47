/*
 * jinja_block.c - tokens to statements: the blocks of a template, and compiling it.
 */
#include <string.h>

#include "core/data/jinja_impl.h"

static ql_status body(ql_jparser *p, const char *const *ends, const ql_jnode **out);

static ql_status end_of_tag(ql_jparser *p) {
    return ql_jexpect(p, QL_JT_BLOCK_END, NULL);
}

/* Statements up to {% end %}, which is taken. */
static ql_status body_to(ql_jparser *p, const char *end, const ql_jnode **out) {
    const char *const ends[] = {end, NULL};
    QL_TRY(end_of_tag(p));
    QL_TRY(body(p, ends, out));
    QL_TRY(ql_jexpect(p, QL_JT_NAME, end));
    return end_of_tag(p);
}

/* ---------------------------------------------------------------------- targets */

static ql_status target_name(ql_jparser *p, bool attributes, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_NAME, &n));
    QL_TRY(ql_jparse_name(p, &n->name));
    *out = n;
    if (!attributes || !ql_jskip(p, QL_JT_OPERATOR, ".")) return QL_OK;
    ql_jnode *attribute;
    QL_TRY(ql_jnode_new(p, QL_JN_ATTRIBUTE, &attribute));
    attribute->a = n;
    QL_TRY(ql_jparse_name(p, &attribute->name));
    *out = attribute;
    return QL_OK;
}

static ql_status target(ql_jparser *p, bool attributes, const ql_jnode **out);

static ql_status target_item(ql_jparser *p, bool attributes, const ql_jnode **out) {
    if (!ql_jskip(p, QL_JT_OPERATOR, "(")) return target_name(p, attributes, out);
    QL_TRY(ql_jenter(p));
    QL_TRY(target(p, attributes, out));
    p->depth--;
    return ql_jexpect(p, QL_JT_OPERATOR, ")");
}

/* A name, a namespace's attribute, or several of them. */
static ql_status target(ql_jparser *p, bool attributes, const ql_jnode **out) {
    ql_jnode *n = NULL;
    QL_TRY(target_item(p, attributes, out));
    while (ql_jskip(p, QL_JT_OPERATOR, ",")) {
        const ql_jnode *item;
        if (!n) {
            QL_TRY(ql_jnode_new(p, QL_JN_TUPLE, &n));
            QL_TRY(ql_jnode_add(p, n, *out));
            *out = n;
        }
        if (ql_jis_word(p, "in") || ql_jpeek(p)->kind != QL_JT_NAME) break;
        QL_TRY(target_item(p, attributes, &item));
        QL_TRY(ql_jnode_add(p, n, item));
    }
    return QL_OK;
}

/* ------------------------------------------------------------------- statements */

static ql_status parse_if(ql_jparser *p, ql_jnode *n) {
    static const char *const ENDS[] = {"elif", "else", "endif", NULL};
    for (;;) {
        const ql_jnode *test, *then;
        QL_TRY(ql_jparse_tuple(p, false, &test));
        QL_TRY(end_of_tag(p));
        QL_TRY(body(p, ENDS, &then));
        QL_TRY(ql_jnode_add(p, n, test));
        QL_TRY(ql_jnode_add(p, n, then));
        if (ql_jskip(p, QL_JT_NAME, "elif")) continue;
        if (ql_jskip(p, QL_JT_NAME, "else")) return body_to(p, "endif", &n->c);
        QL_TRY(ql_jexpect(p, QL_JT_NAME, "endif"));
        return end_of_tag(p);
    }
}

static ql_status parse_for(ql_jparser *p, ql_jnode *n) {
    static const char *const ENDS[] = {"else", "endfor", NULL};
    QL_TRY(target(p, false, &n->a));
    QL_TRY(ql_jexpect(p, QL_JT_NAME, "in"));
    QL_TRY(ql_jparse_tuple(p, false, &n->b));
    if (ql_jskip(p, QL_JT_NAME, "if")) QL_TRY(ql_jparse_expression(p, true, &n->test));
    n->recursive = ql_jskip(p, QL_JT_NAME, "recursive");
    QL_TRY(end_of_tag(p));
    p->loops++;
    QL_TRY(body(p, ENDS, &n->body));
    p->loops--;
    if (ql_jskip(p, QL_JT_NAME, "else")) return body_to(p, "endfor", &n->c);
    QL_TRY(ql_jexpect(p, QL_JT_NAME, "endfor"));
    return end_of_tag(p);
}

static ql_status parse_set(ql_jparser *p, ql_jnode *n) {
    QL_TRY(target(p, true, &n->a));
    if (ql_jskip(p, QL_JT_OPERATOR, "=")) {
        QL_TRY(ql_jparse_tuple(p, true, &n->b));
        return end_of_tag(p);
    }
    n->kind = QL_JN_SET_BLOCK;
    QL_TRY(ql_jparse_filters(p, false, &n->b));
    return body_to(p, "endset", &n->body);
}

static ql_status parameters(ql_jparser *p, ql_jnode *n) {
    QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, "("));
    for (bool any = false; !ql_jskip(p, QL_JT_OPERATOR, ")"); any = true) {
        const ql_jnode *name, *value;
        if (any) QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ","));
        if (any && ql_jskip(p, QL_JT_OPERATOR, ")")) break;
        QL_TRY(target_name(p, false, &name));
        QL_TRY(ql_jnode_add(p, n, name));
        if (ql_jskip(p, QL_JT_OPERATOR, "=")) {
            QL_TRY(ql_jparse_expression(p, true, &value));
            QL_TRY(ql_jnode_named(p, n, name->name, value));
        } else if (n->n_named) {
            return QL_JPARSE_ERROR(p, "a default value, as the parameter before has one");
        }
    }
    return QL_OK;
}

/* The body of a macro: loops around it are not its own. */
static ql_status macro_body(ql_jparser *p, ql_jnode *n, const char *end) {
    ql_jnode *outer = p->macro;
    int loops = p->loops;
    if (n->kind != QL_JN_GENERATION) p->macro = n;
    p->loops = 0;
    QL_TRY(body_to(p, end, &n->body));
    p->macro = outer;
    p->loops = loops;
    return QL_OK;
}

static ql_status parse_macro(ql_jparser *p, ql_jnode *n) {
    QL_TRY(ql_jparse_name(p, &n->name));
    QL_TRY(parameters(p, n));
    return macro_body(p, n, "endmacro");
}

static ql_status parse_call(ql_jparser *p, ql_jnode *n) {
    if (ql_jnext_is(p, QL_JT_OPERATOR, "(")) QL_TRY(parameters(p, n));
    QL_TRY(ql_jparse_expression(p, true, &n->b));
    if (n->b->kind != QL_JN_CALL) return QL_JPARSE_ERROR(p, "a call in front");
    QL_TRY(ql_jtext_of(p, "caller", 6, &n->name));
    return macro_body(p, n, "endcall");
}

static ql_status parse_filter(ql_jparser *p, ql_jnode *n) {
    QL_TRY(ql_jparse_filters(p, true, &n->b));
    return body_to(p, "endfilter", &n->body);
}

static ql_status parse_with(ql_jparser *p, ql_jnode *n) {
    while (ql_jpeek(p)->kind != QL_JT_BLOCK_END) {
        const ql_jnode *name, *value;
        if (n->n) QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, ","));
        QL_TRY(target_item(p, false, &name));
        QL_TRY(ql_jexpect(p, QL_JT_OPERATOR, "="));
        QL_TRY(ql_jparse_expression(p, true, &value));
        QL_TRY(ql_jnode_add(p, n, name));
        QL_TRY(ql_jnode_add(p, n, value));
    }
    return body_to(p, "endwith", &n->body);
}

static ql_status parse_generation(ql_jparser *p, ql_jnode *n) {
    p->j->generation = true;
    return macro_body(p, n, "endgeneration");
}

static ql_status parse_jump(ql_jparser *p, ql_jnode *n) {
    (void)n;
    if (p->loops == 0) return QL_JPARSE_ERROR(p, "a loop around break or continue");
    return end_of_tag(p);
}

static ql_status statement(ql_jparser *p, const ql_jnode **out) {
    static const struct {
        const char *name;
        ql_jnode_kind kind;
        ql_status (*parse)(ql_jparser *p, ql_jnode *n);
    } BLOCKS[] = {
        {"if", QL_JN_IF, parse_if},
        {"for", QL_JN_FOR, parse_for},
        {"set", QL_JN_SET, parse_set},
        {"macro", QL_JN_MACRO, parse_macro},
        {"call", QL_JN_CALL_BLOCK, parse_call},
        {"filter", QL_JN_FILTER_BLOCK, parse_filter},
        {"with", QL_JN_WITH, parse_with},
        {"generation", QL_JN_GENERATION, parse_generation},
        {"break", QL_JN_BREAK, parse_jump},
        {"continue", QL_JN_CONTINUE, parse_jump},
    };
    for (size_t i = 0; i < sizeof BLOCKS / sizeof *BLOCKS; i++) {
        if (!ql_jis_word(p, BLOCKS[i].name)) continue;
        ql_jnode *n;
        QL_TRY(ql_jnode_new(p, BLOCKS[i].kind, &n));
        p->at++;
        *out = n;
        return BLOCKS[i].parse(p, n);
    }
    return QL_JPARSE_ERROR(p, "a block that is known (if, for, set, macro, call, filter, with, "
                              "generation, break, continue, raw)");
}

static bool ends_here(const ql_jparser *p, const char *const *ends) {
    const ql_jtoken *t = ql_jpeek(p) + 1;
    for (size_t i = 0; ends[i]; i++)
        if (ql_jtoken_is(t, QL_JT_NAME, ends[i])) return true;
    return false;
}

static ql_status text(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n;
    const ql_jtoken *t = ql_jpeek(p);
    QL_TRY(ql_jnode_new(p, QL_JN_TEXT, &n));
    n->value.kind = QL_JSTR;
    p->at++;
    *out = n;
    return ql_jtext_of(p, t->s, t->n, &n->value.u.s);
}

static ql_status print(ql_jparser *p, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jnode_new(p, QL_JN_PRINT, &n));
    p->at++;
    QL_TRY(ql_jparse_tuple(p, true, &n->a));
    *out = n;
    return ql_jexpect(p, QL_JT_PRINT_END, NULL);
}

/* Statements up to a block named in `ends`, whose name is then the next token; NULL = to the end of
 * the template. */
static ql_status body(ql_jparser *p, const char *const *ends, const ql_jnode **out) {
    ql_jnode *n;
    QL_TRY(ql_jenter(p));
    QL_TRY(ql_jnode_new(p, QL_JN_BODY, &n));
    for (;;) {
        const ql_jnode *item = NULL;
        if (ql_jpeek(p)->kind == QL_JT_END) {
            while (ends && ends[1]) ends++; /* the one that closes */
            if (ends) return QL_JPARSE_ERROR(p, *ends);
            break;
        }
        if (ql_jpeek(p)->kind == QL_JT_TEXT) {
            QL_TRY(text(p, &item));
        } else if (ql_jpeek(p)->kind == QL_JT_PRINT_BEGIN) {
            QL_TRY(print(p, &item));
        } else {
            bool ended = ends && ends_here(p, ends);
            QL_TRY(ql_jexpect(p, QL_JT_BLOCK_BEGIN, NULL));
            if (ended) break;
            QL_TRY(statement(p, &item));
        }
        QL_TRY(ql_jnode_add(p, n, item));
    }
    p->depth--;
    *out = n;
    return QL_OK;
}

/* -------------------------------------------------------------------- compiling */

ql_status ql_jinja_parse(ql_jinja *j) {
    ql_jparser p = {.j = j};
    return body(&p, NULL, &j->body);
}

ql_status ql_jinja_compile(const char *source, size_t len, ql_jinja **out) {
    ql_jinja *j = ql_host_calloc(1, sizeof *j);
    if (!j) return QL_NOMEM("a template");
    ql_status s = ql_jinja_lex(j, source, len);
    if (s == QL_OK) s = ql_jinja_parse(j);
    if (s != QL_OK) {
        ql_jinja_free(j);
        return s;
    }
    ql_host_free(j->tokens);
    j->tokens = NULL;
    *out = j;
    return QL_OK;
}

void ql_jinja_free(ql_jinja *j) {
    if (!j) return;
    ql_host_free(j->tokens);
    ql_arena_free(&j->arena);
    ql_host_free(j);
}

bool ql_jinja_has_generation(const ql_jinja *j) {
    return j->generation;
}
