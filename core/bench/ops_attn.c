/*
 * ops_attn.c - causal attention of one sequence: m tokens, n = Hq D query and k = Hk D key columns,
 * D = 64.
 *
 * Useful work: half of the square of scores. Forward has two products over it (q k^T, P v), so
 * 2 m^2 Hq D FLOP; backward five (q k^T again, do v^T, P^T do, dS k, dS^T q): 2.5 times as much.
 */
#include <math.h>

#include "core/bench/ops.h"

#define HEAD_DIM 64

static ql_status build_spec(const ql_bench_case *c, ql_bench_lab *lab, ql_attn_spec *out) {
    const int32_t start[2] = {0, (int32_t)c->m};
    *out = (ql_attn_spec){.heads_q = (int32_t)(c->n / HEAD_DIM),
                          .heads_kv = (int32_t)(c->k / HEAD_DIM),
                          .dim_qk = HEAD_DIM,
                          .dim_v = HEAD_DIM,
                          .scale = 1.0f / sqrtf(HEAD_DIM),
                          .causal = true,
                          .max_q = (int32_t)c->m,
                          .max_kv = (int32_t)c->m};
    QL_TRY(ql_bench_copy(lab, QL_I32, 1, 2, start, &out->start_q));
    out->start_kv = out->start_q;
    return QL_OK;
}

ql_status ql_bench_attn_fwd(const ql_bench_case *c, ql_bench_op *op) {
    ql_attn_fwd_args *f = &op->args[0].attn_fwd;
    ql_bench_lab *lab = op->lab;
    op->calls = 1;
    op->id[0] = QL_OP_ATTN_FWD;
    *f = (ql_attn_fwd_args){0};
    QL_TRY(build_spec(c, lab, &f->spec));
    QL_TRY(ql_bench_random(lab, QL_F32, c->m, c->n, -1, 1, &f->q));
    QL_TRY(ql_bench_random(lab, QL_F32, c->m, c->k, -1, 1, &f->k));
    QL_TRY(ql_bench_random(lab, QL_F32, c->m, c->k, -1, 1, &f->v));
    QL_TRY(ql_bench_empty(lab, QL_F32, c->m, c->n, &f->o));
    QL_TRY(ql_bench_empty(lab, QL_F32, f->spec.heads_q, c->m, &f->lse));
    QL_TRY(ql_bench_scratch(lab, QL_OP_ATTN_FWD, &op->args[0], &f->scratch));
    op->flop = 2.0 * (double)c->m * (double)c->m * (double)c->n;
    return QL_OK;
}

ql_status ql_bench_attention(const ql_bench_case *c, ql_bench_op *op) {
    const ql_attn_fwd_args *f = &op->args[0].attn_fwd;
    ql_attn_bwd_args *b = &op->args[1].attn_bwd;
    ql_bench_lab *lab = op->lab;
    QL_TRY(ql_bench_attn_fwd(c, op));
    op->calls = 2;
    op->id[1] = QL_OP_ATTN_BWD;
    *b = (ql_attn_bwd_args){
        .spec = f->spec, .q = f->q, .k = f->k, .v = f->v, .o = f->o, .lse = f->lse};
    QL_TRY(ql_bench_random(lab, QL_F32, c->m, c->n, -1, 1, &b->d_o));
    QL_TRY(ql_bench_empty(lab, QL_F32, c->m, c->n, &b->dq));
    QL_TRY(ql_bench_empty(lab, QL_F32, c->m, c->k, &b->dk));
    QL_TRY(ql_bench_empty(lab, QL_F32, c->m, c->k, &b->dv));
    QL_TRY(ql_bench_scratch(lab, QL_OP_ATTN_BWD, &op->args[1], &b->scratch));
    op->flop *= 3.5;
    return QL_OK;
}
