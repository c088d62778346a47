/*
 * result.c - tolerances by tensor group, comparison, writing (see result.h).
 *
 * fp32 limits: logits and loss 5e-5 absolute; gradients 1e-5 absolute or 1e-4 of the largest entry;
 * losses and norms over steps 1e-4; weights after three steps 2e-4 absolute (Adam's first steps are
 * sign-like). The recorded fp32 oracles themselves lie up to 8e-6 from float64. bf16: logits within
 * 2^-5 of the largest, losses likewise; gradients and weights are not compared.
 */
#include "core/verify/result.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"

void ql_results_free(ql_results *r) {
    for (size_t i = 0; i < r->n; i++) ql_host_free(r->items[i].values);
    ql_host_free(r->items);
    memset(r, 0, sizeof *r);
}

ql_status ql_results_add(ql_results *r, const char *name, int32_t dims, const int64_t *shape,
                         float **values) {
    QL_TRY(ql_host_grow((void **)&r->items, &r->cap, r->n + 1, sizeof(ql_result)));
    ql_result x = {.dims = dims, .numel = 1};
    snprintf(x.name, sizeof x.name, "%s", name);
    for (int32_t i = 0; i < dims; i++) {
        x.shape[i] = shape[i];
        x.numel *= shape[i];
    }
    x.values = ql_host_calloc((size_t)x.numel, sizeof(float));
    if (!x.values) return QL_NOMEM("a verified tensor");
    r->items[r->n++] = x;
    *values = x.values;
    return QL_OK;
}

typedef struct limits {
    const char *kind; /* second part of the name */
    double abs, rel;
} limits;

static const limits fp32_limits[] = {{"logits", 5e-5, 0},     {"loss", 5e-5, 0},
                                     {"grad", 1e-5, 1e-4},    {"losses", 1e-4, 0},
                                     {"grad_norms", 0, 1e-4}, {"after3", 2e-4, 0}};
static const limits bf16_limits[] = {
    {"logits", 0, 0x1p-5}, {"loss", 0, 0x1p-5}, {"losses", 0, 0x1p-5}};

static const limits *limits_of(const char *name, ql_dtype compute) {
    const limits *list = compute == QL_F32 ? fp32_limits : bf16_limits;
    size_t n = compute == QL_F32 ? sizeof fp32_limits / sizeof *fp32_limits
                                 : sizeof bf16_limits / sizeof *bf16_limits;
    const char *dot = strchr(name, '.');
    for (size_t i = 0; dot && i < n; i++) {
        size_t len = strlen(list[i].kind);
        if (!strncmp(dot + 1, list[i].kind, len) && (dot[1 + len] == 0 || dot[1 + len] == '.'))
            return &list[i];
    }
    return NULL;
}

/* The report's row of "case.kind". */
static ql_verify_row *row_of(ql_verify_report *out, const char *name, const limits *l) {
    char group[64];
    const char *dot = strchr(name, '.');
    snprintf(group, sizeof group, "%.*s.%s", (int)(dot - name), name, l->kind);
    for (int i = 0; i < out->n_rows; i++)
        if (!strcmp(out->rows[i].group, group)) return &out->rows[i];
    if (out->n_rows == QL_VERIFY_MAX_ROWS) return NULL;
    ql_verify_row *r = &out->rows[out->n_rows++];
    *r = (ql_verify_row){.abs_limit = l->abs, .rel_limit = l->rel, .ok = true};
    memcpy(r->group, group, sizeof group);
    return r;
}

/* Largest difference and largest magnitude; NaN anywhere makes the difference infinite. */
static void distance(const ql_result *x, const float *want, const float *mask, int64_t mask_rows,
                     double *diff, double *largest, int64_t *n) {
    bool masked = mask && x->dims == 3 && x->shape[0] * x->shape[1] == mask_rows;
    int64_t row = masked ? x->shape[2] : x->numel;
    *diff = *largest = 0;
    *n = 0;
    for (int64_t i = 0; i < x->numel; i++) {
        if (masked && mask[i / row] == 0) continue;
        double d = fabs((double)x->values[i] - (double)want[i]);
        if (!(d <= 1e30)) d = INFINITY;
        if (d > *diff) *diff = d;
        if (fabs((double)want[i]) > *largest) *largest = fabs((double)want[i]);
        (*n)++;
    }
}

static ql_status compare_one(const ql_result *x, const ql_st_tensor *want, const float *mask,
                             int64_t mask_rows, const limits *l, ql_verify_row *row) {
    if (want->numel != x->numel)
        return QL_FAIL(QL_ERR_SHAPE, "oracle: '%s' has %lld elements, this model gives %lld",
                       x->name, (long long)want->numel, (long long)x->numel);
    float *v = ql_host_calloc((size_t)x->numel, sizeof(float));
    if (!v) return QL_NOMEM("an oracle tensor");
    ql_status s = ql_st_read_f32(want, 0, x->numel, v);
    double diff = 0, largest = 0;
    int64_t n = 0;
    if (s == QL_OK) distance(x, v, mask, mask_rows, &diff, &largest, &n);
    ql_host_free(v);
    QL_TRY(s);
    double rel = largest > 0 ? diff / largest : diff > 0 ? INFINITY : 0;
    if (diff > row->max_abs) row->max_abs = diff;
    if (rel > row->max_rel) row->max_rel = rel;
    row->ok &= diff <= l->abs || rel <= l->rel;
    row->tensors++;
    row->elements += n;
    return QL_OK;
}

ql_status ql_results_compare(const ql_results *r, const ql_st_file *oracle, const float *mask,
                             int64_t mask_rows, ql_dtype compute, ql_verify_report *out) {
    for (size_t i = 0; i < r->n; i++) {
        const ql_result *x = &r->items[i];
        const ql_st_tensor *want = ql_st_find(oracle, x->name);
        const limits *l = limits_of(x->name, compute);
        if (!want || !l) continue;
        ql_verify_row *row = row_of(out, x->name, l);
        if (!row)
            return QL_FAIL(QL_ERR_INTERNAL, "verify: more than %d groups", QL_VERIFY_MAX_ROWS);
        QL_TRY(compare_one(x, want, mask, mask_rows, l, row));
        out->ok &= row->ok;
    }
    return QL_OK;
}

ql_status ql_results_write(const ql_results *r, const char *path) {
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    ql_status s = QL_OK;
    for (size_t i = 0; i < r->n && s == QL_OK; i++)
        s = ql_st_writer_declare(w, r->items[i].name, QL_ST_F32, r->items[i].dims,
                                 r->items[i].shape);
    for (size_t i = 0; i < r->n && s == QL_OK; i++)
        s = ql_st_writer_data(w, r->items[i].values, (uint64_t)r->items[i].numel * sizeof(float));
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}
