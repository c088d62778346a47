/*
 * product.c - runs a blocked matrix product (see product.h for the order of its sums).
 *
 * A task owns a rectangle of c. It packs kc depths of all its columns of B, then, MC rows at a
 * time, of A, and multiplies register tiles. Nothing is shared between tasks but the factors.
 */
#include "backends/cpu/product.h"

#include "backends/cpu/qdecode.h"

typedef struct run {
    const ql_cpu_product *p;
    const ql_cpu_kernels *kern;
    ql_cpu_plan plan;
    ql_cpu_layout layout;
    float *scratch; /* of thread 0; the small rows of A before it */
    bool direct;
} run;

/* ------------------------------------------------------------------------ factors */

void ql_cpu_kwiden(const ql_cpu_kernels *kern, ql_dtype t, const void *src, int64_t n, float *out) {
    if (t == QL_BF16)
        kern->widen_bf16((const uint16_t *)src, n, out);
    else if (t == QL_F16)
        kern->widen_f16((const uint16_t *)src, n, out);
    else
        memcpy(out, src, (size_t)n * sizeof *out);
}

/* Elements [col, col+n) of a stored row: in place when the factor is dense f32, else in tmp. */
static const float *fetch(const ql_cpu_kernels *kern, const ql_cpu_side *s, int64_t row,
                          int64_t col, int64_t n, float *tmp) {
    if (s->q) {
        ql_cpu_qdecode(kern, s->q, row, col, n, tmp);
        return tmp;
    }
    const void *src = ql_cpu_at(&s->mat, row, col);
    if (s->mat.dtype == QL_F32) return (const float *)src;
    ql_cpu_kwiden(kern, s->mat.dtype, src, n, tmp);
    return tmp;
}

static inline void copy_lines(float *out, const float *in, int64_t width) {
    switch (width) { /* a constant size becomes a few vector moves */
    case 8: memcpy(out, in, 8 * sizeof *out); break;
    case 16: memcpy(out, in, 16 * sizeof *out); break;
    case 32: memcpy(out, in, 32 * sizeof *out); break;
    default:
        for (int64_t l = 0; l < width; l++) out[l] = in[l];
    }
}

void ql_cpu_pack(const ql_cpu_kernels *kern, const ql_cpu_side *s, int64_t line, int64_t lines,
                 int64_t at, int64_t depth, int64_t width, float *out, float *tmp) {
    if (s->depth_contiguous) {
        for (int64_t g = 0; g < lines; g += width) {
            int64_t count = ql_cpu_min(width, lines - g), ld = depth;
            const float *in = tmp;
            if (!s->q && s->mat.dtype == QL_F32) {
                in = (const float *)ql_cpu_at(&s->mat, line + g, at);
                ld = s->mat.ld;
            } else {
                for (int64_t l = 0; l < count; l++)
                    fetch(kern, s, line + g + l, at, depth, tmp + l * depth);
            }
            kern->interleave(out + g * depth, width, in, ld, count, depth);
        }
        return;
    }
    for (int64_t d = 0; d < depth; d++) {
        const float *in = fetch(kern, s, at + d, line, lines, tmp);
        float *to = out + d * width;
        int64_t g = 0;
        for (; g + width <= lines; g += width) copy_lines(to + g * depth, in + g, width);
        for (int64_t l = 0; g < lines && l < width; l++)
            to[g * depth + l] = g + l < lines ? in[g + l] : 0.0f;
    }
}

/* ------------------------------------------------------------------------ results */

/* c[row, col..col+n) = alpha * sum + beta * c + bias; sum may be the place in c itself. */
static void finish_row(const run *r, const ql_mat *c, int64_t row, int64_t col, int64_t n,
                       float *sum) {
    const ql_cpu_product *p = r->p;
    float tmp[QL_CPU_TILE];
    for (int64_t done = 0; done < n; done += QL_CPU_TILE) {
        int64_t count = ql_cpu_min(n - done, QL_CPU_TILE);
        float *s = sum + done;
        void *dst = ql_cpu_at(c, row, col + done);
        if (p->alpha != 1.0f)
            for (int64_t j = 0; j < count; j++) s[j] *= p->alpha;
        if (p->beta != 0.0f) {
            ql_cpu_kwiden(r->kern, c->dtype, dst, count, tmp);
            for (int64_t j = 0; j < count; j++) s[j] += p->beta * tmp[j];
        }
        if (ql_cpu_has(&p->bias)) {
            const float *bias = ql_cpu_span_f32(&p->bias, 0, col + done, count, tmp);
            for (int64_t j = 0; j < count; j++) s[j] += bias[j];
        }
        if (c->dtype == QL_BF16)
            r->kern->narrow_bf16(s, count, (uint16_t *)dst);
        else if (c->dtype == QL_F16)
            r->kern->narrow_f16(s, count, (uint16_t *)dst);
        else if (dst != (void *)s)
            memcpy(dst, s, (size_t)count * sizeof *s);
    }
}

/* One register tile of which rows x cols exist; whole tiles go straight to their place. */
static void tile(const run *r, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                 int64_t rows, int64_t cols, bool add, float *edge) {
    const int64_t mr = r->kern->mr, nr = r->kern->nr;
    if (rows >= mr && cols >= nr) {
        r->kern->micro(depth, a, 1, mr, b, nr, c, ldc, add);
        return;
    }
    r->kern->micro(depth, a, 1, mr, b, nr, edge, nr, false);
    for (int64_t i = 0; i < ql_cpu_min(rows, mr); i++)
        for (int64_t j = 0; j < ql_cpu_min(cols, nr); j++)
            c[i * ldc + j] = add ? c[i * ldc + j] + edge[i * nr + j] : edge[i * nr + j];
}

/* -------------------------------------------------------------------------- tasks */

typedef struct rect {
    int64_t i0, rows, j0, cols;
} rect;

static ql_cpu_product batch_item(const ql_cpu_product *all, int64_t item) {
    ql_cpu_product p = *all;
    p.a.mat.off += (uint64_t)(item * p.stride_a) * ql_cpu_dtype_size(p.a.mat.dtype);
    p.b.mat.off += (uint64_t)(item * p.stride_b) * ql_cpu_dtype_size(p.b.mat.dtype);
    p.c.off += (uint64_t)(item * p.stride_c) * ql_cpu_dtype_size(p.c.dtype);
    return p;
}

/* All depths of one rectangle, then its last touches. */
static void run_rect(const run *r, rect t, float *mine) {
    const ql_cpu_product *p = r->p;
    const int64_t mr = r->kern->mr, nr = r->kern->nr, mc = QL_CPU_MC / mr * mr;
    float *b = mine + r->layout.b_panel, *a = mine + r->layout.a_block;
    float *tmp = mine + r->layout.lines, *edge = mine + r->layout.edge;
    int64_t ldc = r->direct ? p->c.ld : t.cols;
    float *c = r->direct ? (float *)ql_cpu_at(&p->c, t.i0, t.j0) : mine + r->layout.acc;
    for (int64_t at = 0; at < p->k; at += r->plan.kc) {
        const int64_t depth = ql_cpu_min(r->plan.kc, p->k - at);
        const bool add = at > 0 || (r->direct && p->beta != 0.0f);
        ql_cpu_pack(r->kern, &p->b, t.j0, t.cols, at, depth, nr, b, tmp);
        for (int64_t i = 0; i < t.rows; i += mc) {
            const int64_t rows = ql_cpu_min(mc, t.rows - i);
            ql_cpu_pack(r->kern, &p->a, t.i0 + i, rows, at, depth, mr, a, tmp);
            for (int64_t j = 0; j < t.cols; j += nr)
                for (int64_t s = 0; s < rows; s += mr)
                    tile(r, depth, a + s * depth, b + j * depth, c + (i + s) * ldc + j, ldc,
                         rows - s, t.cols - j, add, edge);
        }
    }
    if (r->direct && p->alpha == 1.0f && !ql_cpu_has(&p->bias)) return;
    for (int64_t i = 0; i < t.rows; i++) finish_row(r, &p->c, t.i0 + i, t.j0, t.cols, c + i * ldc);
}

static void run_tasks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const run *all = (const run *)ctx;
    const int64_t per_item = all->plan.tasks_m * all->plan.tasks_n;
    float *mine = all->scratch + thread * all->layout.floats;
    for (int64_t task = begin; task < end; task++) {
        run r = *all;
        ql_cpu_product p = batch_item(all->p, task / per_item);
        int64_t at_m = task % per_item / r.plan.tasks_n, at_n = task % r.plan.tasks_n;
        rect t = {.i0 = at_m * r.plan.mb, .j0 = at_n * r.plan.nb};
        t.rows = ql_cpu_min(r.plan.mb, p.m - t.i0);
        t.cols = ql_cpu_min(r.plan.nb, p.n - t.j0);
        r.p = &p;
        run_rect(&r, t, mine);
    }
}

/* ----------------------------------------------------- few rows: one pass over B's lines */

enum { SMALL_LINES = 32 }; /* results per row before they are stored */

/* sums[i] += a[i, :] . line: the line is decoded into registers, or into a buffer in L1. */
static void small_line(const run *r, int64_t line, const float *a, int64_t lda, float *sums) {
    const ql_cpu_product *p = r->p;
    float tmp[QL_CPU_TILE];
    if (p->b.q && ql_cpu_qdot_fits(p->b.q)) {
        ql_cpu_qdot(r->kern, p->b.q, line, a, lda, (int32_t)p->m, sums);
        return;
    }
    for (int64_t at = 0; at < p->k; at += QL_CPU_TILE) {
        int64_t depth = ql_cpu_min(QL_CPU_TILE, p->k - at);
        const float *w = fetch(r->kern, &p->b, line, at, depth, tmp);
        r->kern->dot(w, depth, a + at, lda, (int32_t)p->m, sums);
    }
}

/* Lines [begin, end) of B; each meets all rows of A at once. */
static void small_lines(const void *ctx, int64_t begin, int64_t end, int thread) {
    const run *r = (const run *)ctx;
    const ql_cpu_product *p = r->p;
    const float *a = r->layout.shared ? r->scratch - r->layout.shared
                                      : (const float *)ql_cpu_at(&p->a.mat, 0, 0);
    const int64_t lda = r->layout.shared ? p->k : p->a.mat.ld;
    (void)thread;
    for (int64_t j = begin; j < end; j += SMALL_LINES) {
        float out[SMALL_LINES][QL_CPU_SMALL_M] = {{0}}, row[SMALL_LINES];
        const int64_t lines = ql_cpu_min(SMALL_LINES, end - j);
        for (int64_t l = 0; l < lines; l++) small_line(r, j + l, a, lda, out[l]);
        for (int64_t i = 0; i < p->m; i++) {
            for (int64_t l = 0; l < lines; l++) row[l] = out[l][i];
            finish_row(r, &p->c, i, j, lines, row);
        }
    }
}

static bool is_small(const ql_cpu_product *p) {
    return p->m <= QL_CPU_SMALL_M && p->batch == 1 && p->a.depth_contiguous &&
           p->b.depth_contiguous;
}

void ql_cpu_product_run(const ql_queue *q, const ql_cpu_product *p) {
    enum { WORTH_A_THREAD = 1 << 15 }; /* multiplications */
    const ql_cpu_kernels *kern = ql_cpu_dev(q)->kern;
    run r = {.p = p,
             .kern = kern,
             .plan = ql_cpu_product_plan(p, kern, ql_cpu_threads(q)),
             .layout = ql_cpu_product_layout(p),
             .direct = ql_cpu_product_direct(p)};
    r.scratch = (float *)ql_cpu_at(&p->scratch, 0, 0) + r.layout.shared;
    if (is_small(p)) {
        if (r.layout.shared)
            for (int64_t i = 0; i < p->m; i++)
                ql_cpu_kwiden(kern, p->a.mat.dtype, ql_cpu_at(&p->a.mat, i, 0), p->k,
                              r.scratch - r.layout.shared + i * p->k);
        ql_cpu_parallel(q, p->n, ql_cpu_ceil_div(WORTH_A_THREAD, p->m * p->k), small_lines, &r);
        return;
    }
    int64_t tasks = p->batch * r.plan.tasks_m * r.plan.tasks_n;
    int64_t per_task = r.plan.mb * r.plan.nb * p->k;
    ql_cpu_parallel(q, tasks, ql_cpu_ceil_div(WORTH_A_THREAD, per_task), run_tasks, &r);
}
