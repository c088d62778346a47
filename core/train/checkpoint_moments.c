/*
 * checkpoint_moments.c - the optimizer's state as a file, read back and compared (see
 * checkpoint_impl.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/checkpoint_impl.h"

/* A region as rows of the optimizer file: name, device buffer, element offset. */
typedef struct region {
    const char *name;
    ql_buffer *buf;
    uint64_t first;
} region;

static int regions_of(const ql_trainer *t, region out[3]) {
    out[0] = (region){"m", t->m->moments, 0};
    out[1] = (region){"v", t->m->moments, t->m->n_trained};
    out[2] = (region){"trained", t->m->trained, 0};
    return t->m->opts.full ? 3 : 2; /* adapters are in adapter/ */
}

#define PIECE (1u << 20) /* elements moved at once */

static ql_status write_region(ql_trainer *t, ql_st_writer *w, const region *r, float *piece) {
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(t->dev->backend->read(t->queue, r->buf, (r->first + at) * sizeof(float), piece,
                                     n * sizeof(float)));
        QL_TRY(ql_st_writer_data(w, piece, n * sizeof(float)));
    }
    return QL_OK;
}

ql_status ql_moments_write(ql_trainer *t, const char *path) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    float *piece = ql_host_calloc(PIECE, sizeof(float));
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    int64_t shape[1] = {(int64_t)t->m->n_trained};
    for (int i = 0; i < n && s == QL_OK; i++)
        s = ql_st_writer_declare(w, r[i].name, QL_ST_F32, 1, shape);
    for (int i = 0; i < n && s == QL_OK; i++) s = write_region(t, w, &r[i], piece);
    ql_host_free(piece);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

/* Is region r in the file as it must be? */
static ql_status check_region(const ql_trainer *t, const ql_st_file *f, const char *path,
                              const region *r) {
    const ql_st_tensor *x = ql_st_find(f, r->name);
    if (!x || x->dtype != QL_ST_F32 || (uint64_t)x->numel != t->m->n_trained)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' of %llu F32 values expected", path, r->name,
                       (unsigned long long)t->m->n_trained);
    return QL_OK;
}

static ql_status take_region(ql_trainer *t, const region *r, uint64_t at, uint64_t n,
                             const float *file) {
    QL_TRY(t->dev->backend->write(t->queue, r->buf, (r->first + at) * sizeof(float), file,
                                  n * sizeof(float)));
    return t->dev->backend->queue_sync(t->queue);
}

/* `now` is space for n values. */
static ql_status compare_region(ql_trainer *t, const region *r, uint64_t at, uint64_t n,
                                const float *file, float *now) {
    QL_TRY(t->dev->backend->read(t->queue, r->buf, (r->first + at) * sizeof(float), now,
                                 n * sizeof(float)));
    if (memcmp(file, now, n * sizeof(float)) == 0) return QL_OK;
    return QL_FAIL(QL_ERR_IO,
                   "optimizer state: '%s' reads back with other bytes than were written; the disk "
                   "or memory is damaged",
                   r->name);
}

/* `piece` is space for 2 * PIECE values. */
static ql_status visit_region(ql_trainer *t, const ql_st_file *f, const region *r,
                              ql_moments_visit how, float *piece) {
    const ql_st_tensor *x = ql_st_find(f, r->name);
    for (uint64_t at = 0; at < t->m->n_trained; at += PIECE) {
        uint64_t n = t->m->n_trained - at < PIECE ? t->m->n_trained - at : PIECE;
        QL_TRY(ql_st_read_f32(x, (int64_t)at, (int64_t)n, piece));
        QL_TRY(how == QL_MOMENTS_TAKE ? take_region(t, r, at, n, piece)
                                      : compare_region(t, r, at, n, piece, piece + PIECE));
    }
    return QL_OK;
}

ql_status ql_moments_visit_file(ql_trainer *t, const char *path, ql_moments_visit how) {
    region r[3];
    int n = regions_of(t, r);
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    for (int i = 0; i < n && s == QL_OK; i++) s = check_region(t, f, path, &r[i]);
    bool values = how != QL_MOMENTS_CHECK;
    float *piece = values ? ql_host_calloc(PIECE, 2 * sizeof(float)) : NULL;
    if (s == QL_OK && values && !piece) s = QL_NOMEM("optimizer state");
    for (int i = 0; i < n && s == QL_OK && values; i++) s = visit_region(t, f, &r[i], how, piece);
    ql_host_free(piece);
    ql_st_close(f);
    return s;
}
