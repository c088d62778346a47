/*
 * test_tape_grad.c - every gradient rule of the tape: device against double, double against central
 * differences (tests/support/lab.h). Rules meet what builders do: fused matrices read through
 * column views, values used several times, in-place residuals, frozen and trained operands.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/engine.h"
#include "tests/support/lab.h"

#define SEED 20240611u /* of every lab below */

enum { ROWS = 7, WIDTH = 6 };

/* x [ROWS, WIDTH] planned, so that it can be read through views: an embedding of trained rows. */
static ql_vid embedded(lab *l, int64_t cols) {
    static const int ids[ROWS] = {2, 0, 3, 2, 1, 2, 0};
    ql_vid table = lab_trained(l, 5, cols, "table");
    ql_vid index = lab_index(l, ql_fixed(1), ql_rows(QL_SYM_TOKENS, ROWS), ids, "ids");
    ql_vid x = lab_value(l, ql_rows(QL_SYM_TOKENS, ROWS), cols, "x");
    QL_RECORD(l->tape, GATHER, gather, .table = lab_ref(l, table), .index = lab_ref(l, index),
              .y = lab_ref(l, x), .scale = 0.5f);
    return x;
}

/* y = x W^T with a trained W [n, WIDTH]. */
static ql_vid product(lab *l, ql_vid x, int64_t n, const char *name) {
    char weight[72] = "w.";
    strncat(weight, name, 64);
    const ql_value *v = ql_tape_at(l->tape, x);
    ql_dim rows = v->rows;
    ql_vid w = lab_trained(l, n, v->cols.max, weight), y = lab_value(l, rows, n, name);
    QL_RECORD(l->tape, GEMM, gemm, .a = lab_ref(l, x), .b = lab_ref(l, w), .c = lab_ref(l, y),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    return y;
}

static ql_vid columns(lab *l, ql_vid v, int64_t col0, int64_t cols) {
    return ql_tape_view(l->tape, v, 0, ql_tape_at(l->tape, v)->rows, col0, ql_fixed(cols));
}

static void finish(lab *l, ql_vid y) {
    lab_mse(l, y);
    lab_check(l, false);
    lab_close(l);
}

static void gather_sums_rows_that_share_an_index(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    finish(&l, embedded(&l, WIDTH));
}

/* c = alpha a op(b) + bias, then c += alpha' a' op(b'). */
static void gemm_in_both_forms_with_bias_and_accumulation(void **state) {
    (void)state;
    for (int trans_b = 0; trans_b < 2; trans_b++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_vid x = embedded(&l, WIDTH), c = lab_value(&l, ql_rows(QL_SYM_TOKENS, ROWS), 4, "c");
        ql_vid w = trans_b ? lab_trained(&l, 4, WIDTH, "w") : lab_trained(&l, WIDTH, 4, "w");
        ql_vid bias = lab_trained(&l, 1, 4, "bias"), u = product(&l, x, 3, "u");
        ql_vid b = lab_trained(&l, 4, 3, "b");
        QL_RECORD(l.tape, GEMM, gemm, .a = lab_ref(&l, x), .b = lab_ref(&l, w), .c = lab_ref(&l, c),
                  .bias = lab_ref(&l, bias), .trans_b = trans_b, .alpha = 0.75f, .batch = 1);
        QL_RECORD(l.tape, GEMM, gemm, .a = lab_ref(&l, u), .b = lab_ref(&l, b), .c = lab_ref(&l, c),
                  .trans_b = true, .alpha = -0.5f, .beta = 1.0f, .batch = 1);
        finish(&l, c);
    }
}

static void a_quantized_weight_is_frozen_but_passes_the_gradient(void **state) {
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        lab l;
        lab_open(&l, 1, SEED);
        float w[9 * 70];
        ql_stream s = ql_stream_make(SEED, QL_STREAM_SAMPLE, 0);
        for (int i = 0; i < 9 * 70; i++) w[i] = ql_stream_normal(&s);
        ql_quant_opts o = ql_quant_opts_default();
        ql_qtensor q = {0};
        OK(ql_quantize(&o, w, 9, 70, &q)); /* blocks straddle rows */
        ql_vid x = embedded(&l, transposed ? 9 : 70), bias = lab_trained(&l, 1, 9, "bias");
        ql_vid y = lab_value(&l, ql_rows(QL_SYM_TOKENS, ROWS), transposed ? 70 : 9, "y");
        QL_RECORD(l.tape, GEMM_Q, gemm_q, .x = lab_ref(&l, x), .y = lab_ref(&l, y),
                  .bias = transposed ? (ql_mat){0} : lab_ref(&l, bias), .w = lab_weight(&l, &q),
                  .trans_w = transposed, .alpha = 0.5f);
        if (transposed) /* the bias is tested in the other form; it must reach the loss here too */
            QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, bias),
                      .y = lab_ref(&l, columns(&l, y, 3, 9)), .alpha = 1.0f, .beta = 1.0f);
        finish(&l, y);
        ql_qtensor_free(&q);
    }
}

static void norms_with_and_without_residual(void **state) {
    (void)state;
    for (int form = 0; form < 6; form++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_norm_kind kind = form % 2 ? QL_NORM_LAYER : QL_NORM_RMS;
        ql_dim rows = ql_rows(QL_SYM_TOKENS, ROWS);
        ql_vid x = embedded(&l, WIDTH), other = form >= 2 ? product(&l, x, WIDTH, "other") : 0;
        ql_vid w = lab_trained(&l, 1, WIDTH, "w");
        ql_vid b = kind == QL_NORM_LAYER ? lab_trained(&l, 1, WIDTH, "b") : 0;
        ql_vid sum = !other ? 0 : form >= 4 ? other : lab_value(&l, rows, WIDTH, "sum");
        ql_vid y = lab_value(&l, rows, WIDTH, "y");
        ql_vid rstd = ql_tape_value(l.tape, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), rows, "rstd");
        ql_vid mean = ql_tape_value(l.tape, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), rows, "mean");
        QL_RECORD(l.tape, NORM_FWD, norm_fwd, .kind = kind, .eps = 1e-5f, .groups = 1,
                  .w_offset = form == 2 ? 1.0f : 0.0f, .x = lab_ref(&l, x),
                  .residual = lab_ref(&l, other), .w = lab_ref(&l, w), .b = lab_ref(&l, b),
                  .sum = lab_ref(&l, sum), .y = lab_ref(&l, y), .rstd = lab_ref(&l, rstd),
                  .mean = lab_ref(&l, kind == QL_NORM_LAYER ? mean : 0));
        ql_vid z = product(&l, y, WIDTH, "z"); /* the sum is used again, as a residual stream is */
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, sum ? sum : x), .y = lab_ref(&l, z),
                  .alpha = 1.0f, .beta = 1.0f);
        finish(&l, z);
    }
}

static void activations_alone_and_gated(void **state) {
    (void)state;
    static const ql_act_kind kinds[] = {QL_ACT_IDENTITY, QL_ACT_GELU_ERF, QL_ACT_GELU_TANH,
                                        QL_ACT_SILU,     QL_ACT_TANH,     QL_ACT_RELU};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int gated = 0; gated < 2; gated++) {
            lab l;
            lab_open(&l, 1, SEED);
            ql_vid both = product(&l, embedded(&l, WIDTH), 8, "gate_up");
            ql_vid gate = columns(&l, both, 0, 4), up = columns(&l, both, 4, 4);
            ql_vid y = lab_value(&l, ql_rows(QL_SYM_TOKENS, ROWS), 4, "y");
            QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = kinds[i], .x = lab_ref(&l, gate),
                      .up = lab_ref(&l, gated ? up : 0), .y = lab_ref(&l, y));
            if (!gated) /* all of gate_up is used */
                QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, up), .y = lab_ref(&l, y),
                          .alpha = 1.0f, .beta = 1.0f);
            finish(&l, y);
        }
}

/* x used by two operators without accumulation: the second gradient goes through a temporary. */
static void a_value_with_two_users_gets_both_gradients(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_dim rows = ql_rows(QL_SYM_TOKENS, ROWS);
    ql_vid x = product(&l, embedded(&l, WIDTH), 4, "x2");
    ql_vid a = lab_value(&l, rows, 4, "a"), b = lab_value(&l, rows, 4, "b");
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = lab_ref(&l, x),
              .y = lab_ref(&l, a));
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_TANH, .x = lab_ref(&l, x),
              .up = lab_ref(&l, a), .y = lab_ref(&l, b));
    QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, x), .y = lab_ref(&l, b), .alpha = 2.0f,
              .beta = 1.0f);
    finish(&l, b);
}

static ql_vid rotations(lab *l) {
    ql_vid table = lab_input(l, QL_F32, ql_fixed(5), ql_fixed(4), "rope");
    for (int p = 0; p < 5; p++)
        for (int i = 0; i < 2; i++) {
            l->start[table][4 * p + i] = cos(0.3 * p / (1 + i));
            l->start[table][4 * p + 2 + i] = sin(0.3 * p / (1 + i));
        }
    return table;
}

static void rope_of_a_slice_in_place_and_beside(void **state) {
    (void)state;
    static const int positions[ROWS] = {0, 1, 2, 3, 4, 0, 1};
    for (int form = 0; form < 4; form++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_dim rows = ql_rows(QL_SYM_TOKENS, ROWS);
        ql_vid qkv = product(&l, embedded(&l, WIDTH), 14, "qkv"), table = rotations(&l);
        ql_vid pos = lab_index(&l, ql_fixed(1), rows, positions, "pos");
        ql_vid q = columns(&l, qkv, 2, 10), y = form & 1 ? q : lab_value(&l, rows, 10, "y");
        QL_RECORD(l.tape, ROPE, rope, .x = lab_ref(&l, q), .y = lab_ref(&l, y),
                  .table = lab_ref(&l, table), .pos = lab_ref(&l, pos), .heads = 2, .head_dim = 5,
                  .rot = 4, .sign = 1.0f, .interleaved = form >= 2);
        ql_vid z = product(&l, y, 3, "z");
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, columns(&l, qkv, 0, 2)),
                  .y = lab_ref(&l, columns(&l, z, 0, 2)), .alpha = 1.0f, .beta = 1.0f);
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, columns(&l, qkv, 12, 2)),
                  .y = lab_ref(&l, columns(&l, z, 1, 2)), .alpha = 1.0f, .beta = 1.0f);
        finish(&l, z);
    }
}

enum { CAUSAL = 1, DROPOUT = 2, WINDOW = 4, CAP = 8, TABLE = 16 };

/* Two sequences, 4 query heads on 2 key heads, q, k and v slices of one matrix. */
static ql_vid attention(lab *l, int flags) {
    static const int start[3] = {0, 4, ROWS},
                     buckets[2 * ROWS - 1] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0};
    ql_dim rows = ql_rows(QL_SYM_TOKENS, ROWS);
    ql_vid qkv = product(l, embedded(l, WIDTH), 24, "qkv");
    ql_vid q = columns(l, qkv, 0, 12), k = columns(l, qkv, 12, 6), v = columns(l, qkv, 18, 6);
    ql_vid offsets = lab_index(l, ql_fixed(1), (ql_dim){3, -1, QL_SYM_SEQS, 1}, start, "start");
    ql_attn_spec spec = {.heads_q = 4,
                         .heads_kv = 2,
                         .dim_qk = 3,
                         .dim_v = 3,
                         .scale = 0.6f,
                         .softcap = flags & CAP ? 1.5f : 0.0f,
                         .window = flags & WINDOW ? 2 : 0,
                         .causal = flags & CAUSAL,
                         .max_q = ROWS,
                         .max_kv = ROWS};
    l->sym[QL_SYM_SEQS] = 2;
    spec.start_q = spec.start_kv = lab_ref(l, offsets);
    if (flags & DROPOUT) {
        spec.dropout = 0.3f;
        spec.rng = (ql_rng){.seed = 11,
                            .stream = 5,
                            .key = lab_ref(l, lab_keys(l, rows)),
                            .step = lab_ref(l, lab_step(l))};
    }
    if (flags & TABLE) {
        spec.bias = QL_BIAS_TABLE;
        spec.table = lab_ref(l, lab_trained(l, 4, 4, "bias_table"));
        spec.bucket =
            lab_ref(l, lab_index(l, ql_fixed(1), ql_fixed(2 * ROWS - 1), buckets, "bucket"));
    }
    ql_vid o = lab_value(l, rows, 12, "o");
    ql_vid lse = ql_tape_value(l->tape, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(4), rows, "lse");
    QL_RECORD(l->tape, ATTN_FWD, attn_fwd, .spec = spec, .q = lab_ref(l, q), .k = lab_ref(l, k),
              .v = lab_ref(l, v), .o = lab_ref(l, o), .lse = lab_ref(l, lse));
    return product(l, o, 5, "z");
}

static void attention_over_slices_of_a_fused_matrix(void **state) {
    (void)state;
    static const int forms[] = {CAUSAL, 0, CAUSAL | WINDOW, CAUSAL | CAP, CAUSAL | DROPOUT, TABLE};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        lab l;
        lab_open(&l, 1, SEED);
        finish(&l, attention(&l, forms[i]));
    }
}

static void dropout_draws_the_same_mask_again(void **state) {
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_dim rows = ql_rows(QL_SYM_TOKENS, ROWS);
        ql_vid x = product(&l, embedded(&l, WIDTH), 8, "h");
        ql_vid y = in_place ? x : lab_value(&l, rows, 8, "dropped");
        QL_RECORD(l.tape, DROPOUT, dropout, .x = lab_ref(&l, x), .y = lab_ref(&l, y), .p = 0.4f,
                  .rng = {.seed = 3,
                          .stream = 9,
                          .key = lab_ref(&l, lab_keys(&l, rows)),
                          .step = lab_ref(&l, lab_step(&l))});
        finish(&l, y);
    }
}

static void axpby_scales_adds_and_broadcasts(void **state) {
    (void)state;
    static const float forms[][2] = {{1.0f, 1.0f}, {0.5f, 2.0f}, {-1.0f, 1.0f}, {2.0f, 0.5f}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_vid x = embedded(&l, WIDTH), y = product(&l, x, WIDTH, "y");
        ql_vid row = lab_trained(&l, 1, WIDTH, "row");
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, x), .y = lab_ref(&l, y),
                  .alpha = forms[i][0], .beta = forms[i][1]);
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, row), .y = lab_ref(&l, y), .alpha = 1.0f,
                  .beta = 1.0f);
        finish(&l, y);
    }
}

/* h = h + f(h) in place of f's output, twice: the stream of a transformer. */
static void in_place_residuals(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_vid h = embedded(&l, WIDTH);
    for (int i = 0; i < 3; i++) {
        ql_vid a = lab_value(&l, ql_rows(QL_SYM_TOKENS, ROWS), WIDTH, "act");
        QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = lab_ref(&l, h),
                  .y = lab_ref(&l, a));
        ql_vid y = product(&l, a, WIDTH, i == 0 ? "first" : i == 1 ? "second" : "third");
        QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, h), .y = lab_ref(&l, y), .alpha = 1.0f,
                  .beta = 1.0f);
        h = y;
    }
    finish(&l, h);
}

static void scale_cols_with_and_without_norms(void **state) {
    (void)state;
    for (int normed = 0; normed < 2; normed++) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_vid x = product(&l, embedded(&l, WIDTH), 4, "x2"), m = lab_trained(&l, 1, 4, "m");
        ql_vid norm = lab_input(&l, QL_F32, ql_fixed(1), ql_fixed(4), "norm");
        for (int j = 0; j < 4; j++) l.start[norm][j] = 0.5 + j;
        ql_vid y = lab_value(&l, ql_rows(QL_SYM_TOKENS, ROWS), 4, "y");
        QL_RECORD(l.tape, SCALE_COLS, scale_cols, .x = lab_ref(&l, x), .m = lab_ref(&l, m),
                  .norm = lab_ref(&l, normed ? norm : 0), .y = lab_ref(&l, y));
        finish(&l, y);
    }
}

/* The head of a model: labelled rows only, in chunks whose backward follows at once. */
static void chunked_cross_entropy(void **state) {
    (void)state;
    static const int rows_of[5] = {1, 2, 4, 5, 6}, targets[5] = {3, 0, 8, -100, 2};
    for (int labelled = 1; labelled <= 5; labelled += 2) {
        lab l;
        lab_open(&l, 1, SEED);
        ql_dim some = ql_rows(QL_SYM_LABELLED, 5);
        ql_vid x = product(&l, embedded(&l, WIDTH), WIDTH, "h"),
               s = lab_value(&l, some, WIDTH, "s");
        ql_vid index = lab_index(&l, ql_fixed(1), some, rows_of, "label_row");
        ql_vid target = lab_index(&l, ql_fixed(1), some, targets, "label_target");
        ql_vid w = lab_trained(&l, 9, WIDTH, "head"), step = lab_step(&l);
        ql_vid loss = lab_input(&l, QL_F32, ql_fixed(1), some, "loss");
        QL_RECORD(l.tape, GATHER, gather, .table = lab_ref(&l, x), .index = lab_ref(&l, index),
                  .y = lab_ref(&l, s), .scale = 1.0f);
        int32_t body = ql_tape_count(l.tape);
        for (int row0 = 0; row0 < 5; row0 += 2) {
            ql_dim here = {row0 == 4 ? 1 : 2, row0, QL_SYM_LABELLED, 1};
            int32_t from = ql_tape_count(l.tape);
            ql_vid rows = ql_tape_view(l.tape, s, row0, here, 0, ql_fixed(WIDTH));
            ql_vid z = lab_value(&l, here, 9, "logits");
            QL_RECORD(l.tape, GEMM, gemm, .a = lab_ref(&l, rows), .b = lab_ref(&l, w),
                      .c = lab_ref(&l, z), .trans_b = true, .alpha = 1.0f, .batch = 1);
            QL_RECORD(l.tape, LOSS, loss, .kind = QL_LOSS_XENT, .logits = lab_ref(&l, z),
                      .target =
                          lab_ref(&l, ql_tape_view(l.tape, target, 0, ql_fixed(1), row0, here)),
                      .loss = lab_ref(&l, ql_tape_view(l.tape, loss, 0, ql_fixed(1), row0, here)),
                      .dlogits = lab_ref(&l, z), .step = lab_ref(&l, step), .ignore = -100,
                      .softcap = 4.0f, .smoothing = 0.1f, .grad_scale = 1.0f);
            ql_tape_backward(l.tape, from, ql_tape_count(l.tape));
        }
        ql_tape_backward(l.tape, 0, body);
        l.sym[QL_SYM_LABELLED] = labelled;
        lab_check(&l, true);
        lab_close(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_sums_rows_that_share_an_index),
        cmocka_unit_test(gemm_in_both_forms_with_bias_and_accumulation),
        cmocka_unit_test(a_quantized_weight_is_frozen_but_passes_the_gradient),
        cmocka_unit_test(norms_with_and_without_residual),
        cmocka_unit_test(activations_alone_and_gated),
        cmocka_unit_test(a_value_with_two_users_gets_both_gradients),
        cmocka_unit_test(rope_of_a_slice_in_place_and_beside),
        cmocka_unit_test(attention_over_slices_of_a_fused_matrix),
        cmocka_unit_test(dropout_draws_the_same_mask_again),
        cmocka_unit_test(axpby_scales_adds_and_broadcasts),
        cmocka_unit_test(in_place_residuals),
        cmocka_unit_test(scale_cols_with_and_without_norms),
        cmocka_unit_test(chunked_cross_entropy),
    };
    return cmocka_run_group_tests_name("tape_grad", tests, NULL, NULL);
}
