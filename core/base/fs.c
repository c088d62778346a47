/*
 * fs.c - the POSIX side of fs.h.
 *
 * Nothing here recurses: folders are removed with an explicit path that grows and shrinks. Files
 * are opened O_NONBLOCK first, so a FIFO with a model's name cannot hang the program.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* renameat2: exchange of two folders in one step */
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include "core/base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/hostmem.h"

#define WRITER_BUFFER_BYTES (1u << 18)
#define TEMP_NAME_TRIES     100

/* ----------------------------------------------------------------- messages */

static ql_status io_fail(const char *path, const char *doing) {
    int e = errno;
    ql_status s = e == ENOENT ? QL_ERR_NOT_FOUND : QL_ERR_IO;
    return QL_FAIL(s, "%s: cannot %s: %s", path, doing, strerror(e));
}

/* ------------------------------------------------------------------ reading */

static ql_status open_regular(const char *path, int *fd_out, uint64_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return io_fail(path, "open");
    struct stat st;
    if (fstat(fd, &st) != 0) {
        ql_status s = io_fail(path, "read its size");
        close(fd);
        return s;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return QL_FAIL(QL_ERR_IO, "%s: expected a regular file, it is %s", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a special file");
    }
    *fd_out = fd;
    *size = (uint64_t)st.st_size;
    return QL_OK;
}

ql_status ql_map_open(const char *path, ql_map *out) {
    int fd;
    uint64_t size;
    QL_TRY(open_regular(path, &fd, &size));
    ql_map m = {NULL, size};
    if (size > SIZE_MAX) {
        close(fd);
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %llu bytes exceed the address space", path,
                       (unsigned long long)size);
    }
    if (size > 0) {
        void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            ql_status s = io_fail(path, "map");
            close(fd);
            return s;
        }
        m.data = p;
    }
    close(fd);
    *out = m;
    return QL_OK;
}

void ql_map_close(ql_map *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, (size_t)m->size);
    *m = (ql_map){NULL, 0};
}

/* Reads up to `len` bytes; *got is less only at the end of the file. */
static ql_status read_fully(int fd, const char *path, char *buf, size_t len, size_t *got) {
    size_t n = 0;
    while (n < len) {
        ssize_t r = read(fd, buf + n, len - n);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return io_fail(path, "read");
        if (r == 0) break;
        n += (size_t)r;
    }
    *got = n;
    return QL_OK;
}

ql_status ql_file_read(const char *path, uint64_t max_bytes, char **out, size_t *len) {
    int fd;
    uint64_t size;
    QL_TRY(open_regular(path, &fd, &size));
    if (size > max_bytes || size >= SIZE_MAX) {
        close(fd);
        return QL_FAIL(QL_ERR_FORMAT, "%s: %llu bytes, at most %llu are read here", path,
                       (unsigned long long)size, (unsigned long long)max_bytes);
    }
    char *buf = ql_host_calloc((size_t)size + 1, 1);
    if (!buf) {
        close(fd);
        return QL_NOMEM(path);
    }
    size_t got = 0;
    ql_status s = read_fully(fd, path, buf, (size_t)size, &got);
    close(fd);
    if (s != QL_OK) {
        ql_host_free(buf);
        return s;
    }
    buf[got] = '\0';
    *out = buf;
    *len = got;
    return QL_OK;
}

/* ------------------------------------------------------------------ folders */

bool ql_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool ql_dir_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

ql_status ql_path_join(char out[QL_PATH_MAX], const char *dir, const char *name) {
    size_t d = strlen(dir), n = strlen(name);
    bool slash = d > 0 && dir[d - 1] != '/';
    if (d + n + slash + 1 > QL_PATH_MAX) {
        return QL_FAIL(QL_ERR_INVALID, "path of %zu characters is too long, at most %d: %.64s...",
                       d + n + slash, QL_PATH_MAX - 1, dir);
    }
    memmove(out, dir, d);
    if (slash) out[d++] = '/';
    memmove(out + d, name, n + 1);
    return QL_OK;
}

/* Copies `path` without trailing slashes. */
static ql_status path_copy(char out[QL_PATH_MAX], const char *path) {
    size_t n = strlen(path);
    if (n == 0) return QL_FAIL(QL_ERR_INVALID, "a path is empty");
    while (n > 1 && path[n - 1] == '/') n--;
    if (n >= QL_PATH_MAX) {
        return QL_FAIL(QL_ERR_INVALID, "path of %zu characters is too long, at most %d: %.64s...",
                       n, QL_PATH_MAX - 1, path);
    }
    memmove(out, path, n);
    out[n] = '\0';
    return QL_OK;
}

ql_status ql_dir_create(const char *path) {
    char p[QL_PATH_MAX];
    QL_TRY(path_copy(p, path));
    for (char *at = p + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char keep = *at;
        *at = '\0';
        if (mkdir(p, 0777) != 0 && !ql_dir_exists(p)) return io_fail(p, "create the folder");
        if (keep == '\0') return QL_OK;
        *at = keep;
    }
}

/* One pass over the folder `p`: removes its files and leaves the name of its first subfolder in
 * `sub` ("" = none, the folder is empty). */
static ql_status remove_files(const char *p, char sub[QL_PATH_MAX]) {
    DIR *d = opendir(p);
    if (!d) return io_fail(p, "list the folder");
    ql_status s = QL_OK;
    sub[0] = '\0';
    for (struct dirent *e; s == QL_OK && sub[0] == '\0' && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char child[QL_PATH_MAX];
        struct stat st;
        s = ql_path_join(child, p, e->d_name);
        if (s != QL_OK) break;
        if (lstat(child, &st) != 0) {
            s = io_fail(child, "look at");
        } else if (S_ISDIR(st.st_mode)) {
            memcpy(sub, child, strlen(child) + 1);
        } else if (unlink(child) != 0) {
            s = io_fail(child, "remove");
        }
    }
    closedir(d);
    return s;
}

ql_status ql_dir_remove(const char *path) {
    char p[QL_PATH_MAX], sub[QL_PATH_MAX];
    QL_TRY(path_copy(p, path));
    size_t root = strlen(p);
    struct stat st;
    if (lstat(p, &st) != 0) return errno == ENOENT ? QL_OK : io_fail(p, "look at");
    if (!S_ISDIR(st.st_mode)) {
        return QL_FAIL(QL_ERR_IO, "%s: expected a folder to remove, it is a file", p);
    }
    for (;;) {
        QL_TRY(remove_files(p, sub));
        if (sub[0] != '\0') {
            memcpy(p, sub, strlen(sub) + 1);
            continue;
        }
        if (rmdir(p) != 0) return io_fail(p, "remove the folder");
        if (strlen(p) <= root) return QL_OK;
        *strrchr(p, '/') = '\0';
    }
}

/* Names of a folder while they are read: one after the other, NUL-terminated, in `text`. */
typedef struct name_list {
    char *text;
    size_t cap, len, n;
} name_list;

static ql_status read_names(const char *path, name_list *l) {
    DIR *d = opendir(path);
    if (!d) return io_fail(path, "list the folder");
    ql_status s = QL_OK;
    for (struct dirent *e; s == QL_OK && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        size_t size = strlen(e->d_name) + 1;
        void *text = l->text;
        s = ql_host_grow(&text, &l->cap, l->len + size, 1);
        l->text = text;
        if (s != QL_OK) break;
        memcpy(l->text + l->len, e->d_name, size);
        l->len += size;
        l->n++;
    }
    closedir(d);
    return s;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

ql_status ql_dir_list(const char *path, char ***names, size_t *n) {
    name_list l = {0};
    ql_status s = read_names(path, &l);
    char **block = NULL;
    if (s == QL_OK) {
        block = ql_host_calloc(1, l.n * sizeof *block + l.len);
        if (!block) s = QL_NOMEM(path);
    }
    if (s == QL_OK) {
        char *text = (char *)(block + l.n);
        if (l.len) memcpy(text, l.text, l.len);
        for (size_t i = 0; i < l.n; i++) {
            block[i] = text;
            text += strlen(text) + 1;
        }
        if (l.n) qsort(block, l.n, sizeof *block, compare_names);
        *names = block;
        *n = l.n;
    }
    ql_host_free(l.text);
    return s;
}

/* ------------------------------------------------------------------ writing */

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

static ql_status write_fully(ql_writer *w, const char *data, size_t len) {
    size_t n = 0;
    while (n < len) {
        ssize_t r = write_some(w->fd, data + n, len - n);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) {
            w->failed = true;
            return io_fail(w->path, "write");
        }
        n += (size_t)r;
    }
    return QL_OK;
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
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST) s = io_fail(path, "create");
    }
    if (s == QL_OK && w->fd < 0) s = io_fail(path, "create a temporary beside it");
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

/* Makes the entry of `path` in its folder durable. File systems that cannot sync folders say
 * EINVAL; that is no failure. */
static ql_status sync_parent(const char *path) {
    char dir[QL_PATH_MAX];
    size_t base = base_offset(path);
    if (base == 0) {
        memcpy(dir, ".", 2);
    } else {
        memcpy(dir, path, base);
        dir[base] = '\0';
    }
    int fd = open(dir, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0) return io_fail(dir, "open the folder");
    ql_status s = fsync(fd) == 0 || errno == EINVAL ? QL_OK : io_fail(dir, "sync the folder");
    close(fd);
    return s;
}

ql_status ql_writer_commit(ql_writer *w) {
    ql_status s = w->failed ? QL_FAIL(QL_ERR_IO, "%s: not saved, an earlier write failed", w->path)
                            : writer_flush(w);
    if (s == QL_OK && fsync(w->fd) != 0) s = io_fail(w->path, "flush to disk");
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0 && s == QL_OK) s = io_fail(w->path, "close");
    if (s == QL_OK && rename(w->temp, w->path) != 0) s = io_fail(w->path, "replace");
    if (s != QL_OK) {
        unlink(w->temp);
    } else {
        s = sync_parent(w->path);
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
    if (errno != EINVAL && errno != ENOSYS) return io_fail(path, "replace the folder");
    char aside[QL_PATH_MAX];
    QL_TRY(temp_name(path, aside));
    if (rename(path, aside) != 0) return io_fail(path, "move the old folder aside");
    if (rename(staged, path) != 0) {
        ql_status s = io_fail(path, "replace the folder");
        return rename(aside, path) == 0 ? s : io_fail(aside, "move the old folder back");
    }
    return rename(aside, staged) == 0 ? QL_OK : io_fail(aside, "move the old folder");
}

ql_status ql_dir_replace(const char *staged, const char *path) {
    char from[QL_PATH_MAX], to[QL_PATH_MAX];
    QL_TRY(path_copy(from, staged));
    QL_TRY(path_copy(to, path));
    if (!ql_dir_exists(from)) return QL_FAIL(QL_ERR_NOT_FOUND, "%s: no such folder", from);
    struct stat st;
    if (lstat(to, &st) != 0) {
        if (errno != ENOENT) return io_fail(to, "look at");
        if (rename(from, to) != 0) return io_fail(to, "create the folder");
        return sync_parent(to);
    }
    if (!S_ISDIR(st.st_mode)) {
        return QL_FAIL(QL_ERR_IO, "%s: expected a folder to replace, it is a file", to);
    }
    QL_TRY(exchange(from, to));
    QL_TRY(sync_parent(to));
    return ql_dir_remove(from);
}
