/*
 * qlora.c - main(): finds the command, parses its flags, runs it, answers --help and --version.
 *
 * To add a command: write tools/cmd_<name>.c with one ql_command, declare it in cli.h and add it to
 * `commands` below and to CMakeLists.txt.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/log.h"
#include "qlora/version.h"
#include "tools/argv.h"
#include "tools/cli.h"
#include "tools/config.h"
#include "tools/config_text.h"
#include "tools/known.h"
#include "tools/spin.h"

static const ql_command *const commands[] = {
    &ql_cmd_info,     &ql_cmd_quantize, &ql_cmd_plan,     &ql_cmd_train,    &ql_cmd_eval,
    &ql_cmd_generate, &ql_cmd_merge,    &ql_cmd_tokenize, &ql_cmd_template, &ql_cmd_report,
    &ql_cmd_verify,   &ql_cmd_selftest, &ql_cmd_bench,    &ql_cmd_loftq,    &ql_cmd_data,
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

#define OF(field) offsetof(ql_cli, field)
static const ql_arg common_args[] = {
    {.name = "device",
     .kind = QL_ARG_TEXT,
     .at = OF(device),
     .fallback = "auto",
     .value = "D",
     .help = "cpu, opencl:0, opencl:NAME or another device that `qlora info` lists"},
    {.name = "threads",
     .also = "-t",
     .kind = QL_ARG_INT,
     .at = OF(threads),
     .fallback = "0",
     .lo = 0,
     .hi = 1024,
     .help = "threads of the CPU device, 0 = all cores"},
    {.name = "seed",
     .kind = QL_ARG_INT,
     .at = OF(seed),
     .fallback = "0",
     .lo = 0,
     .hi = 0x1p53,
     .help = "seed of every random draw"},
    {.name = "config",
     .also = "-c",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_SESSION,
     .at = OF(config),
     .value = "FILE",
     .help = "settings in YAML under the flags' names; flags override them"},
    {.name = "print_config",
     .kind = QL_ARG_BOOL,
     .flags = QL_ARG_SESSION,
     .at = OF(print_config),
     .help = "print all settings as such a file and stop"},
    {.name = "json",
     .kind = QL_ARG_BOOL,
     .flags = QL_ARG_SESSION,
     .at = OF(json),
     .help = "one JSON document on stdout, messages on stderr"},
    {.name = "quiet",
     .also = "-q",
     .kind = QL_ARG_BOOL,
     .flags = QL_ARG_SESSION,
     .at = OF(quiet),
     .help = "no remarks and no progress"},
    {.name = "color",
     .kind = QL_ARG_CHOICE,
     .flags = QL_ARG_SESSION,
     .at = OF(color),
     .fallback = "auto",
     .choices = "auto always never",
     .help = "coloured messages"},
};
enum { N_COMMON = sizeof common_args / sizeof *common_args };
_Static_assert(N_COMMON <= QL_CLI_MAX_COMMON, "too many common flags");

/* --------------------------------------------------------------------- help */

static void print_usage(FILE *f) {
    fprintf(f, "usage: qlora COMMAND [--flag value]...\n\n"
               "Fine-tune language models on 4-bit weights with low-rank adapters.\n\ncommands:\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    fprintf(f, "  %-10s %s\n", "version", "print the version");
    fprintf(f, "\n`qlora COMMAND --help` describes one command.\n");
}

static void print_command_help(const ql_command *c, bool all) {
    printf("usage: qlora %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->about) printf("%s", c->about);
    printf("\n");
    ql_args_help(stdout, c->args, c->n_args, all);
    printf("\n");
    ql_args_help(stdout, common_args, N_COMMON, all);
    if (c->examples) printf("examples:\n%s", c->examples);
}

static const ql_command *find_command(const char *name) {
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static ql_exit unknown_command(ql_out *out, const char *name) {
    char near[32];
    if (ql_names_have(ql_known_commands(), name)) {
        ql_error(out, "the command '%s' is known, not available in this version", name);
    } else if (name[0] == '-') {
        ql_error(out, "the command comes first: qlora COMMAND %s; `qlora --help` lists them", name);
    } else if (ql_nearest_name(ql_known_commands(), name, near, sizeof near) ||
               ql_nearest_name("info version help", name, near, sizeof near)) {
        ql_error(out, "unknown command '%s'; did you mean '%s'?", name, near);
    } else {
        ql_error(out, "unknown command '%s'; `qlora --help` lists them", name);
    }
    return QL_EXIT_USAGE;
}

/* ------------------------------------------------------------------ running */

static void library_message(void *user, ql_log_level level, const char *message) {
    if (level == QL_LOG_DEBUG) return;
    ql_note(user, "%s%s", level == QL_LOG_WARN ? "warning: " : "", message);
}

/* The files that the line names, in its order. */
static ql_status load_settings(const ql_cli *cli, const ql_arg_table *tables, const ql_argv *line,
                               ql_spellings *sp) {
    ql_arg_table others[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++)
        others[i] = (ql_arg_table){commands[i]->args, commands[i]->n_args, NULL, NULL};
    const ql_config_scope scope = {.command = cli->command->name,
                                   .tables = tables,
                                   .n_tables = QL_CLI_TABLES,
                                   .others = others,
                                   .n_others = N_COMMANDS,
                                   .line = line->values,
                                   .n_line = line->n,
                                   .sp = sp};
    for (size_t i = 0; i < line->n; i++) {
        if (strcmp(line->values[i].to.arg->name, "config") == 0)
            QL_TRY(ql_config_load(&scope, line->values[i].text));
    }
    return QL_OK;
}

/* Defaults, then the environment, then files of settings, then the line. */
static ql_status read_settings(ql_cli *cli, void *opts, int argc, char **argv, ql_spellings *sp,
                               int *help) {
    ql_argv line;
    ql_arg_table tables[QL_CLI_TABLES];
    ql_cli_tables(cli, opts, tables);
    QL_TRY(ql_args_defaults(tables, QL_CLI_TABLES));
    const char *device = getenv("QLORA_DEVICE");
    if (device && *device) cli->device = device;
    QL_TRY(ql_argv_read(tables, QL_CLI_TABLES, argc, argv, sp, &line));
    *help = line.help;
    if (line.help) return QL_OK;
    QL_TRY(load_settings(cli, tables, &line, sp));
    for (size_t i = 0; i < line.n; i++) QL_TRY(ql_arg_store(&line.values[i]));
    return cli->print_config ? QL_OK : ql_args_check_required(tables, QL_CLI_TABLES);
}

static ql_exit print_settings(ql_cli *cli, const void *opts) {
    char *text;
    ql_status s = ql_config_text(cli, opts, cli->json, &text);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    fputs(text, stdout);
    ql_host_free(text);
    return QL_EXIT_OK;
}

static ql_exit run_with(ql_cli *cli, void *opts, int argc, char **argv, ql_spellings *sp) {
    const ql_command *c = cli->command;
    int help = 0;
    ql_status s = read_settings(cli, opts, argc, argv, sp, &help);
    ql_out_init(&cli->out, cli->json, cli->quiet, cli->color);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    if (help) {
        print_command_help(c, help == 2);
        return QL_EXIT_OK;
    }
    for (size_t i = 0; i < sp->n_notes; i++) ql_note(&cli->out, "%s", sp->notes[i]);
    if (cli->print_config) return print_settings(cli, opts);
    ql_log_set_sink(library_message, &cli->out);
    ql_exit code = c->run(cli, opts);
    ql_log_set_sink(NULL, NULL);
    return code;
}

static ql_exit run_command(ql_cli *cli, int argc, char **argv) {
    void *opts = ql_host_calloc(1, cli->command->opts_bytes ? cli->command->opts_bytes : 1);
    if (!opts) {
        ql_error(&cli->out, "out of host memory for the options");
        return QL_EXIT_FAILED;
    }
    ql_spellings sp = {0};
    cli->common = common_args;
    cli->n_common = N_COMMON;
    ql_exit code = run_with(cli, opts, argc, argv, &sp);
    ql_spellings_free(&sp);
    ql_host_free(opts);
    return code;
}

static ql_exit dispatch(ql_cli *cli, int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_usage(stderr);
        return QL_EXIT_USAGE;
    }
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("qlora %s (%s)\n", QL_VERSION, QL_GIT_ID);
        return QL_EXIT_OK;
    }
    bool help = strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (help && argc == 2) {
        print_usage(stdout);
        return QL_EXIT_OK;
    }
    if (help) name = argv[2];
    cli->command = find_command(name);
    if (!cli->command) return unknown_command(&cli->out, name);
    if (help) {
        print_command_help(cli->command, argc > 3 && strcmp(argv[3], "all") == 0);
        return QL_EXIT_OK;
    }
    return run_command(cli, argc - 2, argv + 2);
}

int main(int argc, char **argv) {
    ql_spin_briefly(argv);
    ql_cli cli = {0};
    ql_out_init(&cli.out, false, false, "auto");
    ql_exit code = dispatch(&cli, argc, argv);
    return (int)ql_out_close(&cli.out, code);
}
