/*
 * cpuinfo.h - what this machine can do: instruction sets that both CPU and system support, caches,
 * memory, the processors this process may use.
 */
#ifndef QLORA_BACKENDS_CPU_CPUINFO_H
#define QLORA_BACKENDS_CPU_CPUINFO_H

#include <stdbool.h>
#include <stdint.h>

#include "qlora/status.h"

/* Levels of operator code. On x86 each one includes those before it. */
typedef enum ql_cpu_isa {
    QL_CPU_PORTABLE,
    QL_CPU_AVX2,       /* AVX2, FMA, F16C                       */
    QL_CPU_AVX512,     /* AVX-512 F, BW, DQ, VL                 */
    QL_CPU_AVX512BF16, /* the same and AVX512_BF16, AVX512_VNNI */
    QL_CPU_NEON,       /* 64-bit ARM, always there              */
    QL_CPU_ISA_COUNT
} ql_cpu_isa;

typedef struct ql_cpuinfo {
    char name[96]; /* "AMD EPYC ..." */
    bool has[QL_CPU_ISA_COUNT];
    bool vnni;            /* AVX512_VNNI, beside any AVX-512 level */
    ql_cpu_isa best;      /* highest level of `has` */
    int cores;            /* processors in the affinity mask, capped by the cgroup's limit; >= 1 */
    uint64_t l1d, l2, l3; /* bytes, 0 = unknown */
    uint64_t mem_total, mem_free; /* bytes; what this process may use (meminfo.c) */
} ql_cpuinfo;

void ql_cpuinfo_read(ql_cpuinfo *out);

/* Memory now: what is left and what there is, in bytes (0 = unknown). */
void ql_cpuinfo_memory(uint64_t *free_now, uint64_t *total);

/* "portable", "avx2", "avx512", "avx512bf16", "neon"; never NULL. */
const char *ql_cpu_isa_name(ql_cpu_isa isa);

/* The level to use: `forced` if not NULL, else the environment variable QLORA_ISA if set, else the
 * best. Unknown name: QL_ERR_INVALID; a level this CPU lacks: QL_ERR_UNSUPPORTED; the sentence
 * lists the levels there are. */
QL_NODISCARD ql_status ql_cpu_isa_choose(const ql_cpuinfo *info, const char *forced,
                                         ql_cpu_isa *out);

#endif
