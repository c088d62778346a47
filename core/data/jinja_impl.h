/*
 * jinja_impl.h - syntax tree and values of the Jinja interpreter.
 *
 * A compiled template owns its tree in one arena; a rendering owns its values in another. Nothing
 * is freed one by one. Values are small and passed by copy; texts, lists and dictionaries behind
 * them never change once a template can see them (namespaces and loops excepted).
 */
#ifndef QLORA_CORE_DATA_JINJA_IMPL_H
#define QLORA_CORE_DATA_JINJA_IMPL_H

#include "core/base/hostmem.h"
#include "core/data/jinja.h"

/* ------------------------------------------------------------------ values */

typedef enum ql_jkind {
    QL_JUNDEFINED,
    QL_JNONE,
    QL_JBOOL,
    QL_JINT,
    QL_JFLOAT,
    QL_JSTR,
    QL_JLIST,
    QL_JDICT,
    QL_JNAMESPACE,
    QL_JFUNCTION,
    QL_JLOOP,
    QL_JCYCLER
} ql_jkind;

typedef struct ql_jstr {
    const char *s; /* UTF-8, any byte below 0x80 included */
    size_t n;
    const uint16_t *origins; /* [n], or NULL: every byte has `origin` */
    uint16_t origin;
} ql_jstr;

typedef struct ql_jval {
    uint8_t kind;
    uint8_t of;      /* UNDEFINED: 1 + kind of the value that has no such attribute; 0 = a name */
    uint16_t origin; /* of scalars and containers, for the text they become                     */
    union {
        bool b;
        int64_t i;
        double f;
        const ql_jstr *s; /* STR; UNDEFINED: the name that was asked for, or NULL */
        struct ql_jlist *list;
        struct ql_jdict *dict; /* DICT, NAMESPACE */
        const struct ql_jfunction *function;
        struct ql_jloop *loop;
        struct ql_jcycler *cycler;
    } u;
} ql_jval;

typedef enum ql_jshape {
    QL_JSHAPE_LIST,
    QL_JSHAPE_TUPLE,
    QL_JSHAPE_RANGE,
    QL_JSHAPE_VIEW,     /* dict.items(), keys(), values(): no index */
    QL_JSHAPE_GENERATOR /* what lazy filters give: read once, no length */
} ql_jshape;

typedef struct ql_jlist {
    ql_jval *items;
    size_t n, cap;
    ql_jshape shape;
    const char *view; /* VIEW: "dict_items"; TUPLE of groupby: "group" */
} ql_jlist;

typedef struct ql_jdict { /* in the order of insertion */
    ql_jval *keys, *values;
    size_t n, keys_cap, values_cap;
} ql_jdict;

typedef struct ql_jcycler {
    ql_jlist *items;
    size_t at;
    bool joiner; /* items[0] from the second call on */
} ql_jcycler;

/* Arguments of a call. */
typedef struct ql_jargs {
    ql_jval *v;
    size_t n;
    const ql_jstr **names; /* of the keyword arguments */
    ql_jval *named;
    size_t n_named;
} ql_jargs;

/* ------------------------------------------------------------------- syntax */

typedef enum ql_jnode_kind {
    /* expressions */
    QL_JN_CONST,
    QL_JN_NAME,
    QL_JN_LIST,
    QL_JN_TUPLE,
    QL_JN_DICT, /* items: key, value, key, ... */
    QL_JN_NOT,
    QL_JN_AND,
    QL_JN_OR,
    QL_JN_IF_ELSE, /* b if a else c */
    QL_JN_COMPARE, /* a, then items with ops */
    QL_JN_BINARY,
    QL_JN_UNARY,
    QL_JN_CONCAT,
    QL_JN_ATTRIBUTE,
    QL_JN_ITEM,   /* a[b] */
    QL_JN_SLICE,  /* a:b:c, each may be NULL */
    QL_JN_CALL,   /* a(items, named) */
    QL_JN_FILTER, /* a | name(items, named) */
    QL_JN_TEST,
    /* statements */
    QL_JN_TEXT,
    QL_JN_PRINT,
    QL_JN_BODY,
    QL_JN_IF,         /* items: test, body, test, body, ...; c = else */
    QL_JN_FOR,        /* for a in b if test: body, else c */
    QL_JN_SET,        /* a = b */
    QL_JN_SET_BLOCK,  /* a = body through the filters b */
    QL_JN_MACRO,      /* name, items = parameters, named = defaults of the last of them; body */
    QL_JN_CALL_BLOCK, /* b = the call, body = the caller; items, named as of a macro */
    QL_JN_FILTER_BLOCK,
    QL_JN_WITH, /* items: target, value, ...; body */
    QL_JN_GENERATION,
    QL_JN_BREAK,
    QL_JN_CONTINUE
} ql_jnode_kind;

typedef enum ql_jop {
    QL_JOP_ADD,
    QL_JOP_SUB,
    QL_JOP_MUL,
    QL_JOP_DIV,
    QL_JOP_FLOOR,
    QL_JOP_MOD,
    QL_JOP_POW,
    QL_JOP_EQ,
    QL_JOP_NE,
    QL_JOP_LT,
    QL_JOP_LE,
    QL_JOP_GT,
    QL_JOP_GE,
    QL_JOP_IN,
    QL_JOP_NOT_IN
} ql_jop;

typedef struct ql_jnode ql_jnode;
struct ql_jnode {
    ql_jnode_kind kind;
    int line;
    uint8_t op;       /* BINARY, UNARY: a ql_jop                              */
    bool recursive;   /* FOR                                                  */
    bool uses_caller; /* MACRO, CALL_BLOCK: the body names these variables    */
    bool uses_varargs, uses_kwargs;
    ql_jval value;       /* CONST, TEXT                                       */
    const ql_jstr *name; /* NAME, ATTRIBUTE, FILTER, TEST, MACRO              */
    const ql_jnode *a, *b, *c, *test, *body;
    const ql_jnode **items;
    size_t n, cap;
    uint8_t *ops; /* COMPARE: one for each item */
    size_t ops_cap;
    const ql_jstr **names; /* of the keyword arguments `named` */
    const ql_jnode **named;
    size_t n_named, names_cap, named_cap;
};

typedef enum ql_jtoken_kind {
    QL_JT_TEXT,
    QL_JT_BLOCK_BEGIN,
    QL_JT_BLOCK_END,
    QL_JT_PRINT_BEGIN,
    QL_JT_PRINT_END,
    QL_JT_NAME,
    QL_JT_STRING,
    QL_JT_INT,
    QL_JT_FLOAT,
    QL_JT_OPERATOR,
    QL_JT_END
} ql_jtoken_kind;

typedef struct ql_jtoken {
    ql_jtoken_kind kind;
    int line;
    const char *s; /* TEXT, NAME, STRING (unescaped), OPERATOR */
    size_t n;
    int64_t i;
    double f;
} ql_jtoken;

struct ql_jinja {
    ql_arena arena;
    char *text; /* with "\n" for every end of line */
    ql_jtoken *tokens;
    size_t n_tokens, cap_tokens;
    const ql_jnode *body;
    bool generation;
};

QL_NODISCARD ql_status ql_jinja_lex(ql_jinja *j, const char *text, size_t len);
QL_NODISCARD ql_status ql_jinja_parse(ql_jinja *j);

#define QL_JPARSE_DEPTH 150 /* nested blocks, parentheses */

typedef struct ql_jparser {
    ql_jinja *j;
    size_t at;
    int depth, loops;
    ql_jnode *macro; /* the innermost one being read, NULL = none */
} ql_jparser;
bool ql_jtoken_is(const ql_jtoken *t, ql_jtoken_kind kind, const char *text);
/* Room for item `n` of a list in the arena: a new block when the old one is full. */
QL_NODISCARD ql_status ql_jroom(ql_jparser *p, void *items_pointer, size_t *cap, size_t n,
                                size_t size);
QL_NODISCARD ql_status ql_jtext_of(ql_jparser *p, const char *s, size_t n, const ql_jstr **out);
/* Takes the token. */
QL_NODISCARD ql_status ql_jconstant(ql_jparser *p, ql_jval v, const ql_jnode **out);
const ql_jtoken *ql_jpeek(const ql_jparser *p);
bool ql_jnext_is(const ql_jparser *p, ql_jtoken_kind kind, const char *text);
bool ql_jskip(ql_jparser *p, ql_jtoken_kind kind, const char *text);
QL_NODISCARD ql_status ql_jexpect(ql_jparser *p, ql_jtoken_kind kind, const char *text);
QL_NODISCARD ql_status ql_jenter(ql_jparser *p);
QL_NODISCARD ql_status ql_jnode_new(ql_jparser *p, ql_jnode_kind kind, ql_jnode **out);
QL_NODISCARD ql_status ql_jnode_add(ql_jparser *p, ql_jnode *n, const ql_jnode *item);
static inline bool ql_jis_op(const ql_jparser *p, const char *text) {
    return ql_jnext_is(p, QL_JT_OPERATOR, text);
}
static inline bool ql_jskip_op(ql_jparser *p, const char *text) {
    return ql_jskip(p, QL_JT_OPERATOR, text);
}
static inline bool ql_jis_word(const ql_jparser *p, const char *text) {
    return ql_jnext_is(p, QL_JT_NAME, text);
}
QL_NODISCARD ql_status ql_jparse_name(ql_jparser *p, const ql_jstr **out);
QL_NODISCARD ql_status ql_jparse_expression(ql_jparser *p, bool with_if, const ql_jnode **out);
/* Comma-separated: a tuple, or the only expression itself. */
QL_NODISCARD ql_status ql_jparse_tuple(ql_jparser *p, bool with_if, const ql_jnode **out);
/* Applies "| name(...) | ..." to *v; `first`: the first "|" is left out. */
QL_NODISCARD ql_status ql_jparse_filters(ql_jparser *p, bool first, const ql_jnode **v);
/* A name, a literal or parentheses with what stands behind; what stands behind *v. */
QL_NODISCARD ql_status ql_jparse_value(ql_jparser *p, const ql_jnode **out);
QL_NODISCARD ql_status ql_jparse_behind(ql_jparser *p, bool with_filters, const ql_jnode **v);
/* The failure that what stands next is not what was expected. */
#define QL_JPARSE_ERROR(p, expected) (ql_jparse_fail_at((p), (expected)), QL_ERR_FORMAT)
void ql_jparse_fail_at(const ql_jparser *p, const char *expected);
QL_NODISCARD ql_status ql_jnode_named(ql_jparser *p, ql_jnode *n, const ql_jstr *name,
                                      const ql_jnode *value);

#endif
