/*
 * cmd_loftq.c - `qlora loftq`: a model as a quantized base and an adapter that together start where
 * the model was (LoftQ), or with its principal part in the adapter (PiSSA, OLoRA).
 */
#include "core/base/hostmem.h"
#include "tools/loftq_report.h"

typedef struct options {
    ql_model_args model;
    ql_adapter_args adapter;
    ql_loftq_args loftq;
    const char *output_dir;
} options;

static ql_status write_report(const options *o, const json_t *doc) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, o->output_dir, "loftq.json"));
    QL_TRY(ql_json_write(path, doc));
    QL_TRY(ql_path_join(path, o->output_dir, "loftq.html"));
    return ql_loftq_page(doc, path);
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    const ql_loftq_job job = {&o->model, &o->adapter, &o->loftq, o->output_dir, false};
    ql_loftq_made made;
    ql_exit code = ql_loftq_make(cli, &job, &made);
    if (code != QL_EXIT_OK) return code;
    json_t *doc = ql_loftq_json(&made, o->output_dir);
    ql_status s = doc ? write_report(o, doc) : QL_NOMEM("a report");
    if (s == QL_OK) {
        ql_loftq_print(cli, &made, o->output_dir);
        code = ql_print_json(&cli->out, doc);
    } else {
        json_decref(doc);
        code = ql_fail(&cli->out, QL_STAGE_RUN, s);
    }
    ql_loftq_made_free(&made);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    QL_MODEL_ARGS(options, model, "4", "2 to 8: the base is quantized; 16: PiSSA and OLoRA only"),
    {.name = "output_dir",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(output_dir),
     .value = "OUT",
     .help = "the base; the adapter goes to OUT/adapter"},
    QL_NEW_ADAPTER_ARGS(options, adapter, "loftq", "loftq pissa olora|eva corda"),
    QL_LOFTQ_ARGS(options, loftq),
};

const ql_command ql_cmd_loftq = {
    .name = "loftq",
    .summary = "Quantize a model so that its adapter starts where quantization left off.",
    .usage = "-m D --output_dir OUT [--bits N] [--lora_r R] [--loftq_iter T]",
    .about = "W ~ Q + s B A for every adapted layer: Q in OUT, A and B in OUT/adapter (PEFT's "
             "format). Train any number\nof tasks on the one base:\n"
             "  qlora train -m OUT --adapter OUT/adapter --dataset FILE --output_dir RUN\n"
             "Report: OUT/loftq.json and OUT/loftq.html.\n",
    .examples = "  qlora loftq -m ./llama-7b --output_dir ./llama-7b-loftq --lora_r 64 "
                "--loftq_iter 5\n"
                "  qlora loftq -m ./llama-7b --output_dir ./pissa --bits 16 "
                "--init_lora_weights pissa\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
