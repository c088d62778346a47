/* build.c - declaring operands and filling them with seeded random values (opcase.h). */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/device/device.h"
#include "tests/ref/ref.h"
#include "tests/support/opcase.h"

tensor *tc_add(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols) {
    tensor *x = &c->tensors[c->n_tensors++];
    *x = (tensor){.name = name,
                  .at = (uint64_t)((char *)m - (char *)&c->args),
                  .dtype = t,
                  .rows = rows,
                  .cols = cols,
                  .count = 1,
                  .limit = -1.0};
    *m = (ql_mat){.rows = rows, .cols = cols, .ld = cols, .dtype = t};
    x->values = ql_arena_alloc(&c->arena, (size_t)(rows * cols), sizeof *x->values);
    if (!x->values) c->out_of_memory = true;
    return x;
}

double *tc_in(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols) {
    tensor *x = tc_add(c, m, name, t, rows, cols);
    x->input = true;
    return x->values;
}

void tc_out(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols) {
    tc_add(c, m, name, t, rows, cols)->output = true;
}

double *tc_update(opcase *c, ql_mat *m, const char *name, ql_dtype t, int64_t rows, int64_t cols) {
    tensor *x = tc_add(c, m, name, t, rows, cols);
    x->input = x->output = true;
    return x->values;
}

tensor *tc_find(opcase *c, const ql_mat *m) {
    uint64_t at = (uint64_t)((const char *)m - (const char *)&c->args);
    for (int i = 0; i < c->n_tensors; i++)
        if (c->tensors[i].at == at) return &c->tensors[i];
    return NULL;
}

void tc_same(opcase *c, ql_mat *m, const ql_mat *other) {
    tensor *x = tc_add(c, m, "", other->dtype, other->rows, other->cols);
    x->same = tc_find(c, other);
    x->same->output = true;
}

double *tc_step(opcase *c, ql_mat *m, const char *name) {
    double *v = tc_in(c, m, name, QL_F32, 1, REF_STEP_WORDS);
    tc_find(c, m)->form = FORM_STEP;
    *m =
        (ql_mat){.rows = 1, .cols = QL_STEP_BLOCK_BYTES, .ld = QL_STEP_BLOCK_BYTES, .dtype = QL_U8};
    if (!v) return NULL;
    v[REF_STEP_LR] = 1e-2, v[REF_STEP_LOSS_SCALE] = 0.25, v[REF_STEP_UNSCALE] = 0.5;
    v[REF_STEP_BIAS1] = 1.0 - pow(0.9, 3), v[REF_STEP_BIAS2] = 1.0 - pow(0.999, 3);
    v[REF_STEP_CLIP] = 0.75, v[REF_STEP_RNG] = 77;
    return v;
}

void tc_key(opcase *c, ql_mat *m, const char *name, int64_t rows) {
    double *v = tc_in(c, m, name, QL_I32, rows, 2);
    for (int64_t i = 0; v && i < rows; i++) {
        v[2 * i] = (double)(1000 + i / 5);
        v[2 * i + 1] = (double)(3 + i % 5);
    }
}

/* splitmix64 */
uint64_t tc_bits(opcase *c) {
    uint64_t z = c->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

double tc_uniform(opcase *c) {
    return (double)(tc_bits(c) >> 11) * 0x1p-53;
}

void tc_normal(opcase *c, double *v, int64_t n, double scale) {
    for (int64_t i = 0; v && i < n; i++) {
        double r = sqrt(-2.0 * log(1.0 - tc_uniform(c)));
        v[i] = scale * r * cos(6.283185307179586 * tc_uniform(c));
    }
}

void tc_range(opcase *c, double *v, int64_t n, int64_t lo, int64_t hi) {
    for (int64_t i = 0; v && i < n; i++)
        v[i] = (double)(lo + (int64_t)(tc_bits(c) % (uint64_t)(hi - lo)));
}

const char *tc_type(ql_dtype t) {
    return ql_dtype_name(t);
}

void tc_label(opcase *c, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->label, sizeof c->label, fmt, args);
    va_end(args);
}
