/*
 * test_tape_run.c - a tape that is planned and run: recomputed segments, micro-batches with fewer
 * rows, none at all, and the listing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/hostmem.h"
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

static ql_tape *new_tape(void) {
    ql_tape *t = NULL;
    OK(ql_tape_create(&t));
    return t;
}

static void copy(ql_tape *t, ql_vid x, ql_vid y) {
    QL_RECORD(t, AXPBY, axpby, .x = ql_ref(t, x), .y = ql_ref(t, y), .alpha = 1.0f);
}

/* ---------------------------------------------------------------- segments */

enum { N = 5, C = 6 };

/* h -> h + act(norm(h) W1) W2, as a segment. `wide` keeps the inner width apart from C. */
static ql_vid block(lab *l, ql_vid h, bool segment) {
    ql_dim rows = ql_rows(QL_SYM_TOKENS, N);
    if (segment) ql_tape_segment_begin(l->tape);
    ql_vid w = lab_trained(l, 1, C, "norm"), w1 = lab_trained(l, 9, C, "w1"),
           w2 = lab_trained(l, C, 9, "w2");
    ql_vid n = lab_value(l, rows, C, "n"), a = lab_value(l, rows, 9, "a"),
           g = lab_value(l, rows, 9, "g");
    ql_vid d = lab_value(l, rows, 9, "dropped"), y = lab_value(l, rows, C, "y");
    ql_vid rstd = ql_tape_value(l->tape, QL_POOL_ACTIVATIONS, QL_F32, ql_fixed(1), rows, "rstd");
    QL_RECORD(l->tape, NORM_FWD, norm_fwd, .kind = QL_NORM_RMS, .eps = 1e-5f, .groups = 1,
              .x = lab_ref(l, h), .w = lab_ref(l, w), .y = lab_ref(l, n), .rstd = lab_ref(l, rstd));
    QL_RECORD(l->tape, GEMM, gemm, .a = lab_ref(l, n), .b = lab_ref(l, w1), .c = lab_ref(l, a),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(l->tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = lab_ref(l, a),
              .y = lab_ref(l, g));
    QL_RECORD(l->tape, DROPOUT, dropout, .x = lab_ref(l, g), .y = lab_ref(l, d), .p = 0.25f,
              .rng = {.seed = 5, .stream = 6, .key = lab_ref(l, lab_keys(l, rows))});
    QL_RECORD(l->tape, GEMM, gemm, .a = lab_ref(l, d), .b = lab_ref(l, w2), .c = lab_ref(l, y),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(l->tape, AXPBY, axpby, .x = lab_ref(l, h), .y = lab_ref(l, y), .alpha = 1.0f,
              .beta = 1.0f);
    if (segment) ql_tape_segment_end(l->tape);
    return y;
}

static void record_blocks(lab *l, int blocks, bool segments) {
    static const int ids[N] = {1, 0, 2, 1, 3};
    lab_open(l, 1, SEED);
    ql_dim rows = ql_rows(QL_SYM_TOKENS, N);
    ql_vid table = lab_trained(l, 4, C, "table"), h = lab_value(l, rows, C, "h");
    ql_vid index = lab_index(l, ql_fixed(1), rows, ids, "ids");
    QL_RECORD(l->tape, GATHER, gather, .table = lab_ref(l, table), .index = lab_ref(l, index),
              .y = lab_ref(l, h), .scale = 1.0f);
    for (int i = 0; i < blocks; i++) h = block(l, h, segments);
    lab_mse(l, h);
}

static void recomputed_gradients_are_equal_bit_for_bit(void **state) {
    (void)state;
    lab kept, again;
    record_blocks(&kept, 3, false);
    record_blocks(&again, 3, true);
    lab_check(&kept, false);
    lab_check(&again, false);
    assert_true(again.arena_bytes < kept.arena_bytes);
    assert_int_equal(ql_tape_count(kept.tape) < ql_tape_count(again.tape), true);
    for (ql_vid v = 1; v < LAB_VALUES; v++) {
        if (!kept.got[v]) continue;
        const ql_value *x = ql_tape_at(kept.tape, v);
        assert_string_equal(x->name, ql_tape_at(again.tape, v)->name);
        assert_memory_equal(kept.got[v], again.got[v],
                            (size_t)(x->rows.max * x->cols.max) * sizeof(double));
    }
    lab_close(&kept);
    lab_close(&again);
}

/* In each block the last product and the residual sum lead to the block's output, which backward
 * does not read: they are not computed again. Everything else is, once. */
static void clones_that_nobody_reads_are_dropped(void **state) {
    (void)state;
    lab l;
    record_blocks(&l, 2, true);
    int32_t forward = ql_tape_count(l.tape);
    ql_tape_backward(l.tape, 0, forward);
    OK(ql_tape_status(l.tape));
    int again[3] = {0};
    for (int32_t i = forward; i < ql_tape_count(l.tape); i++) {
        const ql_record *r = ql_tape_record_at(l.tape, i);
        if (r->phase != QL_PHASE_RECOMPUTE) {
            assert_int_equal(r->phase, QL_PHASE_BWD);
            continue;
        }
        assert_in_range(r->segment, 1, 2);
        assert_true(r->op == QL_OP_NORM_FWD || r->op == QL_OP_GEMM || r->op == QL_OP_ACT_FWD ||
                    r->op == QL_OP_DROPOUT);
        again[r->segment]++;
    }
    assert_int_equal(again[1], 4); /* norm, first product, activation, dropout */
    assert_int_equal(again[2], 4);
    lab_plan(&l);
    lab_close(&l);
}

/* A record of a segment that adds to the caller's storage runs once; the recomputation reads what
 * is there. */
static void recomputing_has_no_side_effects(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    ql_dim rows = ql_fixed(N);
    ql_vid w = lab_trained(&l, N, C, "w"), once = lab_input(&l, QL_F32, rows, ql_fixed(C), "once");
    ql_vid total = lab_input(&l, QL_F32, rows, ql_fixed(C), "total");
    ql_vid a = lab_value(&l, rows, C, "a"), b = lab_value(&l, rows, C, "b");
    ql_tape_segment_begin(l.tape);
    QL_RECORD(l.tape, AXPBY, axpby, .x = lab_ref(&l, once), .y = lab_ref(&l, total), .alpha = 1.0f,
              .beta = 1.0f);
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_SILU, .x = lab_ref(&l, w),
              .up = lab_ref(&l, total), .y = lab_ref(&l, a));
    QL_RECORD(l.tape, ACT_FWD, act_fwd, .kind = QL_ACT_TANH, .x = lab_ref(&l, a),
              .y = lab_ref(&l, b));
    ql_tape_segment_end(l.tape);
    lab_mse(&l, b);
    lab_check(&l, false);
    for (int i = 0; i < N * C; i++)
        assert_true(l.got[total][i] ==
                    (double)((float)l.start[total][i] + (float)l.start[once][i]));
    lab_close(&l);
}

/* ---------------------------------------------------------------- rows that are not there */

static void a_micro_batch_with_fewer_rows_is_exact_in_any_order_of_runs(void **state) {
    (void)state;
    lab l;
    record_blocks(&l, 2, true);
    ql_tape_backward(l.tape, 0, ql_tape_count(l.tape));
    lab_plan(&l);
    static const int64_t tokens[] = {N, 2, 1, N, 0, 3};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        l.sym[QL_SYM_TOKENS] = tokens[i];
        lab_run(&l);
        lab_interpret(&l, LAB_ALL);
        lab_compare(&l);
    }
    lab_close(&l);
}

/* A branch without rows writes nothing; what continues from it must see zeros, not old bytes. */
static void what_a_skipped_record_was_to_write_is_zero(void **state) {
    (void)state;
    lab l;
    lab_open(&l, 1, SEED);
    static const int rows_of[3] = {0, 2, 1};
    ql_dim some = ql_rows(QL_SYM_LABELLED, 3);
    ql_vid w = lab_trained(&l, 4, C, "w"), h = lab_value(&l, ql_fixed(4), C, "h");
    ql_vid picked = lab_value(&l, some, C, "picked"), sum = lab_value(&l, ql_fixed(1), C, "sum");
    ql_vid index = lab_index(&l, ql_fixed(1), some, rows_of, "label_row");
    copy(l.tape, w, h);
    QL_RECORD(l.tape, GATHER, gather, .table = lab_ref(&l, h), .index = lab_ref(&l, index),
              .y = lab_ref(&l, picked), .scale = 1.0f);
    int32_t body = ql_tape_count(l.tape);
    QL_RECORD(l.tape, SUM_ROWS, sum_rows, .x = lab_ref(&l, picked), .y = lab_ref(&l, sum));
    lab_mse(&l, picked);
    ql_tape_backward(l.tape, 0, body);
    ql_vid out = lab_input(&l, QL_F32, ql_fixed(1), ql_fixed(C), "out");
    copy(l.tape, sum, out);
    OK(ql_tape_status(l.tape));
    lab_plan(&l);
    for (int64_t labelled = 3; labelled >= 0; labelled--) {
        l.sym[QL_SYM_LABELLED] = labelled;
        lab_run(&l);
        lab_interpret(&l, LAB_ALL);
        lab_compare(&l);
        ql_vid dw = ql_tape_at(l.tape, w)->grad;
        bool zero = true;
        for (int i = 0; i < 4 * C; i++) zero &= l.got[dw][i] == 0.0;
        for (int j = 0; j < C; j++) zero &= l.got[out][j] == 0.0;
        assert_int_equal(zero, labelled == 0);
    }
    lab_close(&l);
}

static void unbound_values_are_refused_by_name(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_queue *q = NULL;
    OK(dev->backend->queue_create(dev, &q));
    ql_tape *t = new_tape();
    copy(t, given(t, 2, 2, "weights"), given(t, 2, 2, "result"));
    ql_program *p = NULL;
    OK(ql_program_create(t, dev, &p));
    FAILS(ql_program_run(p, q), QL_ERR_INVALID, "'weights'");
    ql_program_free(p);
    dev->backend->queue_destroy(q);
    engine_close(dev);
}

/* ---------------------------------------------------------------- the listing */

static void the_listing_names_every_record_and_its_json_parses(void **state) {
    (void)state;
    lab l;
    record_blocks(&l, 1, true);
    ql_tape_backward(l.tape, 0, ql_tape_count(l.tape));
    lab_plan(&l);
    const ql_tape *t = ql_program_tape(l.program);
    char *text = NULL, *json = NULL;
    OK(ql_tape_dump(t, false, &text));
    OK(ql_tape_dump(t, true, &json));
    int32_t lines = 0, objects = 0;
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n"), lines++) {
        const ql_record *r = ql_tape_record_at(t, lines);
        assert_int_equal(strtol(at, NULL, 10), lines);
        assert_non_null(strstr(at, ql_op_name(r->op)));
    }
    for (char *at = strtok(json, "\n"); at; at = strtok(NULL, "\n"), objects++) {
        const ql_record *r = ql_tape_record_at(t, objects);
        json_t *o = json_loads(at, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        assert_string_equal(json_string_value(json_object_get(o, "op")), ql_op_name(r->op));
        assert_int_equal(json_integer_value(json_object_get(o, "segment")), r->segment);
        size_t present = 0;
        for (int k = 0; k < QL_MAX_OPERANDS; k++) present += r->operand[k] != 0;
        assert_int_equal(json_array_size(json_object_get(o, "operands")), present);
        json_decref(o);
    }
    assert_int_equal(lines, ql_tape_count(t));
    assert_int_equal(objects, ql_tape_count(t));
    ql_host_free(text);
    ql_host_free(json);
    lab_close(&l);
}

static void names_with_quotes_stay_json(void **state) {
    (void)state;
    ql_tape *t = new_tape();
    ql_vid a = given(t, 2, 2, "say \"a\\b\"\n");
    copy(t, a, planned(t, 2, 2, "b"));
    char *json = NULL;
    OK(ql_tape_dump(t, true, &json));
    json_t *o = json_loads(json, 0, NULL);
    assert_non_null(o);
    json_t *first = json_array_get(json_object_get(o, "operands"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "value")), "say \"a\\b\"\n");
    json_decref(o);
    ql_host_free(json);
    ql_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recomputed_gradients_are_equal_bit_for_bit),
        cmocka_unit_test(clones_that_nobody_reads_are_dropped),
        cmocka_unit_test(recomputing_has_no_side_effects),
        cmocka_unit_test(a_micro_batch_with_fewer_rows_is_exact_in_any_order_of_runs),
        cmocka_unit_test(what_a_skipped_record_was_to_write_is_zero),
        cmocka_unit_test(unbound_values_are_refused_by_name),
        cmocka_unit_test(the_listing_names_every_record_and_its_json_parses),
        cmocka_unit_test(names_with_quotes_stay_json),
    };
    return cmocka_run_group_tests_name("tape_run", tests, NULL, NULL);
}
