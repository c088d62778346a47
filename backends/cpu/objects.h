/*
 * objects.h - buffers, queues and events of the CPU backend: their entries of the backend table.
 *
 * ql_cpu_ledger is the mutable part of a device: what is allocated, and the lock that events of
 * all its queues share.
 */
#ifndef QLORA_BACKENDS_CPU_OBJECTS_H
#define QLORA_BACKENDS_CPU_OBJECTS_H

#include <pthread.h>

#include "backends/cpu/cpu.h"

typedef struct ql_cpu_ledger {
    pthread_mutex_t lock;   /* guards all below and the state of events */
    pthread_cond_t changed; /* an event has completed                   */
    uint64_t limit, used;   /* bytes; limit 0 = none                    */
    bool inline_queue;      /* the first queue, which runs in its caller's thread, exists */
} ql_cpu_ledger;

/* Work on a queue. Operators and transfers run where ql_cpu_submit decides: at once on the inline
 * queue, later in the worker thread of any other. */
typedef enum ql_cpu_job_kind {
    QL_CPU_JOB_OP,
    QL_CPU_JOB_COPY,
    QL_CPU_JOB_RECORD,
    QL_CPU_JOB_WAIT
} ql_cpu_job_kind;

typedef struct ql_cpu_event ql_cpu_event;

typedef struct ql_cpu_job {
    ql_cpu_job_kind kind;
    union {
        struct {
            ql_op id;
            ql_op_args args;
        } op;
        struct {
            void *dst;
            const void *src;
            uint64_t len;
        } copy;
        struct {
            ql_cpu_event *event; /* counted reference */
            uint64_t turn;       /* which recording of the event */
        } sync;
    } u;
} ql_cpu_job;

QL_NODISCARD ql_status ql_cpu_submit(ql_queue *q, const ql_cpu_job *job);

/* backend.c: runs one operator now. */
QL_NODISCARD ql_status ql_cpu_run_op(ql_queue *q, ql_op id, const ql_op_args *args);

/* buffer.c */
QL_NODISCARD ql_status ql_cpu_buffer_advise(ql_buffer *buf, uint64_t off, uint64_t len,
                                            ql_advice what);
ql_status ql_cpu_buffer_alloc(ql_device *dev, ql_mem mem, uint64_t size, ql_buffer **out);
ql_status ql_cpu_buffer_wrap(ql_device *dev, void *host, uint64_t size, ql_buffer **out);
void ql_cpu_buffer_free(ql_buffer *buf);

/* queue.c */
ql_status ql_cpu_queue_create(ql_device *dev, ql_queue **out);
void ql_cpu_queue_destroy(ql_queue *q);
ql_status ql_cpu_queue_flush(ql_queue *q);
ql_status ql_cpu_queue_sync(ql_queue *q);
ql_status ql_cpu_write(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src, uint64_t len);
ql_status ql_cpu_read(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len);
ql_status ql_cpu_copy(ql_queue *q, ql_buffer *dst, uint64_t doff, ql_buffer *src, uint64_t soff,
                      uint64_t len);
ql_status ql_cpu_advise(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what);

/* event.c */
ql_status ql_cpu_event_create(ql_device *dev, ql_event **out);
void ql_cpu_event_destroy(ql_event *e);
ql_status ql_cpu_event_record(ql_event *e, ql_queue *q);
ql_status ql_cpu_event_wait(ql_queue *q, ql_event *e);
ql_status ql_cpu_event_sync(ql_event *e);
ql_status ql_cpu_event_elapsed(ql_event *from, ql_event *to, double *seconds);
/* Called by the queue that reaches the job; each drops the job's reference. */
void ql_cpu_event_complete(ql_cpu_event *e, uint64_t turn);
void ql_cpu_event_await(ql_cpu_event *e, uint64_t turn);

#endif
