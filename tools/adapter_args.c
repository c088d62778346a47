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

static ql_status new_config(const ql_adapter_args *a, ql_lora_config *out) {
    ql_lora_config c = ql_lora_config_default();
    c.r = (int32_t)a->r;
    c.alpha = a->alpha;
    c.dropout = a->dropout;
    c.rslora = a->rslora;
    c.init = strcmp(a->init, "gaussian") == 0 ? QL_INIT_GAUSSIAN : QL_INIT_DEFAULT;
    ql_status s = set_targets(a, &c);
    if (s == QL_OK) s = ql_lora_check(&c);
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
    if (ql_cli_given(cli, "lora_r") && a->r != c->r) return "lora_r";
    if (ql_cli_given(cli, "lora_alpha") && a->alpha != c->alpha) return "lora_alpha";
    if (ql_cli_given(cli, "use_rslora") && a->rslora != c->rslora) return "use_rslora";
    if (ql_cli_given(cli, "lora_target_modules")) return "lora_target_modules";
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
