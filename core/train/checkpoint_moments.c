/*
 * checkpoint_moments.c - the optimizer's state as a file, read back and compared (see
 * checkpoint_impl.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/checkpoint_impl.h"

/* A tensor of the optimizer file and where it lies on the device. */
typedef struct region {
    ql_opt_part part;
    ql_buffer *buf;
} region;

/* The i-th tensor: with --full the trained values, which an adapter's run has in adapter/, then the
 * optimizer's state. false = past the end. */
static bool region_at(const ql_trainer *t, int32_t i, region *out) {
    if (t->m->opts.full && i-- == 0) {
        *out = (region){{"trained", QL_ST_F32, 0, t->m->n_trained}, t->m->trained};
        return true;
    }
    out->buf = t->state;
    return ql_opt_state_part(&t->opt, i, &out->part);
}

#define PIECE (4u << 20) /* bytes moved at once */

static uint64_t piece_at(const region *r, uint64_t at) {
    uint64_t left = r->part.count * ql_st_dtype_bytes(r->part.dtype) - at;
    return left < PIECE ? left : PIECE;
}

static ql_status write_region(ql_trainer *t, ql_st_writer *w, const region *r, uint8_t *piece) {
    for (uint64_t at = 0, n; (n = piece_at(r, at)) > 0; at += n) {
        QL_TRY(t->dev->backend->read(t->queue, r->buf, r->part.off + at, piece, n));
        QL_TRY(ql_st_writer_data(w, piece, n));
    }
    return QL_OK;
}

ql_status ql_moments_write(ql_trainer *t, const char *path) {
    region r;
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    uint8_t *piece = ql_host_calloc(PIECE, 1);
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    for (int32_t i = 0; s == QL_OK && region_at(t, i, &r); i++) {
        int64_t shape[1] = {(int64_t)r.part.count};
        s = ql_st_writer_declare(w, r.part.name, r.part.dtype, 1, shape);
    }
    for (int32_t i = 0; s == QL_OK && region_at(t, i, &r); i++) s = write_region(t, w, &r, piece);
    ql_host_free(piece);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

/* Is region r in the file as it must be? */
static ql_status check_region(const ql_st_file *f, const char *path, const region *r) {
    const ql_st_tensor *x = ql_st_find(f, r->part.name);
    if (!x || x->dtype != r->part.dtype || (uint64_t)x->numel != r->part.count)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' of %llu %s values expected", path,
                       r->part.name, (unsigned long long)r->part.count,
                       ql_st_dtype_name(r->part.dtype));
    return QL_OK;
}

static ql_status take_piece(ql_trainer *t, const region *r, uint64_t at, uint64_t n,
                            const uint8_t *file) {
    QL_TRY(t->dev->backend->write(t->queue, r->buf, r->part.off + at, file, n));
    return t->dev->backend->queue_sync(t->queue);
}

/* `now` is space for n bytes. */
static ql_status compare_piece(ql_trainer *t, const region *r, uint64_t at, uint64_t n,
                               const uint8_t *file, uint8_t *now) {
    QL_TRY(t->dev->backend->read(t->queue, r->buf, r->part.off + at, now, n));
    if (memcmp(file, now, n) == 0) return QL_OK;
    return QL_FAIL(QL_ERR_IO,
                   "optimizer state: '%s' reads back with other bytes than were written; the disk "
                   "or memory is damaged",
                   r->part.name);
}

/* `piece` is space for PIECE bytes. */
static ql_status visit_region(ql_trainer *t, const ql_st_file *f, const region *r,
                              ql_moments_visit how, uint8_t *piece) {
    const uint8_t *file = ql_st_find(f, r->part.name)->data;
    for (uint64_t at = 0, n; (n = piece_at(r, at)) > 0; at += n)
        QL_TRY(how == QL_MOMENTS_TAKE ? take_piece(t, r, at, n, file + at)
                                      : compare_piece(t, r, at, n, file + at, piece));
    return QL_OK;
}

ql_status ql_moments_visit_file(ql_trainer *t, const char *path, ql_moments_visit how) {
    region r;
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    for (int32_t i = 0; s == QL_OK && region_at(t, i, &r); i++) s = check_region(f, path, &r);
    bool values = how != QL_MOMENTS_CHECK;
    uint8_t *piece = values ? ql_host_calloc(PIECE, 1) : NULL;
    if (s == QL_OK && values && !piece) s = QL_NOMEM("optimizer state");
    for (int32_t i = 0; s == QL_OK && values && region_at(t, i, &r); i++)
        s = visit_region(t, f, &r, how, piece);
    ql_host_free(piece);
    ql_st_close(f);
    return s;
}
