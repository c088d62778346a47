/*
 * loss.c - cross-entropy and mean squared error, loss and gradient in one operator.
 *
 * XENT, z = softcap(logits), e = smoothing (torch's definition):
 *   loss = (1 - e) (lse - z_t) + e (lse - mean z)
 *   d    = (softmax(z) - (1 - e) onehot(t) - e / V) softcap'(z)
 * MSE: loss = mean over columns of (x - t)^2;  d = 2 (x - t) / V.
 * Both are multiplied by the row's weight, d also by grad_scale and the step's loss_scale.
 * A row belongs to one thread. Sums run over lanes inside a tile and in double from tile to tile.
 */
#include "backends/cpu/sums.h"

/* z of columns [c, c + n) of row i. */
static const float *load_z(const ql_loss_args *a, int64_t i, int64_t c, int64_t n, float *t) {
    const float *x = ql_cpu_span_f32(&a->logits, i, c, n, t);
    if (a->softcap <= 0.0f) return x;
    for (int64_t j = 0; j < n; j++) t[j] = ql_softcap(x[j], a->softcap);
    return t;
}

/* What a row's softmax needs: largest z, sum of exp(z - top), sum of z. */
typedef struct row_stats {
    float top;
    double exps, values;
} row_stats;

static row_stats stats_of(const ql_loss_args *a, int64_t i) {
    int64_t V = a->logits.cols;
    row_stats s = {.top = -INFINITY};
    float t[QL_CPU_TILE], e[QL_CPU_TILE];
    for (int64_t c = 0; c < V; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, V - c);
        s.top = ql_cpu_max_value(s.top, load_z(a, i, c, n, t), n);
    }
    for (int64_t c = 0; c < V; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, V - c);
        const float *z = load_z(a, i, c, n, t);
        ql_cpu_lanes exps = {{0}}, values = {{0}};
        for (int64_t j = 0; j < n; j++) e[j] = ql_exp(z[j] - s.top);
        ql_cpu_add_values(&exps, e, n);
        s.exps += (double)ql_cpu_lanes_sum(&exps);
        if (a->smoothing > 0.0f) {
            ql_cpu_add_values(&values, z, n);
            s.values += (double)ql_cpu_lanes_sum(&values);
        }
    }
    return s;
}

/* dlogits of row i; `scale` holds weight, grad_scale and loss_scale. */
static void xent_gradient(const ql_loss_args *a, int64_t i, const row_stats *s, float scale) {
    int64_t V = a->logits.cols, target = ql_cpu_i32(&a->target, 0)[i];
    float inverse = (float)(1.0 / s->exps), spread = a->smoothing / (float)V;
    float t[QL_CPU_TILE], d[QL_CPU_TILE];
    for (int64_t c = 0; c < V; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, V - c);
        const float *z = load_z(a, i, c, n, t);
        for (int64_t j = 0; j < n; j++) d[j] = ql_exp(z[j] - s->top) * inverse - spread;
        if (target >= c && target < c + n) d[target - c] -= 1.0f - a->smoothing;
        if (a->softcap > 0.0f)
            for (int64_t j = 0; j < n; j++) d[j] *= ql_softcap_d(z[j], a->softcap);
        for (int64_t j = 0; j < n; j++) d[j] *= scale;
        ql_cpu_span_store(&a->dlogits, i, c, n, d);
    }
}

static void zero_row(const ql_mat *m, int64_t i) {
    memset(ql_cpu_at(m, i, 0), 0, (size_t)m->cols * ql_cpu_dtype_size(m->dtype));
}

/* logits [N,V], target I32 [1,N] */
static float xent_row(const ql_loss_args *a, int64_t i, float weight, float scale) {
    int32_t target = ql_cpu_i32(&a->target, 0)[i];
    bool gradient = ql_cpu_has(&a->dlogits);
    float zt;
    if (target == a->ignore) {
        if (gradient) zero_row(&a->dlogits, i);
        return 0.0f;
    }
    row_stats s = stats_of(a, i);
    double lse = (double)s.top + log(s.exps), e = (double)a->smoothing;
    double loss = (1.0 - e) * (lse - (double)*load_z(a, i, target, 1, &zt));
    if (e > 0.0) loss += e * (lse - s.values / (double)a->logits.cols);
    if (gradient) xent_gradient(a, i, &s, scale * weight);
    return (float)(loss * (double)weight);
}

/* logits, target F32 [N,V] */
static float mse_row(const ql_loss_args *a, int64_t i, float weight, float scale) {
    int64_t V = a->logits.cols;
    float xt[QL_CPU_TILE], tt[QL_CPU_TILE], d[QL_CPU_TILE];
    float slope = 2.0f / (float)V * scale * weight;
    double sum = 0.0;
    for (int64_t c = 0; c < V; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, V - c);
        const float *x = ql_cpu_span_f32(&a->logits, i, c, n, xt);
        const float *t = ql_cpu_span_f32(&a->target, i, c, n, tt);
        ql_cpu_lanes squares = {{0}};
        for (int64_t j = 0; j < n; j++) d[j] = x[j] - t[j];
        ql_cpu_add_products(&squares, d, d, n);
        sum += (double)ql_cpu_lanes_sum(&squares);
        if (!ql_cpu_has(&a->dlogits)) continue;
        for (int64_t j = 0; j < n; j++) d[j] *= slope;
        ql_cpu_span_store(&a->dlogits, i, c, n, d);
    }
    return (float)(sum / (double)V * (double)weight);
}

static void loss_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const ql_loss_args *a = ctx;
    const ql_step_block *step = ql_cpu_step(&a->step);
    float scale = a->grad_scale * (step ? step->loss_scale : 1.0f);
    float *loss = ql_cpu_f32(&a->loss, 0);
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float weight = ql_cpu_has(&a->weight) ? ql_cpu_f32(&a->weight, 0)[i] : 1.0f;
        loss[i] =
            a->kind == QL_LOSS_XENT ? xent_row(a, i, weight, scale) : mse_row(a, i, weight, scale);
    }
}

ql_status QL_CPU_FN(loss)(ql_queue *q, const ql_loss_args *a) {
    ql_cpu_parallel(q, a->logits.rows, ql_cpu_max(1, ql_cpu_row_grain(a->logits.cols) / 8),
                    loss_rows, a);
    return QL_OK;
}
