/*
 * problem.h - what can be wrong with a row of training data: kinds that people and scripts name.
 *
 * A refusal carries its kind beside its sentence, per thread, like ql_last_error().
 */
#ifndef QLORA_CORE_DATA_PROBLEM_H
#define QLORA_CORE_DATA_PROBLEM_H

#include <stdbool.h>

#include "qlora/status.h"

typedef enum ql_problem {
    QL_PROBLEM_ROW,             /* a refusal without a kind of its own                       */
    QL_PROBLEM_JSON,            /* a line or element that is not JSON                        */
    QL_PROBLEM_UTF8,            /* bytes that are not UTF-8                                  */
    QL_PROBLEM_TABLE,           /* CSV or TSV: quotes, number of fields                      */
    QL_PROBLEM_KEYS,            /* no object, or keys that fit no format                     */
    QL_PROBLEM_FORMAT,          /* the row has the format of other rows than the first       */
    QL_PROBLEM_MISSING_KEY,     /* a key that the format needs is absent or null             */
    QL_PROBLEM_TYPE,            /* a value of the wrong type                                 */
    QL_PROBLEM_EMPTY_ANSWER,    /* an answer of nothing but white space                      */
    QL_PROBLEM_EMPTY_PROMPT,    /* a question of nothing but white space                     */
    QL_PROBLEM_NO_ANSWER,       /* a conversation in which the assistant says nothing        */
    QL_PROBLEM_ROLE,            /* a role that is not known                                  */
    QL_PROBLEM_TURNS,           /* turns in an order that no template means                  */
    QL_PROBLEM_TEMPLATE,        /* the template refuses the conversation, or does not fit    */
    QL_PROBLEM_TEMPLATE_MARKER, /* a control mark written inside a text                      */
    QL_PROBLEM_ECHO,            /* the answer repeats the question                           */
    QL_PROBLEM_ENCODING,        /* control characters, U+FFFD, twice-encoded UTF-8           */
    QL_PROBLEM_TOO_LONG,        /* longer than the limit                                     */
    QL_PROBLEM_TRUNCATED,       /* cut at the limit                                          */
    QL_PROBLEM_NO_EOS,          /* the last learned token does not end an answer             */
    QL_PROBLEM_EMPTY_MASK,      /* no token is learned                                       */
    QL_PROBLEM_DOUBLE_BOS,      /* two start tokens in front                                 */
    QL_PROBLEM_VOCABULARY,      /* ids outside the model's vocabulary                        */
    QL_PROBLEM_LABELS,          /* labels that do not belong to the ids                      */
    QL_PROBLEM_CLASS,           /* a class that does not exist, names among numbers          */
    QL_PROBLEM_CONFLICT,        /* the same text with another class                          */
    QL_PROBLEM_DUPLICATE,       /* the same as an earlier row                                */
    QL_PROBLEM_OVERLAP,         /* a row of the evaluation set                               */
    QL_PROBLEM_COUNT
} ql_problem;

const char *ql_problem_name(ql_problem kind);            /* "too-long"             */
bool ql_problem_find(const char *name, ql_problem *out); /* underscores count as '-' */
const char *ql_problem_names(void);                      /* separated by spaces    */

/* Kind of this thread's latest refusal. Cleared before a row is read. */
ql_problem ql_problem_last(void);
void ql_problem_note(ql_problem kind);

/* Refuses a row: the kind and QL_FAIL's sentence. */
#define QL_REFUSE(kind, ...) (ql_problem_note(kind), QL_FAIL(QL_ERR_FORMAT, __VA_ARGS__))

#endif
