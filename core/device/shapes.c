/*
 * shapes.c - shapes, dtypes and scalars of every operator, as backend.h states them.
 *
 * One function per operator. A sentence names operator, operand, what it is and what it should be.
 * An absent operand passes every shape rule; whether it may be absent is the operand table's
 * matter, unless it depends on other operands.
 */
#include <inttypes.h>

#include "core/device/operands.h"

typedef struct check {
    const char *op;
    bool bound;
} check;

enum {
    FLOATS = 1 << QL_F32 | 1 << QL_F16 | 1 << QL_BF16,
    F32 = 1 << QL_F32,
    I32 = 1 << QL_I32,
    U8 = 1 << QL_U8,
    WIDE = 1 << QL_F32 | 1 << QL_F16
};

static bool has(const check *c, const ql_mat *m) {
    return c->bound ? m->buf != NULL : m->rows > 0;
}

static const char *types_text(int allowed) {
    switch (allowed) {
    case FLOATS: return "f32, f16 or bf16";
    case F32: return "f32";
    case I32: return "i32";
    case U8: return "u8";
    case WIDE: return "f32 or f16";
    default: return "f32, f16 or u8";
    }
}

static ql_status is(const check *c, const char *name, const ql_mat *m, int64_t rows, int64_t cols,
                    int types) {
    if (!has(c, m)) return QL_OK;
    if (m->rows != rows || m->cols != cols)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %s is [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]",
                       c->op, name, m->rows, m->cols, rows, cols);
    if (!(types >> m->dtype & 1))
        return QL_FAIL(QL_ERR_DTYPE, "%s: %s is %s, expected %s", c->op, name,
                       ql_dtype_name(m->dtype), types_text(types));
    return QL_OK;
}

/* Any shape, these dtypes. */
static ql_status is_type(const check *c, const char *name, const ql_mat *m, int types) {
    return is(c, name, m, m->rows, m->cols, types);
}

static ql_status needs(const check *c, const char *name, const ql_mat *m, const char *why) {
    return has(c, m)
               ? QL_OK
               : QL_FAIL(QL_ERR_INVALID, "%s: operand %s is absent, but %s", c->op, name, why);
}

static ql_status in_range(const check *c, const char *name, double v, double lo, double hi) {
    return v >= lo && v <= hi
               ? QL_OK
               : QL_FAIL(QL_ERR_INVALID, "%s: %s is %g, expected %g to %g", c->op, name, v, lo, hi);
}

/* p of dropout: [0, 1). */
static ql_status is_dropout(const check *c, float p) {
    return p >= 0.0f && p < 1.0f ? QL_OK
                                 : QL_FAIL(QL_ERR_INVALID, "%s: dropout is %g, expected 0 <= p < 1",
                                           c->op, (double)p);
}

static ql_status is_rng(const check *c, const ql_rng *r, int64_t rows) {
    QL_TRY(is(c, "rng.key", &r->key, rows, 2, I32));
    return is(c, "rng.step", &r->step, 1, QL_STEP_BLOCK_BYTES, U8);
}

/* IS(y, rows, cols, types): operand a->y. */
#define IS(field, rows, cols, types) QL_TRY(is(c, #field, &a->field, rows, cols, types))
#define TYPE(field, types)           QL_TRY(is_type(c, #field, &a->field, types))
#define HAS(field)                   has(c, &a->field)

/* -------------------------------------------------------------- quantized weights */

static int64_t ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* Bytes of one row of GGUF blocks; 0 for an unknown type. */
static int64_t ggml_row_bytes(ql_ggml type, int64_t k) {
    static const int64_t block_bytes[] = {
        [QL_GGML_NONE] = 0,  [QL_GGML_Q4_0] = 18, [QL_GGML_Q4_1] = 20,
        [QL_GGML_Q5_0] = 22, [QL_GGML_Q5_1] = 24, [QL_GGML_Q8_0] = 34};
    return (unsigned)type <= QL_GGML_Q8_0 ? k / 32 * block_bytes[type] : 0;
}

static ql_status is_ggml(const check *c, const ql_qmat *w) {
    int64_t bytes = ggml_row_bytes(w->ggml, w->k);
    if (bytes == 0 || w->k % 32 != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: a GGUF weight of type %d with k = %" PRId64
                       "; k must be a multiple of 32 and the type known",
                       c->op, (int)w->ggml, w->k);
    return is(c, "w.codes", &w->codes, w->n, bytes, U8);
}

/* Number, within the whole weight, of the block of element e. */
static int64_t block_of(const ql_qmat *w, int64_t e) {
    return e / (w->block == 0 ? w->k : w->block);
}

/* Packed codes are one run of bytes ([1, bytes], [bytes, 1] or rows without gaps) that starts with
 * the byte of the first element held here. */
static ql_status is_codes(const check *c, const ql_qmat *w) {
    const ql_mat *m = &w->codes;
    int64_t have;
    QL_TRY(is_type(c, "w.codes", m, U8));
    if (m->rows > 1 && m->ld != m->cols)
        return QL_FAIL(QL_ERR_SHAPE, "%s: w.codes has a row stride, packed codes must not", c->op);
    if (__builtin_mul_overflow(m->rows, m->cols, &have)) have = INT64_MAX;
    int64_t need = ceil_div(w->row0 * w->k * w->bits % 8 + w->n * w->k * w->bits, 8);
    if (have != need)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: w.codes holds %" PRId64 " bytes, %d-bit codes of [%" PRId64 ", %" PRId64
                       "] from row %" PRId64 " need %" PRId64,
                       c->op, have, (int)w->bits, w->n, w->k, w->row0, need);
    return QL_OK;
}

static ql_status is_scales(const check *c, const ql_qmat *w) {
    int64_t first = block_of(w, w->row0 * w->k), last = block_of(w, (w->row0 + w->n) * w->k - 1);
    bool doubled = has(c, &w->scale2);
    QL_TRY(needs(c, "w.scale", &w->scale, "block scales are needed"));
    QL_TRY(is(c, "w.scale", &w->scale, 1, last - first + 1, doubled ? U8 : WIDE));
    QL_TRY(is(c, "w.zero", &w->zero, 1, last - first + 1, WIDE));
    if (!doubled) return QL_OK;
    if (w->block2 < 1)
        return QL_FAIL(QL_ERR_INVALID, "%s: w.block2 is %d, expected >= 1", c->op, (int)w->block2);
    QL_TRY(needs(c, "w.code2", &w->code2, "the scales are doubled"));
    QL_TRY(needs(c, "w.offset", &w->offset, "the scales are doubled"));
    QL_TRY(is(c, "w.scale2", &w->scale2, 1, last / w->block2 - first / w->block2 + 1, F32));
    QL_TRY(is(c, "w.code2", &w->code2, 1, 256, F32));
    return is(c, "w.offset", &w->offset, 1, 1, F32);
}

/* The weight's last bit must have a 63-bit number, so that no product below overflows. */
static bool is_countable(const ql_qmat *w) {
    int64_t rows, e;
    return !__builtin_add_overflow(w->row0, w->n, &rows) &&
           !__builtin_mul_overflow(rows, w->k, &e) && e <= INT64_MAX / 16;
}

static ql_status is_qmat(const check *c, const ql_qmat *w) {
    QL_TRY(needs(c, "w.codes", &w->codes, "the weight is quantized"));
    if (w->n < 1 || w->k < 1 || w->row0 < 0 || !is_countable(w))
        return QL_FAIL(QL_ERR_SHAPE, "%s: weight is [%" PRId64 ", %" PRId64 "] from row %" PRId64,
                       c->op, w->n, w->k, w->row0);
    if (w->pack == QL_PACK_GGML) return is_ggml(c, w);
    if (w->ggml != QL_GGML_NONE || (unsigned)w->pack > QL_PACK_GGML)
        return QL_FAIL(QL_ERR_INVALID, "%s: pack %d with GGUF type %d", c->op, (int)w->pack,
                       (int)w->ggml);
    QL_TRY(in_range(c, "w.bits", w->bits, 1, 8));
    QL_TRY(in_range(c, "w.block", w->block, 0, INT32_MAX));
    QL_TRY(needs(c, "w.table", &w->table, "codes need their table"));
    QL_TRY(is(c, "w.table", &w->table, 1, (int64_t)1 << w->bits, F32));
    QL_TRY(is_codes(c, w));
    return is_scales(c, w);
}

/* Exactly one of a quantized and a dense weight; its shape. */
static ql_status one_weight(const check *c, const ql_qmat *w, const ql_mat *wd, int64_t *n,
                            int64_t *k) {
    bool quantized = has(c, &w->codes), dense = has(c, wd);
    if (quantized == dense)
        return QL_FAIL(QL_ERR_INVALID, "%s: give one of w and wd, not %s", c->op,
                       dense ? "both" : "none");
    if (quantized) QL_TRY(is_qmat(c, w));
    if (dense) QL_TRY(is_type(c, "wd", wd, FLOATS));
    *n = dense ? wd->rows : w->n;
    *k = dense ? wd->cols : w->k;
    return QL_OK;
}

/* ----------------------------------------------------------------------- elem */

static ql_status check_fill(const check *c, const ql_fill_args *a) {
    TYPE(y, FLOATS | I32 | U8);
    return QL_OK;
}

static ql_status check_axpby(const check *c, const ql_axpby_args *a) {
    IS(x, a->x.rows == 1 ? 1 : a->y.rows, a->y.cols, FLOATS);
    TYPE(y, FLOATS);
    return QL_OK;
}

static ql_status check_dropout(const check *c, const ql_dropout_args *a) {
    TYPE(y, FLOATS);
    IS(x, a->y.rows, a->y.cols, FLOATS);
    QL_TRY(is_dropout(c, a->p));
    return is_rng(c, &a->rng, a->y.rows);
}

static ql_status check_act_fwd(const check *c, const ql_act_fwd_args *a) {
    TYPE(y, FLOATS);
    IS(x, a->y.rows, a->y.cols, FLOATS);
    IS(up, a->y.rows, a->y.cols, FLOATS);
    return in_range(c, "kind", a->kind, QL_ACT_IDENTITY, QL_ACT_TANH);
}

static ql_status check_act_bwd(const check *c, const ql_act_bwd_args *a) {
    int64_t R = a->x.rows, F = a->x.cols;
    TYPE(x, FLOATS);
    IS(up, R, F, FLOATS);
    IS(dy, R, F, FLOATS);
    IS(dx, R, F, FLOATS);
    IS(dup, R, F, FLOATS);
    if (HAS(dup)) QL_TRY(needs(c, "up", &a->up, "dup is asked for"));
    return in_range(c, "kind", a->kind, QL_ACT_IDENTITY, QL_ACT_TANH);
}

/* ----------------------------------------------------------------------- rows */

static ql_status check_gather(const check *c, const ql_gather_args *a) {
    TYPE(table, FLOATS);
    IS(y, a->index.cols, a->table.cols, FLOATS);
    IS(index, 1, a->y.rows, I32);
    return QL_OK;
}

static ql_status check_scatter_add(const check *c, const ql_scatter_add_args *a) {
    TYPE(dtable, FLOATS);
    IS(dy, a->index.cols, a->dtable.cols, FLOATS);
    IS(index, 1, a->dy.rows, I32);
    return QL_OK;
}

static ql_status check_row_norm(const check *c, const ql_row_norm_args *a) {
    int64_t n, k;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(norm, 1, n, F32);
    if (HAS(a) != HAS(b))
        return QL_FAIL(QL_ERR_INVALID, "%s: a and b come together or not at all", c->op);
    IS(a, a->a.rows, k, FLOATS);
    IS(b, n, a->a.rows, FLOATS);
    return QL_OK;
}

static ql_status check_scale_cols(const check *c, const ql_scale_cols_args *a) {
    int64_t N = a->x.rows, K = a->x.cols;
    TYPE(x, FLOATS);
    IS(y, N, K, FLOATS);
    IS(dy, N, K, FLOATS);
    IS(m, 1, K, F32);
    IS(norm, 1, K, F32);
    IS(dm, 1, K, F32);
    if (HAS(dm)) QL_TRY(needs(c, "dy", &a->dy, "dm is asked for"));
    return QL_OK;
}

static ql_status check_row_copy(const check *c, const ql_row_copy_args *a) {
    TYPE(x, FLOATS | I32 | U8);
    IS(y, a->y.rows, a->x.cols, 1 << a->x.dtype | ((FLOATS >> a->x.dtype & 1) ? FLOATS : 0));
    int64_t rows = HAS(src) ? a->src.cols : HAS(dst) ? a->dst.cols : a->x.rows;
    IS(src, 1, rows, I32);
    IS(dst, 1, rows, I32);
    if ((!HAS(src) && rows > a->x.rows) || (!HAS(dst) && rows > a->y.rows))
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %" PRId64 " rows to copy, x has %" PRId64 " and y %" PRId64, c->op,
                       rows, a->x.rows, a->y.rows);
    return QL_OK;
}

/* ----------------------------------------------------------------- norm, rope */

static ql_status check_norm_fwd(const check *c, const ql_norm_fwd_args *a) {
    int64_t N = a->x.rows, C = a->x.cols, groups = a->groups > 1 ? a->groups : 1;
    TYPE(x, FLOATS);
    if (C % groups != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %" PRId64 " columns do not divide into %" PRId64 " groups", c->op, C,
                       groups);
    IS(residual, N, C, FLOATS);
    IS(sum, N, C, FLOATS);
    IS(y, N, C, FLOATS);
    IS(w, 1, C / groups, FLOATS);
    IS(b, 1, C / groups, FLOATS);
    IS(mean, 1, N * groups, F32);
    IS(rstd, 1, N * groups, F32);
    return in_range(c, "kind", a->kind, QL_NORM_LAYER, QL_NORM_RMS);
}

static ql_status check_norm_bwd(const check *c, const ql_norm_bwd_args *a) {
    int64_t N = a->s.rows, C = a->s.cols, groups = a->rstd.cols / N;
    TYPE(s, FLOATS);
    if (groups < 1 || C % groups != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: rstd has %" PRId64 " values for s [%" PRId64 ", %" PRId64 "]", c->op,
                       a->rstd.cols, N, C);
    IS(rstd, 1, N * groups, F32);
    IS(mean, 1, N * groups, F32);
    IS(w, 1, C / groups, FLOATS);
    IS(dy, N, C, FLOATS);
    IS(dx, N, C, FLOATS);
    IS(dw, 1, C / groups, FLOATS);
    IS(db, 1, C / groups, FLOATS);
    if (a->kind == QL_NORM_LAYER) QL_TRY(needs(c, "mean", &a->mean, "layer norm subtracts it"));
    return in_range(c, "kind", a->kind, QL_NORM_LAYER, QL_NORM_RMS);
}

static ql_status check_rope(const check *c, const ql_rope_args *a) {
    QL_TRY(in_range(c, "heads", a->heads, 1, INT32_MAX));
    QL_TRY(in_range(c, "rot", a->rot, 2, a->head_dim));
    if (a->rot % 2 != 0)
        return QL_FAIL(QL_ERR_INVALID, "%s: rot is %d, expected an even number", c->op,
                       (int)a->rot);
    IS(x, a->x.rows, (int64_t)a->heads * a->head_dim, FLOATS);
    IS(y, a->x.rows, a->x.cols, FLOATS);
    IS(table, a->table.rows, a->rot, F32);
    IS(pos, 1, a->x.rows, I32);
    if (a->sign != 1.0f && a->sign != -1.0f)
        return QL_FAIL(QL_ERR_INVALID, "%s: sign is %g, expected 1 or -1", c->op, (double)a->sign);
    return QL_OK;
}

/* ----------------------------------------------------------------------- attn */

static ql_status is_bias(const check *c, const ql_attn_spec *s, int64_t Nq, int64_t Nk) {
    QL_TRY(in_range(c, "spec.bias", s->bias, QL_BIAS_NONE, QL_BIAS_DISENT));
    if (s->bias == QL_BIAS_NONE) return QL_OK;
    int64_t L = s->max_q > s->max_kv ? s->max_q : s->max_kv;
    QL_TRY(needs(c, "spec.bucket", &s->bucket, "a position bias is asked for"));
    QL_TRY(is(c, "spec.bucket", &s->bucket, 1, s->bucket.cols, I32));
    if (s->bucket.cols % 2 == 0 || s->bucket.cols < 2 * L - 1)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: spec.bucket has %" PRId64
                       " entries, expected an odd number >= %" PRId64,
                       c->op, s->bucket.cols, 2 * L - 1);
    if (s->bias == QL_BIAS_TABLE) {
        QL_TRY(needs(c, "spec.table", &s->table, "the bias is a table"));
        return is(c, "spec.table", &s->table, s->table.rows, s->heads_q, F32);
    }
    QL_TRY(needs(c, "spec.c2p", &s->c2p, "the bias is disentangled"));
    QL_TRY(needs(c, "spec.p2c", &s->p2c, "the bias is disentangled"));
    int64_t R = s->c2p.cols / s->heads_q;
    QL_TRY(is(c, "spec.c2p", &s->c2p, Nq, R * s->heads_q, FLOATS));
    return is(c, "spec.p2c", &s->p2c, Nk, R * s->heads_kv, FLOATS);
}

static ql_status is_spec(const check *c, const ql_attn_spec *s, int64_t Nq, int64_t Nk) {
    QL_TRY(in_range(c, "spec.heads_q", s->heads_q, 1, 65535));
    QL_TRY(in_range(c, "spec.heads_kv", s->heads_kv, 1, s->heads_q));
    QL_TRY(in_range(c, "spec.dim_qk", s->dim_qk, 1, 65535));
    QL_TRY(in_range(c, "spec.dim_v", s->dim_v, 1, 65535));
    QL_TRY(in_range(c, "spec.window", s->window, 0, INT32_MAX));
    QL_TRY(in_range(c, "spec.max_q", s->max_q, 1, INT32_MAX));
    QL_TRY(in_range(c, "spec.max_kv", s->max_kv, 1, INT32_MAX));
    QL_TRY(in_range(c, "spec.softcap", (double)s->softcap, 0, 1e30));
    if (s->heads_q % s->heads_kv != 0)
        return QL_FAIL(QL_ERR_SHAPE, "%s: %d query heads do not divide into %d key-value heads",
                       c->op, (int)s->heads_q, (int)s->heads_kv);
    QL_TRY(is(c, "spec.start_q", &s->start_q, 1, s->start_q.cols, I32));
    if (s->start_q.cols < 2)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: spec.start_q has %" PRId64 " offsets, expected S + 1 >= 2", c->op,
                       s->start_q.cols);
    QL_TRY(is(c, "spec.start_kv", &s->start_kv, 1, s->start_q.cols, I32));
    QL_TRY(is(c, "spec.len_kv", &s->len_kv, 1, s->start_q.cols - 1, I32));
    QL_TRY(is_dropout(c, s->dropout));
    QL_TRY(is_rng(c, &s->rng, Nq));
    return is_bias(c, s, Nq, Nk);
}

static ql_status is_qkvo(const check *c, const ql_attn_spec *s, const ql_mat *q, const ql_mat *k,
                         const ql_mat *v, const ql_mat *o, const ql_mat *lse) {
    int64_t Nq = q->rows, Nk = k->rows;
    QL_TRY(is_spec(c, s, Nq, Nk));
    QL_TRY(is(c, "q", q, Nq, (int64_t)s->heads_q * s->dim_qk, FLOATS));
    QL_TRY(is(c, "k", k, Nk, (int64_t)s->heads_kv * s->dim_qk, FLOATS));
    QL_TRY(is(c, "v", v, Nk, (int64_t)s->heads_kv * s->dim_v, FLOATS));
    QL_TRY(is(c, "o", o, Nq, (int64_t)s->heads_q * s->dim_v, FLOATS));
    return is(c, "lse", lse, s->heads_q, Nq, F32);
}

static ql_status check_attn_fwd(const check *c, const ql_attn_fwd_args *a) {
    return is_qkvo(c, &a->spec, &a->q, &a->k, &a->v, &a->o, &a->lse);
}

static ql_status check_attn_bwd(const check *c, const ql_attn_bwd_args *a) {
    QL_TRY(is_qkvo(c, &a->spec, &a->q, &a->k, &a->v, &a->o, &a->lse));
    IS(d_o, a->o.rows, a->o.cols, FLOATS);
    IS(dq, a->q.rows, a->q.cols, FLOATS);
    IS(dk, a->k.rows, a->k.cols, FLOATS);
    IS(dv, a->v.rows, a->v.cols, FLOATS);
    IS(dtable, a->spec.table.rows, a->spec.table.cols, F32);
    IS(dc2p, a->spec.c2p.rows, a->spec.c2p.cols, FLOATS);
    IS(dp2c, a->spec.p2c.rows, a->spec.p2c.cols, FLOATS);
    return QL_OK;
}

/* ---------------------------------------------------------------- gemm, quant */

static ql_status check_gemm(const check *c, const ql_gemm_args *a) {
    int64_t m = a->trans_a ? a->a.cols : a->a.rows, k = a->trans_a ? a->a.rows : a->a.cols;
    int64_t kb = a->trans_b ? a->b.cols : a->b.rows, n = a->trans_b ? a->b.rows : a->b.cols;
    TYPE(a, FLOATS);
    TYPE(b, FLOATS);
    if (k != kb)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: op(a) is [%" PRId64 ", %" PRId64 "], op(b) is [%" PRId64 ", %" PRId64
                       "]; the inner sizes differ",
                       c->op, m, k, kb, n);
    IS(c, m, n, FLOATS);
    IS(bias, 1, n, FLOATS);
    return in_range(c, "batch", a->batch, 0, INT32_MAX);
}

static ql_status check_gemm_q(const check *c, const ql_gemm_q_args *a) {
    QL_TRY(is_qmat(c, &a->w));
    int64_t in = a->trans_w ? a->w.n : a->w.k, out = a->trans_w ? a->w.k : a->w.n;
    if (a->x.cols != in)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: x has %" PRId64 " columns, weight [%" PRId64 ", %" PRId64 "]%s takes "
                       "%" PRId64,
                       c->op, a->x.cols, a->w.n, a->w.k, a->trans_w ? " transposed" : "", in);
    TYPE(x, FLOATS);
    IS(y, a->x.rows, out, FLOATS);
    if (HAS(bias) && a->trans_w)
        return QL_FAIL(QL_ERR_INVALID, "%s: a bias only goes with trans_w == false", c->op);
    IS(bias, 1, out, FLOATS);
    return QL_OK;
}

static ql_status check_q_quantize(const check *c, const ql_q_quantize_args *a) {
    QL_TRY(is_qmat(c, &a->q));
    IS(w, a->q.n, a->q.k, FLOATS);
    QL_TRY(in_range(c, "encode", a->encode, QL_ENCODE_NEAREST, QL_ENCODE_AFFINE));
    QL_TRY(in_range(c, "rule", a->rule, QL_RULE_CPU, QL_RULE_CUDA));
    if (HAS(q.scale2) || a->q.pack == QL_PACK_GGML || a->q.scale.dtype != QL_F32)
        return QL_FAIL(QL_ERR_INVALID, "%s: the target has one level of f32 scales, got %s", c->op,
                       a->q.pack == QL_PACK_GGML ? "GGUF blocks"
                       : HAS(q.scale2)           ? "two levels"
                                                 : ql_dtype_name(a->q.scale.dtype));
    if (a->encode == QL_ENCODE_AFFINE) {
        QL_TRY(needs(c, "q.zero", &a->q.zero, "the encoding is affine"));
        TYPE(q.zero, F32);
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

static ql_status check_q_dequantize(const check *c, const ql_q_dequantize_args *a) {
    QL_TRY(is_qmat(c, &a->q));
    IS(w, a->w.rows, a->q.k, FLOATS);
    if (a->row0 < 0 || a->w.rows > a->q.n || a->row0 > a->q.n - a->w.rows)
        return QL_FAIL(QL_ERR_SHAPE, "%s: rows %" PRId64 " to %" PRId64 " of a weight of %" PRId64,
                       c->op, a->row0, a->row0 + a->w.rows, a->q.n);
    return QL_OK;
}

/* ----------------------------------------------------------------------- lora */

static ql_status check_lora_fwd(const check *c, const ql_lora_fwd_args *a) {
    int64_t n, k, r = a->a.rows, N = a->x.rows;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(x, N, k, FLOATS);
    IS(bias, 1, n, FLOATS);
    IS(a, r, k, FLOATS);
    IS(b, n, r, FLOATS);
    IS(u, N, r, FLOATS);
    IS(y, N, n, FLOATS);
    QL_TRY(is_dropout(c, a->p));
    return is_rng(c, &a->rng, N);
}

static ql_status check_lora_bwd(const check *c, const ql_lora_bwd_args *a) {
    int64_t n, k, r = a->a.rows, N = a->x.rows;
    QL_TRY(one_weight(c, &a->w, &a->wd, &n, &k));
    IS(x, N, k, FLOATS);
    IS(a, r, k, FLOATS);
    IS(b, n, r, FLOATS);
    IS(u, N, r, FLOATS);
    IS(dy, N, n, FLOATS);
    IS(dx, N, k, FLOATS);
    IS(da, r, k, FLOATS);
    IS(db, n, r, FLOATS);
    QL_TRY(is_dropout(c, a->p));
    return is_rng(c, &a->rng, N);
}

/* ---------------------------------------------------------- loss, reduce, opt */

static ql_status check_loss(const check *c, const ql_loss_args *a) {
    int64_t N = a->logits.rows, V = a->logits.cols;
    TYPE(logits, FLOATS);
    QL_TRY(in_range(c, "kind", a->kind, QL_LOSS_XENT, QL_LOSS_MSE));
    if (a->kind == QL_LOSS_XENT)
        IS(target, 1, N, I32);
    else
        IS(target, N, V, F32);
    IS(weight, 1, N, F32);
    IS(loss, 1, N, F32);
    IS(dlogits, N, V, FLOATS);
    IS(step, 1, QL_STEP_BLOCK_BYTES, U8);
    QL_TRY(in_range(c, "softcap", (double)a->softcap, 0, 1e30));
    return in_range(c, "smoothing", (double)a->smoothing, 0, 1);
}

static ql_status check_sum_rows(const check *c, const ql_sum_rows_args *a) {
    TYPE(x, FLOATS);
    IS(y, 1, a->x.cols, FLOATS);
    return QL_OK;
}

static ql_status check_sumsq(const check *c, const ql_sumsq_args *a) {
    TYPE(x, FLOATS);
    IS(y, 1, 2, F32);
    return QL_OK;
}

static ql_status check_clip(const check *c, const ql_clip_args *a) {
    IS(sum, 1, 2, F32);
    IS(step, 1, QL_STEP_BLOCK_BYTES, U8);
    return in_range(c, "max_norm", (double)a->max_norm, 0, 1e30);
}

/* Moments: F32 like p, or U8 with absmax per 256 elements and a 256-entry map. */
static ql_status is_moment(const check *c, const char *name, const ql_mat *p, const ql_mat *m,
                           const ql_mat *absmax, const ql_mat *map) {
    if (!has(c, m)) return QL_OK;
    QL_TRY(is(c, name, m, p->rows, p->cols, F32 | U8));
    if (m->dtype != QL_U8) return QL_OK;
    QL_TRY(needs(c, "the absmax of an 8-bit moment", absmax, "it scales the codes"));
    QL_TRY(needs(c, "the map of an 8-bit moment", map, "it holds the values of the codes"));
    QL_TRY(is(c, "absmax", absmax, 1, ceil_div(p->rows * p->cols, 256), F32));
    return is(c, "code8", map, 1, 256, F32);
}

static ql_status check_opt_step(const check *c, const ql_opt_step_args *a) {
    TYPE(p, FLOATS);
    IS(g, a->p.rows, a->p.cols, FLOATS);
    IS(step, 1, QL_STEP_BLOCK_BYTES, U8);
    QL_TRY(in_range(c, "kind", a->kind, QL_OPT_ADAMW, QL_OPT_LION));
    if (a->kind == QL_OPT_ADAMW) {
        QL_TRY(needs(c, "m", &a->m, "AdamW keeps a first moment"));
        QL_TRY(needs(c, "v", &a->v, "AdamW keeps a second moment"));
    }
    if (a->kind == QL_OPT_LION) QL_TRY(needs(c, "m", &a->m, "Lion keeps a momentum"));
    QL_TRY(is_moment(c, "m", &a->p, &a->m, &a->m_absmax, &a->code8_m));
    QL_TRY(is_moment(c, "v", &a->p, &a->v, &a->v_absmax, &a->code8_v));
    bool eight_bit = (HAS(m) && a->m.dtype == QL_U8) || (HAS(v) && a->v.dtype == QL_U8);
    if (a->first < 0 || (eight_bit && a->first % 256 != 0))
        return QL_FAIL(QL_ERR_INVALID, "%s: first is %" PRId64 ", expected %s", c->op, a->first,
                       eight_bit ? "a multiple of 256" : ">= 0");
    return QL_OK;
}

ql_status ql_check_shapes(ql_op op, const ql_op_args *a, bool bound) {
    const check c = {ql_op_name(op), bound};
    switch (op) {
#define QL_X(ID, name, family)                                                                     \
    case QL_OP_##ID: return check_##name(&c, &a->name);
        QL_OPS(QL_X)
#undef QL_X
    case QL_OP_COUNT: break;
    }
    return QL_FAIL(QL_ERR_INVALID, "operator number %d does not exist", (int)op);
}
