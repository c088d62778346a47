/* row.h - one result of a measurement, and where results go. */
#ifndef QLORA_CORE_BENCH_ROW_H
#define QLORA_CORE_BENCH_ROW_H

#include <stdint.h>

#include "core/bench/peak.h"
#include "core/bench/timing.h"

/* A rate of 0 is one that the row does not have. */
typedef struct ql_bench_row {
    const char *name;
    char shape[64]; /* "512x4096x11008": tokens x out x in */
    ql_bench_time time;
    double gflops;     /* useful operations, 1e9 per second   */
    double gbps;       /* operands read and written once each */
    double peak_share; /* of the measured FMA peak, or of the bandwidth */
    double weights_per_s, tokens_per_s;
    uint64_t peak_bytes; /* the allocator's high-water mark   */
} ql_bench_row;

typedef struct ql_bench_sink {
    void (*row)(void *user, const ql_bench_row *row);
    void (*skipped)(void *user, const char *name, const char *shape, const char *why);
    void *user;
} ql_bench_sink;

#endif /* QLORA_CORE_BENCH_ROW_H */
