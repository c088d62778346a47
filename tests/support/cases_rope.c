/* cases_rope.c - rope. */
#include <math.h>

#include "tests/support/opcase.h"

typedef struct rope_case {
    int64_t N;
    int32_t heads, head_dim, rot;
    ql_dtype x, y;
    float sign;
    bool interleaved, inplace;
} rope_case;

static const rope_case cases[] = {
    {1, 1, 2, 2, QL_F32, QL_F32, 1, false, false},
    {9, 3, 8, 8, QL_F32, QL_F32, 1, false, false},
    {9, 3, 8, 8, QL_F32, QL_F32, -1, false, true},
    {33, 2, 64, 64, QL_BF16, QL_BF16, 1, false, true},
    {33, 2, 64, 64, QL_BF16, QL_BF16, -1, false, false},
    {17, 5, 20, 8, QL_F32, QL_F32, 1, false, false},
    {17, 5, 20, 8, QL_F16, QL_F16, -1, false, true},
    {17, 4, 16, 16, QL_F32, QL_F32, 1, true, true},
    {17, 4, 24, 10, QL_BF16, QL_F32, -1, true, false},
    {65, 9, 66, 66, QL_F32, QL_F32, 1, false, true},
};

static void build(opcase *c, int row) {
    const rope_case *k = &cases[row];
    ql_rope_args *a = &c->args.rope;
    enum { POSITIONS = 50 };
    c->op = QL_OP_ROPE;
    tc_label(c, "rope [%d, %d x %d] rot %d %s -> %s sign %g%s%s", (int)k->N, (int)k->heads,
             (int)k->head_dim, (int)k->rot, tc_type(k->x), tc_type(k->y), (double)k->sign,
             k->interleaved ? " interleaved" : "", k->inplace ? " in place" : "");
    a->heads = k->heads;
    a->head_dim = k->head_dim;
    a->rot = k->rot;
    a->sign = k->sign;
    a->interleaved = k->interleaved;
    IN(x, k->x, k->N, (int64_t)k->heads * k->head_dim);
    double *table = tc_in(c, &a->table, "table", QL_F32, POSITIONS, k->rot);
    for (int64_t p = 0; table && p < POSITIONS; p++)
        for (int32_t i = 0; i < k->rot / 2; i++) {
            double angle = (double)p * pow(10000.0, -2.0 * i / k->rot);
            table[p * k->rot + i] = cos(angle);
            table[p * k->rot + k->rot / 2 + i] = sin(angle);
        }
    INDEX(pos, k->N, POSITIONS);
    if (k->inplace)
        tc_same(c, &a->y, &a->x);
    else
        OUT(y, k->y, k->N, (int64_t)k->heads * k->head_dim);
}

const opfamily ql_opfamily_rope = {"rope", sizeof cases / sizeof *cases, build};
