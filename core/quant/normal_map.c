/*
 * normal_map.c - the normal-float table from quantiles of the normal distribution (spec section 6).
 *
 * Negative side: 2^(b-1) probabilities from `offset` to 1/2; positive side one more; the shared 1/2
 * gives an exact 0 and the table divides by its largest value. Asymmetric, because 2^b levels with
 * an exact zero and both ends cannot be symmetric.
 */
#include <math.h>

#include "core/quant/normal.h"

enum { MAX_BITS = 8 };

#define SQRT_HALF      0.70710678118654752440
#define INV_SQRT_TWOPI 0.39894228040143267794

double ql_normal_cdf(double x) {
    return 0.5 * erfc(-x * SQRT_HALF);
}
double ql_normal_pdf(double x) {
    return exp(-0.5 * x * x) * INV_SQRT_TWOPI;
}

/* Abramowitz and Stegun 26.2.23 (error 4.5e-4) on the tail below 1/2, then Newton steps with
 * Halley's correction on the tail's own distribution function, which keeps its relative precision:
 * 3 steps reach rounding. */
double ql_normal_quantile(double p) {
    if (!(p > 0.0 && p < 1.0)) return p == 0.0 ? -INFINITY : p == 1.0 ? INFINITY : NAN;
    double tail = p < 0.5 ? p : 1.0 - p; /* exact for p >= 1/2 */
    double t = sqrt(-2.0 * log(tail));
    double x = t - ((0.010328 * t + 0.802853) * t + 2.515517) /
                       (((0.001308 * t + 0.189269) * t + 1.432788) * t + 1.0);
    for (int i = 0; i < 3; i++) {
        double step = (0.5 * erfc(x * SQRT_HALF) - tail) / ql_normal_pdf(x);
        x += step / (1.0 - 0.5 * x * step);
    }
    return p < 0.5 ? -x : x;
}

/* Point i of torch.linspace(from, 0.5, n) in float32: from both ends towards the middle. */
static float linspace(float from, int n, int i) {
    float step = (0.5f - from) / (float)(n - 1);
    if (i < n / 2) return (float)((double)from + (double)step * i);
    return (float)(0.5 - (double)step * (n - 1 - i));
}

void ql_normal_map(int bits, double offset, float *out) {
    if (bits < 2 || bits > MAX_BITS) return;
    int half = 1 << (bits - 1), n = 2 * half;
    float o = (float)offset;
    for (int i = 0; i < half - 1; i++)
        out[i] = (float)-ql_normal_quantile((double)linspace(o, half, i));
    out[half - 1] = 0.0f;
    for (int i = 0; i < half; i++)
        out[n - 1 - i] = (float)ql_normal_quantile((double)linspace(o, half + 1, i));
    float top = out[n - 1];
    for (int i = 0; i < n; i++) out[i] /= top;
}
