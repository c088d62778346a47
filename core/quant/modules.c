/*
 * modules.c - which modules bitsandbytes' rules quantize (spec section 3).
 *
 * transformers looks at module classes; from the files alone the same answer follows from names:
 * every 2-D weight that is no embedding is a Linear. What loaders skip by themselves (output
 * embedding, last module, keep-in-fp32 names) is skipped here too, because the list is not written.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "core/quant/stored.h"

/* Entries come from a config file: bound the work that a hostile pattern can cause. */
enum { PATTERN_MAX = 1000, MATCH_LIMIT = 100000 };

/* Last components of nn.Embedding modules of the families that exist. */
static const char *const embeddings[] = {"embed_tokens",
                                         "embed_positions",
                                         "embed_in",
                                         "wte",
                                         "wpe",
                                         "shared",
                                         "word_embeddings",
                                         "position_embeddings",
                                         "token_type_embeddings",
                                         "rel_embeddings",
                                         "relative_attention_bias"};

/* The module of the last named parameter where it is a Linear: task heads. */
static const char *const heads[] = {"score", "classification_head.out_proj", "qa_outputs"};

/* _keep_in_fp32_modules of transformers' classes. */
typedef struct kept_name {
    const char *model_type, *name;
} kept_name;
static const kept_name kept[] = {{"t5", "wo"}, {"mt5", "wo"}, {"umt5", "wo"}};

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Does the regular expression match from the start up to a dot or the end? An entry that is no
 * expression matches nothing here. */
static bool matches_start(const char *entry, const char *module) {
    char pattern[PATTERN_MAX + 32];
    int error;
    size_t offset;
    if (strlen(entry) > PATTERN_MAX) return false;
    snprintf(pattern, sizeof pattern, "\\A(?:%s)(?:\\.|\\z)", entry);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &offset, NULL);
    if (code == NULL) return false;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    bool found = false;
    if (data != NULL && limits != NULL) {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        found = pcre2_match(code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, limits) >= 0;
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return found;
}

static bool skipped_by(const char *entry, const char *module) {
    return ends_with(module, entry) || matches_start(entry, module);
}

static bool is_embedding(const char *module) {
    const char *dot = strrchr(module, '.'), *last = dot != NULL ? dot + 1 : module;
    for (size_t i = 0; i < sizeof embeddings / sizeof embeddings[0]; i++)
        if (strcmp(last, embeddings[i]) == 0) return true;
    return false;
}

static const char *string_of(const json_t *config, const char *key) {
    const char *s = json_string_value(json_object_get(config, key));
    return s != NULL ? s : "";
}

bool ql_has_conv1d(const json_t *config) {
    return strcmp(string_of(config, "model_type"), "gpt2") == 0;
}

/* The list that loaders compute when the file names none. */
static bool skipped_by_default(const json_t *config, const char *module, bool quantize_head) {
    bool tied = json_is_true(json_object_get(config, "tie_word_embeddings"));
    bool output = skipped_by("lm_head", module) || skipped_by("embed_out", module);
    if (output) return tied || !quantize_head;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (ends_with(module, heads[i])) return true;
    /* A classifier is trained whole: it stays as it is, all of it. */
    return strcmp(module, "classifier") == 0 || strncmp(module, "classifier.", 11) == 0;
}

bool ql_quantizes_module(const json_t *config, const char *module, bool quantize_head) {
    if (is_embedding(module)) return false;
    const char *model_type = string_of(config, "model_type");
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (strcmp(model_type, kept[i].model_type) == 0 && skipped_by(kept[i].name, module))
            return false;
    const json_t *list =
        json_object_get(json_object_get(config, "quantization_config"), "llm_int8_skip_modules");
    if (!json_is_array(list)) return !skipped_by_default(config, module, quantize_head);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *entry = json_string_value(json_array_get(list, i));
        if (entry != NULL && skipped_by(entry, module)) return false;
    }
    return true;
}
