/*
 * grad.c - one backward rule per operator.
 *
 * A rule appends the records that turn the gradient of a record's outputs into gradients of its
 * inputs. The first writer of a gradient writes, later ones accumulate; operators without
 * accumulation write to a temporary that axpby adds. Frozen inputs cost nothing. Values read again
 * are taken through ql_tape_saved, so recomputed segments are transparent here.
 */
#include "core/graph/tape_impl.h"

static ql_mat saved(ql_tape *t, ql_vid v) {
    return ql_ref(t, ql_tape_saved(t, v));
}
static bool wants(const ql_tape *t, ql_vid v) {
    return ql_needs_grad(t, v);
}

static void append(ql_tape *t, ql_op op, const ql_op_args *args) {
    (void)ql_tape_append(t, op, args);
}
#define APPEND(ID, field, ...) append(t, QL_OP_##ID, &(ql_op_args){.field = {__VA_ARGS__}})

/* Finds the id of the operand whose matrix lies at byte `at` of the argument struct. */
static ql_vid operand_at(const ql_record *r, size_t at) {
    const ql_op_info info = ql_op_info_of(r->op);
    for (int i = 0; i < info.count; i++)
        if (info.operand[i].at == at) return r->operand[i];
    return 0;
}
#define ID_OF(op, field) operand_at(r, offsetof(ql_##op##_args, field))

/* Latches "op: why (output 'name')". */
static void refuse(ql_tape *t, const ql_record *r, const char *why) {
    const ql_op_info info = ql_op_info_of(r->op);
    const char *output = "";
    for (int i = 0; i < info.count && !*output; i++)
        if (r->operand[i] && ql_use_writes(ql_operand_access(r->op, &r->args, i)))
            output = t->values[r->operand[i]].name;
    ql_tape_fail(t, QL_FAIL(QL_ERR_UNSUPPORTED, "%s: %s (output '%s')", info.name, why, output));
}

/* Where a rule for an operator without accumulation writes the gradient of v: directly, or into a
 * temporary that `finish` adds. */
typedef struct sink {
    ql_vid grad, out;
} sink;

static sink open_sink(ql_tape *t, ql_vid v) {
    sink s = {0, 0};
    if (!wants(t, v)) return s;
    s.grad = s.out = ql_grad_of(t, v);
    if (!ql_grad_claim(t, v) || t->status != QL_OK) return s;
    ql_value x = t->values[v];
    s.out = ql_tape_value(t, QL_POOL_ACTIVATIONS, x.dtype, x.rows, x.cols, "t.%.60s", x.name);
    return s;
}

static void close_sink(ql_tape *t, sink s) {
    if (s.out != s.grad)
        APPEND(AXPBY, axpby, .x = ql_ref(t, s.out), .y = ql_ref(t, s.grad), .alpha = 1.0f,
               .beta = 1.0f);
}

/* A temporary shaped like v for an output that the operator must write but nobody reads. */
static ql_vid sink_or_temp(ql_tape *t, sink s, ql_vid like) {
    if (s.out || !like) return s.out;
    ql_value x = t->values[like];
    return ql_tape_value(t, QL_POOL_ACTIVATIONS, x.dtype, x.rows, x.cols, "t.%.60s", x.name);
}

/* y = alpha x + beta y. dx += alpha dy (summed over rows when x is a row); dy *= beta. */
static void grad_axpby(ql_tape *t, const ql_record *r) {
    const ql_axpby_args *a = &r->args.axpby;
    ql_vid x = ID_OF(axpby, x), y = ID_OF(axpby, y);
    ql_vid dy = ql_grad_of(t, y);
    if (x != y && wants(t, x)) {
        ql_vid dx = ql_grad_of(t, x);
        bool more = ql_grad_claim(t, x);
        if (a->x.rows == 1 && a->y.rows != 1) {
            if (a->alpha != 1.0f) refuse(t, r, "no gradient for a scaled broadcast row");
            APPEND(SUM_ROWS, sum_rows, .x = ql_ref(t, dy), .y = ql_ref(t, dx), .accumulate = more);
        } else {
            APPEND(AXPBY, axpby, .x = ql_ref(t, dy), .y = ql_ref(t, dx), .alpha = a->alpha,
                   .beta = more ? 1.0f : 0.0f);
        }
    }
    float keep = x == y ? a->alpha + a->beta : a->beta;
    if (keep != 0.0f && keep != 1.0f)
        APPEND(AXPBY, axpby, .x = ql_ref(t, dy), .y = ql_ref(t, dy), .alpha = keep, .beta = 0.0f);
}

/* y = dropout(x): its own backward with the same draw. */
static void grad_dropout(ql_tape *t, const ql_record *r) {
    ql_vid x = ID_OF(dropout, x), y = ID_OF(dropout, y);
    ql_op_args b = {.dropout = r->args.dropout};
    b.dropout.rng.key = ql_ref(t, ID_OF(dropout, rng.key));
    b.dropout.rng.step = ql_ref(t, ID_OF(dropout, rng.step));
    b.dropout.x = ql_ref(t, ql_grad_of(t, y));
    if (x == y) {
        b.dropout.y = b.dropout.x;
        append(t, QL_OP_DROPOUT, &b);
        return;
    }
    if (!wants(t, x)) return;
    sink s = open_sink(t, x);
    b.dropout.y = ql_ref(t, s.out);
    append(t, QL_OP_DROPOUT, &b);
    close_sink(t, s);
}

/* y = act(x) * up:  dx = dy up act'(x);  dup = dy act(x). */
static void grad_act(ql_tape *t, const ql_record *r) {
    ql_vid x = ID_OF(act_fwd, x), up = ID_OF(act_fwd, up), y = ID_OF(act_fwd, y);
    if (x == y) {
        refuse(t, r, "the input is overwritten in place, its gradient is lost");
        return;
    }
    sink sx = open_sink(t, x), su = open_sink(t, up);
    APPEND(ACT_BWD, act_bwd, .kind = r->args.act_fwd.kind, .x = saved(t, x), .up = saved(t, up),
           .dy = ql_ref(t, ql_grad_of(t, y)), .dx = ql_ref(t, sink_or_temp(t, sx, x)),
           .dup = ql_ref(t, sink_or_temp(t, su, up)));
    close_sink(t, sx);
    close_sink(t, su);
}

/* y[i] = scale table[index[i]]:  dtable[index[i]] += scale dy[i]. */
static void grad_gather(ql_tape *t, const ql_record *r) {
    ql_vid table = ID_OF(gather, table), y = ID_OF(gather, y);
    if (!wants(t, table)) return;
    ql_vid g = ql_grad_of(t, table);
    if (!ql_grad_claim(t, table)) APPEND(FILL, fill, .y = ql_ref(t, g), .value = 0.0f);
    APPEND(SCATTER_ADD, scatter_add, .dy = ql_ref(t, ql_grad_of(t, y)),
           .index = ql_ref(t, ID_OF(gather, index)), .dtable = ql_ref(t, g),
           .scale = r->args.gather.scale);
}

static void grad_norm(ql_tape *t, const ql_record *r) {
    const ql_norm_fwd_args *a = &r->args.norm_fwd;
    ql_vid x = ID_OF(norm_fwd, x), residual = ID_OF(norm_fwd, residual), sum = ID_OF(norm_fwd, sum);
    ql_vid w = ID_OF(norm_fwd, w), b = ID_OF(norm_fwd, b), y = ID_OF(norm_fwd, y);
    ql_vid s = sum ? sum : x; /* what was normalized */
    if (residual && !sum) {
        refuse(t, r, "a residual without `sum` has no gradient");
        return;
    }
    bool more = ql_grad_claim(t, s);
    APPEND(NORM_BWD, norm_bwd, .kind = a->kind, .w_offset = a->w_offset, .accumulate = more,
           .s = saved(t, s), .w = ql_ref(t, w), .mean = saved(t, ID_OF(norm_fwd, mean)),
           .rstd = saved(t, ID_OF(norm_fwd, rstd)), .dy = ql_ref(t, ql_grad_of(t, y)),
           .dx = ql_ref(t, ql_grad_of(t, s)), .dw = ql_ref(t, wants(t, w) ? ql_grad_of(t, w) : 0),
           .db = ql_ref(t, wants(t, b) ? ql_grad_of(t, b) : 0));
    if (s == x) return;
    ql_vid to[2] = {x, residual};
    for (int i = 0; i < 2; i++) {
        if (!wants(t, to[i]) || to[i] == s) continue;
        ql_vid g = ql_grad_of(t, to[i]);
        bool had = ql_grad_claim(t, to[i]);
        APPEND(AXPBY, axpby, .x = ql_ref(t, ql_grad_of(t, s)), .y = ql_ref(t, g), .alpha = 1.0f,
               .beta = had ? 1.0f : 0.0f);
    }
}

/* Rotation by -angle; in place when the forward was. */
static void grad_rope(ql_tape *t, const ql_record *r) {
    ql_vid x = ID_OF(rope, x), y = ID_OF(rope, y);
    ql_op_args b = {.rope = r->args.rope};
    b.rope.sign = -b.rope.sign;
    b.rope.table = ql_ref(t, ID_OF(rope, table));
    b.rope.pos = ql_ref(t, ID_OF(rope, pos));
    b.rope.x = ql_ref(t, ql_grad_of(t, y));
    if (x == y) {
        b.rope.y = b.rope.x;
        append(t, QL_OP_ROPE, &b);
        return;
    }
    if (!wants(t, x)) return;
    sink s = open_sink(t, x);
    b.rope.y = ql_ref(t, s.out);
    append(t, QL_OP_ROPE, &b);
    close_sink(t, s);
}

static void grad_attn(ql_tape *t, const ql_record *r) {
    ql_vid q = ID_OF(attn_fwd, q), k = ID_OF(attn_fwd, k), v = ID_OF(attn_fwd, v),
           o = ID_OF(attn_fwd, o);
    ql_vid table = ID_OF(attn_fwd, spec.table), c2p = ID_OF(attn_fwd, spec.c2p),
           p2c = ID_OF(attn_fwd, spec.p2c);
    ql_op_args b = {.attn_bwd = {.spec = r->args.attn_fwd.spec}};
    ql_attn_spec *spec = &b.attn_bwd.spec;
    spec->rng.key = ql_ref(t, ID_OF(attn_fwd, spec.rng.key));
    spec->rng.step = ql_ref(t, ID_OF(attn_fwd, spec.rng.step));
    spec->start_q = ql_ref(t, ID_OF(attn_fwd, spec.start_q));
    spec->start_kv = ql_ref(t, ID_OF(attn_fwd, spec.start_kv));
    spec->len_kv = ql_ref(t, ID_OF(attn_fwd, spec.len_kv));
    spec->table = saved(t, table);
    spec->c2p = saved(t, c2p);
    spec->p2c = saved(t, p2c);
    spec->bucket = ql_ref(t, ID_OF(attn_fwd, spec.bucket));
    b.attn_bwd.q = saved(t, q);
    b.attn_bwd.k = saved(t, k);
    b.attn_bwd.v = saved(t, v);
    b.attn_bwd.o = saved(t, o);
    b.attn_bwd.lse = saved(t, ID_OF(attn_fwd, lse));
    b.attn_bwd.d_o = ql_ref(t, ql_grad_of(t, o));
    ql_vid bias[3] = {table, c2p, p2c};
    ql_mat *dbias[3] = {&b.attn_bwd.dtable, &b.attn_bwd.dc2p, &b.attn_bwd.dp2c};
    for (int i = 0; i < 3; i++) {
        if (!wants(t, bias[i])) continue;
        ql_vid g = ql_grad_of(t, bias[i]);
        if (!ql_grad_claim(t, bias[i])) APPEND(FILL, fill, .y = ql_ref(t, g), .value = 0.0f);
        *dbias[i] = ql_ref(t, g);
    }
    sink sq = open_sink(t, q), sk = open_sink(t, k), sv = open_sink(t, v);
    b.attn_bwd.dq = ql_ref(t, sink_or_temp(t, sq, q));
    b.attn_bwd.dk = ql_ref(t, sink_or_temp(t, sk, k));
    b.attn_bwd.dv = ql_ref(t, sink_or_temp(t, sv, v));
    append(t, QL_OP_ATTN_BWD, &b);
    close_sink(t, sq);
    close_sink(t, sk);
    close_sink(t, sv);
}

/* dbias += column sums of dy. */
static void grad_bias(ql_tape *t, ql_vid bias, ql_vid dy) {
    if (!wants(t, bias)) return;
    ql_vid g = ql_grad_of(t, bias);
    bool more = ql_grad_claim(t, bias);
    APPEND(SUM_ROWS, sum_rows, .x = ql_ref(t, dy), .y = ql_ref(t, g), .accumulate = more);
}

/* c = alpha a op(b) + beta c + bias with a not transposed:
 *   da = alpha dc op(b)^T;   db = alpha a^T dc, or alpha dc^T a when b enters transposed. */
static void grad_gemm(ql_tape *t, const ql_record *r) {
    const ql_gemm_args *a = &r->args.gemm;
    ql_vid va = ID_OF(gemm, a), vb = ID_OF(gemm, b), vc = ID_OF(gemm, c);
    if (a->trans_a || a->batch > 1 || (a->beta != 0.0f && a->beta != 1.0f)) {
        refuse(t, r,
               "no gradient for a transposed left side, a batch or a beta other than 0 and 1");
        return;
    }
    ql_vid dc = ql_grad_of(t, vc);
    grad_bias(t, ID_OF(gemm, bias), dc);
    if (wants(t, vb)) {
        ql_vid g = ql_grad_of(t, vb);
        float beta = ql_grad_claim(t, vb) ? 1.0f : 0.0f;
        if (a->trans_b)
            APPEND(GEMM, gemm, .a = ql_ref(t, dc), .b = saved(t, va), .c = ql_ref(t, g),
                   .trans_a = true, .alpha = a->alpha, .beta = beta, .batch = 1);
        else
            APPEND(GEMM, gemm, .a = saved(t, va), .b = ql_ref(t, dc), .c = ql_ref(t, g),
                   .trans_a = true, .alpha = a->alpha, .beta = beta, .batch = 1);
    }
    if (wants(t, va)) {
        ql_vid g = ql_grad_of(t, va);
        float beta = ql_grad_claim(t, va) ? 1.0f : 0.0f;
        APPEND(GEMM, gemm, .a = ql_ref(t, dc), .b = saved(t, vb), .c = ql_ref(t, g),
               .trans_b = !a->trans_b, .alpha = a->alpha, .beta = beta, .batch = 1);
    }
}

/* The quantized weight of a record with its ids put back. */
static ql_qmat qmat_of(ql_tape *t, const ql_record *r, ql_qmat w, size_t at) {
    w.codes = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, codes)));
    w.table = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, table)));
    w.scale = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, scale)));
    w.zero = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, zero)));
    w.scale2 = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, scale2)));
    w.code2 = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, code2)));
    w.offset = ql_ref(t, operand_at(r, at + offsetof(ql_qmat, offset)));
    return w;
}

/* y = alpha x W^T (+ ...):  dx = alpha dy W. The weight is frozen. */
static void grad_gemm_q(ql_tape *t, const ql_record *r) {
    const ql_gemm_q_args *a = &r->args.gemm_q;
    ql_vid x = ID_OF(gemm_q, x), dy = ql_grad_of(t, ID_OF(gemm_q, y));
    if (a->beta != 0.0f && a->beta != 1.0f) {
        refuse(t, r, "no gradient for a beta other than 0 and 1");
        return;
    }
    grad_bias(t, ID_OF(gemm_q, bias), dy);
    if (!wants(t, x)) return;
    ql_vid g = ql_grad_of(t, x);
    float beta = ql_grad_claim(t, x) ? 1.0f : 0.0f;
    APPEND(GEMM_Q, gemm_q, .x = ql_ref(t, dy), .y = ql_ref(t, g), .trans_w = !a->trans_w,
           .alpha = a->alpha, .beta = beta, .w = qmat_of(t, r, a->w, offsetof(ql_gemm_q_args, w)));
}

/* y = x m / norm:  dx = dy m / norm;  dm += sum_i dy x / norm. */
static void grad_scale_cols(ql_tape *t, const ql_record *r) {
    ql_vid x = ID_OF(scale_cols, x), y = ID_OF(scale_cols, y), m = ID_OF(scale_cols, m);
    if (x == y) {
        refuse(t, r, "the input is overwritten in place, its gradient is lost");
        return;
    }
    ql_vid dm = wants(t, m) ? ql_grad_of(t, m) : 0;
    if (dm && !ql_grad_claim(t, m)) APPEND(FILL, fill, .y = ql_ref(t, dm), .value = 0.0f);
    sink s = open_sink(t, x);
    APPEND(SCALE_COLS, scale_cols, .x = saved(t, x), .m = ql_ref(t, m),
           .norm = saved(t, ID_OF(scale_cols, norm)), .dy = ql_ref(t, ql_grad_of(t, y)),
           .y = ql_ref(t, sink_or_temp(t, s, x)), .dm = ql_ref(t, dm));
    close_sink(t, s);
}

/* y (=, +=) groups of x:  dx groups += dy groups. What a call overwrites loses its gradient. */
static void grad_col_copy(ql_tape *t, const ql_record *r) {
    const ql_col_copy_args *a = &r->args.col_copy;
    ql_vid x = ID_OF(col_copy, x), y = ID_OF(col_copy, y);
    bool whole = (int64_t)a->groups * a->width == a->y.cols;
    if (!a->accumulate && !whole) {
        refuse(t, r, "no gradient for a copy over a part of the columns");
        return;
    }
    if (!wants(t, x)) return;
    ql_vid g = ql_grad_of(t, x);
    if (!ql_grad_claim(t, x)) APPEND(FILL, fill, .y = ql_ref(t, g), .value = 0.0f);
    APPEND(COL_COPY, col_copy, .x = ql_ref(t, ql_grad_of(t, y)), .y = ql_ref(t, g),
           .groups = a->groups, .width = a->width, .x_step = a->y_step, .x_at = a->y_at,
           .y_step = a->x_step, .y_at = a->x_at, .accumulate = true);
}

/* y = value: what was in y before does not matter any more. */
static void grad_fill(ql_tape *t, const ql_record *r) {
    ql_vid y = ID_OF(fill, y);
    APPEND(FILL, fill, .y = ql_ref(t, ql_grad_of(t, y)), .value = 0.0f);
}

/* Does a gradient arrive at any output? Parts of it that nobody wrote are zero from here on. */
static bool reached(ql_tape *t, const ql_record *r) {
    const ql_op_info info = ql_op_info_of(r->op);
    bool any = false;
    for (int i = 0; i < info.count; i++) {
        ql_vid v = r->operand[i];
        if (!v || !ql_use_writes(ql_operand_access(r->op, &r->args, i)) || !wants(t, v)) continue;
        if (!ql_grad_exists(t, v)) continue;
        ql_grad_complete(t, v);
        any = true;
    }
    return any;
}

void ql_grad_rule(ql_tape *t, const ql_record *r) {
    if (!reached(t, r)) return;
    switch (r->op) {
    case QL_OP_AXPBY: grad_axpby(t, r); return;
    case QL_OP_DROPOUT: grad_dropout(t, r); return;
    case QL_OP_ACT_FWD: grad_act(t, r); return;
    case QL_OP_GATHER: grad_gather(t, r); return;
    case QL_OP_NORM_FWD: grad_norm(t, r); return;
    case QL_OP_ROPE: grad_rope(t, r); return;
    case QL_OP_ATTN_FWD: grad_attn(t, r); return;
    case QL_OP_GEMM: grad_gemm(t, r); return;
    case QL_OP_GEMM_Q: grad_gemm_q(t, r); return;
    case QL_OP_SCALE_COLS: grad_scale_cols(t, r); return;
    case QL_OP_COL_COPY: grad_col_copy(t, r); return;
    case QL_OP_FILL: grad_fill(t, r); return;
    case QL_OP_LOSS:
    case QL_OP_ROW_NORM: return; /* sink, constant, constant by definition (DoRA) */
    default: refuse(t, r, "no gradient rule");
    }
}
