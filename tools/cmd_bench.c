/*
 * cmd_bench.c - `qlora bench`: how fast operators, quantization, training and generation are,
 * beside what the machine could do at most.
 */
#include <string.h>

#include "core/bench/ops.h"
#include "core/bench/work.h"
#include "core/device/device.h"
#include "tools/bench_report.h"
#include "tools/engine.h"
#include "tools/open_model.h"

#define PEAK_SECONDS 0.5 /* for each of the two; less when rows take less */

typedef struct options {
    const char *what, *only, *shape;
    double seconds;
    ql_model_args model;
    int64_t batch, tokens, new_tokens, rank;
    bool checkpointing;
} options;

typedef struct session {
    ql_cli *cli;
    const options *o;
    ql_device *dev;
    ql_device_props cpu; /* of the machine's processors, whichever device is measured */
    ql_bench_peaks peaks;
    bool has_peaks;
    ql_bench_report report;
    ql_bench_sink sink;
} session;

static bool is(const options *o, const char *what) {
    return !strcmp(o->what, what);
}

/* ----------------------------------------------------------------- one subject */

static ql_exit run_ops(session *s, const ql_bench_choice *choice) {
    ql_status st = ql_bench_run_ops(s->dev, choice, s->report.peaks, &s->sink);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(&s->cli->out, QL_STAGE_RUN, st);
}

static ql_exit run_model(session *s) {
    const options *o = s->o;
    ql_model_opts mo;
    ql_source *source;
    ql_model *m = NULL;
    ql_status st = ql_model_args_opts(s->cli, &o->model, &mo);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_USAGE, st);
    mo.optimizer = is(o, "train");
    st = ql_model_args_source(&o->model, false, &source);
    if (st == QL_OK) st = ql_model_open(source, &mo, &m);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
    const ql_bench_work w = {.batch = (int32_t)o->batch,
                             .tokens = (int32_t)o->tokens,
                             .new_tokens = (int32_t)o->new_tokens,
                             .rank = (int32_t)o->rank,
                             .checkpointing = o->checkpointing,
                             .compute = ql_model_args_compute(&o->model, s->dev),
                             .seconds = o->seconds,
                             .seed = (uint64_t)s->cli->seed};
    st = is(o, "train") ? ql_bench_train(m, &w, s->dev, s->report.peaks, &s->sink)
                        : ql_bench_generate(m, &w, s->dev, &s->sink);
    ql_progress_end(&s->cli->out);
    ql_model_close(m);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(&s->cli->out, QL_STAGE_RUN, st);
}

/* --------------------------------------------------------------------- command */

static ql_status read_cpu(session *s) {
    const ql_device_opts o = {.threads = (int)s->cli->threads};
    ql_device *cpu;
    QL_TRY(ql_device_open_named("cpu", &o, &cpu));
    s->cpu = cpu->props;
    cpu->backend->device_close(cpu);
    return QL_OK;
}

/* Peaks are those of the processors: devices of another kind have none. */
static ql_status start(session *s) {
    double peak_seconds = s->o->seconds < PEAK_SECONDS ? s->o->seconds : PEAK_SECONDS;
    QL_TRY(read_cpu(s));
    s->has_peaks = s->dev->props.kind == QL_DEV_CPU || s->dev->props.kind == QL_DEV_EMULATED;
    if (s->has_peaks)
        QL_TRY(ql_bench_measure_peaks((int)s->cpu.compute_units, peak_seconds, &s->peaks));
    s->report = (ql_bench_report){.out = &s->cli->out,
                                  .device = s->dev->backend->name,
                                  .cpu = &s->cpu,
                                  .peaks = s->has_peaks ? &s->peaks : NULL,
                                  .rows = json_array()};
    s->sink = ql_bench_report_sink(&s->report);
    return QL_OK;
}

/* Flags that do not go with what is measured. */
static ql_exit check_flags(const session *s) {
    static const char *const of_ops[] = {"only", "shape"};
    static const char *const of_model[] = {"model_name_or_path", "bits", "quant_type",
                                           "compute_dtype", "tokens"};
    static const char *const of_train[] = {"per_device_train_batch_size", "lora_r",
                                           "gradient_checkpointing"};
    const bool train = is(s->o, "train"), model = train || is(s->o, "generate");
    const char *wrong = NULL;
    for (size_t i = 0; i < sizeof of_ops / sizeof *of_ops; i++)
        if (model && ql_cli_given(s->cli, of_ops[i])) wrong = of_ops[i];
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
        if (!model && ql_cli_given(s->cli, of_model[i])) wrong = of_model[i];
    for (size_t i = 0; i < sizeof of_train / sizeof *of_train; i++)
        if (!train && ql_cli_given(s->cli, of_train[i])) wrong = of_train[i];
    if (!is(s->o, "generate") && ql_cli_given(s->cli, "max_new_tokens")) wrong = "max_new_tokens";
    if (wrong)
        ql_error(&s->cli->out, "--%s does not go with `bench %s`", wrong, s->o->what);
    else if (model && !s->o->model.model)
        ql_error(&s->cli->out, "`bench %s` needs a model: -m DIR", s->o->what);
    else
        return QL_EXIT_OK;
    return QL_EXIT_USAGE;
}

static ql_exit run_session(session *s) {
    const options *o = s->o;
    const bool model = is(o, "train") || is(o, "generate");
    const ql_bench_choice choice = {.table = is(o, "ops") ? QL_BENCH_OPS : QL_BENCH_QUANTIZE,
                                    .only = o->only,
                                    .shape = o->shape,
                                    .seconds = o->seconds,
                                    .seed = (uint64_t)s->cli->seed};
    ql_exit code = check_flags(s);
    if (code != QL_EXIT_OK) return code;
    ql_status st = model ? QL_OK : ql_bench_check_choice(&choice);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_USAGE, st);
    st = ql_engine_open(s->cli, 0, &s->dev);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_DEVICE, st);
    st = start(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    code = model ? run_model(s) : run_ops(s, &choice);
    if (code != QL_EXIT_OK) return code;
    return ql_bench_report_end(&s->report);
}

static ql_exit run(ql_cli *cli, void *opts) {
    session s = {.cli = cli, .o = opts};
    ((options *)opts)->model.quant = (ql_quant_args){.type = s.o->model.quant.type,
                                                     .bits = s.o->model.quant.bits,
                                                     .rule = "cpu",
                                                     .block = 64,
                                                     .block2 = 256,
                                                     .double_quant = true};
    ql_exit code = run_session(&s);
    json_decref(s.report.rows);
    ql_engine_close(s.dev);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "what",
     .kind = QL_ARG_CHOICE,
     .flags = QL_ARG_REQUIRED | QL_ARG_POSITIONAL,
     .at = OF(what),
     .choices = "ops train generate quantize",
     .help = "what is measured"},
    {.name = "only",
     .kind = QL_ARG_TEXT,
     .at = OF(only),
     .value = "NAME",
     .help = "ops, quantize: rows of this name, such as gemm_nf4"},
    {.name = "shape",
     .kind = QL_ARG_TEXT,
     .at = OF(shape),
     .value = "MxNxK",
     .help = "ops, quantize: rows of this shape (tokens x out x in)"},
    {.name = "seconds",
     .kind = QL_ARG_REAL,
     .at = OF(seconds),
     .fallback = "1",
     .lo = 0,
     .hi = 3600,
     .value = "S",
     .help = "measure each row for so long, but 5 repeats at least"},
    {.name = "model_name_or_path",
     .also = "-m --model",
     .kind = QL_ARG_TEXT,
     .at = OF(model.model),
     .value = "D",
     .help = "train, generate: Hugging Face folder or .gguf; random tokens, no tokenizer needed"},
    {.name = "bits",
     .kind = QL_ARG_INT,
     .at = OF(model.quant.bits),
     .fallback = "4",
     .lo = 1,
     .hi = 16,
     .help = "16-bit weights are quantized on loading; 16 = as the files hold them"},
    {.name = "quant_type",
     .kind = QL_ARG_TEXT,
     .at = OF(model.quant.type),
     .value = "T",
     .help = "nf4 fp4 int4 int8 ...  [nf4]"},
    {.name = "compute_dtype",
     .kind = QL_ARG_CHOICE,
     .at = OF(model.compute),
     .fallback = "auto",
     .choices = "auto fp32 bf16|fp16",
     .help = "type of activations"},
    {.name = "tokens",
     .kind = QL_ARG_INT,
     .at = OF(tokens),
     .fallback = "512",
     .lo = 2,
     .hi = 1 << 20,
     .help = "of a sequence, of the prompt"},
    {.name = "max_new_tokens",
     .kind = QL_ARG_INT,
     .at = OF(new_tokens),
     .fallback = "64",
     .lo = 1,
     .hi = 1 << 20,
     .help = "generate: greedy tokens of a run"},
    {.name = "per_device_train_batch_size",
     .kind = QL_ARG_INT,
     .at = OF(batch),
     .fallback = "1",
     .lo = 1,
     .hi = 1024,
     .help = "train: sequences of a step"},
    {.name = "lora_r",
     .kind = QL_ARG_INT,
     .at = OF(rank),
     .fallback = "16",
     .lo = 1,
     .hi = 4096,
     .help = "train: rank of the adapters, on all linear layers"},
    {.name = "gradient_checkpointing",
     .kind = QL_ARG_BOOL,
     .at = OF(checkpointing),
     .fallback = "false",
     .value = "B",
     .help = "train: compute every block again in backward"},
};

const ql_command ql_cmd_bench = {
    .name = "bench",
    .summary = "Measure the speed of operators, quantization, training and generation.",
    .usage = "ops|quantize [--only NAME] [--shape MxNxK] [--seconds S] [--json]\n"
             "       qlora bench train|generate -m D [--seconds S] [--json]",
    .about =
        "A row is the median of its repeats, warm-up not counted. A share is of the fp32 FMA "
        "peak or, where\nmemory is the limit, of the read bandwidth, both measured in the same "
        "run.\n",
    .examples = "  qlora bench ops --only gemm_nf4 --threads 2\n"
                "  qlora bench train -m ./smollm2 --per_device_train_batch_size 4 --json\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
