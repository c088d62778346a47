/* ref_elem.c - fill, axpby, dropout and activations; the dispatch of ql_ref_run. */
#include <math.h>

#include "tests/ref/ref.h"

void ql_ref_run(ql_op op, const ql_op_args *a) {
    switch (op) {
#define QL_X(ID, name, family)                                                                     \
    case QL_OP_##ID: ql_ref_##name(&a->name); break;
        QL_OPS(QL_X)
#undef QL_X
    case QL_OP_COUNT: break;
    }
}

void ql_ref_fill(const ql_fill_args *a) {
    for (int64_t e = 0; e < a->y.rows * a->y.cols; e++) ref_values(&a->y)[e] = (double)a->value;
}

/* y = alpha x + beta y; beta 0 does not read y. */
void ql_ref_axpby(const ql_axpby_args *a) {
    for (int64_t i = 0; i < a->y.rows; i++) {
        const double *x = ref_row(&a->x, a->x.rows == 1 ? 0 : i);
        double *y = ref_row(&a->y, i);
        for (int64_t j = 0; j < a->y.cols; j++) {
            double old = a->beta == 0.0f ? 0.0 : (double)a->beta * y[j];
            y[j] = (double)a->alpha * x[j] + old;
        }
    }
}

void ql_ref_dropout(const ql_dropout_args *a) {
    for (int64_t i = 0; i < a->y.rows; i++)
        for (int64_t j = 0; j < a->y.cols; j++)
            ref_row(&a->y, i)[j] = ref_row(&a->x, i)[j] * ref_keep(&a->rng, a->p, i, 0, j);
}

static const double pi = 3.14159265358979323846;

/* gelu (tanh): x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static double gelu_inner(double x) {
    return sqrt(2.0 / pi) * (x + 0.044715 * x * x * x);
}

static double act(ql_act_kind kind, double x) {
    switch (kind) {
    case QL_ACT_IDENTITY: return x;
    case QL_ACT_RELU: return isnan(x) ? x : x > 0.0 ? x : 0.0;
    case QL_ACT_GELU_ERF: return x * 0.5 * erfc(-x / sqrt(2.0));
    case QL_ACT_GELU_TANH: return 0.5 * x * (1.0 + tanh(gelu_inner(x)));
    case QL_ACT_SILU: return x / (1.0 + exp(-x));
    case QL_ACT_TANH: return tanh(x);
    }
    return (double)NAN;
}

static double act_derivative(ql_act_kind kind, double x) {
    double s, t;
    switch (kind) {
    case QL_ACT_IDENTITY: return 1.0;
    case QL_ACT_RELU: return isnan(x) ? x : x > 0.0 ? 1.0 : 0.0;
    case QL_ACT_GELU_ERF:
        return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-0.5 * x * x) / sqrt(2.0 * pi);
    case QL_ACT_GELU_TANH:
        t = tanh(gelu_inner(x));
        return 0.5 * (1.0 + t) +
               0.5 * x * (1.0 - t * t) * sqrt(2.0 / pi) * (1.0 + 3.0 * 0.044715 * x * x);
    case QL_ACT_SILU: s = 1.0 / (1.0 + exp(-x)); return s + x * s * (1.0 - s);
    case QL_ACT_TANH: t = tanh(x); return 1.0 - t * t;
    }
    return (double)NAN;
}

void ql_ref_act_fwd(const ql_act_fwd_args *a) {
    const double *x = ref_values(&a->x), *up = ref_values(&a->up);
    double *y = ref_values(&a->y);
    for (int64_t e = 0; e < a->y.rows * a->y.cols; e++)
        y[e] = act(a->kind, x[e]) * (up ? up[e] : 1.0);
}

void ql_ref_act_bwd(const ql_act_bwd_args *a) {
    const double *x = ref_values(&a->x), *up = ref_values(&a->up), *dy = ref_values(&a->dy);
    double *dx = ref_values(&a->dx), *dup = ref_values(&a->dup);
    for (int64_t e = 0; e < a->x.rows * a->x.cols; e++) {
        double dx_e = dy[e] * (up ? up[e] : 1.0) * act_derivative(a->kind, x[e]);
        double dup_e = dy[e] * act(a->kind, x[e]);
        dx[e] = dx_e; /* dx may be x, dup may be up */
        if (dup) dup[e] = dup_e;
    }
}
