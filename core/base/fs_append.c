/*
 * fs_append.c - a file that grows by whole records (see fs.h).
 *
 * A record that cannot be written whole is cut off again, so that a full disk leaves whole records
 * and a later one does not start in the middle of a torn one.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fs_impl.h"
#include "core/base/hostmem.h"

struct ql_appender {
    int fd;
    char path[QL_PATH_MAX];
};

ql_status ql_append_open(const char *path, ql_appender **out) {
    ql_appender *a = ql_host_calloc(1, sizeof *a);
    if (!a) return QL_NOMEM(path);
    ql_status s = ql_path_trim(a->path, path);
    a->fd = -1;
    while (s == QL_OK && a->fd < 0) {
        a->fd = open(a->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
        if (a->fd < 0 && errno != EINTR) s = ql_io_fail(path, "open");
    }
    if (s != QL_OK) {
        ql_host_free(a);
        return s;
    }
    *out = a;
    return QL_OK;
}

ql_status ql_append(ql_appender *a, const void *record, size_t len) {
    struct stat before;
    if (fstat(a->fd, &before) != 0) return ql_io_fail(a->path, "read its size");
    ql_status s = ql_write_fully(a->fd, a->path, record, len);
    if (s == QL_OK || ftruncate(a->fd, before.st_size) == 0) return s;
    return QL_FAIL(s, "%s: cannot write a whole record, nor cut off the part that was written",
                   a->path);
}

ql_status ql_append_sync(ql_appender *a) {
    return ql_sync_fd(a->fd) == 0 || errno == EINVAL ? QL_OK : ql_io_fail(a->path, "flush to disk");
}

void ql_append_close(ql_appender *a) {
    if (!a) return;
    close(a->fd);
    ql_host_free(a);
}
