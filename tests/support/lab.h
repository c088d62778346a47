/*
 * lab.h - small tapes computed twice: on the CPU device, and record by record in double precision
 * by the reference operators (tests/ref).
 *
 * A test records a forward computation that ends in a loss. lab_check then appends the backward,
 * plans, and compares three things for every trained value: the gradient of the device, the
 * gradient of the same tape in double, and central differences of the forward in double.
 *
 * Before every run the arena, and every planned value of the double interpretation, holds NaN, so
 * nothing that was not written can be read unnoticed. Functions end the running CMocka test with a
 * sentence when something fails.
 */
#ifndef QLORA_TESTS_SUPPORT_LAB_H
#define QLORA_TESTS_SUPPORT_LAB_H

#include "core/graph/program.h"
#include "core/quant/quantize.h"

enum { LAB_VALUES = 512 };

typedef struct lab {
    ql_tape *tape; /* belongs to the program once there is one */
    ql_program *program;
    ql_device *dev;
    ql_queue *queue;
    ql_buffer *arena, *buf[LAB_VALUES]; /* by value id */
    double *start[LAB_VALUES];          /* externals: what they hold before a run           */
    double *exact[LAB_VALUES];          /* bases: after lab_interpret; rows.max * cols.max  */
    double *got[LAB_VALUES];            /* externals: after lab_run                         */
    int64_t sym[QL_SYM_COUNT];
    uint64_t random;
    ql_vid step; /* the step block, 0 = none */
    double loss_scale;
    uint64_t arena_bytes;
} lab;

/* `seed` of all random contents. Row counts start at their planned maximum. */
void lab_open(lab *l, int threads, uint64_t seed);
void lab_close(lab *l);

/* Externals. Floats are N(0, 1) rounded to their dtype; a trained value has the gradient "d.NAME".
 */
ql_vid lab_input(lab *l, ql_dtype dtype, ql_dim rows, ql_dim cols, const char *name);
ql_vid lab_trained(lab *l, int64_t rows, int64_t cols, const char *name);
/* I32 values, one number an element. */
ql_vid lab_index(lab *l, ql_dim rows, ql_dim cols, const int *values, const char *name);
/* Row keys {7 + row / 4, row % 4}. */
ql_vid lab_keys(lab *l, ql_dim rows);
/* The step block of step 3 with loss scale 1/4. */
ql_vid lab_step(lab *l);
/* A planned value. */
ql_vid lab_value(lab *l, ql_dim rows, int64_t cols, const char *name);
/* The operands of a quantized weight. */
ql_qmat lab_weight(lab *l, const ql_qtensor *q);
ql_mat lab_ref(const lab *l, ql_vid v);

/* Mean square error against random targets; the gradient goes in place of z. */
void lab_mse(lab *l, ql_vid z);
/* loss_scale times the sum of all losses of the last interpretation: what gradients belong to. */
double lab_objective(lab *l);

/* Plans; the tape must be good. */
void lab_plan(lab *l);
/* One run on the device; fills `got` of every external. */
void lab_run(lab *l);
/* Records of the phases in `phases` (bit 1 << ql_phase) in double; fills `exact`. */
void lab_interpret(lab *l, unsigned phases);
#define LAB_FORWARD 1u
#define LAB_ALL     7u
/* Value of element (i, j) of v, a base or a view, in the interpretation. */
double lab_exact(const lab *l, ql_vid v, int64_t i, int64_t j);

/* Everything that the head of this file promises. The tape must be recorded, without backward
 * unless `recorded` says that the test has appended it. */
void lab_check(lab *l, bool recorded);
/* The last two comparisons of lab_check: device against double for all externals. */
void lab_compare(lab *l);

#endif
