/*
 * random_model.c - the program behind tools/make-random-model: a random model of a given shape,
 * quantized as it is made, one tensor in memory at a time.
 *
 * Weights are normal with deviation 0.02, norms one, biases zero; every tensor's draws depend on
 * the seed and its name only. There is no tokenizer: such a model trains on rows of token ids.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/base/stage.h"
#include "core/quant/folder_config.h"
#include "tools/argv.h"
#include "tools/model_args.h"

#define DEVIATION 0.02f

typedef struct options {
    const char *model, *output_dir, *quant_type;
    bool double_quant, help;
    int64_t block, seed;
} options;

typedef struct maker {
    const options *o;
    ql_model *model;
    ql_quant_opts quant;
    bool quantizes;
    ql_st_writer *file;
    int64_t done, total;
    ql_out out;
} maker;

/* -------------------------------------------------------------------- tensors */

static void draw(const maker *k, const char *name, float *w, int64_t n) {
    ql_stream s =
        ql_stream_make((uint64_t)k->o->seed, QL_STREAM_ADAPTER_INIT, ql_hash_name(name) >> 16);
    for (int64_t i = 0; i < n; i++) w[i] = DEVIATION * ql_stream_normal(&s);
}

static ql_status write_bf16(maker *k, const float *w, int64_t n) {
    uint16_t *h = ql_host_calloc((size_t)n, sizeof *h);
    if (!h) return QL_NOMEM("a tensor");
    for (int64_t i = 0; i < n; i++) h[i] = ql_bf16_from_f32(w[i]);
    ql_status s = ql_st_writer_data(k->file, h, (uint64_t)n * sizeof *h);
    ql_host_free(h);
    return s;
}

static ql_status write_quantized(maker *k, const char *name, const float *w, int64_t n,
                                 int64_t cols) {
    ql_qtensor q;
    QL_TRY(ql_quantize(&k->quant, w, n, cols, &q));
    q.source_dtype = "bfloat16";
    ql_status s = ql_stored_write(k->file, name, &q);
    ql_qtensor_free(&q);
    return s;
}

/* One tensor [rows, cols]: declared (`declare`) or written. Constant ones hold `constant`. */
typedef struct tensor {
    const char *name;
    int64_t rows, cols;
    bool quantized, random;
    float constant;
} tensor;

static ql_status declare_tensor(maker *k, const tensor *t) {
    const int64_t shape[2] = {t->rows, t->cols};
    if (t->quantized)
        return ql_stored_declare(k->file, t->name, &k->quant, t->rows, t->cols, "bfloat16");
    return t->random ? ql_st_writer_declare(k->file, t->name, QL_ST_BF16, 2, shape)
                     : ql_st_writer_declare(k->file, t->name, QL_ST_BF16, 1, shape + 1);
}

static ql_status write_tensor(maker *k, const tensor *t) {
    int64_t n = t->rows * t->cols;
    float *w = ql_host_calloc((size_t)n, sizeof *w);
    if (!w) return QL_NOMEM("a tensor");
    if (t->random)
        draw(k, t->name, w, n);
    else
        for (int64_t i = 0; i < n; i++) w[i] = t->constant;
    ql_status s =
        t->quantized ? write_quantized(k, t->name, w, t->rows, t->cols) : write_bf16(k, w, n);
    ql_host_free(w);
    ql_progress(&k->out, false, "%lld/%lld  %s", (long long)++k->done, (long long)k->total,
                t->name);
    return s;
}

typedef ql_status (*visit_fn)(maker *k, const tensor *t);

/* Matrices are random, weights of norms leave the scale as it is, biases are zero. */
static ql_status visit_dense(maker *k, visit_fn visit, const ql_dense *d) {
    const char *dot = strrchr(d->name, '.');
    bool norm = d->slot.rows == 1 && dot && !strcmp(dot, ".weight");
    const tensor t = {d->name, d->slot.rows,     d->slot.cols,
                      false,   d->slot.rows > 1, norm ? 1.0f - k->model->arch.norm_offset : 0.0f};
    return visit(k, &t);
}

static ql_status visit_linear(maker *k, visit_fn visit, const ql_linear *l) {
    bool quantized = l->quantized && k->quantizes, turned = l->transposed && !quantized;
    const tensor t = {l->tensor, turned ? l->k : l->n, turned ? l->n : l->k, quantized, true, 0};
    return visit(k, &t);
}

static ql_status visit_all(maker *k, visit_fn visit) {
    ql_model *m = k->model;
    const ql_dense *d;
    const ql_linear *l;
    for (int64_t i = 0; (d = ql_model_dense(m, i)); i++) QL_TRY(visit_dense(k, visit, d));
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++)
        if (!(l == m->head && m->tied)) QL_TRY(visit_linear(k, visit, l));
    return QL_OK;
}

static ql_status count_tensor(maker *k, const tensor *t) {
    (void)t;
    k->total++;
    return QL_OK;
}

/* --------------------------------------------------------------------- folder */

static ql_status write_config(maker *k, const char *dir) {
    char path[QL_PATH_MAX];
    json_t *config = NULL;
    const ql_quantize_folder_opts o = {.quant = k->quant, .compute_dtype = "bfloat16"};
    QL_TRY(ql_path_join(path, dir, "config.json"));
    if (k->quantizes) {
        bool bnb = ql_bnb_holds(ql_qtype_at(k->quant.type), k->quant.block,
                                k->quant.double_quant ? k->quant.block2 : 0);
        const ql_folder_storage storage = {.format = bnb ? QL_STORED_BNB : QL_STORED_QLORA,
                                           .quant = &k->quant};
        QL_TRY(ql_quantized_config(k->model->source, &o, &storage, &config));
    } else {
        config = json_deep_copy(ql_source_config(k->model->source));
    }
    if (!config) return QL_NOMEM("config.json");
    json_object_del(config, "dtype");
    json_object_set_new(config, "torch_dtype", json_string("bfloat16"));
    ql_status s = ql_json_write(path, config);
    json_decref(config);
    return s;
}

static ql_status write_weights(maker *k, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "model.safetensors"));
    QL_TRY(ql_st_writer_create(path, &k->file));
    ql_status s = ql_st_writer_metadata(k->file, "format", "pt");
    if (s == QL_OK) s = visit_all(k, count_tensor);
    if (s == QL_OK) s = visit_all(k, declare_tensor);
    if (s == QL_OK) s = visit_all(k, write_tensor);
    ql_progress_end(&k->out);
    if (s == QL_OK) return ql_st_writer_commit(k->file);
    ql_st_writer_abort(k->file);
    return s;
}

static ql_status choose_storage(maker *k, ql_model_opts *out) {
    k->quant = ql_quant_opts_default();
    k->quantizes = strcmp(k->o->quant_type, "none") != 0;
    *out = ql_model_opts_default();
    out->bits = 16;
    if (!k->quantizes) return QL_OK;
    const ql_qtype *type = ql_qtype_find(k->o->quant_type);
    if (!type) {
        return QL_FAIL(QL_ERR_INVALID, "--quant_type takes none, %s; not '%s'", ql_qtype_names(),
                       k->o->quant_type);
    }
    k->quant.type = type->id;
    k->quant.block = (int32_t)k->o->block;
    k->quant.double_quant = k->o->double_quant && !type->per_row && type->id != QL_QT_DYN8;
    out->bits = type->bits;
    out->quant = k->quant;
    return ql_quant_opts_check(&k->quant);
}

/* Takes the configuration only, also of a folder that has weights. */
static ql_status open_shape(const options *o, ql_source **out) {
    const ql_model_args a = {.model = o->model};
    ql_source *whole;
    QL_TRY(ql_model_args_source(&a, true, &whole));
    ql_status s = ql_source_open_json(o->model, ql_source_config(whole), out);
    ql_source_close(whole);
    return s;
}

static ql_status make(const options *o) {
    maker k = {.o = o};
    ql_out_init(&k.out, false, false, "auto");
    ql_model_opts mo;
    ql_source *shape;
    char staged[QL_PATH_MAX];
    QL_TRY(choose_storage(&k, &mo));
    QL_TRY(open_shape(o, &shape));
    QL_TRY(ql_model_open(shape, &mo, &k.model));
    ql_status s = ql_stage_begin(o->output_dir, staged);
    if (s == QL_OK) {
        s = write_config(&k, staged);
        if (s == QL_OK) s = write_weights(&k, staged);
        s = ql_stage_end(s, staged, o->output_dir);
    }
    ql_model_close(k.model);
    return s;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "model",
     .also = "-m --model_name_or_path",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(model),
     .value = "NAME",
     .help = "a known shape such as llama-7b, a config.json or a folder with one"},
    {.name = "output_dir",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(output_dir),
     .value = "D",
     .help = "folder that is written"},
    {.name = "quant_type",
     .kind = QL_ARG_TEXT,
     .at = OF(quant_type),
     .fallback = "nf4",
     .value = "T",
     .help = "nf4 fp4 int4 int8 ..., or none = bf16"},
    {.name = "double_quant",
     .kind = QL_ARG_BOOL,
     .at = OF(double_quant),
     .fallback = "true",
     .value = "B",
     .help = "quantize the block scales too"},
    {.name = "blocksize",
     .kind = QL_ARG_INT,
     .at = OF(block),
     .fallback = "64",
     .lo = 1,
     .hi = 4096,
     .help = "weights per scale"},
    {.name = "seed",
     .kind = QL_ARG_INT,
     .at = OF(seed),
     .fallback = "0",
     .lo = 0,
     .hi = 0x1p53,
     .help = "seed of the weights"},
};
enum { N_ARGS = sizeof args / sizeof *args };

/* `sp` keeps the texts of the command line. */
static int run(int argc, char **argv, ql_spellings *sp) {
    options o = {0};
    bool given[N_ARGS] = {false};
    int help = 0;
    const ql_arg_table table = {args, N_ARGS, &o, given};
    ql_status s = ql_args_defaults(&table, 1);
    if (s == QL_OK) s = ql_args_parse(&table, 1, argc - 1, argv + 1, sp, &help);
    if (s == QL_OK && help) {
        printf("usage: tools/make-random-model --model NAME --output_dir D [--quant_type T]\n\n");
        ql_args_help(stdout, args, N_ARGS, true);
        return 0;
    }
    bool usage = s != QL_OK;
    if (s == QL_OK) s = make(&o);
    if (s == QL_OK) return 0;
    fprintf(stderr, "error: %s\n", ql_last_error());
    return usage ? 2 : (int)ql_exit_for(QL_STAGE_MODEL, s);
}

int main(int argc, char **argv) {
    ql_spellings sp = {0};
    int code = run(argc, argv, &sp);
    ql_spellings_free(&sp);
    return code;
}
