/* loftq_fixture.c - see loftq_fixture.h. */
#include "tests/core/loftq_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"

const char *weight_family_name(weight_family f) {
    static const char *const names[] = {"normal", "heavy", "low_rank", "outliers", "columns"};
    return names[f];
}

/* Student's t with 4 degrees of freedom. */
static float heavy(ql_stream *s) {
    float chi = 0;
    for (int i = 0; i < 4; i++) {
        float z = ql_stream_normal(s);
        chi += z * z;
    }
    return ql_stream_normal(s) / sqrtf(chi / 4.0f);
}

float *weight_make(weight_family f, int64_t n, int64_t k, uint64_t seed) {
    enum { RANK = 8 };
    float *w = malloc((size_t)(n * k) * sizeof *w);
    float *u = malloc((size_t)(n + k) * RANK * sizeof *u);
    ql_stream s = ql_stream_make(seed, QL_STREAM_SAMPLE, (uint64_t)f);
    for (int64_t i = 0; i < (n + k) * RANK; i++) u[i] = ql_stream_normal(&s);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            float v = f == WEIGHT_HEAVY ? heavy(&s) : ql_stream_normal(&s);
            if (f == WEIGHT_OUTLIERS && ql_stream_below(&s, 100) == 0) v *= 10.0f;
            if (f == WEIGHT_COLUMNS) v *= exp2f((float)(j % 7) - 3.0f);
            if (f == WEIGHT_LOW_RANK) {
                v *= 0.2f;
                for (int r = 0; r < RANK; r++) v += u[i * RANK + r] * u[(n + j) * RANK + r];
            }
            w[i * k + j] = 0.02f * v;
        }
    free(u);
    return w;
}

/* ---------------------------------------------------------------- reference */

/* x [m, n] by columns (n <= m): rotates pairs of columns until all are orthogonal; their norms are
 * the singular values then. v [n, n] by columns collects the rotations. */
static void jacobi(double *x, double *v, int64_t m, int64_t n) {
    for (int sweep = 0; sweep < 60; sweep++) {
        double worst = 0;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                double *a = x + p * m, *b = x + q * m, aa = 0, bb = 0, ab = 0;
                for (int64_t i = 0; i < m; i++) {
                    aa += a[i] * a[i];
                    bb += b[i] * b[i];
                    ab += a[i] * b[i];
                }
                double off = fabs(ab) / sqrt(aa * bb + 1e-300);
                if (off > worst) worst = off;
                if (off < 1e-15) continue;
                double tau = (bb - aa) / (2.0 * ab);
                double t = (tau >= 0 ? 1.0 : -1.0) / (fabs(tau) + sqrt(1.0 + tau * tau));
                double c = 1.0 / sqrt(1.0 + t * t), s = c * t;
                for (int64_t i = 0; i < m; i++) {
                    double y = a[i], z = b[i];
                    a[i] = c * y - s * z;
                    b[i] = s * y + c * z;
                }
                for (int64_t i = 0; i < n; i++) {
                    double y = v[p * n + i], z = v[q * n + i];
                    v[p * n + i] = c * y - s * z;
                    v[q * n + i] = s * y + c * z;
                }
            }
        if (worst < 1e-14) return;
    }
}

typedef struct svd {
    double *x, *v, *norm; /* U S by columns [m, n]; V [n, n]; S in no order */
    int64_t m, n;
    int turned; /* the rows of w are the columns */
} svd;

static svd decompose(const float *w, int64_t n, int64_t k) {
    svd d = {.turned = k > n};
    d.m = d.turned ? k : n;
    d.n = d.turned ? n : k;
    d.x = malloc((size_t)(d.m * d.n) * sizeof(double));
    d.v = calloc((size_t)(d.n * d.n), sizeof(double));
    d.norm = calloc((size_t)d.n, sizeof(double));
    for (int64_t c = 0; c < d.n; c++) {
        d.v[c * d.n + c] = 1;
        for (int64_t i = 0; i < d.m; i++)
            d.x[c * d.m + i] = (double)(d.turned ? w[c * k + i] : w[i * k + c]);
    }
    jacobi(d.x, d.v, d.m, d.n);
    for (int64_t c = 0; c < d.n; c++) {
        for (int64_t i = 0; i < d.m; i++) d.norm[c] += d.x[c * d.m + i] * d.x[c * d.m + i];
        d.norm[c] = sqrt(d.norm[c]);
    }
    return d;
}

static void free_svd(svd *d) {
    free(d->x);
    free(d->v);
    free(d->norm);
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

double *reference_singular_values(const float *w, int64_t n, int64_t k) {
    svd d = decompose(w, n, k);
    double *values = d.norm;
    d.norm = NULL;
    qsort(values, (size_t)d.n, sizeof *values, descending);
    free_svd(&d);
    return values;
}

double *reference_low_rank(const float *w, int64_t n, int64_t k, int r) {
    svd d = decompose(w, n, k);
    double *sorted = malloc((size_t)d.n * sizeof *sorted);
    memcpy(sorted, d.norm, (size_t)d.n * sizeof *sorted);
    qsort(sorted, (size_t)d.n, sizeof *sorted, descending);
    double *out = calloc((size_t)(n * k), sizeof *out), least = sorted[r - 1];
    for (int64_t c = 0; c < d.n; c++) {
        if (d.norm[c] < least) continue;
        for (int64_t i = 0; i < d.m; i++)
            for (int64_t j = 0; j < d.n; j++) {
                double v = d.x[c * d.m + i] * d.v[c * d.n + j];
                out[d.turned ? j * k + i : i * k + j] += v;
            }
    }
    free(sorted);
    free_svd(&d);
    return out;
}

double residual_of(const float *w, const float *left, const float *right, int64_t n, int64_t k,
                   int r) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            double v = (double)w[i * k + j];
            for (int c = 0; c < r; c++)
                v -= (double)left[i * r + c] * (double)right[(int64_t)c * k + j];
            sum += v * v;
        }
    return sqrt(sum);
}
