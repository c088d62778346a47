/*
 * norm.c - layer norm and RMS norm, whole rows or per group of columns (q/k norm).
 *
 * With G groups a row of C columns is G vectors of D = C / G, each normalized by itself with the
 * same w, b [1, D]; mean and rstd hold N * G values, vector i * G + g.
 */
#include "backends/cpu/sums.h"

/* Vector v of a matrix whose rows hold `groups` vectors of D: elements [c, c + n). */
typedef struct vectors {
    int64_t groups, D;
} vectors;

static const float *vec_load(const vectors *s, const ql_mat *m, int64_t v, int64_t c, int64_t n,
                             float *t) {
    return ql_cpu_span_f32(m, v / s->groups, v % s->groups * s->D + c, n, t);
}
static void vec_store(const vectors *s, const ql_mat *m, int64_t v, int64_t c, int64_t n,
                      const float *t) {
    ql_cpu_span_store(m, v / s->groups, v % s->groups * s->D + c, n, t);
}

/* t = w[c .. c + n) + offset */
static void load_gain(const ql_mat *w, float offset, int64_t c, int64_t n, float *t) {
    ql_cpu_widen(w->dtype, ql_cpu_at(w, 0, c), t, n);
    for (int64_t j = 0; j < n; j++) t[j] += offset;
}

/* ------------------------------------------------------------------- forward */

typedef struct fwd_ctx {
    const ql_norm_fwd_args *a;
    vectors shape;
} fwd_ctx;

/* t = x + residual */
static void load_sum(const fwd_ctx *f, int64_t v, int64_t c, int64_t n, float *t) {
    float xt[QL_CPU_TILE], rt[QL_CPU_TILE];
    const float *x = vec_load(&f->shape, &f->a->x, v, c, n, xt);
    if (ql_cpu_has(&f->a->residual)) {
        const float *r = vec_load(&f->shape, &f->a->residual, v, c, n, rt);
        for (int64_t j = 0; j < n; j++) t[j] = x[j] + r[j];
    } else {
        memcpy(t, x, (size_t)n * sizeof *t);
    }
}

/* mean(s), 0 for RMS */
static float mean_of(const fwd_ctx *f, int64_t v) {
    ql_cpu_lanes sum = {{0}};
    float t[QL_CPU_TILE];
    if (f->a->kind == QL_NORM_RMS) return 0.0f;
    for (int64_t c = 0; c < f->shape.D; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, f->shape.D - c);
        load_sum(f, v, c, n, t);
        ql_cpu_add_values(&sum, t, n);
    }
    return ql_cpu_lanes_sum(&sum) / (float)f->shape.D;
}

/* 1 / sqrt(mean((s - mean)^2) + eps) */
static float rstd_of(const fwd_ctx *f, int64_t v, float mean) {
    ql_cpu_lanes sum = {{0}};
    float t[QL_CPU_TILE];
    for (int64_t c = 0; c < f->shape.D; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, f->shape.D - c);
        load_sum(f, v, c, n, t);
        for (int64_t j = 0; j < n; j++) t[j] -= mean;
        ql_cpu_add_products(&sum, t, t, n);
    }
    return 1.0f / sqrtf(ql_cpu_lanes_sum(&sum) / (float)f->shape.D + f->a->eps);
}

/* y = (s - mean) rstd (w + w_offset) + b. `sum` may be x or residual: it is written last. */
static void fwd_vectors(const void *ctx, int64_t begin, int64_t end, int thread) {
    const fwd_ctx *f = ctx;
    const ql_norm_fwd_args *a = f->a;
    float t[QL_CPU_TILE], w[QL_CPU_TILE], bt[QL_CPU_TILE];
    (void)thread;
    for (int64_t v = begin; v < end; v++) {
        float mean = mean_of(f, v), rstd = rstd_of(f, v, mean);
        for (int64_t c = 0; c < f->shape.D; c += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, f->shape.D - c);
            load_sum(f, v, c, n, t);
            if (ql_cpu_has(&a->sum)) vec_store(&f->shape, &a->sum, v, c, n, t);
            load_gain(&a->w, a->w_offset, c, n, w);
            for (int64_t j = 0; j < n; j++) t[j] = (t[j] - mean) * rstd * w[j];
            if (ql_cpu_has(&a->b)) {
                const float *b = ql_cpu_span_f32(&a->b, 0, c, n, bt);
                for (int64_t j = 0; j < n; j++) t[j] += b[j];
            }
            vec_store(&f->shape, &a->y, v, c, n, t);
        }
        if (ql_cpu_has(&a->mean)) ql_cpu_f32(&a->mean, 0)[v] = mean;
        if (ql_cpu_has(&a->rstd)) ql_cpu_f32(&a->rstd, 0)[v] = rstd;
    }
}

ql_status QL_CPU_FN(norm_fwd)(ql_queue *q, const ql_norm_fwd_args *a) {
    int64_t groups = a->groups > 1 ? a->groups : 1;
    fwd_ctx f = {a, {groups, a->x.cols / groups}};
    ql_cpu_parallel(q, a->x.rows * groups, ql_cpu_row_grain(f.shape.D), fwd_vectors, &f);
    return QL_OK;
}

/* ------------------------------------------------------------------ backward
 * n = (s - mean) rstd, g = dy (w + w_offset):
 *   LAYER dx = rstd (g - mean(g) - n mean(g n))      RMS dx = rstd (g - n mean(g n))
 *   dw += sum dy n,  db += sum dy. */

typedef struct bwd_ctx {
    const ql_norm_bwd_args *a;
    vectors shape;
    int64_t count;  /* vectors: N * groups                    */
    float *dw, *db; /* [chunks, D] partial sums, NULL = frozen */
} bwd_ctx;

/* n and g of elements [c, c + n) of vector v; dy itself is returned. */
static const float *load_ng(const bwd_ctx *b, int64_t v, int64_t c, int64_t n, float *norm,
                            float *g, float *dt) {
    const ql_norm_bwd_args *a = b->a;
    float st[QL_CPU_TILE], rstd = ql_cpu_f32(&a->rstd, 0)[v];
    float mean = a->kind == QL_NORM_LAYER ? ql_cpu_f32(&a->mean, 0)[v] : 0.0f;
    const float *s = vec_load(&b->shape, &a->s, v, c, n, st);
    const float *dy = vec_load(&b->shape, &a->dy, v, c, n, dt);
    load_gain(&a->w, a->w_offset, c, n, g);
    for (int64_t j = 0; j < n; j++) {
        norm[j] = (s[j] - mean) * rstd;
        g[j] *= dy[j];
    }
    return dy;
}

/* Adds vector v to the partial sums of its chunk and leaves mean(g), mean(g n). */
static void bwd_sums(const bwd_ctx *b, int64_t v, float *dw, float *db, float *mean_g,
                     float *mean_gn) {
    ql_cpu_lanes sum_g = {{0}}, sum_gn = {{0}};
    float norm[QL_CPU_TILE], g[QL_CPU_TILE], dt[QL_CPU_TILE];
    for (int64_t c = 0; c < b->shape.D; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, b->shape.D - c);
        const float *dy = load_ng(b, v, c, n, norm, g, dt);
        ql_cpu_add_values(&sum_g, g, n);
        ql_cpu_add_products(&sum_gn, g, norm, n);
        for (int64_t j = 0; dw && j < n; j++) dw[c + j] += dy[j] * norm[j];
        for (int64_t j = 0; db && j < n; j++) db[c + j] += dy[j];
    }
    *mean_g = b->a->kind == QL_NORM_RMS ? 0.0f : ql_cpu_lanes_sum(&sum_g) / (float)b->shape.D;
    *mean_gn = ql_cpu_lanes_sum(&sum_gn) / (float)b->shape.D;
}

static void bwd_dx(const bwd_ctx *b, int64_t v, float mean_g, float mean_gn) {
    const ql_norm_bwd_args *a = b->a;
    float norm[QL_CPU_TILE], g[QL_CPU_TILE], dt[QL_CPU_TILE];
    float rstd = ql_cpu_f32(&a->rstd, 0)[v];
    for (int64_t c = 0; c < b->shape.D; c += QL_CPU_TILE) {
        int64_t n = ql_cpu_min(QL_CPU_TILE, b->shape.D - c);
        load_ng(b, v, c, n, norm, g, dt);
        for (int64_t j = 0; j < n; j++) g[j] = rstd * (g[j] - mean_g - norm[j] * mean_gn);
        if (a->accumulate) {
            const float *dx = vec_load(&b->shape, &a->dx, v, c, n, dt);
            for (int64_t j = 0; j < n; j++) g[j] += dx[j];
        }
        vec_store(&b->shape, &a->dx, v, c, n, g);
    }
}

static float *chunk_row(float *partial, int64_t k, int64_t D) {
    if (!partial) return NULL;
    return memset(partial + k * D, 0, (size_t)D * sizeof *partial);
}

static void bwd_chunks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const bwd_ctx *b = ctx;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        float *dw = chunk_row(b->dw, k, b->shape.D), *db = chunk_row(b->db, k, b->shape.D);
        int64_t last = ql_cpu_min(b->count, (k + 1) * QL_CPU_CHUNK);
        for (int64_t v = k * QL_CPU_CHUNK; v < last; v++) {
            float mean_g, mean_gn;
            bwd_sums(b, v, dw, db, &mean_g, &mean_gn);
            bwd_dx(b, v, mean_g, mean_gn);
        }
    }
}

static vectors bwd_shape(const ql_norm_bwd_args *a) {
    int64_t groups = a->rstd.cols / a->s.rows;
    return (vectors){groups, a->s.cols / groups};
}

ql_status QL_CPU_FN(norm_bwd)(ql_queue *q, const ql_norm_bwd_args *a) {
    bwd_ctx b = {.a = a, .shape = bwd_shape(a)};
    b.count = a->s.rows * b.shape.groups;
    int64_t chunks = ql_cpu_chunks(b.count), D = b.shape.D;
    float *next = ql_cpu_has(&a->scratch) ? ql_cpu_at(&a->scratch, 0, 0) : NULL;
    if (ql_cpu_has(&a->dw)) {
        b.dw = next;
        next += chunks * D;
    }
    if (ql_cpu_has(&a->db)) b.db = next;
    ql_cpu_parallel(q, chunks, 1, bwd_chunks, &b);
    ql_cpu_combine dw = {b.dw, chunks, D, &a->dw, true}, db = {b.db, chunks, D, &a->db, true};
    if (b.dw) ql_cpu_parallel(q, D, 4096, ql_cpu_combine_cols, &dw);
    if (b.db) ql_cpu_parallel(q, D, 4096, ql_cpu_combine_cols, &db);
    return QL_OK;
}
