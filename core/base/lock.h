/*
 * lock.h - one process at a time: a lock file that its owner's death releases.
 */
#ifndef QLORA_CORE_BASE_LOCK_H
#define QLORA_CORE_BASE_LOCK_H

#include <stdbool.h>

#include "qlora/status.h"

typedef struct ql_lock ql_lock;
/* Takes the lock file `path`, made when absent. QL_ERR_IO names the process that has it. Where the
 * file system knows no locks there is none, and QL_OK is returned. */
QL_NODISCARD ql_status ql_lock_take(const char *path, ql_lock **out);
/* Is the file still the one that was locked? false: its folder was moved away or emptied. */
bool ql_lock_is_there(const ql_lock *l);
/* Removes the file and releases the lock. NULL ok. */
void ql_lock_release(ql_lock *l);

#endif
