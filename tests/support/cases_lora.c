/* cases_lora.c - the fused pair lora_fwd, lora_bwd; devices without it skip these. */
#include "tests/support/opcase.h"

enum { BIAS = 1, DROPOUT = 2, QUANT = 4, ACCUM = 8, NO_DX = 16 };

typedef struct lora_case {
    ql_op op;
    int64_t N, n, k, r;
    ql_dtype x;
    int flags;
} lora_case;

static const lora_case cases[] = {
    {QL_OP_LORA_FWD, 5, 9, 7, 2, QL_F32, 0},
    {QL_OP_LORA_FWD, 33, 65, 70, 8, QL_F32, QUANT | BIAS | DROPOUT},
    {QL_OP_LORA_FWD, 33, 64, 128, 16, QL_BF16, QUANT},
    {QL_OP_LORA_FWD, 1, 64, 128, 64, QL_BF16, QUANT | DROPOUT},
    {QL_OP_LORA_BWD, 5, 9, 7, 2, QL_F32, 0},
    {QL_OP_LORA_BWD, 33, 65, 70, 8, QL_F32, QUANT | DROPOUT | ACCUM},
    {QL_OP_LORA_BWD, 33, 64, 128, 16, QL_BF16, QUANT | NO_DX},
    {QL_OP_LORA_BWD, 70, 64, 128, 64, QL_BF16, QUANT | DROPOUT},
};

static void add_weight(opcase *c, const lora_case *k, ql_qmat *w, ql_mat *wd) {
    const weight_shape shape = {.type = "nf4", .n = k->n, .k = k->k, .block = 64, .doubled = true};
    if (k->flags & QUANT)
        tc_weight(c, w, &shape);
    else
        tc_normal(c, tc_in(c, wd, "wd", k->x, k->n, k->k), k->n * k->k, 0.1);
}

static void add_rng(opcase *c, const lora_case *k, ql_rng *rng, float *p) {
    if (!(k->flags & DROPOUT)) return;
    *p = 0.1f;
    *rng = (ql_rng){.seed = tc_bits(c), .stream = tc_bits(c)};
    tc_key(c, &rng->key, "rng.key", k->N);
    tc_step(c, &rng->step, "rng.step");
}

static void build_fwd(opcase *c, const lora_case *k) {
    ql_lora_fwd_args *a = &c->args.lora_fwd;
    a->s = 0.25f;
    IN(x, k->x, k->N, k->k);
    add_weight(c, k, &a->w, &a->wd);
    add_rng(c, k, &a->rng, &a->p);
    if (k->flags & BIAS) IN(bias, k->x, 1, k->n);
    IN_SCALED(a, QL_F32, k->r, k->k, 0.1);
    IN_SCALED(b, QL_F32, k->n, k->r, 0.1);
    OUT(u, k->x, k->N, k->r);
    OUT(y, k->x, k->N, k->n);
}

static void build_bwd(opcase *c, const lora_case *k) {
    ql_lora_bwd_args *a = &c->args.lora_bwd;
    a->s = 0.25f;
    a->accumulate = k->flags & ACCUM;
    IN(x, k->x, k->N, k->k);
    add_weight(c, k, &a->w, &a->wd);
    add_rng(c, k, &a->rng, &a->p);
    IN_SCALED(a, QL_F32, k->r, k->k, 0.1);
    IN_SCALED(b, QL_F32, k->n, k->r, 0.1);
    IN(u, k->x, k->N, k->r);
    IN(dy, k->x, k->N, k->n);
    UPDATE(da, QL_F32, k->r, k->k);
    UPDATE(db, QL_F32, k->n, k->r);
    if (k->flags & NO_DX) return;
    if (a->accumulate)
        UPDATE(dx, k->x, k->N, k->k);
    else
        OUT(dx, k->x, k->N, k->k);
}

static void build(opcase *c, int row) {
    const lora_case *k = &cases[row];
    c->op = k->op;
    tc_label(c, "%s [%d, %d, %d] r %d %s flags %d", ql_op_name(k->op), (int)k->N, (int)k->n,
             (int)k->k, (int)k->r, tc_type(k->x), k->flags);
    if (k->op == QL_OP_LORA_FWD)
        build_fwd(c, k);
    else
        build_bwd(c, k);
}

const opfamily ql_opfamily_lora = {"lora", sizeof cases / sizeof *cases, build};
