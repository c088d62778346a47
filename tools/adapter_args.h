/* adapter_args.h - flags that say which linear layers carry adapters, and how they begin. */
#ifndef QLORA_TOOLS_ADAPTER_ARGS_H
#define QLORA_TOOLS_ADAPTER_ARGS_H

#include "core/model/model.h"
#include "tools/cli.h"

typedef struct ql_adapter_args {
    const char *from; /* folder of an adapter to continue; NULL = a new one */
    const char *targets, *init;
    const char *rank_pattern, *alpha_pattern, *saved, *exclude, *layers, *layers_pattern, *tokens;
    int64_t r;
    double alpha, dropout;
    bool rslora, dora;
} ql_adapter_args;

/* The row of an existing adapter, for the `const char *` member f of the option struct T. */
#define QL_ADAPTER_FOLDER_ARG(T, f, help_text)                                                     \
    {                                                                                              \
        .name = "adapter_name_or_path", .also = "--adapter", .kind = QL_ARG_TEXT,                  \
        .at = offsetof(T, f), .value = "A", .help = help_text                                      \
    }

/* A setting that is text, in a file also of this form; not given = as PEFT's default. */
#define QL_ADAPTER_TEXT_ARG(T, f, form, flag, word, help_text)                                     \
    {                                                                                              \
        .name = flag, .kind = QL_ARG_TEXT, .flags = QL_ARG_ADVANCED | (form),                      \
        .at = offsetof(T, f), .value = word, .help = help_text                                     \
    }

/* Rows of a flag table for the member `f` (a ql_adapter_args). */
#define QL_ADAPTER_ARGS(T, f)                                                                      \
    QL_ADAPTER_FOLDER_ARG(T, f.from, "continue from this adapter folder"),                         \
        QL_NEW_ADAPTER_ARGS(T, f, "true", "true gaussian loftq pissa olora|eva corda")

/* Those of a new adapter; `init`: how it begins when not said, one of `inits`. */
#define QL_NEW_ADAPTER_ARGS(T, f, init_default, inits)                                             \
    {.name = "lora_r",                                                                             \
     .also = "-r",                                                                                 \
     .kind = QL_ARG_INT,                                                                           \
     .at = offsetof(T, f.r),                                                                       \
     .fallback = "64",                                                                             \
     .lo = 1,                                                                                      \
     .hi = 65536,                                                                                  \
     .help = "rank"},                                                                              \
        {.name = "lora_alpha",                                                                     \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.alpha),                                                               \
         .fallback = "16",                                                                         \
         .help = "scaling is alpha / r"},                                                          \
        {.name = "lora_dropout",                                                                   \
         .kind = QL_ARG_REAL,                                                                      \
         .at = offsetof(T, f.dropout),                                                             \
         .fallback = "0.0",                                                                        \
         .help = "dropout on the adapter's input"},                                                \
        {.name = "lora_target_modules",                                                            \
         .also = "--targets",                                                                      \
         .kind = QL_ARG_TEXT,                                                                      \
         .flags = QL_ARG_LIST,                                                                     \
         .at = offsetof(T, f.targets),                                                             \
         .fallback = "all-linear",                                                                 \
         .value = "LIST",                                                                          \
         .help = "q_proj,v_proj (or q,v), all-linear, or a pattern"},                              \
        {.name = "use_rslora",                                                                     \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.rslora),                                                              \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "scaling is alpha / sqrt(r)"},                                                    \
        {.name = "use_dora",                                                                       \
         .kind = QL_ARG_BOOL,                                                                      \
         .at = offsetof(T, f.dora),                                                                \
         .fallback = "false",                                                                      \
         .value = "B",                                                                             \
         .help = "DoRA: a trained magnitude for each row of W + s B A"},                           \
        QL_ADAPTER_TEXT_ARG(T, f.rank_pattern, QL_ARG_MAP, "rank_pattern", "P",                    \
                            "ranks of some modules: q_proj=16,mlp.down_proj=4, or JSON"),          \
        QL_ADAPTER_TEXT_ARG(T, f.alpha_pattern, QL_ARG_MAP, "alpha_pattern", "P",                  \
                            "alpha of some modules, likewise"),                                    \
        QL_ADAPTER_TEXT_ARG(T, f.saved, QL_ARG_LIST, "modules_to_save", "LIST",                    \
                            "modules trained and saved whole; a classifier always is"),            \
        QL_ADAPTER_TEXT_ARG(T, f.exclude, QL_ARG_LIST, "exclude_modules", "LIST",                  \
                            "modules without adapter, written like lora_target_modules"),          \
        QL_ADAPTER_TEXT_ARG(T, f.layers, QL_ARG_LIST, "layers_to_transform", "LIST",               \
                            "adapters in these layers only: 0,1,5-7"),                             \
        QL_ADAPTER_TEXT_ARG(T, f.layers_pattern, QL_ARG_LIST, "layers_pattern", "LIST",            \
                            "module that holds those layers: layers, h, block"),                   \
        QL_ADAPTER_TEXT_ARG(T, f.tokens, QL_ARG_LIST | QL_ARG_MAP, "trainable_token_indices",      \
                            "LIST", "token ids whose embedding is trained: 5,6,9-12, or JSON"),    \
    {                                                                                              \
        .name = "init_lora_weights", .kind = QL_ARG_CHOICE, .at = offsetof(T, f.init),             \
        .fallback = init_default, .choices = inits,                                                \
        .help = "how A begins (B is zero), or how base and adapter are split"                      \
    }

/* The settings of a new adapter, or those of the folder `from`: a flag that contradicts the folder
 * is QL_ERR_INVALID. Free with ql_lora_config_free. */
QL_NODISCARD ql_status ql_adapter_args_config(const ql_cli *cli, const ql_adapter_args *a,
                                              ql_lora_config *out);

#endif /* QLORA_TOOLS_ADAPTER_ARGS_H */
