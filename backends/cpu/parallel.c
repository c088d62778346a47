/*
 * parallel.c - the one place that starts threads for operators.
 */
#include "backends/cpu/cpu.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Share t of `team` equal contiguous shares; the first count % team have one item more. */
static void run_share(ql_cpu_task task, const void *ctx, int64_t count, int t, int team) {
    int64_t share = count / team, extra = count % team;
    int64_t begin = t * share + ql_cpu_min(t, extra);
    int64_t end = begin + share + (t < extra ? 1 : 0);
    if (begin < end) task(ctx, begin, end, t);
}

void ql_cpu_parallel(const ql_queue *q, int64_t count, int64_t grain, ql_cpu_task task,
                     const void *ctx) {
#ifdef _OPENMP
    int64_t useful = ql_cpu_ceil_div(count, ql_cpu_max(grain, 1));
    int team = (int)ql_cpu_min(useful, ql_cpu_threads(q));
    if (team > 1) {
#pragma omp parallel num_threads(team)
        run_share(task, ctx, count, omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#else
    (void)q, (void)grain;
#endif
    run_share(task, ctx, count, 0, 1);
}
