/*
 * opt.c - global-norm clip and optimizer steps.
 *
 * g' = g unscale clip;  lr = step.lr lr_scale;  decay is decoupled: p *= 1 - lr wd comes first.
 *   AdamW  spec/quantization.md 4.2, CPU order
 *   SGD    m = beta1 m + g';  p -= lr m              (m absent: p -= lr g')
 *   Lion   p -= lr sign(beta1 m + (1 - beta1) g');  m = beta2 m + (1 - beta2) g'
 * Elements go through in blocks of 256, the unit of 8-bit moments; a matrix is flat in row-major
 * order. 8-bit moments are decoded, updated and re-encoded; the parameter sees the values before
 * re-encoding. A block depends on nothing but itself: chunks and threads cannot change a result.
 */
#include "backends/cpu/cpu.h"

enum { BLOCK = 256 };

/* ---------------------------------------------------------------------- clip */

ql_status QL_CPU_FN(clip)(ql_queue *q, const ql_clip_args *a) {
    const float *sum = ql_cpu_f32(&a->sum, 0);
    ql_step_block *step = ql_cpu_at(&a->step, 0, 0);
    (void)q;
    step->norm = sqrtf(sum[0]) * step->unscale;
    float factor = a->max_norm / (step->norm + 1e-6f);
    step->clip = a->max_norm == 0.0f ? 1.0f : factor < 1.0f ? factor : 1.0f;
    step->skip = sum[1] > 0.0f ? 1.0f : 0.0f;
    return QL_OK;
}

/* ----------------------------------------------------- flat elements of a matrix */

/* Elements [e, e + n) in row-major order, n <= BLOCK: bytes of each run of a row. */
typedef void (*run_fn)(const ql_mat *m, void *at, int64_t n, void *values);

static void for_runs(const ql_mat *m, int64_t e, int64_t n, char *values, size_t value_size,
                     run_fn run) {
    while (n > 0) {
        int64_t row = e / m->cols, col = e % m->cols, take = ql_cpu_min(n, m->cols - col);
        run(m, ql_cpu_at(m, row, col), take, values);
        values += (size_t)take * value_size;
        e += take;
        n -= take;
    }
}

static void run_widen(const ql_mat *m, void *at, int64_t n, void *values) {
    ql_cpu_widen(m->dtype, at, values, n);
}
static void run_narrow(const ql_mat *m, void *at, int64_t n, void *values) {
    ql_cpu_narrow(m->dtype, at, values, n);
}
static void run_get_bytes(const ql_mat *m, void *at, int64_t n, void *values) {
    (void)m;
    memcpy(values, at, (size_t)n);
}
static void run_put_bytes(const ql_mat *m, void *at, int64_t n, void *values) {
    (void)m;
    memcpy(at, values, (size_t)n);
}

static void flat_load(const ql_mat *m, int64_t e, int64_t n, float *x) {
    for_runs(m, e, n, (char *)x, sizeof *x, run_widen);
}
static void flat_store(const ql_mat *m, int64_t e, int64_t n, float *x) {
    for_runs(m, e, n, (char *)x, sizeof *x, run_narrow);
}

/* ------------------------------------------------------------------- moments */

/* One moment of the block at e: F32, or codes with one absmax per block. */
static void moment_load(const ql_mat *m, const ql_mat *absmax, const ql_mat *map, int64_t e,
                        int64_t n, float *x) {
    uint8_t code[BLOCK];
    if (!ql_cpu_has(m)) {
        memset(x, 0, (size_t)n * sizeof *x);
    } else if (m->dtype == QL_U8) {
        float scale = ql_cpu_f32(absmax, 0)[e / BLOCK];
        const float *values = ql_cpu_f32(map, 0);
        for_runs(m, e, n, (char *)code, 1, run_get_bytes);
        for (int64_t i = 0; i < n; i++) x[i] = values[code[i]] * scale;
    } else {
        flat_load(m, e, n, x);
    }
}

static void moment_store(const ql_mat *m, const ql_mat *absmax, const ql_mat *map, int64_t e,
                         int64_t n, float *x) {
    uint8_t code[BLOCK];
    float top = 0.0f;
    if (!ql_cpu_has(m)) return;
    if (m->dtype != QL_U8) {
        flat_store(m, e, n, x);
        return;
    }
    for (int64_t i = 0; i < n; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    float inverse = 1.0f / top; /* top 0: 0 * inf is NaN, whose code is 0 */
    for (int64_t i = 0; i < n; i++)
        code[i] = (uint8_t)ql_dyn8_code_cpu(ql_cpu_f32(map, 0), x[i] * inverse);
    ql_cpu_f32(absmax, 0)[e / BLOCK] = top;
    for_runs(m, e, n, (char *)code, 1, run_put_bytes);
}

/* ------------------------------------------------------------------ one block
 * Moments equal bitsandbytes' bit for bit, which takes two things: a fused multiply-add, and 1 -
 * beta of the decimal that was meant. */

/* a b + c with one rounding: the product of two floats is exact in double. */
static inline float fused(float a, float b, float c) {
    return (float)((double)a * (double)b + (double)c);
}

/* 0.9f is 0.89999998: its own complement would be off by 2e-7. */
static float complement(float beta) {
    return (float)(1.0 - rint((double)beta * 1e7) / 1e7);
}

typedef struct step_ctx {
    const ql_opt_step_args *a;
    float lr, keep, grad; /* lr lr_scale; 1 - lr wd; unscale clip */
    float c1, c2;         /* 1 - beta1, 1 - beta2                 */
    float size, root2;    /* AdamW: lr / bias1; sqrt(bias2)       */
} step_ctx;

static void adamw(const step_ctx *s, float *p, const float *g, float *m, float *v, int64_t n) {
    float b1 = s->a->beta1, b2 = s->a->beta2, eps = s->a->eps;
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * s->grad;
        m[i] = fused(s->c1, gi, b1 * m[i]);
        v[i] = fused(s->c2 * gi, gi, b2 * v[i]);
        p[i] = p[i] * s->keep - s->size * m[i] / (sqrtf(v[i]) / s->root2 + eps);
    }
}

static void sgd(const step_ctx *s, float *p, const float *g, float *m, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        m[i] = s->a->beta1 * m[i] + g[i] * s->grad;
        p[i] = p[i] * s->keep - s->lr * m[i];
    }
}

static void lion(const step_ctx *s, float *p, const float *g, float *m, int64_t n) {
    float b1 = s->a->beta1, b2 = s->a->beta2;
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * s->grad, c = fused(s->c1, gi, b1 * m[i]);
        float sign = c > 0.0f ? 1.0f : c < 0.0f ? -1.0f : c; /* 0 and NaN stay */
        m[i] = fused(s->c2, gi, b2 * m[i]);
        p[i] = p[i] * s->keep - s->lr * sign;
    }
}

/* p, g [R,C]; m, v F32 or U8 [R,C]; absmax F32 [1, ceil(RC/256)]; blocks [begin, end). */
static void step_blocks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const step_ctx *s = ctx;
    const ql_opt_step_args *a = s->a;
    int64_t size = a->p.rows * a->p.cols;
    float p[BLOCK], g[BLOCK], m[BLOCK], v[BLOCK];
    (void)thread;
    for (int64_t e = begin * BLOCK; e < end * BLOCK && e < size; e += BLOCK) {
        int64_t n = ql_cpu_min(BLOCK, size - e);
        flat_load(&a->p, e, n, p);
        flat_load(&a->g, e, n, g);
        moment_load(&a->m, &a->m_absmax, &a->code8_m, e, n, m);
        if (a->kind == QL_OPT_ADAMW) {
            moment_load(&a->v, &a->v_absmax, &a->code8_v, e, n, v);
            adamw(s, p, g, m, v, n);
            moment_store(&a->v, &a->v_absmax, &a->code8_v, e, n, v);
        } else if (a->kind == QL_OPT_SGD) {
            sgd(s, p, g, m, n);
        } else {
            lion(s, p, g, m, n);
        }
        moment_store(&a->m, &a->m_absmax, &a->code8_m, e, n, m);
        flat_store(&a->p, e, n, p);
    }
}

ql_status QL_CPU_FN(opt_step)(ql_queue *q, const ql_opt_step_args *a) {
    const ql_step_block *step = ql_cpu_step(&a->step);
    if (step->skip != 0.0f) return QL_OK;
    step_ctx s = {.a = a, .lr = step->lr * a->lr_scale, .grad = step->unscale * step->clip};
    s.c1 = complement(a->beta1);
    s.c2 = complement(a->beta2);
    s.keep = 1.0f - s.lr * a->weight_decay;
    s.size = s.lr / step->bias1;
    s.root2 = sqrtf(step->bias2);
    ql_cpu_parallel(q, ql_cpu_ceil_div(a->p.rows * a->p.cols, BLOCK), 16, step_blocks, &s);
    return QL_OK;
}
