/*
 * ref_loss.c - loss head and reductions.
 *
 * XENT with label smoothing e (torch): loss = (1 - e) (lse - z_t) + e (lse - mean z);
 *      dz = softmax(z) - (1 - e) onehot - e / V.
 * MSE: loss = mean over columns of (x - t)^2;  dx = 2 (x - t) / V.
 * Both: loss and gradient are multiplied by the row's weight; the gradient also by grad_scale, the
 * step's loss_scale and the derivative of the softcap.
 */
#include <math.h>

#include "tests/ref/ref.h"

static double capped(double x, double cap, double *slope) {
    *slope = 1.0;
    if (cap <= 0.0) return x;
    double t = tanh(x / cap);
    *slope = 1.0 - t * t;
    return cap * t;
}

/* Factor on the gradient of row i. */
static double grad_factor(const ql_loss_args *a, double weight) {
    double scale = a->step.buf ? ref_values(&a->step)[REF_STEP_LOSS_SCALE] : 1.0;
    return (double)a->grad_scale * scale * weight;
}

static void xent_row(const ql_loss_args *a, int64_t i, double weight) {
    const double *x = ref_row(&a->logits, i);
    int64_t V = a->logits.cols, target = (int64_t)ref_values(&a->target)[i];
    double cap = (double)a->softcap, e = (double)a->smoothing, slope, top = -INFINITY;
    double sum = 0.0, mean = 0.0;
    for (int64_t j = 0; j < V; j++) top = fmax(top, capped(x[j], cap, &slope));
    for (int64_t j = 0; j < V; j++) {
        sum += exp(capped(x[j], cap, &slope) - top);
        mean += capped(x[j], cap, &slope) / (double)V;
    }
    double lse = top + log(sum);
    ref_values(&a->loss)[i] =
        weight * ((1.0 - e) * (lse - capped(x[target], cap, &slope)) + e * (lse - mean));
    for (int64_t j = 0; a->dlogits.buf && j < V; j++) {
        double p = exp(capped(x[j], cap, &slope) - lse);
        double want = (j == target ? 1.0 - e : 0.0) + e / (double)V;
        ref_row(&a->dlogits, i)[j] = (p - want) * slope * grad_factor(a, weight);
    }
}

static void mse_row(const ql_loss_args *a, int64_t i, double weight) {
    int64_t V = a->logits.cols;
    double sum = 0.0;
    for (int64_t j = 0; j < V; j++) {
        double d = ref_row(&a->logits, i)[j] - ref_row(&a->target, i)[j];
        sum += d * d / (double)V;
        if (a->dlogits.buf)
            ref_row(&a->dlogits, i)[j] = 2.0 * d / (double)V * grad_factor(a, weight);
    }
    ref_values(&a->loss)[i] = weight * sum;
}

void ql_ref_loss(const ql_loss_args *a) {
    for (int64_t i = 0; i < a->logits.rows; i++) {
        double weight = a->weight.buf ? ref_values(&a->weight)[i] : 1.0;
        if (a->kind == QL_LOSS_MSE) {
            mse_row(a, i, weight);
        } else if ((int32_t)ref_values(&a->target)[i] != a->ignore) {
            xent_row(a, i, weight);
        } else {
            ref_values(&a->loss)[i] = 0.0;
            for (int64_t j = 0; a->dlogits.buf && j < a->logits.cols; j++)
                ref_row(&a->dlogits, i)[j] = 0.0;
        }
    }
}

void ql_ref_sum_rows(const ql_sum_rows_args *a) {
    for (int64_t j = 0; j < a->x.cols; j++) {
        double sum = a->accumulate ? ref_values(&a->y)[j] : 0.0;
        for (int64_t i = 0; i < a->x.rows; i++) sum += ref_row(&a->x, i)[j];
        ref_values(&a->y)[j] = sum;
    }
}

/* Non-finite elements are counted and stay out of the sum only as far as IEEE says: the sum of
 * squares is then not finite, which is what ql_clip looks at through the count. */
void ql_ref_sumsq(const ql_sumsq_args *a) {
    double *y = ref_values(&a->y), sum = 0.0, count = 0.0;
    for (int64_t e = 0; e < a->x.rows * a->x.cols; e++) {
        double x = ref_values(&a->x)[e];
        sum += x * x;
        count += isfinite(x) ? 0.0 : 1.0;
    }
    y[0] = (a->accumulate ? y[0] : 0.0) + sum;
    y[1] = (a->accumulate ? y[1] : 0.0) + count;
}
