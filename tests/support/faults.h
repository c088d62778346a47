/*
 * faults.h - file operations that fail on purpose: the n-th one from now does what a full disk, a
 * broken one, a signal or a kill would make it do.
 *
 * Linked in with FAULT_LINK_OPTIONS (CMakeLists.txt), which sends every call of open(O_CREAT),
 * write, fsync, ftruncate, rename, renameat2, mkdir, symlink, unlink, rmdir and close (of what was
 * opened for writing) of the linked objects through here. A whole program takes QL_FAULT=KIND:N
 * from its environment, and QL_FAULT=count:FILE writes how many operations there were to FILE.
 */
#ifndef QLORA_TESTS_SUPPORT_FAULTS_H
#define QLORA_TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_ENOSPC, /* it fails for want of space, where that can be; otherwise as EIO        */
    FAULT_FULL,   /* it and every later one that needs space fails; removing goes on working */
    FAULT_EIO,    /* it fails; nothing was done, but a close closes                          */
    FAULT_EINTR,  /* a signal comes first: write, open, fsync and close say so, once         */
    FAULT_SHORT,  /* a write takes half of what it is given                                  */
    FAULT_FLIP,   /* a write writes another bit and says nothing                             */
    FAULT_KILL,   /* SIGKILL before it                                                       */
    FAULT_TORN,   /* SIGKILL after half of a write, or after any other operation             */
    FAULT_KINDS
} fault_kind;

extern const char *const fault_names[FAULT_KINDS];

/* Counting starts anew; the n-th operation (from 1) is the one. FAULT_NONE: only counts. */
void fault_at(fault_kind kind, long n);
long fault_count(void); /* operations since then          */
bool fault_hit(void);   /* was there an n-th one?          */

#endif
