/*
 * cmd_selftest.c - `qlora selftest`: every operator of a device against the double-precision
 * reference, on the user's own machine.
 */
#include <string.h>

#include "tests/support/opcases.h"
#include "tools/cli.h"

typedef struct options {
    const char *family;
    int64_t only;
    bool verbose;
} options;

typedef struct totals {
    int64_t passed, skipped, failed;
    json_t *families, *failures;
} totals;

static void tell(ql_cli *cli, const options *o, const ql_opcase_result *r, int family, int index,
                 totals *t) {
    const char *name = ql_opcase_family_name(family);
    if (r->outcome == QL_OPCASE_FAILED) {
        t->failed++;
        ql_print(&cli->out,
                 "FAILED  %s: %s\n        qlora selftest --device %s --family %s --case %d --seed "
                 "%lld\n",
                 r->label, r->message, cli->device, name, index, (long long)cli->seed);
        json_array_append_new(t->failures,
                              json_pack("{s:s, s:i, s:s, s:s}", "family", name, "case", index,
                                        "label", r->label, "message", r->message));
    } else if (r->outcome == QL_OPCASE_SKIPPED) {
        t->skipped++;
        if (o->verbose) ql_print(&cli->out, "skipped %s: %s\n", r->label, r->message);
    } else {
        t->passed++;
        if (o->verbose)
            ql_print(&cli->out, "passed  %s: %s nmse %.2g, limit %.2g\n", r->label, r->operand,
                     r->nmse, r->limit);
    }
}

static void run_family(ql_cli *cli, const options *o, ql_queue *q, int family, totals *t) {
    totals before = *t;
    int n = ql_opcase_count(family);
    const char *name = ql_opcase_family_name(family);
    for (int i = 0; i < n; i++) {
        ql_opcase_result r;
        if (o->only >= 0 && o->only != i) continue;
        ql_opcase_run(q, family, i, (uint64_t)cli->seed, &r);
        tell(cli, o, &r, family, i, t);
        ql_progress(&cli->out, false, "selftest  %s  %d/%d", name, i + 1, n);
    }
    json_int_t passed = t->passed - before.passed, skipped = t->skipped - before.skipped,
               failed = t->failed - before.failed;
    ql_print(&cli->out, "%-8s %4lld passed %4lld skipped %4lld failed\n", name, (long long)passed,
             (long long)skipped, (long long)failed);
    json_object_set_new(
        t->families, name,
        json_pack("{s:I, s:I, s:I}", "passed", passed, "skipped", skipped, "failed", failed));
}

static ql_exit run_on(ql_cli *cli, const options *o, ql_device *dev, int only_family) {
    ql_queue *q;
    ql_status s = dev->backend->queue_create(dev, &q);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    totals t = {.families = json_object(), .failures = json_array()};
    for (int f = 0; f < ql_opcase_family_count(); f++)
        if (only_family < 0 || only_family == f) run_family(cli, o, q, f, &t);
    dev->backend->queue_destroy(q);
    ql_print(&cli->out, "%s: %lld passed, %lld skipped, %lld failed\n", dev->props.name,
             (long long)t.passed, (long long)t.skipped, (long long)t.failed);
    ql_exit code = ql_print_json(
        &cli->out,
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "device", dev->backend->name, "name",
                  dev->props.name, "passed", (json_int_t)t.passed, "skipped", (json_int_t)t.skipped,
                  "failed", (json_int_t)t.failed, "families", t.families, "failures", t.failures));
    if (code != QL_EXIT_OK) return code;
    if (!t.passed && !t.failed && o->only >= 0 && !t.skipped) {
        ql_error(&cli->out, "no family has a case %lld", (long long)o->only);
        return QL_EXIT_USAGE;
    }
    return t.failed ? QL_EXIT_GATE : QL_EXIT_OK;
}

static ql_exit unknown_family(ql_cli *cli, const char *name) {
    char list[256] = "";
    for (int f = 0; f < ql_opcase_family_count(); f++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, " %s", ql_opcase_family_name(f));
    }
    ql_error(&cli->out, "--family takes one of%s; not '%s'", list, name);
    return QL_EXIT_USAGE;
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    int family = o->family ? ql_opcase_family_find(o->family) : -1;
    if (o->family && family < 0) return unknown_family(cli, o->family);
    ql_device *dev;
    ql_status s = ql_cli_open_device(cli, 0, &dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    ql_exit code = run_on(cli, o, dev, family);
    dev->backend->device_close(dev);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "family",
     .kind = QL_ARG_TEXT,
     .at = OF(family),
     .value = "F",
     .help = "elem rows norm rope attn gemm quant lora loss reduce opt  [all]"},
    {.name = "case",
     .kind = QL_ARG_INT,
     .at = OF(only),
     .fallback = "-1",
     .lo = -1,
     .hi = 1e6,
     .help = "one case of each family, -1 = all"},
    {.name = "verbose", .also = "-v", .kind = QL_ARG_BOOL, .at = OF(verbose), .help = "every case"},
};

const ql_command ql_cmd_selftest = {
    .name = "selftest",
    .summary = "Check every operator of a device against the double-precision reference.",
    .usage = "[--device D] [--family F] [--case N] [--seed S]",
    .about = "The status is 4 when a case fails; the line above it repeats just that case.\n",
    .examples = "  qlora selftest\n  qlora selftest --device cuda:0 --family attn --seed 7\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
