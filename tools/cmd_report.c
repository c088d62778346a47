/*
 * cmd_report.c - `qlora report`: one self-contained page of a run, or of several beside each other.
 */
#include <math.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tools/cli.h"
#include "tools/report_html.h"

typedef struct options {
    const char *runs[QL_REPORT_MAX_RUNS];
    const char *output;
} options;

static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *summary(const ql_run_data *r) {
    double best = (double)NAN, at = 0;
    bool any = ql_run_smallest(r, "eval_loss", &best, &at);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "dir", r->dir, "name",
                     r->name, "steps", number(ql_run_last(r, "step")), "loss",
                     number(ql_run_last(r, "loss")), "best_eval_loss", number(best),
                     "best_eval_step", any ? number(at) : json_null(), "tok_s",
                     number(ql_run_median(r, "tok_s")), "mem_bytes",
                     number(ql_run_last(r, "mem_bytes")), "seconds", number(ql_run_seconds(r)));
}

/* The page of the runs that were read. */
static ql_exit write_page(ql_cli *cli, const ql_run_data *read, size_t n, const char *output) {
    const ql_run_data *runs[QL_REPORT_MAX_RUNS] = {NULL};
    for (size_t i = 0; i < n; i++) runs[i] = &read[i];
    char path[QL_PATH_MAX];
    ql_status st =
        output ? ql_path_join(path, "", output) : ql_path_join(path, read->dir, "report.html");
    if (st == QL_OK) st = ql_report_write(runs, n, path);
    if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, st);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, summary(&read[i]));
    ql_print(&cli->out, "%s\n", path);
    return ql_print_json(&cli->out, json_pack("{s:s, s:o}", "output", path, "runs", list));
}

static ql_exit read_and_write(ql_cli *cli, const options *o, ql_run_data *read, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ql_status st = ql_run_read(o->runs[i], &read[i]);
        if (st != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, st);
    }
    return write_page(cli, read, n, o->output);
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    size_t n = 0;
    while (n < QL_REPORT_MAX_RUNS && o->runs[n]) n++;
    if (n > 1 && !o->output) {
        ql_error(&cli->out, "several runs are compared on a page of their own: give --output FILE");
        return QL_EXIT_USAGE;
    }
    ql_run_data *read = ql_host_calloc(QL_REPORT_MAX_RUNS, sizeof *read);
    if (!read) {
        ql_error(&cli->out, "out of host memory for the runs");
        return QL_EXIT_FAILED;
    }
    ql_exit code = read_and_write(cli, o, read, n);
    for (size_t i = 0; i < n; i++) ql_run_data_free(&read[i]);
    ql_host_free(read);
    return code;
}

#define OF(field) offsetof(options, field)
#define MORE(n)                                                                                    \
    {                                                                                              \
        .name = "run" #n, .kind = QL_ARG_TEXT, .flags = QL_ARG_POSITIONAL | QL_ARG_ADVANCED,       \
        .at = OF(runs) + ((n)-1) * sizeof(char *), .value = "DIR",                                 \
        .help = "another run to compare with"                                                      \
    }
static const ql_arg args[] = {
    {.name = "run",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_POSITIONAL | QL_ARG_REQUIRED,
     .at = OF(runs),
     .value = "DIR",
     .help = "folder of a run; up to eight, which are compared"},
    MORE(2),
    MORE(3),
    MORE(4),
    MORE(5),
    MORE(6),
    MORE(7),
    MORE(8),
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "the page  [RUN/report.html]"},
};

const ql_command ql_cmd_report = {
    .name = "report",
    .summary = "Write one self-contained HTML page of a run, or compare runs.",
    .usage = "RUN [RUN]... [--output FILE]",
    .about =
        "The page needs no network and no script; `train` writes it at every checkpoint, too.\n",
    .examples = "  qlora report runs/a\n  qlora report runs/a runs/b --output compare.html\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
