/* ref_rows.c - gather, scatter_add, row_norm, scale_cols, row_copy, col_copy. */
#include <math.h>

#include "tests/ref/ref.h"

void ql_ref_gather(const ql_gather_args *a) {
    for (int64_t i = 0; i < a->y.rows; i++) {
        const double *t = ref_row(&a->table, (int64_t)ref_values(&a->index)[i]);
        double *y = ref_row(&a->y, i);
        for (int64_t j = 0; j < a->y.cols; j++)
            y[j] = (a->accumulate ? y[j] : 0.0) + (double)a->scale * t[j];
    }
}

void ql_ref_scatter_add(const ql_scatter_add_args *a) {
    for (int64_t i = 0; i < a->dy.rows; i++) {
        double *t = ref_row(&a->dtable, (int64_t)ref_values(&a->index)[i]);
        for (int64_t j = 0; j < a->dy.cols; j++) t[j] += (double)a->scale * ref_row(&a->dy, i)[j];
    }
}

void ql_ref_row_norm(const ql_row_norm_args *a) {
    int64_t n = a->wd.buf ? a->wd.rows : a->w.n, k = a->wd.buf ? a->wd.cols : a->w.k;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < k; j++) {
            double w = a->wd.buf ? ref_row(&a->wd, i)[j] : (double)ref_weight(&a->w, i, j);
            for (int64_t r = 0; a->a.buf && r < a->a.rows; r++)
                w += (double)a->s * ref_row(&a->b, i)[r] * ref_row(&a->a, r)[j];
            sum += w * w;
        }
        ref_values(&a->norm)[i] = sqrt(sum);
    }
}

void ql_ref_scale_cols(const ql_scale_cols_args *a) {
    const double *m = ref_values(&a->m), *norm = ref_values(&a->norm);
    for (int64_t i = 0; i < a->x.rows; i++)
        for (int64_t j = 0; j < a->x.cols; j++) {
            double x = ref_row(&a->x, i)[j], n = norm ? norm[j] : 1.0;
            if (a->dm.buf) {
                double dy = ref_row(&a->dy, i)[j];
                ref_values(&a->dm)[j] += dy * x / n;
                ref_row(&a->y, i)[j] = dy * m[j] / n; /* dx */
            } else {
                ref_row(&a->y, i)[j] = x * m[j] / n;
            }
        }
}

void ql_ref_row_copy(const ql_row_copy_args *a) {
    int64_t rows = a->src.buf ? a->src.cols : a->dst.buf ? a->dst.cols : a->x.rows;
    for (int64_t i = 0; i < rows; i++) {
        int64_t from = a->src.buf ? (int64_t)ref_values(&a->src)[i] : i;
        int64_t to = a->dst.buf ? (int64_t)ref_values(&a->dst)[i] : i;
        for (int64_t j = 0; j < a->x.cols; j++) ref_row(&a->y, to)[j] = ref_row(&a->x, from)[j];
    }
}

void ql_ref_col_copy(const ql_col_copy_args *a) {
    for (int64_t i = 0; i < a->x.rows; i++)
        for (int64_t g = 0; g < a->groups; g++)
            for (int64_t j = 0; j < a->width; j++) {
                double *y = &ref_row(&a->y, i)[g * a->y_step + a->y_at + j];
                *y = (a->accumulate ? *y : 0.0) + ref_row(&a->x, i)[g * a->x_step + a->x_at + j];
            }
}
