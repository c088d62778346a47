/* blas.c - see blas.h. */
#include "core/loftq/blas.h"

#include <string.h>

#include "core/base/hostmem.h"
#include "core/loftq/lapack.h"

static ql_status explain(const char *what, lapack_int info) {
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return QL_NOMEM(what);
    return QL_FAIL(QL_ERR_NUMERIC, "%s: LAPACK gives up with code %d", what, (int)info);
}

static CBLAS_TRANSPOSE flag(bool trans) {
    return trans ? CblasTrans : CblasNoTrans;
}

void ql_blas_product(const ql_product *p, const float *a, const float *b, float *c) {
    ql_lapack_get()->cblas_sgemm(CblasRowMajor, flag(p->trans_a), flag(p->trans_b), (int)p->m,
                                 (int)p->n, (int)p->k, p->alpha, a, (int)(p->trans_a ? p->m : p->k),
                                 b, (int)(p->trans_b ? p->k : p->n), p->beta, c, (int)p->n);
}

void ql_blas_product_f64(const ql_product *p, const double *a, const double *b, double *c) {
    ql_lapack_get()->cblas_dgemm(CblasRowMajor, flag(p->trans_a), flag(p->trans_b), (int)p->m,
                                 (int)p->n, (int)p->k, (double)p->alpha, a,
                                 (int)(p->trans_a ? p->m : p->k), b,
                                 (int)(p->trans_b ? p->k : p->n), (double)p->beta, c, (int)p->n);
}

void ql_blas_gram(int64_t m, int64_t cols, bool of_columns, const double *x, double *g) {
    ql_lapack_get()->cblas_dsyrk(CblasRowMajor, CblasLower, flag(of_columns), (int)m, (int)cols,
                                 1.0, x, (int)(of_columns ? m : cols), 1.0, g, (int)m);
}

/* Columns in ascending order of their values become columns in descending order. */
static void turn_round(int64_t m, int32_t r, double *values, double *u) {
    for (int32_t i = 0, j = r - 1; i < j; i++, j--) {
        double v = values[i];
        values[i] = values[j];
        values[j] = v;
        for (int64_t row = 0; row < m; row++) {
            double x = u[row * r + i];
            u[row * r + i] = u[row * r + j];
            u[row * r + j] = x;
        }
    }
}

ql_status ql_blas_eigen(int64_t m, double *g, int32_t r, double *values, double *u) {
    lapack_int found = 0, *support = ql_host_calloc((size_t)r * 2 + 2, sizeof *support);
    double *all = ql_host_calloc((size_t)m, sizeof *all); /* LAPACK wants room for every value */
    ql_status s = support && all ? QL_OK : QL_NOMEM("eigenvalues");
    if (s == QL_OK) {
        /* A row-major lower triangle is a column-major upper one. The vectors come as the columns
         * of a column-major [m, r], that is, as rows. */
        double *rows = ql_host_calloc((size_t)m, (size_t)r * sizeof *rows);
        lapack_int info = LAPACK_WORK_MEMORY_ERROR;
        if (rows)
            info = ql_lapack_get()->LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'I', 'U', (lapack_int)m,
                                                   g, (lapack_int)m, 0.0, 0.0,
                                                   (lapack_int)(m - r + 1), (lapack_int)m, 0.0,
                                                   &found, all, rows, (lapack_int)m, support);
        if (info == 0 && found != r) info = 1;
        if (info != 0) s = explain("eigenvectors", info);
        for (int64_t i = 0; s == QL_OK && i < m; i++)
            for (int32_t j = 0; j < r; j++) u[i * r + j] = rows[j * m + i];
        ql_host_free(rows);
    }
    if (s == QL_OK) {
        memcpy(values, all, (size_t)r * sizeof *values);
        turn_round(m, r, values, u);
    }
    ql_host_free(support);
    ql_host_free(all);
    return s;
}

ql_status ql_blas_orthonormalize(int64_t n, int64_t l, float *y) {
    float *tau = ql_host_calloc((size_t)l, sizeof *tau);
    if (!tau) return QL_NOMEM("a basis");
    lapack_int rows = (lapack_int)n, cols = (lapack_int)l;
    lapack_int info = ql_lapack_get()->LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, rows, cols, y, cols, tau);
    if (info == 0)
        info = ql_lapack_get()->LAPACKE_sorgqr(LAPACK_ROW_MAJOR, rows, cols, cols, y, cols, tau);
    ql_host_free(tau);
    return info == 0 ? QL_OK : explain("an orthonormal basis", info);
}

ql_status ql_blas_qr(int64_t n, int64_t k, int32_t r, float *w, float *q, float *top) {
    int64_t most = n < k ? n : k;
    float *tau = ql_host_calloc((size_t)most, sizeof *tau);
    if (!tau) return QL_NOMEM("a QR factorization");
    lapack_int info = ql_lapack_get()->LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, (lapack_int)n,
                                                      (lapack_int)k, w, (lapack_int)k, tau);
    for (int32_t i = 0; i < r; i++) {
        memset(top + i * k, 0, (size_t)i * sizeof *top);
        memcpy(top + i * k + i, w + i * k + i, (size_t)(k - i) * sizeof *top);
    }
    /* The first r reflectors alone give the first r columns of Q. */
    for (int64_t i = 0; i < n; i++) memcpy(q + i * r, w + i * k, (size_t)r * sizeof *q);
    if (info == 0)
        info = ql_lapack_get()->LAPACKE_sorgqr(LAPACK_ROW_MAJOR, (lapack_int)n, r, r, q, r, tau);
    ql_host_free(tau);
    return info == 0 ? QL_OK : explain("a QR factorization", info);
}
