/*
 * launch.c - one kernel launch: arguments are collected, then the build of the kernel is chosen
 * (do all matrices lie in one piece?), set and enqueued under the device's lock.
 */
#include <string.h>

#include "backends/opencl/cl.h"

void ql_cl_begin(ql_cl_call *c, ql_queue *q, ql_cl_kernel kernel) {
    c->q = q;
    c->kernel = kernel;
    c->n = 0;
    c->straddles = false;
    c->status = QL_OK;
}

static ql_cl_arg *next(ql_cl_call *c) {
    static ql_cl_arg spill; /* never read: the status says why */
    if (c->n < QL_CL_MAX_ARGS) return &c->arg[c->n++];
    c->status =
        QL_FAIL(QL_ERR_INTERNAL, "opencl: kernel %d has too many arguments", (int)c->kernel);
    return &spill;
}

static uint64_t element_size(ql_dtype t) {
    return t == QL_U8 ? 1 : t == QL_F16 || t == QL_BF16 ? 2 : 4;
}

void ql_cl_mat(ql_cl_call *c, const ql_mat *m) {
    ql_cl_arg *a = next(c);
    a->kind = QL_CL_ARG_MAT;
    a->mat = *m;
    if (!m->buf) return;
    const ql_cl_buffer *b = (const ql_cl_buffer *)m->buf;
    uint64_t last = m->off + (uint64_t)((m->rows - 1) * m->ld + m->cols) * element_size(m->dtype);
    uint64_t chunk = b->d->info.chunk, first = m->off / chunk;
    uint64_t end = (b->base.size - 1) / chunk; /* a batch may reach further than its first matrix */
    if (m->buf->mem == QL_MEM_HOST) {
        c->status = QL_FAIL(QL_ERR_UNSUPPORTED,
                            "opencl: an operator cannot work on host memory; copy it first");
    } else if ((last - 1) / chunk - first >= QL_CL_PIECES) {
        c->status = QL_FAIL(QL_ERR_UNSUPPORTED,
                            "opencl: a matrix of %llu bytes reaches into more than %d allocations "
                            "of %llu bytes, the most that '%s' allows at once",
                            (unsigned long long)(last - m->off), (int)QL_CL_PIECES,
                            (unsigned long long)chunk, b->d->base.props.name);
    }
    if (m->rows > 1 && m->ld > INT32_MAX)
        c->status =
            QL_FAIL(QL_ERR_UNSUPPORTED, "opencl: a row stride of %lld elements", (long long)m->ld);
    if ((last - 1) / chunk != first) c->straddles = true;
    if (c->kernel == QL_CL_gemm && end != first) c->straddles = true;
}

void ql_cl_none(ql_cl_call *c) {
    const ql_mat none = {0};
    ql_cl_mat(c, &none);
}

static void bytes(ql_cl_call *c, const void *v, size_t size) {
    ql_cl_arg *a = next(c);
    a->kind = QL_CL_ARG_BYTES;
    a->size = size;
    memcpy(&a->value, v, size);
}
void ql_cl_int(ql_cl_call *c, int32_t v) {
    bytes(c, &v, sizeof v);
}
void ql_cl_long(ql_cl_call *c, int64_t v) {
    bytes(c, &v, sizeof v);
}
void ql_cl_ulong(ql_cl_call *c, uint64_t v) {
    bytes(c, &v, sizeof v);
}
void ql_cl_float(ql_cl_call *c, float v) {
    bytes(c, &v, sizeof v);
}

static int log2_of(int64_t v) {
    int n = 0;
    while (v > 1 && v % 2 == 0) v /= 2, n++;
    return v == 1 ? n : -1;
}

void ql_cl_qmat(ql_cl_call *c, const ql_qmat *w) {
    static const ql_qmat none;
    if (!w) w = &none;
    const ql_mat *parts[] = {&w->codes,  &w->table, &w->scale, &w->zero,
                             &w->scale2, &w->code2, &w->offset};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) ql_cl_mat(c, parts[i]);
    int64_t block = w->block > 0 ? w->block : w->k;
    ql_cl_long(c, w->k);
    ql_cl_long(c, w->row0 * w->k);
    ql_cl_int(c, w->bits);
    ql_cl_long(c, block);
    ql_cl_int(c, log2_of(block));
    ql_cl_int(c, w->block2);
    ql_cl_int(c, log2_of(w->block2));
    ql_cl_int(c, (int32_t)w->pack);
    ql_cl_int(c, (int32_t)w->ggml);
    ql_cl_float(c, w->post);
}

/* ------------------------------------------------------------------------ running */

typedef struct setter {
    cl_kernel kernel;
    cl_uint at;
    cl_int error;
} setter;

static void set(setter *s, size_t size, const void *value) {
    if (s->error == CL_SUCCESS) s->error = clSetKernelArg(s->kernel, s->at++, size, value);
}

/* MAT of common.cl: the pieces from the one of the first byte on, place, stride, dtype. */
static void set_mat(ql_cl_device *d, setter *s, const ql_mat *m, int pieces) {
    const ql_cl_buffer *b = (const ql_cl_buffer *)m->buf;
    uint64_t first = b ? m->off / d->info.chunk : 0;
    for (int i = 0; i < pieces; i++) {
        bool there = b && first + (uint64_t)i < (uint64_t)b->n_pieces;
        set(s, sizeof(cl_mem), there ? &b->piece[first + (uint64_t)i] : &d->none);
    }
    cl_ulong off = b ? m->off % d->info.chunk : 0;
    cl_int ld = b && m->rows > 1 ? (cl_int)m->ld : 0; /* one row needs no stride */
    cl_int type = b ? (cl_int)m->dtype : -1;
    set(s, sizeof off, &off);
    set(s, sizeof ld, &ld);
    set(s, sizeof type, &type);
}

static ql_status run_locked(ql_cl_call *c, const size_t global[3], const size_t local[3]) {
    static const char *const names[] = {
#define QL_X(name, family) #name,
        QL_CL_KERNELS(QL_X)
#undef QL_X
    };
    ql_cl_device *d = ql_cl_dev(c->q);
    setter s = {0};
    QL_TRY(ql_cl_kernel_of(d, c->kernel, c->straddles, &s.kernel));
    for (int i = 0; i < c->n; i++) {
        const ql_cl_arg *a = &c->arg[i];
        if (a->kind == QL_CL_ARG_MAT)
            set_mat(d, &s, &a->mat, c->straddles ? QL_CL_PIECES : 1);
        else
            set(&s, a->size, &a->value);
    }
    char what[64] = "running kernel ";
    strncat(what, names[c->kernel], sizeof what - strlen(what) - 1);
    QL_CL_TRY(d, what, s.error);
    QL_CL_TRY(d, what,
              clEnqueueNDRangeKernel(((ql_cl_queue *)c->q)->cl, s.kernel, 3, NULL, global, local, 0,
                                     NULL, NULL));
    return QL_OK;
}

ql_status ql_cl_run_groups(ql_cl_call *c, int64_t x, int64_t y, int64_t z, int items) {
    ql_cl_device *d = ql_cl_dev(c->q);
    const size_t global[3] = {(size_t)x * (size_t)items, (size_t)y, (size_t)z};
    const size_t local[3] = {(size_t)items, 1, 1};
    if (c->status != QL_OK) return c->status;
    if (x < 1 || y < 1 || z < 1) return QL_OK; /* nothing to do */
    QL_TRY(ql_cl_alive(d));
    pthread_mutex_lock(&d->lock);
    ql_status s = run_locked(c, global, local);
    pthread_mutex_unlock(&d->lock);
    return s;
}

ql_status ql_cl_run_items(ql_cl_call *c, int64_t x, int64_t y) {
    return ql_cl_run_groups(c, (x + QL_CL_WG - 1) / QL_CL_WG, y, 1, QL_CL_WG);
}

ql_mat ql_cl_carve(const ql_mat *scratch, uint64_t *off, int64_t count) {
    ql_mat m = {scratch->buf, scratch->off + *off, 1, count, count, QL_F32};
    *off += (uint64_t)count * sizeof(float);
    return m;
}
