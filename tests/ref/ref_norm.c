/*
 * ref_norm.c - layer norm, RMS norm (whole rows or per group of columns) and rope.
 *
 * With G groups a row of C columns is G vectors of C/G, each normalized by itself with the same
 * w, b [1, C/G]; mean and rstd are [1, N*G], entry i*G + g.
 */
#include <math.h>

#include "tests/ref/ref.h"

void ql_ref_norm_fwd(const ql_norm_fwd_args *a) {
    int64_t G = a->groups > 1 ? a->groups : 1, C = a->x.cols / G;
    const double *w = ref_values(&a->w), *b = ref_values(&a->b);
    for (int64_t v = 0; v < a->x.rows * G; v++) {
        const double *x = ref_values(&a->x) + v * C;
        const double *res = a->residual.buf ? ref_values(&a->residual) + v * C : NULL;
        double mean = 0.0, square = 0.0;
        for (int64_t j = 0; j < C; j++) mean += (x[j] + (res ? res[j] : 0.0)) / (double)C;
        if (a->kind == QL_NORM_RMS) mean = 0.0;
        for (int64_t j = 0; j < C; j++) {
            double d = x[j] + (res ? res[j] : 0.0) - mean;
            square += d * d / (double)C;
        }
        double rstd = 1.0 / sqrt(square + (double)a->eps);
        if (a->mean.buf) ref_values(&a->mean)[v] = mean;
        if (a->rstd.buf) ref_values(&a->rstd)[v] = rstd;
        for (int64_t j = 0; j < C; j++) {
            double s = x[j] + (res ? res[j] : 0.0);
            if (a->sum.buf) ref_values(&a->sum)[v * C + j] = s;
            ref_values(&a->y)[v * C + j] =
                (s - mean) * rstd * (w[j] + (double)a->w_offset) + (b ? b[j] : 0.0);
        }
    }
}

/* n = (s - mean) rstd, g = dy (w + w_offset):
 *   LAYER dx = rstd (g - mean(g) - n mean(g n))      RMS dx = rstd (g - n mean(g n))
 *   dw += dy n,  db += dy. */
void ql_ref_norm_bwd(const ql_norm_bwd_args *a) {
    int64_t G = a->rstd.cols / a->s.rows, C = a->s.cols / G;
    const double *w = ref_values(&a->w);
    for (int64_t v = 0; v < a->s.rows * G; v++) {
        const double *s = ref_values(&a->s) + v * C, *dy = ref_values(&a->dy) + v * C;
        double rstd = ref_values(&a->rstd)[v], mean_g = 0.0, mean_gn = 0.0;
        double mean = a->kind == QL_NORM_LAYER ? ref_values(&a->mean)[v] : 0.0;
        for (int64_t j = 0; j < C; j++) {
            double g = dy[j] * (w[j] + (double)a->w_offset), n = (s[j] - mean) * rstd;
            mean_g += g / (double)C;
            mean_gn += g * n / (double)C;
        }
        if (a->kind == QL_NORM_RMS) mean_g = 0.0;
        for (int64_t j = 0; j < C; j++) {
            double g = dy[j] * (w[j] + (double)a->w_offset), n = (s[j] - mean) * rstd;
            double *dx = ref_values(&a->dx) + v * C + j;
            *dx = (a->accumulate ? *dx : 0.0) + rstd * (g - mean_g - n * mean_gn);
            if (a->dw.buf) ref_values(&a->dw)[j] += dy[j] * n;
            if (a->db.buf) ref_values(&a->db)[j] += dy[j];
        }
    }
}

/* (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin); sign -1 turns back. */
void ql_ref_rope(const ql_rope_args *a) {
    int64_t half = a->rot / 2;
    for (int64_t i = 0; i < a->x.rows; i++) {
        const double *t = ref_row(&a->table, (int64_t)ref_values(&a->pos)[i]);
        for (int64_t h = 0; h < a->heads; h++) {
            const double *x = ref_row(&a->x, i) + h * a->head_dim;
            double *y = ref_row(&a->y, i) + h * a->head_dim;
            for (int64_t p = 0; p < half; p++) {
                int64_t i0 = a->interleaved ? 2 * p : p;
                int64_t i1 = a->interleaved ? 2 * p + 1 : p + half;
                double x0 = x[i0], x1 = x[i1], c = t[p], s = (double)a->sign * t[half + p];
                y[i0] = x0 * c - x1 * s;
                y[i1] = x1 * c + x0 * s;
            }
            for (int64_t d = a->rot; d < a->head_dim; d++) y[d] = x[d];
        }
    }
}
