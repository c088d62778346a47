/* cases_loss.c - loss. */
#include "tests/support/opcase.h"

enum { GRAD = 1, INPLACE = 2, WEIGHT = 4, STEP = 8, IGNORE_SOME = 16 };

typedef struct loss_case {
    ql_loss_kind kind;
    int64_t N, V;
    ql_dtype x;
    int flags;
    float softcap, smoothing, grad_scale;
} loss_case;

static const loss_case cases[] = {
    {QL_LOSS_XENT, 1, 2, QL_F32, GRAD, 0, 0, 1},
    {QL_LOSS_XENT, 9, 100, QL_F32, 0, 0, 0, 1},
    {QL_LOSS_XENT, 33, 513, QL_F32, GRAD | IGNORE_SOME, 0, 0, 0.125f},
    {QL_LOSS_XENT, 33, 513, QL_F32, GRAD | INPLACE | IGNORE_SOME | STEP, 0, 0, 1},
    {QL_LOSS_XENT, 5, 4099, QL_BF16, GRAD | INPLACE | STEP, 0, 0, 1},
    {QL_LOSS_XENT, 5, 1000, QL_F16, GRAD, 0, 0, 1},
    {QL_LOSS_XENT, 7, 65, QL_F32, GRAD | STEP, 30.0f, 0, 1},
    {QL_LOSS_XENT, 7, 65, QL_BF16, GRAD | WEIGHT, 3.0f, 0, 1},
    {QL_LOSS_XENT, 17, 31, QL_F32, GRAD | WEIGHT | IGNORE_SOME, 0, 0.1f, 1},
    {QL_LOSS_XENT, 17, 31, QL_F32, GRAD, 5.0f, 0.2f, 0.5f},
    {QL_LOSS_MSE, 9, 1, QL_F32, GRAD, 0, 0, 1},
    {QL_LOSS_MSE, 12, 65, QL_BF16, GRAD | INPLACE | STEP, 0, 0, 1},
    {QL_LOSS_MSE, 12, 7, QL_F32, GRAD | WEIGHT, 0, 0, 0.5f},
    {QL_LOSS_MSE, 12, 7, QL_F32, 0, 0, 0, 1},
};

static void build_target(opcase *c, const loss_case *k) {
    ql_loss_args *a = &c->args.loss;
    if (k->kind == QL_LOSS_MSE) {
        IN(target, QL_F32, k->N, k->V);
        return;
    }
    double *t = tc_in(c, &a->target, "target", QL_I32, 1, k->N);
    tc_range(c, t, k->N, 0, k->V);
    for (int64_t i = 0; t && k->flags & IGNORE_SOME && i < k->N; i += 3) t[i] = a->ignore;
}

static void build(opcase *c, int row) {
    const loss_case *k = &cases[row];
    ql_loss_args *a = &c->args.loss;
    c->op = QL_OP_LOSS;
    tc_label(c, "loss %s [%d, %d] %s flags %d cap %g smooth %g",
             k->kind == QL_LOSS_XENT ? "xent" : "mse", (int)k->N, (int)k->V, tc_type(k->x),
             k->flags, (double)k->softcap, (double)k->smoothing);
    a->kind = k->kind;
    a->ignore = -100;
    a->softcap = k->softcap;
    a->smoothing = k->smoothing;
    a->grad_scale = k->grad_scale;
    /* Two classes far apart would make lse - z and p - 1 pure cancellation. */
    IN_SCALED(logits, k->x, k->N, k->V, k->V > 2 ? 3.0 : 0.5);
    build_target(c, k);
    if (k->flags & WEIGHT) {
        double *w = tc_in(c, &a->weight, "weight", QL_F32, 1, k->N);
        for (int64_t i = 0; w && i < k->N; i++) w[i] = tc_uniform(c);
    }
    OUT(loss, QL_F32, 1, k->N);
    if (k->flags & STEP) tc_step(c, &a->step, "step");
    if (k->flags & INPLACE)
        tc_same(c, &a->dlogits, &a->logits);
    else if (k->flags & GRAD)
        OUT(dlogits, k->x, k->N, k->V);
}

const opfamily ql_opfamily_loss = {"loss", sizeof cases / sizeof *cases, build};
