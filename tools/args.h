/*
 * args.h - flags of a command as a table: checking, defaults and the --help text. The command line
 * is read by argv.h, files of settings by config.h.
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
#include "tools/names.h"

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
    QL_ARG_ADVANCED = 4,   /* listed by --help all only                         */
    QL_ARG_LIST = 8,       /* TEXT: a list in a file of settings is joined by commas */
    QL_ARG_MAP = 16,       /* TEXT: a mapping there becomes JSON                     */
    QL_ARG_SESSION = 32    /* about this call, not the work: not in written settings */
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

/* A place among the tables. */
typedef struct ql_arg_ref {
    const ql_arg_table *table;
    const ql_arg *arg;
} ql_arg_ref;

/* A value on its way to its flag. */
typedef struct ql_arg_value {
    ql_arg_ref to;
    const char *flag; /* what sentences call it */
    const char *text;
} ql_arg_value;

/* Writes every default. */
QL_NODISCARD ql_status ql_args_defaults(const ql_arg_table *tables, size_t n_tables);
/* The flag called `name` in the first table that has it. */
bool ql_args_find(const ql_arg_table *tables, size_t n_tables, const char *name, ql_arg_ref *out);
/* The name nearest to a plain one (ql_plain_name); NULL = none is near. */
const char *ql_args_nearest(const ql_arg_table *tables, size_t n_tables, const char *plain);
/* Does the text say what the default says? */
bool ql_arg_is_default(const ql_arg *a, const char *text);
/* Sets the flag and marks it as given. */
QL_NODISCARD ql_status ql_arg_store(const ql_arg_value *v);
/* Was everything given that must be? */
QL_NODISCARD ql_status ql_args_check_required(const ql_arg_table *tables, size_t n_tables);
/* Sets one flag by name from text (also what reads a value from a file). `flag` is what the
 * sentence calls it. */
QL_NODISCARD ql_status ql_arg_set(const ql_arg *a, void *opts, const char *flag, const char *text);
/* The flag called `name` ("-m", "model_name_or_path", "model-name-or-path"); NULL = none. */
const ql_arg *ql_arg_find(const ql_arg *args, size_t n, const char *name);

/* Is it a word for yes or no (any case)? */
bool ql_text_is_bool(const char *text, bool *out);

/* One line per flag: spellings, help, default. */
void ql_args_help(FILE *f, const ql_arg *args, size_t n, bool all);

#endif /* QLORA_TOOLS_ARGS_H */
