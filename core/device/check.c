/*
 * check.c - checked operator calls: what may go wrong is refused here, in one sentence, before a
 * backend sees it.
 *
 * Order: every operand by itself (present, positive, strided, aligned, inside its buffer), then
 * shapes and dtypes between operands (shapes.c), then overlap. Contents (indices, offsets of
 * sequences) live on the device and are the builder's duty.
 */
#include <inttypes.h>

#include "core/device/operands.h"

static bool present(const ql_mat *m, bool bound) {
    return bound ? m->buf != NULL : m->rows != 0;
}

/* Bytes from the first to behind the last element; false on overflow. */
static bool extent_bytes(const ql_mat *m, uint64_t *out) {
    uint64_t last, size = ql_dtype_size(m->dtype);
    if (__builtin_mul_overflow((uint64_t)(m->rows - 1), (uint64_t)m->ld, &last)) return false;
    if (__builtin_add_overflow(last, (uint64_t)m->cols, &last)) return false;
    return !__builtin_mul_overflow(last, size, out);
}

static ql_status check_place(ql_device *dev, const char *op, const char *name, const ql_mat *m) {
    uint64_t size = ql_dtype_size(m->dtype), bytes, end;
    if (m->off % size != 0)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: %s starts at byte %" PRIu64
                       ", not a multiple of its element size %" PRIu64,
                       op, name, m->off, size);
    if (m->buf->dev != dev)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: the buffer of %s belongs to another device than the "
                       "queue (%s)",
                       op, name, dev->props.name);
    if (!extent_bytes(m, &bytes) || __builtin_add_overflow(m->off, bytes, &end) ||
        end > m->buf->size)
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: %s [%" PRId64 ", %" PRId64 "] %s with row stride %" PRId64
                       " at byte %" PRIu64 " does not fit its buffer of %" PRIu64 " bytes",
                       op, name, m->rows, m->cols, ql_dtype_name(m->dtype), m->ld, m->off,
                       m->buf->size);
    return QL_OK;
}

static ql_status check_operand(ql_device *dev, const char *op, const ql_operand *o,
                               const ql_mat *m) {
    if (!present(m, dev != NULL)) {
        if (o->optional) return QL_OK;
        return QL_FAIL(QL_ERR_INVALID, "%s: operand %s is absent, but this operator needs it", op,
                       o->name);
    }
    if (ql_dtype_size(m->dtype) == 0)
        return QL_FAIL(QL_ERR_DTYPE, "%s: %s has dtype number %d, which does not exist", op,
                       o->name, (int)m->dtype);
    if (m->rows < 1 || m->cols < 1)
        return QL_FAIL(QL_ERR_SHAPE, "%s: %s is [%" PRId64 ", %" PRId64 "]; both must be >= 1", op,
                       o->name, m->rows, m->cols);
    if (m->ld < m->cols)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %s has row stride %" PRId64 ", less than its %" PRId64 " columns", op,
                       o->name, m->ld, m->cols);
    return dev ? check_place(dev, op, o->name, m) : QL_OK;
}

/* -------------------------------------------------------------------- overlap */

static bool same_view(const ql_mat *a, const ql_mat *b) {
    return a->off == b->off && a->rows == b->rows && a->cols == b->cols && a->dtype == b->dtype &&
           (a->ld == b->ld || a->rows == 1);
}

/* Do two matrices of one buffer share a byte? Column slices of one wide matrix do not: with equal
 * row strides S the columns of a fill [0, wa) and those of b [d, d + wb) of each stride, d = the
 * distance modulo S. With other strides, touching ranges count as shared. */
static bool overlap(const ql_mat *a, const ql_mat *b) {
    uint64_t bytes_a = 0, bytes_b = 0;
    if (!extent_bytes(a, &bytes_a) || !extent_bytes(b, &bytes_b)) return true;
    if (a->off + bytes_a <= b->off || b->off + bytes_b <= a->off) return false;
    uint64_t sa = (uint64_t)a->ld * ql_dtype_size(a->dtype);
    uint64_t sb = (uint64_t)b->ld * ql_dtype_size(b->dtype);
    uint64_t stride = a->rows == 1 ? sb : sa;
    if ((a->rows > 1 && b->rows > 1 && sa != sb) || (a->rows == 1 && b->rows == 1)) return true;
    uint64_t wa = (uint64_t)a->cols * ql_dtype_size(a->dtype);
    uint64_t wb = (uint64_t)b->cols * ql_dtype_size(b->dtype);
    uint64_t phase_a = a->off % stride, phase_b = b->off % stride;
    uint64_t d = phase_b >= phase_a ? phase_b - phase_a : phase_b + stride - phase_a;
    return d < wa || d + wb > stride;
}

static ql_status check_overlap(const char *op, const ql_operand *list, int n, const ql_op_args *a) {
    for (int i = 0; i < n; i++) {
        const ql_mat *out = ql_operand_mat(&list[i], a);
        if (!out->buf || list[i].use == QL_USE_READ) continue;
        for (int j = 0; j < n; j++) {
            const ql_mat *other = ql_operand_mat(&list[j], a);
            if (i == j || other->buf != out->buf || !overlap(out, other)) continue;
            bool allowed = (list[i].may_be >> j & 1u) || (list[j].may_be >> i & 1u);
            if (allowed && same_view(out, other)) continue;
            return QL_FAIL(QL_ERR_INVALID,
                           allowed ? "%s: %s and %s overlap without being the same matrix"
                                   : "%s: %s overlaps %s, which this operator does not allow",
                           op, list[i].name, list[j].name);
        }
    }
    return QL_OK;
}

/* The last of a batch of matrices must be inside the buffer too. */
static ql_status check_batch(const char *name, const ql_mat *m, int32_t batch, int64_t stride,
                             bool output) {
    if (stride < 0 || (output && stride == 0))
        return QL_FAIL(QL_ERR_INVALID, "gemm: stride_%s is %" PRId64 " for a batch of %d", name,
                       stride, (int)batch);
    uint64_t move, end, bytes;
    if (__builtin_mul_overflow((uint64_t)stride, (uint64_t)(batch - 1), &move) ||
        __builtin_mul_overflow(move, ql_dtype_size(m->dtype), &move) || !extent_bytes(m, &bytes) ||
        __builtin_add_overflow(move, m->off, &end) || __builtin_add_overflow(end, bytes, &end) ||
        end > m->buf->size)
        return QL_FAIL(QL_ERR_INVALID,
                       "gemm: the last of %d matrices %s, %" PRId64
                       " elements apart, ends behind its buffer of %" PRIu64 " bytes",
                       (int)batch, name, stride, m->buf->size);
    return QL_OK;
}

static ql_status check_gemm_batch(const ql_gemm_args *a) {
    if (a->batch <= 1) return QL_OK;
    QL_TRY(check_batch("a", &a->a, a->batch, a->stride_a, false));
    QL_TRY(check_batch("b", &a->b, a->batch, a->stride_b, false));
    return check_batch("c", &a->c, a->batch, a->stride_c, true);
}

/* ------------------------------------------------------------------------ api */

ql_status ql_check_op(ql_device *dev, ql_op op, const ql_op_args *a) {
    if ((unsigned)op >= QL_OP_COUNT)
        return QL_FAIL(QL_ERR_INVALID, "operator number %d does not exist", (int)op);
    int n;
    const ql_operand *list = ql_operands_of(op, &n);
    for (int i = 0; i < n; i++)
        QL_TRY(check_operand(dev, ql_op_name(op), &list[i], ql_operand_mat(&list[i], a)));
    QL_TRY(ql_check_shapes(op, a, dev != NULL));
    if (!dev) return QL_OK;
    if (op == QL_OP_GEMM) QL_TRY(check_gemm_batch(&a->gemm));
    return check_overlap(ql_op_name(op), list, n, a);
}

static ql_status fail_absent(ql_queue *q, ql_op op, const ql_op_args *a) {
    const char *why = "the backend has no such operator";
    (void)q->dev->backend->supports(q->dev, op, a, &why);
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s on %s: %s", ql_op_name(op), q->dev->props.name, why);
}

#define QL_X(ID, name, family)                                                                     \
    ql_status ql_run_##name(ql_queue *q, const ql_##name##_args *a) {                              \
        const ql_op_args *any = (const ql_op_args *)(const void *)a;                               \
        QL_TRY(ql_check_op(q->dev, QL_OP_##ID, any));                                              \
        if (!q->dev->backend->ops.name) return fail_absent(q, QL_OP_##ID, any);                    \
        return q->dev->backend->ops.name(q, a);                                                    \
    }
QL_OPS(QL_X)
#undef QL_X

ql_status ql_run_op(ql_queue *q, ql_op op, const ql_op_args *a) {
    switch (op) {
#define QL_X(ID, name, family)                                                                     \
    case QL_OP_##ID: return ql_run_##name(q, &a->name);
        QL_OPS(QL_X)
#undef QL_X
    case QL_OP_COUNT: break;
    }
    return QL_FAIL(QL_ERR_INVALID, "operator number %d does not exist", (int)op);
}
