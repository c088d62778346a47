/*
 * rope_table.c - angles of rotary embeddings (spec/models.md, section 2).
 *
 * inv_freq[k] = theta^(-2k/rot), changed by the kind, computed in double and rounded to float once:
 * the references keep inv_freq in fp32.
 */
#include <math.h>

#include "core/model/arch.h"

#define TWO_PI 6.283185307179586476925

static double llama3_freq(const ql_rope *r, double freq) {
    double wave = TWO_PI / freq;
    double l0 = (double)r->original_positions;
    if (wave < l0 / r->high_freq) return freq;
    if (wave > l0 / r->low_freq) return freq / r->factor;
    double s = (l0 / wave - r->low_freq) / (r->high_freq - r->low_freq);
    return (1.0 - s) * freq / r->factor + s * freq;
}

/* Dimension at which `turns` rotations happen within the original length. */
static double yarn_dim(const ql_rope *r, double turns) {
    return r->rot * log((double)r->original_positions / (turns * TWO_PI)) / (2.0 * log(r->theta));
}

static double yarn_freq(const ql_rope *r, double freq, int32_t k) {
    double a = yarn_dim(r, r->beta_fast), b = yarn_dim(r, r->beta_slow);
    if (r->truncate) {
        a = floor(a);
        b = ceil(b);
    }
    if (a < 0) a = 0;
    if (b > r->rot - 1) b = r->rot - 1;
    if (a == b) b += 0.001;
    double ramp = ((double)k - a) / (b - a);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return freq / r->factor * ramp + freq * (1.0 - ramp);
}

static double inv_freq(const ql_rope *r, double theta, const float *divisors, int32_t k) {
    if (divisors) return (float)(1.0 / (divisors[k] * pow(theta, 2.0 * k / r->rot)));
    double freq = (double)(float)pow(theta, -2.0 * k / r->rot);
    switch (r->kind) {
    case QL_ROPE_LINEAR: return (float)(freq / r->factor);
    case QL_ROPE_LLAMA3: return (float)llama3_freq(r, freq);
    case QL_ROPE_YARN: return (float)yarn_freq(r, freq, k);
    case QL_ROPE_LONGROPE:
    case QL_ROPE_NONE:
    case QL_ROPE_DEFAULT:
    case QL_ROPE_DYNAMIC: break;
    }
    return freq;
}

void ql_rope_fill(const ql_rope *r, int64_t positions, int64_t longest, float *out) {
    int32_t half = r->rot / 2;
    double theta = r->theta;
    if (r->kind == QL_ROPE_DYNAMIC && longest > r->max_positions) {
        double stretch = r->factor * (double)longest / (double)r->max_positions - (r->factor - 1.0);
        theta *= pow(stretch, (double)r->rot / (r->rot - 2));
    }
    bool long_kind = r->kind == QL_ROPE_LONGROPE;
    double scale = r->kind == QL_ROPE_YARN || long_kind ? r->attention_factor : 1.0;
    const float *divisors = NULL;
    if (long_kind) divisors = longest > r->original_positions ? r->long_factor : r->short_factor;
    for (int64_t p = 0; p < positions; p++) {
        float *row = out + p * r->rot;
        for (int32_t k = 0; k < half; k++) {
            double angle = (double)((float)p * (float)inv_freq(r, theta, divisors, k));
            row[k] = (float)(cos(angle) * scale);
            row[half + k] = (float)(sin(angle) * scale);
        }
    }
}
