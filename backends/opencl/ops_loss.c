/* ops_loss.c - cross-entropy and mean squared error: kernels/loss.cl. */
#include "backends/opencl/cl.h"

ql_status ql_cl_op_loss(ql_queue *q, const ql_loss_args *a) {
    bool xent = a->kind == QL_LOSS_XENT;
    ql_cl_call c;
    ql_cl_begin(&c, q, xent ? QL_CL_loss_xent : QL_CL_loss_mse);
    const ql_mat *mats[] = {&a->logits, &a->target, &a->weight, &a->loss, &a->dlogits, &a->step};
    for (int i = 0; i < 6; i++) ql_cl_mat(&c, mats[i]);
    ql_cl_long(&c, a->logits.cols);
    if (xent) {
        ql_cl_int(&c, a->ignore);
        ql_cl_float(&c, a->softcap);
        ql_cl_float(&c, a->smoothing);
    }
    ql_cl_float(&c, a->grad_scale);
    return ql_cl_run_groups(&c, a->logits.rows, 1, 1, QL_CL_WG);
}
