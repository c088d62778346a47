/*
 * merge.c - W + s B A, row by row, into a new folder (see merge.h).
 */
#include "core/model/merge.h"

#include <stdio.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/stage.h"
#include "core/model/model_impl.h"

/* Host copies of one adapted layer's factors; empty when it has none. */
typedef struct factors {
    float *a, *b;
} factors;

static ql_status read_factors(ql_model *m, const ql_linear *l, factors *out) {
    if (l->adapter_a < 0) return QL_OK;
    out->a = ql_host_calloc((size_t)(l->r * l->k), sizeof(float));
    out->b = ql_host_calloc((size_t)(l->n * l->r), sizeof(float));
    if (!out->a || !out->b) return QL_NOMEM("an adapter");
    QL_TRY(ql_param_read(m, l->adapter_a, out->a));
    return ql_param_read(m, l->adapter_b, out->b);
}

/* row += s B[row, :] A, in double so that one rounding remains. */
static void add_product(const ql_linear *l, const factors *f, int64_t row, float *w, double *sum) {
    if (!f->a) return;
    for (int64_t j = 0; j < l->k; j++) sum[j] = w[j];
    for (int32_t i = 0; i < l->r; i++) {
        double c = (double)l->scaling * f->b[row * l->r + i];
        for (int64_t j = 0; j < l->k; j++) sum[j] += c * f->a[i * l->k + j];
    }
    for (int64_t j = 0; j < l->k; j++) w[j] = (float)sum[j];
}

static ql_status write_row(ql_st_writer *w, ql_st_dtype dtype, const float *row, int64_t n,
                           uint16_t *half) {
    if (dtype == QL_ST_F32) return ql_st_writer_data(w, row, (uint64_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        half[i] = dtype == QL_ST_F16 ? ql_f16_from_f32(row[i]) : ql_bf16_from_f32(row[i]);
    return ql_st_writer_data(w, half, (uint64_t)n * sizeof(uint16_t));
}

/* Space for one row in every form. */
typedef struct row_space {
    float *f;
    double *d;
    uint16_t *h;
} row_space;

static ql_status row_space_create(int64_t n, row_space *out) {
    out->f = ql_host_calloc((size_t)n, sizeof(float));
    out->d = ql_host_calloc((size_t)n, sizeof(double));
    out->h = ql_host_calloc((size_t)n, sizeof(uint16_t));
    return out->f && out->d && out->h ? QL_OK : QL_NOMEM("a row of weights");
}

static void row_space_free(row_space *s) {
    ql_host_free(s->f);
    ql_host_free(s->d);
    ql_host_free(s->h);
}

static ql_status write_param(ql_model *m, int32_t param, ql_st_writer *w, ql_st_dtype dtype) {
    const ql_param *p = &m->params[param];
    int64_t n = p->rows * p->cols;
    row_space s = {0};
    ql_status r = row_space_create(n, &s);
    if (r == QL_OK) r = ql_param_read(m, param, s.f);
    if (r == QL_OK) r = write_row(w, dtype, s.f, n, s.h);
    row_space_free(&s);
    return r;
}

static ql_status write_linear(ql_model *m, const ql_linear *l, ql_st_writer *w, ql_st_dtype dtype) {
    if (l->dense_param >= 0) return write_param(m, l->dense_param, w, dtype);
    ql_linear_rows rows = {0};
    QL_TRY(ql_linear_rows_open(m, l, &rows));
    factors f = {0};
    row_space s = {0};
    ql_status r = read_factors(m, l, &f);
    if (r == QL_OK) r = row_space_create(l->k, &s);
    for (int64_t i = 0; i < l->n && r == QL_OK; i++) {
        r = ql_linear_rows_read(&rows, i, s.f);
        if (r != QL_OK) break;
        add_product(l, &f, i, s.f, s.d);
        r = write_row(w, dtype, s.f, l->k, s.h);
    }
    row_space_free(&s);
    ql_host_free(f.a);
    ql_host_free(f.b);
    ql_linear_rows_close(&rows);
    return r;
}

static ql_status write_dense(ql_model *m, const ql_dense *d, ql_st_writer *w, ql_st_dtype dtype) {
    if (d->param >= 0) return write_param(m, d->param, w, dtype);
    row_space s = {0};
    ql_status r = row_space_create(d->from->cols, &s);
    for (int64_t i = 0; i < d->from->rows && r == QL_OK; i++) {
        r = ql_source_read_row(d->from, i, s.f);
        if (r == QL_OK) r = write_row(w, dtype, s.f, d->from->cols, s.h);
    }
    row_space_free(&s);
    return r;
}

/* Tensors in the order of the file: dense ones, then linear weights. */
typedef struct item {
    const ql_dense *dense;
    const ql_linear *linear;
} item;

static bool item_at(ql_model *m, int64_t i, item *out) {
    *out = (item){0};
    int64_t n_dense = 0;
    while (ql_model_dense(m, n_dense)) n_dense++;
    if (i < n_dense) {
        out->dense = ql_model_dense(m, i);
        return true;
    }
    out->linear = ql_model_linear(m, i - n_dense);
    return out->linear && !(out->linear == &m->head && m->tied);
}

static ql_status declare(ql_st_writer *w, const item *it, ql_st_dtype dtype) {
    char name[256];
    if (it->dense) {
        const ql_slot *s = &it->dense->slot;
        int64_t shape[2] = {s->rows, s->cols};
        return s->rows == 1 ? ql_st_writer_declare(w, it->dense->name, dtype, 1, shape + 1)
                            : ql_st_writer_declare(w, it->dense->name, dtype, 2, shape);
    }
    snprintf(name, sizeof name, "%s.weight", it->linear->module);
    int64_t shape[2] = {it->linear->n, it->linear->k};
    return ql_st_writer_declare(w, name, dtype, 2, shape);
}

static ql_status write_weights(ql_model *m, const ql_merge_opts *o, const char *path) {
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    ql_status s = ql_st_writer_metadata(w, "format", "pt");
    item it;
    int64_t total = 0;
    for (; s == QL_OK && item_at(m, total, &it); total++)
        if (!it.dense || it.dense->present) s = declare(w, &it, o->dtype);
    for (int64_t i = 0; s == QL_OK && item_at(m, i, &it); i++) {
        if (it.dense && !it.dense->present) continue;
        const char *name = it.dense ? it.dense->name : it.linear->module;
        if (o->progress && !o->progress(o->user, i, total, name))
            s = QL_FAIL(QL_ERR_CANCELLED, "merge: cancelled");
        if (s == QL_OK)
            s = it.dense ? write_dense(m, it.dense, w, o->dtype)
                         : write_linear(m, it.linear, w, o->dtype);
    }
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

/* config.json without quantization_config, with the dtype that was written. */
static ql_status write_config(ql_model *m, ql_st_dtype dtype, const char *dir) {
    char path[QL_PATH_MAX];
    QL_TRY(ql_path_join(path, dir, "config.json"));
    json_t *c = json_deep_copy(ql_source_config(m->source));
    if (!c) return QL_NOMEM("config.json");
    const char *name = dtype == QL_ST_F32 ? "float32" : dtype == QL_ST_F16 ? "float16" : "bfloat16";
    json_object_del(c, "quantization_config");
    json_object_del(c, "dtype");
    json_object_set_new(c, "torch_dtype", json_string(name));
    json_object_set_new(c, "tie_word_embeddings", json_boolean(m->tied));
    ql_status s = ql_json_write(path, c);
    json_decref(c);
    return s;
}

static ql_status build(ql_model *m, const ql_merge_opts *o, const char *dir) {
    char path[QL_PATH_MAX];
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
