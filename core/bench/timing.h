/*
 * timing.h - how long a piece of work takes: warm-up, repeats, the median.
 *
 * Short work is repeated inside one sample, so that neither the clock nor the launch of a queue is
 * what is measured.
 */
#ifndef QLORA_CORE_BENCH_TIMING_H
#define QLORA_CORE_BENCH_TIMING_H

#include "qlora/status.h"

/* `run` leaves its work finished (queues synchronized). `prepare`, when present, precedes every run
 * and is not timed. */
typedef struct ql_bench_job {
    ql_status (*run)(void *user);
    ql_status (*prepare)(void *user);
    void *user;
} ql_bench_job;

typedef struct ql_bench_time {
    double median_s; /* of one run                          */
    int repeats;     /* samples, at least QL_BENCH_REPEATS  */
} ql_bench_time;

#define QL_BENCH_REPEATS 5

/* Monotonic seconds. */
double ql_bench_now(void);
/* Two runs that are not counted, then samples until `seconds` have passed and there are
 * QL_BENCH_REPEATS of them. */
QL_NODISCARD ql_status ql_bench_measure(const ql_bench_job *job, double seconds,
                                        ql_bench_time *out);

#endif /* QLORA_CORE_BENCH_TIMING_H */
