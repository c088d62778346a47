/*
 * lora_match.c - what adapter settings mean for a module path: PEFT's matching rules.
 *
 * A path is matched by an entry when it is the entry or ends with "." and the entry. Expressions
 * are Python's; those that PCRE2 reads differently are refused. Matching is bounded: an expression
 * that backtracks too much is an error, not a hang.
 */
#include <math.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/model/lora_impl.h"

#define MATCH_LIMIT 100000

/* ---------------------------------------------------------------- expressions */

ql_lora_regexp ql_lora_target_regexp(const char *text) {
    return (ql_lora_regexp){"lora_target_modules", "", text, ""};
}

ql_lora_regexp ql_lora_exclude_regexp(const char *text) {
    return (ql_lora_regexp){"exclude_modules", "", text, ""};
}

/* The module itself and everything inside it. */
ql_lora_regexp ql_lora_saved_regexp(const char *text) {
    return (ql_lora_regexp){"modules_to_save", "(^|.*\\.)", text, "($|\\..*)"};
}

/* The end of a path, from its beginning or from a dot on. */
ql_lora_regexp ql_lora_entry_regexp(const char *setting, const char *text) {
    return (ql_lora_regexp){setting, "(.*\\.)?(", text, ")$"};
}

/* The first number that stands between dots, behind the module that holds the layers. */
ql_lora_regexp ql_lora_layer_regexp(const char *text) {
    static const char number[] = "\\.(?<idx>[0-9]+)\\.";
    if (!text) return (ql_lora_regexp){"layers_to_transform", ".*?\\.", "[^.]*", number};
    return (ql_lora_regexp){"layers_pattern", "(?:^|.*?\\.)", text, number};
}

static ql_status compile(const ql_lora_regexp *e, pcre2_code **out) {
    size_t len = strlen(e->text), before = strlen(e->before);
    if (len > QL_LORA_MAX_REGEXP)
        return QL_FAIL(QL_ERR_INVALID, "%s '%.64s...': %zu characters, expected at most %d",
                       e->setting, e->text, len, QL_LORA_MAX_REGEXP);
    if (strstr(e->text, "{,"))
        return QL_FAIL(QL_ERR_INVALID, "%s '%.64s': write {0,n} instead of {,n}", e->setting,
                       e->text);
    size_t total = before + len + strlen(e->after);
    char *all = ql_host_calloc(total + 1, 1);
    if (!all) return QL_NOMEM("a regular expression");
    memcpy(all, e->before, before);
    memcpy(all + before, e->text, len);
    memcpy(all + before + len, e->after, total - before - len);
    int code = 0;
    PCRE2_SIZE at = 0;
    *out = pcre2_compile((PCRE2_SPTR)all, total, PCRE2_UTF, &code, &at, NULL);
    ql_host_free(all);
    if (*out) return QL_OK;
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof text);
    return QL_FAIL(QL_ERR_INVALID, "%s '%.64s': %s at character %zu", e->setting, e->text,
                   (const char *)text, (size_t)(at > before ? at - before : 0));
}

ql_status ql_lora_regexp_check(const ql_lora_regexp *e) {
    pcre2_code *re = NULL;
    QL_TRY(compile(e, &re));
    pcre2_code_free(re);
    return QL_OK;
}

/* The digits of group "idx" as a number, -1 when they are too many. */
static int32_t group_index(const pcre2_code *re, pcre2_match_data *data, const char *module) {
    int group = pcre2_substring_number_from_name(re, (PCRE2_SPTR) "idx");
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(data);
    if (group < 0 || span[2 * group] == PCRE2_UNSET) return -1;
    int64_t value = 0;
    for (PCRE2_SIZE i = span[2 * group]; i < span[2 * group + 1]; i++) {
        value = value * 10 + (module[i] - '0');
        if (value > QL_LORA_MAX_INDEX) return -1;
    }
    return (int32_t)value;
}

ql_status ql_lora_match(const ql_lora_regexp *e, const char *module, ql_lora_extent extent,
                        int32_t *index, bool *out) {
    pcre2_code *re = NULL;
    QL_TRY(compile(e, &re));
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int n = PCRE2_ERROR_NOMEMORY;
    if (data && limits) {
        uint32_t how =
            extent == QL_MATCH_WHOLE ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : PCRE2_ANCHORED;
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        n = pcre2_match(re, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, how, data, limits);
        if (n >= 0 && index) *index = group_index(re, data, module);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(re);
    if (n == PCRE2_ERROR_NOMEMORY) return QL_NOMEM("a regular expression");
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return QL_FAIL(QL_ERR_INVALID, "%s '%.64s' cannot be matched (PCRE2 error %d)", e->setting,
                       e->text, n);
    *out = n >= 0;
    return QL_OK;
}

/* ---------------------------------------------------------------- names */

static bool ends_with(const char *module, const char *end) {
    size_t len = strlen(module), t = strlen(end);
    return t <= len && memcmp(module + len - t, end, t) == 0;
}

/* The entry itself, or "." and the entry at the end. */
static bool is_entry(const char *module, const char *entry) {
    size_t len = strlen(module), t = strlen(entry);
    return ends_with(module, entry) && (t == len || module[len - t - 1] == '.');
}

static bool has_entry(char *const *list, int32_t n, const char *module) {
    for (int32_t i = 0; i < n; i++)
        if (is_entry(module, list[i])) return true;
    return false;
}

/* What an expression of letters, digits and dots matches, where a dot is any character: the usual
 * case, without the cost of compiling it for every module. */
static bool plain_entry(const char *module, const char *text, bool *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    size_t len = strlen(module), t = strlen(text);
    if (text[strspn(text, plain)]) return false;
    *out = t <= len && (t == len || module[len - t - 1] == '.');
    for (size_t i = 0; i < t && *out; i++) *out = text[i] == '.' || text[i] == module[len - t + i];
    return true;
}

/* The value of the first entry that matches, or *value as it was. */
static ql_status pattern_value(const char *setting, const ql_lora_pattern *list, int32_t n,
                               const char *module, double *value) {
    for (int32_t i = 0; i < n; i++) {
        bool hit = false;
        if (!plain_entry(module, list[i].pattern, &hit)) {
            ql_lora_regexp e = ql_lora_entry_regexp(setting, list[i].pattern);
            QL_TRY(ql_lora_match(&e, module, QL_MATCH_BEGIN, NULL, &hit));
        }
        if (!hit) continue;
        *value = list[i].value;
        return QL_OK;
    }
    return QL_OK;
}

/* ---------------------------------------------------------------- rules */

/* exclude_modules, and everything inside modules_to_save. */
static ql_status excluded(const ql_lora_config *c, const char *module, bool *out) {
    *out = has_entry(c->exclude, c->n_exclude, module);
    if (c->exclude_pattern) {
        ql_lora_regexp e = ql_lora_exclude_regexp(c->exclude_pattern);
        QL_TRY(ql_lora_match(&e, module, QL_MATCH_WHOLE, NULL, out));
    }
    for (int32_t i = 0; i < c->n_save && !*out; i++) {
        ql_lora_regexp e = ql_lora_saved_regexp(c->modules_to_save[i]);
        QL_TRY(ql_lora_match(&e, module, QL_MATCH_BEGIN, NULL, out));
    }
    return QL_OK;
}

/* Is the module in one of the layers of layers_to_transform? */
static ql_status in_layers(const ql_lora_config *c, const char *module, bool *out) {
    int32_t index = -1;
    bool hit = false;
    ql_lora_regexp any = ql_lora_layer_regexp(NULL);
    if (!c->n_layers_pattern) QL_TRY(ql_lora_match(&any, module, QL_MATCH_BEGIN, &index, &hit));
    for (int32_t i = 0; i < c->n_layers_pattern && !hit; i++) {
        ql_lora_regexp e = ql_lora_layer_regexp(c->layers_pattern[i]);
        QL_TRY(ql_lora_match(&e, module, QL_MATCH_BEGIN, &index, &hit));
    }
    *out = false;
    for (int32_t i = 0; i < c->n_layers && hit && !*out; i++) *out = c->layers[i] == index;
    return QL_OK;
}

ql_status ql_lora_matches(const ql_lora_config *c, const char *module, bool is_head, bool *out) {
    bool no = false;
    *out = false;
    QL_TRY(excluded(c, module, &no));
    if (no) return QL_OK;
    if (c->pattern) {
        ql_lora_regexp e = ql_lora_target_regexp(c->pattern);
        return ql_lora_match(&e, module, QL_MATCH_WHOLE, NULL, out);
    }
    *out = c->n_targets ? has_entry(c->targets, c->n_targets, module) : !is_head;
    if (!*out || !c->n_layers) return QL_OK;
    for (int32_t i = 0; i < c->n_targets; i++) /* whole paths are taken in every layer */
        if (!strcmp(c->targets[i], module)) return QL_OK;
    return in_layers(c, module, out);
}

ql_status ql_lora_saves(const ql_lora_config *c, const char *module, bool *out) {
    *out = false;
    if (!c->n_save) return QL_OK;
    char *path = ql_host_strdup(module);
    if (!path) return QL_NOMEM("a module path");
    for (char *end = path + strlen(path); end && !*out; end = strrchr(path, '.')) {
        *end = '\0';
        for (int32_t i = 0; i < c->n_save && !*out; i++)
            *out = ends_with(path, c->modules_to_save[i]);
    }
    ql_host_free(path);
    return QL_OK;
}

static double scaling(const ql_lora_config *c, int32_t r, double alpha) {
    return c->rslora ? alpha / sqrt((double)r) : alpha / r;
}

float ql_lora_scaling(const ql_lora_config *c) {
    return (float)scaling(c, c->r, c->alpha);
}

ql_status ql_lora_target_of(const ql_lora_config *c, const char *module, bool is_head,
                            ql_lora_target *out) {
    bool hit = false, saved = false;
    *out = (ql_lora_target){0};
    QL_TRY(ql_lora_matches(c, module, is_head, &hit));
    if (!hit) return QL_OK;
    QL_TRY(ql_lora_saves(c, module, &saved));
    if (saved)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "'%s' is chosen by lora_target_modules and, by the end of its name or of a "
                       "module that it lies in, by modules_to_save; write the longer name there",
                       module);
    double r = c->r, alpha = c->alpha;
    QL_TRY(pattern_value("rank_pattern", c->rank_pattern, c->n_rank, module, &r));
    QL_TRY(pattern_value("alpha_pattern", c->alpha_pattern, c->n_alpha, module, &alpha));
    *out = (ql_lora_target){.adapted = true, .r = (int32_t)r, .alpha = alpha};
    out->scaling = (float)scaling(c, out->r, alpha);
    return QL_OK;
}

bool ql_lora_has_tokens_of(const ql_lora_config *c, const char *module, bool is_input) {
    if (!c->tokens.n) return false;
    return c->tokens.module ? ends_with(module, c->tokens.module) : is_input;
}
