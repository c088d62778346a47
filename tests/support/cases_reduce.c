/* cases_reduce.c - sum_rows, sumsq. */
#include <math.h>

#include "tests/support/opcase.h"

typedef struct reduce_case {
    ql_op op;
    int64_t R, K;
    ql_dtype x, y;
    bool accumulate;
    int bad; /* elements that are not finite */
} reduce_case;

static const reduce_case cases[] = {
    {QL_OP_SUM_ROWS, 1, 1, QL_F32, QL_F32, false, 0},
    {QL_OP_SUM_ROWS, 33, 65, QL_F32, QL_F32, true, 0},
    {QL_OP_SUM_ROWS, 1000, 17, QL_BF16, QL_F32, false, 0},
    {QL_OP_SUM_ROWS, 7, 2000, QL_F16, QL_F16, false, 0},
    {QL_OP_SUM_ROWS, 129, 513, QL_BF16, QL_BF16, true, 0},
    {QL_OP_SUMSQ, 1, 1, QL_F32, QL_F32, false, 0},
    {QL_OP_SUMSQ, 1, 70001, QL_F32, QL_F32, true, 0},
    {QL_OP_SUMSQ, 65, 100, QL_BF16, QL_F32, false, 0},
    {QL_OP_SUMSQ, 513, 33, QL_F16, QL_F32, true, 0},
    {QL_OP_SUMSQ, 5, 33, QL_F32, QL_F32, false, 3},
    {QL_OP_SUMSQ, 300, 133, QL_BF16, QL_F32, true, 70},
};

static void build(opcase *c, int row) {
    const reduce_case *k = &cases[row];
    c->op = k->op;
    tc_label(c, "%s [%d, %d] %s -> %s%s, %d not finite", ql_op_name(k->op), (int)k->R, (int)k->K,
             tc_type(k->x), tc_type(k->y), k->accumulate ? " accumulate" : "", k->bad);
    if (k->op == QL_OP_SUM_ROWS) {
        ql_sum_rows_args *a = &c->args.sum_rows;
        a->accumulate = k->accumulate;
        IN(x, k->x, k->R, k->K);
        if (k->accumulate)
            UPDATE(y, k->y, 1, k->K);
        else
            OUT(y, k->y, 1, k->K);
        return;
    }
    ql_sumsq_args *a = &c->args.sumsq;
    a->accumulate = k->accumulate;
    IN(x, k->x, k->R, k->K);
    double *x = tc_find(c, &a->x)->values;
    for (int i = 0; x && i < k->bad; i++)
        x[(int64_t)i * 7 % (k->R * k->K)] = i % 2 ? NAN : INFINITY;
    if (!k->accumulate) {
        OUT(y, QL_F32, 1, 2);
        return;
    }
    double *y = tc_update(c, &a->y, "y", QL_F32, 1, 2);
    if (y) y[0] = 2.5, y[1] = 4.0;
}

const opfamily ql_opfamily_reduce = {"reduce", sizeof cases / sizeof *cases, build};
