/* lock.c - a POSIX record lock on a whole file (see lock.h). */
#define _POSIX_C_SOURCE 200809L
#include "core/base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fs_impl.h"
#include "core/base/hostmem.h"

#define TRIES 100 /* owners that went between our opening and our locking */

struct ql_lock {
    int fd;
    char path[QL_PATH_MAX];
};

static bool has_no_locks(int error) {
    return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL;
}

static ql_status is_taken(int fd, const char *path) {
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool known = fcntl(fd, F_GETLK, &f) == 0 && f.l_type != F_UNLCK && f.l_pid > 0;
    if (known)
        return QL_FAIL(QL_ERR_IO,
                       "%s: process %ld is at work in this folder; wait until it ends, or use "
                       "another folder",
                       path, (long)f.l_pid);
    return QL_FAIL(QL_ERR_IO,
                   "%s: another process is at work in this folder; wait until it ends, or use "
                   "another folder",
                   path);
}

/* Is the file at the path the one that is open? An owner that ends removes it. */
static bool is_there(int fd, const char *path) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

ql_status ql_lock_take(const char *path, ql_lock **out) {
    ql_lock *l = ql_host_calloc(1, sizeof *l);
    if (!l) return QL_NOMEM(path);
    ql_status s = ql_path_trim(l->path, path);
    l->fd = -1;
    for (int i = 0; s == QL_OK && i < TRIES; i++) {
        l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
        if (l->fd < 0) {
            s = ql_io_fail(l->path, "create");
            break;
        }
        struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        bool locked = fcntl(l->fd, F_SETLK, &f) == 0;
        if (!locked && !has_no_locks(errno)) s = is_taken(l->fd, l->path);
        if (s == QL_OK && (!locked || is_there(l->fd, l->path))) {
            *out = l;
            return QL_OK;
        }
        close(l->fd);
    }
    if (s == QL_OK)
        s = QL_FAIL(QL_ERR_IO, "%s: cannot be locked, it vanishes again and again", path);
    ql_host_free(l);
    return s;
}

bool ql_lock_is_there(const ql_lock *l) {
    return is_there(l->fd, l->path);
}

void ql_lock_release(ql_lock *l) {
    if (!l) return;
    if (is_there(l->fd, l->path))
        unlink(l->path); /* before the lock goes: nobody can hold it yet */
    close(l->fd);
    ql_host_free(l);
}
