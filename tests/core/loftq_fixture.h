/*
 * loftq_fixture.h - matrices of known kinds, and a singular value decomposition in double by
 * one-sided Jacobi rotations, which shares nothing with the code under test.
 */
#ifndef QLORA_TESTS_CORE_LOFTQ_FIXTURE_H
#define QLORA_TESTS_CORE_LOFTQ_FIXTURE_H

#include <stdint.h>

/* Five families of weights, as trained networks have them. */
typedef enum weight_family {
    WEIGHT_NORMAL,   /* independent normal values                                  */
    WEIGHT_HEAVY,    /* Student's t with 4 degrees of freedom                      */
    WEIGHT_LOW_RANK, /* a strong product of rank 8 beside weak noise               */
    WEIGHT_OUTLIERS, /* normal, one value of a hundred ten times as large          */
    WEIGHT_COLUMNS,  /* normal, columns of scales from 1/8 to 8 (input channels)   */
    WEIGHT_FAMILIES
} weight_family;
const char *weight_family_name(weight_family f);
/* w [n, k], standard deviation about 0.02; free with free(). */
float *weight_make(weight_family f, int64_t n, int64_t k, uint64_t seed);

/* All min(n, k) singular values, largest first; free with free(). */
double *reference_singular_values(const float *w, int64_t n, int64_t k);
/* The best approximation of rank r; free with free(). */
double *reference_low_rank(const float *w, int64_t n, int64_t k, int r);
/* ||W - L R|| in double. */
double residual_of(const float *w, const float *left, const float *right, int64_t n, int64_t k,
                   int r);

#endif
