/* fs_impl.h - what fs.c, fs_write.c and lock.c share. */
#ifndef QLORA_CORE_BASE_FS_IMPL_H
#define QLORA_CORE_BASE_FS_IMPL_H

#include "core/base/fs.h"

/* "PATH: cannot DOING: <errno's text>"; QL_ERR_NOT_FOUND for ENOENT, otherwise QL_ERR_IO. */
QL_NODISCARD ql_status ql_io_fail(const char *path, const char *doing);
/* Copies `path` without trailing slashes. */
QL_NODISCARD ql_status ql_path_trim(char out[QL_PATH_MAX], const char *path);
/* Makes the entry of `path` in its folder durable. */
QL_NODISCARD ql_status ql_sync_parent(const char *path);

#endif
