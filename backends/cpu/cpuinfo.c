/*
 * cpuinfo.c - cpuid and the register state that the system saves, /proc and /sys, affinity.
 *
 * The only file of the backend that asks the system or the environment anything. What cannot be
 * found out is reported as 0 or as absent; nothing here fails.
 */
#define _GNU_SOURCE
#include "backends/cpu/cpuinfo.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---------------------------------------------------------------- instruction sets */

#if defined(__x86_64__)
/* XCR0: the register state that the operating system saves. Needs OSXSAVE. */
static uint64_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool bit(uint32_t word, int i) {
    return (word >> i & 1u) != 0;
}

static void read_isa(ql_cpuinfo *info) {
    enum { XMM_YMM = 0x6, OPMASK_ZMM = 0xE0 };
    uint32_t a, b, c, d, b7, c7, d7, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return; /* OSXSAVE */
    bool fma = bit(c, 12), avx = bit(c, 28), f16c = bit(c, 29);
    uint64_t state = xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return;
    if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    bool ymm = (state & XMM_YMM) == XMM_YMM, zmm = ymm && (state & OPMASK_ZMM) == OPMASK_ZMM;
    bool avx2 = ymm && avx && fma && f16c && bit(b7, 5);
    bool f_dq_bw_vl = bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31);
    info->has[QL_CPU_AVX2] = avx2;
    info->has[QL_CPU_AVX512] = avx2 && zmm && f_dq_bw_vl;
    info->vnni = info->has[QL_CPU_AVX512] && bit(c7, 11);
    info->has[QL_CPU_AVX512BF16] = info->vnni && bit(a71, 5);
}

static void read_name(ql_cpuinfo *info) {
    uint32_t words[12];
    char text[sizeof words + 1] = {0};
    for (uint32_t i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                         &words[4 * i + 3]))
            return;
    memcpy(text, words, sizeof words);
    snprintf(info->name, sizeof info->name, "%s", text + strspn(text, " "));
}
#else
static void read_isa(ql_cpuinfo *info) {
#if defined(__aarch64__)
    info->has[QL_CPU_NEON] = true;
#else
    (void)info;
#endif
}

static void read_name(ql_cpuinfo *info) {
    snprintf(info->name, sizeof info->name, "CPU");
}
#endif

const char *ql_cpu_isa_name(ql_cpu_isa isa) {
    static const char *const names[QL_CPU_ISA_COUNT] = {"portable", "avx2", "avx512", "avx512bf16",
                                                        "neon"};
    return (unsigned)isa < QL_CPU_ISA_COUNT ? names[isa] : "?";
}

ql_status ql_cpu_isa_choose(const ql_cpuinfo *info, const char *forced, ql_cpu_isa *out) {
    const char *wanted = forced ? forced : getenv("QLORA_ISA");
    const char *from = forced ? "isa" : "environment variable QLORA_ISA";
    char have[96] = "";
    int known = -1;
    if (!wanted || !*wanted) {
        *out = info->best;
        return QL_OK;
    }
    for (int i = 0; i < QL_CPU_ISA_COUNT; i++) {
        const char *name = ql_cpu_isa_name((ql_cpu_isa)i);
        if (strcmp(wanted, name) == 0) known = i;
        if (!info->has[i]) continue;
        size_t used = strlen(have);
        snprintf(have + used, sizeof have - used, "%s%s", used ? ", " : "", name);
    }
    if (known < 0)
        return QL_FAIL(QL_ERR_INVALID, "cpu: %s is '%s', this machine has: %s", from, wanted, have);
    if (!info->has[known])
        return QL_FAIL(QL_ERR_UNSUPPORTED, "cpu: %s asks for '%s', this machine has only: %s", from,
                       wanted, have);
    *out = (ql_cpu_isa)known;
    return QL_OK;
}

/* ------------------------------------------------------------------ processors */

/* First line of a small system file; false if there is none. */
static bool first_line(const char *path, char *line, size_t size) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool ok = fgets(line, (int)size, f) != NULL;
    fclose(f);
    return ok;
}

/* A number in a file of its own; 0 when absent or "max". */
static uint64_t number_in(const char *path) {
    char line[64];
    return first_line(path, line, sizeof line) ? strtoull(line, NULL, 10) : 0;
}

static uint64_t cache_bytes(int name) {
    long n = sysconf(name);
    return n > 0 ? (uint64_t)n : 0;
}

/* Whole processors that a cgroup allows (v2, then v1); 0 = no limit. */
static int cgroup_cores(void) {
    char line[64], *end;
    double quota = 0, period = 0;
    if (first_line("/sys/fs/cgroup/cpu.max", line, sizeof line)) {
        quota = strtod(line, &end); /* "max" gives 0 */
        period = strtod(end, NULL);
    } else if (first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof line)) {
        quota = strtod(line, NULL);
        period = (double)number_in("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    }
    if (!(quota > 0) || !(period > 0) || quota / period > 4096) return 0;
    int cores = (int)(quota / period + 0.999);
    return cores > 0 ? cores : 1;
}

static int usable_cores(void) {
    int cores = 0, limit = cgroup_cores();
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        cores = CPU_COUNT(&set);
    } else {
        long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t holds */
        cores = online > 0 && online < 65536 ? (int)online : 1;
    }
    if (limit > 0 && limit < cores) cores = limit;
    return cores > 0 ? cores : 1;
}

void ql_cpuinfo_read(ql_cpuinfo *out) {
    memset(out, 0, sizeof *out);
    out->has[QL_CPU_PORTABLE] = true;
    read_isa(out);
    read_name(out);
    for (int i = 0; i < QL_CPU_ISA_COUNT; i++)
        if (out->has[i]) out->best = (ql_cpu_isa)i;
    out->cores = usable_cores();
    out->l1d = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    out->l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    out->l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
    ql_cpuinfo_memory(&out->mem_free, &out->mem_total);
}
