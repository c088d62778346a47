/*
 * kern_portable.c - the kernel table in plain C: runs everywhere, and is what the others are
 * compared with. Owns nothing.
 */
#include "backends/cpu/kern_body.inc"

enum { MR = 4, NR = 8 };

/* Four floats that the compiler keeps in one register of any instruction set (gcc, clang). */
typedef float quad __attribute__((vector_size(16)));

static inline quad quad_load(const float *p) {
    quad q;
    memcpy(&q, p, sizeof q);
    return q;
}

/* A tile of 4 x 8 sums is eight registers of four floats: what the oldest x86-64 has room for. */
static void micro(int64_t kc, const float *a, int64_t rs, int64_t ks, const float *b, int64_t ldb,
                  float *c, int64_t ldc, bool add) {
    quad sum[MR][2] = {{{0}}};
    for (int64_t k = 0; k < kc; k++, a += ks, b += ldb) {
        quad low = quad_load(b), high = quad_load(b + 4);
        for (int i = 0; i < MR; i++) {
            float x = a[i * rs];
            quad q = {x, x, x, x};
            sum[i][0] += q * low;
            sum[i][1] += q * high;
        }
    }
    for (int i = 0; i < MR; i++, c += ldc)
        for (int h = 0; h < 2; h++) {
            quad q = add ? quad_load(c + 4 * h) + sum[i][h] : sum[i][h];
            memcpy(c + 4 * h, &q, sizeof q);
        }
}

static void interleave(float *out, int64_t width, const float *in, int64_t ld, int64_t lines,
                       int64_t depth) {
    for (int64_t p = 0; p < depth; p++) {
        for (int64_t l = 0; l < lines; l++) out[p * width + l] = in[l * ld + p];
        for (int64_t l = lines; l < width; l++) out[p * width + l] = 0.0f;
    }
}

static void dot(const float *w, int64_t n, const float *x, int64_t ldx, int32_t rows, float *sums) {
    for (int32_t r = 0; r < rows; r++, x += ldx) {
        float sum[LANES] = {0};
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES)
            for (int l = 0; l < LANES; l++) sum[l] += w[i + l] * x[i + l];
        for (int l = 0; i < n; i++, l++) sum[l] += w[i] * x[i];
        sums[r] += lanes_sum(sum);
    }
}

static void dotq(const ql_cpu_codes *c, const float *x, int64_t ldx, int32_t rows, float *sums) {
    float w[256], values[16];
    const uint8_t *codes = c->codes;
    for (int64_t b = 0; b < c->blocks; b++) {
        body_values(c, b, values);
        for (int64_t at = 0, n; at < c->block; at += n, codes += n * c->bits / 8, x += n) {
            n = c->block - at < 256 ? c->block - at : 256;
            body_decode(codes, n, c->bits, c->low_first, values, w);
            dot(w, n, x, ldx, rows, sums);
        }
    }
}

static float exp_sum(float *s, int64_t n, float mul, float sub) {
    float sum[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            s[i + l] = ql_exp(s[i + l] * mul - sub);
            sum[l] += s[i + l];
        }
    for (int l = 0; i < n; i++, l++) {
        s[i] = ql_exp(s[i] * mul - sub);
        sum[l] += s[i];
    }
    return lanes_sum(sum);
}

const ql_cpu_kernels *ql_cpu_kern(void) {
    static const ql_cpu_kernels kern = {
        .isa = "portable",
        .mr = MR,
        .nr = NR,
        .micro = micro,
        .interleave = interleave,
        .widen_bf16 = body_widen_bf16,
        .widen_f16 = body_widen_f16,
        .narrow_bf16 = body_narrow_bf16,
        .narrow_f16 = body_narrow_f16,
        .decode = body_decode,
        .encode4 = body_encode4,
        .absmax = body_absmax,
        .dot = dot,
        .dotq = dotq,
        .max = body_max,
        .exp_sum = exp_sum,
    };
    return &kern;
}
