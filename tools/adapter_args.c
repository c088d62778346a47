/* adapter_args.c - see adapter_args.h. */
#include "tools/adapter_args.h"

#include <string.h>

#include "core/base/hostmem.h"

/* "q,v" -> "q_proj,v_proj": the papers' names of the attention and MLP weights. Owned. */
static char *expand_targets(const char *text) {
    static const char short_names[] = "q k v o gate up down";
    char *out = ql_host_calloc(strlen(text) * 6 + 1, 1);
    if (!out) return NULL;
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        char word[8] = "";
        if (len < sizeof word) memcpy(word, at, len);
        strncat(out, at, len);
        if (*word && ql_names_have(short_names, word)) strcat(out, "_proj");
        if (at[len] == ',') strcat(out, ",");
        at += len + (at[len] == ',');
    }
    return out;
}

static ql_status set_targets(const ql_adapter_args *a, ql_lora_config *c) {
    char *targets = expand_targets(a->targets);
    if (!targets) return QL_NOMEM("target modules");
    ql_status s = ql_lora_set_targets(c, targets);
    ql_host_free(targets);
    return s;
}

typedef struct text_setting {
    const char *text;
    ql_status (*set)(ql_lora_config *c, const char *text);
} text_setting;

static ql_status set_texts(const ql_adapter_args *a, ql_lora_config *c) {
    const text_setting texts[] = {{a->rank_pattern, ql_lora_set_rank_pattern},
                                  {a->alpha_pattern, ql_lora_set_alpha_pattern},
                                  {a->saved, ql_lora_set_saved},
                                  {a->exclude, ql_lora_set_exclude},
                                  {a->layers, ql_lora_set_layers},
                                  {a->layers_pattern, ql_lora_set_layers_pattern},
                                  {a->tokens, ql_lora_set_tokens}};
    QL_TRY(set_targets(a, c));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].text) QL_TRY(texts[i].set(c, texts[i].text));
    return ql_lora_check(c);
}

static ql_status new_config(const ql_adapter_args *a, ql_lora_config *out) {
    ql_lora_config c = ql_lora_config_default();
    c.r = (int32_t)a->r;
    c.alpha = a->alpha;
    c.dropout = a->dropout;
    c.rslora = a->rslora;
    c.dora = a->dora;
    c.init = strcmp(a->init, "gaussian") == 0 ? QL_INIT_GAUSSIAN : QL_INIT_DEFAULT;
    ql_status s = set_texts(a, &c);
    if (s != QL_OK) {
        ql_lora_config_free(&c);
        return s;
    }
    *out = c;
    return QL_OK;
}

/* The first flag that says something else than the adapter folder, or NULL. */
static const char *contradiction(const ql_cli *cli, const ql_adapter_args *a,
                                 const ql_lora_config *c) {
    static const char *const lists[] = {
        "lora_target_modules", "rank_pattern",        "alpha_pattern",  "modules_to_save",
        "exclude_modules",     "layers_to_transform", "layers_pattern", "trainable_token_indices"};
    if (ql_cli_given(cli, "lora_r") && a->r != c->r) return "lora_r";
    if (ql_cli_given(cli, "lora_alpha") && a->alpha != c->alpha) return "lora_alpha";
    if (ql_cli_given(cli, "use_rslora") && a->rslora != c->rslora) return "use_rslora";
    if (ql_cli_given(cli, "use_dora") && a->dora != c->dora) return "use_dora";
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (ql_cli_given(cli, lists[i])) return lists[i];
    return NULL;
}

ql_status ql_adapter_args_config(const ql_cli *cli, const ql_adapter_args *a, ql_lora_config *out) {
    if (!a->from) return new_config(a, out);
    ql_lora_config c;
    QL_TRY(ql_lora_config_read(a->from, &c));
    const char *flag = contradiction(cli, a, &c);
    if (flag) {
        ql_lora_config_free(&c);
        return QL_FAIL(QL_ERR_INVALID, "--%s contradicts %s/adapter_config.json; leave it out",
                       flag, a->from);
    }
    if (ql_cli_given(cli, "lora_dropout")) c.dropout = a->dropout;
    *out = c;
    return QL_OK;
}
