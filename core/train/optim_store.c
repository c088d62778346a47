/*
 * optim_store.c - see optim_store.h.
 *
 * Pages that are not on the device pass through two slots. For the j-th of them, slot j mod 2:
 *   moves:                        page in | record in(j)     ...     wait done(j) | page out
 *   operators:   wait in(j) | update | record done(j)
 * Moves are in order, so a slot is filled again only behind its page's way out. The first two pages
 * come in while the gradients are still being computed.
 */
#include "core/train/optim_store.h"

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/quant/qtype.h"

/* ----------------------------------------------------------------------- life */

static ql_status zero(ql_queue *q, ql_buffer *buf) {
    if (!buf) return QL_OK;
    int64_t n = (int64_t)(buf->size / sizeof(float));
    const ql_fill_args a = {{buf, 0, 1, n, n, QL_F32}, 0.0f};
    return ql_run_fill(q, &a);
}

/* Zero pages into the host's store; those of a new file are zero. */
static ql_status zero_host(ql_opt_store *s, ql_queue *q) {
    const ql_opt_layout *l = s->layout;
    if (!s->host) return QL_OK;
    QL_TRY(zero(q, s->slots));
    for (uint64_t at = 0; at < l->host_bytes; at += l->slot_bytes) {
        uint64_t n = l->host_bytes - at < l->slot_bytes ? l->host_bytes - at : l->slot_bytes;
        QL_TRY(s->dev->backend->copy(q, s->host, at, s->slots, 0, n));
    }
    return QL_OK;
}

/* Moments 0: codes and absmax are 0 too. */
static ql_status reset(ql_opt_store *s, ql_queue *q) {
    const ql_opt_layout *l = s->layout;
    const ql_backend *b = s->dev->backend;
    QL_TRY(zero(q, s->device));
    QL_TRY(zero_host(s, q));
    if (l->coded) {
        QL_TRY(b->write(q, s->device, l->map_m, ql_dyn8_signed(), 256 * sizeof(float)));
        if (l->has_v)
            QL_TRY(b->write(q, s->device, l->map_v, ql_dyn8_unsigned(), 256 * sizeof(float)));
    }
    return b->queue_sync(q);
}

static ql_status allocate_disk(ql_opt_store *s, const char *page_dir) {
    if (!s->slots->host)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "device '%s': its pages go to host memory, not to a file",
                       s->dev->props.name);
    QL_TRY(ql_page_file_create(page_dir, s->layout->host_bytes, &s->file));
    return ql_io_queue_create(&s->io);
}

static ql_status allocate_host(ql_opt_store *s) {
    const ql_backend *b = s->dev->backend;
    QL_TRY(b->buffer_alloc(s->dev, QL_MEM_HOST, s->layout->host_bytes, &s->host));
    QL_TRY(b->queue_create(s->dev, &s->copies));
    for (int i = 0; i < QL_OPT_SLOTS; i++) QL_TRY(b->event_create(s->dev, &s->in[i]));
    return QL_OK;
}

static ql_status allocate(ql_opt_store *s, const char *page_dir) {
    const ql_opt_layout *l = s->layout;
    const ql_backend *b = s->dev->backend;
    if (l->device_bytes)
        QL_TRY(b->buffer_alloc(s->dev, QL_MEM_DEVICE, l->device_bytes, &s->device));
    if (!l->host_bytes) return QL_OK;
    QL_TRY(b->buffer_alloc(s->dev, QL_MEM_DEVICE, QL_OPT_SLOTS * l->slot_bytes, &s->slots));
    for (int i = 0; i < QL_OPT_SLOTS; i++) QL_TRY(b->event_create(s->dev, &s->done[i]));
    return page_dir ? allocate_disk(s, page_dir) : allocate_host(s);
}

ql_status ql_opt_store_create(const ql_opt_layout *layout, ql_queue *q, const char *page_dir,
                              ql_opt_store *out) {
    ql_opt_store s = {.layout = layout, .dev = q->dev};
    ql_status st = allocate(&s, page_dir);
    if (st == QL_OK) st = reset(&s, q);
    if (st != QL_OK) {
        ql_opt_store_free(&s);
        return st;
    }
    *out = s;
    return QL_OK;
}

void ql_opt_store_free(ql_opt_store *s) {
    if (!s->dev) return;
    const ql_backend *b = s->dev->backend;
    ql_io_queue_free(s->io); /* both drain */
    b->queue_destroy(s->copies);
    for (int i = 0; i < QL_OPT_SLOTS; i++) {
        b->event_destroy(s->in[i]);
        b->event_destroy(s->done[i]);
    }
    b->buffer_free(s->slots);
    b->buffer_free(s->host);
    b->buffer_free(s->device);
    ql_page_file_close(s->file);
    *s = (ql_opt_store){0};
}

/* --------------------------------------------------------------------- update */

static ql_mat row(ql_buffer *buf, uint64_t off, uint64_t n, ql_dtype t) {
    return (ql_mat){buf, off, 1, (int64_t)n, (int64_t)n, t};
}

/* Field f of a page that lies in `buf` at `base`; absent fields stay absent. */
static ql_mat field(const ql_opt_layout *l, const ql_opt_page *p, ql_buffer *buf, uint64_t base,
                    ql_opt_field f) {
    bool coded = l->runs[p->run].coded;
    ql_opt_span at = ql_opt_field_span(l, coded, p->n, f);
    if (!at.bytes) return (ql_mat){0};
    ql_dtype t = coded && f < QL_OPT_M_ABSMAX ? QL_U8 : QL_F32;
    return row(buf, base + at.off, at.bytes / ql_dtype_size(t), t);
}

static ql_status update_page(const ql_opt_store *s, ql_queue *q, const ql_model *m, ql_mat step,
                             const ql_opt_hyper *h, const ql_opt_page *p, ql_buffer *buf,
                             uint64_t base) {
    const ql_opt_layout *l = s->layout;
    const ql_opt_run *run = &l->runs[p->run];
    uint64_t at = p->first * sizeof(float);
    ql_opt_step_args a = {.kind = l->optim->kind,
                          .p = row(m->trained, at, p->n, QL_F32),
                          .g = row(m->gradients, at, p->n, QL_F32),
                          .m = field(l, p, buf, base, QL_OPT_M),
                          .v = field(l, p, buf, base, QL_OPT_V),
                          .m_absmax = field(l, p, buf, base, QL_OPT_M_ABSMAX),
                          .v_absmax = field(l, p, buf, base, QL_OPT_V_ABSMAX),
                          .step = step,
                          .beta1 = (float)(l->optim->kind == QL_OPT_SGD ? h->momentum : h->beta1),
                          .beta2 = (float)h->beta2,
                          .eps = (float)h->epsilon,
                          .weight_decay = run->decay ? (float)h->weight_decay : 0.0f,
                          .lr_scale = 1.0f,
                          .first = (int64_t)(p->first - run->first)};
    if (run->coded) {
        a.code8_m = row(s->device, l->map_m, 256, QL_F32);
        if (l->has_v) a.code8_v = row(s->device, l->map_v, 256, QL_F32);
    }
    return ql_run_opt_step(q, &a);
}

/* ---------------------------------------------------------------------- moves */

/* The j-th page outside the device and its slot; NULL past the last. */
static const ql_opt_page *page_of(const ql_opt_store *s, int32_t j, uint64_t *slot_at) {
    const ql_opt_layout *l = s->layout;
    *slot_at = (uint64_t)(j % QL_OPT_SLOTS) * l->slot_bytes;
    return j < l->n_pages - l->n_resident ? &l->pages[l->n_resident + j] : NULL;
}

static ql_status fetch(ql_opt_store *s, int32_t j) {
    const ql_backend *b = s->dev->backend;
    uint64_t at;
    const ql_opt_page *p = page_of(s, j, &at);
    if (!p) return QL_OK;
    if (s->io) {
        ql_io_queue_read(s->io, s->file, p->at, (char *)s->slots->host + at, p->bytes,
                         &s->ticket[j % QL_OPT_SLOTS]);
        return QL_OK;
    }
    QL_TRY(b->copy(s->copies, s->slots, at, s->host, p->at, p->bytes));
    QL_TRY(b->event_record(s->in[j % QL_OPT_SLOTS], s->copies));
    return b->queue_flush(s->copies);
}

/* What follows on q sees the j-th page in its slot. */
static ql_status await(ql_opt_store *s, ql_queue *q, int32_t j) {
    if (s->io) return ql_io_queue_wait(s->io, s->ticket[j % QL_OPT_SLOTS]);
    return s->dev->backend->event_wait(q, s->in[j % QL_OPT_SLOTS]);
}

/* Sends the j-th page back once it is updated. */
static ql_status send_back(ql_opt_store *s, ql_queue *q, int32_t j) {
    const ql_backend *b = s->dev->backend;
    ql_event *done = s->done[j % QL_OPT_SLOTS];
    uint64_t at, ticket;
    const ql_opt_page *p = page_of(s, j, &at);
    QL_TRY(b->event_record(done, q));
    QL_TRY(b->queue_flush(q));
    if (s->io) {
        QL_TRY(b->event_sync(done));
        ql_io_queue_write(s->io, s->file, p->at, (char *)s->slots->host + at, p->bytes, &ticket);
        return QL_OK;
    }
    QL_TRY(b->event_wait(s->copies, done));
    return b->copy(s->copies, s->host, p->at, s->slots, at, p->bytes);
}

ql_status ql_opt_store_prefetch(ql_opt_store *s) {
    for (int32_t j = 0; j < QL_OPT_SLOTS; j++) QL_TRY(fetch(s, j));
    s->ahead = true;
    return QL_OK;
}

ql_status ql_opt_store_update(ql_opt_store *s, ql_queue *q, const ql_model *m, ql_mat step,
                              const ql_opt_hyper *h) {
    const ql_opt_layout *l = s->layout;
    if (!s->ahead) QL_TRY(ql_opt_store_prefetch(s));
    s->ahead = false;
    for (int32_t i = 0; i < l->n_resident; i++)
        QL_TRY(update_page(s, q, m, step, h, &l->pages[i], s->device, l->pages[i].at));
    uint64_t at;
    const ql_opt_page *p;
    for (int32_t j = 0; (p = page_of(s, j, &at)); j++) {
        QL_TRY(await(s, q, j));
        QL_TRY(update_page(s, q, m, step, h, p, s->slots, at));
        QL_TRY(send_back(s, q, j));
        QL_TRY(fetch(s, j + QL_OPT_SLOTS));
    }
    return QL_OK;
}

/* --------------------------------------------------------------- from outside */

static ql_status finish_moves(ql_opt_store *s) {
    if (s->io) QL_TRY(ql_io_queue_wait(s->io, UINT64_MAX));
    return s->copies ? s->dev->backend->queue_sync(s->copies) : QL_OK;
}

/* Where `part` of a page begins in its store. */
static uint64_t place_of(const ql_opt_store *s, const ql_opt_part *part, const ql_opt_page *p) {
    bool coded = s->layout->runs[p->run].coded;
    return p->at + ql_opt_field_span(s->layout, coded, p->n, part->field).off;
}

ql_status ql_opt_store_read(ql_opt_store *s, ql_queue *q, const ql_opt_part *part, int32_t page,
                            uint64_t at, uint64_t n, void *out) {
    const ql_opt_page *p = &s->layout->pages[page];
    uint64_t off = place_of(s, part, p) + at;
    QL_TRY(finish_moves(s));
    if (p->host && s->file) return ql_page_file_read(s->file, off, out, n);
    return s->dev->backend->read(q, p->host ? s->host : s->device, off, out, n);
}

ql_status ql_opt_store_write(ql_opt_store *s, ql_queue *q, const ql_opt_part *part, int32_t page,
                             uint64_t at, uint64_t n, const void *in) {
    const ql_opt_page *p = &s->layout->pages[page];
    uint64_t off = place_of(s, part, p) + at;
    QL_TRY(finish_moves(s));
    s->ahead = false; /* what a slot holds is old now */
    if (p->host && s->file) return ql_page_file_write(s->file, off, in, n);
    QL_TRY(s->dev->backend->write(q, p->host ? s->host : s->device, off, in, n));
    return s->dev->backend->queue_sync(q);
}
