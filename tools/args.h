/*
 * args.h - flags of a command as a table: parsing, checking, defaults and the --help text.
 *
 * Every flag fills one field of the command's option struct. Long flags take underscores or
 * hyphens, their value follows or stands behind '='. Booleans take true/false (yes/no, on/off, 1/0)
 * or nothing. Failures are QL_ERR_INVALID with a sentence in ql_last_error().
 */
#ifndef QLORA_TOOLS_ARGS_H
#define QLORA_TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "qlora/status.h"

typedef enum ql_arg_kind {               /* and the type of the field                    */
                           QL_ARG_BOOL,  /* bool                           */
                           QL_ARG_INT,   /* int64_t                        */
                           QL_ARG_REAL,  /* double                         */
                           QL_ARG_SIZE,  /* uint64_t bytes: 512M 8G 1.5GiB */
                           QL_ARG_TEXT,  /* const char *                   */
                           QL_ARG_CHOICE /* const char *, one of `choices` */
} ql_arg_kind;

enum {
    QL_ARG_REQUIRED = 1,
    QL_ARG_POSITIONAL = 2, /* also taken without its name, in the table's order */
    QL_ARG_ADVANCED = 4    /* listed by --help all only                         */
};

typedef struct ql_arg {
    const char *name; /* "max_new_tokens"                                              */
    const char *also; /* other spellings with their dashes: "-m --model"; NULL = none  */
    ql_arg_kind kind;
    unsigned flags;
    size_t at;            /* offset of the field in the option struct                      */
    const char *fallback; /* default, written like a value; NULL = zero, NULL, false       */
    const char *value;    /* word for the value in --help; NULL = by kind                  */
    const char *choices;  /* "bnb qlora"; behind a '|': known, not available yet           */
    double lo, hi;        /* range of INT and REAL; both 0 = any                           */
    const char *help;
} ql_arg;

/* Several tables that are searched in order, each with the struct it fills. */
typedef struct ql_arg_table {
    const ql_arg *args;
    size_t n;
    void *opts;
    bool *given; /* [n], set where the user gave a value; NULL = not wanted */
} ql_arg_table;

/* Writes every default. */
QL_NODISCARD ql_status ql_args_defaults(const ql_arg_table *tables, size_t n_tables);
/* Parses argv[0..argc). Text values borrow from argv. *help: 0 = not asked for, 1 = --help,
 * 2 = --help all; then required flags are not checked. */
QL_NODISCARD ql_status ql_args_parse(const ql_arg_table *tables, size_t n_tables, int argc,
                                     char **argv, int *help);
/* Sets one flag by name from text (also what reads a value from a file). `flag` is what the
 * sentence calls it. */
QL_NODISCARD ql_status ql_arg_set(const ql_arg *a, void *opts, const char *flag, const char *text);
/* The flag called `name` ("-m", "model_name_or_path", "model-name-or-path"); NULL = none. */
const ql_arg *ql_arg_find(const ql_arg *args, size_t n, const char *name);

/* One line per flag: spellings, help, default. */
void ql_args_help(FILE *f, const ql_arg *args, size_t n, bool all);

/* The name among `names` (separated by spaces) nearest to `word`, copied into out[size]; false when
 * none is near. Hyphens count as underscores. */
bool ql_nearest_name(const char *names, const char *word, char *out, size_t size);
/* Is `word` one of the names separated by spaces? */
bool ql_names_have(const char *names, const char *word);

#endif /* QLORA_TOOLS_ARGS_H */
