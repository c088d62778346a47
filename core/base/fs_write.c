/*
 * fs_write.c - files and folders that appear whole or not at all: the writing half of fs.h.
 *
 * What is durable when a call returns: the bytes (fsync of the file), the name (rename, then fsync
 * of the folder that has it). A call that a signal interrupted is made again; a short write goes on
 * behind its end.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* renameat2: exchange of two folders in one step */
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fs_impl.h"
#include "core/base/hostmem.h"

#define WRITER_BUFFER_BYTES (1u << 18)
#define TEMP_NAME_TRIES     100

struct ql_writer {
    int fd;
    char path[QL_PATH_MAX], temp[QL_PATH_MAX];
    uint64_t offset; /* bytes accepted so far */
    size_t used;     /* bytes waiting in buffer */
    bool failed;     /* a write failed: commit must not replace anything */
    char buffer[WRITER_BUFFER_BYTES];
};

static atomic_long write_countdown;
static atomic_ulong temp_counter;

void ql_fs_fail_after(long n) {
    atomic_store(&write_countdown, n);
}

/* write(2), failing on demand as a full disk does. */
static ssize_t write_some(int fd, const void *data, size_t len) {
    long n = atomic_load(&write_countdown);
    while (n > 0) {
        if (!atomic_compare_exchange_weak(&write_countdown, &n, n - 1)) continue;
        if (n > 1) break;
        errno = ENOSPC;
        return -1;
    }
    return write(fd, data, len);
}

ql_status ql_write_fully(int fd, const char *path, const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t r = write_some(fd, at, len);
        if (r < 0 && errno == EINTR) continue;
        if (r == 0) errno = EIO; /* no progress and no reason: never again and again */
        if (r <= 0) return ql_io_fail(path, "write");
        at += r;
        len -= (size_t)r;
    }
    return QL_OK;
}

static ql_status write_fully(ql_writer *w, const void *data, size_t len) {
    ql_status s = ql_write_fully(w->fd, w->path, data, len);
    if (s != QL_OK) w->failed = true;
    return s;
}

/* Position of the last component of `path`. */
static size_t base_offset(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* ".NAME.PID-N.tmp" beside `path`: never the name of a file that a reader looks for. */
static ql_status temp_name(const char *path, char out[QL_PATH_MAX]) {
    size_t base = base_offset(path);
    unsigned long k = atomic_fetch_add(&temp_counter, 1);
    int n = snprintf(out, QL_PATH_MAX, "%.*s.%s.%ld-%lu.tmp", (int)base, path, path + base,
                     (long)getpid(), k);
    if (n < 0 || n >= QL_PATH_MAX) {
        return QL_FAIL(QL_ERR_INVALID, "path is too long for a temporary beside it: %.64s...",
                       path);
    }
    return QL_OK;
}

ql_status ql_writer_open(const char *path, ql_writer **out) {
    ql_writer *w = ql_host_calloc(1, sizeof *w);
    if (!w) return QL_NOMEM(path);
    ql_status s = ql_path_join(w->path, "", path);
    w->fd = -1;
    for (int i = 0; s == QL_OK && w->fd < 0 && i < TEMP_NAME_TRIES; i++) {
        s = temp_name(path, w->temp);
        if (s != QL_OK) break;
        do {
            w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        } while (w->fd < 0 && errno == EINTR);
        if (w->fd < 0 && errno != EEXIST) s = ql_io_fail(path, "create");
    }
    if (s == QL_OK && w->fd < 0) s = ql_io_fail(path, "create a temporary beside it");
    if (s != QL_OK) {
        ql_host_free(w);
        return s;
    }
    *out = w;
    return QL_OK;
}

static ql_status writer_flush(ql_writer *w) {
    size_t n = w->used;
    w->used = 0;
    return write_fully(w, w->buffer, n);
}

ql_status ql_writer_write(ql_writer *w, const void *data, size_t len) {
    if (len > WRITER_BUFFER_BYTES - w->used) QL_TRY(writer_flush(w));
    if (len > WRITER_BUFFER_BYTES) {
        QL_TRY(write_fully(w, data, len));
    } else if (len > 0) {
        memcpy(w->buffer + w->used, data, len);
        w->used += len;
    }
    w->offset += len;
    return QL_OK;
}

uint64_t ql_writer_offset(const ql_writer *w) {
    return w->offset;
}

int ql_sync_fd(int fd) {
    int r;
    do { r = fsync(fd); } while (r != 0 && errno == EINTR);
    return r;
}

/* A signal cannot keep a file open: the descriptor is gone in every case. */
static int close_fd(int fd) {
    return close(fd) == 0 || errno == EINTR ? 0 : -1;
}

/* File systems that cannot sync folders say EINVAL; that is no failure. */
ql_status ql_sync_parent(const char *path) {
    char dir[QL_PATH_MAX];
    size_t base = base_offset(path);
    if (base == 0) {
        memcpy(dir, ".", 2);
    } else {
        memcpy(dir, path, base);
        dir[base] = '\0';
    }
    int fd;
    do { fd = open(dir, O_RDONLY | O_CLOEXEC | O_DIRECTORY); } while (fd < 0 && errno == EINTR);
    if (fd < 0) return ql_io_fail(dir, "open the folder");
    ql_status s =
        ql_sync_fd(fd) == 0 || errno == EINVAL ? QL_OK : ql_io_fail(dir, "sync the folder");
    close(fd);
    return s;
}

ql_status ql_writer_commit(ql_writer *w) {
    ql_status s = w->failed ? QL_FAIL(QL_ERR_IO, "%s: not saved, an earlier write failed", w->path)
                            : writer_flush(w);
    if (s == QL_OK && ql_sync_fd(w->fd) != 0) s = ql_io_fail(w->path, "flush to disk");
    int fd = w->fd;
    w->fd = -1;
    if (close_fd(fd) != 0 && s == QL_OK) s = ql_io_fail(w->path, "close");
    if (s == QL_OK && rename(w->temp, w->path) != 0) s = ql_io_fail(w->path, "replace");
    if (s != QL_OK) {
        unlink(w->temp);
    } else {
        s = ql_sync_parent(w->path);
    }
    ql_host_free(w);
    return s;
}

void ql_writer_abort(ql_writer *w) {
    if (!w) return;
    close(w->fd);
    unlink(w->temp);
    ql_host_free(w);
}

ql_status ql_file_replace(const char *path, const void *data, size_t len) {
    ql_writer *w;
    QL_TRY(ql_writer_open(path, &w));
    ql_status s = ql_writer_write(w, data, len);
    if (s != QL_OK) {
        ql_writer_abort(w);
        return s;
    }
    return ql_writer_commit(w);
}

/* Swaps two folders in one step; false with errno ENOSYS or EINVAL where the system cannot. */
#if defined(RENAME_EXCHANGE)
static bool swap_at_once(const char *a, const char *b) {
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
}
#else
static bool swap_at_once(const char *a, const char *b) {
    (void)a;
    (void)b;
    errno = ENOSYS;
    return false;
}
#endif

/* Puts folder `staged` at `path` and the old one at `staged`. Where one step is impossible, three
 * renames do it; the first is undone when the second fails. */
static ql_status exchange(const char *staged, const char *path) {
    if (swap_at_once(staged, path)) return QL_OK;
    if (errno != EINVAL && errno != ENOSYS) return ql_io_fail(path, "replace the folder");
    char aside[QL_PATH_MAX];
    QL_TRY(temp_name(path, aside));
    if (rename(path, aside) != 0) return ql_io_fail(path, "move the old folder aside");
    if (rename(staged, path) != 0) {
        ql_status s = ql_io_fail(path, "replace the folder");
        return rename(aside, path) == 0 ? s : ql_io_fail(aside, "move the old folder back");
    }
    return rename(aside, staged) == 0 ? QL_OK : ql_io_fail(aside, "move the old folder");
}

ql_status ql_dir_replace(const char *staged, const char *path) {
    char from[QL_PATH_MAX], to[QL_PATH_MAX];
    QL_TRY(ql_path_trim(from, staged));
    QL_TRY(ql_path_trim(to, path));
    if (!ql_dir_exists(from)) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: no such folder", from);
    struct stat st;
    if (lstat(to, &st) != 0) {
        if (errno != ENOENT) return ql_io_fail(to, "look at");
        if (rename(from, to) != 0) return ql_io_fail(to, "create the folder");
        return ql_sync_parent(to);
    }
    if (!S_ISDIR(st.st_mode)) {
        return QL_FAIL(QL_ERR_IO, "%s: expected a folder to replace, it is a file", to);
    }
    QL_TRY(exchange(from, to));
    QL_TRY(ql_sync_parent(to));
    return ql_dir_remove(from);
}

ql_status ql_link_replace(const char *target, const char *path) {
    char temp[QL_PATH_MAX];
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISLNK(st.st_mode))
        return QL_FAIL(QL_ERR_IO, "%s: expected a link to replace, it is something else", path);
    QL_TRY(temp_name(path, temp));
    if (symlink(target, temp) != 0) return ql_io_fail(path, "create the link");
    if (rename(temp, path) == 0) return ql_sync_parent(path);
    ql_status s = ql_io_fail(path, "replace the link");
    unlink(temp);
    return s;
}

ql_status ql_dir_discard(const char *path) {
    char from[QL_PATH_MAX], aside[QL_PATH_MAX];
    QL_TRY(ql_path_trim(from, path));
    QL_TRY(temp_name(from, aside));
    if (rename(from, aside) != 0) return errno == ENOENT ? QL_OK : ql_io_fail(from, "move aside");
    QL_TRY(ql_sync_parent(from));
    return ql_dir_remove(aside);
}

bool ql_is_temporary(const char *name) {
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 4, ".tmp") != 0 || name[0] != '.') return false;
    const char *dot = name + n - 4; /* ".NAME.PID-N" is before it */
    const char *p = dot;
    size_t counter = 0, pid = 0;
    while (p > name && p[-1] >= '0' && p[-1] <= '9') p--, counter++;
    if (!counter || p == name || p[-1] != '-') return false;
    p--;
    while (p > name && p[-1] >= '0' && p[-1] <= '9') p--, pid++;
    return pid && p - name > 2 && p[-1] == '.';
}
