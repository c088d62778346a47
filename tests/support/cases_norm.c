/* cases_norm.c - norm_fwd, norm_bwd. */
#include <math.h>

#include "tests/support/opcase.h"

enum {
    RESIDUAL = 1,
    SUM = 2,
    SUM_IS_X = 4,
    SUM_IS_RESIDUAL = 8,
    BIAS = 16,
    FROZEN = 32,
    ACCUM = 64,
    NO_STATS = 128
};

typedef struct norm_case {
    ql_op op;
    ql_norm_kind kind;
    int64_t N, C;
    int32_t groups;
    ql_dtype x, w;
    int flags;
    float w_offset;
} norm_case;

#define F QL_OP_NORM_FWD
#define B QL_OP_NORM_BWD
#define L QL_NORM_LAYER
#define R QL_NORM_RMS
static const norm_case cases[] = {
    {F, L, 1, 1, 1, QL_F32, QL_F32, BIAS, 0},
    {F, L, 5, 65, 1, QL_F32, QL_F32, BIAS, 0},
    {F, L, 33, 513, 1, QL_BF16, QL_BF16, BIAS | RESIDUAL | SUM, 0},
    {F, L, 7, 100, 1, QL_F16, QL_F32, RESIDUAL, 0},
    {F, R, 1, 7, 1, QL_F32, QL_F32, 0, 0},
    {F, R, 33, 576, 1, QL_F32, QL_F32, 0, 0},
    {F, R, 9, 1025, 1, QL_BF16, QL_BF16, RESIDUAL | SUM, 0},
    {F, R, 9, 64, 1, QL_F32, QL_F32, RESIDUAL | SUM | SUM_IS_X, 0},
    {F, R, 9, 64, 1, QL_BF16, QL_F32, RESIDUAL | SUM | SUM_IS_RESIDUAL, 0},
    {F, R, 9, 130, 1, QL_F16, QL_F16, SUM, 1.0f},
    {F, R, 12, 128, 4, QL_F32, QL_F32, 0, 0},
    {F, R, 12, 99, 3, QL_BF16, QL_BF16, 0, 1.0f},
    {F, L, 12, 66, 2, QL_F32, QL_F32, BIAS, 0},
    {F, R, 6, 96, 1, QL_F32, QL_F32, NO_STATS, 0},

    {B, L, 5, 65, 1, QL_F32, QL_F32, BIAS, 0},
    {B, L, 33, 513, 1, QL_BF16, QL_BF16, BIAS | ACCUM, 0},
    {B, L, 7, 100, 1, QL_F16, QL_F32, FROZEN, 0},
    {B, R, 1, 7, 1, QL_F32, QL_F32, 0, 0},
    {B, R, 33, 576, 1, QL_F32, QL_F32, FROZEN, 0},
    {B, R, 300, 64, 1, QL_F32, QL_F32, ACCUM, 0},
    {B, R, 9, 1025, 1, QL_BF16, QL_BF16, ACCUM, 1.0f},
    {B, R, 12, 128, 4, QL_F32, QL_F32, 0, 0},
    {B, R, 70, 99, 3, QL_BF16, QL_BF16, 0, 1.0f},
    {B, L, 12, 66, 2, QL_F32, QL_F32, BIAS, 0},
};
#undef F
#undef B
#undef L
#undef R

static void build_fwd(opcase *c, const norm_case *k) {
    ql_norm_fwd_args *a = &c->args.norm_fwd;
    int64_t per_group = k->C / k->groups;
    a->kind = k->kind;
    a->eps = 1e-5f;
    a->w_offset = k->w_offset;
    a->groups = k->groups;
    IN(x, k->x, k->N, k->C);
    if (k->flags & RESIDUAL) IN(residual, k->x, k->N, k->C);
    IN(w, k->w, 1, per_group);
    if (k->flags & BIAS) IN(b, k->w, 1, per_group);
    if (k->flags & SUM_IS_X)
        tc_same(c, &a->sum, &a->x);
    else if (k->flags & SUM_IS_RESIDUAL)
        tc_same(c, &a->sum, &a->residual);
    else if (k->flags & SUM)
        OUT(sum, k->x, k->N, k->C);
    OUT(y, k->x, k->N, k->C);
    if (k->flags & NO_STATS) return;
    if (k->kind == QL_NORM_LAYER) OUT(mean, QL_F32, 1, k->N * k->groups);
    OUT(rstd, QL_F32, 1, k->N * k->groups);
}

/* mean and rstd belong to s. */
static void fill_stats(const norm_case *k, const double *s, double *mean, double *rstd) {
    int64_t C = k->C / k->groups;
    for (int64_t v = 0; s && rstd && v < k->N * k->groups; v++) {
        double sum = 0.0, square = 0.0;
        for (int64_t j = 0; j < C; j++) sum += s[v * C + j] / (double)C;
        if (!mean) sum = 0.0;
        for (int64_t j = 0; j < C; j++) square += pow(s[v * C + j] - sum, 2.0) / (double)C;
        if (mean) mean[v] = sum;
        rstd[v] = 1.0 / sqrt(square + 1e-5);
    }
}

static void build_bwd(opcase *c, const norm_case *k) {
    ql_norm_bwd_args *a = &c->args.norm_bwd;
    int64_t per_group = k->C / k->groups;
    double *mean = NULL, *rstd;
    a->kind = k->kind;
    a->w_offset = k->w_offset;
    a->accumulate = k->flags & ACCUM;
    IN(s, k->x, k->N, k->C);
    IN(w, k->w, 1, per_group);
    if (k->kind == QL_NORM_LAYER) mean = tc_in(c, &a->mean, "mean", QL_F32, 1, k->N * k->groups);
    rstd = tc_in(c, &a->rstd, "rstd", QL_F32, 1, k->N * k->groups);
    fill_stats(k, tc_find(c, &a->s)->values, mean, rstd);
    IN(dy, k->x, k->N, k->C);
    if (a->accumulate)
        UPDATE(dx, k->x, k->N, k->C);
    else
        OUT(dx, k->x, k->N, k->C);
    if (k->flags & FROZEN) return;
    UPDATE(dw, QL_F32, 1, per_group);
    if (k->flags & BIAS) UPDATE(db, QL_F32, 1, per_group);
}

static void build(opcase *c, int row) {
    const norm_case *k = &cases[row];
    c->op = k->op;
    tc_label(c, "%s %s [%d, %d]/%d %s w %s flags %d offset %g", ql_op_name(k->op),
             k->kind == QL_NORM_LAYER ? "layer" : "rms", (int)k->N, (int)k->C, (int)k->groups,
             tc_type(k->x), tc_type(k->w), k->flags, (double)k->w_offset);
    if (k->op == QL_OP_NORM_FWD)
        build_fwd(c, k);
    else
        build_bwd(c, k);
}

const opfamily ql_opfamily_norm = {"norm", sizeof cases / sizeof *cases, build};
