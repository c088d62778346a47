/*
 * cmd_merge.c - `qlora merge`: a model with its adapter added in, as a Hugging Face folder.
 */
#include <string.h>

#include "core/model/merge.h"
#include "tools/engine.h"
#include "tools/open_model.h"
#include "tools/signals.h"

typedef struct options {
    const char *model, *adapter, *output_dir, *to;
} options;

/* ------------------------------------------------------------------- command */

/* What is told while merging: progress to `out`, [{"name", "max_change"}] of what changes. */
typedef struct watch {
    ql_out *out;
    json_t *changes;
    double largest;
} watch;

static bool show_progress(void *user, int64_t done, int64_t total, const char *name) {
    const watch *w = user;
    ql_progress(w->out, false, "merge  %lld/%lld  %s", (long long)done, (long long)total, name);
    return !ql_signals_stop();
}

static void note_change(void *user, const char *name, double largest) {
    watch *w = user;
    if (largest > w->largest) w->largest = largest;
    json_array_append_new(w->changes, json_pack("{s:s, s:f}", "name", name, "max_change", largest));
}

/* The dtype that is written: --to, or what the model's configuration says. */
static ql_st_dtype output_dtype(const options *o, const ql_model *m) {
    const json_t *c = ql_source_config(m->source);
    const char *name = o->to;
    if (strcmp(name, "auto") == 0) {
        name = json_string_value(json_object_get(c, "dtype"));
        if (!name) name = json_string_value(json_object_get(c, "torch_dtype"));
        if (!name) name = "bf16";
    }
    if (strcmp(name, "f32") == 0 || strcmp(name, "float32") == 0) return QL_ST_F32;
    return strcmp(name, "f16") == 0 || strcmp(name, "float16") == 0 ? QL_ST_F16 : QL_ST_BF16;
}

static ql_exit report(ql_cli *cli, const options *o, const watch *w, ql_st_dtype dtype) {
    size_t i;
    json_t *c;
    json_array_foreach(w->changes, i, c) {
        ql_print(&cli->out, "%-48s largest change %.6g\n",
                 json_string_value(json_object_get(c, "name")),
                 json_real_value(json_object_get(c, "max_change")));
    }
    ql_print(&cli->out, "%zu weights changed, by at most %.6g · %s -> %s\n",
             json_array_size(w->changes), w->largest, ql_st_dtype_name(dtype), o->output_dir);
    return ql_print_json(&cli->out, json_pack("{s:s, s:s, s:f, s:O}", "output_dir", o->output_dir,
                                              "dtype", ql_st_dtype_name(dtype), "max_change",
                                              w->largest, "tensors", w->changes));
}

static ql_exit merge_on(ql_cli *cli, const options *o, ql_model *m, ql_device *dev,
                        ql_queue *queue) {
    watch w = {.out = &cli->out};
    const ql_merge_opts opts = {
        .dtype = output_dtype(o, m), .progress = show_progress, .changed = note_change, .user = &w};
    ql_status s = ql_model_place(m, dev, queue);
    if (s == QL_OK) s = ql_load_adapter(m, o->adapter);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    w.changes = json_array();
    s = ql_merge(m, &opts, o->output_dir);
    ql_progress_end(&cli->out);
    ql_exit code = s == QL_ERR_CANCELLED ? ql_signals_exit()
                   : s == QL_OK          ? report(cli, o, &w, opts.dtype)
                                         : ql_fail(&cli->out, QL_STAGE_RUN, s);
    json_decref(w.changes);
    return code;
}

static ql_exit run_on(ql_cli *cli, const options *o, ql_device *dev) {
    ql_model *m;
    ql_queue *queue;
    const ql_model_args as_stored = {.model = o->model, .quant.bits = 16};
    ql_status s = ql_open_model(cli, &as_stored, o->adapter, &m);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = dev->backend->queue_create(dev, &queue);
    ql_exit code =
        s == QL_OK ? merge_on(cli, o, m, dev, queue) : ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    if (s == QL_OK) {
        m->queue = NULL;
        dev->backend->queue_destroy(queue);
    }
    ql_model_close(m);
    return code;
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    ql_device *dev;
    ql_status s = ql_engine_open(cli, 0, &dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    ql_signals_watch();
    ql_exit code = run_on(cli, o, dev);
    ql_engine_close(dev);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "model_name_or_path",
     .also = "-m --model",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(model),
     .value = "D",
     .help = "Hugging Face folder or .gguf"},
    {.name = "adapter_name_or_path",
     .also = "--adapter",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(adapter),
     .value = "A",
     .help = "adapter folder"},
    {.name = "output_dir",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(output_dir),
     .value = "OUT",
     .help = "folder that is written"},
    {.name = "to",
     .kind = QL_ARG_CHOICE,
     .at = OF(to),
     .fallback = "auto",
     .choices = "auto bf16 f16 f32|nf4 fp4 int8",
     .help = "type of the written weights; auto: what config.json says"},
};

const ql_command ql_cmd_merge = {
    .name = "merge",
    .summary = "Add an adapter into its model and write the result.",
    .usage = "-m D --adapter A --output_dir OUT [--to bf16]",
    .about =
        "W as it stands in D (quantized weights are decoded) plus s B A, with DoRA scaled to its\n"
        "magnitudes; modules trained whole and trained token rows replace the base's. Rounded "
        "once.\n",
    .examples = "  qlora merge -m ./llama-7b --adapter runs/a/adapter --output_dir ./merged\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
