/*
 * tape.c - values, records, gradient bookkeeping and the backward walk (see tape.h).
 */
#include "core/graph/tape_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"

ql_status ql_tape_create(ql_tape **out) {
    ql_tape *t = ql_host_calloc(1, sizeof(*t));
    if (!t) return QL_NOMEM("a tape");
    t->layer = -1;
    t->n_values = 1; /* id 0 means "none" */
    *out = t;
    return QL_OK;
}

void ql_tape_free(ql_tape *t) {
    if (!t) return;
    ql_host_free(t->values);
    ql_host_free(t->records);
    ql_host_free(t->written);
    ql_host_free(t->remap);
    ql_host_free(t->first_written);
    ql_host_free(t);
}

ql_status ql_tape_status(const ql_tape *t) {
    return t->status;
}

void ql_tape_fail(ql_tape *t, ql_status s) {
    if (t->status == QL_OK) t->status = s;
}

/* ---------------------------------------------------------------- values */

static ql_vid new_value(ql_tape *t, ql_value **out) {
    if (t->status != QL_OK) return 0;
    ql_status s =
        ql_host_grow((void **)&t->values, &t->cap_values, t->n_values + 1, sizeof(ql_value));
    if (s == QL_OK)
        s = ql_host_grow((void **)&t->remap, &t->cap_remap, t->n_values + 1, sizeof(ql_vid));
    if (s == QL_OK)
        s = ql_host_grow((void **)&t->first_written, &t->cap_first_written, t->n_values + 1,
                         sizeof(size_t));
    if (s != QL_OK) {
        ql_tape_fail(t, s);
        return 0;
    }
    ql_value *v = &t->values[t->n_values];
    memset(v, 0, sizeof(*v));
    t->remap[t->n_values] = 0;
    t->first_written[t->n_values] = 0;
    v->first = v->last = -1;
    *out = v;
    return (ql_vid)t->n_values++;
}

/* A named value of the given shape. */
static ql_vid shaped_value(ql_tape *t, ql_value shape, const char *name_fmt, va_list ap)
    QL_PRINTF(3, 0);
static ql_vid shaped_value(ql_tape *t, ql_value shape, const char *name_fmt, va_list ap) {
    ql_value *v = NULL;
    ql_vid id = new_value(t, &v);
    if (!id) return 0;
    if (shape.rows.max < 1 || shape.cols.max < 1) {
        ql_tape_fail(t,
                     QL_FAIL(QL_ERR_SHAPE, "tape: a value of %lld x %lld elements is not possible",
                             (long long)shape.rows.max, (long long)shape.cols.max));
        return 0;
    }
    *v = shape;
    v->first = v->last = -1;
    v->ld = shape.cols.max;
    vsnprintf(v->name, sizeof(v->name), name_fmt, ap);
    return id;
}

ql_vid ql_tape_external(ql_tape *t, ql_pool pool, ql_dtype dtype, ql_dim rows, ql_dim cols,
                        const char *name_fmt, ...) {
    ql_value shape = {
        .kind = QL_VALUE_EXTERNAL, .dtype = dtype, .pool = pool, .rows = rows, .cols = cols};
    va_list ap;
    va_start(ap, name_fmt);
    ql_vid id = shaped_value(t, shape, name_fmt, ap);
    va_end(ap);
    return id;
}

ql_vid ql_tape_value(ql_tape *t, ql_pool pool, ql_dtype dtype, ql_dim rows, ql_dim cols,
                     const char *name_fmt, ...) {
    ql_value shape = {
        .kind = QL_VALUE_PLANNED, .dtype = dtype, .pool = pool, .rows = rows, .cols = cols};
    va_list ap;
    va_start(ap, name_fmt);
    ql_vid id = shaped_value(t, shape, name_fmt, ap);
    va_end(ap);
    return id;
}

ql_vid ql_tape_view(ql_tape *t, ql_vid v, int64_t row0, ql_dim rows, int64_t col0, ql_dim cols) {
    ql_value *w = NULL;
    ql_vid id = v ? new_value(t, &w) : 0;
    if (!id) return 0;
    const ql_value *of = &t->values[v];
    if (row0 < 0 || col0 < 0 || row0 + rows.max > of->rows.max || col0 + cols.max > of->cols.max) {
        ql_tape_fail(
            t, QL_FAIL(QL_ERR_SHAPE, "tape: view [%lld+%lld, %lld+%lld] leaves '%s' of %lld x %lld",
                       (long long)row0, (long long)rows.max, (long long)col0, (long long)cols.max,
                       of->name, (long long)of->rows.max, (long long)of->cols.max));
        return 0;
    }
    memcpy(w->name, of->name, sizeof(w->name));
    w->kind = QL_VALUE_VIEW;
    w->pool = of->pool;
    w->dtype = of->dtype;
    w->rows = rows;
    w->cols = cols;
    w->base = of->kind == QL_VALUE_VIEW ? of->base : v;
    w->row0 = row0 + (of->kind == QL_VALUE_VIEW ? of->row0 : 0);
    w->col0 = col0 + (of->kind == QL_VALUE_VIEW ? of->col0 : 0);
    w->ld = of->ld;
    w->needs_grad = of->needs_grad;
    return id;
}

void ql_tape_train(ql_tape *t, ql_vid v, ql_vid g) {
    if (t->status != QL_OK) return;
    const ql_value *a = &t->values[v], *b = &t->values[g];
    if (a->rows.max != b->rows.max || a->cols.max != b->cols.max) {
        ql_tape_fail(t, QL_FAIL(QL_ERR_SHAPE, "tape: gradient '%s' is not shaped like '%s'",
                                b->name, a->name));
        return;
    }
    t->values[v].needs_grad = true;
    t->values[v].grad = g;
}

const ql_value *ql_tape_at(const ql_tape *t, ql_vid v) {
    return &t->values[v];
}
ql_value *ql_tape_at_mut(ql_tape *t, ql_vid v) {
    return &t->values[v];
}
uint32_t ql_tape_values(const ql_tape *t) {
    return (uint32_t)t->n_values - 1;
}

ql_vid ql_tape_base(const ql_tape *t, ql_vid v) {
    return t->values[v].kind == QL_VALUE_VIEW ? t->values[v].base : v;
}

uint64_t ql_value_bytes(const ql_value *v) {
    return (uint64_t)v->rows.max * (uint64_t)v->cols.max * ql_dtype_size(v->dtype);
}

/* ---------------------------------------------------------------- records */

ql_mat ql_ref(const ql_tape *t, ql_vid v) {
    ql_mat m = {0};
    if (!v || t->status != QL_OK) return m;
    const ql_value *x = &t->values[v];
    m.off = v;
    m.rows = x->rows.max;
    m.cols = x->cols.max;
    m.ld = x->ld;
    m.dtype = x->dtype;
    return m;
}

ql_record *ql_tape_append(ql_tape *t, ql_op op, const ql_op_args *args) {
    if (t->status != QL_OK) return NULL;
    ql_status s =
        ql_host_grow((void **)&t->records, &t->cap_records, t->n_records + 1, sizeof(ql_record));
    if (s == QL_OK && t->n_records >= INT32_MAX)
        s = QL_FAIL(QL_ERR_INVALID, "tape: more than 2^31 records");
    if (s != QL_OK) {
        ql_tape_fail(t, s);
        return NULL;
    }
    ql_record *r = &t->records[t->n_records];
    memset(r, 0, sizeof(*r));
    r->op = op;
    r->phase = t->phase;
    r->layer = t->layer;
    r->segment = t->segment;
    r->args = *args;
    const ql_op_info info = ql_op_info_of(op);
    for (int i = 0; i < info.count; i++) {
        ql_mat *m = ql_operand_mat_mut(op, &r->args, i);
        r->operand[i] = (ql_vid)m->off;
        m->off = 0;
        if (!r->operand[i] && !info.operand[i].optional) {
            ql_tape_fail(t, QL_FAIL(QL_ERR_INVALID, "tape: %s needs operand '%s'", info.name,
                                    info.operand[i].name));
            return NULL;
        }
    }
    t->n_records++;
    return r;
}

bool ql_needs_grad(const ql_tape *t, ql_vid v) {
    return v && (t->values[v].needs_grad || t->values[ql_tape_base(t, v)].needs_grad);
}

/* Outputs need a gradient when any input does. */
static void propagate_needs_grad(ql_tape *t, const ql_record *r) {
    const ql_op_info info = ql_op_info_of(r->op);
    bool needs = false;
    for (int i = 0; i < info.count; i++)
        if (r->operand[i] && ql_operand_access(r->op, &r->args, i) != QL_USE_SCRATCH)
            needs |= ql_needs_grad(t, r->operand[i]);
    if (!needs) return;
    for (int i = 0; i < info.count; i++) {
        ql_vid v = r->operand[i];
        ql_use access = ql_operand_access(r->op, &r->args, i);
        if (!v || (access != QL_USE_WRITE && access != QL_USE_UPDATE)) continue;
        t->values[v].needs_grad = true;
        t->values[ql_tape_base(t, v)].needs_grad = true;
    }
}

void ql_tape_record(ql_tape *t, ql_op op, const ql_op_args *args) {
    ql_record *r = ql_tape_append(t, op, args);
    if (!r) return;
    if (op == QL_OP_LOSS) { /* a sink: it seeds the gradient of its logits */
        if (r->args.loss.dlogits.rows) {
            int32_t logits = -1, dlogits = -1;
            const ql_op_info info = ql_op_info_of(op);
            for (int i = 0; i < info.count; i++) {
                if (info.operand[i].at == offsetof(ql_loss_args, logits)) logits = i;
                if (info.operand[i].at == offsetof(ql_loss_args, dlogits)) dlogits = i;
            }
            t->values[r->operand[logits]].grad = r->operand[dlogits];
            (void)ql_grad_claim(t, r->operand[logits]);
        }
        return;
    }
    propagate_needs_grad(t, r);
}

int32_t ql_tape_count(const ql_tape *t) {
    return (int32_t)t->n_records;
}
const ql_record *ql_tape_record_at(const ql_tape *t, int32_t i) {
    return &t->records[i];
}
ql_record *ql_tape_record_mut(ql_tape *t, int32_t i) {
    return &t->records[i];
}

void ql_tape_set_layer(ql_tape *t, int layer) {
    t->layer = (int16_t)layer;
}

/* ---------------------------------------------------------------- gradients of values */

ql_vid ql_grad_of(ql_tape *t, ql_vid v) {
    if (t->status != QL_OK || !v) return 0;
    if (t->values[v].grad) return t->values[v].grad;
    ql_value x = t->values[v];
    ql_vid g;
    if (x.kind == QL_VALUE_VIEW) {
        ql_vid base = ql_grad_of(t, x.base);
        g = ql_tape_view(t, base, x.row0, x.rows, x.col0, x.cols);
    } else {
        g = ql_tape_value(t, QL_POOL_ACTIVATIONS, x.dtype, x.rows, x.cols, "d.%.60s", x.name);
    }
    if (!g) return 0;
    t->values[v].grad = g;
    return g;
}

static bool overlap(const ql_rect *a, const ql_rect *b) {
    return a->row0 < b->row0 + b->rows && b->row0 < a->row0 + a->rows &&
           a->col0 < b->col0 + b->cols && b->col0 < a->col0 + a->cols;
}

static bool inside(const ql_rect *a, const ql_rect *b) {
    return a->row0 >= b->row0 && a->row0 + a->rows <= b->row0 + b->rows && a->col0 >= b->col0 &&
           a->col0 + a->cols <= b->col0 + b->cols;
}

static ql_rect rect_of(const ql_tape *t, ql_vid v) {
    const ql_value *x = &t->values[v];
    bool view = x->kind == QL_VALUE_VIEW;
    return (ql_rect){view ? x->base : v, view ? x->row0 : 0, x->rows.max,
                     view ? x->col0 : 0, x->cols.max,        0};
}

/* Walks the written rectangles of `base`, latest first: (w = written_after(t, base, NULL)) ... */
static const ql_rect *written_after(const ql_tape *t, ql_vid base, const ql_rect *w) {
    size_t next = w ? w->next : t->first_written[base];
    return next ? &t->written[next - 1] : NULL;
}

bool ql_grad_exists(const ql_tape *t, ql_vid v) {
    ql_rect r = rect_of(t, v);
    if (t->values[r.base].kind == QL_VALUE_EXTERNAL && t->values[r.base].grad) return true;
    for (const ql_rect *w = written_after(t, r.base, NULL); w; w = written_after(t, r.base, w))
        if (overlap(w, &r)) return true;
    return false;
}

/* Elements of r that disjoint written rectangles inside it cover. */
static int64_t covered(const ql_tape *t, const ql_rect *r) {
    int64_t n = 0;
    for (const ql_rect *w = written_after(t, r->base, NULL); w; w = written_after(t, r->base, w))
        if (inside(w, r)) n += w->rows * w->cols;
    return n;
}

/* Adds a rectangle to what is written. */
static void add_written(ql_tape *t, ql_rect r) {
    ql_status s =
        ql_host_grow((void **)&t->written, &t->cap_written, t->n_written + 1, sizeof(ql_rect));
    if (s != QL_OK) {
        ql_tape_fail(t, s);
        return;
    }
    r.next = t->first_written[r.base];
    t->written[t->n_written++] = r;
    t->first_written[r.base] = t->n_written;
}

bool ql_grad_claim(ql_tape *t, ql_vid v) {
    if (t->status != QL_OK) return false;
    ql_rect r = rect_of(t, v);
    /* Trained values: the gradient buffer is zeroed at the start of an optimizer step. */
    if (t->values[r.base].kind == QL_VALUE_EXTERNAL) return true;
    bool touched = false;
    for (const ql_rect *w = written_after(t, r.base, NULL); w; w = written_after(t, r.base, w)) {
        if (!overlap(w, &r)) continue;
        if (inside(&r, w)) return true;
        touched = true;
    }
    if (touched) {
        if (covered(t, &r) == r.rows * r.cols) return true; /* pieces that together make r */
        ql_tape_fail(
            t, QL_FAIL(QL_ERR_UNSUPPORTED,
                       "tape: the gradient of '%s' is written in pieces that overlap only partly",
                       t->values[v].name));
        return false;
    }
    add_written(t, r);
    return false;
}

/* Fills the part of gradient `base_grad` that `r` covers with zero. */
static void fill_rect(ql_tape *t, ql_vid base_grad, ql_rect r) {
    const ql_value *g = &t->values[base_grad];
    ql_dim rows = {r.rows, g->rows.lo + r.row0, g->rows.sym, g->rows.mul};
    ql_dim cols = {r.cols, g->cols.lo + r.col0, g->cols.sym, g->cols.mul};
    ql_vid part = ql_tape_view(t, base_grad, r.row0, rows, r.col0, cols);
    (void)ql_tape_append(t, QL_OP_FILL, &(ql_op_args){.fill = {.y = ql_ref(t, part)}});
    add_written(t, r);
}

/* Fills what of `r` no rectangle of the chain from `at` (index + 1) on has written: r minus the
 * first overlapping one leaves at most four rectangles. The depth is bounded by the number of
 * views. */
static void fill_unwritten(ql_tape *t, ql_vid base_grad, ql_rect r, size_t at) {
    while (at && !overlap(&t->written[at - 1], &r)) at = t->written[at - 1].next;
    if (!at) {
        fill_rect(t, base_grad, r);
        return;
    }
    ql_rect w = t->written[at - 1];
    int64_t top = w.row0 > r.row0 ? w.row0 : r.row0;
    int64_t bottom = w.row0 + w.rows < r.row0 + r.rows ? w.row0 + w.rows : r.row0 + r.rows;
    int64_t left = w.col0 > r.col0 ? w.col0 : r.col0;
    int64_t right = w.col0 + w.cols < r.col0 + r.cols ? w.col0 + w.cols : r.col0 + r.cols;
    const ql_rect rest[4] = {{r.base, r.row0, top - r.row0, r.col0, r.cols, 0},
                             {r.base, bottom, r.row0 + r.rows - bottom, r.col0, r.cols, 0},
                             {r.base, top, bottom - top, r.col0, left - r.col0, 0},
                             {r.base, top, bottom - top, right, r.col0 + r.cols - right, 0}};
    for (int i = 0; i < 4; i++)
        if (rest[i].rows > 0 && rest[i].cols > 0) fill_unwritten(t, base_grad, rest[i], w.next);
}

void ql_grad_complete(ql_tape *t, ql_vid v) {
    if (t->status != QL_OK) return;
    ql_rect r = rect_of(t, v);
    if (t->values[r.base].kind == QL_VALUE_EXTERNAL) return;
    if (covered(t, &r) == r.rows * r.cols) return;
    ql_vid g = ql_grad_of(t, r.base);
    if (g) fill_unwritten(t, g, r, t->first_written[r.base]);
}

ql_vid ql_tape_saved(ql_tape *t, ql_vid v) {
    if (!v || t->status != QL_OK) return 0;
    if (t->remap[v]) return t->remap[v];
    ql_value x = t->values[v];
    if (x.kind != QL_VALUE_VIEW || !t->remap[x.base]) return v;
    ql_vid twin = ql_tape_view(t, t->remap[x.base], x.row0, x.rows, x.col0, x.cols);
    if (twin) t->remap[v] = twin;
    return twin;
}

/* ---------------------------------------------------------------- segments and backward */

void ql_tape_segment_begin(ql_tape *t) {
    t->segment = ++t->n_segments;
}
void ql_tape_segment_end(ql_tape *t) {
    t->segment = 0;
}

void ql_tape_backward(ql_tape *t, int32_t from, int32_t to) {
    ql_phase phase = t->phase;
    int16_t layer = t->layer, segment = t->segment;
    t->phase = QL_PHASE_BWD;
    int16_t open = 0; /* the segment whose clones stand in for its values */
    int32_t clones = 0, clones_end = 0;
    for (int32_t i = to - 1; i >= from && t->status == QL_OK; i--) {
        ql_record forward = t->records[i];
        if (forward.phase != QL_PHASE_FWD) continue;
        if (forward.segment != open) {
            if (open) ql_segment_prune(t, clones, clones_end);
            open = forward.segment;
            if (open) {
                clones = ql_segment_clone(t, from, i + 1, open);
                clones_end = ql_tape_count(t);
            }
        }
        t->layer = forward.layer;
        t->segment = forward.segment;
        ql_grad_rule(t, &forward);
    }
    if (open) ql_segment_prune(t, clones, clones_end);
    t->phase = phase;
    t->layer = layer;
    t->segment = segment;
}
