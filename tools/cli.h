/*
 * cli.h - what a command is: one row of the table in qlora.c and one file tools/cmd_<name>.c.
 *
 * The row is a ql_command: its flags, its help text and its function. The framework parses the
 * flags into the command's option struct, opens the message channels, runs the function and turns
 * its result into the exit status.
 */
#ifndef QLORA_TOOLS_CLI_H
#define QLORA_TOOLS_CLI_H

#include <stdint.h>

#include "qlora/backend.h"
#include "tools/args.h"
#include "tools/out.h"

#define QL_CLI_MAX_ARGS   128
#define QL_CLI_MAX_COMMON 16

typedef struct ql_cli ql_cli;

typedef struct ql_command {
    const char *name;
    const char *summary;  /* one sentence for the list of commands and the head of --help    */
    const char *usage;    /* behind "usage: qlora <name>"                                    */
    const char *about;    /* more for --help, lines of its own; NULL = nothing               */
    const char *examples; /* lines that begin with two spaces; NULL = none                   */
    const ql_arg *args;
    size_t n_args; /* at most QL_CLI_MAX_ARGS                                         */
    size_t opts_bytes;
    ql_exit (*run)(ql_cli *cli, void *opts);
} ql_command;

/* State of one run: the flags that every command takes and the message channels. */
struct ql_cli {
    const ql_command *command;
    ql_out out;
    const char *device; /* "auto", "cpu", "cuda:0" ...                                       */
    int64_t threads;    /* 0 = all cores that the process may use                            */
    int64_t seed;
    bool json, quiet, print_config;
    const char *color, *config;
    bool given[QL_CLI_MAX_ARGS]; /* by index of command->args                                */
    const ql_arg *common;        /* the flags that every command takes                       */
    size_t n_common;
    bool common_given[QL_CLI_MAX_COMMON];
};

/* The two tables of a run: the command's flags, the common ones. `opts` is the command's struct. */
enum { QL_CLI_TABLES = 2 };
void ql_cli_tables(const ql_cli *cli, const void *opts, ql_arg_table out[QL_CLI_TABLES]);

/* Did the user give this flag of the command? */
bool ql_cli_given(const ql_cli *cli, const char *name);
/* Opens the device of --device with --threads; `mem_limit` 0 = none. Failures belong to
 * QL_STAGE_DEVICE. Close with (*out)->backend->device_close(*out). */
QL_NODISCARD ql_status ql_cli_open_device(const ql_cli *cli, uint64_t mem_limit, ql_device **out);

/* The commands, one per file. */
extern const ql_command ql_cmd_bench;
extern const ql_command ql_cmd_data;
extern const ql_command ql_cmd_eval;
extern const ql_command ql_cmd_generate;
extern const ql_command ql_cmd_info;
extern const ql_command ql_cmd_loftq;
extern const ql_command ql_cmd_merge;
extern const ql_command ql_cmd_plan;
extern const ql_command ql_cmd_quantize;
extern const ql_command ql_cmd_report;
extern const ql_command ql_cmd_selftest;
extern const ql_command ql_cmd_template;
extern const ql_command ql_cmd_tokenize;
extern const ql_command ql_cmd_train;
extern const ql_command ql_cmd_verify;

#endif /* QLORA_TOOLS_CLI_H */
