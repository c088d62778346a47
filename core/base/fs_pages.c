/* fs_pages.c - see fs_pages.h. */
#define _GNU_SOURCE
#include "core/base/fs_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

/* ------------------------------------------------------------------ page file */

struct ql_page_file {
    int fd;
    uint64_t size;
};

static ql_status failed(const char *dir, uint64_t size, const char *what, int error) {
    return QL_FAIL(QL_ERR_IO, "%s: no room for a page file of %llu bytes: %s: %s", dir,
                   (unsigned long long)size, what, strerror(error));
}

/* A file descriptor of a file without a name. */
static int open_nameless(const char *dir) {
    char path[QL_PATH_MAX];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
    if (ql_path_join(path, dir, "pages.XXXXXX") != QL_OK) return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
}

ql_status ql_page_file_create(const char *dir, uint64_t size, ql_page_file **out) {
    ql_page_file *f = ql_host_calloc(1, sizeof *f);
    if (!f) return QL_NOMEM("a page file");
    *f = (ql_page_file){.fd = open_nameless(dir), .size = size};
    int error = f->fd < 0 ? errno : posix_fallocate(f->fd, 0, (off_t)size);
    if (error) {
        ql_status s = failed(dir, size, f->fd < 0 ? "open" : "reserve", error);
        ql_page_file_close(f);
        return s;
    }
    *out = f;
    return QL_OK;
}

void ql_page_file_close(ql_page_file *f) {
    if (f && f->fd >= 0) close(f->fd);
    ql_host_free(f);
}

ql_status ql_pages_map(const char *dir, uint64_t size, void **out) {
    ql_page_file *f;
    QL_TRY(ql_page_file_create(dir, size, &f));
    void *p = size <= SIZE_MAX
                  ? mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0)
                  : MAP_FAILED;
    ql_status s = p == MAP_FAILED ? failed(dir, size, "map", errno) : QL_OK;
    ql_page_file_close(f); /* the mapping keeps the file */
    if (s == QL_OK) *out = p;
    return s;
}

void ql_pages_unmap(void *data, uint64_t size) {
    if (data) munmap(data, (size_t)size);
}

static ql_status in_file(const ql_page_file *f, uint64_t off, uint64_t n) {
    if (off <= f->size && n <= f->size - off) return QL_OK;
    return QL_FAIL(QL_ERR_INTERNAL, "page file: %llu bytes at %llu of %llu", (unsigned long long)n,
                   (unsigned long long)off, (unsigned long long)f->size);
}

ql_status ql_page_file_read(const ql_page_file *f, uint64_t off, void *out, uint64_t n) {
    QL_TRY(in_file(f, off, n));
    for (uint64_t done = 0; done < n;) {
        ssize_t got = pread(f->fd, (char *)out + done, n - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return QL_FAIL(QL_ERR_IO, "page file: reading %llu bytes at %llu: %s",
                           (unsigned long long)n, (unsigned long long)off,
                           got < 0 ? strerror(errno) : "it ends before");
        done += (uint64_t)got;
    }
    return QL_OK;
}

ql_status ql_page_file_write(const ql_page_file *f, uint64_t off, const void *in, uint64_t n) {
    QL_TRY(in_file(f, off, n));
    for (uint64_t done = 0; done < n;) {
        ssize_t put = pwrite(f->fd, (const char *)in + done, n - done, (off_t)(off + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0)
            return QL_FAIL(QL_ERR_IO, "page file: writing %llu bytes at %llu: %s",
                           (unsigned long long)n, (unsigned long long)off, strerror(errno));
        done += (uint64_t)put;
    }
    return QL_OK;
}

/* ------------------------------------------------------------------- io queue */

enum { RING = 32 };

typedef struct move {
    const ql_page_file *file;
    uint64_t off, n;
    void *out; /* NULL: a write of `in` */
    const void *in;
} move;

struct ql_io_queue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, less;
    uint64_t head, tail; /* moves finished, asked for */
    bool stop;
    ql_status status; /* the first failure */
    char message[256];
    move ring[RING];
};

static void run(ql_io_queue *q, const move *m) {
    ql_status s = m->out ? ql_page_file_read(m->file, m->off, m->out, m->n)
                         : ql_page_file_write(m->file, m->off, m->in, m->n);
    pthread_mutex_lock(&q->lock);
    if (s != QL_OK && q->status == QL_OK) {
        q->status = s;
        snprintf(q->message, sizeof q->message, "%s", ql_last_error());
    }
    q->head++;
    pthread_cond_broadcast(&q->less);
}

static void *work(void *arg) {
    ql_io_queue *q = arg;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (q->head == q->tail && !q->stop) pthread_cond_wait(&q->more, &q->lock);
        if (q->head == q->tail) break;
        move m = q->ring[q->head % RING];
        pthread_mutex_unlock(&q->lock);
        run(q, &m); /* returns with the lock */
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

ql_status ql_io_queue_create(ql_io_queue **out) {
    ql_io_queue *q = ql_host_calloc(1, sizeof *q);
    if (!q) return QL_NOMEM("an io queue");
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
    pthread_cond_init(&q->less, NULL);
    int error = pthread_create(&q->thread, NULL, work, q);
    if (error) {
        ql_host_free(q);
        return QL_FAIL(QL_ERR_IO, "no thread for file transfers: %s", strerror(error));
    }
    *out = q;
    return QL_OK;
}

void ql_io_queue_free(ql_io_queue *q) {
    if (!q) return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_cond_destroy(&q->less);
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->lock);
    ql_host_free(q);
}

static void submit(ql_io_queue *q, const move *m, uint64_t *ticket) {
    pthread_mutex_lock(&q->lock);
    while (q->tail - q->head == RING) pthread_cond_wait(&q->less, &q->lock);
    q->ring[q->tail++ % RING] = *m;
    *ticket = q->tail;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->lock);
}

void ql_io_queue_read(ql_io_queue *q, const ql_page_file *f, uint64_t off, void *out, uint64_t n,
                      uint64_t *ticket) {
    submit(q, &(move){.file = f, .off = off, .n = n, .out = out}, ticket);
}

void ql_io_queue_write(ql_io_queue *q, const ql_page_file *f, uint64_t off, const void *in,
                       uint64_t n, uint64_t *ticket) {
    submit(q, &(move){.file = f, .off = off, .n = n, .in = in}, ticket);
}

ql_status ql_io_queue_wait(ql_io_queue *q, uint64_t ticket) {
    char message[sizeof q->message];
    pthread_mutex_lock(&q->lock);
    uint64_t until = ticket < q->tail ? ticket : q->tail;
    while (q->head < until) pthread_cond_wait(&q->less, &q->lock);
    ql_status s = q->status;
    memcpy(message, q->message, sizeof message);
    pthread_mutex_unlock(&q->lock);
    return s == QL_OK ? QL_OK : QL_FAIL(s, "%s", message);
}
