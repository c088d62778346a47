/* faults.c - see faults.h. */
#define _GNU_SOURCE
#include "tests/support/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

const char *const fault_names[FAULT_KINDS] = {"none",  "enospc", "full", "eio", "eintr",
                                              "short", "flip",   "kill", "torn"};

/* What the operation is about, so that it fails with a reason that it can have. */
typedef enum need { NEEDS_SPACE, NEEDS_DISK, ONLY_FREES } need;

#define MAX_FAULTS 4
#define MAX_FD     1024

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct {
    fault_kind kind;
    long at;
} armed[MAX_FAULTS];
static int n_armed;
static long count;
static bool hit, full;
static bool writable[MAX_FD];

static void arm(fault_kind kind, long n) {
    if (n_armed == MAX_FAULTS) return;
    armed[n_armed].kind = kind;
    armed[n_armed++].at = n;
}

void fault_at(fault_kind kind, long n) {
    pthread_mutex_lock(&guard);
    n_armed = 0;
    count = 0;
    hit = full = false;
    arm(kind, n);
    pthread_mutex_unlock(&guard);
}

long fault_count(void) {
    return count;
}
bool fault_hit(void) {
    return hit;
}

/* Counts an operation and says what is to become of it. */
static fault_kind next(void) {
    pthread_mutex_lock(&guard);
    count++;
    fault_kind now = full ? FAULT_FULL : FAULT_NONE;
    for (int i = 0; i < n_armed; i++) {
        if (armed[i].kind == FAULT_NONE || count != armed[i].at) continue;
        hit = true;
        now = armed[i].kind;
        full = full || now == FAULT_FULL;
    }
    pthread_mutex_unlock(&guard);
    return now;
}

static void die(void) {
    kill(getpid(), SIGKILL);
}

/* An operation other than write: true = it fails, errno says why. */
static bool fails(fault_kind k, need n, bool interruptible) {
    switch (k) {
    case FAULT_FULL:
        if (n != NEEDS_SPACE) return false;
        errno = ENOSPC;
        return true;
    case FAULT_ENOSPC: errno = n == NEEDS_SPACE ? ENOSPC : EIO; return true;
    case FAULT_EIO: errno = EIO; return true;
    case FAULT_EINTR: errno = EINTR; return interruptible;
    case FAULT_KILL: die(); return false;
    default: return false;
    }
}

/* ------------------------------------------------------------------ the calls */

int __real_open(const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t n);
int __real_ftruncate(int fd, off_t n);
int __real_close(int fd);
int __real_rename(const char *a, const char *b);
int __real_renameat2(int da, const char *a, int db, const char *b, unsigned flags);
int __real_mkdir(const char *path, mode_t mode);
int __real_symlink(const char *target, const char *path);
int __real_unlink(const char *path);
int __real_rmdir(const char *path);

int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_write(int fd, const void *data, size_t n);
int __wrap_fsync(int fd);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_close(int fd);
int __wrap_rename(const char *a, const char *b);
int __wrap_renameat2(int da, const char *a, int db, const char *b, unsigned flags);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_symlink(const char *target, const char *path);
int __wrap_unlink(const char *path);
int __wrap_rmdir(const char *path);

/* The value of `call` between the two moments at which a kill may come. */
#define OPERATION(needs, interruptible, call)                                                      \
    do {                                                                                           \
        fault_kind k_ = next();                                                                    \
        if (fails(k_, needs, interruptible)) return -1;                                            \
        int r_ = call;                                                                             \
        if (k_ == FAULT_TORN) die();                                                               \
        return r_;                                                                                 \
    } while (0)

static int open_to_write(const char *path, int flags, mode_t mode) {
    OPERATION(NEEDS_SPACE, true, __real_open(path, flags, mode));
}

int __wrap_open(const char *path, int flags, ...) {
    if (!(flags & O_CREAT)) return __real_open(path, flags);
    va_list args;
    va_start(args, flags);
    mode_t mode = (mode_t)va_arg(args, int); /* NOLINT: clang-tidy 14, second target of a file */
    va_end(args);
    int fd = open_to_write(path, flags, mode);
    if (fd >= 0 && fd < MAX_FD) writable[fd] = true;
    return fd;
}

ssize_t __wrap_write(int fd, const void *data, size_t n) {
    if (fd < 0 || fd >= MAX_FD || !writable[fd]) return __real_write(fd, data, n);
    fault_kind k = next();
    if (fails(k, NEEDS_SPACE, true)) return -1;
    size_t half = n > 1 ? n / 2 : n;
    if (k == FAULT_SHORT) return __real_write(fd, data, half);
    if (k == FAULT_TORN && __real_write(fd, data, half) >= 0) die();
    if (k != FAULT_FLIP || n == 0) return __real_write(fd, data, n);
    char *copy = malloc(n);
    memcpy(copy, data, n);
    copy[n / 2] = (char)(copy[n / 2] ^ 4);
    ssize_t r = __real_write(fd, copy, n);
    free(copy);
    return r;
}

/* Nothing is waited for: a process that dies loses nothing that the system has, and only the power
 * of the machine could tell the difference. */
int __wrap_fsync(int fd) {
    OPERATION(NEEDS_DISK, true, fd >= 0 ? 0 : -1);
}

int __wrap_ftruncate(int fd, off_t n) {
    OPERATION(ONLY_FREES, false, __real_ftruncate(fd, n));
}

int __wrap_close(int fd) {
    if (fd < 0 || fd >= MAX_FD || !writable[fd]) return __real_close(fd);
    writable[fd] = false;
    fault_kind k = next();
    bool failed = fails(k, NEEDS_DISK, true);
    int why = errno, r = __real_close(fd);
    if (k == FAULT_TORN) die();
    if (failed) errno = why;
    return failed ? -1 : r;
}

int __wrap_rename(const char *a, const char *b) {
    OPERATION(NEEDS_SPACE, false, __real_rename(a, b));
}

int __wrap_renameat2(int da, const char *a, int db, const char *b, unsigned flags) {
    OPERATION(NEEDS_SPACE, false, __real_renameat2(da, a, db, b, flags));
}

int __wrap_mkdir(const char *path, mode_t mode) {
    OPERATION(NEEDS_SPACE, false, __real_mkdir(path, mode));
}

int __wrap_symlink(const char *target, const char *path) {
    OPERATION(NEEDS_SPACE, false, __real_symlink(target, path));
}

int __wrap_unlink(const char *path) {
    OPERATION(ONLY_FREES, false, __real_unlink(path));
}

int __wrap_rmdir(const char *path) {
    OPERATION(ONLY_FREES, false, __real_rmdir(path));
}

/* ------------------------------------------------------------------ whole programs */

static const char *count_file;

static void write_count(void) {
    FILE *f = fopen(count_file, "w");
    if (!f) return;
    fprintf(f, "%ld\n", count);
    fclose(f);
}

static void read_fault(const char *text, size_t n) {
    const char *colon = memchr(text, ':', n);
    if (!colon) return;
    size_t name = (size_t)(colon - text);
    if (name == 5 && strncmp(text, "count", name) == 0) {
        count_file = colon + 1;
        atexit(write_count);
    }
    for (int k = 0; k < FAULT_KINDS; k++)
        if (strlen(fault_names[k]) == name && strncmp(text, fault_names[k], name) == 0)
            arm((fault_kind)k, strtol(colon + 1, NULL, 10));
}

__attribute__((constructor)) static void read_environment(void) {
    for (const char *text = getenv("QL_FAULT"); text;) {
        const char *end = strchr(text, ',');
        read_fault(text, end ? (size_t)(end - text) : strlen(text));
        text = end ? end + 1 : NULL;
    }
}
