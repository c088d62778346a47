/* ref_gemm.c - gemm, gemm_q and the fused LoRA pair. */
#include <math.h>

#include "tests/ref/ref.h"

/* Element (i, j) of op(m) of a batch member that starts at `at`. */
static double op_at(const ql_mat *m, int64_t at, bool trans, int64_t i, int64_t j) {
    return ref_values(m)[at + (trans ? j * m->cols + i : i * m->cols + j)];
}

/* beta 0 does not read the old value. */
static double scaled_old(float beta, double old) {
    return beta == 0.0f ? 0.0 : (double)beta * old;
}

/* Reference matrices have no gaps, so a batch member b of m starts at b * (elements of m), and a
 * stride of 0 repeats the first. The harness lays batches out so. */
void ql_ref_gemm(const ql_gemm_args *a) {
    int64_t k = a->trans_a ? a->a.rows : a->a.cols;
    for (int32_t t = 0; t < (a->batch > 1 ? a->batch : 1); t++) {
        int64_t at_a = a->stride_a ? t * a->a.rows * a->a.cols : 0;
        int64_t at_b = a->stride_b ? t * a->b.rows * a->b.cols : 0;
        double *c = ref_values(&a->c) + t * a->c.rows * a->c.cols;
        for (int64_t i = 0; i < a->c.rows; i++)
            for (int64_t j = 0; j < a->c.cols; j++) {
                double sum = 0.0, *out = &c[i * a->c.cols + j];
                for (int64_t p = 0; p < k; p++)
                    sum +=
                        op_at(&a->a, at_a, a->trans_a, i, p) * op_at(&a->b, at_b, a->trans_b, p, j);
                *out = (double)a->alpha * sum + scaled_old(a->beta, *out) +
                       (a->bias.buf ? ref_values(&a->bias)[j] : 0.0);
            }
    }
}

void ql_ref_gemm_q(const ql_gemm_q_args *a) {
    int64_t inner = a->trans_w ? a->w.n : a->w.k;
    for (int64_t j = 0; j < a->y.cols; j++)
        for (int64_t i = 0; i < a->y.rows; i++) {
            double sum = 0.0, *out = ref_row(&a->y, i) + j;
            for (int64_t p = 0; p < inner; p++)
                sum += ref_row(&a->x, i)[p] *
                       (double)(a->trans_w ? ref_weight(&a->w, p, j) : ref_weight(&a->w, j, p));
            *out = (double)a->alpha * sum + scaled_old(a->beta, *out) +
                   (a->bias.buf ? ref_values(&a->bias)[j] : 0.0);
        }
}

/* -------------------------------------------------------------------------- lora */

static double weight_at(const ql_qmat *w, const ql_mat *wd, int64_t i, int64_t j) {
    return wd->buf ? ref_row(wd, i)[j] : (double)ref_weight(w, i, j);
}

void ql_ref_lora_fwd(const ql_lora_fwd_args *a) {
    int64_t k = a->a.cols, n = a->b.rows, r = a->a.rows;
    for (int64_t i = 0; i < a->x.rows; i++) {
        const double *x = ref_row(&a->x, i);
        double *u = ref_row(&a->u, i), *y = ref_row(&a->y, i);
        for (int64_t q = 0; q < r; q++) {
            u[q] = 0.0;
            for (int64_t j = 0; j < k; j++)
                u[q] += x[j] * ref_keep(&a->rng, a->p, i, 0, j) * ref_row(&a->a, q)[j];
        }
        for (int64_t o = 0; o < n; o++) {
            y[o] = a->bias.buf ? ref_values(&a->bias)[o] : 0.0;
            for (int64_t j = 0; j < k; j++) y[o] += x[j] * weight_at(&a->w, &a->wd, o, j);
            for (int64_t q = 0; q < r; q++) y[o] += (double)a->s * u[q] * ref_row(&a->b, o)[q];
        }
    }
}

/* du[i, q] = s sum_o dy[i, o] b[o, q] */
static double du_at(const ql_lora_bwd_args *a, int64_t i, int64_t q) {
    double sum = 0.0;
    for (int64_t o = 0; o < a->b.rows; o++) sum += ref_row(&a->dy, i)[o] * ref_row(&a->b, o)[q];
    return (double)a->s * sum;
}

void ql_ref_lora_bwd(const ql_lora_bwd_args *a) {
    int64_t k = a->a.cols, n = a->b.rows, r = a->a.rows;
    for (int64_t i = 0; i < a->x.rows; i++) {
        const double *dy = ref_row(&a->dy, i);
        for (int64_t o = 0; o < n; o++)
            for (int64_t q = 0; q < r; q++)
                ref_row(&a->db, o)[q] += (double)a->s * dy[o] * ref_row(&a->u, i)[q];
        for (int64_t j = 0; j < k; j++) {
            double keep = ref_keep(&a->rng, a->p, i, 0, j), dx = 0.0;
            for (int64_t o = 0; o < n; o++) dx += dy[o] * weight_at(&a->w, &a->wd, o, j);
            for (int64_t q = 0; q < r; q++) {
                double du = du_at(a, i, q);
                dx += keep * du * ref_row(&a->a, q)[j];
                ref_row(&a->da, q)[j] += du * keep * ref_row(&a->x, i)[j];
            }
            if (a->dx.buf) {
                double *out = ref_row(&a->dx, i) + j;
                *out = (a->accumulate ? *out : 0.0) + dx;
            }
        }
    }
}
