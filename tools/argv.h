/*
 * argv.h - the command line: words become values of flags.
 *
 * Long flags take underscores or hyphens; their value follows or stands behind '='. A boolean may
 * stand alone. Reading and storing are two steps, so that files of settings that the line names can
 * be stored in between and the line wins.
 */
#ifndef QLORA_TOOLS_ARGV_H
#define QLORA_TOOLS_ARGV_H

#include "tools/args.h"
#include "tools/spelling.h"

typedef struct ql_argv {
    ql_arg_value *values; /* in the order of the line */
    size_t n;
    int help; /* 0 = not asked for, 1 = --help, 2 = --help all */
} ql_argv;

/* Reads argv[0..argc); texts borrow from it and from sp->arena. Stops at --help. */
QL_NODISCARD ql_status ql_argv_read(const ql_arg_table *tables, size_t n_tables, int argc,
                                    char **argv, ql_spellings *sp, ql_argv *out);
/* Reads and stores a line without files of settings and checks that nothing is missing. */
QL_NODISCARD ql_status ql_args_parse(const ql_arg_table *tables, size_t n_tables, int argc,
                                     char **argv, ql_spellings *sp, int *help);

#endif /* QLORA_TOOLS_ARGV_H */
