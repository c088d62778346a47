/* cli.c - what commands share: which flags were given, and the device they work on. */
#include "tools/cli.h"

#include "core/device/device.h"

bool ql_cli_given(const ql_cli *cli, const char *name) {
    const ql_arg *a = ql_arg_find(cli->command->args, cli->command->n_args, name);
    return a && cli->given[a - cli->command->args];
}

/* Tables write through pointers that are const to those who only read. */
void ql_cli_tables(const ql_cli *cli, const void *opts, ql_arg_table out[QL_CLI_TABLES]) {
    ql_cli *self = (ql_cli *)(uintptr_t)cli;
    out[0] = (ql_arg_table){cli->command->args, cli->command->n_args, (void *)(uintptr_t)opts,
                            self->given};
    out[1] = (ql_arg_table){cli->common, cli->n_common, self, self->common_given};
}

ql_status ql_cli_open_device(const ql_cli *cli, uint64_t mem_limit, ql_device **out) {
    const ql_device_opts opts = {.threads = (int)cli->threads, .mem_limit = mem_limit};
    return ql_device_open_named(cli->device, &opts, out);
}
