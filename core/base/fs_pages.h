/*
 * fs_pages.h - bytes that live on disk and are moved beside other work.
 *
 * A page file has no name and a fixed size that is reserved on the disk at once: a disk that fills
 * later cannot stop a write, nobody can cut it, and it is gone with the process, however that ends.
 * An io queue is one thread that reads and writes files in the order asked for.
 */
#ifndef QLORA_CORE_BASE_FS_PAGES_H
#define QLORA_CORE_BASE_FS_PAGES_H

#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_page_file ql_page_file;
/* `size` bytes, zero at first, in a file in folder `dir`. QL_ERR_IO names the folder and what is
 * missing. */
QL_NODISCARD ql_status ql_page_file_create(const char *dir, uint64_t size, ql_page_file **out);
void ql_page_file_close(ql_page_file *f); /* NULL ok; not while moves are under way */
QL_NODISCARD ql_status ql_page_file_read(const ql_page_file *f, uint64_t off, void *out,
                                         uint64_t n);
QL_NODISCARD ql_status ql_page_file_write(const ql_page_file *f, uint64_t off, const void *in,
                                          uint64_t n);

/* A page file as memory: `size` zeroed bytes that the system may write to the disk and take out of
 * memory whenever it needs room. Reserved on the disk at once, so no later write can fail. */
QL_NODISCARD ql_status ql_pages_map(const char *dir, uint64_t size, void **out);
void ql_pages_unmap(void *data, uint64_t size); /* NULL ok */

typedef struct ql_io_queue ql_io_queue;
QL_NODISCARD ql_status ql_io_queue_create(ql_io_queue **out);
void ql_io_queue_free(ql_io_queue *q); /* finishes what was asked for; NULL ok */
/* Asks for a move; memory and file stay until it is finished. *ticket is what to wait for. A full
 * queue makes the caller wait. */
void ql_io_queue_read(ql_io_queue *q, const ql_page_file *f, uint64_t off, void *out, uint64_t n,
                      uint64_t *ticket);
void ql_io_queue_write(ql_io_queue *q, const ql_page_file *f, uint64_t off, const void *in,
                       uint64_t n, uint64_t *ticket);
/* Waits until the move and all before it are finished (ticket UINT64_MAX: all). The first failure
 * is returned by this and every later wait. */
QL_NODISCARD ql_status ql_io_queue_wait(ql_io_queue *q, uint64_t ticket);

#endif
