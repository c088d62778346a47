/*
 * bench_gemm.c - speed of the CPU backend's products, quantizer and attention, as a share of the
 * FMA peak measured between the runs.
 *
 *   bench_gemm [isa [threads [seconds]]]        isa: portable, avx2, avx512; default the best
 *
 * Runs alternate with the peak loop and the best of each counts: on a shared machine a single run
 * says little.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/kern.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------- FMA peak */

static volatile float sink;

typedef double (*peak_loop)(int64_t n); /* floating-point operations done */

static double peak_portable(int64_t n) {
    float x[32];
    for (int i = 0; i < 32; i++) x[i] = (float)i;
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < 32; i++) x[i] = x[i] * 0.999999f + 1e-6f;
    for (int i = 1; i < 32; i++) x[0] += x[i];
    sink = x[0];
    return 64.0 * (double)n;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static double peak_avx2(int64_t n) {
    __m256 x[12], a = _mm256_set1_ps(0.999999f), b = _mm256_set1_ps(1e-6f);
    for (int i = 0; i < 12; i++) x[i] = _mm256_set1_ps((float)i);
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) x[i] = _mm256_fmadd_ps(x[i], a, b);
    for (int i = 1; i < 12; i++) x[0] = _mm256_add_ps(x[0], x[i]);
    sink = _mm256_cvtss_f32(x[0]);
    return 192.0 * (double)n;
}
__attribute__((target("avx512f"))) static double peak_avx512(int64_t n) {
    __m512 x[12], a = _mm512_set1_ps(0.999999f), b = _mm512_set1_ps(1e-6f);
    for (int i = 0; i < 12; i++) x[i] = _mm512_set1_ps((float)i);
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) x[i] = _mm512_fmadd_ps(x[i], a, b);
    for (int i = 1; i < 12; i++) x[0] = _mm512_add_ps(x[0], x[i]);
    sink = _mm512_reduce_add_ps(x[0]);
    return 384.0 * (double)n;
}
#endif

typedef struct bench {
    ql_cpu_device dev;
    ql_queue queue;
    peak_loop loop;
    double seconds, peak; /* per measurement; best FMA rate seen, flop/s */
} bench;

static void run_loop(const void *ctx, int64_t begin, int64_t end, int thread) {
    (void)thread;
    for (int64_t i = begin; i < end; i++) ((const bench *)ctx)->loop(300000);
}

static void measure_peak(bench *b) {
    double work = b->loop(1) * 300000.0 * b->dev.threads, t = now();
    ql_cpu_parallel(&b->queue, b->dev.threads, 1, run_loop, b);
    t = work / (now() - t);
    b->peak = t > b->peak ? t : b->peak;
}

/* --------------------------------------------------------------------------- operands */

static ql_mat matrix(ql_dtype t, int64_t rows, int64_t cols) {
    uint64_t n = (uint64_t)(rows * cols), size = n * ql_cpu_dtype_size(t);
    ql_buffer *buf = calloc(1, sizeof *buf);
    uint8_t *p = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!buf || !p) exit(1);
    ql_mat m = {.buf = buf, .rows = rows, .cols = cols, .ld = cols, .dtype = t};
    *buf = (ql_buffer){.size = size, .host = p};
    for (uint64_t i = 0; i < n; i++) {
        float x = (float)rand() / (float)RAND_MAX - 0.5f;
        if (t == QL_U8)
            p[i] = (uint8_t)rand();
        else if (t != QL_I32)
            ql_cpu_narrow(t, p + i * ql_cpu_dtype_size(t), &x, 1);
    }
    return m;
}
static void drop(ql_mat m) {
    if (!m.buf) return;
    free(m.buf->host);
    free(m.buf);
}

static ql_qmat nf4_weight(int64_t n, int64_t k, bool doubled) {
    ql_qmat w = {.n = n, .k = k, .bits = 4, .block = 64, .block2 = 256};
    w.codes = matrix(QL_U8, 1, n * k / 2);
    w.table = matrix(QL_F32, 1, 16);
    memcpy(w.table.buf->host, ql_nf4_table, sizeof ql_nf4_table);
    w.scale = matrix(doubled ? QL_U8 : QL_F32, 1, n * k / 64);
    if (!doubled) return w;
    w.scale2 = matrix(QL_F32, 1, n * k / 64 / 256 + 1);
    w.code2 = matrix(QL_F32, 1, 256);
    w.offset = matrix(QL_F32, 1, 1);
    return w;
}
static void drop_weight(ql_qmat w) {
    drop(w.codes);
    drop(w.table);
    drop(w.scale);
    drop(w.scale2);
    drop(w.code2);
    drop(w.offset);
}

/* ------------------------------------------------------------------------------- runs */

/* Best time of `run`, the peak measured in between. */
static double best_of(bench *b, void (*run)(bench *, const void *), const void *args) {
    double best = 1e9, start = now();
    while (now() - start < b->seconds) {
        measure_peak(b);
        for (int i = 0; i < 5; i++) {
            double t = now();
            run(b, args);
            t = now() - t;
            best = t < best ? t : best;
        }
    }
    return best;
}

static void report(const bench *b, const char *name, double flop, double seconds) {
    printf("%-44s %8.3f ms %8.1f GFLOP/s %5.1f %%\n", name, seconds * 1e3, flop / seconds * 1e-9,
           100 * flop / seconds / b->peak);
    fflush(stdout);
}

static void run_gemm(bench *b, const void *args) {
    if (ql_cpu_gemm(&b->queue, args) != QL_OK) exit(1);
}
static void run_gemm_q(bench *b, const void *args) {
    if (ql_cpu_gemm_q(&b->queue, args) != QL_OK) exit(1);
}
static void run_quantize(bench *b, const void *args) {
    if (ql_cpu_q_quantize(&b->queue, args) != QL_OK) exit(1);
}
static void run_attn_fwd(bench *b, const void *args) {
    if (ql_cpu_attn_fwd(&b->queue, args) != QL_OK) exit(1);
}
static void run_attn_bwd(bench *b, const void *args) {
    if (ql_cpu_attn_bwd(&b->queue, args) != QL_OK) exit(1);
}

static void bench_dense(bench *b, int64_t m, int64_t n, int64_t k, ql_dtype t, bool trans_a,
                        bool trans_b) {
    char name[96];
    ql_gemm_args a = {.a = matrix(t, trans_a ? k : m, trans_a ? m : k),
                      .b = matrix(t, trans_b ? n : k, trans_b ? k : n),
                      .c = matrix(t, m, n),
                      .trans_a = trans_a,
                      .trans_b = trans_b,
                      .alpha = 1,
                      .batch = 1};
    a.scratch = matrix(QL_U8, 1, (int64_t)ql_cpu_scratch_gemm(&b->dev, &a));
    snprintf(name, sizeof name, "gemm %s %dx%dx%d a%s b%s", t == QL_F32 ? "f32" : "bf16", (int)m,
             (int)n, (int)k, trans_a ? "'" : "", trans_b ? "'" : "");
    report(b, name, 2.0 * (double)(m * n * k), best_of(b, run_gemm, &a));
    drop(a.a);
    drop(a.b);
    drop(a.c);
    drop(a.scratch);
}

static void bench_nf4(bench *b, int64_t m, int64_t n, int64_t k, bool trans, bool doubled) {
    char name[96];
    ql_gemm_q_args a = {.x = matrix(QL_F32, m, trans ? n : k),
                        .y = matrix(QL_F32, m, trans ? k : n),
                        .w = nf4_weight(n, k, doubled),
                        .trans_w = trans,
                        .alpha = 1};
    a.scratch = matrix(QL_U8, 1, (int64_t)ql_cpu_scratch_gemm_q(&b->dev, &a));
    snprintf(name, sizeof name, "gemm_q nf4%s %dx%dx%d %s", doubled ? " doubled" : "", (int)m,
             (int)n, (int)k, trans ? "backward" : "forward");
    double t = best_of(b, run_gemm_q, &a);
    report(b, name, 2.0 * (double)(m * n * k), t);
    if (m <= 8) printf("%44s %8.2f Gweights/s\n", "", (double)(n * k) / t * 1e-9);
    drop(a.x);
    drop(a.y);
    drop(a.scratch);
    drop_weight(a.w);
}

static void bench_quantize(bench *b, int64_t n, int64_t k) {
    ql_q_quantize_args a = {
        .w = matrix(QL_F32, n, k), .q = nf4_weight(n, k, false), .total = n * k};
    double t = best_of(b, run_quantize, &a);
    printf("%-44s %8.3f ms %8.2f Gweights/s\n", "q_quantize nf4", t * 1e3,
           (double)(n * k) / t * 1e-9);
    drop(a.w);
    drop_weight(a.q);
}

static void bench_attention(bench *b, int hq, int hk, int dim, int tokens) {
    char name[96];
    ql_attn_spec s = {.heads_q = hq,
                      .heads_kv = hk,
                      .dim_qk = dim,
                      .dim_v = dim,
                      .causal = true,
                      .scale = 0.125f,
                      .max_q = tokens,
                      .max_kv = tokens};
    s.start_q = s.start_kv = matrix(QL_I32, 1, 2);
    ((int32_t *)s.start_q.buf->host)[0] = 0;
    ((int32_t *)s.start_q.buf->host)[1] = tokens;
    ql_attn_fwd_args f = {.spec = s,
                          .q = matrix(QL_F32, tokens, hq * dim),
                          .k = matrix(QL_F32, tokens, hk * dim),
                          .v = matrix(QL_F32, tokens, hk * dim),
                          .o = matrix(QL_F32, tokens, hq * dim),
                          .lse = matrix(QL_F32, hq, tokens)};
    f.scratch = matrix(QL_U8, 1, (int64_t)ql_cpu_scratch_attn_fwd(&b->dev, &f));
    ql_attn_bwd_args g = {.spec = s,
                          .q = f.q,
                          .k = f.k,
                          .v = f.v,
                          .o = f.o,
                          .lse = f.lse,
                          .d_o = matrix(QL_F32, tokens, hq * dim),
                          .dq = matrix(QL_F32, tokens, hq * dim),
                          .dk = matrix(QL_F32, tokens, hk * dim),
                          .dv = matrix(QL_F32, tokens, hk * dim)};
    g.scratch = matrix(QL_U8, 1, (int64_t)ql_cpu_scratch_attn_bwd(&b->dev, &g));
    double flop = 2.0 * tokens * (tokens + 1.0) * dim * hq;
    snprintf(name, sizeof name, "attn_fwd %d/%d heads of %d, %d tokens", hq, hk, dim, tokens);
    report(b, name, flop, best_of(b, run_attn_fwd, &f));
    snprintf(name, sizeof name, "attn_bwd %d/%d heads of %d, %d tokens", hq, hk, dim, tokens);
    report(b, name, 2.5 * flop, best_of(b, run_attn_bwd, &g));
    ql_mat all[] = {s.start_q, f.q,   f.k,  f.v,  f.o,  f.lse,
                    f.scratch, g.d_o, g.dq, g.dk, g.dv, g.scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
}

int main(int argc, char **argv) {
    bench b = {.seconds = argc > 3 ? strtod(argv[3], NULL) : 0.7, .loop = peak_portable};
    ql_cpuinfo_read(&b.dev.info);
    ql_cpu_isa isa;
    if (ql_cpu_isa_choose(&b.dev.info, argc > 1 ? argv[1] : NULL, &isa) != QL_OK) {
        fprintf(stderr, "%s\n", ql_last_error());
        return 1;
    }
    b.dev.isa = isa;
    b.dev.threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : b.dev.info.cores;
    b.dev.kern = ql_cpu_kern();
#if defined(__x86_64__)
    if (isa == QL_CPU_AVX2) b.dev.kern = ql_cpu_kern_avx2(), b.loop = peak_avx2;
    if (isa > QL_CPU_AVX2) b.dev.kern = ql_cpu_kern_avx512(), b.loop = peak_avx512;
#endif
    b.queue.dev = &b.dev.base;
    for (int i = 0; i < 20; i++) measure_peak(&b);
    printf("%s, %s, %d threads, peak %.1f GFLOP/s\n", b.dev.info.name, b.dev.kern->isa,
           b.dev.threads, b.peak * 1e-9);
    static const int64_t shapes[][3] = {{512, 576, 576}, {512, 1536, 576}, {512, 576, 1536}};
    for (int i = 0; i < 3; i++) {
        const int64_t *s = shapes[i];
        bench_dense(&b, s[0], s[1], s[2], QL_F32, false, true);
        bench_dense(&b, s[0], s[1], s[2], QL_F32, false, false);
        bench_dense(&b, s[0], s[1], s[2], QL_BF16, false, true);
        bench_nf4(&b, s[0], s[1], s[2], false, true);
        bench_nf4(&b, s[0], s[1], s[2], true, true);
    }
    bench_dense(&b, 576, 1536, 512, QL_F32, true, false);
    bench_dense(&b, 512, 8, 576, QL_F32, false, true);
    bench_dense(&b, 512, 576, 8, QL_F32, false, true);
    bench_dense(&b, 8, 576, 512, QL_F32, true, false);
    bench_nf4(&b, 512, 4096, 4096, false, false);
    bench_nf4(&b, 1, 1536, 576, false, true);
    bench_nf4(&b, 1, 11008, 4096, false, false);
    bench_nf4(&b, 8, 11008, 4096, false, false);
    bench_dense(&b, 1, 49152, 576, QL_BF16, false, true);
    bench_quantize(&b, 4096, 4096);
    bench_attention(&b, 9, 3, 64, 512);
    bench_attention(&b, 9, 3, 64, 128);
    bench_attention(&b, 32, 32, 128, 256);
    printf("peak %.1f GFLOP/s\n", b.peak * 1e-9);
    return 0;
}
