/*
 * fuzz_config.c - files of settings: read as YAML, then as the keys of a small table. A tree that
 * was read is within its bounds, and what was set is within the flags'.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tools/config.h"
#include "tools/yaml.h"

typedef struct options {
    bool flag;
    int64_t n;
    double x;
    uint64_t mem;
    const char *text, *choice, *list, *map;
} options;

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "packing", .kind = QL_ARG_BOOL, .at = OF(flag), .help = ""},
    {.name = "bits", .kind = QL_ARG_INT, .at = OF(n), .lo = 1, .hi = 16, .fallback = "4"},
    {.name = "learning_rate", .kind = QL_ARG_REAL, .at = OF(x), .lo = 0, .hi = 1},
    {.name = "mem", .kind = QL_ARG_SIZE, .at = OF(mem)},
    {.name = "prompt", .kind = QL_ARG_TEXT, .at = OF(text)},
    {.name = "optim",
     .kind = QL_ARG_CHOICE,
     .at = OF(choice),
     .choices = "adamw paged_adamw_32bit|sgd",
     .fallback = "adamw"},
    {.name = "lora_target_modules", .kind = QL_ARG_TEXT, .flags = QL_ARG_LIST, .at = OF(list)},
    {.name = "rank_pattern", .kind = QL_ARG_TEXT, .flags = QL_ARG_MAP, .at = OF(map)},
};
enum { N_ARGS = sizeof args / sizeof *args };

/* Counts the nodes without recursion: children are walked from an explicit stack. */
static void check_tree(const ql_yaml *root) {
    const ql_yaml *stack[QL_YAML_MAX_DEPTH + 1];
    size_t depth = 0, nodes = 0;
    stack[depth++] = root;
    while (depth > 0) {
        const ql_yaml *y = stack[depth - 1];
        if (!y) {
            depth--;
            continue;
        }
        stack[depth - 1] = y->next;
        if (++nodes > QL_YAML_MAX_NODES || y->line < 1 || y->column < 1) abort();
        if (y->kind == QL_YAML_SCALAR) fuzz_use(y->text, strlen(y->text));
        if (y->kind != QL_YAML_SCALAR && depth <= QL_YAML_MAX_DEPTH) stack[depth++] = y->first;
    }
}

static void check_options(const options *o) {
    if (o->n < 1 || o->n > 16 || !(o->x >= 0 && o->x <= 1)) abort();
    if (strcmp(o->choice, "adamw") != 0 && strcmp(o->choice, "paged_adamw_32bit") != 0) abort();
    const char *const texts[] = {o->text, o->list, o->map};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i]) fuzz_use(texts[i], strlen(texts[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ql_spellings sp = {.n_notes = 0};
    options o = {.flag = false};
    bool given[N_ARGS] = {false};
    ql_yaml *root;
    const ql_arg_table table = {args, N_ARGS, &o, given};
    const ql_config_scope scope = {.command = "train", .tables = &table, .n_tables = 1, .sp = &sp};
    if (ql_yaml_parse((const char *)data, size, "input", &sp.arena, &root) == QL_OK)
        check_tree(root);
    if (ql_args_defaults(&table, 1) != QL_OK) abort();
    if (ql_config_apply(&scope, (const char *)data, size, "input") == QL_OK) check_options(&o);
    ql_spellings_free(&sp);
    return 0;
}
