/*
 * fs.c - reading, and folders: half of the POSIX side of fs.h (fs_write.c: the other).
 *
 * Nothing here recurses: folders are removed with an explicit path that grows and shrinks. Files
 * are opened O_NONBLOCK first, so a FIFO with a model's name cannot hang the program.
 */
#define _POSIX_C_SOURCE 200809L
#include "core/base/fs_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/hostmem.h"

/* ----------------------------------------------------------------- messages */

ql_status ql_io_fail(const char *path, const char *doing) {
    int e = errno;
    ql_status s = e == ENOENT ? QL_ERR_NOT_FOUND : QL_ERR_IO;
    return QL_FAIL(s, "%s: cannot %s: %s", path, doing, strerror(e));
}

/* ------------------------------------------------------------------ reading */

static ql_status open_regular(const char *path, int *fd_out, uint64_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return ql_io_fail(path, "open");
    struct stat st;
    if (fstat(fd, &st) != 0) {
        ql_status s = ql_io_fail(path, "read its size");
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
            ql_status s = ql_io_fail(path, "map");
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

void ql_file_drop_cache(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* Reads up to `len` bytes; *got is less only at the end of the file. */
static ql_status read_fully(int fd, const char *path, char *buf, size_t len, size_t *got) {
    size_t n = 0;
    while (n < len) {
        ssize_t r = read(fd, buf + n, len - n);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return ql_io_fail(path, "read");
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

ql_status ql_link_read(const char *path, char target[QL_PATH_MAX]) {
    char text[QL_PATH_MAX];
    ssize_t n = readlink(path, text, sizeof text - 1);
    if (n < 0) return ql_io_fail(path, "read the link");
    text[n] = '\0';
    memcpy(target, text, (size_t)n + 1);
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
ql_status ql_path_trim(char out[QL_PATH_MAX], const char *path) {
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
    QL_TRY(ql_path_trim(p, path));
    for (char *at = p + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char keep = *at;
        *at = '\0';
        bool made = mkdir(p, 0777) == 0;
        if (!made && !ql_dir_exists(p)) return ql_io_fail(p, "create the folder");
        if (made) QL_TRY(ql_sync_parent(p));
        if (keep == '\0') return QL_OK;
        *at = keep;
    }
}

/* One pass over the folder `p`: removes its files and leaves the name of its first subfolder in
 * `sub` ("" = none, the folder is empty). */
static ql_status remove_files(const char *p, char sub[QL_PATH_MAX]) {
    DIR *d = opendir(p);
    if (!d) return ql_io_fail(p, "list the folder");
    ql_status s = QL_OK;
    sub[0] = '\0';
    for (struct dirent *e; s == QL_OK && sub[0] == '\0' && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char child[QL_PATH_MAX];
        struct stat st;
        s = ql_path_join(child, p, e->d_name);
        if (s != QL_OK) break;
        if (lstat(child, &st) != 0) {
            s = ql_io_fail(child, "look at");
        } else if (S_ISDIR(st.st_mode)) {
            memcpy(sub, child, strlen(child) + 1);
        } else if (unlink(child) != 0) {
            s = ql_io_fail(child, "remove");
        }
    }
    closedir(d);
    return s;
}

ql_status ql_dir_remove(const char *path) {
    char p[QL_PATH_MAX], sub[QL_PATH_MAX];
    QL_TRY(ql_path_trim(p, path));
    size_t root = strlen(p);
    struct stat st;
    if (lstat(p, &st) != 0) return errno == ENOENT ? QL_OK : ql_io_fail(p, "look at");
    if (!S_ISDIR(st.st_mode)) {
        return QL_FAIL(QL_ERR_IO, "%s: expected a folder to remove, it is a file", p);
    }
    for (;;) {
        QL_TRY(remove_files(p, sub));
        if (sub[0] != '\0') {
            memcpy(p, sub, strlen(sub) + 1);
            continue;
        }
        if (rmdir(p) != 0) return ql_io_fail(p, "remove the folder");
        if (strlen(p) <= root) return QL_OK;
        *strrchr(p, '/') = '\0';
    }
}

ql_status ql_file_remove(const char *path) {
    return unlink(path) == 0 || errno == ENOENT ? QL_OK : ql_io_fail(path, "remove");
}

ql_status ql_path_remove(const char *path) {
    struct stat st;
    if (lstat(path, &st) != 0) return errno == ENOENT ? QL_OK : ql_io_fail(path, "look at");
    return S_ISDIR(st.st_mode) ? ql_dir_remove(path) : ql_file_remove(path);
}

/* Names of a folder while they are read: one after the other, NUL-terminated, in `text`. */
typedef struct name_list {
    char *text;
    size_t cap, len, n;
} name_list;

static ql_status read_names(const char *path, name_list *l) {
    DIR *d = opendir(path);
    if (!d) return ql_io_fail(path, "list the folder");
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
