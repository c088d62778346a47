/* cli.c - what commands share: which flags were given, and the device they work on. */
#include "tools/cli.h"

#include "core/device/device.h"

bool ql_cli_given(const ql_cli *cli, const char *name) {
    const ql_arg *a = ql_arg_find(cli->command->args, cli->command->n_args, name);
    return a && cli->given[a - cli->command->args];
}

ql_status ql_cli_open_device(const ql_cli *cli, uint64_t mem_limit, ql_device **out) {
    const ql_device_opts opts = {.threads = (int)cli->threads, .mem_limit = mem_limit};
    return ql_device_open_named(cli->device, &opts, out);
}
