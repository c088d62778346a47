/* encode.c - q_quantize behind ql_quantize_with (see encode.h). */
#include "core/model/encode.h"

#include "core/device/device.h"

/* Host arrays as matrices of one row; the buffers are freed by release. */
typedef struct wrapped {
    ql_device *dev;
    ql_buffer *buf[4];
    int n;
} wrapped;

static ql_status wrap(wrapped *x, const void *host, int64_t rows, int64_t cols, ql_dtype dtype,
                      ql_mat *out) {
    uint64_t bytes = (uint64_t)rows * (uint64_t)cols * ql_dtype_size(dtype);
    ql_buffer *buf = NULL;
    QL_TRY(x->dev->backend->buffer_wrap(x->dev, (void *)(uintptr_t)host, bytes, &buf));
    x->buf[x->n++] = buf;
    *out = (ql_mat){buf, 0, rows, cols, cols, dtype};
    return QL_OK;
}

static void release(wrapped *x) {
    for (int i = 0; i < x->n; i++) x->dev->backend->buffer_free(x->buf[i]);
}

static ql_status encode(ql_queue *q, const ql_quant_opts *o, wrapped *x, const float *w, int64_t n,
                        int64_t k, uint8_t *codes, float *absmax, float *zero) {
    const ql_qtype *type = ql_qtype_at(o->type);
    ql_qbytes size;
    QL_TRY(ql_quant_bytes(o, n, k, &size));
    ql_q_quantize_args a = {.encode = type->encode, .rule = o->rule, .total = n * k};
    a.q = (ql_qmat){
        .n = n, .k = k, .bits = type->bits, .block = o->block, .pack = QL_PACK_HIGH_FIRST};
    QL_TRY(wrap(x, w, n, k, QL_F32, &a.w));
    QL_TRY(wrap(x, codes, 1, (int64_t)size.codes, QL_U8, &a.q.codes));
    QL_TRY(wrap(x, absmax, 1, size.n_blocks, QL_F32, &a.q.scale));
    if (type->affine) QL_TRY(wrap(x, zero, 1, size.n_blocks, QL_F32, &a.q.zero));
    ql_buffer *table = NULL;
    int64_t entries = (int64_t)1 << type->bits;
    QL_TRY(x->dev->backend->buffer_wrap(x->dev, (void *)(uintptr_t)type->table,
                                        (uint64_t)entries * sizeof(float), &table));
    a.q.table = (ql_mat){table, 0, 1, entries, entries, QL_F32};
    ql_status s = ql_run_q_quantize(q, &a);
    if (s == QL_OK) s = x->dev->backend->queue_sync(q);
    x->dev->backend->buffer_free(table);
    return s;
}

ql_status ql_encode_on_queue(void *user, const ql_quant_opts *o, const float *w, int64_t n,
                             int64_t k, uint8_t *codes, float *absmax, float *zero) {
    ql_queue *q = user;
    bool here = q->dev->props.caps & QL_CAP_WRAP_HOST;
    if (!here || ql_qtype_at(o->type)->per_row)
        return ql_encode_scalar(NULL, o, w, n, k, codes, absmax, zero);
    wrapped x = {.dev = q->dev};
    ql_status s = encode(q, o, &x, w, n, k, codes, absmax, zero);
    release(&x);
    return s;
}
