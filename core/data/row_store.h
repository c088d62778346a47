/*
 * row_store.h - where the tokens of a large data set live: files without names, mapped, so that the
 * system may write them to disk and drop them from memory.
 *
 * The first bytes stay in ordinary memory; a small set never touches a disk. What is mapped is read
 * through the same pointers, so nobody else knows.
 */
#ifndef QLORA_CORE_DATA_ROW_STORE_H
#define QLORA_CORE_DATA_ROW_STORE_H

#include "core/data/dataset.h"

typedef struct ql_row_store ql_row_store;

/* Files are made in folder `dir` once more than `keep_bytes` are held. Copies `dir`. */
QL_NODISCARD ql_status ql_row_store_create(const char *dir, uint64_t keep_bytes,
                                           ql_row_store **out);
void ql_row_store_free(ql_row_store *s); /* NULL ok; what was mapped is gone then */

/* Takes the example's block over when memory has held enough: its pointers move, and it need not be
 * freed. */
QL_NODISCARD ql_status ql_row_store_take(ql_row_store *s, ql_example *e);
/* ql_host_grow for a dataset's items, mapped when they are many. s NULL = in memory. */
QL_NODISCARD ql_status ql_row_store_grow(ql_row_store *s, ql_example **items, size_t *cap,
                                         size_t need);
/* Frees items that ql_row_store_grow gave, wherever they are. */
void ql_row_store_drop(ql_row_store *s, ql_example *items);
/* `to` owns what `from` held; from is freed. Either may be NULL; the owner is returned. NULL of two
 * stores = out of memory, and both are as they were. */
ql_row_store *ql_row_store_join(ql_row_store *to, ql_row_store *from);
uint64_t ql_row_store_mapped(const ql_row_store *s); /* bytes on disk */

#endif
