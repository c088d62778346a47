/*
 * merge.c - see merge.h. Dense tensors come first, then the linear weights; the head is left out
 * when it is the embedding.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/stage.h"
#include "core/model/merge_impl.h"

/* ---------------------------------------------------------------- weights */

/* The tensors of the file in order; false past the end. */
typedef struct item {
    const ql_dense *dense;
    const ql_linear *linear;
    char name[256];
} item;

static bool item_at(ql_model *m, int64_t i, item *out) {
    *out = (item){0};
    if (i < m->n_denses) {
        out->dense = ql_model_dense(m, i);
        snprintf(out->name, sizeof out->name, "%s", out->dense->name);
        return true;
    }
    out->linear = ql_model_linear(m, i - m->n_denses);
    if (!out->linear || (out->linear == m->head && m->tied && !ql_merge_unties(m))) return false;
    snprintf(out->name, sizeof out->name, "%s.weight", out->linear->module);
    return true;
}

/* A buffer that the files lack is no part of the result. */
static bool is_absent(const item *it) {
    return it->dense && !it->dense->from && it->dense->param < 0;
}

static ql_status declare(ql_model *m, ql_st_writer *w, const item *it, ql_st_dtype dtype) {
    if (it->dense) {
        const ql_dense *d = it->dense;
        int32_t dims = d->from ? d->from->dims : m->params[d->param].dims;
        int64_t shape[2] = {d->slot.rows, d->slot.cols};
        return dims == 1 ? ql_st_writer_declare(w, it->name, dtype, 1, shape + 1)
                         : ql_st_writer_declare(w, it->name, dtype, 2, shape);
    }
    const ql_linear *l = it->linear;
    bool transposed = ql_merge_transposes(m, l);
    int64_t shape[2] = {transposed ? l->k : l->n, transposed ? l->n : l->k};
    return ql_st_writer_declare(w, it->name, dtype, 2, shape);
}

static ql_status write_item(ql_merge_out *out, const ql_merge_opts *o, const item *it) {
    QL_TRY(it->dense ? ql_merge_dense(out, it->dense) : ql_merge_linear(out, it->linear));
    if (out->changed && o->changed) o->changed(o->user, it->name, out->largest);
    return QL_OK;
}

static ql_status write_weights(ql_model *m, const ql_merge_opts *o, const char *path) {
    ql_merge_out out = {.m = m, .dtype = o->dtype, .measure = o->changed != NULL};
    QL_TRY(ql_st_writer_create(path, &out.w));
    ql_status s = ql_st_writer_metadata(out.w, "format", "pt");
    item it;
    int64_t total = 0;
    for (; s == QL_OK && item_at(m, total, &it); total++)
        if (!is_absent(&it)) s = declare(m, out.w, &it, o->dtype);
    for (int64_t i = 0; s == QL_OK && item_at(m, i, &it); i++) {
        if (is_absent(&it)) continue;
        const char *name = it.dense ? it.dense->name : it.linear->module;
        if (o->progress && !o->progress(o->user, i, total, name))
            s = QL_FAIL(QL_ERR_CANCELLED, "merge: cancelled");
        if (s == QL_OK) s = write_item(&out, o, &it);
    }
    if (s != QL_OK) {
        ql_st_writer_abort(out.w);
        return s;
    }
    return ql_st_writer_commit(out.w);
}

/* ---------------------------------------------------------------- configuration */

/* As many labels as the classifier has rows, when the files say another number. */
static void set_labels(json_t *c, int32_t n) {
    json_t *names = json_object_get(c, "id2label");
    json_int_t said = json_integer_value(json_object_get(c, "num_labels"));
    if (!said) said = json_is_object(names) ? (json_int_t)json_object_size(names) : 2;
    if (said == n) return;
    json_t *to = json_object(), *from = json_object();
    for (int32_t i = 0; i < n; i++) {
        char id[16], label[24];
        snprintf(id, sizeof id, "%d", i);
        snprintf(label, sizeof label, "LABEL_%d", i);
        json_object_set_new(to, id, json_string(label));
        json_object_set_new(from, label, json_integer(i));
    }
    json_object_del(c, "num_labels");
    json_object_set_new(c, "id2label", to);
    json_object_set_new(c, "label2id", from);
}

/* config.json without quantization_config, with the dtype that was written. T5 scales its head
 * when config.json ties it, so that such a file keeps what it says. */
static ql_status write_config(ql_model *m, ql_st_dtype dtype, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "config.json"));
    json_t *c = json_deep_copy(ql_source_config(m->source));
    if (!c) return QL_NOMEM("config.json");
    const char *name = dtype == QL_ST_F32 ? "float32" : dtype == QL_ST_F16 ? "float16" : "bfloat16";
    json_object_del(c, "quantization_config");
    json_object_del(c, "dtype");
    json_object_set_new(c, "torch_dtype", json_string(name));
    if (m->arch.task == QL_TASK_CLASSIFY)
        set_labels(c, m->arch.n_labels);
    else if (m->arch.head.scale == 1.0f)
        json_object_set_new(c, "tie_word_embeddings", json_boolean(m->tied && !ql_merge_unties(m)));
    ql_status s = ql_json_write(path, c);
    json_decref(c);
    return s;
}

static ql_status build(ql_model *m, const ql_merge_opts *o, const char *dir) {
    char path[QL_PATH_MAX];
    if (ql_merge_unties(m) && m->arch.head.scale != 1.0f)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "merge: the adapter unties the head from the embedding, and a %s model with "
                       "an untied head would compute something else; use the adapter as it is",
                       m->arch.family);
    QL_TRY(ql_source_write_sidecars(m->source, dir));
    QL_TRY(write_config(m, o->dtype, dir));
    QL_TRY(ql_path_join(path, dir, "model.safetensors"));
    return write_weights(m, o, path);
}

ql_status ql_merge(ql_model *m, const ql_merge_opts *o, const char *dir) {
    char staged[QL_PATH_MAX];
    QL_TRY(ql_stage_begin(dir, staged));
    return ql_stage_end(build(m, o, staged), staged, dir);
}
