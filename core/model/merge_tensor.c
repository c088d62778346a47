/*
 * merge_tensor.c - the merged values of one tensor, row by row.
 *
 *   V = W + s B A,  V'[i, :] = m[i] V[i, :] / |V[i, :]| with DoRA     (in double, rounded once)
 */
#include <math.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/model/merge_impl.h"

/* ---------------------------------------------------------------- writing */

/* Space for one row in every form. */
typedef struct row_space {
    float *f, *old;
    double *d;
    uint16_t *h;
} row_space;

static ql_status row_space_create(int64_t n, row_space *out) {
    out->f = ql_host_calloc((size_t)n, sizeof(float));
    out->old = ql_host_calloc((size_t)n, sizeof(float));
    out->d = ql_host_calloc((size_t)n, sizeof(double));
    out->h = ql_host_calloc((size_t)n, sizeof(uint16_t));
    return out->f && out->old && out->d && out->h ? QL_OK : QL_NOMEM("a row of weights");
}

static void row_space_free(row_space *s) {
    ql_host_free(s->f);
    ql_host_free(s->old);
    ql_host_free(s->d);
    ql_host_free(s->h);
}

static ql_status write_row(ql_merge_out *o, const float *row, int64_t n, uint16_t *half) {
    if (o->dtype == QL_ST_F32) return ql_st_writer_data(o->w, row, (uint64_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        half[i] = o->dtype == QL_ST_F16 ? ql_f16_from_f32(row[i]) : ql_bf16_from_f32(row[i]);
    return ql_st_writer_data(o->w, half, (uint64_t)n * sizeof(uint16_t));
}

/* W [n, k] as its columns. */
static ql_status write_columns(ql_merge_out *o, const float *w, int64_t n, int64_t k) {
    row_space s = {0};
    ql_status r = row_space_create(n, &s);
    for (int64_t j = 0; j < k && r == QL_OK; j++) {
        for (int64_t i = 0; i < n; i++) s.f[i] = w[i * k + j];
        r = write_row(o, s.f, n, s.h);
    }
    row_space_free(&s);
    return r;
}

static void note_change(ql_merge_out *o, const float *row, const float *old, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)row[i] - (double)old[i]);
        if (d > o->largest) o->largest = d;
    }
}

/* A tensor of the files as it is. */
static ql_status write_source(ql_merge_out *o, const ql_source_tensor *t) {
    row_space s = {0};
    ql_status r = row_space_create(t->cols, &s);
    for (int64_t i = 0; i < t->rows && r == QL_OK; i++) {
        r = ql_source_read_row(t, i, s.f);
        if (r == QL_OK) r = write_row(o, s.f, t->cols, s.h);
    }
    row_space_free(&s);
    return r;
}

static ql_status read_values(ql_model *m, int32_t param, float **out) {
    const ql_param *p = &m->params[param];
    *out = ql_host_calloc((size_t)p->rows, (size_t)p->cols * sizeof(float));
    if (!*out) return QL_NOMEM("trained values");
    ql_status s = ql_param_read(m, param, *out);
    if (s != QL_OK) {
        ql_host_free(*out);
        *out = NULL;
    }
    return s;
}

/* A trained tensor in place of `from` (NULL: the files lack it). */
static ql_status write_param(ql_merge_out *o, int32_t param, const ql_source_tensor *from) {
    const ql_param *p = &o->m->params[param];
    float *values = NULL;
    row_space s = {0};
    o->changed = true;
    QL_TRY(read_values(o->m, param, &values));
    ql_status r = row_space_create(p->cols, &s);
    bool measure = o->measure && from && from->rows == p->rows && from->cols == p->cols;
    for (int64_t i = 0; i < p->rows && r == QL_OK; i++) {
        const float *row = values + i * p->cols;
        if (measure) r = ql_source_read_row(from, i, s.old);
        if (measure && r == QL_OK) note_change(o, row, s.old, p->cols);
        if (r == QL_OK) r = write_row(o, row, p->cols, s.h);
    }
    row_space_free(&s);
    ql_host_free(values);
    return r;
}

/* ---------------------------------------------------------------- linear layers */

/* A layer's weight in the files and host copies of its adapter; NULL = absent. */
typedef struct layer {
    const ql_linear *l;
    ql_linear_rows base;
    float *a, *b, *magnitude;
} layer;

static ql_status layer_open(ql_model *m, const ql_linear *l, layer *out) {
    out->l = l;
    QL_TRY(ql_linear_rows_open(m, l, &out->base));
    if (l->adapter_a < 0) return QL_OK;
    QL_TRY(read_values(m, l->adapter_a, &out->a));
    QL_TRY(read_values(m, l->adapter_b, &out->b));
    return l->adapter_m >= 0 ? read_values(m, l->adapter_m, &out->magnitude) : QL_OK;
}

static void layer_close(layer *x) {
    ql_linear_rows_close(&x->base);
    ql_host_free(x->a);
    ql_host_free(x->b);
    ql_host_free(x->magnitude);
}

/* s->f = row i of the merged weight. A row of zeros has no direction and stays. */
static ql_status layer_row(ql_merge_out *o, const layer *x, int64_t i, row_space *s) {
    const ql_linear *l = x->l;
    QL_TRY(ql_linear_rows_read(&x->base, i, s->old));
    for (int64_t j = 0; j < l->k; j++) s->d[j] = s->old[j];
    for (int32_t r = 0; x->a && r < l->r; r++) {
        double c = (double)l->scaling * x->b[i * l->r + r];
        for (int64_t j = 0; j < l->k; j++) s->d[j] += c * x->a[r * l->k + j];
    }
    double factor = 1.0;
    if (x->magnitude) {
        double square = 0;
        for (int64_t j = 0; j < l->k; j++) square += s->d[j] * s->d[j];
        factor = square > 0 ? x->magnitude[i] / sqrt(square) : 0.0;
    }
    for (int64_t j = 0; j < l->k; j++) s->f[j] = (float)(factor * s->d[j]);
    note_change(o, s->f, s->old, l->k);
    return QL_OK;
}

/* All rows: into `all` [n, k], or to the file when it is NULL. */
static ql_status merge_rows(ql_merge_out *o, const layer *x, float *all) {
    int64_t k = x->l->k;
    row_space s = {0};
    ql_status r = row_space_create(k, &s);
    for (int64_t i = 0; i < x->l->n && r == QL_OK; i++) {
        r = layer_row(o, x, i, &s);
        if (r == QL_OK && all) memcpy(all + i * k, s.f, (size_t)k * sizeof(float));
        if (r == QL_OK && !all) r = write_row(o, s.f, k, s.h);
    }
    row_space_free(&s);
    return r;
}

static ql_status write_layer(ql_merge_out *o, const ql_linear *l, bool transposed) {
    layer x = {0};
    float *all = NULL;
    ql_status s = layer_open(o->m, l, &x);
    if (s == QL_OK && transposed) {
        all = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof(float));
        if (!all) s = QL_NOMEM("a transposed weight");
    }
    if (s == QL_OK) s = merge_rows(o, &x, all);
    if (s == QL_OK && transposed) s = write_columns(o, all, l->n, l->k);
    o->changed = l->adapter_a >= 0;
    ql_host_free(all);
    layer_close(&x);
    return s;
}

bool ql_merge_transposes(const ql_model *m, const ql_linear *l) {
    bool in_block = l != m->head && l != m->head_dense && l != m->head_project;
    return l->transposed || (in_block && m->arch.body.transposed);
}

bool ql_merge_unties(const ql_model *m) {
    return m->tied && !m->opts.full && (m->embed->param >= 0 || m->head->dense_param >= 0);
}

ql_status ql_merge_linear(ql_merge_out *o, const ql_linear *l) {
    const ql_source_tensor *from = l == o->m->head && o->m->tied ? o->m->embed->from : l->from;
    bool transposed = ql_merge_transposes(o->m, l), as_it_lies = transposed == l->transposed;
    o->changed = false;
    o->largest = 0;
    if (l->dense_param >= 0 && as_it_lies) return write_param(o, l->dense_param, from);
    if (l->dense_param >= 0) {
        float *w = NULL;
        QL_TRY(read_values(o->m, l->dense_param, &w));
        ql_status s = write_columns(o, w, l->n, l->k);
        ql_host_free(w);
        return s;
    }
    if (l->adapter_a < 0 && from && as_it_lies) return write_source(o, from);
    return write_layer(o, l, transposed);
}

/* ---------------------------------------------------------------- other tensors */

/* The embedding with trained rows of tokens (ids ascending) in place of its own. */
static ql_status write_embedding(ql_merge_out *o, const ql_dense *d) {
    const ql_token_table *t = &o->m->token_rows;
    int64_t cols = d->from->cols;
    float *trained = NULL;
    row_space s = {0};
    o->changed = true;
    QL_TRY(read_values(o->m, t->param, &trained));
    ql_status r = row_space_create(cols, &s);
    int32_t next = 0;
    for (int64_t i = 0; i < d->from->rows && r == QL_OK; i++) {
        const float *row = s.f;
        r = ql_source_read_row(d->from, i, s.f);
        if (r == QL_OK && next < t->n && t->ids[next] == i) {
            row = trained + next++ * cols;
            note_change(o, row, s.f, cols);
        }
        if (r == QL_OK) r = write_row(o, row, cols, s.h);
    }
    row_space_free(&s);
    ql_host_free(trained);
    return r;
}

ql_status ql_merge_dense(ql_merge_out *o, const ql_dense *d) {
    o->changed = false;
    o->largest = 0;
    if (d->param >= 0) return write_param(o, d->param, d->from);
    if (d == o->m->embed && o->m->token_rows.n) return write_embedding(o, d);
    return write_source(o, d->from);
}
