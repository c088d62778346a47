/*
 * lora.h - which modules carry adapters, and the settings of adapters (PEFT's adapter_config.json).
 */
#ifndef QLORA_CORE_MODEL_LORA_H
#define QLORA_CORE_MODEL_LORA_H

#include "core/base/json.h"
#include "qlora/status.h"

typedef enum ql_lora_init { QL_INIT_DEFAULT, QL_INIT_GAUSSIAN } ql_lora_init;

typedef struct ql_lora_config {
    int32_t r;      /* 64   */
    double alpha;   /* 16   */
    double dropout; /* 0    */
    bool rslora;    /* scaling alpha / sqrt(r) instead of alpha / r */
    ql_lora_init init;
    /* NULL or "all-linear": every linear layer but the head. `targets` as a list: a whole module
     * path or a suffix after a dot. `pattern`: one regular expression that must match the whole
     * path. */
    char **targets;
    int32_t n_targets;
    char *pattern;
} ql_lora_config;

ql_lora_config ql_lora_config_default(void);
void ql_lora_config_free(ql_lora_config *c);
QL_NODISCARD ql_status ql_lora_config_copy(const ql_lora_config *from, ql_lora_config *out);
/* "all-linear", "q_proj,v_proj" or a regular expression (anything else with characters outside
 * [A-Za-z0-9_.,-]). */
QL_NODISCARD ql_status ql_lora_set_targets(ql_lora_config *c, const char *text);
QL_NODISCARD ql_status ql_lora_check(const ql_lora_config *c);
float ql_lora_scaling(const ql_lora_config *c);
/* Does module path `module` carry an adapter? `is_head`: the output head, excluded by all-linear.
 */
QL_NODISCARD ql_status ql_lora_matches(const ql_lora_config *c, const char *module, bool is_head,
                                       bool *out);

/* adapter_config.json. Settings that this version cannot honour (DoRA, bias, modules_to_save ...)
 * are QL_ERR_UNSUPPORTED by name. */
QL_NODISCARD ql_status ql_lora_config_read(const char *dir, ql_lora_config *out);

struct ql_model;
/* adapter_config.json + adapter_model.safetensors + README.md as PEFT writes them, staged and moved
 * into place whole. The file is read back and compared before it replaces the old one. */
QL_NODISCARD ql_status ql_adapter_save(struct ql_model *m, const char *dir);
/* Would ql_adapter_load take dir's values? Names, shapes and types must agree exactly, all values
 * be finite. Changes nothing. */
QL_NODISCARD ql_status ql_adapter_check(struct ql_model *m, const char *dir);
/* Checks, then takes dir's values into the attached parameters: all of them or none. */
QL_NODISCARD ql_status ql_adapter_load(struct ql_model *m, const char *dir);

#endif /* QLORA_CORE_MODEL_LORA_H */
