/*
 * cmd_verify.c - `qlora verify`: recomputes what a recorded oracle holds and shows the distance.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/verify/verify.h"
#include "tools/engine.h"

typedef struct options {
    const char *dir, *cases, *compute, *write;
    int64_t checkpoint;
} options;

static const struct {
    const char *name;
    unsigned bit;
} cases[] = {{"plain", QL_VERIFY_PLAIN}, {"packed", QL_VERIFY_PACKED}, {"qlora", QL_VERIFY_QLORA},
             {"dora", QL_VERIFY_DORA},   {"rslora", QL_VERIFY_RSLORA}, {"loftq", QL_VERIFY_LOFTQ},
             {"curve", QL_VERIFY_CURVE}};
enum { N_CASES = sizeof cases / sizeof *cases };

/* The bits of "plain,qlora". */
static ql_status parse_cases(const char *text, unsigned *bits) {
    if (!text || strcmp(text, "all") == 0) {
        *bits = QL_VERIFY_ALL;
        return QL_OK;
    }
    *bits = 0;
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        int i = 0;
        while (i < N_CASES &&
               !(strlen(cases[i].name) == len && strncmp(cases[i].name, at, len) == 0))
            i++;
        if (i == N_CASES) {
            return QL_FAIL(QL_ERR_INVALID,
                           "--cases takes plain packed qlora dora rslora loftq curve, not '%.*s'",
                           (int)len, at);
        }
        *bits |= cases[i].bit;
        at += len + (at[len] == ',');
    }
    return *bits ? QL_OK : QL_FAIL(QL_ERR_INVALID, "--cases is empty");
}

/* `dir`, or the folder of a recorded run beside it when `dir` itself has nothing recorded. */
static ql_status find_oracle(ql_out *out, const char *dir, char found[QL_PATH_MAX]) {
    char path[QL_PATH_MAX];
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') len--;
    int n = snprintf(found, QL_PATH_MAX, "%.*s", (int)len, dir);
    if (n < 0 || n >= QL_PATH_MAX) return QL_FAIL(QL_ERR_INVALID, "the path is too long");
    if (!ql_dir_exists(found)) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: there is no such folder", dir);
    QL_TRY(ql_path_join(path, found, "oracle.safetensors"));
    if (ql_file_exists(path)) return QL_OK;
    QL_TRY(ql_path_join(path, found, "curve.json"));
    if (ql_file_exists(path)) return QL_OK;
    n = snprintf(path, sizeof path, "%s-curve/curve.json", found);
    if (n < 0 || n >= QL_PATH_MAX || !ql_file_exists(path)) return QL_OK; /* ql_verify says it */
    ql_note(out, "%s has no oracle of its own; verifying the recorded run %s-curve", found, found);
    strcpy(path, found);
    snprintf(found, QL_PATH_MAX, "%.*s-curve", QL_PATH_MAX - 8, path);
    return QL_OK;
}

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *row_json(const ql_verify_row *r) {
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:f, s:f, s:b}", "group", r->group, "tensors",
                     (json_int_t)r->tensors, "elements", (json_int_t)r->elements, "max_abs",
                     number(r->max_abs), "max_rel", number(r->max_rel), "abs_limit", r->abs_limit,
                     "rel_limit", r->rel_limit, "ok", (int)r->ok);
}

static void print_report(ql_out *out, const ql_verify_report *r) {
    ql_print(out, "%-24s %8s %12s %12s %24s\n", "group", "tensors", "max abs", "max rel",
             "limit abs or rel");
    for (int i = 0; i < r->n_rows; i++) {
        const ql_verify_row *x = &r->rows[i];
        ql_print(out, "%-24s %8lld %12.3g %12.3g %12.3g %11.3g  %s\n", x->group,
                 (long long)x->tensors, x->max_abs, x->max_rel, x->abs_limit, x->rel_limit,
                 x->ok ? "ok" : "OUT OF TOLERANCE");
    }
    if (*r->not_run) ql_print(out, "recorded, not run: %s\n", r->not_run);
    if (*r->absent) ql_print(out, "not in this oracle: %s\n", r->absent);
}

static json_t *report_json(const char *dir, const ql_verify_report *r) {
    json_t *rows = json_array();
    for (int i = 0; i < r->n_rows; i++) json_array_append_new(rows, row_json(&r->rows[i]));
    return json_pack("{s:s, s:b, s:o, s:s, s:s}", "dir", dir, "ok", (int)r->ok, "groups", rows,
                     "not_run", r->not_run, "absent", r->absent);
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    ql_verify_opts v = {.write = o->write, .checkpoint = (int32_t)o->checkpoint};
    v.compute = strcmp(o->compute, "bf16") == 0 ? QL_BF16 : QL_F32;
    char dir[QL_PATH_MAX];
    ql_status s = parse_cases(o->cases, &v.cases);
    if (s == QL_OK) s = find_oracle(&cli->out, o->dir, dir);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    ql_device *dev;
    s = ql_engine_open(cli, 0, &dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    ql_verify_report r;
    s = ql_verify(dir, &v, dev, &r);
    ql_engine_close(dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    print_report(&cli->out, &r);
    ql_exit code = ql_print_json(&cli->out, report_json(dir, &r));
    if (code != QL_EXIT_OK || r.ok) return code;
    ql_error(&cli->out, "%s: out of tolerance", dir);
    return QL_EXIT_GATE;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "dir",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED | QL_ARG_POSITIONAL,
     .at = OF(dir),
     .value = "DIR",
     .help = "folder with oracle.safetensors or curve.json"},
    {.name = "cases",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_LIST,
     .at = OF(cases),
     .value = "LIST",
     .help = "plain,packed,qlora,rslora,dora,loftq,curve  [all recorded]"},
    {.name = "compute_dtype",
     .kind = QL_ARG_CHOICE,
     .at = OF(compute),
     .fallback = "fp32",
     .choices = "fp32 bf16|fp16",
     .help = "type of activations"},
    {.name = "checkpoint_every",
     .kind = QL_ARG_INT,
     .flags = QL_ARG_ADVANCED,
     .at = OF(checkpoint),
     .fallback = "0",
     .lo = 0,
     .hi = 4096,
     .help = "blocks per recomputed segment, 0 = keep activations"},
    {.name = "write",
     .kind = QL_ARG_TEXT,
     .at = OF(write),
     .value = "OUT.safetensors",
     .help = "store our own values under the oracle's names"},
};

const ql_command ql_cmd_verify = {
    .name = "verify",
    .summary = "Recompute a recorded oracle of transformers, PEFT and bitsandbytes.",
    .usage = "DIR [--cases LIST] [--device D] [--write OUT.safetensors]",
    .about = "The status is 4 when a group of tensors is out of tolerance.\n",
    .examples = "  qlora verify tests/data/models/tiny-llama\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
