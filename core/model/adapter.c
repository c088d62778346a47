/*
 * adapter.c - PEFT adapter folders: adapter_config.json, adapter_model.safetensors, README.md.
 *
 * Keys: "base_model.model.<module>.lora_A.weight" [r, in], "...lora_B.weight" [out, r], F32.
 * Saving stages a whole folder, reads it back, compares, and only then replaces the old one.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/stage.h"
#include "core/model/model_impl.h"

#define PREFIX       "base_model.model."
#define PEFT_VERSION "0.21.2" /* the version whose layout is written */

/* ---------------------------------------------------------------- configuration */

/* Initializations that change the base weights when PEFT loads the adapter (a residual base). */
static ql_status refuse_residual_init(const json_t *c, const char *what) {
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const json_t *v = json_object_get(c, "init_lora_weights");
    if (!v || !json_is_string(v)) return QL_OK;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (!strcmp(json_string_value(v), harmless[i])) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: init_lora_weights '%.32s' changes the base weights; it is known, not "
                   "available in this version",
                   what, json_string_value(v));
}

/* Settings that change the mathematics and that this version does not have. */
static ql_status refuse_unsupported(const json_t *c, const char *what) {
    static const char *const flags[] = {"use_dora", "lora_bias", "use_qalora", "fan_in_fan_out"};
    static const char *const filled[] = {
        "rank_pattern",        "alpha_pattern",     "modules_to_save",
        "layers_to_transform", "exclude_modules",   "trainable_token_indices",
        "target_parameters",   "layer_replication", "alora_invocation_tokens",
        "use_bdlora",          "kasa_config",       "monteclora_config",
        "arrow_config"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(c, flags[i])))
            return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is known, not available in this version",
                           what, flags[i]);
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        const json_t *v = json_object_get(c, filled[i]);
        bool empty = !v || json_is_null(v) || json_is_false(v) ||
                     (json_is_object(v) && !json_object_size(v)) ||
                     (json_is_array(v) && !json_array_size(v));
        if (!empty)
            return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is known, not available in this version",
                           what, filled[i]);
    }
    const char *bias = NULL, *peft = NULL;
    QL_TRY(ql_json_get_str(c, what, "bias", &bias));
    if (bias && strcmp(bias, "none") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: bias '%.32s' is known, not available in this version", what, bias);
    QL_TRY(ql_json_get_str(c, what, "peft_type", &peft));
    if (!peft || strcmp(peft, "LORA") != 0)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: peft_type '%.32s', expected LORA", what,
                       peft ? peft : "(absent)");
    return QL_OK;
}

static ql_status read_targets(const json_t *c, const char *what, ql_lora_config *out) {
    const json_t *t = json_object_get(c, "target_modules");
    if (!t || json_is_null(t))
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'target_modules' is missing", what);
    if (json_is_string(t)) {
        const char *text = json_string_value(t);
        if (!strcmp(text, "all-linear")) return QL_OK;
        out->pattern = ql_host_strdup(text);
        return out->pattern ? QL_OK : QL_NOMEM("target modules");
    }
    size_t n = json_is_array(t) ? json_array_size(t) : 0;
    if (!n)
        return QL_FAIL(QL_ERR_FORMAT, "%s: 'target_modules' must be a name or a list of names",
                       what);
    out->targets = ql_host_calloc(n, sizeof(char *));
    if (!out->targets) return QL_NOMEM("target modules");
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(t, i));
        if (!name)
            return QL_FAIL(QL_ERR_FORMAT, "%s: 'target_modules' holds something other than names",
                           what);
        out->targets[i] = ql_host_strdup(name);
        if (!out->targets[i]) return QL_NOMEM("target modules");
        out->n_targets++;
    }
    return QL_OK;
}

static ql_status read_config(const json_t *c, const char *what, ql_lora_config *out) {
    int64_t r = 8;
    out->alpha = 8;
    QL_TRY(refuse_unsupported(c, what));
    QL_TRY(refuse_residual_init(c, what));
    QL_TRY(ql_json_get_i64(c, what, "r", 1, 65536, &r));
    QL_TRY(ql_json_get_f64(c, what, "lora_alpha", 0, 1e6, &out->alpha));
    QL_TRY(ql_json_get_f64(c, what, "lora_dropout", 0, 1, &out->dropout));
    QL_TRY(ql_json_get_bool(c, what, "use_rslora", &out->rslora));
    out->r = (int32_t)r;
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    if (init && !strcmp(init, "gaussian")) out->init = QL_INIT_GAUSSIAN;
    QL_TRY(read_targets(c, what, out));
    return ql_lora_check(out);
}

ql_status ql_lora_config_read(const char *dir, ql_lora_config *out) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "adapter_config.json"));
    json_t *c = NULL;
    QL_TRY(ql_json_read(path, &c));
    ql_lora_config cfg = {0};
    ql_status s = read_config(c, path, &cfg);
    json_decref(c);
    if (s != QL_OK) {
        ql_lora_config_free(&cfg);
        return s;
    }
    *out = cfg;
    return QL_OK;
}

/* Everything PEFT writes, its defaults included, so that older and newer readers agree. */
static json_t *config_json(const ql_model *m) {
    const ql_lora_config *l = &m->lora;
    json_t *targets = json_array();
    for (int32_t i = 0; i < l->n_targets; i++)
        json_array_append_new(targets, json_string(l->targets[i]));
    if (!l->n_targets && !l->pattern) { /* all-linear: full module paths, as PEFT saves them */
        const ql_linear *lin;
        ql_model *mm = (ql_model *)(uintptr_t)m;
        for (int64_t i = 0; (lin = ql_model_linear(mm, i)); i++)
            if (lin->adapter_a >= 0) json_array_append_new(targets, json_string(lin->module));
    }
    json_t *c = json_pack("{s:s,s:s,s:s,s:i,s:f,s:f,s:b,s:b,s:s,s:b,s:b,s:b,s:{},s:{},s:{},s:s}",
                          "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path",
                          "", "r", (int)l->r, "lora_alpha", l->alpha, "lora_dropout", l->dropout,
                          "use_rslora", (int)l->rslora, "use_dora", 0, "bias", "none",
                          "fan_in_fan_out", 0, "inference_mode", 1, "lora_bias", 0, "rank_pattern",
                          "alpha_pattern", "loftq_config", "peft_version", PEFT_VERSION);
    if (!c || !targets) {
        json_decref(c);
        json_decref(targets);
        return NULL;
    }
    json_t *base = json_string(ql_source_path(m->source)); /* NULL when not UTF-8: stays empty */
    if (base) json_object_set_new(c, "base_model_name_or_path", base);
    if (l->alpha == floor(l->alpha))
        json_object_set_new(c, "lora_alpha", json_integer((json_int_t)l->alpha));
    json_object_set_new(c, "init_lora_weights",
                        l->init == QL_INIT_GAUSSIAN ? json_string("gaussian") : json_true());
    if (l->pattern) {
        json_object_set_new(c, "target_modules", json_string(l->pattern));
        json_decref(targets);
    } else {
        json_object_set_new(c, "target_modules", targets);
    }
    static const char *const null_keys[] = {
        "auto_mapping",    "exclude_modules", "layers_pattern",         "layers_to_transform",
        "modules_to_save", "revision",        "trainable_token_indices"};
    for (size_t i = 0; i < sizeof null_keys / sizeof *null_keys; i++)
        json_object_set_new(c, null_keys[i], json_null());
    return c;
}

/* ---------------------------------------------------------------- values */

static ql_status full_name(const ql_param *p, char out[256]) {
    int n = snprintf(out, 256, PREFIX "%s", p->name);
    return n > 0 && n < 256 ? QL_OK
                            : QL_FAIL(QL_ERR_INVALID, "adapter name '%s' is too long", p->name);
}

static ql_status write_values(ql_model *m, const char *path) {
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    ql_status s = ql_st_writer_metadata(w, "format", "pt");
    char name[256];
    uint64_t largest = 0;
    for (int32_t i = 0; i < m->n_params && s == QL_OK; i++) {
        const ql_param *p = &m->params[i];
        int64_t shape[2] = {p->rows, p->cols};
        s = full_name(p, name);
        if (s == QL_OK) s = ql_st_writer_declare(w, name, QL_ST_F32, 2, shape);
        uint64_t n = (uint64_t)p->rows * (uint64_t)p->cols;
        if (n > largest) largest = n;
    }
    float *values = s == QL_OK ? ql_host_calloc(largest, sizeof(float)) : NULL;
    if (s == QL_OK && !values) s = QL_NOMEM("an adapter");
    for (int32_t i = 0; i < m->n_params && s == QL_OK; i++) {
        const ql_param *p = &m->params[i];
        s = ql_param_read(m, i, values);
        if (s == QL_OK)
            s = ql_st_writer_data(w, values, (uint64_t)p->rows * (uint64_t)p->cols * sizeof(float));
    }
    ql_host_free(values);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

typedef ql_status (*visit_fn)(ql_model *m, int32_t param, const float *file, float *now, int64_t n);

static ql_status check_value(ql_model *m, int32_t param, const float *file, float *now, int64_t n) {
    (void)now;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(file[i]))
            return QL_FAIL(QL_ERR_NUMERIC,
                           "adapter: '%s' holds a value that is not finite at element %lld",
                           m->params[param].name, (long long)i);
    return QL_OK;
}

static ql_status store_value(ql_model *m, int32_t param, const float *file, float *now, int64_t n) {
    (void)now, (void)n;
    return ql_param_write(m, param, file);
}

static ql_status compare_value(ql_model *m, int32_t param, const float *file, float *now,
                               int64_t n) {
    QL_TRY(ql_param_read(m, param, now));
    if (memcmp(file, now, (size_t)n * sizeof(float)) != 0)
        return QL_FAIL(QL_ERR_IO,
                       "adapter: '%s' reads back with other bytes than were written; the disk or "
                       "memory is damaged",
                       m->params[param].name);
    return QL_OK;
}

/* The tensor of parameter p, or a sentence why it is not one. */
static ql_status find_value(const ql_st_file *f, const char *path, const ql_param *p,
                            const ql_st_tensor **out) {
    char name[256];
    QL_TRY(full_name(p, name));
    const ql_st_tensor *t = ql_st_find(f, name);
    if (!t) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: tensor '%s' is missing", path, name);
    if (t->dtype != QL_ST_F32 && t->dtype != QL_ST_F16 && t->dtype != QL_ST_BF16)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is %s, expected F32, F16 or BF16", path,
                       name, ql_st_dtype_name(t->dtype));
    if (t->dims != 2 || t->shape[0] != p->rows || t->shape[1] != p->cols)
        return QL_FAIL(QL_ERR_SHAPE, "%s: tensor '%s' is %lld x %lld, this model needs %lld x %lld",
                       path, name, (long long)t->shape[0],
                       t->dims > 1 ? (long long)t->shape[1] : 1LL, (long long)p->rows,
                       (long long)p->cols);
    *out = t;
    return QL_OK;
}

static ql_status visit_one(ql_model *m, const ql_st_file *f, const char *path, int32_t param,
                           visit_fn visit) {
    const ql_st_tensor *t = NULL;
    QL_TRY(find_value(f, path, &m->params[param], &t));
    float *v = ql_host_calloc((size_t)t->numel, 2 * sizeof(float));
    if (!v) return QL_NOMEM("an adapter");
    ql_status s = ql_st_read_f32(t, 0, t->numel, v);
    if (s == QL_OK) s = visit(m, param, v, v + t->numel, t->numel);
    ql_host_free(v);
    return s;
}

/* The first tensor that is no parameter. PEFT adds a copy of an adapted head's own weight
 * ("...base_layer.weight"), which the base has already. */
static const char *surplus(const ql_model *m, const ql_st_file *f) {
    char name[256];
    for (int64_t i = 0; i < ql_st_count(f); i++) {
        const char *have = ql_st_at(f, i)->name;
        bool known = strstr(have, ".base_layer.weight") != NULL;
        for (int32_t k = 0; k < m->n_params && !known; k++)
            known = full_name(&m->params[k], name) == QL_OK && !strcmp(name, have);
        if (!known) return have;
    }
    return NULL;
}

/* Reads every parameter from `path`; names and shapes must be exactly the attached ones. */
static ql_status visit_values(ql_model *m, const char *path, visit_fn visit) {
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    for (int32_t i = 0; i < m->n_params && s == QL_OK; i++) s = visit_one(m, f, path, i, visit);
    /* All parameters were found; only more tensors than that can hold one that is none. */
    bool more = s == QL_OK && ql_st_count(f) > m->n_params;
    const char *extra = more ? surplus(m, f) : NULL;
    if (extra)
        s = QL_FAIL(
            QL_ERR_SHAPE,
            "%s: tensor '%s' has no place in the adapter of this model, which has %d tensors "
            "(other targets?)",
            path, extra, m->n_params);
    ql_st_close(f);
    return s;
}

ql_status ql_adapter_check(ql_model *m, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    return visit_values(m, path, check_value);
}

ql_status ql_adapter_load(ql_model *m, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_adapter_check(m, dir));
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    return visit_values(m, path, store_value);
}

static const char readme[] = "---\nlibrary_name: peft\ntags:\n- lora\n---\n"
                             "LoRA adapter trained with qlora. Load it with PEFT "
                             "(`PeftModel.from_pretrained(model, folder)`)\n"
                             "or with `qlora generate --adapter folder`.\n";

static ql_status build(ql_model *m, const char *dir) {
    char path[QL_PATH_MAX];
    json_t *c = config_json(m);
    if (!c) return QL_NOMEM("adapter_config.json");
    ql_status s = ql_path_join(path, dir, "adapter_config.json");
    if (s == QL_OK) s = ql_json_write(path, c);
    json_decref(c);
    QL_TRY(s);
    QL_TRY(ql_path_join(path, dir, "README.md"));
    QL_TRY(ql_file_replace(path, readme, sizeof readme - 1));
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    QL_TRY(write_values(m, path));
    return visit_values(m, path, compare_value);
}

ql_status ql_adapter_save(ql_model *m, const char *dir) {
    if (!m->has_lora) return QL_FAIL(QL_ERR_INVALID, "model: there is no adapter to save");
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(m, staged), staged, dir);
}
