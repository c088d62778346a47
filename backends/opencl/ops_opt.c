/* ops_opt.c - clip and optimizer steps: kernels/opt.cl. */
#include <math.h>

#include "backends/opencl/cl.h"

ql_status ql_cl_op_clip(ql_queue *q, const ql_clip_args *a) {
    ql_cl_call c;
    ql_cl_begin(&c, q, QL_CL_clip);
    ql_cl_mat(&c, &a->sum);
    ql_cl_mat(&c, &a->step);
    ql_cl_float(&c, a->max_norm);
    return ql_cl_run_groups(&c, 1, 1, 1, QL_CL_WG);
}

/* 1 - beta of the decimal that was meant: 0.9f is 0.89999998. */
static float complement(float beta) {
    return (float)(1.0 - rint((double)beta * 1e7) / 1e7);
}

ql_status ql_cl_op_opt_step(ql_queue *q, const ql_opt_step_args *a) {
    int64_t size = a->p.rows * a->p.cols;
    bool eight =
        (ql_cl_has(&a->m) && a->m.dtype == QL_U8) || (ql_cl_has(&a->v) && a->v.dtype == QL_U8);
    const ql_mat *values[] = {&a->p, &a->g, &a->m, &a->v};
    const ql_mat *codes[] = {&a->m_absmax, &a->v_absmax, &a->code8_m, &a->code8_v};
    ql_cl_call c;
    ql_cl_begin(&c, q, eight ? QL_CL_opt_step8 : QL_CL_opt_step);
    for (int i = 0; i < 4; i++) ql_cl_mat(&c, values[i]);
    for (int i = 0; i < 4 && eight; i++) ql_cl_mat(&c, codes[i]);
    ql_cl_mat(&c, &a->step);
    ql_cl_long(&c, size);
    ql_cl_long(&c, a->p.cols);
    ql_cl_int(&c, (int32_t)a->kind);
    ql_cl_float(&c, a->beta1);
    ql_cl_float(&c, a->beta2);
    ql_cl_float(&c, complement(a->beta1));
    ql_cl_float(&c, complement(a->beta2));
    ql_cl_float(&c, a->eps);
    ql_cl_float(&c, a->weight_decay);
    ql_cl_float(&c, a->lr_scale);
    return eight ? ql_cl_run_groups(&c, (size + 255) / 256, 1, 1, QL_CL_WG)
                 : ql_cl_run_items(&c, size, 1);
}
