/*
 * adapter.c - PEFT adapter folders: adapter_config.json, adapter_model.safetensors, README.md.
 *
 * Keys: "base_model.model.<module>.lora_A.weight" [r, in], "...lora_B.weight" [out, r],
 * "...lora_magnitude_vector" [out]; tensors of saved modules under their own names; rows of tokens
 * "...token_adapter.trainable_tokens_delta" [n, C], which are values and no differences. All F32.
 * Saving stages a whole folder, reads it back, compares, and only then replaces the old one.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/stage.h"
#include "core/model/model_impl.h"

#define PREFIX "base_model.model."

/* ---------------------------------------------------------------- configuration */

static const char *task_type(const ql_model *m) {
    switch (m->arch.task) {
    case QL_TASK_CLASSIFY: return "SEQ_CLS";
    case QL_TASK_SEQ2SEQ: return "SEQ_2_SEQ_LM";
    default: return "CAUSAL_LM";
    }
}

static ql_status config_json(ql_model *m, const char *base, json_t **out) {
    const char **adapted = ql_host_calloc((size_t)m->n_linears, sizeof *adapted);
    if (!adapted) return QL_NOMEM("adapter_config.json");
    ql_lora_about about = {.task_type = task_type(m), .base = base, .adapted = adapted};
    const ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        if (l->adapter_a < 0) continue;
        adapted[about.n_adapted++] = l->module;
        if (l->transposed) about.fan_in_fan_out = true;
    }
    ql_status s = ql_lora_config_json(&m->lora, &about, out);
    ql_host_free(adapted);
    return s;
}

/* ---------------------------------------------------------------- token rows */

/* The engine keeps trained token rows by ascending id, files in the order of the settings. Copies
 * one order to the other. */
static void reorder(const ql_model *m, const float *in, bool to_file, float *out) {
    const ql_token_rows *file = &m->lora.tokens;
    int64_t cols = m->params[m->token_rows.param].cols;
    for (int32_t i = 0; i < file->n; i++) {
        int32_t lo = 0, hi = m->token_rows.n - 1;
        while (lo < hi) {
            int32_t mid = (lo + hi) / 2;
            if (m->token_rows.ids[mid] < file->ids[i])
                lo = mid + 1;
            else
                hi = mid;
        }
        const float *from = in + (to_file ? lo : i) * cols;
        memcpy(out + (to_file ? i : lo) * cols, from, (size_t)cols * sizeof(float));
    }
}

static bool is_token_rows(const ql_model *m, int32_t param) {
    return m->token_rows.n && m->token_rows.param == param;
}

/* Space for trained token rows in the other order. */
static ql_status other_order(const ql_model *m, float **out) {
    const ql_param *p = &m->params[m->token_rows.param];
    *out = ql_host_calloc((size_t)p->rows, (size_t)p->cols * sizeof(float));
    return *out ? QL_OK : QL_NOMEM("trained token rows");
}

/* A parameter's value as files have it, and back. */
static ql_status read_param(ql_model *m, int32_t param, float *out) {
    if (!is_token_rows(m, param)) return ql_param_read(m, param, out);
    float *rows;
    QL_TRY(other_order(m, &rows));
    ql_status s = ql_param_read(m, param, rows);
    if (s == QL_OK) reorder(m, rows, true, out);
    ql_host_free(rows);
    return s;
}

static ql_status write_param(ql_model *m, int32_t param, const float *in) {
    if (!is_token_rows(m, param)) return ql_param_write(m, param, in);
    float *rows;
    QL_TRY(other_order(m, &rows));
    reorder(m, in, false, rows);
    ql_status s = ql_param_write(m, param, rows);
    ql_host_free(rows);
    return s;
}

/* ---------------------------------------------------------------- values */

ql_status ql_adapter_tensor_name(const ql_param *p, char out[256]) {
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
        s = ql_adapter_tensor_name(p, name);
        if (s == QL_OK)
            s = ql_st_writer_declare(w, name, QL_ST_F32, p->dims, shape + (2 - p->dims));
        uint64_t n = (uint64_t)p->rows * (uint64_t)p->cols;
        if (n > largest) largest = n;
    }
    float *values = s == QL_OK ? ql_host_calloc(largest, sizeof(float)) : NULL;
    if (s == QL_OK && !values) s = QL_NOMEM("an adapter");
    for (int32_t i = 0; i < m->n_params && s == QL_OK; i++) {
        const ql_param *p = &m->params[i];
        s = read_param(m, i, values);
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
    return write_param(m, param, file);
}

static ql_status compare_value(ql_model *m, int32_t param, const float *file, float *now,
                               int64_t n) {
    QL_TRY(read_param(m, param, now));
    if (memcmp(file, now, (size_t)n * sizeof(float)) != 0)
        return QL_FAIL(QL_ERR_IO,
                       "adapter: '%s' reads back with other bytes than were written; the disk or "
                       "memory is damaged",
                       m->params[param].name);
    return QL_OK;
}

/* Files of some tools call the magnitudes of DoRA "...lora_magnitude_vector.weight". */
static bool has_longer_name(const ql_param *p) {
    static const char end[] = "lora_magnitude_vector";
    size_t n = strlen(p->name), t = sizeof end - 1;
    return n >= t && !strcmp(p->name + n - t, end);
}

static bool is_named(const ql_param *p, const char *tensor) {
    char name[256];
    if (ql_adapter_tensor_name(p, name) != QL_OK) return false;
    size_t n = strlen(name);
    if (strncmp(tensor, name, n) != 0) return false;
    return !tensor[n] || (has_longer_name(p) && !strcmp(tensor + n, ".weight"));
}

/* A matrix as it is; a vector also as a matrix of one row or column. */
static bool fits(const ql_param *p, const ql_st_tensor *t) {
    if (p->dims == 2) return t->dims == 2 && t->shape[0] == p->rows && t->shape[1] == p->cols;
    bool vector = t->dims == 1 || (t->dims == 2 && (t->shape[0] == 1 || t->shape[1] == 1));
    return vector && t->numel == p->cols;
}

/* The tensor of parameter p, or a sentence why it is not one. */
static ql_status find_value(const ql_st_file *f, const char *path, const ql_param *p,
                            const ql_st_tensor **out) {
    char name[256], longer[256 + 8];
    QL_TRY(ql_adapter_tensor_name(p, name));
    const ql_st_tensor *t = ql_st_find(f, name);
    if (!t && has_longer_name(p)) {
        snprintf(longer, sizeof longer, "%s.weight", name);
        t = ql_st_find(f, longer);
    }
    if (!t) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: tensor '%s' is missing", path, name);
    if (t->dtype != QL_ST_F32 && t->dtype != QL_ST_F16 && t->dtype != QL_ST_BF16)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' is %s, expected F32, F16 or BF16", path,
                       name, ql_st_dtype_name(t->dtype));
    if (!fits(p, t))
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
    for (int64_t i = 0; i < ql_st_count(f); i++) {
        const char *have = ql_st_at(f, i)->name;
        bool known = strstr(have, ".base_layer.weight") != NULL;
        for (int32_t k = 0; k < m->n_params && !known; k++) known = is_named(&m->params[k], have);
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

ql_status ql_adapter_load_layers(ql_model *m, const char *dir) {
    char path[QL_PATH_MAX];
    ql_st_file *f = NULL;
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    const char *extra = surplus(m, f);
    if (extra) s = QL_FAIL(QL_ERR_SHAPE, "%s: tensor '%s' is no layer of this model", path, extra);
    const visit_fn steps[] = {check_value, store_value};
    for (int k = 0; k < 2 && s == QL_OK; k++) {
        const ql_linear *l;
        for (int64_t i = 0; (l = ql_model_linear(m, i)) && s == QL_OK; i++) {
            if (l->adapter_a < 0) continue;
            s = visit_one(m, f, path, l->adapter_a, steps[k]);
            if (s == QL_OK) s = visit_one(m, f, path, l->adapter_b, steps[k]);
        }
    }
    ql_st_close(f);
    return s;
}

static const char readme[] = "---\nlibrary_name: peft\ntags:\n- lora\n---\n"
                             "LoRA adapter trained with qlora. Load it with PEFT "
                             "(`PeftModel.from_pretrained(model, folder)`)\n"
                             "or with `qlora generate --adapter folder`.\n";

/* Writes the settings and reads them back. */
static ql_status write_config(const json_t *config, const char *dir) {
    char path[QL_PATH_MAX];
    json_t *file = NULL;
    QL_TRY(ql_path_join(path, dir, "adapter_config.json"));
    QL_TRY(ql_json_write(path, config));
    QL_TRY(ql_json_read(path, &file));
    bool same = json_equal(file, config);
    json_decref(file);
    if (same) return QL_OK;
    return QL_FAIL(QL_ERR_IO,
                   "%s: reads back with other content than was written; the disk or memory is "
                   "damaged",
                   path);
}

ql_status ql_adapter_write_settings(ql_model *m, const char *base, const char *dir) {
    char path[QL_PATH_MAX];
    json_t *c = NULL;
    QL_TRY(config_json(m, base, &c));
    ql_status s = write_config(c, dir);
    json_decref(c);
    QL_TRY(s);
    QL_TRY(ql_path_join(path, dir, "README.md"));
    return ql_file_replace(path, readme, sizeof readme - 1);
}

static ql_status build(ql_model *m, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_adapter_write_settings(m, ql_source_path(m->source), dir));
    QL_TRY(ql_path_join(path, dir, "adapter_model.safetensors"));
    QL_TRY(write_values(m, path));
    ql_file_drop_cache(path);
    return visit_values(m, path, compare_value);
}

ql_status ql_adapter_save(ql_model *m, const char *dir) {
    if (!m->has_lora) return QL_FAIL(QL_ERR_INVALID, "model: there is no adapter to save");
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(m, staged), staged, dir);
}
