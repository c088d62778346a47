/*
 * blas.h - what the SVD asks of BLAS and LAPACK, in row-major order and with this library's errors.
 *
 * Results must not depend on how many threads there are, so a BLAS with threads of its own is told
 * to use one; work is spread over matrices instead. ql_lapack_load comes before any other call.
 */
#ifndef QLORA_CORE_LOFTQ_BLAS_H
#define QLORA_CORE_LOFTQ_BLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loftq/lapack.h"

/* c [m, n] = alpha op(a) op(b) + beta c; op(a) is [m, k]. Rows of a, b and c are whole. */
typedef struct ql_product {
    int64_t m, n, k;
    bool trans_a, trans_b;
    float alpha, beta;
} ql_product;
void ql_blas_product(const ql_product *p, const float *a, const float *b, float *c);
/* The same in double. */
void ql_blas_product_f64(const ql_product *p, const double *a, const double *b, double *c);

/* g [m, m], lower triangle, += x x^T (x is [m, cols]) or x^T x (x is [cols, m]). */
void ql_blas_gram(int64_t m, int64_t cols, bool of_columns, const double *x, double *g);

/* The r largest eigenvalues of the symmetric g [m, m] (lower triangle; overwritten), largest first,
 * with their vectors as the columns of u [m, r]. */
QL_NODISCARD ql_status ql_blas_eigen(int64_t m, double *g, int32_t r, double *values, double *u);

/* An orthonormal basis of the columns of y [n, l], n >= l, in place. */
QL_NODISCARD ql_status ql_blas_orthonormalize(int64_t n, int64_t l, float *y);
/* Q [n, r] and the first r rows of R [r, k] of w = Q R, r <= min(n, k); w is overwritten. */
QL_NODISCARD ql_status ql_blas_qr(int64_t n, int64_t k, int32_t r, float *w, float *q, float *top);

#endif /* QLORA_CORE_LOFTQ_BLAS_H */
