/*
 * meminfo.c - the memory that this process may use: the machine's, the limits of its control group
 * and of every group above it, and its own resource limits.
 *
 * A group's file cache that nobody has used lately counts as free: the kernel gives it back before
 * it kills anything.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backends/cpu/cpuinfo.h"

typedef struct room {
    uint64_t free_now, total; /* UINT64_MAX = no limit known yet */
} room;

static void narrow(room *r, uint64_t free_now, uint64_t total) {
    if (total < r->total) r->total = total;
    if (free_now < r->free_now) r->free_now = free_now;
}

/* The number behind `key` on a line of its own ("" = the first line is the number). */
static bool number_of(const char *dir, const char *file, const char *key, uint64_t *out) {
    char path[512], line[256];
    size_t n = strlen(key);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path) return false;
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char *end = line + n;
        if (strncmp(line, key, n) != 0) continue;
        *out = strtoull(line + n, &end, 10); /* "max" is no number */
        found = end != line + n;
        if (!n) break;
    }
    fclose(f);
    return found;
}

static void machine(room *r) {
    uint64_t total = 0, available = 0;
    if (!number_of("/proc", "meminfo", "MemTotal:", &total)) return;
    if (number_of("/proc", "meminfo", "MemAvailable:", &available))
        narrow(r, available * 1024, total * 1024);
}

/* ---------------------------------------------------------------- control groups */

typedef struct group_files {
    const char *mount, *max, *used, *idle_cache;
} group_files;
static const group_files v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                               "memory.usage_in_bytes", "total_inactive_file "};
static const group_files v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "};

static void group(room *r, const group_files *f, const char *dir) {
    uint64_t max = 0, used = 0, cache = 0;
    if (!number_of(dir, f->max, "", &max) || max >= UINT64_MAX / 4) return; /* v1's "none" */
    (void)number_of(dir, f->used, "", &used);
    (void)number_of(dir, "memory.stat", f->idle_cache, &cache);
    used -= cache < used ? cache : used;
    narrow(r, used < max ? max - used : 0, max);
}

/* The group at `path` below the mount, and those above it. */
static void groups(room *r, const group_files *f, const char *path) {
    char dir[512];
    size_t root = strlen(f->mount);
    int n = snprintf(dir, sizeof dir, "%s%s", f->mount, strcmp(path, "/") == 0 ? "" : path);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (;;) {
        group(r, f, dir);
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= root || !slash || (size_t)(slash - dir) < root) return;
        *slash = '\0';
    }
}

/* Lines "9:memory:/path" (v1) and "0::/path" (v2). A container may see its own group as the root
 * and yet be named by its path outside: then only the root's files are there. */
static void own_groups(room *r) {
    char line[512];
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path = '\0';
        if (strcmp(controllers + 1, "memory") == 0) groups(r, &v1, path + 1);
        if (controllers[1] == '\0') groups(r, &v2, path + 1);
    }
    if (f) fclose(f);
    group(r, &v1, v1.mount);
    group(r, &v2, v2.mount);
}

/* ---------------------------------------------------------------- resource limits */

/* Address space and data of this process against its limits. */
static void limits(room *r) {
    const struct {
        int which;
        const char *used; /* in /proc/self/status, KiB */
    } known[] = {{RLIMIT_AS, "VmSize:"}, {RLIMIT_DATA, "VmData:"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct rlimit l;
        uint64_t used = 0;
        if (getrlimit(known[i].which, &l) != 0 || l.rlim_cur == RLIM_INFINITY) continue;
        (void)number_of("/proc/self", "status", known[i].used, &used);
        used *= 1024;
        narrow(r, used < l.rlim_cur ? l.rlim_cur - used : 0, l.rlim_cur);
    }
}

void ql_cpuinfo_memory(uint64_t *free_now, uint64_t *total) {
    room r = {UINT64_MAX, UINT64_MAX};
    machine(&r);
    own_groups(&r);
    limits(&r);
    bool known = r.total != UINT64_MAX; /* otherwise 0 = unknown, as for every device */
    *free_now = known ? r.free_now : 0;
    *total = known ? r.total : 0;
}
