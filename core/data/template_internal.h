/*
 * template_internal.h - how a chat template is described: constant texts around each role.
 *
 * In these texts MARK("x") is the control mark x, BOS and EOS stand for the tokenizer's own.
 * The control bytes 1 to 4 are markup only here: contents are copied as they are.
 */
#ifndef QLORA_CORE_DATA_TEMPLATE_INTERNAL_H
#define QLORA_CORE_DATA_TEMPLATE_INTERNAL_H

#include "core/data/jinja.h"
#include "core/data/template.h"

#define MARK_BEGIN '\1'
#define MARK_END   '\2'
#define BOS_CODE   '\3'
#define EOS_CODE   '\4'
#define MARK(s)    "\1" s "\2"
#define BOS        "\3"
#define EOS        "\4"

enum {
    TRIM_CONTENTS = 1,   /* white space around contents goes                         */
    MUST_ALTERNATE = 2,  /* user, assistant, user, ... (after the system text)       */
    FOLD_SYSTEM = 4,     /* the system text stands inside the first user turn        */
    SYSTEM_ANYWHERE = 8, /* a system turn may come later than first                  */
    ALWAYS_PROMPT = 16   /* the generation prompt is written even when not asked for */
};

/* Of a template that was opened: its text, compiled, and what it is rendered with. */
typedef struct ql_own_template {
    ql_jinja *jinja;
    char *name, *stop;
    json_t *kwargs; /* NULL = none */
    int64_t now;
    const ql_tokenizer *tok;
    const char **marks; /* control marks, borrowed from the tokenizer; sorted by their first byte */
    size_t n_marks, marks_cap;
} ql_own_template;

struct ql_template {
    bool opened;          /* by ql_template_open                                            */
    ql_own_template *own; /* NULL = one of the named ones, described below                  */
    const char *name;
    unsigned flags;
    const char *stop;           /* mark that ends an answer; "" = EOS                       */
    const char *start;          /* once, in front of everything                             */
    const char *default_system; /* content of the system turn when there is none; or NULL   */
    const char *system[2];      /* before and after the content; NULL = no system turns     */
    const char *user[2];        /* before and after the content                             */
    const char *assistant;      /* before an answer, not learned                            */
    const char *lead;           /* learned text in front of the content                     */
    const char *tail;           /* learned text and marks after it                          */
    const char *after;          /* what follows the answer, not learned                     */
    const char *prompt;         /* the generation prompt                                    */
};

/* Text and spans under construction. */
typedef struct ql_span_writer {
    ql_rendered r;
    size_t text_cap, span_cap;
    const char *bos, *eos;
} ql_span_writer;
/* Neighbouring text of the same turn becomes one span, a mark is always one of its own. */
QL_NODISCARD ql_status ql_span_put(ql_span_writer *w, const char *s, size_t len, size_t turn,
                                   bool mark);

/* Renders the first `n` messages by the model's own template. */
QL_NODISCARD ql_status ql_own_text(const ql_own_template *t, const ql_chat *chat, size_t n,
                                   bool prompt, ql_jinja_output *out);
QL_NODISCARD ql_status ql_own_render(const ql_own_template *t, const ql_chat *chat,
                                     ql_rendered *out);
/* Length of the control mark that s[0..len) begins with; 0 = none. */
size_t ql_own_mark(const ql_own_template *t, const ql_chat *chat, const char *s, size_t len);
/* Is this the mark that ends a turn? */
bool ql_own_stops(const ql_chat *chat, const char *s, size_t len);
/* Whose answer each byte is: turn[i] = number of the message, from 1, or 0. */
QL_NODISCARD ql_status ql_own_answers(const ql_own_template *t, const ql_chat *chat,
                                      const ql_jinja_output *whole, size_t *turn, bool *closed);

#endif
