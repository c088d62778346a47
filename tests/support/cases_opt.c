/* cases_opt.c - clip, opt_step. */
#include "tests/ref/ref.h"
#include "tests/support/opcase.h"

enum { SKIP = 1, EIGHT_BIT = 2, NO_MOMENT = 4, BAD = 8 };

typedef struct opt_case {
    ql_op op;
    ql_opt_kind kind;
    int64_t K;
    ql_dtype p, g;
    int flags;
    float decay, max_norm;
    double sum; /* clip: sum of squares */
} opt_case;

static const opt_case cases[] = {
    {QL_OP_CLIP, 0, 0, 0, 0, 0, 0, 0.3f, 100.0},
    {QL_OP_CLIP, 0, 0, 0, 0, 0, 0, 1000.0f, 100.0},
    {QL_OP_CLIP, 0, 0, 0, 0, 0, 0, 0.0f, 100.0},
    {QL_OP_CLIP, 0, 0, 0, 0, 0, 0, 1.0f, 0.0},
    {QL_OP_CLIP, 0, 0, 0, 0, BAD, 0, 1.0f, 9.0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 1, QL_F32, QL_F32, 0, 0.0f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 65, QL_F32, QL_F32, 0, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 70000, QL_F32, QL_F32, 0, 0.01f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 513, QL_BF16, QL_BF16, 0, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 513, QL_F16, QL_F32, 0, 0.0f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 513, QL_F32, QL_BF16, 0, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 130, QL_F32, QL_F32, SKIP, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 256, QL_F32, QL_F32, EIGHT_BIT, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 5000, QL_F32, QL_BF16, EIGHT_BIT, 0.0f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_ADAMW, 600, QL_F32, QL_F32, EIGHT_BIT | SKIP, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_SGD, 257, QL_F32, QL_F32, 0, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_SGD, 257, QL_BF16, QL_F32, NO_MOMENT, 0.0f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_LION, 257, QL_F32, QL_F32, 0, 0.1f, 0, 0},
    {QL_OP_OPT_STEP, QL_OPT_LION, 70, QL_F32, QL_F16, 0, 0.0f, 0, 0},
};

/* Sorted 256-entry maps with the shape of spec 2.1: steps that grow with the magnitude. */
static double *add_map(opcase *c, ql_mat *m, const char *name, bool with_sign) {
    double *v = tc_in(c, m, name, QL_F32, 1, 256);
    for (int i = 0; v && i < 256; i++) {
        double t = with_sign ? (i - 127) / 128.0 : i / 255.0;
        v[i] = ref_round_to(QL_F32, t * t * (t < 0.0 ? -1.0 : 1.0));
    }
    return v;
}

/* A moment: plain, or 8-bit codes with absmax and map. */
static void add_moment(opcase *c, const opt_case *k, ql_mat *m, ql_mat *absmax, ql_mat *map,
                       bool second) {
    double *v, *scale;
    if (!(k->flags & EIGHT_BIT)) {
        v = tc_update(c, m, second ? "v" : "m", QL_F32, 1, k->K);
        tc_normal(c, v, k->K, 0.5);
        for (int64_t i = 0; v && second && i < k->K; i++) v[i] *= v[i];
        return;
    }
    /* A second moment near 0 would blow up what is left when m cancels. */
    tc_range(c, tc_update(c, m, second ? "v" : "m", QL_U8, 1, k->K), k->K, second ? 20 : 0, 256);
    tensor *codes = tc_find(c, m);
    scale = tc_update(c, absmax, second ? "v_absmax" : "m_absmax", QL_F32, 1, (k->K + 255) / 256);
    for (int64_t b = 0; scale && b < (k->K + 255) / 256; b++) scale[b] = 0.1 + tc_uniform(c);
    codes->map = add_map(c, map, second ? "code8_v" : "code8_m", !second);
    /* A value next to a midpoint may take the neighbouring code. */
    codes->limit = 1e-5;
}

static void build_opt_step(opcase *c, const opt_case *k) {
    ql_opt_step_args *a = &c->args.opt_step;
    a->kind = k->kind;
    a->beta1 = 0.9f;
    a->beta2 = 0.999f;
    a->eps = 1e-8f;
    a->weight_decay = k->decay;
    a->lr_scale = 2.0f;
    UPDATE(p, k->p, 1, k->K);
    IN(g, k->g, 1, k->K);
    if (!(k->flags & NO_MOMENT)) add_moment(c, k, &a->m, &a->m_absmax, &a->code8_m, false);
    if (k->kind == QL_OPT_ADAMW) add_moment(c, k, &a->v, &a->v_absmax, &a->code8_v, true);
    double *step = tc_step(c, &a->step, "step");
    if (step && k->flags & SKIP) step[REF_STEP_SKIP] = 1.0;
}

static void build(opcase *c, int row) {
    static const char *const kinds[] = {"adamw", "sgd", "lion"};
    const opt_case *k = &cases[row];
    c->op = k->op;
    if (k->op == QL_OP_OPT_STEP) {
        tc_label(c, "opt_step %s [%d] p %s g %s%s%s decay %g", kinds[k->kind], (int)k->K,
                 tc_type(k->p), tc_type(k->g), k->flags & EIGHT_BIT ? " 8-bit" : "",
                 k->flags & SKIP ? " skip" : "", (double)k->decay);
        build_opt_step(c, k);
        return;
    }
    ql_clip_args *a = &c->args.clip;
    a->max_norm = k->max_norm;
    tc_label(c, "clip to %g, sum %g%s", (double)k->max_norm, k->sum,
             k->flags & BAD ? ", not finite" : "");
    double *sum = tc_in(c, &a->sum, "sum", QL_F32, 1, 2);
    if (sum) sum[0] = k->sum, sum[1] = k->flags & BAD ? 2.0 : 0.0;
    tc_step(c, &a->step, "step");
    tc_find(c, &a->step)->output = true;
}

const opfamily ql_opfamily_opt = {"opt", sizeof cases / sizeof *cases, build};
