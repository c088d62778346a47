/*
 * cmd_quantize.c - `qlora quantize`: a model folder, one tensor, or how a code table comes about.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/encode.h"
#include "core/quant/explain.h"
#include "core/quant/stored.h"
#include "tools/bits_args.h"
#include "tools/cli.h"
#include "tools/engine.h"
#include "tools/model_args.h"

typedef struct options {
    const char *model, *output_dir;
    const char *tensor, *name, *output;
    const char *explain;
    const char *format;
    ql_quant_args quant;
    ql_bits_args bits;
    ql_bpw chosen; /* of --target_bpw */
    int64_t draws;
    bool quantize_head;
} options;

/* ------------------------------------------------------------------ options */

static bool in_own_format(const options *o) {
    return o->format && strcmp(o->format, "qlora") == 0;
}

static ql_status check_format(const options *o, const ql_quant_opts *q) {
    const ql_qtype *type = ql_qtype_at(q->type);
    int32_t block2 = q->double_quant ? q->block2 : 0;
    if (!o->format || in_own_format(o) || ql_bnb_holds(type, q->block, block2)) return QL_OK;
    if (!type->bnb) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--format bnb cannot hold %s; leave the flag out to use our own container",
                       type->name);
    }
    return QL_FAIL(QL_ERR_INVALID,
                   "--format bnb cannot hold %s in blocks of %d (scales: %d), only powers of two "
                   "from 32 to 4096; leave the flag out to use our own container",
                   type->name, (int)q->block, (int)block2);
}

static ql_status quant_options(const ql_cli *cli, const options *o, ql_quant_opts *out) {
    QL_TRY(ql_quant_args_opts(cli, &o->quant, out));
    if (o->tensor && o->quant.by_layer)
        return QL_FAIL(QL_ERR_INVALID, "--bits_by_layer goes with -m; one tensor takes --bits");
    /* With rules, what is stored is known only when the tensors are. */
    return o->quant.by_layer || o->bits.target > 0 ? QL_OK : check_format(o, out);
}

/* ------------------------------------------------------------------- folder */

static void show_progress(void *user, int64_t done, int64_t total, const char *name) {
    ql_progress(user, false, "quantize  %lld/%lld  %s", (long long)done, (long long)total, name);
}

/* "nf4", or "nf4 28, nf2 182" when there are several. */
static void type_counts(const ql_quantize_report *r, char out[512]) {
    int kinds = 0, n = 0;
    for (int t = 0; t < QL_QT_COUNT; t++) kinds += r->of_type[t] > 0;
    out[0] = '\0';
    for (int t = 0; t < QL_QT_COUNT; t++) {
        if (r->of_type[t] == 0) continue;
        n += snprintf(out + n, 512 - (size_t)n, "%s%s", n ? ", " : "", ql_qtype_at(t)->name);
        if (kinds > 1) n += snprintf(out + n, 512 - (size_t)n, " %lld", (long long)r->of_type[t]);
    }
}

static json_t *types_json(const ql_quantize_report *r) {
    json_t *j = json_object();
    for (int t = 0; t < QL_QT_COUNT; t++)
        if (r->of_type[t] > 0)
            json_object_set_new(j, ql_qtype_at(t)->name, json_integer(r->of_type[t]));
    return j;
}

static ql_exit quantize_folder(ql_cli *cli, const options *o, const ql_quant_opts *q) {
    ql_source *source;
    ql_device *dev;
    ql_queue *queue = NULL;
    ql_status s = ql_engine_open(cli, 0, &dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    s = ql_source_open(o->model, &source);
    if (s != QL_OK) {
        ql_engine_close(dev);
        return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    }
    ql_quantize_report r = {0};
    s = dev->backend->queue_create(dev, &queue);
    const ql_quantize_folder_opts folder = {.quant = *q,
                                            .quantize_head = o->quantize_head,
                                            .bits_by_layer = o->quant.by_layer,
                                            .bnb_only = o->format && !in_own_format(o),
                                            .format =
                                                in_own_format(o) ? QL_STORED_QLORA : QL_STORED_BNB,
                                            .encode = ql_encode_on_queue,
                                            .encode_user = queue,
                                            .progress = show_progress,
                                            .user = &cli->out};
    if (s == QL_OK) s = ql_quantize_folder(source, &folder, o->output_dir, &r);
    dev->backend->queue_destroy(queue);
    ql_engine_close(dev);
    ql_source_close(source);
    ql_progress_end(&cli->out);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    const char *type = ql_qtype_at(q->type)->name;
    char types[512];
    type_counts(&r, types);
    ql_print(&cli->out,
             "%lld weights to %s, %.3f bits per weight, relative error %.4f\n"
             "%.1f MiB -> %.1f MiB in %s\n",
             (long long)r.quantized, types, r.bits_per_weight, r.rel_error,
             (double)r.bytes_in / 1048576.0, (double)r.bytes_out / 1048576.0, o->output_dir);
    return ql_print_json(
        &cli->out,
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:s?, s:f, s:f}", "output_dir",
                  o->output_dir, "quant_type", type, "tensors", (json_int_t)r.tensors, "quantized",
                  (json_int_t)r.quantized, "bytes_in", (json_int_t)r.bytes_in, "bytes_out",
                  (json_int_t)r.bytes_out, "quantized_bytes", (json_int_t)r.coded_bytes, "types",
                  types_json(&r), "bits_by_layer", o->quant.by_layer, "bits_per_weight",
                  r.bits_per_weight, "rel_error", r.rel_error));
}

/* --------------------------------------------------------------- one tensor */

typedef struct weight {
    float *w; /* [n, k], owned */
    int64_t n, k;
    const char *dtype; /* "bfloat16" */
} weight;

static const char *torch_name(ql_st_dtype t) {
    switch (t) {
    case QL_ST_F16: return "float16";
    case QL_ST_BF16: return "bfloat16";
    case QL_ST_F32: return "float32";
    default: return NULL;
    }
}

static ql_status read_weight(const ql_st_file *file, const char *name, weight *out) {
    const ql_st_tensor *t = ql_st_find(file, name);
    if (!t) {
        const ql_st_tensor *first = ql_st_count(file) > 0 ? ql_st_at(file, 0) : NULL;
        return QL_FAIL(QL_ERR_INVALID, "%s has no tensor '%s'; it has %lld, the first is '%s'",
                       ql_st_path(file), name, (long long)ql_st_count(file),
                       first ? first->name : "");
    }
    weight w = {.dtype = torch_name(t->dtype)};
    if (!w.dtype || t->numel < 1) {
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: '%s' is %s with %lld elements; expected F32, F16 or BF16",
                       ql_st_path(file), name, ql_st_dtype_name(t->dtype), (long long)t->numel);
    }
    w.n = t->dims >= 2 ? t->shape[0] : 1;
    w.k = t->numel / w.n;
    w.w = ql_host_calloc((size_t)t->numel, sizeof *w.w);
    if (!w.w) return QL_NOMEM(name);
    ql_status s = ql_st_read_f32(t, 0, t->numel, w.w);
    if (s != QL_OK) {
        ql_host_free(w.w);
        return s;
    }
    *out = w;
    return QL_OK;
}

static ql_status write_tensor(const options *o, const ql_quant_opts *q, const weight *w,
                              const ql_qtensor *t) {
    ql_st_writer *writer;
    QL_TRY(ql_st_writer_create(o->output, &writer));
    ql_status s = ql_stored_declare(writer, o->name, q, w->n, w->k, w->dtype);
    if (s == QL_OK) s = ql_stored_write(writer, o->name, t);
    if (s == QL_OK) return ql_st_writer_commit(writer);
    ql_st_writer_abort(writer);
    return s;
}

/* ||W - Q(W)|| / ||W||, row by row. */
static ql_status relative_error(const weight *w, const ql_qtensor *t, double *out) {
    float *row = ql_host_calloc((size_t)w->k, sizeof *row);
    if (!row) return QL_NOMEM("one row");
    double error = 0, norm = 0;
    ql_status s = QL_OK;
    for (int64_t i = 0; i < w->n && s == QL_OK; i++) {
        s = ql_dequantize_rows(t, i, 1, row);
        for (int64_t j = 0; j < w->k && s == QL_OK; j++) {
            double x = w->w[i * w->k + j], d = x - row[j];
            error += d * d;
            norm += x * x;
        }
    }
    ql_host_free(row);
    if (s == QL_OK) *out = norm > 0 ? sqrt(error / norm) : 0;
    return s;
}

static ql_exit report_tensor(ql_cli *cli, const options *o, const ql_quant_opts *q, const weight *w,
                             double error) {
    ql_qbytes b;
    ql_status s = ql_quant_bytes(q, w->n, w->k, &b);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, s);
    uint64_t bytes = b.codes + b.scale + b.scale2 + b.zero;
    double bits = 8.0 * (double)bytes / ((double)w->n * (double)w->k);
    const char *type = ql_qtype_at(q->type)->name;
    ql_print(&cli->out, "%s [%lld, %lld] to %s, %.3f bits per weight, relative error %.6f -> %s\n",
             o->name, (long long)w->n, (long long)w->k, type, bits, error, o->output);
    json_t *doc = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:s}", "name", o->name,
                            "quant_type", type, "rows", (json_int_t)w->n, "cols", (json_int_t)w->k,
                            "blocks", (json_int_t)b.n_blocks, "bytes", (json_int_t)bytes,
                            "bits_per_weight", bits, "output", o->output);
    /* A tensor with NaN or Inf has no finite error. */
    if (doc)
        json_object_set_new(doc, "rel_error", isfinite(error) ? json_real(error) : json_null());
    return ql_print_json(&cli->out, doc);
}

static ql_exit quantize_tensor(ql_cli *cli, const options *o, const ql_quant_opts *q) {
    ql_st_file *file;
    weight w = {0};
    ql_qtensor t = {0};
    double error = 0;
    ql_status s = ql_st_open(o->tensor, &file);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = read_weight(file, o->name, &w);
    ql_st_close(file);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = ql_quantize(q, w.w, w.n, w.k, &t);
    if (s == QL_OK) {
        t.source_dtype = w.dtype;
        s = relative_error(&w, &t, &error);
        if (s == QL_OK) s = write_tensor(o, q, &w, &t);
        ql_qtensor_free(&t);
    }
    ql_exit code =
        s == QL_OK ? report_tensor(cli, o, q, &w, error) : ql_fail(&cli->out, QL_STAGE_RUN, s);
    ql_host_free(w.w);
    return code;
}

/* ------------------------------------------------------------------ explain */

static ql_exit explain(ql_cli *cli, const options *o) {
    ql_explain e;
    json_t *doc = NULL;
    char *text = NULL;
    ql_status s = ql_explain_measure(o->explain, o->draws, (uint64_t)cli->seed, &e);
    if (s == QL_OK) s = cli->json ? ql_explain_json(&e, &doc) : ql_explain_text(&e, &text);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    if (cli->json) return ql_print_json(&cli->out, doc);
    ql_print(&cli->out, "%s", text);
    ql_host_free(text);
    return QL_EXIT_OK;
}

/* ------------------------------------------------------------------ command */

static ql_status check_mode(const options *o) {
    int modes = (o->model != NULL) + (o->tensor != NULL) + (o->explain != NULL);
    if (modes != 1) {
        return QL_FAIL(QL_ERR_INVALID, "give one of -m D (a model), --tensor FILE (one tensor) and "
                                       "--explain TYPE");
    }
    if (o->model && !o->output_dir) return QL_FAIL(QL_ERR_INVALID, "-m needs --output_dir");
    if (o->tensor && (!o->name || !o->output)) {
        return QL_FAIL(QL_ERR_INVALID, "--tensor needs --name and --output");
    }
    return QL_OK;
}

/* --target_bpw becomes rules by name. */
static ql_status choose_bits(ql_cli *cli, options *o, const ql_quant_opts *q) {
    if (o->bits.target == 0) return QL_OK;
    if (o->tensor)
        return QL_FAIL(QL_ERR_INVALID, "--target_bpw goes with -m; one tensor takes --bits");
    const ql_bits_request r = {.model = o->model,
                               .tokenizer = o->model,
                               .quant = *q,
                               .quantize_head = o->quantize_head,
                               .requantize = true};
    QL_TRY(ql_bits_args_choose(cli, &o->bits, &r, &o->chosen));
    o->quant.by_layer = o->chosen.rules;
    return QL_OK;
}

static ql_exit run(ql_cli *cli, void *opts) {
    options *o = opts;
    ql_quant_opts q;
    ql_status s = check_mode(o);
    if (s == QL_OK && o->explain) return explain(cli, o);
    if (s == QL_OK) s = quant_options(cli, o, &q);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    s = choose_bits(cli, o, &q);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    ql_exit code = o->model ? quantize_folder(cli, o, &q) : quantize_tensor(cli, o, &q);
    ql_bpw_free(&o->chosen);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "model_name_or_path",
     .also = "-m --model",
     .kind = QL_ARG_TEXT,
     .at = OF(model),
     .value = "D",
     .help = "Hugging Face folder or .gguf"},
    {.name = "output_dir",
     .kind = QL_ARG_TEXT,
     .at = OF(output_dir),
     .value = "DIR",
     .help = "folder that is written"},
    QL_QUANT_ARGS(options, quant, "4",
                  "2 (nf2), 3 (nf3), 4 (nf4) or 8 (llm_int8) when --quant_type is not given"),
    QL_BITS_ARGS(options, bits),
    {.name = "format",
     .kind = QL_ARG_CHOICE,
     .at = OF(format),
     .choices = "bnb qlora",
     .help = "insist on a format  [bnb where it can hold the type]"},
    {.name = "quantize_head",
     .kind = QL_ARG_BOOL,
     .at = OF(quantize_head),
     .fallback = "false",
     .value = "B",
     .help = "the output head too"},
    {.name = "tensor",
     .kind = QL_ARG_TEXT,
     .at = OF(tensor),
     .value = "FILE",
     .help = "quantize one tensor of this .safetensors file"},
    {.name = "name",
     .kind = QL_ARG_TEXT,
     .at = OF(name),
     .value = "N",
     .help = "which tensor (with --tensor)"},
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "the .safetensors file that is written (with --tensor)"},
    {.name = "explain",
     .kind = QL_ARG_TEXT,
     .at = OF(explain),
     .value = "TYPE",
     .help = "show how a type's code table is built and what it loses"},
    {.name = "draws",
     .kind = QL_ARG_INT,
     .at = OF(draws),
     .fallback = "1048576",
     .lo = 64,
     .hi = 1 << 30,
     .help = "normal draws that --explain measures on (with --seed)"},
};

const ql_command ql_cmd_quantize = {
    .name = "quantize",
    .summary = "Quantize a model folder, or one tensor; explain a storage type.",
    .usage = "-m D --output_dir OUT [--quant_type T]\n"
             "       qlora quantize --tensor FILE.safetensors --name N --output OUT.safetensors\n"
             "       qlora quantize --explain nf4",
    .about =
        "Weights of linear layers are quantized; embeddings, norms and the head keep their type.\n",
    .examples = "  qlora quantize -m ./llama-7b --output_dir ./llama-7b-nf4\n"
                "  qlora quantize -m ./llama-7b --output_dir ./llama-7b-int8 --bits 8\n"
                "  qlora quantize --explain nf4\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
