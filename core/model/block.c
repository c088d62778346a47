/*
 * block.c - one block on the tape, read off ql_stack.
 *
 *   before:    h = h + out(sub(norm h))        for attention, cross attention, feed-forward
 *   after:     h = norm(h + sub(h))            (post_norm; out: a second norm, or nothing)
 *   parallel:  h = h + attention(norm h) + feed-forward(norm' h)
 *   feed-forward: m = act(gate n) * up n, or act(up n);  down m
 *
 * The residual sums are made in place of the projection's output. The residual stream h is F32
 * whatever the compute type: rounding it 2 x layers times to bf16 costs a fifth of the accuracy of
 * the logits (tiny-llama: 0.0091 of the largest against 0.0071).
 */
#include "core/model/build_impl.h"

ql_vid ql_build_add(ql_builder *b, ql_vid x, ql_vid y) {
    QL_RECORD(b->t, AXPBY, axpby, .x = ql_ref(b->t, x), .y = ql_ref(b->t, y), .alpha = 1.0f,
              .beta = 1.0f);
    return y;
}

static ql_vid feed_forward(ql_builder *b, const ql_layer *l, ql_vid n) {
    ql_tape *t = b->t;
    int64_t F = b->arch->ffn;
    ql_vid gate = 0, up;
    if (l->lin[QL_LIN_GATE_UP]) {
        ql_vid both = ql_build_linear(b, l->lin[QL_LIN_GATE_UP], n, b->compute, "mlp.gate_up");
        gate = ql_tape_view(t, both, 0, b->tokens, 0, ql_fixed(F));
        up = ql_tape_view(t, both, 0, b->tokens, F, ql_fixed(F));
    } else {
        if (l->lin[QL_LIN_GATE])
            gate = ql_build_linear(b, l->lin[QL_LIN_GATE], n, b->compute, "mlp.gate");
        up = ql_build_linear(b, l->lin[QL_LIN_UP], n, b->compute, "mlp.up");
    }
    ql_vid y = ql_build_value(b, F, "mlp.act");
    QL_RECORD(t, ACT_FWD, act_fwd, .kind = b->arch->act, .x = ql_ref(t, gate ? gate : up),
              .up = ql_ref(t, gate ? up : 0), .y = ql_ref(t, y));
    ql_build_drop(b, y, b->m->arch.drop.act, "act");
    return ql_build_linear(b, l->lin[QL_LIN_DOWN], y, QL_F32, "mlp.down");
}

typedef ql_vid (*sublayer)(ql_builder *b, const ql_layer *l, ql_vid n);

/* The sublayer's output, dropped where the model says so. */
static ql_vid output(ql_builder *b, const ql_layer *l, sublayer sub, ql_vid n, const char *name) {
    ql_vid y = sub(b, l, n);
    ql_build_drop(b, y, b->m->arch.drop.resid, name);
    return y;
}

/* One sublayer with its norms and its residual. */
static ql_vid add_sublayer(ql_builder *b, const ql_layer *l, ql_vid h, sublayer sub,
                           ql_norm_role role, ql_norm_role out, const char *name) {
    const ql_norm *norm = &l->norm[role], *last = &l->norm[out];
    if (b->arch->post_norm) {
        ql_vid sum = ql_build_add(b, h, output(b, l, sub, h, name));
        return ql_build_norm(b, norm, sum, 1, QL_F32, name);
    }
    ql_vid y = output(b, l, sub, ql_build_norm(b, norm, h, 1, b->compute, name), name);
    if (out != role && last->w) y = ql_build_norm(b, last, y, 1, QL_F32, "norm.out");
    return ql_build_add(b, h, y);
}

static ql_vid parallel(ql_builder *b, const ql_layer *l, ql_vid h) {
    ql_vid n = ql_build_norm(b, &l->norm[QL_NORM_ATTN], h, 1, b->compute, "norm1");
    ql_vid m = l->norm[QL_NORM_MLP].w
                   ? ql_build_norm(b, &l->norm[QL_NORM_MLP], h, 1, b->compute, "norm2")
                   : n;
    ql_vid a = ql_build_add(b, h, output(b, l, ql_build_self_attention, n, "norm1"));
    return ql_build_add(b, a, output(b, l, feed_forward, m, "norm2"));
}

ql_vid ql_build_layer(ql_builder *b, ql_vid h) {
    const ql_layer *l = &b->stack->layers[b->layer];
    if (ql_tape_status(b->t) != QL_OK) return 0;
    if (b->arch->parallel) return parallel(b, l, h);
    h = add_sublayer(b, l, h, ql_build_self_attention, QL_NORM_ATTN, QL_NORM_ATTN_OUT, "norm1");
    if (l->lin[QL_LIN_CROSS_Q])
        h = add_sublayer(b, l, h, ql_build_cross_attention, QL_NORM_CROSS, QL_NORM_CROSS, "cross");
    return add_sublayer(b, l, h, feed_forward, QL_NORM_MLP, QL_NORM_MLP_OUT, "norm2");
}
