/*
 * event.c - events as counters.
 *
 * Recording an event takes the next turn; the queue that reaches the recording completes that turn.
 * A wait names the turn that was the latest when the wait was asked for, so recording again later
 * does not delay it, and an event that was never recorded is waited for in no time. An event lives
 * until its owner and every job that names it have let go.
 */
#define _GNU_SOURCE
#include "backends/cpu/objects.h"

#include <stdlib.h>
#include <time.h>

struct ql_cpu_event {
    ql_event base;
    ql_cpu_ledger *ledger;   /* its lock guards the fields below */
    uint64_t recorded, done; /* turns                            */
    int refs;
    double time; /* seconds of the monotonic clock at `done` */
};

/* Takes one more reference for a job and tells the turn to act on. */
static ql_cpu_job job_of(ql_cpu_event *e, ql_cpu_job_kind kind) {
    ql_cpu_job job = {.kind = kind};
    pthread_mutex_lock(&e->ledger->lock);
    if (kind == QL_CPU_JOB_RECORD) e->recorded++;
    job.u.sync.event = e;
    job.u.sync.turn = e->recorded;
    e->refs++;
    pthread_mutex_unlock(&e->ledger->lock);
    return job;
}

/* Drops a reference; the lock is held and is released here. */
static void unlock_and_drop(ql_cpu_event *e) {
    ql_cpu_ledger *ledger = e->ledger;
    bool last = --e->refs == 0;
    pthread_mutex_unlock(&ledger->lock);
    if (last) free(e);
}

ql_status ql_cpu_event_create(ql_device *dev, ql_event **out) {
    ql_cpu_event *e = calloc(1, sizeof *e);
    if (!e) return QL_FAIL(QL_ERR_NOMEM_HOST, "cpu: out of host memory for an event");
    e->base.dev = dev;
    e->ledger = ((ql_cpu_device *)dev)->ledger;
    e->refs = 1;
    *out = &e->base;
    return QL_OK;
}

void ql_cpu_event_destroy(ql_event *base) {
    ql_cpu_event *e = (ql_cpu_event *)base;
    if (!e) return;
    pthread_mutex_lock(&e->ledger->lock);
    unlock_and_drop(e);
}

ql_status ql_cpu_event_record(ql_event *base, ql_queue *q) {
    ql_cpu_job job = job_of((ql_cpu_event *)base, QL_CPU_JOB_RECORD);
    return ql_cpu_submit(q, &job);
}

ql_status ql_cpu_event_wait(ql_queue *q, ql_event *base) {
    ql_cpu_job job = job_of((ql_cpu_event *)base, QL_CPU_JOB_WAIT);
    return ql_cpu_submit(q, &job);
}

/* Waits for a turn; the lock is held. */
static void wait_locked(ql_cpu_event *e, uint64_t turn) {
    while (e->done < turn) pthread_cond_wait(&e->ledger->changed, &e->ledger->lock);
}

ql_status ql_cpu_event_sync(ql_event *base) {
    ql_cpu_event *e = (ql_cpu_event *)base;
    pthread_mutex_lock(&e->ledger->lock);
    wait_locked(e, e->recorded);
    pthread_mutex_unlock(&e->ledger->lock);
    return QL_OK;
}

void ql_cpu_event_complete(ql_cpu_event *e, uint64_t turn) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&e->ledger->lock);
    if (turn > e->done) {
        e->done = turn;
        e->time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    pthread_cond_broadcast(&e->ledger->changed);
    unlock_and_drop(e);
}

void ql_cpu_event_await(ql_cpu_event *e, uint64_t turn) {
    pthread_mutex_lock(&e->ledger->lock);
    wait_locked(e, turn);
    unlock_and_drop(e);
}

ql_status ql_cpu_event_elapsed(ql_event *from_base, ql_event *to_base, double *seconds) {
    ql_cpu_event *from = (ql_cpu_event *)from_base, *to = (ql_cpu_event *)to_base;
    pthread_mutex_lock(&from->ledger->lock);
    wait_locked(from, from->recorded);
    wait_locked(to, to->recorded);
    bool recorded = from->done > 0 && to->done > 0;
    double elapsed = to->time - from->time;
    pthread_mutex_unlock(&from->ledger->lock);
    if (!recorded)
        return QL_FAIL(QL_ERR_INVALID, "cpu: elapsed time between events that were not recorded");
    *seconds = elapsed;
    return QL_OK;
}
