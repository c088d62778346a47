/* shapes_weight.c - shapes and dtypes of quantized weights and of the operators that multiply. */
#include "core/device/shapes.h"

/* -------------------------------------------------------------- quantized weights */

/* Bytes of one row of GGUF blocks; 0 for an unknown type. */
static int64_t ggml_row_bytes(ql_ggml type, int64_t k) {
    static const int64_t block_bytes[] = {
        [QL_GGML_NONE] = 0,  [QL_GGML_Q4_0] = 18, [QL_GGML_Q4_1] = 20,
        [QL_GGML_Q5_0] = 22, [QL_GGML_Q5_1] = 24, [QL_GGML_Q8_0] = 34};
    return (unsigned)type <= QL_GGML_Q8_0 ? k / 32 * block_bytes[type] : 0;
}

static ql_status is_ggml(const ql_check_ctx *c, const ql_qmat *w) {
    int64_t bytes = ggml_row_bytes(w->ggml, w->k);
    if (bytes == 0 || w->k % 32 != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: a GGUF weight of type %d with k = %" PRId64
                       "; k must be a multiple of 32 and the type known",
                       c->op, (int)w->ggml, w->k);
    return ql_shape_is(c, "w.codes", &w->codes, w->n, bytes, QL_ONLY_U8);
}

/* Number, within the whole weight, of the block of element e. */
static int64_t block_of(const ql_qmat *w, int64_t e) {
    return e / (w->block == 0 ? w->k : w->block);
}

/* Packed codes are one run of bytes ([1, bytes], [bytes, 1] or rows without gaps) that starts with
 * the byte of the first element held here. */
static ql_status is_codes(const ql_check_ctx *c, const ql_qmat *w) {
    const ql_mat *m = &w->codes;
    int64_t have;
    QL_TRY(ql_shape_is_type(c, "w.codes", m, QL_ONLY_U8));
    if (m->rows > 1 && m->ld != m->cols)
        return QL_FAIL(QL_ERR_SHAPE, "%s: w.codes has a row stride, packed codes must not", c->op);
    if (__builtin_mul_overflow(m->rows, m->cols, &have)) have = INT64_MAX;
    int64_t need = ql_ceil_div(w->row0 * w->k * w->bits % 8 + w->n * w->k * w->bits, 8);
    if (have != need)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: w.codes holds %" PRId64 " bytes, %d-bit codes of [%" PRId64 ", %" PRId64
                       "] from row %" PRId64 " need %" PRId64,
                       c->op, have, (int)w->bits, w->n, w->k, w->row0, need);
    return QL_OK;
}

static ql_status is_scales(const ql_check_ctx *c, const ql_qmat *w) {
    int64_t first = block_of(w, w->row0 * w->k), last = block_of(w, (w->row0 + w->n) * w->k - 1);
    bool doubled = ql_shape_has(c, &w->scale2);
    QL_TRY(ql_shape_needs(c, "w.scale", &w->scale, "block scales are needed"));
    QL_TRY(
        ql_shape_is(c, "w.scale", &w->scale, 1, last - first + 1, doubled ? QL_ONLY_U8 : QL_WIDE));
    QL_TRY(ql_shape_is(c, "w.zero", &w->zero, 1, last - first + 1, QL_WIDE));
    if (!doubled) return QL_OK;
    if (w->block2 < 1)
        return QL_FAIL(QL_ERR_INVALID, "%s: w.block2 is %d, expected >= 1", c->op, (int)w->block2);
    QL_TRY(ql_shape_needs(c, "w.code2", &w->code2, "the scales are doubled"));
    QL_TRY(ql_shape_needs(c, "w.offset", &w->offset, "the scales are doubled"));
    QL_TRY(ql_shape_is(c, "w.scale2", &w->scale2, 1, last / w->block2 - first / w->block2 + 1,
                       QL_ONLY_F32));
    QL_TRY(ql_shape_is(c, "w.code2", &w->code2, 1, 256, QL_ONLY_F32));
    return ql_shape_is(c, "w.offset", &w->offset, 1, 1, QL_ONLY_F32);
}

/* The weight's last bit must have a 63-bit number, so that no product below overflows. */
static bool is_countable(const ql_qmat *w) {
    int64_t rows, e;
    return !__builtin_add_overflow(w->row0, w->n, &rows) &&
           !__builtin_mul_overflow(rows, w->k, &e) && e <= INT64_MAX / 16;
}

static ql_status is_qmat(const ql_check_ctx *c, const ql_qmat *w) {
    QL_TRY(ql_shape_needs(c, "w.codes", &w->codes, "the weight is quantized"));
    if (w->n < 1 || w->k < 1 || w->row0 < 0 || !is_countable(w))
        return QL_FAIL(QL_ERR_SHAPE, "%s: weight is [%" PRId64 ", %" PRId64 "] from row %" PRId64,
                       c->op, w->n, w->k, w->row0);
    if (w->pack == QL_PACK_GGML) return is_ggml(c, w);
    if (w->ggml != QL_GGML_NONE || (unsigned)w->pack > QL_PACK_GGML)
        return QL_FAIL(QL_ERR_INVALID, "%s: pack %d with GGUF type %d", c->op, (int)w->pack,
                       (int)w->ggml);
    QL_TRY(ql_shape_in_range(c, "w.bits", w->bits, 1, 8));
    QL_TRY(ql_shape_in_range(c, "w.block", w->block, 0, INT32_MAX));
    QL_TRY(ql_shape_needs(c, "w.table", &w->table, "codes need their table"));
    QL_TRY(ql_shape_is(c, "w.table", &w->table, 1, (int64_t)1 << w->bits, QL_ONLY_F32));
    QL_TRY(is_codes(c, w));
    return is_scales(c, w);
}

/* Exactly one of a quantized and a dense weight; its shape. */
static ql_status one_weight(const ql_check_ctx *c, const ql_qmat *w, const ql_mat *wd, int64_t *n,
                            int64_t *k) {
    bool quantized = ql_shape_has(c, &w->codes), dense = ql_shape_has(c, wd);
    if (quantized == dense)
        return QL_FAIL(QL_ERR_INVALID, "%s: give one of w and wd, not %s", c->op,
                       dense ? "both" : "none");
    if (quantized) QL_TRY(is_qmat(c, w));
    if (dense) QL_TRY(ql_shape_is_type(c, "wd", wd, QL_FLOATS));
    *n = dense ? wd->rows : w->n;
    *k = dense ? wd->cols : w->k;
    return QL_OK;
}

/* ---------------------------------------------------------------- gemm, quant */

ql_status ql_check_gemm(const ql_check_ctx *c, const ql_gemm_args *a) {
    int64_t m = a->trans_a ? a->a.cols : a->a.rows, k = a->trans_a ? a->a.rows : a->a.cols;
    int64_t kb = a->trans_b ? a->b.cols : a->b.rows, n = a->trans_b ? a->b.rows : a->b.cols;
    TYPE(a, QL_FLOATS);
    TYPE(b, QL_FLOATS);
    if (k != kb)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: op(a) is [%" PRId64 ", %" PRId64 "], op(b) is [%" PRId64 ", %" PRId64
                       "]; the inner sizes differ",
                       c->op, m, k, kb, n);
    IS(c, m, n, QL_FLOATS);
    IS(bias, 1, n, QL_FLOATS);
    return ql_shape_in_range(c, "batch", a->batch, 0, INT32_MAX);
}

ql_status ql_check_gemm_q(const ql_check_ctx *c, const ql_gemm_q_args *a) {
    QL_TRY(is_qmat(c, &a->w));
    int64_t in = a->trans_w ? a->w.n : a->w.k, out = a->trans_w ? a->w.k : a->w.n;
    if (a->x.cols != in)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: x has %" PRId64 " columns, weight [%" PRId64 ", %" PRId64 "]%s takes "
                       "%" PRId64,
                       c->op, a->x.cols, a->w.n, a->w.k, a->trans_w ? " transposed" : "", in);
    TYPE(x, QL_FLOATS);
    IS(y, a->x.rows, out, QL_FLOATS);
    if (HAS(bias) && a->trans_w)
        return QL_FAIL(QL_ERR_INVALID, "%s: a bias only goes with trans_w == false", c->op);
    IS(bias, 1, out, QL_FLOATS);
    return QL_OK;
}

ql_status ql_check_q_quantize(const ql_check_ctx *c, const ql_q_quantize_args *a) {
    QL_TRY(is_qmat(c, &a->q));
    IS(w, a->q.n, a->q.k, QL_FLOATS);
    QL_TRY(ql_shape_in_range(c, "encode", a->encode, QL_ENCODE_NEAREST, QL_ENCODE_AFFINE));
    QL_TRY(ql_shape_in_range(c, "rule", a->rule, QL_RULE_CPU, QL_RULE_CUDA));
    if (HAS(q.scale2) || a->q.pack == QL_PACK_GGML || a->q.scale.dtype != QL_F32)
        return QL_FAIL(QL_ERR_INVALID, "%s: the target has one level of f32 scales, got %s", c->op,
                       a->q.pack == QL_PACK_GGML ? "GGUF blocks"
                       : HAS(q.scale2)           ? "two levels"
                                                 : ql_dtype_name(a->q.scale.dtype));
    if (a->encode == QL_ENCODE_AFFINE) {
        QL_TRY(ql_shape_needs(c, "q.zero", &a->q.zero, "the encoding is affine"));
        TYPE(q.zero, QL_ONLY_F32);
    }
    int64_t size = a->q.n * a->q.k;
    if (a->first < 0 || a->total < size || a->first > a->total - size ||
        (a->q.block > 0 && a->first % a->q.block != 0))
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: %" PRId64 " elements from %" PRId64 " of %" PRId64
                       "; expected a part that starts at a block",
                       c->op, size, a->first, a->total);
    return QL_OK;
}

ql_status ql_check_q_dequantize(const ql_check_ctx *c, const ql_q_dequantize_args *a) {
    QL_TRY(is_qmat(c, &a->q));
    IS(w, a->w.rows, a->q.k, QL_FLOATS);
    if (a->row0 < 0 || a->w.rows > a->q.n || a->row0 > a->q.n - a->w.rows)
        return QL_FAIL(QL_ERR_SHAPE, "%s: rows %" PRId64 " to %" PRId64 " of a weight of %" PRId64,
                       c->op, a->row0, a->row0 + a->w.rows, a->q.n);
    return QL_OK;
}

ql_status ql_check_row_norm(const ql_check_ctx *c, const ql_row_norm_args *a) {
    int64_t n, k;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(norm, 1, n, QL_ONLY_F32);
    if (HAS(a) != HAS(b))
        return QL_FAIL(QL_ERR_INVALID, "%s: a and b come together or not at all", c->op);
    IS(a, a->a.rows, k, QL_FLOATS);
    IS(b, n, a->a.rows, QL_FLOATS);
    return QL_OK;
}

/* ----------------------------------------------------------------------- lora */

ql_status ql_check_lora_fwd(const ql_check_ctx *c, const ql_lora_fwd_args *a) {
    int64_t n, k, r = a->a.rows, N = a->x.rows;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(x, N, k, QL_FLOATS);
    IS(bias, 1, n, QL_FLOATS);
    IS(a, r, k, QL_FLOATS);
    IS(b, n, r, QL_FLOATS);
    IS(u, N, r, QL_FLOATS);
    IS(y, N, n, QL_FLOATS);
    QL_TRY(ql_shape_is_dropout(c, a->p));
    return ql_shape_is_rng(c, &a->rng, N);
}

ql_status ql_check_lora_bwd(const ql_check_ctx *c, const ql_lora_bwd_args *a) {
    int64_t n, k, r = a->a.rows, N = a->x.rows;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(x, N, k, QL_FLOATS);
    IS(a, r, k, QL_FLOATS);
    IS(b, n, r, QL_FLOATS);
    IS(u, N, r, QL_FLOATS);
    IS(dy, N, n, QL_FLOATS);
    IS(dx, N, k, QL_FLOATS);
    IS(da, r, k, QL_FLOATS);
    IS(db, n, r, QL_FLOATS);
    QL_TRY(ql_shape_is_dropout(c, a->p));
    return ql_shape_is_rng(c, &a->rng, N);
}
