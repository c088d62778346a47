/*
 * cpu_fixture.h - a CPU device without a backend around it, and matrices with guard bytes, for
 * tests that compare one kernel table with another.
 */
#ifndef QLORA_TESTS_CORE_CPU_FIXTURE_H
#define QLORA_TESTS_CORE_CPU_FIXTURE_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/kern.h"

enum { CPU_TABLES = 3, CPU_GUARD = 64 };

typedef struct cpu_bare {
    ql_cpu_device dev;
    ql_queue queue;
} cpu_bare;

/* The tables that this machine can run; answers how many. */
int cpu_tables(const ql_cpu_kernels *out[CPU_TABLES]);
void cpu_bare_open(cpu_bare *b, const ql_cpu_kernels *kern, int threads);

/* A fixed stream of numbers; floats in [-1, 1). */
uint32_t cpu_random_bits(void);
float cpu_random_float(void);

typedef struct matrix {
    ql_mat mat;
    ql_buffer buf;
    uint8_t *bytes;
} matrix;

/* rows x cols with a gap of `gap` elements after every row and guard bytes around, all 0xFF (NaN as
 * a float). */
void matrix_make(matrix *m, ql_dtype t, int64_t rows, int64_t cols, int64_t gap);
void matrix_free(matrix *m);
void fill(ql_mat *m); /* random floats */
double value_at(const ql_mat *m, int64_t i, int64_t j);
/* Bytes between the rows and around the matrix are as they were made. */
void assert_guards(const matrix *m);

#endif
