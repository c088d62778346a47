/*
 * shapes.c - shapes, dtypes and scalars of the operators on rows, and the rules themselves.
 *
 * One function per operator, as backend.h states it. A sentence names operator, operand, what it is
 * and what it should be.
 */
#include "core/device/shapes.h"

static const char *types_text(int allowed) {
    switch (allowed) {
    case QL_FLOATS: return "f32, f16 or bf16";
    case QL_ONLY_F32: return "f32";
    case QL_ONLY_I32: return "i32";
    case QL_ONLY_U8: return "u8";
    case QL_WIDE: return "f32 or f16";
    case QL_ONLY_F32 | QL_ONLY_U8: return "f32 or u8";
    default: return "an element type that goes with the other operands";
    }
}

ql_status ql_shape_is(const ql_check_ctx *c, const char *name, const ql_mat *m, int64_t rows,
                      int64_t cols, int types) {
    if (!ql_shape_has(c, m)) return QL_OK;
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
ql_status ql_shape_is_type(const ql_check_ctx *c, const char *name, const ql_mat *m, int types) {
    return ql_shape_is(c, name, m, m->rows, m->cols, types);
}

ql_status ql_shape_needs(const ql_check_ctx *c, const char *name, const ql_mat *m,
                         const char *why) {
    return ql_shape_has(c, m)
               ? QL_OK
               : QL_FAIL(QL_ERR_INVALID, "%s: operand %s is absent, but %s", c->op, name, why);
}

ql_status ql_shape_in_range(const ql_check_ctx *c, const char *name, double v, double lo,
                            double hi) {
    return v >= lo && v <= hi
               ? QL_OK
               : QL_FAIL(QL_ERR_INVALID, "%s: %s is %g, expected %g to %g", c->op, name, v, lo, hi);
}

/* p of dropout: [0, 1). */
ql_status ql_shape_is_dropout(const ql_check_ctx *c, float p) {
    return p >= 0.0f && p < 1.0f ? QL_OK
                                 : QL_FAIL(QL_ERR_INVALID, "%s: dropout is %g, expected 0 <= p < 1",
                                           c->op, (double)p);
}

ql_status ql_shape_is_rng(const ql_check_ctx *c, const ql_rng *r, int64_t rows) {
    QL_TRY(ql_shape_is(c, "rng.key", &r->key, rows, 2, QL_ONLY_I32));
    return ql_shape_is(c, "rng.step", &r->step, 1, QL_STEP_BLOCK_BYTES, QL_ONLY_U8);
}

/* ----------------------------------------------------------------------- elem */

ql_status ql_check_fill(const ql_check_ctx *c, const ql_fill_args *a) {
    TYPE(y, QL_FLOATS | QL_ONLY_I32 | QL_ONLY_U8);
    return QL_OK;
}

ql_status ql_check_axpby(const ql_check_ctx *c, const ql_axpby_args *a) {
    IS(x, a->x.rows == 1 ? 1 : a->y.rows, a->y.cols, QL_FLOATS);
    TYPE(y, QL_FLOATS);
    return QL_OK;
}

ql_status ql_check_dropout(const ql_check_ctx *c, const ql_dropout_args *a) {
    TYPE(y, QL_FLOATS);
    IS(x, a->y.rows, a->y.cols, QL_FLOATS);
    QL_TRY(ql_shape_is_dropout(c, a->p));
    return ql_shape_is_rng(c, &a->rng, a->y.rows);
}

ql_status ql_check_act_fwd(const ql_check_ctx *c, const ql_act_fwd_args *a) {
    TYPE(y, QL_FLOATS);
    IS(x, a->y.rows, a->y.cols, QL_FLOATS);
    IS(up, a->y.rows, a->y.cols, QL_FLOATS);
    return ql_shape_in_range(c, "kind", a->kind, QL_ACT_IDENTITY, QL_ACT_TANH);
}

ql_status ql_check_act_bwd(const ql_check_ctx *c, const ql_act_bwd_args *a) {
    int64_t R = a->x.rows, F = a->x.cols;
    TYPE(x, QL_FLOATS);
    IS(up, R, F, QL_FLOATS);
    IS(dy, R, F, QL_FLOATS);
    IS(dx, R, F, QL_FLOATS);
    IS(dup, R, F, QL_FLOATS);
    if (HAS(dup)) QL_TRY(ql_shape_needs(c, "up", &a->up, "dup is asked for"));
    return ql_shape_in_range(c, "kind", a->kind, QL_ACT_IDENTITY, QL_ACT_TANH);
}

/* ----------------------------------------------------------------------- rows */

ql_status ql_check_gather(const ql_check_ctx *c, const ql_gather_args *a) {
    TYPE(table, QL_FLOATS);
    IS(y, a->index.cols, a->table.cols, QL_FLOATS);
    IS(index, 1, a->y.rows, QL_ONLY_I32);
    return QL_OK;
}

ql_status ql_check_scatter_add(const ql_check_ctx *c, const ql_scatter_add_args *a) {
    TYPE(dtable, QL_FLOATS);
    IS(dy, a->index.cols, a->dtable.cols, QL_FLOATS);
    IS(index, 1, a->dy.rows, QL_ONLY_I32);
    return QL_OK;
}

ql_status ql_check_scale_cols(const ql_check_ctx *c, const ql_scale_cols_args *a) {
    int64_t N = a->x.rows, K = a->x.cols;
    TYPE(x, QL_FLOATS);
    IS(y, N, K, QL_FLOATS);
    IS(dy, N, K, QL_FLOATS);
    IS(m, 1, K, QL_ONLY_F32);
    IS(norm, 1, K, QL_ONLY_F32);
    IS(dm, 1, K, QL_ONLY_F32);
    if (HAS(dm)) QL_TRY(ql_shape_needs(c, "dy", &a->dy, "dm is asked for"));
    return QL_OK;
}

ql_status ql_check_row_copy(const ql_check_ctx *c, const ql_row_copy_args *a) {
    TYPE(x, QL_FLOATS | QL_ONLY_I32 | QL_ONLY_U8);
    IS(y, a->y.rows, a->x.cols, 1 << a->x.dtype | ((QL_FLOATS >> a->x.dtype & 1) ? QL_FLOATS : 0));
    int64_t rows = HAS(src) ? a->src.cols : HAS(dst) ? a->dst.cols : a->x.rows;
    IS(src, 1, rows, QL_ONLY_I32);
    IS(dst, 1, rows, QL_ONLY_I32);
    if ((!HAS(src) && rows > a->x.rows) || (!HAS(dst) && rows > a->y.rows))
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %" PRId64 " rows to copy, x has %" PRId64 " and y %" PRId64, c->op,
                       rows, a->x.rows, a->y.rows);
    return QL_OK;
}

/* Is m `groups` groups of `step` columns, with `width` of them from column `at` on in each? */
static ql_status has_groups(const ql_check_ctx *c, const char *name, const ql_mat *m,
                            const ql_col_copy_args *a, int32_t step, int32_t at) {
    if (a->groups >= 1 && a->width >= 1 && at >= 0 && at <= step - a->width &&
        (int64_t)a->groups * step == m->cols)
        return QL_OK;
    return QL_FAIL(QL_ERR_SHAPE,
                   "%s: %s has %" PRId64 " columns, expected %d groups of %d with %d from %d on",
                   c->op, name, m->cols, (int)a->groups, (int)step, (int)a->width, (int)at);
}

ql_status ql_check_col_copy(const ql_check_ctx *c, const ql_col_copy_args *a) {
    TYPE(x, QL_FLOATS);
    IS(y, a->x.rows, a->y.cols, QL_FLOATS);
    QL_TRY(has_groups(c, "x", &a->x, a, a->x_step, a->x_at));
    return has_groups(c, "y", &a->y, a, a->y_step, a->y_at);
}

/* ----------------------------------------------------------------- norm, rope */

ql_status ql_check_norm_fwd(const ql_check_ctx *c, const ql_norm_fwd_args *a) {
    int64_t N = a->x.rows, C = a->x.cols, groups = a->groups > 1 ? a->groups : 1;
    TYPE(x, QL_FLOATS);
    if (C % groups != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: %" PRId64 " columns do not divide into %" PRId64 " groups", c->op, C,
                       groups);
    IS(residual, N, C, QL_FLOATS);
    IS(sum, N, C, QL_FLOATS);
    IS(y, N, C, QL_FLOATS);
    IS(w, 1, C / groups, QL_FLOATS);
    IS(b, 1, C / groups, QL_FLOATS);
    IS(mean, 1, N * groups, QL_ONLY_F32);
    IS(rstd, 1, N * groups, QL_ONLY_F32);
    return ql_shape_in_range(c, "kind", a->kind, QL_NORM_LAYER, QL_NORM_RMS);
}

ql_status ql_check_norm_bwd(const ql_check_ctx *c, const ql_norm_bwd_args *a) {
    int64_t N = a->s.rows, C = a->s.cols, groups = a->rstd.cols / N;
    TYPE(s, QL_FLOATS);
    if (groups < 1 || C % groups != 0)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: rstd has %" PRId64 " values for s [%" PRId64 ", %" PRId64 "]", c->op,
                       a->rstd.cols, N, C);
    IS(rstd, 1, N * groups, QL_ONLY_F32);
    IS(mean, 1, N * groups, QL_ONLY_F32);
    IS(w, 1, C / groups, QL_FLOATS);
    IS(dy, N, C, QL_FLOATS);
    IS(dx, N, C, QL_FLOATS);
    IS(dw, 1, C / groups, QL_FLOATS);
    IS(db, 1, C / groups, QL_FLOATS);
    if (a->kind == QL_NORM_LAYER)
        QL_TRY(ql_shape_needs(c, "mean", &a->mean, "layer norm subtracts it"));
    return ql_shape_in_range(c, "kind", a->kind, QL_NORM_LAYER, QL_NORM_RMS);
}

ql_status ql_check_rope(const ql_check_ctx *c, const ql_rope_args *a) {
    QL_TRY(ql_shape_in_range(c, "heads", a->heads, 1, INT32_MAX));
    QL_TRY(ql_shape_in_range(c, "rot", a->rot, 2, a->head_dim));
    if (a->rot % 2 != 0)
        return QL_FAIL(QL_ERR_INVALID, "%s: rot is %d, expected an even number", c->op,
                       (int)a->rot);
    IS(x, a->x.rows, (int64_t)a->heads * a->head_dim, QL_FLOATS);
    IS(y, a->x.rows, a->x.cols, QL_FLOATS);
    IS(table, a->table.rows, a->rot, QL_ONLY_F32);
    IS(pos, 1, a->x.rows, QL_ONLY_I32);
    if (a->sign != 1.0f && a->sign != -1.0f)
        return QL_FAIL(QL_ERR_INVALID, "%s: sign is %g, expected 1 or -1", c->op, (double)a->sign);
    return QL_OK;
}

/* ---------------------------------------------------------- loss, reduce, opt */

ql_status ql_check_loss(const ql_check_ctx *c, const ql_loss_args *a) {
    int64_t N = a->logits.rows, V = a->logits.cols;
    TYPE(logits, QL_FLOATS);
    QL_TRY(ql_shape_in_range(c, "kind", a->kind, QL_LOSS_XENT, QL_LOSS_MSE));
    if (a->kind == QL_LOSS_XENT)
        IS(target, 1, N, QL_ONLY_I32);
    else
        IS(target, N, V, QL_ONLY_F32);
    IS(weight, 1, N, QL_ONLY_F32);
    IS(loss, 1, N, QL_ONLY_F32);
    IS(dlogits, N, V, QL_FLOATS);
    IS(step, 1, QL_STEP_BLOCK_BYTES, QL_ONLY_U8);
    QL_TRY(ql_shape_in_range(c, "softcap", (double)a->softcap, 0, 1e30));
    return ql_shape_in_range(c, "smoothing", (double)a->smoothing, 0, 1);
}

ql_status ql_check_sum_rows(const ql_check_ctx *c, const ql_sum_rows_args *a) {
    TYPE(x, QL_FLOATS);
    IS(y, 1, a->x.cols, QL_FLOATS);
    return QL_OK;
}

ql_status ql_check_sumsq(const ql_check_ctx *c, const ql_sumsq_args *a) {
    TYPE(x, QL_FLOATS);
    IS(y, 1, 2, QL_ONLY_F32);
    return QL_OK;
}

ql_status ql_check_clip(const ql_check_ctx *c, const ql_clip_args *a) {
    IS(sum, 1, 2, QL_ONLY_F32);
    IS(step, 1, QL_STEP_BLOCK_BYTES, QL_ONLY_U8);
    return ql_shape_in_range(c, "max_norm", (double)a->max_norm, 0, 1e30);
}

/* Moments: QL_ONLY_F32 like p, or QL_ONLY_U8 with absmax per 256 elements and a 256-entry map. */
static ql_status is_moment(const ql_check_ctx *c, const char *name, const ql_mat *p,
                           const ql_mat *m, const ql_mat *absmax, const ql_mat *map) {
    if (!ql_shape_has(c, m)) return QL_OK;
    QL_TRY(ql_shape_is(c, name, m, p->rows, p->cols, QL_ONLY_F32 | QL_ONLY_U8));
    if (m->dtype != QL_U8) return QL_OK;
    QL_TRY(ql_shape_needs(c, "the absmax of an 8-bit moment", absmax, "it scales the codes"));
    QL_TRY(
        ql_shape_needs(c, "the map of an 8-bit moment", map, "it holds the values of the codes"));
    QL_TRY(ql_shape_is(c, "absmax", absmax, 1, ql_ceil_div(p->rows * p->cols, 256), QL_ONLY_F32));
    return ql_shape_is(c, "code8", map, 1, 256, QL_ONLY_F32);
}

ql_status ql_check_opt_step(const ql_check_ctx *c, const ql_opt_step_args *a) {
    TYPE(p, QL_FLOATS);
    IS(g, a->p.rows, a->p.cols, QL_FLOATS);
    IS(step, 1, QL_STEP_BLOCK_BYTES, QL_ONLY_U8);
    QL_TRY(ql_shape_in_range(c, "kind", a->kind, QL_OPT_ADAMW, QL_OPT_LION));
    if (a->kind == QL_OPT_ADAMW) {
        QL_TRY(ql_shape_needs(c, "m", &a->m, "AdamW keeps a first moment"));
        QL_TRY(ql_shape_needs(c, "v", &a->v, "AdamW keeps a second moment"));
    }
    if (a->kind == QL_OPT_LION) QL_TRY(ql_shape_needs(c, "m", &a->m, "Lion keeps a momentum"));
    QL_TRY(is_moment(c, "m", &a->p, &a->m, &a->m_absmax, &a->code8_m));
    QL_TRY(is_moment(c, "v", &a->p, &a->v, &a->v_absmax, &a->code8_v));
    bool eight_bit = (HAS(m) && a->m.dtype == QL_U8) || (HAS(v) && a->v.dtype == QL_U8);
    if (a->first < 0 || (eight_bit && a->first % 256 != 0))
        return QL_FAIL(QL_ERR_INVALID, "%s: first is %" PRId64 ", expected %s", c->op, a->first,
                       eight_bit ? "a multiple of 256" : ">= 0");
    return QL_OK;
}

ql_status ql_check_shapes(ql_op op, const ql_op_args *a, bool bound) {
    const ql_check_ctx c = {ql_op_name(op), bound};
    switch (op) {
#define QL_X(ID, name, family)                                                                     \
    case QL_OP_##ID: return ql_check_##name(&c, &a->name);
        QL_OPS(QL_X)
#undef QL_X
    case QL_OP_COUNT: break;
    }
    return QL_FAIL(QL_ERR_INVALID, "operator number %d does not exist", (int)op);
}
