/* crew.c - see crew.h. */
#include "core/loftq/crew.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/base/hostmem.h"

typedef struct outcome {
    bool done;
    ql_status status;
    char why[512]; /* the message, which lives in the worker's thread */
} outcome;

struct ql_crew {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any of what follows */
    int64_t jobs, next, taken;
    bool stop;
    outcome *ring; /* of job i: ring[i % threads] */
    ql_status (*fn)(void *, int64_t);
    void *user;
    int threads, started;
    pthread_t thread[QL_CREW_MAX_THREADS];
};

/* The next job, or -1 when there is none for this worker any more. The lock is held. */
static int64_t wait_for_job(ql_crew *p) {
    while (!p->stop && p->next < p->jobs && p->next >= p->taken + p->threads)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->stop || p->next >= p->jobs) return -1;
    return p->next++;
}

static void *work(void *arg) {
    ql_crew *p = arg;
    pthread_mutex_lock(&p->lock);
    for (int64_t i; (i = wait_for_job(p)) >= 0;) {
        pthread_mutex_unlock(&p->lock);
        ql_status s = p->fn(p->user, i);
        pthread_mutex_lock(&p->lock);
        outcome *o = &p->ring[i % p->threads];
        o->status = s;
        o->done = true;
        snprintf(o->why, sizeof o->why, "%s", s == QL_OK ? "" : ql_last_error());
        if (s != QL_OK) p->stop = true;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

ql_status ql_crew_start(int threads, int64_t jobs, ql_status (*fn)(void *, int64_t), void *user,
                        ql_crew **out) {
    if (threads < 1 || threads > QL_CREW_MAX_THREADS)
        return QL_FAIL(QL_ERR_INVALID, "%d threads: expected 1 to %d", threads,
                       QL_CREW_MAX_THREADS);
    ql_crew *p = ql_host_calloc(1, sizeof *p);
    outcome *ring = ql_host_calloc((size_t)threads, sizeof *ring);
    if (!p || !ring) {
        ql_host_free(p);
        ql_host_free(ring);
        return QL_NOMEM("threads");
    }
    p->jobs = jobs;
    p->ring = ring;
    p->fn = fn;
    p->user = user;
    p->threads = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    for (; p->started < threads; p->started++)
        if (pthread_create(&p->thread[p->started], NULL, work, p) != 0) break;
    if (p->started == 0 && jobs > 0) {
        ql_crew_stop(p);
        return QL_FAIL(QL_ERR_NOMEM_HOST, "the system gives no thread to work on weights");
    }
    *out = p;
    return QL_OK;
}

ql_status ql_crew_take(ql_crew *p, int64_t i) {
    outcome *o = &p->ring[i % p->threads];
    pthread_mutex_lock(&p->lock);
    if (i != p->taken || i >= p->jobs) {
        pthread_mutex_unlock(&p->lock);
        return QL_FAIL(QL_ERR_INTERNAL, "crew: job %lld is taken out of order", (long long)i);
    }
    /* A job that failed stops the others, but those before it are running and will end. */
    while (!o->done && !(p->stop && p->next <= i)) pthread_cond_wait(&p->changed, &p->lock);
    outcome mine = *o;
    *o = (outcome){0};
    p->taken++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (!mine.done)
        return QL_FAIL(QL_ERR_CANCELLED, "crew: job %lld was not started", (long long)i);
    return mine.status == QL_OK ? QL_OK : QL_FAIL(mine.status, "%s", mine.why);
}

void ql_crew_stop(ql_crew *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    ql_host_free(p->ring);
    ql_host_free(p);
}
