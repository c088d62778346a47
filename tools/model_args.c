/* model_args.c - see model_args.h. */
#include "tools/model_args.h"

#include <string.h>

#include "tools/shapes.h"

/* ------------------------------------------------------------------ storage */

/* The storage type from --quant_type, or the usual one of --bits. */
static ql_status choose_type(const ql_cli *cli, const ql_quant_args *a, const ql_qtype **out) {
    const ql_qtype *type = a->type ? ql_qtype_find(a->type) : ql_qtype_of_bits(a->bits);
    if (!type && a->type) {
        return QL_FAIL(QL_ERR_INVALID, "--quant_type takes one of %s, not '%s'", ql_qtype_names(),
                       a->type);
    }
    if (!type) {
        return QL_FAIL(QL_ERR_INVALID, "--bits is %lld; weights are quantized to 2, 3, 4 or 8",
                       (long long)a->bits);
    }
    if (ql_cli_given(cli, "bits") && a->bits != type->bits) {
        return QL_FAIL(QL_ERR_INVALID, "--bits %lld contradicts --quant_type %s, which has %d bits",
                       (long long)a->bits, type->name, (int)type->bits);
    }
    *out = type;
    return QL_OK;
}

ql_status ql_quant_args_opts(const ql_cli *cli, const ql_quant_args *a, ql_quant_opts *out) {
    const ql_qtype *type;
    QL_TRY(choose_type(cli, a, &type));
    ql_quant_opts q = ql_quant_opts_default();
    q.type = type->id;
    q.block = (int32_t)a->block;
    q.block2 = (int32_t)a->block2;
    q.rule = strcmp(a->rule, "cuda") == 0 ? QL_RULE_CUDA : QL_RULE_CPU;
    /* LLM.int8 keeps float scales, and dyn8 is itself the second level: no doubling unless asked.
     */
    bool plain = type->per_row || type->id == QL_QT_DYN8;
    q.double_quant = a->double_quant && (!plain || ql_cli_given(cli, "double_quant"));
    QL_TRY(ql_quant_opts_check(&q));
    *out = q;
    return QL_OK;
}

/* -------------------------------------------------------------------- model */

static void show_progress(void *user, int64_t done, int64_t total, const char *name) {
    ql_progress(user, false, "load  %lld/%lld  %s", (long long)done, (long long)total, name);
}

ql_status ql_model_args_opts(ql_cli *cli, const ql_model_args *a, ql_model_opts *out) {
    ql_model_opts o = ql_model_opts_default();
    bool quantizes = a->quant.bits < 16 || (a->quant.type && !ql_cli_given(cli, "bits"));
    if (!quantizes && a->quant.type) {
        return QL_FAIL(QL_ERR_INVALID, "--bits 16 contradicts --quant_type %s", a->quant.type);
    }
    if (quantizes) QL_TRY(ql_quant_args_opts(cli, &a->quant, &o.quant));
    o.bits_by_layer = a->quant.by_layer;
    o.bits = quantizes ? ql_qtype_at(o.quant.type)->bits : 16;
    o.quantize_head = a->quantize_head;
    o.progress = show_progress;
    o.user = &cli->out;
    *out = o;
    return QL_OK;
}

ql_dtype ql_model_args_compute(const ql_model_args *a, const ql_device *dev) {
    if (strcmp(a->compute, "bf16") == 0) return QL_BF16;
    if (strcmp(a->compute, "fp32") == 0) return QL_F32;
    bool gpu = dev->props.kind == QL_DEV_GPU || dev->props.kind == QL_DEV_IGPU;
    return gpu && (dev->props.caps & QL_CAP_BF16) ? QL_BF16 : QL_F32;
}

const char *ql_model_args_tokenizer(const ql_model_args *a) {
    return a->tokenizer ? a->tokenizer : a->model;
}

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* A folder with config.json and no weights. */
static ql_status is_bare(const char *dir, bool *out) {
    static const char *const files[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin"};
    char path[QL_PATH_MAX];
    *out = true;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        QL_TRY(ql_path_join(path, dir, files[i]));
        if (ql_file_exists(path)) *out = false;
    }
    return QL_OK;
}

static ql_status open_known_shape(const char *name, ql_source **out) {
    json_t *config = ql_shape_find(name);
    if (!config) {
        return QL_FAIL(QL_ERR_NOT_FOUND,
                       "%s: neither a folder, a file nor a known shape; shapes are: %s", name,
                       ql_shape_names());
    }
    ql_status s = ql_source_open_json(name, config, out);
    json_decref(config);
    return s;
}

ql_status ql_model_args_source(const ql_model_args *a, bool shapes, ql_source **out) {
    if (!shapes) return ql_source_open(a->model, out);
    bool folder = ql_dir_exists(a->model), bare = false;
    if (!folder && !ql_file_exists(a->model)) return open_known_shape(a->model, out);
    if (folder) QL_TRY(is_bare(a->model, &bare));
    if (bare || has_suffix(a->model, ".json")) return ql_source_open_config(a->model, out);
    return ql_source_open(a->model, out);
}

/* --------------------------------------------------------------- its weights */

static uint64_t slot_bytes(const ql_slot *s) {
    return s->region ? (uint64_t)s->rows * (uint64_t)s->cols * ql_dtype_size(s->dtype) : 0;
}

static uint64_t coded_bytes(const ql_linear *l) {
    return slot_bytes(&l->codes) + slot_bytes(&l->scale) + slot_bytes(&l->zero) +
           slot_bytes(&l->scale2);
}

uint64_t ql_model_quantized_bytes(ql_model *m) {
    const ql_linear *l;
    uint64_t bytes = 0;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++)
        if (l->quantized) bytes += coded_bytes(l);
    return bytes;
}

double ql_model_weight_bits(ql_model *m) {
    const ql_linear *l;
    double bytes = 0, weights = 0, dense = 0, dense_weights = 0;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        double n = (double)l->n * (double)l->k;
        if (l->quantized) {
            weights += n;
            bytes += (double)(coded_bytes(l) + slot_bytes(&l->offset));
        } else if (l != m->head) {
            dense_weights += n;
            dense += (double)slot_bytes(&l->dense);
        }
    }
    if (weights > 0) return 8.0 * bytes / weights;
    return dense_weights > 0 ? 8.0 * dense / dense_weights : 0;
}

static const char *type_name(const ql_linear *l) {
    static const char *const ggml[] = {
        [QL_GGML_NONE] = "ggml", [QL_GGML_Q4_0] = "q4_0", [QL_GGML_Q4_1] = "q4_1",
        [QL_GGML_Q5_0] = "q5_0", [QL_GGML_Q5_1] = "q5_1", [QL_GGML_Q8_0] = "q8_0"};
    return l->quant.type == QL_QT_GGML ? ggml[l->ggml] : ql_qtype_at(l->quant.type)->name;
}

const char *ql_model_weight_type(ql_model *m) {
    static const char *const dense[] = {
        [QL_F32] = "fp32", [QL_F16] = "fp16", [QL_BF16] = "bf16", [QL_I32] = "i32", [QL_U8] = "u8"};
    const ql_linear *l;
    const char *first = NULL;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        if (!l->quantized) continue;
        if (!first) first = type_name(l);
        if (strcmp(first, type_name(l)) != 0) return "mixed";
    }
    if (first) return first;
    l = ql_model_linear(m, 0);
    return l ? dense[l->dense.dtype] : "none";
}

json_t *ql_model_types_json(ql_model *m) {
    json_t *types = json_object();
    const ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        if (!l->quantized) continue;
        json_int_t n = json_integer_value(json_object_get(types, type_name(l)));
        json_object_set_new(types, type_name(l), json_integer(n + 1));
    }
    return types;
}
