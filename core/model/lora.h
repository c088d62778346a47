/*
 * lora.h - the settings of adapters (PEFT's adapter_config.json), and what they mean for a module.
 *
 * A ql_lora_config is plain data; everything its pointers reach lies in its arena. The matching
 * rules are those of PEFT 0.21 and work on module paths ("model.layers.0.self_attn.q_proj"), so
 * that nothing here knows a model.
 */
#ifndef QLORA_CORE_MODEL_LORA_H
#define QLORA_CORE_MODEL_LORA_H

#include "core/base/hostmem.h"
#include "core/base/json.h"

typedef enum ql_lora_init { QL_INIT_DEFAULT, QL_INIT_GAUSSIAN } ql_lora_init;

/* An entry of rank_pattern or alpha_pattern: `pattern` is a regular expression that must match the
 * module path, or what follows a dot in it, to its end. */
typedef struct ql_lora_pattern {
    char *pattern;
    double value;
} ql_lora_pattern;

/* trainable_token_indices: rows of an embedding that are trained in place of the base's. `module`:
 * end of the embedding's path, or NULL for the input embedding. n = 0: none. */
typedef struct ql_token_rows {
    char *module;
    int32_t *ids;
    int32_t n;
} ql_token_rows;

typedef struct ql_lora_config {
    int32_t r;      /* 64   */
    double alpha;   /* 16   */
    double dropout; /* 0    */
    bool rslora;    /* scaling alpha / sqrt(r) instead of alpha / r */
    bool dora;      /* a trained magnitude per row (use_dora) */
    ql_lora_init init;
    /* Neither: "all-linear", every linear layer but the head. `targets`: a whole module path or
     * what follows a dot at its end. `pattern`: one regular expression for the whole path. */
    char **targets;
    int32_t n_targets;
    char *pattern;
    ql_lora_pattern *rank_pattern, *alpha_pattern; /* the first that matches holds */
    int32_t n_rank, n_alpha;
    char **modules_to_save; /* ends of paths (no dot needed): trained whole, no adapter inside */
    int32_t n_save;
    char **exclude; /* like targets, but modules that get no adapter; or one expression */
    int32_t n_exclude;
    char *exclude_pattern;
    /* Only these layers (with `targets` that are no whole paths); `layers_pattern`: regular
     * expressions for the module that holds the layers, none = the first number of a path. */
    int32_t *layers;
    int32_t n_layers;
    char **layers_pattern;
    int32_t n_layers_pattern;
    ql_token_rows tokens;
    ql_arena memory; /* owns all of the above */
} ql_lora_config;

ql_lora_config ql_lora_config_default(void);
void ql_lora_config_free(ql_lora_config *c);
QL_NODISCARD ql_status ql_lora_config_copy(const ql_lora_config *from, ql_lora_config *out);
/* Settings that contradict each other, numbers out of range, and expressions that do not compile,
 * each by name. */
QL_NODISCARD ql_status ql_lora_check(const ql_lora_config *c);

/* ---- settings from text (flags, options); each replaces what was there ---- */

/* "all-linear", "q_proj,v_proj" or a regular expression (anything else with characters outside
 * [A-Za-z0-9_.,-]). */
QL_NODISCARD ql_status ql_lora_set_targets(ql_lora_config *c, const char *text);
QL_NODISCARD ql_status ql_lora_set_exclude(ql_lora_config *c, const char *text); /* likewise */
QL_NODISCARD ql_status ql_lora_set_saved(ql_lora_config *c, const char *names);  /* a,b */
/* "q_proj=16,mlp.down_proj=4" or a JSON object. */
QL_NODISCARD ql_status ql_lora_set_rank_pattern(ql_lora_config *c, const char *text);
QL_NODISCARD ql_status ql_lora_set_alpha_pattern(ql_lora_config *c, const char *text);
QL_NODISCARD ql_status ql_lora_set_layers(ql_lora_config *c, const char *text); /* "0,1,5-7" */
QL_NODISCARD ql_status ql_lora_set_layers_pattern(ql_lora_config *c, const char *names);
/* "5,6,9-12", or a JSON object with one entry {"<embedding>": [5, 6]}. */
QL_NODISCARD ql_status ql_lora_set_tokens(ql_lora_config *c, const char *text);
/* What PEFT's model class of a task adds: SEQ_CLS saves "classifier" and "score". */
QL_NODISCARD ql_status ql_lora_for_task(ql_lora_config *c, const char *task_type);

/* ---- what the settings mean for a module ---- */

/* What one linear layer gets; zeroed when it is not adapted. */
typedef struct ql_lora_target {
    bool adapted;
    int32_t r;
    double alpha;
    float scaling; /* alpha / r or alpha / sqrt(r) */
} ql_lora_target;

/* `is_head`: the output head (or the classifier of a classification), excluded by all-linear. PEFT
 * matches target_modules with every module: ask for embeddings as well, with is_head true, and
 * refuse those that are adapted. A module that would be adapted and also lies in a saved one is
 * QL_ERR_UNSUPPORTED. */
QL_NODISCARD ql_status ql_lora_target_of(const ql_lora_config *c, const char *module, bool is_head,
                                         ql_lora_target *out);
/* Is this module, or one that it lies in, trained whole? PEFT: its path ends with an entry of
 * modules_to_save; what lies inside goes with it. */
QL_NODISCARD ql_status ql_lora_saves(const ql_lora_config *c, const char *module, bool *out);
/* Do c->tokens mean rows of this embedding? `is_input`: it is the model's input embedding. */
bool ql_lora_has_tokens_of(const ql_lora_config *c, const char *module, bool is_input);

/* Of a module that no pattern names; and only whether there is an adapter. */
float ql_lora_scaling(const ql_lora_config *c);
QL_NODISCARD ql_status ql_lora_matches(const ql_lora_config *c, const char *module, bool is_head,
                                       bool *out);

/* ---- adapter_config.json ---- */

/* Settings that cannot be honoured (bias, layer_replication, a residual initialization ...) are
 * QL_ERR_UNSUPPORTED by name, values of a wrong type or size QL_ERR_FORMAT. `what` names the file
 * in messages. */
QL_NODISCARD ql_status ql_lora_config_parse(const json_t *j, const char *what, ql_lora_config *out);
QL_NODISCARD ql_status ql_lora_config_read(const char *dir, ql_lora_config *out);

/* What a configuration file says beside the settings. */
typedef struct ql_lora_about {
    const char *task_type;      /* CAUSAL_LM SEQ_CLS SEQ_2_SEQ_LM; NULL = null */
    const char *base;           /* base_model_name_or_path; NULL = empty */
    bool fan_in_fan_out;        /* the adapted weights are stored [in, out] (GPT-2) */
    const char *const *adapted; /* paths of the adapted modules, written for all-linear as */
    int64_t n_adapted;          /* PEFT does; none: the word "all-linear" */
} ql_lora_about;
/* The keys of PEFT's LoraConfig that mean something here, defaults included. Free with json_decref.
 */
QL_NODISCARD ql_status ql_lora_config_json(const ql_lora_config *c, const ql_lora_about *about,
                                           json_t **out);

/* ---- folders of adapters (adapter.c) ---- */

struct ql_model;
struct ql_param;
/* Everything in `dir` but the values: adapter_config.json, which names `base`, and README.md. */
QL_NODISCARD ql_status ql_adapter_write_settings(struct ql_model *m, const char *base,
                                                 const char *dir);
/* The name of a parameter in adapter_model.safetensors. */
QL_NODISCARD ql_status ql_adapter_tensor_name(const struct ql_param *p, char out[256]);
/* adapter_config.json + adapter_model.safetensors + README.md as PEFT writes them, staged and moved
 * into place whole. The file is read back and compared before it replaces the old one. */
QL_NODISCARD ql_status ql_adapter_save(struct ql_model *m, const char *dir);
/* Would ql_adapter_load take dir's values? Names, shapes and types must agree exactly, all values
 * be finite. Changes nothing. */
QL_NODISCARD ql_status ql_adapter_check(struct ql_model *m, const char *dir);
/* Checks, then takes dir's values into the attached parameters: all of them or none. */
QL_NODISCARD ql_status ql_adapter_load(struct ql_model *m, const char *dir);

/* Takes the values of the adapted layers only; everything else that is trained keeps its own. The
 * file holds nothing but layers of this model. */
QL_NODISCARD ql_status ql_adapter_load_layers(struct ql_model *m, const char *dir);

#endif /* QLORA_CORE_MODEL_LORA_H */
