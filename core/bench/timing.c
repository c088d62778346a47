/* timing.c - see timing.h. */
#define _POSIX_C_SOURCE 200809L
#include "core/bench/timing.h"

#include <stdlib.h>
#include <time.h>

#define MAX_SAMPLES  1000
#define MAX_INNER    1000
#define SHORT_SAMPLE 1e-3 /* seconds below which a sample holds several runs */

double ql_bench_now(void) {
    struct timespec t = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ql_status sample(const ql_bench_job *job, int inner, double *seconds) {
    if (job->prepare) QL_TRY(job->prepare(job->user));
    double start = ql_bench_now();
    for (int i = 0; i < inner; i++) QL_TRY(job->run(job->user));
    *seconds = (ql_bench_now() - start) / inner;
    return QL_OK;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

ql_status ql_bench_measure(const ql_bench_job *job, double seconds, ql_bench_time *out) {
    double samples[MAX_SAMPLES], once;
    int n = 0, inner = 1;
    QL_TRY(sample(job, 1, &once)); /* first touch, page faults */
    QL_TRY(sample(job, 1, &once));
    if (!job->prepare && once < SHORT_SAMPLE)
        inner = once > SHORT_SAMPLE / MAX_INNER ? (int)(SHORT_SAMPLE / once) : MAX_INNER;
    double end = ql_bench_now() + seconds;
    while (n < MAX_SAMPLES && (n < QL_BENCH_REPEATS || ql_bench_now() < end))
        QL_TRY(sample(job, inner, &samples[n++]));
    *out = (ql_bench_time){.median_s = median(samples, n), .repeats = n};
    return QL_OK;
}
