/* engine.c - see engine.h. */
#include "tools/engine.h"

#include <stdio.h>

#include "core/device/device.h"

ql_status ql_engine_open(const ql_cli *cli, uint64_t mem, ql_device **out) {
    ql_device *inner = NULL;
    QL_TRY(ql_cli_open_device(cli, mem, &inner));
    ql_status s = ql_counting_open(inner, out);
    if (s != QL_OK) inner->backend->device_close(inner);
    return s;
}

void ql_engine_close(ql_device *dev) {
    if (dev) dev->backend->device_close(dev);
}

uint64_t ql_engine_peak(const ql_device *dev) {
    ql_counts c;
    ql_counting_read(dev, &c);
    return c.device_peak;
}

ql_status ql_engine_budget(ql_device *dev, uint64_t mem, const ql_memory_report *plan,
                           uint64_t *out) {
    uint64_t free_now = 0, total = 0;
    if (mem) {
        *out = mem;
        return QL_OK;
    }
    QL_TRY(dev->backend->device_memory(dev, &free_now, &total));
    *out = free_now + plan->mapped_bytes;
    return QL_OK;
}

ql_status ql_engine_fits(ql_device *dev, uint64_t mem, const ql_memory_report *plan) {
    uint64_t budget = 0;
    QL_TRY(ql_engine_budget(dev, mem, plan, &budget));
    if (plan->peak_bytes <= budget) return QL_OK;
    return QL_FAIL(QL_ERR_NOMEM_DEV, "this needs %s of device memory (%llu bytes) and %s %s",
                   ql_text_bytes(plan->peak_bytes).s, (unsigned long long)plan->peak_bytes,
                   mem ? "--mem allows" : "the device has", ql_text_bytes(budget).s);
}

/* ------------------------------------------------------------------ numbers */

ql_text ql_text_bytes(uint64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 1024 && u < 4) {
        x /= 1024;
        u++;
    }
    ql_text t;
    snprintf(t.s, sizeof t.s, u ? "%.2f %s" : "%.0f %s", x, units[u]);
    return t;
}

ql_text ql_text_count(int64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    ql_text t;
    for (int i = 0; i < len; i++) {
        bool mark = i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-';
        if (mark) t.s[at++] = ',';
        t.s[at++] = digits[i];
    }
    t.s[at] = '\0';
    return t;
}

ql_text ql_text_short(double n) {
    static const char units[] = {' ', 'k', 'M', 'G', 'T'};
    int u = 0;
    while (n >= 999.5 && u < 4) {
        n /= 1000;
        u++;
    }
    ql_text t;
    if (u == 0)
        snprintf(t.s, sizeof t.s, "%.0f", n);
    else
        snprintf(t.s, sizeof t.s, n < 99.95 ? "%.1f%c" : "%.0f%c", n, units[u]);
    return t;
}

ql_text ql_text_seconds(double s) {
    long long n = s > 0 ? (long long)(s + 0.5) : 0;
    ql_text t;
    if (n >= 3600)
        snprintf(t.s, sizeof t.s, "%lldh%02lldm", n / 3600, n / 60 % 60);
    else if (n >= 60)
        snprintf(t.s, sizeof t.s, "%lldm%02llds", n / 60, n % 60);
    else
        snprintf(t.s, sizeof t.s, "%llds", n);
    return t;
}
