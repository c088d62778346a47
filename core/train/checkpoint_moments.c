/*
 * checkpoint_moments.c - the optimizer's state as a file, read back and compared (see
 * checkpoint_impl.h).
 */
#include <string.h>

#include "core/base/hostmem.h"
#include "core/train/checkpoint_impl.h"

/* The i-th tensor of the optimizer file: with --full the trained values, which an adapter's run has
 * in adapter/, then the optimizer's state. false = past the end. */
static bool part_at(const ql_trainer *t, int32_t i, ql_opt_part *out) {
    if (t->m->opts.full && i-- == 0) {
        *out = (ql_opt_part){
            .name = "trained", .dtype = QL_ST_F32, .count = t->m->n_trained, .page_end = 1};
        return true;
    }
    return ql_opt_part_at(&t->opt, i, out);
}

static bool is_trained(const ql_opt_part *p) {
    return strcmp(p->name, "trained") == 0;
}

/* Bytes of the part that lie in one of its pages. */
static uint64_t bytes_in(const ql_trainer *t, const ql_opt_part *p, int32_t page) {
    if (is_trained(p)) return p->count * sizeof(float);
    const ql_opt_page *at = &t->opt.pages[page];
    return ql_opt_field_span(&t->opt, t->opt.runs[at->run].coded, at->n, p->field).bytes;
}

#define PIECE (4u << 20) /* bytes moved at once */

/* A stretch of a part: at most PIECE bytes of one page. */
typedef struct stretch {
    int32_t page;
    uint64_t at, n; /* inside the page's field */
} stretch;

/* Walks through a part; begin with a zeroed stretch whose page is the part's first. */
static bool next(const ql_trainer *t, const ql_opt_part *p, stretch *s) {
    for (s->at += s->n; s->page < p->page_end; s->page++, s->at = 0) {
        uint64_t left = bytes_in(t, p, s->page) - s->at;
        s->n = left < PIECE ? left : PIECE;
        if (s->n) return true;
    }
    return false;
}

static ql_status get(ql_trainer *t, const ql_opt_part *p, const stretch *s, void *out) {
    if (!is_trained(p)) return ql_opt_store_read(&t->store, t->queue, p, s->page, s->at, s->n, out);
    return t->dev->backend->read(t->queue, t->m->trained, s->at, out, s->n);
}

static ql_status put(ql_trainer *t, const ql_opt_part *p, const stretch *s, const void *in) {
    if (!is_trained(p)) return ql_opt_store_write(&t->store, t->queue, p, s->page, s->at, s->n, in);
    QL_TRY(t->dev->backend->write(t->queue, t->m->trained, s->at, in, s->n));
    return t->dev->backend->queue_sync(t->queue);
}

static ql_status write_part(ql_trainer *t, ql_st_writer *w, const ql_opt_part *p, uint8_t *piece) {
    for (stretch s = {.page = p->page}; next(t, p, &s);) {
        QL_TRY(get(t, p, &s, piece));
        QL_TRY(ql_st_writer_data(w, piece, s.n));
    }
    return QL_OK;
}

ql_status ql_moments_write(ql_trainer *t, const char *path) {
    ql_opt_part p;
    ql_st_writer *w = NULL;
    QL_TRY(ql_st_writer_create(path, &w));
    uint8_t *piece = ql_host_calloc(PIECE, 1);
    ql_status s = piece ? QL_OK : QL_NOMEM("optimizer state");
    for (int32_t i = 0; s == QL_OK && part_at(t, i, &p); i++) {
        int64_t shape[1] = {(int64_t)p.count};
        s = ql_st_writer_declare(w, p.name, p.dtype, 1, shape);
    }
    for (int32_t i = 0; s == QL_OK && part_at(t, i, &p); i++) s = write_part(t, w, &p, piece);
    ql_host_free(piece);
    if (s != QL_OK) {
        ql_st_writer_abort(w);
        return s;
    }
    return ql_st_writer_commit(w);
}

/* Is part p in the file as it must be? */
static ql_status check_part(const ql_st_file *f, const char *path, const ql_opt_part *p) {
    const ql_st_tensor *x = ql_st_find(f, p->name);
    if (!x || x->dtype != p->dtype || (uint64_t)x->numel != p->count)
        return QL_FAIL(QL_ERR_FORMAT, "%s: tensor '%s' of %llu %s values expected", path, p->name,
                       (unsigned long long)p->count, ql_st_dtype_name(p->dtype));
    return QL_OK;
}

/* `now` is space for a stretch. */
static ql_status compare(ql_trainer *t, const ql_opt_part *p, const stretch *s, const uint8_t *file,
                         uint8_t *now) {
    QL_TRY(get(t, p, s, now));
    if (memcmp(file, now, s->n) == 0) return QL_OK;
    return QL_FAIL(QL_ERR_IO,
                   "optimizer state: '%s' reads back with other bytes than were written; the disk "
                   "or memory is damaged",
                   p->name);
}

static ql_status visit_part(ql_trainer *t, const ql_st_file *f, const ql_opt_part *p,
                            ql_moments_visit how, uint8_t *piece) {
    const uint8_t *file = ql_st_find(f, p->name)->data;
    for (stretch s = {.page = p->page}; next(t, p, &s); file += s.n)
        QL_TRY(how == QL_MOMENTS_TAKE ? put(t, p, &s, file) : compare(t, p, &s, file, piece));
    return QL_OK;
}

ql_status ql_moments_visit_file(ql_trainer *t, const char *path, ql_moments_visit how) {
    ql_opt_part p;
    ql_st_file *f = NULL;
    QL_TRY(ql_st_open(path, &f));
    ql_status s = QL_OK;
    for (int32_t i = 0; s == QL_OK && part_at(t, i, &p); i++) s = check_part(f, path, &p);
    bool values = how != QL_MOMENTS_CHECK;
    uint8_t *piece = values ? ql_host_calloc(PIECE, 1) : NULL;
    if (s == QL_OK && values && !piece) s = QL_NOMEM("optimizer state");
    for (int32_t i = 0; s == QL_OK && values && part_at(t, i, &p); i++)
        s = visit_part(t, f, &p, how, piece);
    ql_host_free(piece);
    ql_st_close(f);
    return s;
}
