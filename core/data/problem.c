/* problem.c - names of the kinds, and the kind of the latest refusal (see problem.h). */
#include "core/data/problem.h"

#include <string.h>

static _Thread_local ql_problem last;

static const char *const NAMES[QL_PROBLEM_COUNT] = {
    [QL_PROBLEM_ROW] = "row",
    [QL_PROBLEM_JSON] = "json",
    [QL_PROBLEM_UTF8] = "utf8",
    [QL_PROBLEM_TABLE] = "table",
    [QL_PROBLEM_KEYS] = "keys",
    [QL_PROBLEM_FORMAT] = "format",
    [QL_PROBLEM_MISSING_KEY] = "missing-key",
    [QL_PROBLEM_TYPE] = "wrong-type",
    [QL_PROBLEM_EMPTY_ANSWER] = "empty-answer",
    [QL_PROBLEM_EMPTY_PROMPT] = "empty-prompt",
    [QL_PROBLEM_NO_ANSWER] = "no-answer",
    [QL_PROBLEM_ROLE] = "role",
    [QL_PROBLEM_TURNS] = "turn-order",
    [QL_PROBLEM_TEMPLATE] = "template",
    [QL_PROBLEM_TEMPLATE_MARKER] = "template-marker",
    [QL_PROBLEM_ECHO] = "echo",
    [QL_PROBLEM_ENCODING] = "encoding",
    [QL_PROBLEM_TOO_LONG] = "too-long",
    [QL_PROBLEM_TRUNCATED] = "truncated",
    [QL_PROBLEM_NO_EOS] = "no-eos",
    [QL_PROBLEM_EMPTY_MASK] = "empty-mask",
    [QL_PROBLEM_DOUBLE_BOS] = "double-bos",
    [QL_PROBLEM_VOCABULARY] = "vocabulary",
    [QL_PROBLEM_LABELS] = "labels",
    [QL_PROBLEM_CLASS] = "class",
    [QL_PROBLEM_CONFLICT] = "conflict",
    [QL_PROBLEM_DUPLICATE] = "duplicate",
    [QL_PROBLEM_OVERLAP] = "overlap",
};

const char *ql_problem_name(ql_problem kind) {
    return (unsigned)kind < QL_PROBLEM_COUNT ? NAMES[kind] : "row";
}

const char *ql_problem_names(void) {
    return "json utf8 table keys format missing-key wrong-type empty-answer empty-prompt no-answer "
           "role turn-order template template-marker echo encoding too-long truncated no-eos "
           "empty-mask double-bos vocabulary labels class conflict duplicate overlap row";
}

static bool same(const char *a, const char *b) {
    for (; *a && (*a == '_' ? '-' : *a) == *b; a++) b++;
    return *a == *b;
}

bool ql_problem_find(const char *name, ql_problem *out) {
    for (int i = 0; i < QL_PROBLEM_COUNT; i++) {
        if (!same(name, NAMES[i])) continue;
        *out = (ql_problem)i;
        return true;
    }
    return false;
}

ql_problem ql_problem_last(void) {
    return last;
}

void ql_problem_note(ql_problem kind) {
    last = kind;
}
