/* ops_attn.c - attention: kernels/attn.cl. */
#include "backends/opencl/cl.h"

static int32_t buckets_of(const ql_attn_spec *s) {
    switch (s->bias) {
    case QL_BIAS_TABLE: return (int32_t)s->table.rows;
    case QL_BIAS_DISENT: return (int32_t)(s->c2p.cols / s->heads_q);
    default: return 0;
    }
}

/* SPEC of attn.cl */
static void add_spec(ql_cl_call *c, const ql_attn_spec *s) {
    const ql_mat *mats[] = {&s->start_q, &s->start_kv, &s->len_kv, &s->rng.key, &s->rng.step,
                            &s->table,   &s->c2p,      &s->p2c,    &s->bucket};
    for (int i = 0; i < 9; i++) ql_cl_mat(c, mats[i]);
    ql_cl_int(c, (int32_t)(s->start_q.cols - 1));
    ql_cl_int(c, s->heads_q);
    ql_cl_int(c, s->heads_kv);
    ql_cl_int(c, s->dim_qk);
    ql_cl_int(c, s->dim_v);
    ql_cl_float(c, s->scale);
    ql_cl_float(c, s->softcap);
    ql_cl_int(c, s->window);
    ql_cl_int(c, s->causal);
    ql_cl_float(c, s->dropout);
    ql_cl_ulong(c, s->rng.seed);
    ql_cl_ulong(c, s->rng.stream);
    ql_cl_int(c, (int32_t)s->bias);
    ql_cl_int(c, buckets_of(s));
    ql_cl_int(c, (int32_t)((s->bucket.cols + 1) / 2));
}

ql_status ql_cl_op_attn_fwd(ql_queue *q, const ql_attn_fwd_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_attn_fwd);
    const ql_mat *mats[] = {&a->q, &a->k, &a->v, &a->o, &a->lse};
    for (int i = 0; i < 5; i++) ql_cl_mat(&c, mats[i]);
    add_spec(&c, &a->spec);
    return ql_cl_run_groups(&c, a->q.rows, a->spec.heads_q, 1, QL_CL_WG);
}

static ql_status query_pass(ql_queue *q, const ql_attn_bwd_args *a, const ql_mat *space,
                            int64_t slots_at) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_attn_bwd_q);
    const ql_mat *mats[] = {&a->q, &a->k, &a->v, &a->o, &a->lse, &a->d_o, &a->dq, &a->dc2p, space};
    for (int i = 0; i < 9; i++) ql_cl_mat(&c, mats[i]);
    ql_cl_long(&c, slots_at);
    add_spec(&c, &a->spec);
    return ql_cl_run_groups(&c, a->q.rows, a->spec.heads_q, 1, QL_CL_WG);
}

static ql_status key_pass(ql_queue *q, const ql_attn_bwd_args *a, const ql_mat *space) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_attn_bwd_kv);
    const ql_mat *mats[] = {&a->q, &a->k, &a->v, &a->lse, &a->d_o, space, &a->dk, &a->dv, &a->dp2c};
    for (int i = 0; i < 9; i++) ql_cl_mat(&c, mats[i]);
    add_spec(&c, &a->spec);
    return ql_cl_run_groups(&c, a->k.rows, a->spec.heads_kv, 1, QL_CL_WG);
}

ql_status ql_cl_op_attn_bwd(ql_queue *q, const ql_attn_bwd_args *a) {
    const ql_attn_spec *s = &a->spec;
    int64_t rows = a->q.rows, deltas = rows * s->heads_q, buckets = buckets_of(s);
    bool table = s->bias == QL_BIAS_TABLE && ql_cl_has(&a->dtable);
    int64_t slots_at = table ? deltas : 0;
    uint64_t off = 0;
    ql_mat space = ql_cl_carve(&a->scratch, &off, deltas + (table ? deltas * buckets : 0));
    QL_TRY(query_pass(q, a, &space, slots_at));
    if (table) {
        ql_cl_call c;
        ql_cl_begin(&c, q, QL_CL_attn_bwd_table);
        ql_cl_mat(&c, &space);
        ql_cl_mat(&c, &a->dtable);
        ql_cl_long(&c, slots_at);
        ql_cl_long(&c, rows);
        ql_cl_int(&c, s->heads_q);
        ql_cl_int(&c, (int32_t)buckets);
        QL_TRY(ql_cl_run_items(&c, s->heads_q * buckets, 1));
    }
    return key_pass(q, a, &space);
}
