/*
 * queue.c - queues and transfers.
 *
 * The first queue of a device runs every job in its caller's thread, at once: operators are already
 * parallel inside. Every further queue owns one worker thread and a first-in-first-out ring, so
 * that copies run beside the operators. A full ring makes the caller wait; that cannot block for
 * ever, because a job waits only for events whose recording was submitted before it.
 */
#define _GNU_SOURCE
#include "backends/cpu/objects.h"

#include <stdio.h>
#include <stdlib.h>

enum { RING = 64 }; /* jobs; a page schedule has a few copies under way at a time */

typedef struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, less; /* a job came or the end was asked for; a job was finished */
    uint64_t head, tail;       /* jobs finished, jobs submitted */
    bool stop;
    ql_status failed; /* first failure since the last sync */
    char message[256];
    ql_cpu_job ring[RING];
} worker;

typedef struct cpu_queue {
    ql_queue base;
    worker *worker; /* owned; NULL = inline */
} cpu_queue;

static ql_status run_job(ql_queue *q, const ql_cpu_job *job) {
    switch (job->kind) {
    case QL_CPU_JOB_OP: return ql_cpu_run_op(q, job->u.op.id, &job->u.op.args);
    case QL_CPU_JOB_COPY:
        memmove(job->u.copy.dst, job->u.copy.src, (size_t)job->u.copy.len);
        return QL_OK;
    case QL_CPU_JOB_RECORD:
        ql_cpu_event_complete(job->u.sync.event, job->u.sync.turn);
        return QL_OK;
    case QL_CPU_JOB_WAIT: ql_cpu_event_await(job->u.sync.event, job->u.sync.turn); return QL_OK;
    }
    return QL_FAIL(QL_ERR_INTERNAL, "cpu: unknown job kind %d", (int)job->kind);
}

static void *worker_main(void *arg) {
    cpu_queue *q = arg;
    worker *w = q->worker;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->head == w->tail && !w->stop) pthread_cond_wait(&w->more, &w->lock);
        if (w->head == w->tail) break;
        const ql_cpu_job *job = &w->ring[w->head % RING];
        pthread_mutex_unlock(&w->lock);
        ql_status s = run_job(&q->base, job);
        pthread_mutex_lock(&w->lock);
        if (s != QL_OK && w->failed == QL_OK) {
            w->failed = s;
            snprintf(w->message, sizeof w->message, "%s", ql_last_error());
        }
        w->head++;
        pthread_cond_broadcast(&w->less);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

ql_status ql_cpu_submit(ql_queue *base, const ql_cpu_job *job) {
    worker *w = ((cpu_queue *)base)->worker;
    if (!w) return run_job(base, job);
    pthread_mutex_lock(&w->lock);
    while (w->tail - w->head == RING) pthread_cond_wait(&w->less, &w->lock);
    w->ring[w->tail % RING] = *job;
    w->tail++;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return QL_OK;
}

static ql_status worker_start(cpu_queue *q) {
    worker *w = q->worker = calloc(1, sizeof *w);
    if (!w) return QL_FAIL(QL_ERR_NOMEM_HOST, "cpu: out of host memory for a queue");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    pthread_cond_init(&w->less, NULL);
    int error = pthread_create(&w->thread, NULL, worker_main, q);
    if (error == 0) return QL_OK;
    free(w);
    return QL_FAIL(QL_ERR_DRIVER, "cpu: no thread for a copy queue: error %d (%s)", error,
                   strerror(error));
}

ql_status ql_cpu_queue_create(ql_device *dev, ql_queue **out) {
    ql_cpu_ledger *ledger = ((ql_cpu_device *)dev)->ledger;
    cpu_queue *q = calloc(1, sizeof *q);
    if (!q) return QL_FAIL(QL_ERR_NOMEM_HOST, "cpu: out of host memory for a queue");
    q->base.dev = dev;
    pthread_mutex_lock(&ledger->lock);
    bool first = !ledger->inline_queue;
    if (first) ledger->inline_queue = true;
    pthread_mutex_unlock(&ledger->lock);
    ql_status s = first ? QL_OK : worker_start(q);
    if (s != QL_OK) {
        free(q);
        return s;
    }
    *out = &q->base;
    return QL_OK;
}

void ql_cpu_queue_destroy(ql_queue *base) {
    cpu_queue *q = (cpu_queue *)base;
    if (!q) return;
    worker *w = q->worker;
    if (w) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->more);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->less);
        pthread_cond_destroy(&w->more);
        pthread_mutex_destroy(&w->lock);
        free(w);
    } else {
        ql_cpu_ledger *ledger = ((ql_cpu_device *)base->dev)->ledger;
        pthread_mutex_lock(&ledger->lock);
        ledger->inline_queue = false;
        pthread_mutex_unlock(&ledger->lock);
    }
    free(q);
}

ql_status ql_cpu_queue_flush(ql_queue *q) {
    (void)q; /* jobs start by themselves */
    return QL_OK;
}

ql_status ql_cpu_queue_sync(ql_queue *base) {
    worker *w = ((cpu_queue *)base)->worker;
    char message[sizeof w->message];
    if (!w) return QL_OK;
    pthread_mutex_lock(&w->lock);
    while (w->head != w->tail) pthread_cond_wait(&w->less, &w->lock);
    ql_status s = w->failed;
    memcpy(message, w->message, sizeof message);
    w->failed = QL_OK;
    pthread_mutex_unlock(&w->lock);
    return s == QL_OK ? QL_OK : QL_FAIL(s, "%s", message);
}

/* ---------------------------------------------------------------- transfers */

static ql_status check_range(const char *what, const ql_buffer *buf, uint64_t off, uint64_t len) {
    if (off <= buf->size && len <= buf->size - off) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "cpu: %s of %llu bytes at %llu in a buffer of %llu", what,
                   (unsigned long long)len, (unsigned long long)off, (unsigned long long)buf->size);
}

static ql_status submit_copy(ql_queue *q, void *dst, const void *src, uint64_t len) {
    ql_cpu_job job = {.kind = QL_CPU_JOB_COPY, .u.copy = {.dst = dst, .src = src, .len = len}};
    return len == 0 ? QL_OK : ql_cpu_submit(q, &job);
}

/* The host side of write and read may be any memory of the caller, so both return when it is no
 * longer needed. Copies between buffers do not wait. */
ql_status ql_cpu_write(ql_queue *q, ql_buffer *dst, uint64_t off, const void *src, uint64_t len) {
    QL_TRY(check_range("write", dst, off, len));
    QL_TRY(submit_copy(q, (char *)dst->host + off, src, len));
    return ql_cpu_queue_sync(q);
}

ql_status ql_cpu_read(ql_queue *q, ql_buffer *src, uint64_t off, void *dst, uint64_t len) {
    QL_TRY(check_range("read", src, off, len));
    QL_TRY(submit_copy(q, dst, (const char *)src->host + off, len));
    return ql_cpu_queue_sync(q);
}

ql_status ql_cpu_copy(ql_queue *q, ql_buffer *dst, uint64_t doff, ql_buffer *src, uint64_t soff,
                      uint64_t len) {
    QL_TRY(check_range("copy to", dst, doff, len));
    QL_TRY(check_range("copy from", src, soff, len));
    return submit_copy(q, (char *)dst->host + doff, (const char *)src->host + soff, len);
}

/* Hints about migration: there is one memory here. */
ql_status ql_cpu_advise(ql_queue *q, ql_buffer *buf, uint64_t off, uint64_t len, ql_advice what) {
    (void)q;
    QL_TRY(check_range("advice", buf, off, len));
    return ql_cpu_buffer_advise(buf, off, len, what);
}
