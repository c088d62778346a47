/*
 * cmd_plan.c - `qlora plan`: the exact memory of a training run, before anything is started and,
 * for a shape, without any weights.
 */
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tools/data_report.h"
#include "tools/engine.h"
#include "tools/plan_report.h"

typedef struct options {
    ql_job_args job;
    const char *dump_tape;
    bool compare;
} options;

static ql_status dump_tape(const ql_job *j, const char *path) {
    char *text;
    QL_TRY(ql_plan_tape(j, &text));
    ql_status s = ql_file_replace(path, text, strlen(text));
    ql_host_free(text);
    return s;
}

static long long total_of(const json_t *compare, const char *name) {
    return (long long)json_integer_value(
        json_object_get(json_object_get(compare, name), "total_bytes"));
}

static void print_text(ql_cli *cli, const ql_job *j, const json_t *compare, uint64_t least) {
    const ql_model *m = j->model;
    ql_plan_print(cli, j);
    if (j->has_data) ql_data_report_print(cli, j);
    ql_print(&cli->out, "model  %s parameters · %s trained (%.3f %%) · weights %s\n",
             ql_text_count((int64_t)m->parameters).s, ql_text_count((int64_t)m->trainable).s,
             100.0 * (double)m->trainable / (double)m->parameters,
             ql_text_bytes(j->plan.device[QL_POOL_WEIGHTS]).s);
    ql_print(&cli->out, "rows   %d of %d tokens in a micro-batch · smallest budget %s\n",
             j->opts.batch, j->opts.max_len, ql_text_bytes(least).s);
    if (!compare) return;
    ql_print(&cli->out, "others full fine-tuning %s · LoRA on 16 bit %s · QLoRA %s\n",
             ql_text_bytes((uint64_t)total_of(compare, "full")).s,
             ql_text_bytes((uint64_t)total_of(compare, "lora")).s,
             ql_text_bytes((uint64_t)total_of(compare, "qlora")).s);
}

static ql_exit report(ql_cli *cli, const options *o, const ql_job *j) {
    json_t *doc, *compare = NULL;
    ql_status s = ql_plan_json(j, &doc);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_PLAN, s);
    if (o->compare) s = ql_plan_compare(j, &compare);
    if (s != QL_OK) {
        json_decref(doc);
        return ql_fail(&cli->out, QL_STAGE_PLAN, s);
    }
    json_t *least = json_object_get(doc, "smallest_budget_bytes");
    print_text(cli, j, compare, (uint64_t)json_integer_value(least));
    if (compare) json_object_set_new(doc, "compare", compare);
    if (o->dump_tape) s = dump_tape(j, o->dump_tape);
    if (s != QL_OK) {
        json_decref(doc);
        return ql_fail(&cli->out, QL_STAGE_RUN, s);
    }
    ql_exit code = ql_print_json(&cli->out, doc);
    bool refused = code == QL_EXIT_OK && o->job.train.mem && j->plan.peak_bytes > j->budget;
    return refused ? ql_plan_refuse(cli, j) : code;
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    ql_job job;
    ql_exit code = ql_job_open(cli, &o->job, true, &job);
    if (code != QL_EXIT_OK) return code;
    code = report(cli, o, &job);
    ql_job_close(&job);
    return code;
}

#define OF(f) offsetof(options, f)
static const ql_arg args[] = {
    QL_JOB_ARGS(options, job, 0),
    {.name = "compare",
     .kind = QL_ARG_BOOL,
     .at = OF(compare),
     .fallback = "true",
     .help = "also full fine-tuning, LoRA on 16 bit and QLoRA of this shape"},
    {.name = "dump_tape",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_ADVANCED,
     .at = OF(dump_tape),
     .value = "FILE",
     .help = "write the recorded training step as a listing"},
};
_Static_assert(sizeof args / sizeof *args <= QL_CLI_MAX_ARGS, "too many flags");

const ql_command ql_cmd_plan = {
    .name = "plan",
    .summary = "Say exactly what memory a training run needs, without starting it.",
    .usage = "-m D|NAME|config.json [--flag value]...",
    .about =
        "Takes the flags of `qlora train`. NAME is a known shape: llama-7b llama-13b llama-33b "
        "llama-65b\nllama-2-7b llama-2-13b llama-2-70b llama-3-8b gpt3-175b. With --mem the "
        "status is 5 when the plan\nexceeds it.\n",
    .examples = "  qlora plan -m ./llama-7b --dataset data.jsonl --mem 8G\n"
                "  qlora plan --model llama-65b --max_seq_len 512 --json\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
