/* fs_impl.h - what fs*.c and lock.c share. */
#ifndef QLORA_CORE_BASE_FS_IMPL_H
#define QLORA_CORE_BASE_FS_IMPL_H

#include "core/base/fs.h"

/* "PATH: cannot DOING: <errno's text>"; QL_ERR_NOT_FOUND for ENOENT, otherwise QL_ERR_IO. */
QL_NODISCARD ql_status ql_io_fail(const char *path, const char *doing);
/* Copies `path` without trailing slashes. */
QL_NODISCARD ql_status ql_path_trim(char out[QL_PATH_MAX], const char *path);
/* Makes the entry of `path` in its folder durable. */
QL_NODISCARD ql_status ql_sync_parent(const char *path);
/* All of data, or a sentence; short and interrupted writes are continued. */
QL_NODISCARD ql_status ql_write_fully(int fd, const char *path, const void *data, size_t len);
/* fsync(2), made again when a signal interrupts it; 0 or -1 with errno. */
int ql_sync_fd(int fd);

#endif
