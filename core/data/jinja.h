/*
 * jinja.h - the Jinja that chat templates are written in: compile once, render often.
 *
 * What transformers gives a template holds here too: trim_blocks and lstrip_blocks, loop controls,
 * {% generation %}, raise_exception, strftime_now, tojson without HTML, values that nothing can
 * change, plain undefined values. Output equals jinja2 3.1 byte for byte; what is not covered
 * (include, import, blocks, mutating methods) is refused with its line.
 *
 * A template is a program from a stranger: steps, depth, memory and the length of every text are
 * bounded, files and addresses are out of its reach.
 *
 * Every byte of the output knows where it comes from, whatever filters it went through. That is how
 * the loss mask is found and why contents can never become control tokens.
 */
#ifndef QLORA_CORE_DATA_JINJA_H
#define QLORA_CORE_DATA_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_jinja ql_jinja; /* constant after compiling, shared freely between threads */

#define QL_JINJA_MAX_BYTES (1u << 20) /* of a template's text */

/* QL_ERR_FORMAT with the line. `text` is copied. */
QL_NODISCARD ql_status ql_jinja_compile(const char *text, size_t len, ql_jinja **out);
void ql_jinja_free(ql_jinja *j); /* NULL ok */
/* Does the template mark what an assistant says with {% generation %}? */
bool ql_jinja_has_generation(const ql_jinja *j);

typedef struct ql_jinja_limits {
    uint64_t steps; /* nodes evaluated, and a share for every 32 bytes or 8 items looked at */
    size_t bytes;   /* memory of one rendering                                              */
    size_t text;    /* bytes of one string, of the output too                               */
    int depth;      /* of calls and nested expressions                                      */
} ql_jinja_limits;
ql_jinja_limits ql_jinja_limits_default(void);

/* Where a byte of the output comes from: the template's own text, some value, or message i. */
enum {
    QL_ORIGIN_TEMPLATE = 0,
    QL_ORIGIN_DATA = 1,
    QL_ORIGIN_MESSAGE = 2,        /* + index of the message                  */
    QL_ORIGIN_MESSAGES = 30000,   /* so many messages can be told apart      */
    QL_ORIGIN_GENERATION = 0x8000 /* bit: written inside {% generation %}    */
};

/* A variable that the template sees. */
typedef struct ql_jinja_var {
    const char *name;
    const json_t *value;
    enum {
        QL_JINJA_DATA,
        QL_JINJA_TRUSTED, /* counts as the template's own text: bos_token, eos_token             */
        QL_JINJA_MESSAGES /* a list: each item's texts are its own; known roles are trusted      */
    } kind;
} ql_jinja_var;

typedef struct ql_jinja_input {
    const ql_jinja_var *vars;
    size_t n_vars;
    int64_t now; /* strftime_now: seconds since 1970, taken as local time */
    ql_jinja_limits limits;
} ql_jinja_input;

typedef struct ql_jinja_output {
    char *text; /* NUL-terminated */
    size_t len;
    uint16_t *origin; /* [len] */
} ql_jinja_output;
void ql_jinja_output_free(ql_jinja_output *o);

/* QL_ERR_FORMAT with the line: the template refuses (raise_exception), asks for what it may not or
 * what does not exist, or goes past a limit. */
QL_NODISCARD ql_status ql_jinja_render(const ql_jinja *j, const ql_jinja_input *in,
                                       ql_jinja_output *out);

#endif
