/*
 * peak.h - what this machine's cores and memory can do, measured: the bars that shares refer to.
 */
#ifndef QLORA_CORE_BENCH_PEAK_H
#define QLORA_CORE_BENCH_PEAK_H

#include "qlora/status.h"

typedef struct ql_bench_peaks {
    double gflops;   /* fp32, fused multiply-adds in registers, 2 FLOP each      */
    double gbps;     /* 1e9 bytes per second read from memory                    */
    const char *isa; /* the widest FMA that this CPU has, whatever QLORA_ISA says */
    int threads;
} ql_bench_peaks;

/* The best sample of about `seconds` for each number, with `threads` >= 1 threads. */
QL_NODISCARD ql_status ql_bench_measure_peaks(int threads, double seconds, ql_bench_peaks *out);

#endif /* QLORA_CORE_BENCH_PEAK_H */
