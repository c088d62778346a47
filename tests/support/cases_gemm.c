/* cases_gemm.c - gemm. */
#include "tests/support/opcase.h"

enum { TA = 1, TB = 2, BIAS = 4, BETA = 8, SHARED_A = 16 };

typedef struct gemm_case {
    int64_t m, n, k;
    ql_dtype a, b, c;
    int flags, batch;
} gemm_case;

static const gemm_case cases[] = {
    {1, 1, 1, QL_F32, QL_F32, QL_F32, 0, 1},
    {3, 5, 7, QL_F32, QL_F32, QL_F32, 0, 1},
    {16, 16, 16, QL_F32, QL_F32, QL_F32, TB, 1},
    {17, 33, 65, QL_F32, QL_F32, QL_F32, TB | BIAS, 1},
    {17, 33, 65, QL_F32, QL_F32, QL_F32, TA, 1},
    {17, 33, 65, QL_F32, QL_F32, QL_F32, TA | TB, 1},
    {17, 33, 65, QL_F32, QL_F32, QL_F32, BETA | BIAS, 1},
    {1, 300, 129, QL_F32, QL_F32, QL_F32, TB, 1},
    {1, 300, 129, QL_BF16, QL_BF16, QL_BF16, TB | BIAS, 1},
    {300, 1, 129, QL_F32, QL_F32, QL_F32, 0, 1},
    {65, 127, 513, QL_F32, QL_F32, QL_F32, TB, 1},
    {129, 65, 300, QL_BF16, QL_BF16, QL_BF16, TB, 1},
    {129, 65, 300, QL_BF16, QL_BF16, QL_F32, 0, 1},
    {64, 65, 66, QL_BF16, QL_F32, QL_F32, TA | BETA, 1},
    {64, 65, 66, QL_F32, QL_BF16, QL_BF16, TB, 1},
    {64, 65, 66, QL_F16, QL_F16, QL_F16, BETA, 1},
    {64, 65, 66, QL_F16, QL_F32, QL_F32, TA | TB | BIAS, 1},
    {8, 576, 200, QL_F32, QL_F32, QL_F32, TA | BETA, 1},
    {200, 8, 576, QL_BF16, QL_F32, QL_F32, TB, 1},
    {9, 17, 33, QL_F32, QL_F32, QL_F32, TB, 5},
    {9, 17, 33, QL_BF16, QL_BF16, QL_BF16, TA | BETA, 3},
    {9, 17, 33, QL_F32, QL_F32, QL_F32, SHARED_A | BIAS, 3},
    {257, 260, 258, QL_F32, QL_F32, QL_F32, TB, 1},
};

static void set_batch(opcase *c, ql_mat *m, int count, int64_t *stride) {
    tensor *t = tc_find(c, m);
    int64_t size = t->rows * t->cols;
    if (count == 1) return;
    t->count = count;
    t->stride = stride;
    t->values = ql_arena_alloc(&c->arena, (size_t)(size * count), sizeof *t->values);
    if (!t->values) c->out_of_memory = true;
    tc_normal(c, t->values, size * count, 1.0);
}

static void build(opcase *c, int row) {
    const gemm_case *k = &cases[row];
    ql_gemm_args *a = &c->args.gemm;
    c->op = QL_OP_GEMM;
    tc_label(c, "gemm [%d, %d, %d] x %d %s %s -> %s%s%s%s%s%s", (int)k->m, (int)k->n, (int)k->k,
             k->batch, tc_type(k->a), tc_type(k->b), tc_type(k->c), k->flags & TA ? " ta" : "",
             k->flags & TB ? " tb" : "", k->flags & BIAS ? " bias" : "",
             k->flags & BETA ? " beta" : "", k->flags & SHARED_A ? " shared a" : "");
    a->trans_a = k->flags & TA;
    a->trans_b = k->flags & TB;
    a->alpha = k->flags & BETA ? 0.5f : 1.0f;
    a->beta = k->flags & BETA ? -0.75f : 0.0f;
    a->batch = k->batch;
    IN(a, k->a, a->trans_a ? k->k : k->m, a->trans_a ? k->m : k->k);
    IN(b, k->b, a->trans_b ? k->n : k->k, a->trans_b ? k->k : k->n);
    if (k->flags & BIAS) IN(bias, k->c, 1, k->n);
    if (a->beta == 0.0f)
        OUT(c, k->c, k->m, k->n);
    else
        UPDATE(c, k->c, k->m, k->n);
    if (!(k->flags & SHARED_A)) set_batch(c, &a->a, k->batch, &a->stride_a);
    set_batch(c, &a->b, k->batch, &a->stride_b);
    set_batch(c, &a->c, k->batch, &a->stride_c);
}

const opfamily ql_opfamily_gemm = {"gemm", sizeof cases / sizeof *cases, build};
