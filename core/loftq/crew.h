/*
 * crew.h - numbered jobs done ahead by threads and taken in order.
 *
 * Each job writes to a place of its own, so what comes out does not depend on the number of
 * threads. At most `threads` jobs are running or done and not yet taken: that bounds the memory.
 */
#ifndef QLORA_CORE_LOFTQ_CREW_H
#define QLORA_CORE_LOFTQ_CREW_H

#include <stdint.h>

#include "qlora/status.h"

typedef struct ql_crew ql_crew;
/* fn(user, i) for i = 0 .. jobs - 1, on 1 <= threads <= QL_CREW_MAX_THREADS threads. */
enum { QL_CREW_MAX_THREADS = 256 };
QL_NODISCARD ql_status ql_crew_start(int threads, int64_t jobs, ql_status (*fn)(void *, int64_t),
                                     void *user, ql_crew **out);
/* Waits for job i and gives its status, with its message for the calling thread. Jobs are taken in
 * ascending order; taking one lets another start. */
QL_NODISCARD ql_status ql_crew_take(ql_crew *p, int64_t i);
/* Waits for the running jobs; no others start. NULL ok. */
void ql_crew_stop(ql_crew *p);

#endif /* QLORA_CORE_LOFTQ_CREW_H */
