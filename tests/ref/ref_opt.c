/*
 * ref_opt.c - gradient clipping and one optimizer step.
 *
 * g' = g unscale clip;  lr' = step.lr lr_scale;  decay is decoupled in all three.
 *   AdamW  spec/quantization.md 4.2, CPU order
 *   SGD    m = beta1 m + g';  p -= lr' m                (m absent: p -= lr' g')
 *   Lion   p -= lr' sign(beta1 m + (1 - beta1) g');  m = beta2 m + (1 - beta2) g'
 * beta1 and beta2 mean the decimals that they were rounded from: 1 - 0.999 is 0.001, as in
 * bitsandbytes, and not 1 - 0.999f, which is a hundred-thousandth of it less.
 * 8-bit moments: decoded by map[code] * absmax of their block of 256, re-encoded by the CPU rule
 * of 2.2; the parameter uses the values before they are re-encoded.
 */
#include <math.h>

#include "tests/ref/ref.h"

void ql_ref_clip(const ql_clip_args *a) {
    const double *sum = ref_values(&a->sum);
    double *step = ref_values(&a->step);
    double norm = sqrt(sum[0]) * step[REF_STEP_UNSCALE], limit = (double)a->max_norm;
    step[REF_STEP_NORM] = norm;
    step[REF_STEP_CLIP] = limit == 0.0 ? 1.0 : fmin(1.0, limit / (norm + 1e-6));
    step[REF_STEP_SKIP] = sum[1] > 0.0 ? 1.0 : 0.0;
}

enum { BLOCK8 = 256 };

static double moment(const ql_mat *m, const ql_mat *absmax, const ql_mat *map, int64_t e) {
    double v = ref_values(m)[e];
    if (m->dtype != QL_U8) return v;
    return (double)((float)ref_values(map)[(int)v] * (float)ref_values(absmax)[e / BLOCK8]);
}

/* New values of one moment over [e0, e0 + n), n <= 256: stored as they are, or as codes. */
static void store_moment(const ql_mat *m, const ql_mat *absmax, const ql_mat *map, int64_t e0,
                         int64_t n, const double *value) {
    double *out = ref_values(m) + e0;
    if (m->dtype != QL_U8) {
        for (int64_t i = 0; i < n; i++) out[i] = value[i];
        return;
    }
    float top = 0.0f;
    for (int64_t i = 0; i < n; i++)
        if (fabsf((float)value[i]) > top) top = fabsf((float)value[i]);
    ref_values(absmax)[e0 / BLOCK8] = (double)top;
    for (int64_t i = 0; i < n; i++)
        out[i] = ref_dyn8_code(ref_values(map), (float)value[i] * (1.0f / top));
}

/* The decimal with 7 places next to a float in [0, 1]. */
static double decimal_of(float x) {
    return round((double)x * 1e7) / 1e7;
}

static double sign_of(double x) {
    return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : 0.0;
}

/* One element: *m and *v are its moments, already decoded. */
static double updated(const ql_opt_step_args *a, double p, double g, double *m, double *v) {
    const double *step = ref_values(&a->step);
    double lr = step[REF_STEP_LR] * (double)a->lr_scale;
    double b1 = decimal_of(a->beta1), b2 = decimal_of(a->beta2), c;
    g *= step[REF_STEP_UNSCALE] * step[REF_STEP_CLIP];
    p *= 1.0 - lr * (double)a->weight_decay;
    switch (a->kind) {
    case QL_OPT_ADAMW:
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        return p - lr / step[REF_STEP_BIAS1] * *m /
                       (sqrt(*v) / sqrt(step[REF_STEP_BIAS2]) + (double)a->eps);
    case QL_OPT_SGD: *m = b1 * *m + g; return p - lr * *m;
    case QL_OPT_LION:
        c = b1 * *m + (1.0 - b1) * g;
        *m = b2 * *m + (1.0 - b2) * g;
        return p - lr * sign_of(c);
    }
    return p;
}

void ql_ref_opt_step(const ql_opt_step_args *a) {
    if (ref_values(&a->step)[REF_STEP_SKIP] != 0.0) return;
    int64_t size = a->p.rows * a->p.cols;
    for (int64_t e0 = 0; e0 < size; e0 += BLOCK8) {
        double m[BLOCK8], v[BLOCK8];
        int64_t n = size - e0 < BLOCK8 ? size - e0 : BLOCK8;
        for (int64_t i = 0; i < n; i++) {
            m[i] = a->m.buf ? moment(&a->m, &a->m_absmax, &a->code8_m, e0 + i) : 0.0;
            v[i] = a->v.buf ? moment(&a->v, &a->v_absmax, &a->code8_v, e0 + i) : 0.0;
            double *p = ref_values(&a->p) + e0 + i;
            *p = updated(a, *p, ref_values(&a->g)[e0 + i], &m[i], &v[i]);
        }
        if (a->m.buf) store_moment(&a->m, &a->m_absmax, &a->code8_m, e0, n, m);
        if (a->v.buf) store_moment(&a->v, &a->v_absmax, &a->code8_v, e0, n, v);
    }
}
