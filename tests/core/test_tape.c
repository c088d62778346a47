/*
 * test_tape.c - the tape's own rules: latched errors, views, who needs a gradient, what is refused
 * and by which name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/engine.h"
#include "tests/support/lab.h"

#define SEED 20240612u /* of every lab below */

static ql_vid planned(ql_tape *t, int64_t rows, int64_t cols, const char *name) {
    return ql_tape_value(t, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(rows), ql_fixed(cols), "%s",
                         name);
}

static ql_vid given(ql_tape *t, int64_t rows, int64_t cols, const char *name) {
    return ql_tape_external(t, QL_POOL_WEIGHTS, QL_F32, ql_fixed(rows), ql_fixed(cols), "%s", name);
}

static ql_vid trained(ql_tape *t, int64_t rows, int64_t cols, const char *name) {
    ql_vid v = given(t, rows, cols, name), g = given(t, rows, cols, "gradient");
    ql_tape_train(t, v, g);
    return v;
}

static ql_tape *new_tape(void) {
    ql_tape *t = NULL;
    OK(ql_tape_create(&t));
    return t;
}

static void copy(ql_tape *t, ql_vid x, ql_vid y) {
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, x), .y = ql_ref(t, y), .alpha = 1.0f);
}

static void mse(ql_tape *t, ql_vid z) {
    ql_value v = *ql_tape_at(t, z);
    ql_vid target = given(t, v.rows.max, v.cols.max, "target"),
           loss = given(t, 1, v.rows.max, "loss");
    QL_RECORD(t, LOSS, loss, .kind = QL_LOSS_MSE, .logits = ql_ref(t, z),
              .target = ql_ref(t, target), .loss = ql_ref(t, loss), .dlogits = ql_ref(t, z),
              .grad_scale = 1.0f);
}

/* ---------------------------------------------------------------- operators */

static void no_operator_has_more_operands_than_a_record_holds(void **state) {
    (void)state;
    for (int op = 0; op < QL_OP_COUNT; op++) {
        ql_op_info info = ql_op_info_of((ql_op)op);
        assert_in_range(info.count, 1, QL_MAX_OPERANDS);
        assert_string_equal(info.name, ql_op_name((ql_op)op));
    }
}

static void a_destination_is_read_only_when_it_accumulates(void **state) {
    (void)state;
    const struct {
        ql_op op;
        const char *name;
        ql_op_args fresh, more;
    } c[] = {
        {QL_OP_AXPBY, "y", {.axpby = {.beta = 0}}, {.axpby = {.beta = 0.5f}}},
        {QL_OP_GEMM, "c", {.gemm = {.beta = 0}}, {.gemm = {.beta = 1}}},
        {QL_OP_GEMM_Q, "y", {.gemm_q = {.beta = 0}}, {.gemm_q = {.beta = 1}}},
        {QL_OP_GATHER, "y", {.gather = {.scale = 1}}, {.gather = {.accumulate = true}}},
        {QL_OP_NORM_BWD, "dx", {.norm_bwd = {.w_offset = 1}}, {.norm_bwd = {.accumulate = true}}},
        {QL_OP_LORA_BWD, "dx", {.lora_bwd = {.s = 1}}, {.lora_bwd = {.accumulate = true}}},
        {QL_OP_SUM_ROWS,
         "y",
         {.sum_rows = {.accumulate = false}},
         {.sum_rows = {.accumulate = true}}},
        {QL_OP_SUMSQ, "y", {.sumsq = {.accumulate = false}}, {.sumsq = {.accumulate = true}}}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ql_op_info info = ql_op_info_of(c[i].op);
        bool found = false;
        for (int k = 0; k < info.count; k++) {
            bool here = !strcmp(info.operand[k].name, c[i].name);
            found |= here;
            if (here) {
                assert_int_equal(ql_operand_access(c[i].op, &c[i].fresh, k), QL_USE_WRITE);
                assert_int_equal(ql_operand_access(c[i].op, &c[i].more, k), QL_USE_UPDATE);
            } else { /* and nothing else depends on it */
                assert_int_equal(ql_operand_access(c[i].op, &c[i].fresh, k), info.operand[k].use);
                assert_int_equal(ql_operand_access(c[i].op, &c[i].more, k), info.operand[k].use);
            }
        }
        assert_true(found);
    }
}

/* ---------------------------------------------------------------- errors and values */

static void the_first_error_stays(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid a = planned(t, 4, 4, "a"), bad = planned(t, 0, 4, "nothing");
    assert_true(a && !bad);
    FAILS(ql_tape_status(t), QL_ERR_SHAPE, "0 x 4");
    assert_int_equal(planned(t, 4, 4, "later"), 0);
    assert_int_equal(ql_tape_view(t, a, 0, ql_fixed(9), 0, ql_fixed(4)), 0);
    ql_tape_fail(t, QL_ERR_INTERNAL);
    copy(t, a, a);
    ql_tape_segment_begin(t);
    ql_tape_segment_end(t);
    ql_tape_backward(t, 0, ql_tape_count(t));
    assert_int_equal(ql_tape_count(t), 0);
    assert_int_equal(ql_tape_status(t), QL_ERR_SHAPE);
    ql_device *dev = engine_device(1);
    ql_program *p = NULL;
    assert_int_equal(ql_program_create(t, dev, &p), QL_ERR_SHAPE); /* and frees the tape */
    assert_null(p);
    engine_close(dev);
}

static void an_absent_operand_is_refused_by_name(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid a = planned(t, 2, 2, "a");
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, a), .c = ql_ref(t, a), .alpha = 1.0f, .batch = 1);
    FAILS(ql_tape_status(t), QL_ERR_INVALID, "gemm needs operand 'b'");
    ql_tape_free(t);
}

static void names_are_cut_and_views_are_flattened(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    char longname[128];
    memset(longname, 'n', sizeof longname);
    longname[127] = 0;
    ql_vid a = planned(t, 10, 8, longname);
    assert_int_equal(strlen(ql_tape_at(t, a)->name), 63);
    ql_vid b = ql_tape_view(t, a, 2, ql_fixed(6), 1, ql_fixed(5));
    ql_vid c = ql_tape_view(t, b, 3, ql_fixed(2), 2, ql_fixed(3));
    const ql_value *v = ql_tape_at(t, c);
    assert_int_equal(v->base, a);
    assert_int_equal(ql_tape_base(t, c), a);
    assert_int_equal(ql_tape_base(t, a), a);
    assert_int_equal(v->row0, 5);
    assert_int_equal(v->col0, 3);
    assert_int_equal(v->ld, 8);
    ql_mat m = ql_ref(t, c);
    assert_true(m.rows == 2 && m.cols == 3 && m.ld == 8 && !m.buf);
    assert_int_equal(ql_ref(t, 0).rows, 0);
    assert_int_equal(ql_value_bytes(ql_tape_at(t, a)), 320);
    OK(ql_tape_status(t));
    ql_tape_free(t);
}

static void a_view_that_leaves_its_value_is_refused_by_name(void **state) {
    (void)state;
    static const int64_t out[][4] = {{5, 6, 0, 8}, {0, 10, 4, 5}, {-1, 2, 0, 2}, {0, 2, -1, 2}};
    for (int i = 0; i < 4; i++) {
        ql_tape *t = new_tape();
        ql_vid a = planned(t, 10, 8, "hidden");
        assert_int_equal(
            ql_tape_view(t, a, out[i][0], ql_fixed(out[i][1]), out[i][2], ql_fixed(out[i][3])), 0);
        FAILS(ql_tape_status(t), QL_ERR_SHAPE, "'hidden'");
        ql_tape_free(t);
    }
    ql_tape *t = new_tape(); /* a view of a view is bound by the inner one */
    ql_vid b = ql_tape_view(t, planned(t, 10, 8, "hidden"), 0, ql_fixed(4), 0, ql_fixed(4));
    assert_int_equal(ql_tape_view(t, b, 0, ql_fixed(5), 0, ql_fixed(4)), 0);
    assert_int_equal(ql_tape_status(t), QL_ERR_SHAPE);
    ql_tape_free(t);
}

static void a_gradient_must_be_shaped_like_its_value(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_tape_train(t, given(t, 4, 4, "weight"), given(t, 4, 3, "wrong"));
    FAILS(ql_tape_status(t), QL_ERR_SHAPE, "'wrong' is not shaped like 'weight'");
    ql_tape_free(t);
}

/* ---------------------------------------------------------------- who needs a gradient */

static void outputs_need_a_gradient_when_an_input_does(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid frozen = given(t, 4, 4, "frozen"), w = trained(t, 4, 4, "w");
    ql_vid a = planned(t, 4, 4, "a"), b = planned(t, 4, 4, "b"), wide = planned(t, 4, 8, "wide");
    copy(t, frozen, a);
    assert_false(ql_tape_at(t, a)->needs_grad);
    QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, a), .b = ql_ref(t, w), .c = ql_ref(t, b), .alpha = 1.0f,
              .batch = 1);
    assert_true(ql_tape_at(t, b)->needs_grad);
    ql_vid left = ql_tape_view(t, wide, 0, ql_fixed(4), 0, ql_fixed(4));
    copy(t, b, left); /* into a view: its base needs one too, and so do later views of it */
    assert_true(ql_tape_at(t, left)->needs_grad);
    assert_true(ql_tape_at(t, wide)->needs_grad);
    assert_true(ql_tape_at(t, ql_tape_view(t, wide, 0, ql_fixed(1), 0, ql_fixed(8)))->needs_grad);
    assert_false(ql_tape_at(t, a)->needs_grad || ql_tape_at(t, frozen)->needs_grad);
    OK(ql_tape_status(t));
    ql_tape_free(t);
}

/* Slices may be named before the fused matrix is computed. */
static void a_view_made_before_its_base_was_written_passes_the_gradient(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_vid x = lab_input(&l, QL_F32, ql_fixed(3), ql_fixed(4), "x"), w = lab_trained(&l, 8, 4, "w");
    ql_vid fused = lab_value(&l, ql_fixed(3), 8, "fused"), y = lab_value(&l, ql_fixed(3), 4, "y");
    ql_vid left = ql_tape_view(l.tape, fused, 0, ql_fixed(3), 0, ql_fixed(4));
    ql_vid right = ql_tape_view(l.tape, fused, 0, ql_fixed(3), 4, ql_fixed(4));
    QL_RECORD(l.tape, GEMM, gemm, .a = lab_ref(&l, x), .b = lab_ref(&l, w), .c = lab_ref(&l, fused),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = lab_ref(&l, left),
              .up = lab_ref(&l, right), .y = lab_ref(&l, y));
    lab_mse(&l, y);
    lab_check(&l, false);
    lab_close(&l);
}

/* Half of the fused matrix is read by nobody: its gradient is zero, not what the memory held. */
static void the_gradient_of_an_unused_slice_is_zero(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_vid x = lab_input(&l, QL_F32, ql_fixed(3), ql_fixed(4), "x"), w = lab_trained(&l, 8, 4, "w");
    ql_vid fused = lab_value(&l, ql_fixed(3), 8, "fused"), y = lab_value(&l, ql_fixed(3), 4, "y");
    QL_RECORD(l.tape, GEMM, gemm, .a = lab_ref(&l, x), .b = lab_ref(&l, w), .c = lab_ref(&l, fused),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .y = lab_ref(&l, y),
              .x = lab_ref(&l, ql_tape_view(l.tape, fused, 0, ql_fixed(3), 0, ql_fixed(4))));
    lab_mse(&l, y);
    ql_tape_backward(l.tape, 0, ql_tape_count(l.tape));
    if (ql_tape_status(l.tape) == QL_OK)
        lab_check(&l, true);
    else
        FAILS(ql_tape_status(l.tape), QL_ERR_UNSUPPORTED, "fused"); /* or it is refused by name */
    lab_close(&l);
}

static void a_gradient_in_partly_overlapping_pieces_is_refused_by_name(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid w = trained(t, 4, 8, "w"), h = planned(t, 4, 8, "hidden"), y = planned(t, 4, 5, "y");
    copy(t, w, h);
    copy(t, ql_tape_view(t, h, 0, ql_fixed(4), 0, ql_fixed(5)), y);
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, ql_tape_view(t, h, 0, ql_fixed(4), 3, ql_fixed(5))),
              .y = ql_ref(t, y), .alpha = 1.0f, .beta = 1.0f);
    mse(t, y);
    ql_tape_backward(t, 0, ql_tape_count(t));
    FAILS(ql_tape_status(t), QL_ERR_UNSUPPORTED, "'hidden'");
    ql_tape_free(t);
}

static void disjoint_pieces_make_a_whole(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_vid w = lab_trained(&l, 4, 8, "w"), h = lab_value(&l, ql_fixed(4), 8, "hidden");
    copy(l.tape, w, h);
    ql_vid y = lab_value(&l, ql_fixed(4), 8,
                         "y"); /* read whole, then in three pieces: backward sees pieces first */
    copy(l.tape, h, y);
    static const int64_t col[] = {0, 3, 5, 8};
    for (int i = 0; i < 3; i++) {
        ql_dim cols = ql_fixed(col[i + 1] - col[i]);
        QL_RECORD(l.tape, AXPBY, axpby, .alpha = 0.5f + (float)i, .beta = 1.0f,
                  .x = lab_ref(&l, ql_tape_view(l.tape, h, 0, ql_fixed(4), col[i], cols)),
                  .y = lab_ref(&l, ql_tape_view(l.tape, y, 0, ql_fixed(4), col[i], cols)));
    }
    lab_mse(&l, y);
    lab_check(&l, false);
    lab_close(&l);
}

/* ---------------------------------------------------------------- refusals */

/* Forward computations that have no gradient; each writes "output" from "input", which needs one.
 */
static void record_unsupported(ql_tape *t, int which, ql_vid x, ql_vid y) {
    ql_vid w = given(t, 4, 4, "weight"), row = given(t, 1, 4, "row"),
           lse = planned(t, 1, 4, "rstd");
    switch (which) {
    case 0: QL_RECORD(t, ROW_COPY, row_copy, .x = ql_ref(t, x), .y = ql_ref(t, y)); break;
    case 1:
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, x), .b = ql_ref(t, w), .c = ql_ref(t, y),
                  .trans_a = true, .alpha = 1.0f, .batch = 1);
        break;
    case 2:
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, x), .b = ql_ref(t, w), .c = ql_ref(t, y),
                  .alpha = 1.0f, .beta = 0.5f, .batch = 1);
        break;
    case 3:
        QL_RECORD(t, NORM_FWD, norm_fwd, .kind = QL_NORM_RMS, .groups = 1, .x = ql_ref(t, x),
                  .residual = ql_ref(t, w), .w = ql_ref(t, row), .y = ql_ref(t, y),
                  .rstd = ql_ref(t, lse));
        break;
    case 4:
        QL_RECORD(t, COL_COPY, col_copy, .x = ql_ref(t, x), .y = ql_ref(t, y), .groups = 2,
                  .width = 1, .x_step = 2, .y_step = 2);
        break;
    case 5:
        QL_RECORD(t, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = ql_ref(t, y), .y = ql_ref(t, y));
        break;
    case 6:
        QL_RECORD(t, SCALE_COLS, scale_cols, .x = ql_ref(t, y), .m = ql_ref(t, row),
                  .y = ql_ref(t, y));
        break;
    default:
        QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, trained(t, 1, 4, "output")), .y = ql_ref(t, y),
                  .alpha = 2.0f, .beta = 1.0f);
    }
}

static void what_has_no_gradient_is_refused_by_operator_and_value(void **state) {
    (void)state;
    static const char *const op[] = {"row_copy", "gemm", "gemm",       "norm",
                                     "col_copy", "act",  "scale_cols", "axpby"};
    int unnamed = 0;
    for (int i = 0; i < 8; i++) {
        ql_tape *t = new_tape();
        ql_vid x = trained(t, 4, 4, "input"), y = planned(t, 4, 4, "output");
        copy(t, x, y);
        record_unsupported(t, i, x, y);
        mse(t, y);
        OK(ql_tape_status(t)); /* computing it is fine */
        ql_tape_backward(t, 0, ql_tape_count(t));
        FAILS(ql_tape_status(t), QL_ERR_UNSUPPORTED, op[i]);
        if (!strstr(ql_last_error(), "'output'")) {
            print_error("does not name the value 'output': %s\n", ql_last_error());
            unnamed++;
        }
        ql_tape_free(t);
    }
    assert_int_equal(unnamed, 0);
}

static void what_needs_no_gradient_is_not_refused(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid x = given(t, 4, 4, "input"), copied = planned(t, 4, 4, "copied"),
           y = planned(t, 4, 4, "y");
    QL_RECORD(t, ROW_COPY, row_copy, .x = ql_ref(t, x), .y = ql_ref(t, copied));
    copy(t, trained(t, 4, 4, "w"), y);
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, copied), .y = ql_ref(t, y), .alpha = 1.0f,
              .beta = 1.0f);
    mse(t, y);
    int32_t forward = ql_tape_count(t);
    ql_tape_backward(t, 0, forward);
    OK(ql_tape_status(t));
    assert_int_equal(ql_tape_count(t), forward + 1); /* dw += dy and nothing for frozen inputs */
    ql_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_operator_has_more_operands_than_a_record_holds),
        cmocka_unit_test(a_destination_is_read_only_when_it_accumulates),
        cmocka_unit_test(the_first_error_stays),
        cmocka_unit_test(an_absent_operand_is_refused_by_name),
        cmocka_unit_test(names_are_cut_and_views_are_flattened),
        cmocka_unit_test(a_view_that_leaves_its_value_is_refused_by_name),
        cmocka_unit_test(a_gradient_must_be_shaped_like_its_value),
        cmocka_unit_test(outputs_need_a_gradient_when_an_input_does),
        cmocka_unit_test(a_view_made_before_its_base_was_written_passes_the_gradient),
        cmocka_unit_test(the_gradient_of_an_unused_slice_is_zero),
        cmocka_unit_test(a_gradient_in_partly_overlapping_pieces_is_refused_by_name),
        cmocka_unit_test(disjoint_pieces_make_a_whole),
        cmocka_unit_test(what_has_no_gradient_is_refused_by_operator_and_value),
        cmocka_unit_test(what_needs_no_gradient_is_not_refused),
    };
    return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
