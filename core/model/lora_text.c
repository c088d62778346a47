/*
 * lora_text.c - adapter settings from text: lists of names, of numbers, name=value pairs, JSON.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/model/lora_impl.h"

/* ---------------------------------------------------------------- names */

static const char name_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,-";

/* "a,b" as names; empty ones are left out. */
static ql_status split_names(ql_lora_config *c, const char *setting, const char *text, char ***list,
                             int32_t *n) {
    size_t most = 1;
    for (const char *at = text; *at; at++) most += *at == ',';
    if (most > QL_LORA_MAX_LIST)
        return QL_FAIL(QL_ERR_INVALID, "%s: %zu names, expected at most %u", setting, most,
                       QL_LORA_MAX_LIST);
    *n = 0;
    QL_TRY(ql_lora_room(c, most, sizeof **list, list));
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        if (len) {
            QL_TRY(ql_lora_keep(c, at, len, &(*list)[*n]));
            ++*n;
        }
        at += len + (at[len] == ',');
    }
    if (!*n) return QL_FAIL(QL_ERR_INVALID, "%s '%.64s' names no module", setting, text);
    return QL_OK;
}

/* Names, or an expression when there is a letter that no name has. */
static ql_status names_or_pattern(ql_lora_config *c, const char *setting, const char *text,
                                  char ***list, int32_t *n, char **pattern) {
    *list = NULL;
    *n = 0;
    *pattern = NULL;
    if (text[strspn(text, name_letters)]) return ql_lora_keep(c, text, strlen(text), pattern);
    return split_names(c, setting, text, list, n);
}

ql_status ql_lora_set_targets(ql_lora_config *c, const char *text) {
    if (!strcasecmp(text, "all-linear") || !strcasecmp(text, "all_linear")) {
        c->targets = NULL;
        c->pattern = NULL;
        c->n_targets = 0;
        return QL_OK;
    }
    return names_or_pattern(c, "lora_target_modules", text, &c->targets, &c->n_targets,
                            &c->pattern);
}

ql_status ql_lora_set_exclude(ql_lora_config *c, const char *text) {
    return names_or_pattern(c, "exclude_modules", text, &c->exclude, &c->n_exclude,
                            &c->exclude_pattern);
}

ql_status ql_lora_set_saved(ql_lora_config *c, const char *names) {
    return split_names(c, "modules_to_save", names, &c->modules_to_save, &c->n_save);
}

ql_status ql_lora_set_layers_pattern(ql_lora_config *c, const char *names) {
    return split_names(c, "layers_pattern", names, &c->layers_pattern, &c->n_layers_pattern);
}

ql_status ql_lora_for_task(ql_lora_config *c, const char *task_type) {
    static const char *const added[] = {"classifier", "score"};
    char **list = NULL;
    if (!task_type || strcmp(task_type, "SEQ_CLS") != 0) return QL_OK;
    QL_TRY(ql_lora_room(c, (size_t)c->n_save + 2, sizeof *list, &list));
    if (c->n_save) memcpy(list, c->modules_to_save, (size_t)c->n_save * sizeof *list);
    c->modules_to_save = list;
    for (size_t i = 0; i < sizeof added / sizeof *added; i++) {
        bool there = false;
        for (int32_t k = 0; k < c->n_save; k++) there = there || !strcmp(list[k], added[i]);
        if (there) continue;
        QL_TRY(ql_lora_keep(c, added[i], strlen(added[i]), &list[c->n_save]));
        c->n_save++;
    }
    return QL_OK;
}

/* ---------------------------------------------------------------- numbers */

static bool read_number(const char **at, int32_t *out) {
    char *end;
    while (**at == ' ') ++*at;
    if (**at < '0' || **at > '9') return false;
    long long v = strtoll(*at, &end, 10);
    while (*end == ' ') end++;
    *at = end;
    *out = v > QL_LORA_MAX_INDEX ? -1 : (int32_t)v;
    return *out >= 0;
}

/* "5" or "5-7" and the comma behind it; *at stands at the next one. */
static bool read_range(const char **at, int32_t *lo, int32_t *hi) {
    if (!read_number(at, lo)) return false;
    *hi = *lo;
    if (**at == '-') {
        ++*at;
        if (!read_number(at, hi) || *hi < *lo) return false;
    }
    if (**at == ',') return *++*at != '\0';
    return **at == '\0';
}

/* "0,1,5-7" */
static ql_status split_numbers(ql_lora_config *c, const char *setting, const char *text,
                               int32_t **list, int32_t *n) {
    int64_t total = 0;
    int32_t lo, hi;
    for (const char *at = text; total == 0 || *at;) {
        if (!read_range(&at, &lo, &hi))
            return QL_FAIL(QL_ERR_INVALID, "%s takes numbers and ranges like 0,1,5-7, not '%.64s'",
                           setting, text);
        total += (int64_t)hi - lo + 1;
        if (total > QL_LORA_MAX_LIST)
            return QL_FAIL(QL_ERR_INVALID, "%s '%.64s': more than %u numbers", setting, text,
                           QL_LORA_MAX_LIST);
    }
    QL_TRY(ql_lora_room(c, (size_t)total, sizeof **list, list));
    *n = 0;
    for (const char *at = text; *at && read_range(&at, &lo, &hi);)
        for (int32_t v = lo; v <= hi; v++) (*list)[(*n)++] = v;
    return QL_OK;
}

ql_status ql_lora_set_layers(ql_lora_config *c, const char *text) {
    return split_numbers(c, "layers_to_transform", text, &c->layers, &c->n_layers);
}

static bool is_json(const char *text) {
    text += strspn(text, " \t\r\n");
    return *text == '{' || *text == '[';
}

ql_status ql_lora_set_tokens(ql_lora_config *c, const char *text) {
    static const char setting[] = "trainable_token_indices";
    c->tokens = (ql_token_rows){0};
    if (!is_json(text)) return split_numbers(c, setting, text, &c->tokens.ids, &c->tokens.n);
    json_t *j = NULL;
    QL_TRY(ql_json_parse(text, strlen(text), setting, &j));
    ql_status s = ql_lora_parse_tokens(c, j, setting);
    json_decref(j);
    return s;
}

/* ---------------------------------------------------------------- patterns */

/* "q_proj=16" of `len` characters. */
static ql_status read_entry(ql_lora_config *c, const char *setting, const char *at, size_t len,
                            ql_lora_pattern *out) {
    char number[32] = "", *end = number;
    size_t name = len;
    while (name > 0 && at[name - 1] != '=') name--;
    size_t digits = len - name;
    if (name > 1 && digits > 0 && digits < sizeof number) {
        memcpy(number, at + name, digits);
        out->value = strtod(number, &end);
    }
    if (end == number || *end)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s takes q_proj=16,mlp.down_proj=4 or a JSON object, not '%.*s'", setting,
                       (int)(len < 64 ? len : 64), at);
    return ql_lora_keep(c, at, name - 1, &out->pattern);
}

static ql_status split_patterns(ql_lora_config *c, const char *setting, const char *text,
                                ql_lora_pattern **out, int32_t *n) {
    size_t most = 1;
    for (const char *at = text; *at; at++) most += *at == ',';
    if (most > QL_LORA_MAX_LIST)
        return QL_FAIL(QL_ERR_INVALID, "%s: %zu entries, expected at most %u", setting, most,
                       QL_LORA_MAX_LIST);
    *n = 0;
    QL_TRY(ql_lora_room(c, most, sizeof **out, out));
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        QL_TRY(read_entry(c, setting, at, len, &(*out)[*n]));
        ++*n;
        at += len;
        if (!*at) return QL_OK;
    }
}

static ql_status set_patterns(ql_lora_config *c, const char *setting, const char *text,
                              ql_lora_pattern **out, int32_t *n) {
    if (!is_json(text)) return split_patterns(c, setting, text, out, n);
    json_t *j = NULL;
    QL_TRY(ql_json_parse(text, strlen(text), setting, &j));
    ql_status s = ql_lora_parse_patterns(c, j, setting, setting, out, n);
    json_decref(j);
    return s;
}

ql_status ql_lora_set_rank_pattern(ql_lora_config *c, const char *text) {
    return set_patterns(c, "rank_pattern", text, &c->rank_pattern, &c->n_rank);
}

ql_status ql_lora_set_alpha_pattern(ql_lora_config *c, const char *text) {
    return set_patterns(c, "alpha_pattern", text, &c->alpha_pattern, &c->n_alpha);
}
