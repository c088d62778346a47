/*
 * product_plan.c - how a product is cut into tasks and how much private memory a thread needs.
 *
 * Sizes are monotone in m, n and k and do not depend on the instruction set, so what was planned
 * for the most rows is enough for fewer.
 */
#include "backends/cpu/product.h"

static int64_t round_up(int64_t x, int64_t unit) {
    return ql_cpu_ceil_div(x, unit) * unit;
}

ql_cpu_product ql_cpu_product_of_gemm(const ql_gemm_args *a) {
    return (ql_cpu_product){
        .m = a->c.rows,
        .n = a->c.cols,
        .k = a->trans_a ? a->a.rows : a->a.cols,
        .batch = ql_cpu_max(a->batch, 1),
        .stride_a = a->stride_a,
        .stride_b = a->stride_b,
        .stride_c = a->stride_c,
        .a = {.mat = a->a, .depth_contiguous = !a->trans_a},
        .b = {.mat = a->b, .depth_contiguous = a->trans_b},
        .c = a->c,
        .bias = a->bias,
        .alpha = a->alpha,
        .beta = a->beta,
        .scratch = a->scratch,
    };
}

ql_cpu_product ql_cpu_product_of_gemm_q(const ql_gemm_q_args *a) {
    return (ql_cpu_product){
        .m = a->x.rows,
        .n = a->trans_w ? a->w.k : a->w.n,
        .k = a->trans_w ? a->w.n : a->w.k,
        .batch = 1,
        .a = {.mat = a->x, .depth_contiguous = true},
        .b = {.q = &a->w, .depth_contiguous = !a->trans_w},
        .c = a->y,
        .bias = a->bias,
        .alpha = a->alpha,
        .beta = a->beta,
        .scratch = a->scratch,
    };
}

bool ql_cpu_product_direct(const ql_cpu_product *p) {
    bool adds = p->beta == 1.0f && p->alpha == 1.0f && !ql_cpu_has(&p->bias);
    return p->c.dtype == QL_F32 && (p->beta == 0.0f || adds);
}

/* Every thread the same number of equal tasks. Cutting n packs A once more, cutting m packs B once
 * more (and decodes it, when quantized: about twice the work), so the cheaper side is cut. */
ql_cpu_plan ql_cpu_product_plan(const ql_cpu_product *p, const ql_cpu_kernels *kern, int threads) {
    ql_cpu_plan plan = {
        .kc = ql_cpu_ceil_div(p->k, ql_cpu_ceil_div(p->k, QL_CPU_KC)),
        .tasks_m = ql_cpu_ceil_div(p->m, QL_CPU_MB),
        .tasks_n = ql_cpu_ceil_div(p->n, QL_CPU_NB),
    };
    bool cut_n = p->m <= (p->b.q ? 2 : 1) * p->n;
    int64_t others = p->batch * (cut_n ? plan.tasks_m : plan.tasks_n);
    int64_t *cut = cut_n ? &plan.tasks_n : &plan.tasks_m;
    int64_t unit = cut_n ? kern->nr : kern->mr;
    int64_t most = ql_cpu_ceil_div(cut_n ? p->n : p->m, unit);
    while (*cut < most && others * *cut < 16 * threads && others * *cut % threads != 0) ++*cut;
    plan.mb = round_up(ql_cpu_ceil_div(p->m, plan.tasks_m), kern->mr);
    plan.nb = round_up(ql_cpu_ceil_div(p->n, plan.tasks_n), kern->nr);
    plan.tasks_m = ql_cpu_ceil_div(p->m, plan.mb);
    plan.tasks_n = ql_cpu_ceil_div(p->n, plan.nb);
    return plan;
}

ql_cpu_layout ql_cpu_product_layout(const ql_cpu_product *p) {
    enum { LINE = 16, SPILL = 8 }; /* floats: a cache line; what interleave may write beyond */
    int64_t kc = ql_cpu_min(p->k, QL_CPU_KC);
    int64_t nb = ql_cpu_min(p->n, QL_CPU_NB) + QL_CPU_MAX_NR;
    int64_t mc = ql_cpu_min(p->m, QL_CPU_MC) + QL_CPU_MAX_MR;
    int64_t mb = ql_cpu_min(p->m, QL_CPU_MB) + QL_CPU_MAX_MR;
    ql_cpu_layout l = {.b_panel = 0};
    l.a_block = l.b_panel + round_up(kc * nb + SPILL, LINE);
    l.lines = l.a_block + round_up(kc * mc + SPILL, LINE);
    l.edge = l.lines + round_up(ql_cpu_max(kc * QL_CPU_MAX_NR, nb), LINE);
    l.acc = l.edge + QL_CPU_MAX_MR * QL_CPU_MAX_NR;
    l.floats = l.acc + (ql_cpu_product_direct(p) ? 0 : round_up(mb * nb, LINE));
    if (!p->a.q && p->a.mat.dtype != QL_F32)
        l.shared = round_up(ql_cpu_min(p->m, QL_CPU_SMALL_M) * p->k, LINE);
    return l;
}

static uint64_t scratch_bytes(const ql_cpu_device *dev, const ql_cpu_product *p) {
    ql_cpu_layout l = ql_cpu_product_layout(p);
    return (uint64_t)(l.shared + l.floats * dev->threads) * sizeof(float);
}

uint64_t ql_cpu_scratch_gemm(const ql_cpu_device *dev, const ql_gemm_args *a) {
    ql_cpu_product p = ql_cpu_product_of_gemm(a);
    return scratch_bytes(dev, &p);
}

uint64_t ql_cpu_scratch_gemm_q(const ql_cpu_device *dev, const ql_gemm_q_args *a) {
    ql_cpu_product p = ql_cpu_product_of_gemm_q(a);
    return scratch_bytes(dev, &p);
}
