/* cases_elem.c - fill, axpby, dropout, act_fwd, act_bwd. */
#include "tests/support/opcase.h"

enum { INPLACE = 1, BROADCAST = 2, UP = 4, DUP = 8, KEY = 16, STEP = 32, WIDE = 64 };

typedef struct elem_case {
    ql_op op;
    int64_t rows, cols;
    ql_dtype x, y;
    int flags;
    float alpha, beta; /* axpby; fill: alpha = value; dropout: alpha = p */
    ql_act_kind kind;
} elem_case;

static const elem_case cases[] = {
    {QL_OP_FILL, 1, 1, 0, QL_F32, 0, 3.25f, 0, 0},
    {QL_OP_FILL, 7, 65, 0, QL_F16, 0, -0.1f, 0, 0},
    {QL_OP_FILL, 33, 513, 0, QL_BF16, 0, 0.0f, 0, 0},
    {QL_OP_FILL, 2, 4100, 0, QL_F32, 0, 1e-30f, 0, 0},
    {QL_OP_FILL, 3, 600, 0, QL_I32, 0, -3.0f, 0, 0},
    {QL_OP_FILL, 3, 600, 0, QL_U8, 0, 127.0f, 0, 0},

    {QL_OP_AXPBY, 1, 1, QL_F32, QL_F32, 0, 1.0f, 0.0f, 0},
    {QL_OP_AXPBY, 5, 7, QL_F32, QL_F32, 0, 0.5f, -2.0f, 0},
    {QL_OP_AXPBY, 64, 513, QL_BF16, QL_BF16, 0, 1.0f, 1.0f, 0},
    {QL_OP_AXPBY, 3, 1025, QL_F16, QL_F16, 0, -1.5f, 0.25f, 0},
    {QL_OP_AXPBY, 9, 100, QL_F32, QL_BF16, 0, 1.0f, 0.0f, 0},
    {QL_OP_AXPBY, 9, 100, QL_BF16, QL_F32, 0, 1.0f, 0.0f, 0},
    {QL_OP_AXPBY, 9, 100, QL_F16, QL_F32, 0, 2.0f, 1.0f, 0},
    {QL_OP_AXPBY, 9, 100, QL_F32, QL_F16, 0, 1.0f, 0.0f, 0},
    {QL_OP_AXPBY, 9, 100, QL_F16, QL_BF16, 0, 1.0f, 1.0f, 0},
    {QL_OP_AXPBY, 17, 31, QL_F32, QL_F32, BROADCAST, 1.0f, 1.0f, 0},
    {QL_OP_AXPBY, 6, 511, QL_BF16, QL_F32, BROADCAST, 0.1f, 1.0f, 0},
    {QL_OP_AXPBY, 6, 512, QL_F32, QL_F32, INPLACE, 0.25f, 0.0f, 0},
    {QL_OP_AXPBY, 6, 33, QL_BF16, QL_BF16, INPLACE, 0.25f, 0.5f, 0},
    {QL_OP_AXPBY, 300, 200, QL_F32, QL_F32, 0, 1.0f, 1.0f, 0},

    {QL_OP_DROPOUT, 4, 9, QL_F32, QL_F32, 0, 0.1f, 0, 0},
    {QL_OP_DROPOUT, 33, 130, QL_F32, QL_F32, KEY | STEP, 0.25f, 0, 0},
    {QL_OP_DROPOUT, 33, 515, QL_BF16, QL_BF16, KEY, 0.05f, 0, 0},
    {QL_OP_DROPOUT, 12, 1025, QL_F16, QL_F16, KEY | STEP | INPLACE, 0.5f, 0, 0},
    {QL_OP_DROPOUT, 5, 64, QL_BF16, QL_F32, STEP, 0.9f, 0, 0},
    {QL_OP_DROPOUT, 5, 64, QL_F32, QL_F32, KEY | INPLACE, 0.0f, 0, 0},

    {QL_OP_ACT_FWD, 5, 9, QL_F32, QL_F32, 0, 0, 0, QL_ACT_IDENTITY},
    {QL_OP_ACT_FWD, 5, 9, QL_F32, QL_F32, UP, 0, 0, QL_ACT_IDENTITY},
    {QL_OP_ACT_FWD, 5, 130, QL_F32, QL_F32, 0, 0, 0, QL_ACT_RELU},
    {QL_OP_ACT_FWD, 5, 130, QL_BF16, QL_BF16, UP, 0, 0, QL_ACT_RELU},
    {QL_OP_ACT_FWD, 5, 513, QL_F32, QL_F32, 0, 0, 0, QL_ACT_GELU_ERF},
    {QL_OP_ACT_FWD, 5, 513, QL_F16, QL_F16, UP, 0, 0, QL_ACT_GELU_ERF},
    {QL_OP_ACT_FWD, 5, 513, QL_F32, QL_F32, WIDE, 0, 0, QL_ACT_GELU_TANH},
    {QL_OP_ACT_FWD, 5, 513, QL_BF16, QL_F32, UP, 0, 0, QL_ACT_GELU_TANH},
    {QL_OP_ACT_FWD, 33, 1000, QL_F32, QL_F32, UP | INPLACE, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_FWD, 33, 100, QL_BF16, QL_BF16, UP, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_FWD, 3, 100, QL_F32, QL_F32, WIDE, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_FWD, 3, 100, QL_F32, QL_F32, WIDE | INPLACE, 0, 0, QL_ACT_TANH},
    {QL_OP_ACT_FWD, 3, 100, QL_F16, QL_F16, UP, 0, 0, QL_ACT_TANH},

    {QL_OP_ACT_BWD, 5, 9, QL_F32, QL_F32, 0, 0, 0, QL_ACT_IDENTITY},
    {QL_OP_ACT_BWD, 5, 130, QL_F32, QL_F32, UP | DUP, 0, 0, QL_ACT_RELU},
    {QL_OP_ACT_BWD, 5, 513, QL_F32, QL_F32, 0, 0, 0, QL_ACT_GELU_ERF},
    {QL_OP_ACT_BWD, 5, 513, QL_F16, QL_F16, UP | DUP, 0, 0, QL_ACT_GELU_ERF},
    {QL_OP_ACT_BWD, 5, 513, QL_F32, QL_F32, WIDE, 0, 0, QL_ACT_GELU_TANH},
    {QL_OP_ACT_BWD, 5, 513, QL_BF16, QL_BF16, UP | DUP, 0, 0, QL_ACT_GELU_TANH},
    {QL_OP_ACT_BWD, 33, 1000, QL_F32, QL_F32, UP | DUP | INPLACE, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_BWD, 33, 100, QL_BF16, QL_BF16, UP | DUP, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_BWD, 33, 100, QL_BF16, QL_F32, UP, 0, 0, QL_ACT_SILU},
    {QL_OP_ACT_BWD, 3, 100, QL_F32, QL_F32, WIDE | INPLACE, 0, 0, QL_ACT_TANH},
};

static void build_axpby(opcase *c, const elem_case *k) {
    ql_axpby_args *a = &c->args.axpby;
    int64_t x_rows = k->flags & BROADCAST ? 1 : k->rows;
    a->alpha = k->alpha;
    a->beta = k->beta;
    IN(x, k->x, x_rows, k->cols);
    if (k->flags & INPLACE)
        tc_same(c, &a->y, &a->x);
    else if (k->beta == 0.0f)
        OUT(y, k->y, k->rows, k->cols); /* NaN must not come through */
    else
        UPDATE(y, k->y, k->rows, k->cols);
}

static void build_dropout(opcase *c, const elem_case *k) {
    ql_dropout_args *a = &c->args.dropout;
    a->p = k->alpha;
    a->rng = (ql_rng){.seed = tc_bits(c), .stream = tc_bits(c)};
    IN(x, k->x, k->rows, k->cols);
    if (k->flags & INPLACE)
        tc_same(c, &a->y, &a->x);
    else
        OUT(y, k->y, k->rows, k->cols);
    if (k->flags & KEY) tc_key(c, &a->rng.key, "rng.key", k->rows);
    if (k->flags & STEP) tc_step(c, &a->rng.step, "rng.step");
}

static void build_act_fwd(opcase *c, const elem_case *k) {
    ql_act_fwd_args *a = &c->args.act_fwd;
    a->kind = k->kind;
    IN_SCALED(x, k->x, k->rows, k->cols, k->flags & WIDE ? 8.0 : 1.5);
    if (k->flags & UP) IN(up, k->x, k->rows, k->cols);
    if (k->flags & INPLACE)
        tc_same(c, &a->y, &a->x);
    else
        OUT(y, k->y, k->rows, k->cols);
}

static void build_act_bwd(opcase *c, const elem_case *k) {
    ql_act_bwd_args *a = &c->args.act_bwd;
    a->kind = k->kind;
    IN_SCALED(x, k->x, k->rows, k->cols, k->flags & WIDE ? 8.0 : 1.5);
    if (k->flags & UP) IN(up, k->x, k->rows, k->cols);
    IN(dy, k->x, k->rows, k->cols);
    if (k->flags & INPLACE)
        tc_same(c, &a->dx, &a->x);
    else
        OUT(dx, k->y, k->rows, k->cols);
    if (!(k->flags & DUP)) return;
    if (k->flags & INPLACE)
        tc_same(c, &a->dup, &a->up);
    else
        OUT(dup, k->y, k->rows, k->cols);
}

static void build(opcase *c, int row) {
    static const char *const kinds[] = {"identity",  "relu", "gelu_erf",
                                        "gelu_tanh", "silu", "tanh"};
    const elem_case *k = &cases[row];
    bool act = k->op == QL_OP_ACT_FWD || k->op == QL_OP_ACT_BWD;
    c->op = k->op;
    tc_label(c, "%s%s%s [%d, %d] %s -> %s%s%s%s", ql_op_name(k->op), act ? " " : "",
             act ? kinds[k->kind] : "", (int)k->rows, (int)k->cols, tc_type(k->x), tc_type(k->y),
             k->flags & UP ? " gated" : "", k->flags & INPLACE ? " in place" : "",
             k->flags & BROADCAST ? " broadcast" : "");
    switch (k->op) {
    case QL_OP_FILL:
        c->args.fill.value = k->alpha;
        tc_out(c, &c->args.fill.y, "y", k->y, k->rows, k->cols);
        break;
    case QL_OP_AXPBY: build_axpby(c, k); break;
    case QL_OP_DROPOUT: build_dropout(c, k); break;
    case QL_OP_ACT_FWD: build_act_fwd(c, k); break;
    default: build_act_bwd(c, k); break;
    }
}

const opfamily ql_opfamily_elem = {"elem", sizeof cases / sizeof *cases, build};
