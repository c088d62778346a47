/*
 * model_args.h - flags that say which model, how its weights are stored, and in which type is
 * computed; shared by every command that runs a model.
 */
#ifndef QLORA_TOOLS_MODEL_ARGS_H
#define QLORA_TOOLS_MODEL_ARGS_H

#include "core/model/model.h"
#include "tools/cli.h"

/* How weights are quantized. */
typedef struct ql_quant_args {
    const char *type, *rule; /* type NULL = by bits */
    const char *by_layer;    /* rules, or NULL      */
    int64_t bits, block, block2;
    bool double_quant;
} ql_quant_args;

typedef struct ql_model_args {
    const char *model, *tokenizer, *compute;
    ql_quant_args quant;
    bool quantize_head;
} ql_model_args;

/* Rows of a flag table for the member `f` (a ql_quant_args) of the option struct T. */
#define QL_QUANT_ARGS(T, f, bits_default, bits_help)                                               \
    {.name = "bits",                                                                               \
     .kind = QL_ARG_INT,                                                                           \
     .at = offsetof(T, f.bits),                                                                    \
     .fallback = bits_default,                                                                     \
     .lo = 1,                                                                                      \
     .hi = 16,                                                                                     \
     .help = bits_help},                                                                           \
        {.name = "quant_type",                                                                     \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.type),                                                                \
         .value = "T",                                                                             \
         .help = "nf4 fp4 nf2 nf3 int2 int3 int4 (s: symmetric, a: affine) int8 dyn8 llm_int8  "   \
                 "[by --bits]"},                                                                   \
        {.name = "bits_by_layer",                                                                  \
         .kind = QL_ARG_TEXT,                                                                      \
         .flags = QL_ARG_LIST,                                                                     \
         .at = offsetof(T, f.by_layer),                                                            \
         .value = "R",                                                                             \
         .help = "rules WHERE:BITS by layer or name, the first that fits: 0-3:4,*:2"},             \
        {.name = "double_quant",                                                                   \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.double_quant),                                                        \
         .fallback = "true",                                                                       \
         .value = "B",                                                                             \
         .help = "quantize the block scales too; not by default for llm_int8, dyn8"},              \
        {.name = "blocksize",                                                                      \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.block),                                                               \
         .fallback = "64",                                                                         \
         .lo = 1,                                                                                  \
         .hi = 65536,                                                                              \
         .help = "weights per scale, 8 to 65536"},                                                 \
        {.name = "blocksize2",                                                                     \
         .kind = QL_ARG_INT,                                                                       \
         .at = offsetof(T, f.block2),                                                              \
         .fallback = "256",                                                                        \
         .lo = 1,                                                                                  \
         .hi = 4096,                                                                               \
         .help = "scales per second-level scale"},                                                 \
    {                                                                                              \
        .name = "quant_rule", .kind = QL_ARG_CHOICE, .at = offsetof(T, f.rule), .fallback = "cpu", \
        .choices = "cpu cuda", .help = "where bitsandbytes' two back ends differ"                  \
    }

/* Rows for the member `f` (a ql_model_args). */
#define QL_MODEL_ARGS(T, f, bits_default, bits_help)                                               \
    {.name = "model_name_or_path",                                                                 \
     .also = "-m --model",                                                                         \
     .kind = QL_ARG_TEXT,                                                                          \
     .flags = QL_ARG_REQUIRED,                                                                     \
     .at = offsetof(T, f.model),                                                                   \
     .value = "D",                                                                                 \
     .help = "Hugging Face folder or .gguf"},                                                      \
        {.name = "tokenizer",                                                                      \
         .kind = QL_ARG_TEXT,                                                                      \
         .at = offsetof(T, f.tokenizer),                                                           \
         .value = "D",                                                                             \
         .help = "folder with tokenizer files, or a .gguf  [the model's]"},                        \
        QL_QUANT_ARGS(T, f.quant, bits_default, bits_help),                                        \
        {.name = "quantize_head",                                                                  \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.quantize_head),                                                       \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "the output head too"},                                                           \
    {                                                                                              \
        .name = "compute_dtype", .kind = QL_ARG_CHOICE, .at = offsetof(T, f.compute),              \
        .fallback = "auto", .choices = "auto fp32 bf16|fp16",                                      \
        .help = "type of activations; auto is fp32 on the CPU, bf16 on a GPU that has it"          \
    }

/* The storage from --bits, --quant_type and the rest; contradictions are QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_quant_args_opts(const ql_cli *cli, const ql_quant_args *a,
                                          ql_quant_opts *out);
/* Options for opening; loading shows progress on cli->out. */
QL_NODISCARD ql_status ql_model_args_opts(ql_cli *cli, const ql_model_args *a, ql_model_opts *out);
ql_dtype ql_model_args_compute(const ql_model_args *a, const ql_device *dev);
/* Where the tokenizer is. */
const char *ql_model_args_tokenizer(const ql_model_args *a);

/* The model's files. `shapes`: also a folder without weights, a config.json, or a well-known name
 * (tools/shapes.h), which is enough for planning. */
QL_NODISCARD ql_status ql_model_args_source(const ql_model_args *a, bool shapes, ql_source **out);
/* Storage of the quantized linear weights: codes, scales, second level, zeros. Exactly what these
 * parts take in files. */
uint64_t ql_model_quantized_bytes(ql_model *m);
/* {"nf4": 28, "nf2": 182}: quantized weights by storage type. Owned. */
json_t *ql_model_types_json(ql_model *m);
/* Storage of the quantized linear weights in bits per weight, 16 or 32 when none is quantized. */
double ql_model_weight_bits(ql_model *m);
/* "nf4", "q4_1", ...: storage of the quantized linear weights, "mixed" when there are several; or
 * the dtype of dense ones. */
const char *ql_model_weight_type(ql_model *m);

#endif /* QLORA_TOOLS_MODEL_ARGS_H */
