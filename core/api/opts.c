/*
 * opts.c - option structs: their defaults, structs of other versions of the header, and names and
 * numbers to what core takes. Defaults come from core where core has one.
 */
#include <string.h>

#include "core/api/api.h"

/* Larger structs are not options that somebody forgot, but memory that nobody initialized. */
#define MAX_OPTS_BYTES 4096

/* ------------------------------------------------------------------ defaults */

static qlora_session_opts session_base(void) {
    return (qlora_session_opts){.device = "auto"};
}

static qlora_quantize_opts quantize_base(void) {
    ql_quant_opts q = ql_quant_opts_default();
    return (qlora_quantize_opts){.block = q.block, .block2 = q.block2, .double_quant = -1};
}

static qlora_model_opts model_base(void) {
    ql_quant_opts q = ql_quant_opts_default();
    return (qlora_model_opts){.block = q.block, .block2 = q.block2, .double_quant = -1};
}

static qlora_lora_opts lora_base(void) {
    ql_lora_config c = ql_lora_config_default();
    return (qlora_lora_opts){.r = c.r, .alpha = c.alpha, .dropout = c.dropout};
}

static qlora_data_opts data_base(void) {
    return (qlora_data_opts){.format = "auto", .truncation = "error"};
}

static qlora_train_opts train_base(void) {
    ql_train_opts o = ql_train_opts_default();
    return (qlora_train_opts){.batch = o.batch,
                              .accumulate = o.accumulate,
                              .epochs = o.epochs,
                              .learning_rate = o.schedule.lr,
                              .schedule = "constant",
                              .weight_decay = o.weight_decay,
                              .max_grad_norm = o.max_grad_norm,
                              .beta1 = o.beta1,
                              .beta2 = o.beta2,
                              .epsilon = o.epsilon,
                              .label_smoothing = o.label_smoothing,
                              .checkpoint_every = o.checkpoint,
                              .compute = "auto",
                              .shuffle = o.shuffle,
                              .packing = o.packing,
                              .evaluate = true,
                              .optim = o.optim->name,
                              .momentum = o.momentum};
}

static qlora_generate_opts generate_base(void) {
    return (qlora_generate_opts){.max_new_tokens = 256,
                                 .top_p = 1.0,
                                 .compute = "auto",
                                 .num_beams = 1,
                                 .length_penalty = 1.0,
                                 .early_stopping = "false",
                                 .decoder_start = -1};
}

static qlora_merge_opts merge_base(void) {
    return (qlora_merge_opts){.dtype = "bf16"};
}

/* ------------------------------------------------------------------ other versions */

/* The caller's struct of `size` bytes gets what it has room for. */
static void init(void *o, size_t size, const void *base, size_t known) {
    if (!o || size < sizeof size) return;
    memset(o, 0, size);
    memcpy(o, base, size < known ? size : known);
    memcpy(o, &size, sizeof size);
}

/* *out holds the defaults. What a shorter struct lacks keeps them; what a longer one adds must be
 * zero. */
static ql_status take(const char *name, const void *in, size_t known, void *out) {
    if (!in) return QL_OK;
    size_t size;
    memcpy(&size, in, sizeof size);
    if (size <= sizeof size || size > MAX_OPTS_BYTES)
        return QL_FAIL(QL_ERR_INVALID, "qlora_%s_opts: size is %zu; begin from qlora_%s_defaults()",
                       name, size, name);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)in)[i])
            return QL_FAIL(QL_ERR_UNSUPPORTED,
                           "qlora_%s_opts: a setting at byte %zu is newer than this library (%s)",
                           name, i, qlora_version());
    memcpy(out, in, size < known ? size : known);
    return QL_OK;
}

#define OPTIONS(name)                                                                              \
    void qlora_##name##_opts_init(qlora_##name##_opts *o, size_t size) {                           \
        const qlora_##name##_opts base = name##_base();                                            \
        init(o, size, &base, sizeof base);                                                         \
    }                                                                                              \
    ql_status ql_api_##name##_opts(const qlora_##name##_opts *in, qlora_##name##_opts *out) {      \
        *out = name##_base();                                                                      \
        return take(#name, in, sizeof *out, out);                                                  \
    }
OPTIONS(session)
OPTIONS(quantize)
OPTIONS(model)
OPTIONS(lora)
OPTIONS(data)
OPTIONS(train)
OPTIONS(generate)
OPTIONS(merge)
#undef OPTIONS

/* ------------------------------------------------------------------ to core */

ql_status ql_api_int(const char *name, int64_t value, int64_t lo, int64_t hi, int32_t *out) {
    if (value < lo || value > hi)
        return QL_FAIL(QL_ERR_INVALID, "%s is %lld, expected %lld to %lld", name, (long long)value,
                       (long long)lo, (long long)hi);
    *out = (int32_t)value;
    return QL_OK;
}

ql_status ql_api_compute(const char *name, const ql_device *dev, ql_dtype *out) {
    if (name && strcmp(name, "fp32") == 0) {
        *out = QL_F32;
    } else if (name && strcmp(name, "bf16") == 0) {
        *out = QL_BF16;
    } else if (!name || strcmp(name, "auto") == 0) {
        bool gpu = dev->props.kind == QL_DEV_GPU || dev->props.kind == QL_DEV_IGPU;
        *out = gpu && (dev->props.caps & QL_CAP_BF16) ? QL_BF16 : QL_F32;
    } else {
        return QL_FAIL(QL_ERR_INVALID, "compute takes auto, fp32 or bf16, not '%.64s'", name);
    }
    return QL_OK;
}

/* The storage type of a name, or the usual one of a number of bits. */
static ql_status find_type(const char *name, int64_t bits, const ql_qtype **out) {
    const ql_qtype *type = name ? ql_qtype_find(name) : ql_qtype_of_bits(bits ? bits : 4);
    if (!type && name)
        return QL_FAIL(QL_ERR_INVALID, "quant_type takes one of %s, not '%.64s'", ql_qtype_names(),
                       name);
    if (!type)
        return QL_FAIL(QL_ERR_INVALID, "bits is %lld; weights are quantized to 2, 3, 4 or 8",
                       (long long)bits);
    if (bits && bits != type->bits)
        return QL_FAIL(QL_ERR_INVALID, "bits %lld contradicts quant_type %s, which has %d bits",
                       (long long)bits, type->name, (int)type->bits);
    *out = type;
    return QL_OK;
}

ql_status ql_api_quant(const qlora_quantize_opts *o, ql_quant_opts *out) {
    const ql_qtype *type;
    QL_TRY(find_type(o->quant_type, o->bits, &type));
    ql_quant_opts q = ql_quant_opts_default();
    q.type = type->id;
    q.rule = o->cuda_rule ? QL_RULE_CUDA : QL_RULE_CPU;
    QL_TRY(ql_api_int("block", o->block, 1, 65536, &q.block));
    QL_TRY(ql_api_int("block2", o->block2, 1, 4096, &q.block2));
    /* LLM.int8 keeps float scales, and dyn8 is itself the second level. */
    bool plain = type->per_row || type->id == QL_QT_DYN8;
    q.double_quant = o->double_quant < 0 ? !plain : o->double_quant > 0;
    QL_TRY(ql_quant_opts_check(&q));
    *out = q;
    return QL_OK;
}
