/*
 * fs.h - files: read-only maps, bounded reads, writes that replace atomically, folders.
 *
 * Only fs*.c and lock.c call POSIX file functions. Every message carries path and errno text.
 */
#ifndef QLORA_CORE_BASE_FS_H
#define QLORA_CORE_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlora/status.h"

#define QL_PATH_MAX 4096

/* A whole file mapped PROT_READ, MAP_PRIVATE. Empty files give data == NULL, size 0. */
typedef struct ql_map {
    const uint8_t *data;
    uint64_t size;
} ql_map;
QL_NODISCARD ql_status ql_map_open(const char *path, ql_map *out);
void ql_map_close(ql_map *m);
/* Asks the system to read the file from the disk next time and not from memory, where it can. */
void ql_file_drop_cache(const char *path);

/* Reads a whole regular file of at most max_bytes; *out is NUL-terminated, freed by ql_host_free.
 */
QL_NODISCARD ql_status ql_file_read(const char *path, uint64_t max_bytes, char **out, size_t *len);

bool ql_file_exists(const char *path); /* regular file */
bool ql_dir_exists(const char *path);
QL_NODISCARD ql_status ql_dir_create(const char *path);  /* with parents; exists = ok */
QL_NODISCARD ql_status ql_dir_remove(const char *path);  /* recursively; absent = ok  */
QL_NODISCARD ql_status ql_file_remove(const char *path); /* absent = ok */
/* A folder with all it holds, a file, or a link, not what it points to; absent = ok. */
QL_NODISCARD ql_status ql_path_remove(const char *path);
/* Names of entries (not . and ..), sorted bytewise; one block, free with ql_host_free. */
QL_NODISCARD ql_status ql_dir_list(const char *path, char ***names, size_t *n);
/* "a/b" into out[QL_PATH_MAX]; too long: QL_ERR_INVALID. */
QL_NODISCARD ql_status ql_path_join(char out[QL_PATH_MAX], const char *dir, const char *name);

/* Atomic replacement: bytes go to a temporary beside `path`; commit flushes, fsyncs, renames and
 * fsyncs the folder. Abort (or a failed commit) removes the temporary and leaves `path` as it was.
 * A disk that fills is reported by write or commit. */
typedef struct ql_writer ql_writer;
QL_NODISCARD ql_status ql_writer_open(const char *path, ql_writer **out);
QL_NODISCARD ql_status ql_writer_write(ql_writer *w, const void *data, size_t len);
uint64_t ql_writer_offset(const ql_writer *w);
QL_NODISCARD ql_status ql_writer_commit(ql_writer *w); /* frees w in every case */
void ql_writer_abort(ql_writer *w);                    /* frees w; NULL ok */
/* Whole small file at once through the same steps. */
QL_NODISCARD ql_status ql_file_replace(const char *path, const void *data, size_t len);
/* Replaces folder `path` by the finished folder `staged` (same parent): the old one survives until
 * the new one is in place. */
QL_NODISCARD ql_status ql_dir_replace(const char *staged, const char *path);

/* A folder disappears at once, then its content goes: what a crash leaves is no half folder under
 * its name but a temporary. Absent = ok. */
QL_NODISCARD ql_status ql_dir_discard(const char *path);
/* Symbolic link `path` to `target`, replacing a link that is there. */
QL_NODISCARD ql_status ql_link_replace(const char *target, const char *path);
QL_NODISCARD ql_status ql_link_read(const char *path, char target[QL_PATH_MAX]);
/* Is `name` (without folder) one of the temporaries above, as a killed process leaves them? */
bool ql_is_temporary(const char *name);

/* A file that grows by whole records: each stands in it whole or not at all, on a full disk too. */
typedef struct ql_appender ql_appender;
QL_NODISCARD ql_status ql_append_open(const char *path, ql_appender **out);
QL_NODISCARD ql_status ql_append(ql_appender *a, const void *record, size_t len);
QL_NODISCARD ql_status ql_append_sync(ql_appender *a); /* what was appended outlives the machine */
void ql_append_close(ql_appender *a);                  /* NULL ok */

/* For tests: the n-th write call from now fails with ENOSPC (0 = never). */
void ql_fs_fail_after(long n);

#endif
