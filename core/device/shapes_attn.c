/* shapes_attn.c - shapes, dtypes and scalars of attention. */
#include "core/device/shapes.h"

static ql_status is_bias(const ql_check_ctx *c, const ql_attn_spec *s, int64_t Nq, int64_t Nk) {
    QL_TRY(ql_shape_in_range(c, "spec.bias", s->bias, QL_BIAS_NONE, QL_BIAS_DISENT));
    if (s->bias == QL_BIAS_NONE) return QL_OK;
    int64_t L = s->max_q > s->max_kv ? s->max_q : s->max_kv;
    QL_TRY(ql_shape_needs(c, "spec.bucket", &s->bucket, "a position bias is asked for"));
    QL_TRY(ql_shape_is(c, "spec.bucket", &s->bucket, 1, s->bucket.cols, QL_ONLY_I32));
    if (s->bucket.cols % 2 == 0 || s->bucket.cols < 2 * L - 1)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: spec.bucket has %" PRId64
                       " entries, expected an odd number >= %" PRId64,
                       c->op, s->bucket.cols, 2 * L - 1);
    if (s->bias == QL_BIAS_TABLE) {
        QL_TRY(ql_shape_needs(c, "spec.table", &s->table, "the bias is a table"));
        return ql_shape_is(c, "spec.table", &s->table, s->table.rows, s->heads_q, QL_ONLY_F32);
    }
    QL_TRY(ql_shape_needs(c, "spec.c2p", &s->c2p, "the bias is disentangled"));
    QL_TRY(ql_shape_needs(c, "spec.p2c", &s->p2c, "the bias is disentangled"));
    int64_t R = s->c2p.cols / s->heads_q;
    QL_TRY(ql_shape_is(c, "spec.c2p", &s->c2p, Nq, R * s->heads_q, QL_FLOATS));
    return ql_shape_is(c, "spec.p2c", &s->p2c, Nk, R * s->heads_kv, QL_FLOATS);
}

static ql_status is_spec(const ql_check_ctx *c, const ql_attn_spec *s, int64_t Nq, int64_t Nk) {
    QL_TRY(ql_shape_in_range(c, "spec.heads_q", s->heads_q, 1, 65535));
    QL_TRY(ql_shape_in_range(c, "spec.heads_kv", s->heads_kv, 1, s->heads_q));
    QL_TRY(ql_shape_in_range(c, "spec.dim_qk", s->dim_qk, 1, 65535));
    QL_TRY(ql_shape_in_range(c, "spec.dim_v", s->dim_v, 1, 65535));
    QL_TRY(ql_shape_in_range(c, "spec.window", s->window, 0, INT32_MAX));
    QL_TRY(ql_shape_in_range(c, "spec.max_q", s->max_q, 1, INT32_MAX));
    QL_TRY(ql_shape_in_range(c, "spec.max_kv", s->max_kv, 1, INT32_MAX));
    QL_TRY(ql_shape_in_range(c, "spec.softcap", (double)s->softcap, 0, 1e30));
    if (s->heads_q % s->heads_kv != 0)
        return QL_FAIL(QL_ERR_SHAPE, "%s: %d query heads do not divide into %d key-value heads",
                       c->op, (int)s->heads_q, (int)s->heads_kv);
    QL_TRY(ql_shape_is(c, "spec.start_q", &s->start_q, 1, s->start_q.cols, QL_ONLY_I32));
    if (s->start_q.cols < 2)
        return QL_FAIL(QL_ERR_SHAPE,
                       "%s: spec.start_q has %" PRId64 " offsets, expected S + 1 >= 2", c->op,
                       s->start_q.cols);
    QL_TRY(ql_shape_is(c, "spec.start_kv", &s->start_kv, 1, s->start_q.cols, QL_ONLY_I32));
    QL_TRY(ql_shape_is(c, "spec.len_kv", &s->len_kv, 1, s->start_q.cols - 1, QL_ONLY_I32));
    QL_TRY(ql_shape_is_dropout(c, s->dropout));
    QL_TRY(ql_shape_is_rng(c, &s->rng, Nq));
    return is_bias(c, s, Nq, Nk);
}

static ql_status is_qkvo(const ql_check_ctx *c, const ql_attn_spec *s, const ql_mat *q,
                         const ql_mat *k, const ql_mat *v, const ql_mat *o, const ql_mat *lse) {
    int64_t Nq = q->rows, Nk = k->rows;
    QL_TRY(is_spec(c, s, Nq, Nk));
    QL_TRY(ql_shape_is(c, "q", q, Nq, (int64_t)s->heads_q * s->dim_qk, QL_FLOATS));
    QL_TRY(ql_shape_is(c, "k", k, Nk, (int64_t)s->heads_kv * s->dim_qk, QL_FLOATS));
    QL_TRY(ql_shape_is(c, "v", v, Nk, (int64_t)s->heads_kv * s->dim_v, QL_FLOATS));
    QL_TRY(ql_shape_is(c, "o", o, Nq, (int64_t)s->heads_q * s->dim_v, QL_FLOATS));
    return ql_shape_is(c, "lse", lse, s->heads_q, Nq, QL_ONLY_F32);
}

ql_status ql_check_attn_fwd(const ql_check_ctx *c, const ql_attn_fwd_args *a) {
    return is_qkvo(c, &a->spec, &a->q, &a->k, &a->v, &a->o, &a->lse);
}

ql_status ql_check_attn_bwd(const ql_check_ctx *c, const ql_attn_bwd_args *a) {
    QL_TRY(is_qkvo(c, &a->spec, &a->q, &a->k, &a->v, &a->o, &a->lse));
    IS(d_o, a->o.rows, a->o.cols, QL_FLOATS);
    IS(dq, a->q.rows, a->q.cols, QL_FLOATS);
    IS(dk, a->k.rows, a->k.cols, QL_FLOATS);
    IS(dv, a->v.rows, a->v.cols, QL_FLOATS);
    IS(dtable, a->spec.table.rows, a->spec.table.cols, QL_ONLY_F32);
    IS(dc2p, a->spec.c2p.rows, a->spec.c2p.cols, QL_FLOATS);
    IS(dp2c, a->spec.p2c.rows, a->spec.p2c.cols, QL_FLOATS);
    return QL_OK;
}
