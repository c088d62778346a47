/*
 * svd.h - the best approximation of rank r of a matrix, exactly or by random projection.
 *
 * W [n, k] ~ L R with L = U sqrt(S) [n, r] and R = sqrt(S) V^T [r, k]; U, S, V are the leading
 * singular vectors and values. Signs of the vectors are arbitrary; L R is not.
 *
 * Exact: the Gram matrix of the shorter side in double, and its leading eigenvectors U; then L R is
 * the projection U U^T W. Its memory is that matrix: min(n, k)^2 doubles and a panel.
 *
 * Randomized: subspace iteration from a Gaussian block of l = r + oversample vectors (Halko,
 * Martinsson, Tropp 2011, algorithm 4.4), until a round adds less than `tolerance` of what is left
 * over, and the best rank r inside that subspace. Its memory is (n + k) l floats.
 */
#ifndef QLORA_CORE_LOFTQ_SVD_H
#define QLORA_CORE_LOFTQ_SVD_H

#include <stdbool.h>
#include <stdint.h>

#include "qlora/status.h"

typedef enum ql_svd_method {
    QL_SVD_AUTO, /* exact up to QL_SVD_EXACT_SIDE, where it is also the faster one */
    QL_SVD_EXACT,
    QL_SVD_RANDOMIZED
} ql_svd_method;
enum { QL_SVD_EXACT_SIDE = 640 };

typedef struct ql_svd_opts {
    ql_svd_method method;
    int32_t oversample;   /* 16 */
    int32_t max_rounds;   /* 24 */
    double tolerance;     /* 1e-4 */
    uint64_t seed, which; /* the Gaussian block: --seed and the matrix's name */
} ql_svd_opts;
ql_svd_opts ql_svd_opts_default(void);

typedef struct ql_low_rank {
    int64_t n, k;
    int32_t r, rounds;   /* rounds: of subspace iteration; 0 = exact */
    float *left, *right; /* L [n, r], R [r, k]; owned */
    double *sigma;       /* [r], largest first; owned */
    /* By how much ||W - L R|| may exceed the best possible, relative to it. Exact: rounding.
     * Randomized: in expectation, sqrt(1 + r c^2 s^2 / ||W - L R||^2) - 1 with s the (r+1)th
     * singular value and c Halko's factor of the spectral norm (corollary 10.10) for these rounds
     * and this oversampling. `excess`: what is to be expected, from how the rounds converge. */
    double bound, excess;
} ql_low_rank;

/* Is a matrix of this shape factored exactly? */
bool ql_svd_is_exact(const ql_svd_opts *o, int64_t n, int64_t k);
/* 1 <= r <= min(n, k). Free with ql_low_rank_free. */
QL_NODISCARD ql_status ql_low_rank_of(const ql_svd_opts *o, const float *w, int64_t n, int64_t k,
                                      int32_t r, ql_low_rank *out);
void ql_low_rank_free(ql_low_rank *f); /* zeroes */

#endif /* QLORA_CORE_LOFTQ_SVD_H */
