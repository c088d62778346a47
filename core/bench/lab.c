/* lab.c - see lab.h. */
#include "core/bench/lab.h"

#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/device/device.h"

ql_status ql_bench_lab_open(ql_device *dev, uint64_t seed, ql_bench_lab *out) {
    ql_queue *queue = NULL;
    QL_TRY(dev->backend->queue_create(dev, &queue));
    *out = (ql_bench_lab){.queue = queue, .rng = ql_stream_make(seed, QL_STREAM_SAMPLE, 0)};
    return QL_OK;
}

void ql_bench_lab_close(ql_bench_lab *lab) {
    if (!lab->queue) return;
    const ql_backend *be = lab->queue->dev->backend;
    be->queue_destroy(lab->queue);
    for (size_t i = 0; i < lab->n; i++) be->buffer_free(lab->buffers[i]);
    ql_host_free(lab->buffers);
    *lab = (ql_bench_lab){0};
}

ql_status ql_bench_empty(ql_bench_lab *lab, ql_dtype dtype, int64_t rows, int64_t cols,
                         ql_mat *out) {
    ql_device *dev = lab->queue->dev;
    uint64_t elements, bytes;
    ql_buffer *buf = NULL;
    QL_TRY(ql_mul_size((uint64_t)rows, (uint64_t)cols, &elements));
    QL_TRY(ql_mul_size(elements, ql_dtype_size(dtype), &bytes));
    QL_TRY(ql_host_grow((void **)&lab->buffers, &lab->cap, lab->n + 1, sizeof(ql_buffer *)));
    QL_TRY(dev->backend->buffer_alloc(dev, QL_MEM_DEVICE, bytes, &buf));
    lab->buffers[lab->n++] = buf;
    *out = (ql_mat){buf, 0, rows, cols, cols, dtype};
    return QL_OK;
}

ql_status ql_bench_copy(ql_bench_lab *lab, ql_dtype dtype, int64_t rows, int64_t cols,
                        const void *data, ql_mat *out) {
    QL_TRY(ql_bench_empty(lab, dtype, rows, cols, out));
    const ql_backend *be = lab->queue->dev->backend;
    QL_TRY(be->write(lab->queue, out->buf, 0, data, out->buf->size));
    return be->queue_sync(lab->queue); /* the caller's data may go */
}

static void fill(ql_stream *rng, ql_dtype dtype, void *data, int64_t n, float lo, float hi) {
    if (dtype == QL_U8) {
        uint8_t *bytes = data;
        uint32_t word = 0;
        for (int64_t i = 0; i < n; i++) {
            word = i % 4 ? word >> 8 : ql_stream_u32(rng);
            bytes[i] = (uint8_t)word;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float x = lo + (hi - lo) * ql_stream_uniform(rng);
        if (dtype == QL_BF16)
            ((uint16_t *)data)[i] = ql_bf16_from_f32(x);
        else if (dtype == QL_F16)
            ((uint16_t *)data)[i] = ql_f16_from_f32(x);
        else
            ((float *)data)[i] = x;
    }
}

ql_status ql_bench_random(ql_bench_lab *lab, ql_dtype dtype, int64_t rows, int64_t cols, float lo,
                          float hi, ql_mat *out) {
    void *data = ql_host_calloc((size_t)(rows * cols), ql_dtype_size(dtype));
    if (!data) return QL_NOMEM("a random matrix");
    fill(&lab->rng, dtype, data, rows * cols, lo, hi);
    ql_status s = ql_bench_copy(lab, dtype, rows, cols, data, out);
    ql_host_free(data);
    return s;
}

ql_status ql_bench_count_up(ql_bench_lab *lab, int64_t n, ql_mat *out) {
    int32_t *data = ql_host_calloc((size_t)n, sizeof *data);
    if (!data) return QL_NOMEM("an index");
    for (int64_t i = 0; i < n; i++) data[i] = (int32_t)i;
    ql_status s = ql_bench_copy(lab, QL_I32, 1, n, data, out);
    ql_host_free(data);
    return s;
}

ql_status ql_bench_scratch(ql_bench_lab *lab, ql_op op, const ql_op_args *a, ql_mat *out) {
    ql_device *dev = lab->queue->dev;
    uint64_t bytes = dev->backend->scratch_bytes(dev, op, a);
    return bytes ? ql_bench_empty(lab, QL_U8, 1, (int64_t)bytes, out) : QL_OK;
}
