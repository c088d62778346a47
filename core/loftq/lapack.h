/*
 * lapack.h - BLAS and LAPACK, loaded when they are needed first.
 *
 * The library is not linked to them: a BLAS with threads starts them, and their buffers, in every
 * program that is, and few runs of `qlora` compute a singular value.
 */
#ifndef QLORA_CORE_LOFTQ_LAPACK_H
#define QLORA_CORE_LOFTQ_LAPACK_H

#include <cblas.h>
#include <lapacke.h>

#include "qlora/status.h"

/* The functions in use, each under its own name and type. */
#define QL_LAPACK_FUNCTIONS(X)                                                                     \
    X(cblas_sgemm)                                                                                 \
    X(cblas_dgemm) X(cblas_dsyrk) X(LAPACKE_dsyevr) X(LAPACKE_sgeqrf) X(LAPACKE_sorgqr)

typedef struct ql_lapack {
#define QL_X(name) __typeof__(&name) name;
    QL_LAPACK_FUNCTIONS(QL_X)
#undef QL_X
} ql_lapack;

/* Loads them once, whoever asks; they keep to the calling thread. QL_ERR_NOT_FOUND says what is
 * missing and how to get it. */
QL_NODISCARD ql_status ql_lapack_load(void);
/* After ql_lapack_load gave QL_OK. */
const ql_lapack *ql_lapack_get(void);

#endif
