/*
 * opt.cl - global-norm clip and optimizer steps.
 *
 * g' = g unscale clip;  lr = step.lr lr_scale;  decay is decoupled: p *= 1 - lr wd comes first.
 *   AdamW (0)  spec/quantization.md 4.2, CPU order
 *   SGD   (1)  m = beta1 m + g';  p -= lr m              (m absent: p -= lr g')
 *   Lion  (2)  p -= lr sign(beta1 m + (1 - beta1) g');  m = beta2 m + (1 - beta2) g'
 * A matrix is flat in row-major order. An element, or with 8-bit moments its block of 256, depends on
 * nothing but itself, so an update in chunks equals a whole one bit for bit. fma gives moments with one rounding, as bitsandbytes has them.
 */
#define BLOCK 256

/* sum F32 [1,2] = {sum of squares, count of non-finite}; writes norm, clip, skip of the step. */
__kernel void clip(MAT(sum), MAT(step), const float max_norm) {
    mat sum = GET(sum), step = GET(step);
    if (get_global_id(0) > 0) return;
    float norm = sqrt(load_at(sum, 0)) * step_field(step, STEP_UNSCALE);
    float factor = max_norm / (norm + 1e-6f);
    set_step_field(step, STEP_NORM, norm);
    set_step_field(step, STEP_CLIP, max_norm == 0.0f ? 1.0f : factor < 1.0f ? factor : 1.0f);
    set_step_field(step, STEP_SKIP, load_at(sum, 1) > 0.0f ? 1.0f : 0.0f);
}

/* Place of flat element e. */
QL_FN long place(mat m, long e, long cols) {
    return e / cols * m.ld + e % cols;
}

/* What one element's update needs of the step block and the settings. */
typedef struct rule {
    int kind;
    float beta1, beta2, c1, c2, eps, lr, grad, keep, step_size, root2;
} rule;

#define SETTINGS                                                                                   \
    const int kind, const float beta1, const float beta2, const float c1, const float c2,          \
        const float eps, const float weight_decay, const float lr_scale
#define GET_RULE(r, step)                                                                          \
    (r).kind = kind;                                                                               \
    (r).beta1 = beta1;                                                                             \
    (r).beta2 = beta2;                                                                             \
    (r).c1 = c1;                                                                                   \
    (r).c2 = c2;                                                                                   \
    (r).eps = eps;                                                                                 \
    (r).lr = step_field(step, STEP_LR) * lr_scale;                                                 \
    (r).grad = step_field(step, STEP_UNSCALE) * step_field(step, STEP_CLIP);                       \
    (r).keep = 1.0f - (r).lr * weight_decay;                                                       \
    (r).step_size = (r).lr / step_field(step, STEP_BIAS1);                                         \
    (r).root2 = sqrt(step_field(step, STEP_BIAS2))

/* The new parameter; moments are updated in place. c1, c2 = 1 - beta1, 1 - beta2 of the decimals
 * that were meant. */
QL_FN float update(const rule *r, float p, float g, float *m, float *v) {
    float gi = g * r->grad;
    if (r->kind == 0) {
        *m = fma(r->c1, gi, r->beta1 * *m);
        *v = fma(r->c2 * gi, gi, r->beta2 * *v);
        return p * r->keep - r->step_size * *m / (sqrt(*v) / r->root2 + r->eps);
    }
    if (r->kind == 1) {
        *m = r->beta1 * *m + gi;
        return p * r->keep - r->lr * *m;
    }
    float c = fma(r->c1, gi, r->beta1 * *m);
    float sign = c > 0.0f ? 1.0f : c < 0.0f ? -1.0f : c; /* 0 and NaN stay */
    *m = fma(r->c2, gi, r->beta2 * *m);
    return p * r->keep - r->lr * sign;
}

/* Moments in f32 or absent; one work-item per element. p, g, m, v [R,C]. */
__kernel void opt_step(MAT(p), MAT(g), MAT(m), MAT(v), MAT(step), const long size, const long cols,
                       SETTINGS) {
    mat p = GET(p), g = GET(g), m = GET(m), v = GET(v), step = GET(step);
    long e = get_global_id(0);
    rule r;
    if (e >= size || step_field(step, STEP_SKIP) != 0.0f) return;
    GET_RULE(r, step);
    float mi = has(m) ? load_at(m, place(m, e, cols)) : 0.0f;
    float vi = kind == 0 ? load_at(v, place(v, e, cols)) : 0.0f;
    float pi = load_at(p, place(p, e, cols));
    store_at(p, place(p, e, cols), update(&r, pi, load_at(g, place(g, e, cols)), &mi, &vi));
    if (has(m)) store_at(m, place(m, e, cols), mi);
    if (kind == 0) store_at(v, place(v, e, cols), vi);
}

QL_FN float moment_load(mat m, mat absmax, long e, long cols, const __local float *map) {
    if (!has(m)) return 0.0f;
    if (m.t != T_U8) return load_at(m, place(m, e, cols));
    return map[load_byte(m, place(m, e, cols))] * load_at(absmax, e / BLOCK);
}

/* top: the block's largest; 0: 0 * inf is NaN, whose code is 0 */
QL_FN void moment_store(mat m, long e, long cols, float x, float top, const __local float *map) {
    if (m.t == T_U8)
        *at(m, place(m, e, cols)) = (uchar)ql_dyn8_code_cpu(map, x * (1.0f / top));
    else if (has(m))
        store_at(m, place(m, e, cols), x);
}

/* At least one moment as 8-bit codes; one work-group per block. Barriers stand outside every
 * condition: PoCL compiles conditional ones into a copy of what follows. */
__kernel void opt_step8(MAT(p), MAT(g), MAT(m), MAT(v), MAT(m_absmax), MAT(v_absmax), MAT(code8_m),
                        MAT(code8_v), MAT(step), const long size, const long cols, SETTINGS) {
    __local float tmp[QL_WG], map_m[256], map_v[256];
    mat p = GET(p), g = GET(g), m = GET(m), v = GET(v), m_absmax = GET(m_absmax),
        v_absmax = GET(v_absmax), code8_m = GET(code8_m), code8_v = GET(code8_v),
        step = GET(step);
    float mi[BLOCK / QL_WG], vi[BLOCK / QL_WG], top_m = 0.0f, top_v = 0.0f;
    int l = (int)get_local_id(0);
    long first = (long)get_group_id(0) * BLOCK + l;
    bool run = step_field(step, STEP_SKIP) == 0.0f;
    rule r;
    GET_RULE(r, step);
    for (int i = l; i < 256; i += QL_WG) {
        map_m[i] = m.t == T_U8 ? load_at(code8_m, i) : 0.0f;
        map_v[i] = v.t == T_U8 ? load_at(code8_v, i) : 0.0f;
    }
    LOCAL_SYNC;
    for (int i = 0; i < BLOCK / QL_WG; i++) {
        long e = first + i * QL_WG;
        mi[i] = 0.0f;
        vi[i] = 0.0f;
        if (e >= size || !run) continue;
        mi[i] = moment_load(m, m_absmax, e, cols, map_m);
        if (kind == 0) vi[i] = moment_load(v, v_absmax, e, cols, map_v);
        float pi = load_at(p, place(p, e, cols)), gi = load_at(g, place(g, e, cols));
        store_at(p, place(p, e, cols), update(&r, pi, gi, &mi[i], &vi[i]));
        top_m = fabs(mi[i]) > top_m ? fabs(mi[i]) : top_m;
        top_v = fabs(vi[i]) > top_v ? fabs(vi[i]) : top_v;
    }
    barrier(CLK_GLOBAL_MEM_FENCE); /* every absmax was read before one is written */
    top_m = group_max(top_m, tmp);
    top_v = group_max(top_v, tmp);
    for (int i = 0; i < BLOCK / QL_WG && run; i++) {
        long e = first + i * QL_WG;
        if (e >= size) continue;
        moment_store(m, e, cols, mi[i], top_m, map_m);
        if (kind == 0) moment_store(v, e, cols, vi[i], top_v, map_v);
    }
    if (l == 0 && run && m.t == T_U8) store_at(m_absmax, get_group_id(0), top_m);
    if (l == 0 && run && kind == 0 && v.t == T_U8) store_at(v_absmax, get_group_id(0), top_v);
}
