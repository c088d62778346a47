/*
 * list.c - the families by model_type, and what an unknown one is told.
 */
#include <stdio.h>
#include <string.h>

#include "core/model/families/families.h"

static const struct {
    const char *model_type;
    ql_family_reader read;
} families[] = {
    {"llama", ql_arch_llama},
    {"mistral", ql_arch_mistral},
    {"qwen2", ql_arch_qwen2},
    {"qwen3", ql_arch_qwen3},
    {"phi3", ql_arch_phi3},
    {"gemma", ql_arch_gemma},
    {"gemma2", ql_arch_gemma2},
    {"gemma3_text", ql_arch_gemma3},
    {"stablelm", ql_arch_stablelm},
    {"gpt_neox", ql_arch_gpt_neox},
    {"gpt2", ql_arch_gpt2},
    {"opt", ql_arch_opt},
    {"falcon", ql_arch_falcon},
    {"bert", ql_arch_bert},
    {"roberta", ql_arch_roberta},
    {"deberta-v2", ql_arch_deberta},
    {"bart", ql_arch_bart},
    {"mbart", ql_arch_mbart},
    {"t5", ql_arch_t5},
};
#define COUNT ((int)(sizeof families / sizeof *families))

const char *ql_arch_families(void) {
    return "llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3_text, stablelm, gpt_neox, "
           "gpt2, opt, falcon, bert, roberta, deberta-v2, bart, mbart, t5";
}

const char *ql_arch_family_at(int i) {
    return i >= 0 && i < COUNT ? families[i].model_type : NULL;
}

/* Letters to change, insert or delete to make b of a (Levenshtein); names are short. */
static int distance(const char *a, const char *b) {
    int row[65];
    size_t n = strlen(b);
    if (n > 64 || strlen(a) > 64) return 1000;
    for (size_t j = 0; j <= n; j++) row[j] = (int)j;
    for (size_t i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            int best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[n];
}

static const char *nearest(const char *type) {
    const char *best = families[0].model_type;
    int least = 1000;
    for (int i = 0; i < COUNT; i++) {
        int d = distance(type, families[i].model_type);
        if (d >= least) continue;
        least = d;
        best = families[i].model_type;
    }
    return best;
}

static ql_arch start(void) {
    ql_arch a = {.bos = -1, .pad = -1, .decoder_start = -1, .init_range = 0.02};
    a.head.scale = 1.0f;
    a.body.front.scale = a.encoder.front.scale = 1.0f;
    return a;
}

ql_status ql_arch_from_config(const json_t *config, const char *what, ql_arch *out) {
    const char *type = NULL;
    QL_TRY(ql_json_get_str(config, what, "model_type", &type));
    if (!type)
        return QL_FAIL(QL_ERR_FORMAT, "%s: key 'model_type' is missing; expected one of: %s", what,
                       ql_arch_families());
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(families[i].model_type, type) != 0) continue;
        ql_arch a = start();
        snprintf(a.family, sizeof a.family, "%s", type);
        QL_TRY(families[i].read(config, what, &a));
        *out = a;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: model_type '%.64s' is not supported; the nearest that is: %s (all: %s)",
                   what, type, nearest(type), ql_arch_families());
}

int64_t ql_arch_outputs(const ql_arch *a) {
    return a->task == QL_TASK_CLASSIFY ? a->n_labels : a->vocab;
}
