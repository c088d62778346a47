/*
 * lora_config.c - adapter_config.json to settings and back (PEFT 0.21).
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "core/base/fs.h"
#include "core/model/lora_impl.h"

#define PEFT_VERSION "0.21.2" /* the version whose layout is written */

/* ---------------------------------------------------------------- refused */

/* Initializations that change the base weights when PEFT loads the adapter (a residual base). */
static ql_status refuse_residual_init(const json_t *j, const char *what) {
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const json_t *v = json_object_get(j, "init_lora_weights");
    if (!v || !json_is_string(v)) return QL_OK;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (!strcmp(json_string_value(v), harmless[i])) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: init_lora_weights '%.32s' changes the base weights; it is known, not "
                   "available in this version",
                   what, json_string_value(v));
}

static bool is_empty(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_object(v) && !json_object_size(v)) || (json_is_array(v) && !json_array_size(v));
}

static ql_status not_available(const char *what, const char *key) {
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is known, not available in this version", what,
                   key);
}

/* Settings that change the mathematics and that this version does not have. */
static ql_status refuse_unsupported(const json_t *j, const char *what) {
    static const char *const flags[] = {"lora_bias", "use_qalora"};
    static const char *const filled[] = {
        "target_parameters", "layer_replication", "alora_invocation_tokens", "use_bdlora",
        "kasa_config",       "monteclora_config", "velora_config",           "arrow_config"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(j, flags[i]))) return not_available(what, flags[i]);
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++)
        if (!is_empty(json_object_get(j, filled[i]))) return not_available(what, filled[i]);
    /* It joins a saved embedding and its head; nothing else that is read here is changed by it. */
    if (json_is_true(json_object_get(j, "ensure_weight_tying")) &&
        !is_empty(json_object_get(j, "modules_to_save")))
        return not_available(what, "ensure_weight_tying");
    const char *bias = NULL, *peft = NULL;
    QL_TRY(ql_json_get_str(j, what, "bias", &bias));
    if (bias && strcmp(bias, "none") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: bias '%.32s' is known, not available in this version", what, bias);
    QL_TRY(ql_json_get_str(j, what, "peft_type", &peft));
    if (!peft || strcmp(peft, "LORA") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: peft_type '%.32s', expected LORA", what,
                       peft ? peft : "(absent)");
    return QL_OK;
}

/* ---------------------------------------------------------------- lists */

static ql_status check_count(const char *what, const char *key, size_t n) {
    if (n <= QL_LORA_MAX_LIST) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %zu entries, expected at most %u", what, key, n,
                   QL_LORA_MAX_LIST);
}

/* A name that is not empty; `key` says of which setting. */
static ql_status read_name(ql_lora_config *c, const char *what, const char *key, const json_t *v,
                           char **out) {
    const char *name = json_string_value(v);
    if (!name || !*name)
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' holds something other than names", what, key);
    return ql_lora_keep(c, name, strlen(name), out);
}

static ql_status read_names(ql_lora_config *c, const char *what, const char *key, const json_t *v,
                            char ***list, int32_t *n) {
    if (!json_is_array(v))
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be a list of names", what, key);
    size_t count = json_array_size(v);
    QL_TRY(check_count(what, key, count));
    if (!count) return QL_OK;
    QL_TRY(ql_lora_room(c, count, sizeof **list, list));
    for (size_t i = 0; i < count; i++)
        QL_TRY(read_name(c, what, key, json_array_get(v, i), &(*list)[i]));
    *n = (int32_t)count;
    return QL_OK;
}

/* Absent and null are an empty list. A text is an expression when there may be one (`pattern`). */
static ql_status read_list(ql_lora_config *c, const char *what, const json_t *j, const char *key,
                           char ***list, int32_t *n, char **pattern) {
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v)) return QL_OK;
    if (pattern && json_is_string(v))
        return json_string_length(v) ? read_name(c, what, key, v, pattern) : QL_OK;
    return read_names(c, what, key, v, list, n);
}

static ql_status read_index(const char *what, const char *key, const json_t *v, int32_t *out) {
    json_int_t i = json_is_integer(v) ? json_integer_value(v) : -1;
    if (i < 0 || i > QL_LORA_MAX_INDEX)
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must hold whole numbers from 0 to %d", what, key,
                       QL_LORA_MAX_INDEX);
    *out = (int32_t)i;
    return QL_OK;
}

/* A number or a list of numbers. */
static ql_status read_indices(ql_lora_config *c, const char *what, const char *key, const json_t *v,
                              int32_t **list, int32_t *n) {
    bool many = json_is_array(v);
    size_t count = many ? json_array_size(v) : 1;
    QL_TRY(check_count(what, key, count));
    if (!count) return QL_OK;
    QL_TRY(ql_lora_room(c, count, sizeof **list, list));
    for (size_t i = 0; i < count; i++)
        QL_TRY(read_index(what, key, many ? json_array_get(v, i) : v, &(*list)[i]));
    *n = (int32_t)count;
    return QL_OK;
}

ql_status ql_lora_parse_patterns(ql_lora_config *c, const json_t *v, const char *what,
                                 const char *setting, ql_lora_pattern **out, int32_t *n) {
    if (!json_is_object(v))
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be an object of numbers", what, setting);
    size_t count = json_object_size(v);
    QL_TRY(check_count(what, setting, count));
    *n = 0;
    *out = NULL;
    if (!count) return QL_OK;
    QL_TRY(ql_lora_room(c, count, sizeof **out, out));
    json_t *copy = (json_t *)(uintptr_t)v; /* jansson's iterators take no const */
    const char *key;
    json_t *number;
    json_object_foreach(copy, key, number) {
        if (!json_is_number(number))
            return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' of '%.64s' must be a number", what, setting,
                           key);
        (*out)[*n].value = json_number_value(number);
        QL_TRY(ql_lora_keep(c, key, strlen(key), &(*out)[*n].pattern));
        ++*n;
    }
    return QL_OK;
}

ql_status ql_lora_parse_tokens(ql_lora_config *c, const json_t *v, const char *what) {
    static const char key[] = "trainable_token_indices";
    c->tokens = (ql_token_rows){0};
    const json_t *ids = v;
    if (json_is_object(v)) {
        if (json_object_size(v) > 1)
            return QL_FAIL(QL_ERR_UNSUPPORTED,
                           "%s: '%s' of several embeddings is known, not available in this "
                           "version; give one",
                           what, key);
        void *one = json_object_iter((json_t *)(uintptr_t)v);
        if (!one) return QL_OK;
        const char *module = json_object_iter_key(one);
        QL_TRY(ql_lora_keep(c, module, strlen(module), &c->tokens.module));
        ids = json_object_iter_value(one);
    }
    if (!json_is_array(ids))
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: '%s' must be a list of token ids, or an object with one such list",
                       what, key);
    return read_indices(c, what, key, ids, &c->tokens.ids, &c->tokens.n);
}

/* ---------------------------------------------------------------- reading */

static ql_status read_targets(ql_lora_config *c, const json_t *j, const char *what) {
    static const char key[] = "target_modules";
    if (!ql_json_has(j, key)) return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is missing", what, key);
    const char *text = json_string_value(json_object_get(j, key));
    if (text && !strcasecmp(text, "all-linear")) return QL_OK;
    QL_TRY(read_list(c, what, j, key, &c->targets, &c->n_targets, &c->pattern));
    if (!c->n_targets && !c->pattern)
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' must be a name or a list of names", what, key);
    return QL_OK;
}

static ql_status read_layers(ql_lora_config *c, const json_t *j, const char *what) {
    static const char key[] = "layers_pattern";
    const json_t *v = json_object_get(j, "layers_to_transform");
    if (v && !json_is_null(v))
        QL_TRY(read_indices(c, what, "layers_to_transform", v, &c->layers, &c->n_layers));
    const json_t *p = json_object_get(j, key);
    if (!json_is_string(p))
        return read_list(c, what, j, key, &c->layers_pattern, &c->n_layers_pattern, NULL);
    if (!json_string_length(p)) return QL_OK;
    QL_TRY(ql_lora_room(c, 1, sizeof *c->layers_pattern, &c->layers_pattern));
    c->n_layers_pattern = 1;
    return read_name(c, what, key, p, &c->layers_pattern[0]);
}

static ql_status read_patterns(ql_lora_config *c, const json_t *j, const char *what) {
    static const char rank[] = "rank_pattern", alpha[] = "alpha_pattern";
    if (ql_json_has(j, rank))
        QL_TRY(ql_lora_parse_patterns(c, json_object_get(j, rank), what, rank, &c->rank_pattern,
                                      &c->n_rank));
    if (ql_json_has(j, alpha))
        QL_TRY(ql_lora_parse_patterns(c, json_object_get(j, alpha), what, alpha, &c->alpha_pattern,
                                      &c->n_alpha));
    return QL_OK;
}

/* The task only adds the classifier to the saved modules; other model classes of PEFT name their
 * modules in another way. */
static ql_status read_task(ql_lora_config *c, const json_t *j, const char *what) {
    static const char *const known[] = {"CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"};
    const char *task = NULL;
    QL_TRY(ql_json_get_str(j, what, "task_type", &task));
    if (!task) return QL_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(task, known[i])) return ql_lora_for_task(c, task);
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: task_type '%.32s'; there are CAUSAL_LM, SEQ_CLS and SEQ_2_SEQ_LM", what,
                   task);
}

static ql_status read_settings(ql_lora_config *c, const json_t *j, const char *what) {
    int64_t r = 8;
    bool transposed = false; /* the model's files say which weights are */
    c->alpha = 8;
    QL_TRY(refuse_unsupported(j, what));
    QL_TRY(refuse_residual_init(j, what));
    QL_TRY(ql_json_get_i64(j, what, "r", 1, QL_LORA_MAX_R, &r));
    QL_TRY(ql_json_get_f64(j, what, "lora_alpha", 0, QL_LORA_MAX_ALPHA, &c->alpha));
    QL_TRY(ql_json_get_f64(j, what, "lora_dropout", 0, 1, &c->dropout));
    QL_TRY(ql_json_get_bool(j, what, "use_rslora", &c->rslora));
    QL_TRY(ql_json_get_bool(j, what, "use_dora", &c->dora));
    QL_TRY(ql_json_get_bool(j, what, "fan_in_fan_out", &transposed));
    c->r = (int32_t)r;
    const char *init = json_string_value(json_object_get(j, "init_lora_weights"));
    if (init && !strcmp(init, "gaussian")) c->init = QL_INIT_GAUSSIAN;
    QL_TRY(read_targets(c, j, what));
    QL_TRY(read_patterns(c, j, what));
    QL_TRY(read_list(c, what, j, "modules_to_save", &c->modules_to_save, &c->n_save, NULL));
    QL_TRY(
        read_list(c, what, j, "exclude_modules", &c->exclude, &c->n_exclude, &c->exclude_pattern));
    QL_TRY(read_layers(c, j, what));
    if (ql_json_has(j, "trainable_token_indices"))
        QL_TRY(ql_lora_parse_tokens(c, json_object_get(j, "trainable_token_indices"), what));
    QL_TRY(read_task(c, j, what));
    return ql_lora_check(c);
}

ql_status ql_lora_config_parse(const json_t *j, const char *what, ql_lora_config *out) {
    ql_lora_config c = {0};
    if (!json_is_object(j))
        return QL_FAIL(QL_ERR_FORMAT, "%s: expected a JSON object of adapter settings", what);
    ql_status s = read_settings(&c, j, what);
    if (s != QL_OK) {
        ql_lora_config_free(&c);
        return s;
    }
    *out = c;
    return QL_OK;
}

ql_status ql_lora_config_read(const char *dir, ql_lora_config *out) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "adapter_config.json"));
    json_t *j = NULL;
    QL_TRY(ql_json_read(path, &j));
    ql_status s = ql_lora_config_parse(j, path, out);
    json_decref(j);
    return s;
}

/* ---------------------------------------------------------------- writing */

/* All builders give NULL when memory is short; a set with NULL fails, which `set` keeps. */
typedef struct writer {
    json_t *j;
    bool failed;
} writer;

static void set(writer *w, const char *key, json_t *value) {
    if (json_object_set_new(w->j, key, value) != 0) w->failed = true;
}

/* 16 rather than 16.0, as PEFT writes what was given so. */
static json_t *number(double v) {
    return v == floor(v) ? json_integer((json_int_t)v) : json_real(v);
}

static json_t *names(const char *const *list, int64_t n) {
    json_t *a = json_array();
    for (int64_t i = 0; i < n; i++)
        if (json_array_append_new(a, json_string(list[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *names_or_null(char *const *list, int32_t n) {
    return n ? names((const char *const *)list, n) : json_null();
}

static json_t *indices(const int32_t *list, int32_t n) {
    json_t *a = json_array();
    for (int32_t i = 0; i < n; i++)
        if (json_array_append_new(a, json_integer(list[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *patterns(const ql_lora_pattern *list, int32_t n) {
    json_t *o = json_object();
    for (int32_t i = 0; i < n; i++)
        if (json_object_set_new(o, list[i].pattern, number(list[i].value)) != 0) {
            json_decref(o);
            return NULL;
        }
    return o;
}

static json_t *tokens(const ql_token_rows *t) {
    if (!t->n) return json_null();
    json_t *ids = indices(t->ids, t->n);
    return ids && t->module ? json_pack("{s:o}", t->module, ids) : ids;
}

static json_t *targets(const ql_lora_config *c, const ql_lora_about *about) {
    if (c->pattern) return json_string(c->pattern);
    if (c->n_targets) return names((const char *const *)c->targets, c->n_targets);
    return about->n_adapted ? names(about->adapted, about->n_adapted) : json_string("all-linear");
}

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

static void write_settings(writer *w, const ql_lora_config *c) {
    set(w, "r", json_integer(c->r));
    set(w, "lora_alpha", number(c->alpha));
    set(w, "lora_dropout", json_real(c->dropout));
    set(w, "use_rslora", json_boolean(c->rslora));
    set(w, "use_dora", json_boolean(c->dora));
    set(w, "init_lora_weights",
        c->init == QL_INIT_GAUSSIAN ? json_string("gaussian") : json_true());
    set(w, "rank_pattern", patterns(c->rank_pattern, c->n_rank));
    set(w, "alpha_pattern", patterns(c->alpha_pattern, c->n_alpha));
    set(w, "modules_to_save", names_or_null(c->modules_to_save, c->n_save));
    set(w, "exclude_modules",
        c->exclude_pattern ? json_string(c->exclude_pattern)
                           : names_or_null(c->exclude, c->n_exclude));
    set(w, "layers_to_transform", c->n_layers ? indices(c->layers, c->n_layers) : json_null());
    set(w, "layers_pattern", names_or_null(c->layers_pattern, c->n_layers_pattern));
    set(w, "trainable_token_indices", tokens(&c->tokens));
}

ql_status ql_lora_config_json(const ql_lora_config *c, const ql_lora_about *about, json_t **out) {
    writer w = {.j = json_object()};
    if (!w.j) return QL_NOMEM("adapter_config.json");
    json_t *base = about->base ? json_string(about->base) : NULL; /* NULL also when not UTF-8 */
    set(&w, "peft_type", json_string("LORA"));
    set(&w, "peft_version", json_string(PEFT_VERSION));
    set(&w, "task_type", text_or_null(about->task_type));
    set(&w, "base_model_name_or_path", base ? base : json_string(""));
    set(&w, "target_modules", targets(c, about));
    write_settings(&w, c);
    set(&w, "fan_in_fan_out", json_boolean(about->fan_in_fan_out));
    set(&w, "bias", json_string("none"));
    set(&w, "lora_bias", json_false());
    set(&w, "inference_mode", json_true());
    set(&w, "loftq_config", json_object());
    set(&w, "auto_mapping", json_null());
    set(&w, "revision", json_null());
    if (w.failed) {
        json_decref(w.j);
        return QL_NOMEM("adapter_config.json");
    }
    *out = w.j;
    return QL_OK;
}
