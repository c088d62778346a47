/* lab.c - see lab.h. */
#include "tests/support/lab.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/ref/ref.h"
#include "tests/support/convert.h"
#include "tests/support/engine.h"

#define DIFFERENCE_STEP  1e-5
#define EXACT_TOLERANCE  1e-7 /* gradient in double against differences: h^2 and 1e-16 / h     */
#define DEVICE_TOLERANCE 2e-5 /* float against double, of the largest value: a few hundred ulp */

void lab_open(lab *l, int threads, uint64_t seed) {
    *l = (lab){.random = seed, .loss_scale = 1.0};
    l->dev = engine_device(threads);
    OK(l->dev->backend->queue_create(l->dev, &l->queue));
    OK(ql_tape_create(&l->tape));
}

void lab_close(lab *l) {
    for (int v = 0; v < LAB_VALUES; v++) {
        l->dev->backend->buffer_free(l->buf[v]);
        free(l->start[v]);
        free(l->exact[v]);
        free(l->got[v]);
    }
    l->dev->backend->buffer_free(l->arena);
    l->dev->backend->queue_destroy(l->queue);
    if (l->program)
        ql_program_free(l->program);
    else
        ql_tape_free(l->tape);
    assert_int_equal(engine_counts(l->dev).device_bytes, 0);
    engine_close(l->dev);
}

/* splitmix64 */
static uint64_t bits(lab *l) {
    uint64_t z = l->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double normal(lab *l) {
    double u = (double)(bits(l) >> 11) * 0x1p-53, v = (double)(bits(l) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

static int64_t elements(const ql_value *x) {
    return x->rows.max * x->cols.max;
}

static double *fresh(const ql_value *x) {
    double *d = calloc((size_t)elements(x), sizeof *d);
    assert_non_null(d);
    return d;
}

/* An external of zeros. */
static ql_vid external(lab *l, ql_dtype dtype, ql_dim rows, ql_dim cols, const char *name) {
    ql_vid v = ql_tape_external(l->tape, QL_POOL_WEIGHTS, dtype, rows, cols, "%s", name);
    if (!v) fail_msg("%s: %s", name, ql_last_error());
    assert_true(v < LAB_VALUES);
    l->start[v] = fresh(ql_tape_at(l->tape, v));
    if (rows.sym && !l->sym[rows.sym]) l->sym[rows.sym] = rows.max + rows.lo;
    if (cols.sym && !l->sym[cols.sym]) l->sym[cols.sym] = cols.max + cols.lo;
    return v;
}

ql_vid lab_input(lab *l, ql_dtype dtype, ql_dim rows, ql_dim cols, const char *name) {
    ql_vid v = external(l, dtype, rows, cols, name);
    ql_dtype keep = dtype == QL_F32 ? QL_F32 : dtype;
    for (int64_t i = 0; i < elements(ql_tape_at(l->tape, v)); i++)
        l->start[v][i] = keep == QL_F32 ? (double)(float)normal(l) : ref_round_to(keep, normal(l));
    return v;
}

ql_vid lab_trained(lab *l, int64_t rows, int64_t cols, const char *name) {
    ql_vid v = lab_input(l, QL_F32, ql_fixed(rows), ql_fixed(cols), name);
    char gradient[72] = "d.";
    strncat(gradient, name, 64);
    ql_tape_train(l->tape, v, external(l, QL_F32, ql_fixed(rows), ql_fixed(cols), gradient));
    return v;
}

ql_vid lab_index(lab *l, ql_dim rows, ql_dim cols, const int *values, const char *name) {
    ql_vid v = external(l, QL_I32, rows, cols, name);
    for (int64_t i = 0; i < rows.max * cols.max; i++) l->start[v][i] = values[i];
    return v;
}

ql_vid lab_keys(lab *l, ql_dim rows) {
    ql_vid v = external(l, QL_I32, rows, ql_fixed(2), "key");
    for (int64_t i = 0; i < rows.max; i++) {
        l->start[v][2 * i] = (double)(7 + i / 4);
        l->start[v][2 * i + 1] = (double)(i % 4);
    }
    return v;
}

ql_vid lab_step(lab *l) {
    l->step = external(l, QL_U8, ql_fixed(1), ql_fixed(QL_STEP_BLOCK_BYTES), "step");
    l->start[l->step][REF_STEP_LOSS_SCALE] = l->loss_scale = 0.25;
    l->start[l->step][REF_STEP_RNG] = 3;
    return l->step;
}

ql_vid lab_value(lab *l, ql_dim rows, int64_t cols, const char *name) {
    return ql_tape_value(l->tape, QL_POOL_ACTIVATIONS, QL_F32, rows, ql_fixed(cols), "%s", name);
}

static ql_mat part(lab *l, ql_dtype dtype, int64_t cols, const void *from, const char *name) {
    if (!from) return (ql_mat){0};
    ql_vid v = external(l, dtype, ql_fixed(1), ql_fixed(cols), name);
    for (int64_t i = 0; i < cols; i++)
        l->start[v][i] =
            dtype == QL_U8 ? ((const uint8_t *)from)[i] : (double)((const float *)from)[i];
    return ql_ref(l->tape, v);
}

ql_qmat lab_weight(lab *l, const ql_qtensor *q) {
    bool doubled = q->absmax_q != NULL;
    return (ql_qmat){.codes = part(l, QL_U8, (int64_t)q->codes_bytes, q->codes, "codes"),
                     .table = part(l, QL_F32, (int64_t)1 << q->type->bits, q->table, "table"),
                     .scale = doubled ? part(l, QL_U8, q->n_blocks, q->absmax_q, "scale")
                                      : part(l, QL_F32, q->n_blocks, q->absmax, "scale"),
                     .scale2 = doubled ? part(l, QL_F32, q->n_blocks2, q->absmax2, "scale2")
                                       : (ql_mat){0},
                     .code2 = doubled ? part(l, QL_F32, 256, q->code2, "code2") : (ql_mat){0},
                     .offset = doubled ? part(l, QL_F32, 1, &q->offset, "offset") : (ql_mat){0},
                     .n = q->n,
                     .k = q->k,
                     .bits = q->type->bits,
                     .block = q->block,
                     .block2 = doubled ? q->block2 : 0,
                     .pack = q->pack,
                     .post = q->type->post};
}

ql_mat lab_ref(const lab *l, ql_vid v) {
    return ql_ref(l->tape, v);
}

void lab_mse(lab *l, ql_vid z) {
    ql_value x = *ql_tape_at(l->tape, z);
    ql_vid target = lab_input(l, QL_F32, x.rows, x.cols, "target");
    ql_vid loss = external(l, QL_F32, ql_fixed(1), x.rows, "loss");
    QL_RECORD(l->tape, LOSS, loss, .kind = QL_LOSS_MSE, .logits = lab_ref(l, z),
              .target = lab_ref(l, target), .loss = lab_ref(l, loss), .dlogits = lab_ref(l, z),
              .step = lab_ref(l, l->step), .grad_scale = 1.0f);
}

/* ---------------------------------------------------------------- the device */

void lab_plan(lab *l) {
    OK(ql_program_create(l->tape, l->dev, &l->program));
    l->arena_bytes = ql_program_arena_bytes(l->program);
    if (l->arena_bytes)
        OK(l->dev->backend->buffer_alloc(l->dev, QL_MEM_DEVICE, l->arena_bytes, &l->arena));
    ql_program_bind_arena(l->program, l->arena, 0);
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        const ql_value *x = ql_tape_at(l->tape, v);
        if (x->kind != QL_VALUE_EXTERNAL) continue;
        OK(l->dev->backend->buffer_alloc(l->dev, QL_MEM_DEVICE, ql_value_bytes(x), &l->buf[v]));
        ql_program_bind(l->program, v, l->buf[v], 0);
    }
}

/* The device form of an external. */
static void pack(const lab *l, ql_vid v, const double *d, uint8_t *bytes) {
    const ql_value *x = ql_tape_at(l->tape, v);
    if (v == l->step) {
        ql_step_block s = {.loss_scale = (float)d[REF_STEP_LOSS_SCALE],
                           .rng_step = (uint32_t)d[REF_STEP_RNG]};
        memcpy(bytes, &s, sizeof s);
        return;
    }
    uint64_t size = ql_dtype_size(x->dtype);
    for (int64_t i = 0; i < elements(x); i++)
        ql_element_store(x->dtype, bytes + (uint64_t)i * size, d[i]);
}

static void upload(lab *l) {
    const ql_backend *b = l->dev->backend;
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        if (!l->buf[v]) continue;
        uint8_t *bytes = calloc(1, l->buf[v]->size);
        pack(l, v, l->start[v], bytes);
        OK(b->write(l->queue, l->buf[v], 0, bytes, l->buf[v]->size));
        OK(b->queue_sync(l->queue));
        free(bytes);
    }
    if (!l->arena) return;
    uint8_t *poison = malloc(l->arena_bytes);
    memset(poison, 0xFF, l->arena_bytes); /* NaN in every float type */
    OK(b->write(l->queue, l->arena, 0, poison, l->arena_bytes));
    OK(b->queue_sync(l->queue));
    free(poison);
}

void lab_run(lab *l) {
    upload(l);
    for (int s = 0; s < QL_SYM_COUNT; s++) ql_program_set(l->program, (ql_sym)s, l->sym[s]);
    OK(ql_program_run(l->program, l->queue));
    OK(l->dev->backend->queue_sync(l->queue));
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        if (!l->buf[v] || v == l->step) continue;
        const ql_value *x = ql_tape_at(l->tape, v);
        uint8_t *bytes = malloc(l->buf[v]->size);
        OK(l->dev->backend->read(l->queue, l->buf[v], 0, bytes, l->buf[v]->size));
        if (!l->got[v]) l->got[v] = fresh(x);
        for (int64_t i = 0; i < elements(x); i++)
            l->got[v][i] = ql_element_load(x->dtype, bytes + (uint64_t)i * ql_dtype_size(x->dtype));
        free(bytes);
    }
}

/* ---------------------------------------------------------------- in double */

static int64_t extent(const lab *l, ql_dim d) {
    if (d.sym == QL_SYM_FIXED) return d.max;
    int64_t n = l->sym[d.sym] - d.lo;
    return n < 0 ? 0 : n > d.max ? d.max : n;
}

/* Where element (i, j) of v lies in its base. */
static double *at(const lab *l, ql_vid v, int64_t i, int64_t j) {
    const ql_value *x = ql_tape_at(l->tape, v);
    return l->exact[ql_tape_base(l->tape, v)] + (x->row0 + i) * x->ld + x->col0 + j;
}

double lab_exact(const lab *l, ql_vid v, int64_t i, int64_t j) {
    return *at(l, v, i, j);
}

static void reset(lab *l) {
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        const ql_value *x = ql_tape_at(l->tape, v);
        assert_true(v < LAB_VALUES);
        if (x->kind == QL_VALUE_VIEW) continue;
        if (!l->exact[v]) l->exact[v] = fresh(x);
        for (int64_t i = 0; i < elements(x); i++)
            l->exact[v][i] = l->start[v] ? l->start[v][i] : (double)NAN;
    }
}

/* Copies an operand into a matrix of its own, or back. */
static void move(const lab *l, ql_vid v, const ql_mat *m, bool back) {
    double *d = m->buf->host;
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < m->cols; j++) {
            if (back)
                *at(l, v, i, j) = d[i * m->cols + j];
            else
                d[i * m->cols + j] = *at(l, v, i, j);
        }
}

/* A record without rows does nothing but fill what it was to write with zero (program.h). */
static void interpret_record(lab *l, const ql_record *r) {
    const ql_op_info info = ql_op_info_of(r->op);
    ql_buffer bufs[QL_MAX_OPERANDS] = {0};
    ql_op_args args = r->args;
    bool empty = false;
    for (int k = 0; k < info.count; k++) {
        ql_mat *m = ql_operand_mat_mut(r->op, &args, k);
        bool absent = !r->operand[k] || info.operand[k].use == QL_USE_SCRATCH;
        *m = (ql_mat){0};
        if (absent) continue;
        const ql_value *x = ql_tape_at(l->tape, r->operand[k]);
        *m = (ql_mat){&bufs[k],           0,       extent(l, x->rows), extent(l, x->cols),
                      extent(l, x->cols), x->dtype};
        bufs[k].host = calloc((size_t)(m->rows * m->cols) + 1, sizeof(double));
        move(l, r->operand[k], m, false);
        empty |= !m->rows || !m->cols;
    }
    if (!empty) ql_ref_run(r->op, &args);
    for (int k = 0; k < info.count; k++) {
        ql_mat *m = ql_operand_mat_mut(r->op, &args, k);
        if (!m->buf) continue;
        ql_use access = ql_operand_access(r->op, &r->args, k);
        if (empty && access == QL_USE_WRITE)
            memset(m->buf->host, 0, (size_t)(m->rows * m->cols) * sizeof(double));
        if (access == QL_USE_WRITE || access == QL_USE_UPDATE) move(l, r->operand[k], m, true);
        free(m->buf->host);
    }
}

void lab_interpret(lab *l, unsigned phases) {
    reset(l);
    for (int32_t i = 0; i < ql_tape_count(l->tape); i++) {
        const ql_record *r = ql_tape_record_at(l->tape, i);
        if (phases & 1u << r->phase) interpret_record(l, r);
    }
}

double lab_objective(lab *l) {
    double sum = 0.0;
    for (int32_t i = 0; i < ql_tape_count(l->tape); i++) {
        const ql_record *r = ql_tape_record_at(l->tape, i);
        const ql_op_info info = ql_op_info_of(r->op);
        for (int k = 0; r->op == QL_OP_LOSS && k < info.count; k++) {
            if (info.operand[k].at != offsetof(ql_loss_args, loss)) continue;
            const ql_value *x = ql_tape_at(l->tape, r->operand[k]);
            for (int64_t j = 0; j < extent(l, x->cols); j++) sum += *at(l, r->operand[k], 0, j);
        }
    }
    return l->loss_scale * sum;
}

/* ---------------------------------------------------------------- comparisons */

static double objective_at(lab *l, double *element, double x) {
    double kept = *element;
    *element = x;
    lab_interpret(l, LAB_FORWARD);
    double y = lab_objective(l);
    *element = kept;
    return y;
}

/* Gradients of trained value v: the tape in double against central differences. */
static void check_differences(lab *l, ql_vid v) {
    const ql_value *x = ql_tape_at(l->tape, v);
    int64_t n = elements(x);
    double *gradient = fresh(x);
    lab_interpret(l, LAB_ALL);
    memcpy(gradient, l->exact[x->grad], (size_t)n * sizeof(double));
    bool moves = false;
    for (int64_t e = 0; e < n; e++) {
        double *p = &l->start[v][e], at_e = *p;
        double up = objective_at(l, p, at_e + DIFFERENCE_STEP);
        double want = (up - objective_at(l, p, at_e - DIFFERENCE_STEP)) / (2.0 * DIFFERENCE_STEP);
        moves |= fabs(want) > 1e-3;
        if (!(fabs(gradient[e] - want) <= EXACT_TOLERANCE * (1.0 + fabs(want))))
            fail_msg("d%s[%lld, %lld] is %.12g, differences give %.12g", x->name,
                     (long long)(e / x->cols.max), (long long)(e % x->cols.max), gradient[e], want);
    }
    if (!moves) fail_msg("the loss does not depend on '%s': nothing was tested", x->name);
    free(gradient);
}

void lab_compare(lab *l) {
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        if (!l->got[v]) continue;
        const ql_value *x = ql_tape_at(l->tape, v);
        double largest = 1e-3;
        for (int64_t i = 0; i < elements(x); i++) largest = fmax(largest, fabs(l->exact[v][i]));
        for (int64_t i = 0; i < elements(x); i++)
            if (!(fabs(l->got[v][i] - l->exact[v][i]) <= DEVICE_TOLERANCE * largest))
                fail_msg("'%s'[%lld] is %.9g on the device, %.9g in double", x->name, (long long)i,
                         l->got[v][i], l->exact[v][i]);
    }
}

void lab_check(lab *l, bool recorded) {
    if (!recorded) ql_tape_backward(l->tape, 0, ql_tape_count(l->tape));
    OK(ql_tape_status(l->tape));
    int trained = 0;
    for (ql_vid v = 1; v <= ql_tape_values(l->tape); v++) {
        const ql_value *x = ql_tape_at(l->tape, v);
        if (x->kind != QL_VALUE_EXTERNAL || !x->needs_grad || !x->grad) continue;
        check_differences(l, v);
        trained++;
    }
    assert_true(trained > 0);
    lab_plan(l);
    lab_run(l);
    lab_interpret(l, LAB_ALL);
    lab_compare(l);
}
