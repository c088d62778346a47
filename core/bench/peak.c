/*
 * peak.c - fp32 FMA peak and memory read bandwidth (see peak.h).
 *
 * The FMA loop is compiled once per instruction set by function attributes and chosen at run time.
 * Twelve independent accumulators hide the latency of two FMA units and fit into 16 registers.
 */
#include "core/bench/peak.h"

#include <stdint.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/bench/timing.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define FMA_TURNS  ((int64_t)1 << 20)
#define READ_BYTES ((size_t)256 << 20) /* beyond every cache */

#define ACCUMULATORS 12
#define EACH(F)      F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define SUM          a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11

#define TURN(FMA)                                                                                  \
    a0 = FMA(a0, x, y), a1 = FMA(a1, x, y), a2 = FMA(a2, x, y), a3 = FMA(a3, x, y);                \
    a4 = FMA(a4, x, y), a5 = FMA(a5, x, y), a6 = FMA(a6, x, y), a7 = FMA(a7, x, y);                \
    a8 = FMA(a8, x, y), a9 = FMA(a9, x, y), a10 = FMA(a10, x, y), a11 = FMA(a11, x, y);

/* Volatile, or a compiler finds that the chain which starts at 1 stays there and leaves it out. */
static const volatile float factor = 0.999999f, summand = 1e-6f;

/* a_i = a_i x + y, `turns` (a multiple of 4) times; x < 1 keeps every a_i near 1. Four turns per
 * jump, so that fetching instructions is not what limits. */
#define FMA_LOOP(NAME, TARGET, VEC, SET, FMA)                                                      \
    TARGET static float NAME(int64_t turns) {                                                      \
        const VEC x = SET(factor), y = SET(summand);                                               \
        VEC EACH_DECLARED(SET);                                                                    \
        for (int64_t t = 0; t < turns; t += 4) { TURN(FMA) TURN(FMA) TURN(FMA) TURN(FMA) }         \
        const VEC sum = SUM;                                                                       \
        return sum[0];                                                                             \
    }
#define EACH_DECLARED(SET)                                                                         \
    a0 = SET(0), a1 = SET(1), a2 = SET(2), a3 = SET(3), a4 = SET(4), a5 = SET(5), a6 = SET(6),     \
    a7 = SET(7), a8 = SET(8), a9 = SET(9), a10 = SET(10), a11 = SET(11)

typedef float lanes4 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static inline lanes4 plain_set(float v) {
    return (lanes4){v, v, v, v};
}
#define PLAIN_FMA(a, x, y) ((a) * (x) + (y))
FMA_LOOP(fma_plain, , lanes4, plain_set, PLAIN_FMA)

#if defined(__x86_64__)
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_fmadd_ps)
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, _mm512_fmadd_ps)
#elif defined(__aarch64__)
#define NEON_FMA(a, x, y) vfmaq_f32(y, a, x)
FMA_LOOP(fma_neon, , float32x4_t, vdupq_n_f32, NEON_FMA)
#endif

typedef struct fma_kind {
    const char *isa;
    float (*run)(int64_t turns);
    int lanes;
} fma_kind;

static fma_kind choose_fma(void) {
#if defined(__x86_64__)
    /* These look at what the system saves as well. */
    if (__builtin_cpu_supports("avx512f")) return (fma_kind){"avx512", fma_avx512, 16};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (fma_kind){"avx2", fma_avx2, 8};
#elif defined(__aarch64__)
    return (fma_kind){"neon", fma_neon, 4};
#endif
    return (fma_kind){"portable", fma_plain, 4};
}

/* Sum of n vectors; n is a multiple of ACCUMULATORS. */
static uint64_t read_words(const words2 *p, size_t n) {
    words2 a[ACCUMULATORS] = {{0}};
    for (size_t i = 0; i < n; i += ACCUMULATORS) {
#define ADD(k) a[k] += p[i + (k)];
        EACH(ADD)
#undef ADD
    }
    for (int k = 1; k < ACCUMULATORS; k++) a[0] += a[k];
    return a[0][0] + a[0][1];
}

/* ------------------------------------------------------------ on all threads */

typedef struct team {
    fma_kind fma;
    words2 *words;
    size_t share; /* vectors per thread */
    int threads;
} team;

typedef void (*team_fn)(const team *t, int thread);

static void on_all(const team *t, team_fn fn) {
#ifdef _OPENMP
#pragma omp parallel num_threads(t->threads)
    fn(t, omp_get_thread_num());
#else
    fn(t, 0);
#endif
}

static void do_fma(const team *t, int thread) {
    volatile float keep = t->fma.run(FMA_TURNS);
    (void)keep, (void)thread;
}

static void do_touch(const team *t, int thread) {
    memset(t->words + (size_t)thread * t->share, 1, t->share * sizeof *t->words);
}

static void do_read(const team *t, int thread) {
    volatile uint64_t keep = read_words(t->words + (size_t)thread * t->share, t->share);
    (void)keep;
}

/* Shortest of the samples: what disturbs only ever takes time. */
static double best_time(const team *t, team_fn fn, double seconds) {
    double best = 0, end = ql_bench_now() + seconds;
    on_all(t, fn);
    for (int n = 0; n < QL_BENCH_REPEATS || ql_bench_now() < end; n++) {
        double start = ql_bench_now();
        on_all(t, fn);
        double took = ql_bench_now() - start;
        if (n == 0 || took < best) best = took;
    }
    return best;
}

ql_status ql_bench_measure_peaks(int threads, double seconds, ql_bench_peaks *out) {
#ifndef _OPENMP
    threads = 1; /* as the CPU backend of this build */
#endif
    if (threads < 1) return QL_FAIL(QL_ERR_INVALID, "peak: %d threads, expected >= 1", threads);
    team t = {.fma = choose_fma(), .threads = threads};
    t.share = READ_BYTES / sizeof *t.words / (size_t)threads / ACCUMULATORS * ACCUMULATORS;
    const size_t vectors = t.share * (size_t)threads;
    t.words = ql_host_calloc(vectors, sizeof *t.words);
    if (!t.words) return QL_NOMEM("the buffer of the bandwidth measurement");
    const double flop = 2.0 * ACCUMULATORS * t.fma.lanes * (double)FMA_TURNS * threads;
    ql_bench_peaks p = {.isa = t.fma.isa, .threads = threads};
    p.gflops = 1e-9 * flop / best_time(&t, do_fma, seconds);
    on_all(&t, do_touch);
    p.gbps = 1e-9 * (double)(vectors * sizeof *t.words) / best_time(&t, do_read, seconds);
    ql_host_free(t.words);
    *out = p;
    return QL_OK;
}
