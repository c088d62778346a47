/*
 * template_internal.h - how a chat template is described: constant texts around each role.
 *
 * In these texts MARK("x") is the control mark x, BOS and EOS stand for the tokenizer's own.
 * The control bytes 1 to 4 are markup only here: contents are copied as they are.
 */
#ifndef QLORA_CORE_DATA_TEMPLATE_INTERNAL_H
#define QLORA_CORE_DATA_TEMPLATE_INTERNAL_H

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

struct ql_template {
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

#endif
