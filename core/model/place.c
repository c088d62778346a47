/*
 * place.c - device memory of a model: allocation, loading, write protection, trained values.
 */
#include <math.h>
#include <string.h>

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "core/device/device.h"
#include "core/model/encode.h"
#include "core/model/model_impl.h"

/* Bytes into a slot of the weights region; mapped slots hold them already. */
static ql_status put(ql_model *m, const ql_slot *s, const void *data, uint64_t bytes) {
    if (s->region != QL_REGION_WEIGHTS) return QL_OK;
    if (bytes != ql_slot_bytes(s))
        return QL_FAIL(QL_ERR_INTERNAL, "model: %llu bytes for a slot of %llu",
                       (unsigned long long)bytes, (unsigned long long)ql_slot_bytes(s));
    return m->dev->backend->write(m->queue, m->weights, s->off, data, bytes);
}

static void to_dtype(const float *x, int64_t n, ql_dtype dtype, void *out) {
    uint16_t *h = out;
    switch (dtype) {
    case QL_F16:
        for (int64_t i = 0; i < n; i++) h[i] = ql_f16_from_f32(x[i]);
        return;
    case QL_BF16:
        for (int64_t i = 0; i < n; i++) h[i] = ql_bf16_from_f32(x[i]);
        return;
    default: memcpy(out, x, (size_t)n * sizeof(float));
    }
}

/* Decodes a tensor row by row into `buf` at byte `off` as `dtype`. */
static ql_status write_rows(ql_model *m, const ql_source_tensor *t, ql_buffer *buf, uint64_t off,
                            ql_dtype dtype) {
    uint64_t row_bytes = (uint64_t)t->cols * ql_dtype_size(dtype);
    float *row = ql_host_calloc((size_t)t->cols, 2 * sizeof(float));
    if (!row) return QL_NOMEM("a row of weights");
    void *packed = row + t->cols;
    ql_status s = QL_OK;
    for (int64_t i = 0; i < t->rows && s == QL_OK; i++) {
        s = ql_source_read_row(t, i, row);
        if (s != QL_OK) break;
        to_dtype(row, t->cols, dtype, packed);
        s = m->dev->backend->write(m->queue, buf, off + (uint64_t)i * row_bytes, packed, row_bytes);
        if (s == QL_OK) s = m->dev->backend->queue_sync(m->queue);
    }
    ql_host_free(row);
    return s;
}

/* HF's initialization of a head that the files lack: N(0, init_range^2), vectors zero. The draw
 * depends on the seed and the tensor's name only. */
static ql_status write_fresh(ql_model *m, ql_buffer *buf, uint64_t off, const ql_slot *s,
                             const char *name, uint64_t seed) {
    int64_t n = s->rows * s->cols;
    float *w = ql_host_calloc((size_t)n, sizeof(float));
    if (!w) return QL_NOMEM("a new head");
    ql_stream stream = ql_stream_make(seed, QL_STREAM_ADAPTER_INIT, ql_hash_name(name) >> 16);
    for (int64_t i = 0; i < n && s->rows > 1; i++)
        w[i] = (float)m->arch.init_range * ql_stream_normal(&stream);
    ql_status r = m->dev->backend->write(m->queue, buf, off, w, (uint64_t)n * sizeof(float));
    if (r == QL_OK) r = m->dev->backend->queue_sync(m->queue);
    ql_host_free(w);
    return r;
}

static ql_status load_dense(ql_model *m, const ql_slot *slot, const ql_source_tensor *t,
                            const char *name) {
    if (slot->region != QL_REGION_WEIGHTS) return QL_OK;
    if (!t) return write_fresh(m, m->weights, slot->off, slot, name, 0);
    const uint8_t *raw = ql_dense_raw(t);
    if (raw && ql_dense_dtype(t) == slot->dtype) return put(m, slot, raw, ql_slot_bytes(slot));
    return write_rows(m, t, m->weights, slot->off, slot->dtype);
}

/* All parts of a quantized weight. */
static ql_status put_quantized(ql_model *m, const ql_linear *l, const ql_qtensor *q) {
    const ql_qtype *type = ql_qtype_at(l->quant.type);
    QL_TRY(put(m, &l->codes, q->codes, q->codes_bytes));
    if (l->table.region)
        QL_TRY(put(m, &l->table, q->table ? q->table : type->table, ql_slot_bytes(&l->table)));
    if (l->scale.region)
        QL_TRY(put(m, &l->scale, q->absmax_q ? (const void *)q->absmax_q : q->absmax,
                   ql_slot_bytes(&l->scale)));
    if (l->zero.region)
        QL_TRY(put(m, &l->zero, q->zero ? (const void *)q->zero : q->zero_f16,
                   ql_slot_bytes(&l->zero)));
    if (!q->absmax_q) return QL_OK;
    QL_TRY(put(m, &l->scale2, q->absmax2, ql_slot_bytes(&l->scale2)));
    QL_TRY(put(m, &l->code2, q->code2 ? q->code2 : ql_dyn8_signed(), ql_slot_bytes(&l->code2)));
    return put(m, &l->offset, &q->offset, sizeof(float));
}

static ql_status quantize_linear(const ql_model *m, const ql_linear *l, ql_qtensor *out) {
    float *w = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof(float));
    if (!w) return QL_NOMEM("a weight to quantize");
    ql_linear_rows rows = {0};
    ql_status s = ql_linear_rows_open(m, l, &rows);
    for (int64_t i = 0; i < l->n && s == QL_OK; i++)
        s = ql_linear_rows_read(&rows, i, w + i * l->k);
    ql_linear_rows_close(&rows);
    for (int64_t i = 0; i < l->n * l->k && s == QL_OK; i++)
        if (!isfinite(w[i]))
            s = QL_FAIL(QL_ERR_NUMERIC,
                        "tensor '%s' holds %s at row %lld, column %lld; a "
                        "damaged file cannot be quantized",
                        l->tensor, isnan(w[i]) ? "NaN" : "an infinity", (long long)(i / l->k),
                        (long long)(i % l->k));
    if (s == QL_OK)
        s = ql_quantize_with(&l->quant, ql_encode_on_queue, m->queue, w, l->n, l->k, out);
    ql_host_free(w);
    return s;
}

/* The rows of a linear layer's weight, decoded, into `buf` at byte `off` as `dtype`. */
static ql_status write_linear_rows(ql_model *m, const ql_linear *l, ql_buffer *buf, uint64_t off,
                                   ql_dtype dtype) {
    uint64_t bytes = (uint64_t)l->k * ql_dtype_size(dtype);
    ql_linear_rows rows = {0};
    QL_TRY(ql_linear_rows_open(m, l, &rows));
    float *row = ql_host_calloc((size_t)l->k, 2 * sizeof(float));
    ql_status s = row ? QL_OK : QL_NOMEM("a row of weights");
    for (int64_t i = 0; i < l->n && s == QL_OK; i++) {
        s = ql_linear_rows_read(&rows, i, row);
        if (s != QL_OK) break;
        to_dtype(row, l->k, dtype, row + l->k);
        s = m->dev->backend->write(m->queue, buf, off + (uint64_t)i * bytes, row + l->k, bytes);
        if (s == QL_OK) s = m->dev->backend->queue_sync(m->queue);
    }
    ql_host_free(row);
    ql_linear_rows_close(&rows);
    return s;
}

static ql_status load_linear(ql_model *m, const ql_linear *l) {
    if (l->turned) /* a Conv1D whose rows are wanted on the device */
        return write_linear_rows(m, l, m->weights, l->dense.off, l->dense.dtype);
    if (!l->quantized) return load_dense(m, &l->dense, l->from, l->tensor);
    ql_qtensor q = {0};
    QL_TRY(l->stored ? ql_stored_open(m->source, l->tensor, &q) : quantize_linear(m, l, &q));
    ql_status s = put_quantized(m, l, &q);
    if (s == QL_OK) s = m->dev->backend->queue_sync(m->queue);
    ql_qtensor_free(&q);
    return s;
}

static ql_status allocate(ql_model *m) {
    const ql_backend *b = m->dev->backend;
    uint64_t trained = m->n_trained * sizeof(float);
    if (m->weight_bytes)
        QL_TRY(b->buffer_alloc(m->dev, QL_MEM_DEVICE, m->weight_bytes, &m->weights));
    for (int32_t i = 0; i < m->n_mappings; i++) {
        if (!m->mappings[i].bytes) continue;                 /* given back: its tensor is trained */
        void *host = (void *)(uintptr_t)m->mappings[i].data; /* read-only pages: never written */
        QL_TRY(b->buffer_wrap(m->dev, host, m->mappings[i].bytes, &m->mappings[i].buf));
    }
    if (!trained) return QL_OK;
    QL_TRY(b->buffer_alloc(m->dev, QL_MEM_DEVICE, trained, &m->trained));
    if (!m->opts.optimizer) return QL_OK;
    return b->buffer_alloc(m->dev, QL_MEM_DEVICE, trained, &m->gradients);
}

static ql_status zero_buffer(ql_model *m, ql_buffer *buf) {
    if (!buf) return QL_OK;
    int64_t n = (int64_t)(buf->size / sizeof(float));
    ql_fill_args a = {{buf, 0, 1, n, n, QL_F32}, 0.0f};
    return ql_run_fill(m->queue, &a);
}

ql_status ql_model_place(ql_model *m, ql_device *dev, ql_queue *queue) {
    if (!ql_source_count(m->source))
        return QL_FAIL(QL_ERR_INVALID, "%s: has no weights to load", ql_source_path(m->source));
    if (m->dev) return QL_FAIL(QL_ERR_INVALID, "model: is on a device already");
    m->dev = dev;
    m->queue = queue;
    QL_TRY(allocate(m));
    QL_TRY(zero_buffer(m, m->trained));
    QL_TRY(zero_buffer(m, m->gradients));
    const ql_dense *d;
    for (int64_t i = 0; (d = ql_model_dense(m, i)); i++)
        QL_TRY(load_dense(m, &d->slot, d->from, d->name));
    if (m->tied && m->embed->param >= 0) QL_TRY(load_dense(m, &m->head->dense, m->embed->from, ""));
    int64_t total = m->n_linears - m->tied;
    for (int64_t i = 0; i < total; i++) {
        const ql_linear *l = ql_model_linear(m, i);
        if (m->opts.progress) m->opts.progress(m->opts.user, i, total, l->module);
        QL_TRY(load_linear(m, l));
    }
    if (m->opts.progress) m->opts.progress(m->opts.user, total, total, "");
    QL_TRY(dev->backend->queue_sync(queue));
    if (!m->weights) return QL_OK;
    return dev->backend->advise(queue, m->weights, 0, m->weights->size, QL_ADVISE_READ_ONLY);
}

void ql_model_report(const ql_model *m, ql_memory_report *out) {
    uint64_t trained = m->n_trained * sizeof(float);
    out->device[QL_POOL_WEIGHTS] += m->weight_bytes + m->mapped_bytes;
    out->mapped_bytes += m->mapped_bytes;
    out->device[QL_POOL_ADAPTERS] += trained;
    if (m->opts.optimizer) out->device[QL_POOL_GRADIENTS] += trained;
}

/* ---------------------------------------------------------------- trained values */

static uint64_t param_bytes(const ql_param *p) {
    return (uint64_t)p->rows * (uint64_t)p->cols * sizeof(float);
}

ql_status ql_param_read(ql_model *m, int32_t param, float *out) {
    const ql_param *p = &m->params[param];
    return m->dev->backend->read(m->queue, m->trained, p->first * sizeof(float), out,
                                 param_bytes(p));
}

ql_status ql_param_read_grad(ql_model *m, int32_t param, float *out) {
    const ql_param *p = &m->params[param];
    return m->dev->backend->read(m->queue, m->gradients, p->first * sizeof(float), out,
                                 param_bytes(p));
}

ql_status ql_param_write(ql_model *m, int32_t param, const float *in) {
    const ql_param *p = &m->params[param];
    QL_TRY(
        m->dev->backend->write(m->queue, m->trained, p->first * sizeof(float), in, param_bytes(p)));
    return m->dev->backend->queue_sync(m->queue);
}

void ql_adapter_draw_a(const ql_model *m, const ql_linear *l, uint64_t seed, float *a) {
    const ql_param *p = &m->params[l->adapter_a];
    int64_t n = p->rows * p->cols;
    ql_stream s = ql_stream_make(seed, QL_STREAM_ADAPTER_INIT, ql_hash_name(p->name) >> 16);
    float bound = (float)(1.0 / sqrt((double)l->k));
    for (int64_t i = 0; i < n; i++)
        a[i] = m->lora.init == QL_INIT_GAUSSIAN ? ql_stream_normal(&s) / (float)l->r
                                                : (2.0f * ql_stream_uniform(&s) - 1.0f) * bound;
}

static ql_status init_adapter_a(ql_model *m, const ql_linear *l, uint64_t seed) {
    float *a = ql_host_calloc((size_t)l->r, (size_t)l->k * sizeof(float));
    if (!a) return QL_NOMEM("an adapter");
    ql_adapter_draw_a(m, l, seed, a);
    ql_status status = ql_param_write(m, l->adapter_a, a);
    ql_host_free(a);
    return status;
}

/* DoRA: the magnitudes start at the row norms of the weight as the device holds it (B is 0). */
static ql_status init_magnitude(ql_model *m, const ql_linear *l) {
    const ql_backend *b = m->dev->backend;
    ql_op_args a = {.row_norm = {.norm = {m->trained, m->params[l->adapter_m].first * sizeof(float),
                                          1, l->n, l->n, QL_F32}}};
    if (l->quantized)
        a.row_norm.w = ql_linear_qmat(m, l);
    else
        a.row_norm.wd = ql_slot_mat(m, &l->dense);
    uint64_t scratch = b->scratch_bytes(m->dev, QL_OP_ROW_NORM, &a);
    ql_buffer *space = NULL;
    if (scratch) {
        QL_TRY(b->buffer_alloc(m->dev, QL_MEM_DEVICE, scratch, &space));
        a.row_norm.scratch = (ql_mat){space, 0, 1, (int64_t)scratch, (int64_t)scratch, QL_U8};
    }
    ql_status s = ql_run_row_norm(m->queue, &a.row_norm);
    if (s == QL_OK) s = b->queue_sync(m->queue);
    b->buffer_free(space);
    return s;
}

/* The file's weight, decoded, into its place in the trained region; a Conv1D as the file has it. */
static ql_status init_linear(ql_model *m, const ql_linear *l, uint64_t seed) {
    uint64_t at = m->params[l->dense_param].first * sizeof(float);
    if (l->fresh) return write_fresh(m, m->trained, at, &l->dense, l->tensor, seed);
    if (l->from) return write_rows(m, l->from, m->trained, at, QL_F32);
    return write_linear_rows(m, l, m->trained, at, QL_F32);
}

static ql_status init_dense(ql_model *m, const ql_dense *d, uint64_t seed) {
    uint64_t at = m->params[d->param].first * sizeof(float);
    if (d->fresh) return write_fresh(m, m->trained, at, &d->slot, d->name, seed);
    return write_rows(m, d->from, m->trained, at, QL_F32);
}

/* Trained rows of the embedding start as the file has them. */
static ql_status init_token_rows(ql_model *m) {
    const ql_token_table *t = &m->token_rows;
    if (!t->n) return QL_OK;
    int64_t cols = m->params[t->param].cols;
    float *rows = ql_host_calloc((size_t)t->n, (size_t)cols * sizeof(float));
    if (!rows) return QL_NOMEM("trainable tokens");
    ql_status s = QL_OK;
    for (int32_t i = 0; i < t->n && s == QL_OK; i++)
        s = ql_source_read_row(m->embed->from, t->ids[i], rows + i * cols);
    if (s == QL_OK) s = ql_param_write(m, t->param, rows);
    ql_host_free(rows);
    return s;
}

ql_status ql_model_init_trained(ql_model *m, uint64_t seed) {
    const ql_dense *d;
    for (int64_t i = 0; (d = ql_model_dense(m, i)); i++)
        if (d->param >= 0) QL_TRY(init_dense(m, d, seed));
    const ql_linear *l;
    for (int64_t i = 0; (l = ql_model_linear(m, i)); i++) {
        if (l->adapter_a >= 0) QL_TRY(init_adapter_a(m, l, seed));
        if (l->adapter_m >= 0) QL_TRY(init_magnitude(m, l));
        if (l->dense_param >= 0 && !(l == m->head && m->tied && m->opts.full))
            QL_TRY(init_linear(m, l, seed));
    }
    return init_token_rows(m);
}
