/*
 * ref.h - every operator of backend.h once more, in double precision, from the formulas only.
 *
 * This is the truth of the operator tests and of `qlora selftest`; it shares no code with any
 * backend. A reference call takes the operator's own argument struct, but its matrices are
 * "reference matrices": `buf->host` is double[rows * cols] without gaps (off 0, ld == cols)
 * whatever `dtype` says. `dtype` still tells what the element is on the device, which matters where
 * the formula contains a rounding (quantization). Special contents: U8 codes    one byte value per
 * double step block  [1, 16]: the fields of ql_step_block in order, rng_step as a number Nothing is
 * checked and nothing is allocated. Clarity before speed.
 */
#ifndef QLORA_TESTS_REF_REF_H
#define QLORA_TESTS_REF_REF_H

#include "qlora/backend.h"

#define QL_X(ID, name, family) void ql_ref_##name(const ql_##name##_args *a);
QL_OPS(QL_X)
#undef QL_X
void ql_ref_run(ql_op op, const ql_op_args *a);

/* Positions in a reference step block. */
enum {
    REF_STEP_LR,
    REF_STEP_LOSS_SCALE,
    REF_STEP_UNSCALE,
    REF_STEP_BIAS1,
    REF_STEP_BIAS2,
    REF_STEP_CLIP,
    REF_STEP_NORM,
    REF_STEP_SKIP,
    REF_STEP_RNG,
    REF_STEP_WORDS = 16
};

/* Values of a reference matrix; NULL when absent. */
static inline double *ref_values(const ql_mat *m) {
    return m->buf ? m->buf->host : NULL;
}
static inline double *ref_row(const ql_mat *m, int64_t i) {
    return ref_values(m) + i * m->cols;
}

/* Nearest value of a dtype, ties to even; f32 and wider types return the value itself. */
double ref_round_to(ql_dtype t, double x);

/* Dropout draws. 0 = dropped, 1 / (1 - p) = kept. `row` is the row of the matrix (of q in
 * attention), lane 0 or the query head, column as in the rule of ref_rng.c. */
double ref_keep(const ql_rng *rng, float p, int64_t row, uint32_t lane, int64_t column);
void ref_philox4x32(uint32_t ctr[4], const uint32_t key[2]);

/* W(row, col) of a quantized weight in float32 steps (spec 1.6, 2.3). */
float ref_weight(const ql_qmat *w, int64_t row, int64_t col);

/* 8-bit code of v = x / absmax by the CPU rule of spec 2.2; map[256] sorted. */
int ref_dyn8_code(const double *map, float v);

#endif
