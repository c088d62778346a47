/*
 * jinja_run.h - a rendering: its budget, its scopes, and the functions that the files of the
 * interpreter share.
 */
#ifndef QLORA_CORE_DATA_JINJA_RUN_H
#define QLORA_CORE_DATA_JINJA_RUN_H

#include "core/data/jinja_impl.h"

typedef struct ql_jvar {
    const ql_jstr *name;
    ql_jval value;
} ql_jvar;
typedef struct ql_jscope {
    struct ql_jscope *up;
    ql_jvar *vars;
    size_t n, cap;
} ql_jscope;

#define QL_JVALUE_DEPTH 100

typedef struct ql_jrun {
    ql_arena arena;
    size_t bytes;
    uint64_t steps;
    int depth;
    int line;                                         /* of the node that is being evaluated */
    int value_depth;                                  /* of values inside values */
    const struct ql_jdict *printing[QL_JVALUE_DEPTH]; /* namespaces whose text is being made */
    const ql_jinja_input *in;
    ql_jscope *scope;
    ql_jval block; /* text of the block that filters are applied to */
    enum { QL_JFLOW_ON, QL_JFLOW_BREAK, QL_JFLOW_CONTINUE } flow;
} ql_jrun;

/* A text under construction. */
typedef struct ql_jbuf {
    char *s;
    size_t n, cap;
    uint16_t *origins; /* made when a second origin comes */
    size_t origins_cap;
    uint16_t origin;
} ql_jbuf;

typedef enum ql_jfunction_kind {
    QL_JF_GLOBAL,
    QL_JF_MACRO,
    QL_JF_METHOD,
    QL_JF_RECURSE,
    QL_JF_CYCLE,  /* loop.cycle   */
    QL_JF_CHANGED /* loop.changed */
} ql_jfunction_kind;
typedef ql_status (*ql_jbuiltin)(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out);
typedef struct ql_jfunction {
    ql_jfunction_kind kind;
    const char *name;
    ql_jbuiltin call; /* GLOBAL, METHOD */
    ql_jval self;     /* METHOD, RECURSE, CYCLE, CHANGED */
    const ql_jnode *macro;
    ql_jscope *scope; /* where the macro stands */
} ql_jfunction;

typedef struct ql_jloop {
    const ql_jnode *node;
    ql_jscope *scope; /* around the loop */
    const ql_jlist *items;
    size_t at;
    int depth;
    bool has_changed;
    ql_jval changed;
} ql_jloop;

/* ------------------------------------------------------- budget (jinja_run.c) */

/* A failure with the present line in front; its value is QL_ERR_FORMAT itself, as with QL_FAIL. */
#define QL_JFAIL(r, ...) (ql_jfail_at((r), __VA_ARGS__), QL_ERR_FORMAT)
void ql_jfail_at(const ql_jrun *r, const char *fmt, ...) QL_PRINTF(2, 3);
QL_NODISCARD ql_status ql_jstep(ql_jrun *r, size_t work);
#define QL_JWORK_BYTES 32 /* one step */
QL_NODISCARD ql_status ql_jalloc(ql_jrun *r, size_t n, size_t size, void *out_pointer);
QL_NODISCARD ql_status ql_jgrow(ql_jrun *r, void *items_pointer, size_t *cap, size_t need,
                                size_t size);
QL_NODISCARD ql_status ql_jlookup(ql_jrun *r, const ql_jstr *name, ql_jval *out);
QL_NODISCARD ql_status ql_jassign(ql_jrun *r, ql_jscope *scope, const ql_jstr *name, ql_jval v);
QL_NODISCARD ql_status ql_jscope_new(ql_jrun *r, ql_jscope *up, ql_jscope **out);

/* ----------------------------------------------------- texts (jinja_text.c) */

QL_NODISCARD ql_status ql_jput(ql_jrun *r, ql_jbuf *b, const char *s, size_t n, uint16_t origin);
QL_NODISCARD ql_status ql_jput_part(ql_jrun *r, ql_jbuf *b, const ql_jstr *s, size_t from,
                                    size_t n);
QL_NODISCARD ql_status ql_jput_all(ql_jrun *r, ql_jbuf *b, const ql_jstr *s);
QL_NODISCARD ql_status ql_jbuf_take(ql_jrun *r, ql_jbuf *b, ql_jval *out);
uint16_t ql_jorigin_at(const ql_jstr *s, size_t i);
QL_NODISCARD ql_status ql_jsubstr(ql_jrun *r, const ql_jstr *s, size_t from, size_t n,
                                  ql_jval *out);
QL_NODISCARD ql_status ql_jtext(ql_jrun *r, const char *s, uint16_t origin, ql_jval *out);
bool ql_jstr_is(const ql_jstr *s, const char *text);
int ql_jstr_compare(const ql_jstr *a, const ql_jstr *b);
/* Place of `needle` in s at or after `from`; SIZE_MAX = nowhere. */
size_t ql_jstr_find(const ql_jstr *s, size_t from, const ql_jstr *needle);
/* Code points: bytes of the one at s[i], their number, the offset of number k. */
size_t ql_jpoint_len(const ql_jstr *s, size_t i);
size_t ql_jpoints(const ql_jstr *s);
size_t ql_jpoint_offset(const ql_jstr *s, size_t k);
/* str(v) and repr(v). */
QL_NODISCARD ql_status ql_jput_str(ql_jrun *r, ql_jbuf *b, ql_jval v);
QL_NODISCARD ql_status ql_jput_repr(ql_jrun *r, ql_jbuf *b, ql_jval v);
QL_NODISCARD ql_status ql_jto_str(ql_jrun *r, ql_jval v, const ql_jstr **out);
QL_NODISCARD ql_status ql_jput_float(ql_jrun *r, ql_jbuf *b, double f, uint16_t origin);

/* ---------------------------------------------------- values (jinja_value.c) */

#define QL_JNULL ((ql_jval){.kind = QL_JNONE})
ql_jval ql_jbool(bool b);
ql_jval ql_jint(int64_t i);
ql_jval ql_jfloat(double f);
ql_jval ql_jstring(const ql_jstr *s);
const char *ql_jtype(ql_jval v); /* as Python calls it */
QL_NODISCARD ql_status ql_jlist_new(ql_jrun *r, ql_jshape shape, ql_jlist **out);
QL_NODISCARD ql_status ql_jlist_push(ql_jrun *r, ql_jlist *l, ql_jval v);
ql_jval ql_jlist_value(ql_jlist *l);
QL_NODISCARD ql_status ql_jpair(ql_jrun *r, ql_jval a, ql_jval b, ql_jval *out);
QL_NODISCARD ql_status ql_jdict_new(ql_jrun *r, ql_jdict **out);
QL_NODISCARD ql_status ql_jdict_set(ql_jrun *r, ql_jdict *d, ql_jval key, ql_jval value);
/* *at = SIZE_MAX when the key is not there. */
QL_NODISCARD ql_status ql_jdict_find(ql_jrun *r, const ql_jdict *d, ql_jval key, size_t *at);
size_t ql_jdict_find_text(const ql_jdict *d, const char *key);
bool ql_jtruth(ql_jval v);
bool ql_jis_number(ql_jval v);  /* bool, int, float */
bool ql_jis_integer(ql_jval v); /* bool, int */
int64_t ql_jas_int(ql_jval v);
double ql_jas_float(ql_jval v);
QL_NODISCARD ql_status ql_jequal(ql_jrun *r, ql_jval a, ql_jval b, bool *out);
/* < 0, 0, > 0; types that Python does not order are refused. */
QL_NODISCARD ql_status ql_jorder(ql_jrun *r, ql_jval a, ql_jval b, int *out);
QL_NODISCARD ql_status ql_jcontains(ql_jrun *r, ql_jval in, ql_jval v, bool *out);
/* Items of anything that can be iterated; a generator is empty afterwards. */
QL_NODISCARD ql_status ql_jiterate(ql_jrun *r, ql_jval v, ql_jlist **out);
QL_NODISCARD ql_status ql_jlength(ql_jrun *r, ql_jval v, int64_t *out);
/* The failure that an undefined value is where it must not be. */
#define QL_JUNDEFINED_ERROR(r, v) (ql_jundefined_at((r), (v)), QL_ERR_FORMAT)
void ql_jundefined_at(const ql_jrun *r, ql_jval v);

/* --------------------------------------- JSON and context (jinja_json.c) */

QL_NODISCARD ql_status ql_jfrom_json(ql_jrun *r, const json_t *j, uint16_t origin, ql_jval *out);
QL_NODISCARD ql_status ql_jfrom_var(ql_jrun *r, const ql_jinja_var *var, ql_jval *out);
QL_NODISCARD ql_status ql_jfilter_tojson(ql_jrun *r, ql_jval v, const ql_jargs *a, ql_jval *out);

/* ------------------------------------------ evaluation (jinja_eval.c, jinja_exec.c) */

QL_NODISCARD ql_status ql_jeval(ql_jrun *r, const ql_jnode *n, ql_jval *out);
QL_NODISCARD ql_status ql_jexec(ql_jrun *r, const ql_jnode *n, ql_jbuf *out);
QL_NODISCARD ql_status ql_jarguments(ql_jrun *r, const ql_jnode *n, ql_jargs *out);
QL_NODISCARD ql_status ql_jbinary(ql_jrun *r, ql_jop op, ql_jval a, ql_jval b, ql_jval *out);
QL_NODISCARD ql_status ql_jattribute(ql_jrun *r, ql_jval v, const ql_jstr *name, ql_jval *out);
QL_NODISCARD ql_status ql_jitem(ql_jrun *r, ql_jval v, ql_jval key, ql_jval *out);
QL_NODISCARD ql_status ql_jslice(ql_jrun *r, ql_jval v, const ql_jval part[3], ql_jval *out);
QL_NODISCARD ql_status ql_jcall(ql_jrun *r, ql_jval f, const ql_jargs *a, ql_jval *out);
QL_NODISCARD ql_status ql_jcall_macro(ql_jrun *r, const ql_jfunction *f, const ql_jargs *a,
                                      ql_jval *out);
QL_NODISCARD ql_status ql_jrun_loop(ql_jrun *r, const ql_jnode *n, ql_jscope *around, ql_jval over,
                                    int depth, ql_jbuf *out);
QL_NODISCARD ql_status ql_jloop_attribute(ql_jrun *r, ql_jloop *loop, const ql_jstr *name,
                                          ql_jval *out, bool *found);

/* -------------------------------------------------- what is called by name */

QL_NODISCARD ql_status ql_jfilter(ql_jrun *r, const ql_jstr *name, ql_jval v, const ql_jargs *a,
                                  ql_jval *out);
bool ql_jfilter_exists(const ql_jstr *name);
QL_NODISCARD ql_status ql_jtest(ql_jrun *r, const ql_jstr *name, ql_jval v, const ql_jargs *a,
                                bool *out);
/* *found = false: the value has no such method. */
QL_NODISCARD ql_status ql_jmethod(ql_jrun *r, ql_jval v, const ql_jstr *name, ql_jval *out,
                                  bool *found);
QL_NODISCARD ql_status ql_jglobal(ql_jrun *r, const ql_jstr *name, ql_jval *out, bool *found);

/* Tables that end with a NULL name. */
typedef struct ql_jnamed_function {
    const char *name;
    ql_jbuiltin call;
} ql_jnamed_function;
const ql_jnamed_function *ql_jfind_function(const ql_jnamed_function *table, const ql_jstr *name);
extern const ql_jnamed_function ql_jfilters_choose[], ql_jfilters_order[], ql_jfilters_text[];
extern const ql_jnamed_function ql_jmethods_text[], ql_jmethods_split[];
/* item.a.0.b of an attribute given as "a.0.b" or as a number. */
QL_NODISCARD ql_status ql_jpath(ql_jrun *r, ql_jval item, ql_jval path, ql_jval *out);
/* Upper, lower or title case of every letter; capital: of the first one. */
typedef enum ql_jcase { QL_JCASE_UPPER, QL_JCASE_LOWER, QL_JCASE_CAPITAL, QL_JCASE_SWAP } ql_jcase;
QL_NODISCARD ql_status ql_jput_case(ql_jrun *r, ql_jbuf *b, const ql_jstr *s, size_t from, size_t n,
                                    ql_jcase how);
QL_NODISCARD ql_status ql_jsplit_lines(ql_jrun *r, const ql_jstr *s, bool keep, ql_jlist **out);
QL_NODISCARD ql_status ql_jreplace(ql_jrun *r, const ql_jstr *s, const ql_jstr *old,
                                   const ql_jstr *with, int64_t most, ql_jval *out);
/* s without white space, or without the characters of `chars` (NULL = white space). */
QL_NODISCARD ql_status ql_jstrip(ql_jrun *r, const ql_jstr *s, const ql_jstr *chars, bool left,
                                 bool right, ql_jval *out);
QL_NODISCARD ql_status ql_jjoin(ql_jrun *r, const ql_jstr *separator, const ql_jlist *l,
                                bool strict, ql_jval *out);
QL_NODISCARD ql_status ql_jmethod_format(ql_jrun *r, ql_jval self, const ql_jargs *a, ql_jval *out);
/* text % values. */
QL_NODISCARD ql_status ql_jpercent(ql_jrun *r, const ql_jstr *s, ql_jval values,
                                   const ql_jargs *named, ql_jval *out);

/* Binds arguments to the parameters named in `spec`, separated by spaces, of which the first
 * `required` must come; others keep what out[] holds. */
QL_NODISCARD ql_status ql_jbind(ql_jrun *r, const char *what, const ql_jargs *a, const char *spec,
                                size_t required, ql_jval *out);
/* The same for one text, or one whole number. */
QL_NODISCARD ql_status ql_jneed_str(ql_jrun *r, const char *what, ql_jval v, const ql_jstr **out);
QL_NODISCARD ql_status ql_jneed_int(ql_jrun *r, const char *what, ql_jval v, int64_t *out);

#endif
