/* bpw.c - see bpw.h. */
#include "core/model/bpw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/device/device.h"
#include "core/model/bpw_impl.h"
#include "core/model/encode.h"

static const int sizes[QL_BPW_SIZES] = {2, 3, 4, 8};

typedef struct chooser {
    const ql_bpw_opts *o;
    ql_model *m;
    ql_queue *q;
    ql_bpw_item *items;
    int64_t n, weights;
    uint64_t bytes;
} chooser;

/* ------------------------------------------------------------------------------------ listing */

static ql_status list_items(chooser *c) {
    const ql_linear *l;
    c->items = ql_host_calloc((size_t)c->m->n_linears + 1, sizeof *c->items);
    if (!c->items) return QL_NOMEM("the list of weights");
    for (int64_t i = 0; (l = ql_model_linear(c->m, i)); i++) {
        if (!l->quantized || (l->stored && !c->o->requantize)) continue;
        ql_bpw_item *it = &c->items[c->n++];
        it->l = l;
        c->weights += l->n * l->k;
        for (int s = 0; s < QL_BPW_SIZES; s++) {
            const ql_qtype *type = ql_qtype_like(c->o->quant.type, sizes[s]);
            ql_qbytes b;
            it->quant[s] = ql_quant_opts_of(&c->o->quant, type->id);
            QL_TRY(ql_quant_bytes(&it->quant[s], l->n, l->k, &b));
            it->bytes[s] = b.codes + b.scale + b.scale2 + b.zero;
        }
        c->bytes += it->bytes[0];
    }
    if (c->n == 0)
        return QL_FAIL(QL_ERR_INVALID, "target_bpw: %s has no weight that is quantized here",
                       ql_source_path(c->m->source));
    double least = 8.0 * (double)c->bytes / (double)c->weights;
    if (c->o->target >= least) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID,
                   "target_bpw %g: with %s in these blocks everywhere a weight takes %.4f bits",
                   c->o->target, ql_qtype_at(c->items[0].quant[0].type)->name, least);
}

/* ---------------------------------------------------------------------------------- measuring */

ql_status ql_bpw_read(const ql_model *m, const ql_linear *l, float **out) {
    float *w = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof *w);
    if (!w) return QL_NOMEM("a weight");
    ql_linear_rows rows = {0};
    ql_status s = ql_linear_rows_open(m, l, &rows);
    for (int64_t i = 0; i < l->n && s == QL_OK; i++)
        s = ql_linear_rows_read(&rows, i, w + i * l->k);
    ql_linear_rows_close(&rows);
    if (s != QL_OK) {
        ql_host_free(w);
        return s;
    }
    *out = w;
    return QL_OK;
}

/* ||W - Q||^2 / ||W||^2, row by row. */
static ql_status error_of(const ql_qtensor *q, const float *w, float *row, double *out) {
    double error = 0, norm = 0;
    for (int64_t r = 0; r < q->n; r++) {
        QL_TRY(ql_dequantize_rows(q, r, 1, row));
        for (int64_t j = 0; j < q->k; j++) {
            double x = w[r * q->k + j], d = x - row[j];
            error += d * d;
            norm += x * x;
        }
    }
    *out = norm > 0 ? error / norm : 0.0;
    return isfinite(*out) ? QL_OK
                          : QL_FAIL(QL_ERR_NUMERIC, "a weight is not finite: the model is damaged");
}

static ql_status measure_item(const chooser *c, ql_bpw_item *it) {
    float *w = NULL, *row = ql_host_calloc((size_t)it->l->k, sizeof *row);
    if (!row) return QL_NOMEM("a row of weights");
    ql_status s = ql_bpw_read(c->m, it->l, &w);
    for (int i = 0; i < QL_BPW_SIZES && s == QL_OK; i++) {
        ql_qtensor q = {0};
        s = ql_quantize_with(&it->quant[i], ql_encode_on_queue, c->q, w, it->l->n, it->l->k, &q);
        if (s == QL_OK) s = error_of(&q, w, row, &it->error[i]);
        it->cost[i] = it->error[i];
        ql_qtensor_free(&q);
    }
    ql_host_free(w);
    ql_host_free(row);
    return s;
}

static ql_status measure(chooser *c) {
    for (int64_t i = 0; i < c->n; i++) {
        if (c->o->progress) c->o->progress(c->o->user, i, c->n, c->items[i].l->module);
        QL_TRY(measure_item(c, &c->items[i]));
    }
    return QL_OK;
}

/* --------------------------------------------------------------------------------- allocating */

/* The best step that fits: item and size; false = none. */
static bool best_step(const chooser *c, uint64_t limit, int64_t *item, int *size) {
    double best = 0.0;
    for (int64_t i = 0; i < c->n; i++) {
        const ql_bpw_item *it = &c->items[i];
        for (int s = it->at + 1; s < QL_BPW_SIZES; s++) {
            uint64_t more = it->bytes[s] - it->bytes[it->at];
            double gain = (it->cost[it->at] - it->cost[s]) / (double)more;
            if (more > limit - c->bytes || gain <= best) continue;
            best = gain;
            *item = i;
            *size = s;
        }
    }
    return best > 0.0;
}

static void allocate(chooser *c) {
    double limit = floor(c->o->target * (double)c->weights / 8.0);
    int64_t i = 0;
    int s = 0;
    while (best_step(c, (uint64_t)limit, &i, &s)) {
        c->bytes += c->items[i].bytes[s] - c->items[i].bytes[c->items[i].at];
        c->items[i].at = s;
    }
}

/* ------------------------------------------------------------------------------------- result */

static ql_status write_rules(const chooser *c, ql_bpw *out) {
    size_t cap = 16, len = 0;
    int usual = 0;
    for (int64_t i = 0; i < c->n; i++) {
        out->of[c->items[i].at]++;
        cap += strlen(c->items[i].l->tensor) + 4;
    }
    for (int s = 1; s < QL_BPW_SIZES; s++)
        if (out->of[s] > out->of[usual]) usual = s;
    char *text = ql_host_calloc(cap, 1);
    if (!text) return QL_NOMEM("bits_by_layer");
    for (int64_t i = 0; i < c->n; i++) {
        const ql_bpw_item *it = &c->items[i];
        int name = (int)(strlen(it->l->tensor) - strlen(".weight"));
        if (it->at != usual)
            len += (size_t)snprintf(text + len, cap - len, "%.*s:%d,", name, it->l->tensor,
                                    sizes[it->at]);
    }
    snprintf(text + len, cap - len, "*:%d", sizes[usual]);
    out->rules = text;
    return QL_OK;
}

static ql_status choose(chooser *c, const char *model, ql_bpw *out) {
    QL_TRY(c->o->dev->backend->queue_create(c->o->dev, &c->q));
    QL_TRY(list_items(c));
    QL_TRY(measure(c));
    if (c->o->ids) QL_TRY(ql_bpw_calibrate(model, c->m, c->o, c->q, c->items, c->n));
    allocate(c);
    *out = (ql_bpw){.bytes = c->bytes,
                    .weights = c->weights,
                    .bits = 8.0 * (double)c->bytes / (double)c->weights};
    return write_rules(c, out);
}

ql_status ql_bpw_choose(const char *model, const ql_bpw_opts *o, ql_bpw *out) {
    ql_source *source;
    chooser c = {.o = o};
    ql_model_opts mo = ql_model_opts_default();
    mo.quant = o->quant;
    mo.bits = ql_qtype_at(o->quant.type)->bits;
    mo.quantize_head = o->quantize_head;
    QL_TRY(ql_quant_opts_check(&o->quant));
    QL_TRY(ql_source_open(model, &source));
    QL_TRY(ql_model_open(source, &mo, &c.m));
    ql_status s = choose(&c, model, out);
    if (c.q) o->dev->backend->queue_destroy(c.q);
    ql_host_free(c.items);
    ql_model_close(c.m);
    return s;
}

void ql_bpw_free(ql_bpw *b) {
    ql_host_free(b->rules);
    *b = (ql_bpw){0};
}
