/*
 * ops_flat.c - operators bound by memory: [m, n] matrices that are read or written once each.
 *
 * Their shares are of the read bandwidth of main memory; operands that stay in a cache exceed 1.
 */
#include "core/bench/ops.h"

#define HEAD_DIM 64

/* f32 matrices [m, n] that are moved, each once. */
static void moves(const ql_bench_case *c, double matrices, ql_bench_op *op) {
    op->bytes = 4.0 * matrices * (double)c->m * (double)c->n;
    op->bound = QL_BENCH_MEMORY;
}

static ql_status random_like(const ql_bench_case *c, ql_bench_op *op, ql_mat *out) {
    return ql_bench_random(op->lab, QL_F32, c->m, c->n, -1, 1, out);
}

static ql_status empty_like(const ql_bench_case *c, ql_bench_op *op, ql_mat *out) {
    return ql_bench_empty(op->lab, QL_F32, c->m, c->n, out);
}

static void call(ql_bench_op *op, ql_op id) {
    op->id[op->calls] = id;
    op->args[op->calls++] = (ql_op_args){0};
}

/* RMS norm with the residual sum in front: reads x and residual, writes the sum and y. */
ql_status ql_bench_norm_fwd(const ql_bench_case *c, ql_bench_op *op) {
    ql_norm_fwd_args *a = &op->args[0].norm_fwd;
    call(op, QL_OP_NORM_FWD);
    a->kind = QL_NORM_RMS;
    a->eps = 1e-5f;
    QL_TRY(random_like(c, op, &a->x));
    QL_TRY(random_like(c, op, &a->residual));
    QL_TRY(ql_bench_random(op->lab, QL_F32, 1, c->n, 0.5f, 1.5f, &a->w));
    QL_TRY(empty_like(c, op, &a->sum));
    QL_TRY(empty_like(c, op, &a->y));
    QL_TRY(ql_bench_empty(op->lab, QL_F32, 1, c->m, &a->rstd));
    moves(c, 4, op);
    return QL_OK;
}

/* Reads s and dy, writes dx; the weight is frozen. */
ql_status ql_bench_norm_bwd(const ql_bench_case *c, ql_bench_op *op) {
    ql_norm_bwd_args *a = &op->args[0].norm_bwd;
    call(op, QL_OP_NORM_BWD);
    a->kind = QL_NORM_RMS;
    QL_TRY(random_like(c, op, &a->s));
    QL_TRY(ql_bench_random(op->lab, QL_F32, 1, c->n, 0.5f, 1.5f, &a->w));
    QL_TRY(ql_bench_random(op->lab, QL_F32, 1, c->m, 0.5f, 1.5f, &a->rstd));
    QL_TRY(random_like(c, op, &a->dy));
    QL_TRY(empty_like(c, op, &a->dx));
    QL_TRY(ql_bench_scratch(op->lab, QL_OP_NORM_BWD, &op->args[0], &a->scratch));
    moves(c, 3, op);
    return QL_OK;
}

/* All dimensions of every head; reads x and, per token, a row of the table. */
ql_status ql_bench_rope(const ql_bench_case *c, ql_bench_op *op) {
    ql_rope_args *a = &op->args[0].rope;
    call(op, QL_OP_ROPE);
    a->heads = (int32_t)(c->n / HEAD_DIM);
    a->head_dim = a->rot = HEAD_DIM;
    a->sign = 1;
    QL_TRY(random_like(c, op, &a->x));
    QL_TRY(ql_bench_random(op->lab, QL_F32, c->m, HEAD_DIM, -1, 1, &a->table));
    QL_TRY(ql_bench_count_up(op->lab, c->m, &a->pos));
    QL_TRY(empty_like(c, op, &a->y));
    moves(c, 2, op);
    return QL_OK;
}

/* Gated SiLU: reads x and up, writes y. */
ql_status ql_bench_act_fwd(const ql_bench_case *c, ql_bench_op *op) {
    ql_act_fwd_args *a = &op->args[0].act_fwd;
    call(op, QL_OP_ACT_FWD);
    a->kind = QL_ACT_SILU;
    QL_TRY(random_like(c, op, &a->x));
    QL_TRY(random_like(c, op, &a->up));
    QL_TRY(empty_like(c, op, &a->y));
    moves(c, 3, op);
    return QL_OK;
}

/* Reads x, up and dy, writes dx and dup. */
ql_status ql_bench_act_bwd(const ql_bench_case *c, ql_bench_op *op) {
    ql_act_bwd_args *a = &op->args[0].act_bwd;
    call(op, QL_OP_ACT_BWD);
    a->kind = QL_ACT_SILU;
    QL_TRY(random_like(c, op, &a->x));
    QL_TRY(random_like(c, op, &a->up));
    QL_TRY(random_like(c, op, &a->dy));
    QL_TRY(empty_like(c, op, &a->dx));
    QL_TRY(empty_like(c, op, &a->dup));
    moves(c, 5, op);
    return QL_OK;
}

/* Cross-entropy over n classes with its gradient: reads logits, writes dlogits. */
ql_status ql_bench_loss(const ql_bench_case *c, ql_bench_op *op) {
    ql_loss_args *a = &op->args[0].loss;
    call(op, QL_OP_LOSS);
    a->kind = QL_LOSS_XENT;
    a->ignore = -100;
    a->grad_scale = 1.0f / (float)c->m;
    QL_TRY(random_like(c, op, &a->logits));
    QL_TRY(ql_bench_count_up(op->lab, c->m, &a->target));
    QL_TRY(ql_bench_empty(op->lab, QL_F32, 1, c->m, &a->loss));
    QL_TRY(empty_like(c, op, &a->dlogits));
    moves(c, 2, op);
    return QL_OK;
}

/* Reads p, g, m, v and writes p, m, v. */
ql_status ql_bench_adamw(const ql_bench_case *c, ql_bench_op *op) {
    const ql_step_block step = {
        .lr = 1e-6f, .loss_scale = 1, .unscale = 1, .bias1 = 1, .bias2 = 1, .clip = 1};
    ql_opt_step_args *a = &op->args[0].opt_step;
    call(op, QL_OP_OPT_STEP);
    a->kind = QL_OPT_ADAMW;
    a->beta1 = 0.9f;
    a->beta2 = 0.999f;
    a->eps = 1e-8f;
    a->lr_scale = 1;
    QL_TRY(random_like(c, op, &a->p));
    QL_TRY(random_like(c, op, &a->g));
    QL_TRY(random_like(c, op, &a->m));
    QL_TRY(ql_bench_random(op->lab, QL_F32, c->m, c->n, 0.1f, 1, &a->v));
    QL_TRY(ql_bench_copy(op->lab, QL_U8, 1, QL_STEP_BLOCK_BYTES, &step, &a->step));
    moves(c, 7, op);
    return QL_OK;
}
