/*
 * test_check.c - checked operator calls refuse every malformed argument with a sentence, and let
 * through every well-formed one; operator names; the registry's answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/device/operands.h"
#include "tests/support/opcase.h"

/* ---------------------------------------------------------------- operand tables */

/* Scalars of a ql_qmat behind its last matrix. */
static uint64_t tail_of(const ql_operand *list, int n, uint64_t at) {
    for (int i = 0; i < n; i++)
        if (list[i].at == at && strstr(list[i].name, ".offset"))
            return sizeof(ql_qmat) - offsetof(ql_qmat, offset) - sizeof(ql_mat);
    return 0;
}

/* Every ql_mat of an argument struct is in its table once: in order, and what lies between two of
 * them is too small for another. The scalars of ql_attn_spec before its rng are the one exception.
 */
static void operand_tables_hold_every_matrix(void **state) {
    static const uint64_t sizes[QL_OP_COUNT] = {
#define QL_X(ID, name, family) [QL_OP_##ID] = sizeof(ql_##name##_args),
        QL_OPS(QL_X)
#undef QL_X
    };
    (void)state;
    for (int op = 0; op < QL_OP_COUNT; op++) {
        int n;
        const ql_operand *list = ql_operands_of((ql_op)op, &n);
        bool attn = op == QL_OP_ATTN_FWD || op == QL_OP_ATTN_BWD;
        uint64_t end = attn ? offsetof(ql_attn_spec, rng.key) : 0;
        for (int placed = 0; placed < n; placed++) {
            uint64_t next = UINT64_MAX;
            for (int i = 0; i < n; i++)
                if (list[i].at >= end && list[i].at < next) next = list[i].at;
            assert_true(next != UINT64_MAX);
            assert_true(next - end < sizeof(ql_mat));
            end = next + sizeof(ql_mat) + tail_of(list, n, next);
        }
        assert_true(end <= sizes[op] && sizes[op] - end < sizeof(ql_mat));
    }
}

static void operators_have_their_names(void **state) {
    (void)state;
    assert_string_equal(ql_op_name(QL_OP_GEMM_Q), "gemm_q");
    assert_string_equal(ql_op_name(QL_OP_OPT_STEP), "opt_step");
    assert_string_equal(ql_op_name((ql_op)QL_OP_COUNT), "?");
    assert_string_equal(ql_dtype_name(QL_BF16), "bf16");
    assert_int_equal(ql_dtype_size(QL_BF16), 2);
    assert_int_equal(ql_dtype_size((ql_dtype)99), 0);
}

/* ------------------------------------------------- every case, one mutation at a time */

typedef enum mutation { WIDER, NO_DTYPE, OTHER_DTYPE, SHORT_STRIDE, NO_ROWS, N_MUTATIONS } mutation;

static ql_mat *mat_at(ql_op_args *a, const ql_operand *o) {
    return (ql_mat *)(void *)((char *)a + o->at);
}

/* Operands whose width, or whose dtype (fill), nothing else determines. */
static bool is_free(const opcase *c, const char *name, mutation m) {
    bool alone =
        c->op == QL_OP_FILL || (c->op == QL_OP_SUMSQ && strcmp(name, "x") == 0) ||
        (c->op == QL_OP_ROW_NORM && strcmp(name, "wd") == 0 && c->args.row_norm.a.rows == 0) ||
        (c->op == QL_OP_LOSS && strcmp(name, "logits") == 0 && c->args.loss.kind == QL_LOSS_XENT &&
         c->args.loss.dlogits.rows == 0);
    return (m == WIDER && alone) || (m == OTHER_DTYPE && c->op == QL_OP_FILL);
}

static bool mutate(ql_mat *m, mutation how) {
    switch (how) {
    case WIDER: m->cols++, m->ld++; return true;
    case NO_DTYPE: m->dtype = QL_DTYPE_COUNT; return true;
    case OTHER_DTYPE:
        m->dtype = m->dtype == QL_I32 || m->dtype == QL_U8 ? QL_F16 : QL_I32;
        return true;
    case SHORT_STRIDE: m->ld = m->cols - 1; return true;
    default: m->rows = -1; return true;
    }
}

static void every_mutation_of_every_case_is_refused(void **state) {
    int refused = 0;
    (void)state;
    for (int f = 0; f < ql_opcase_family_count(); f++)
        for (int row = 0; row < ql_opfamily_at(f)->n; row++) {
            opcase c = {.random = 5};
            int n;
            ql_opfamily_at(f)->build(&c, row);
            const ql_operand *list = ql_operands_of(c.op, &n);
            assert_int_equal(ql_check_op(NULL, c.op, &c.args), QL_OK);
            for (int i = 0; i < n * N_MUTATIONS; i++) {
                const ql_operand *o = &list[i / N_MUTATIONS];
                ql_op_args a = c.args;
                if (mat_at(&a, o)->rows == 0 || is_free(&c, o->name, i % N_MUTATIONS)) continue;
                mutate(mat_at(&a, o), (mutation)(i % N_MUTATIONS));
                if (ql_check_op(NULL, c.op, &a) == QL_OK)
                    fail_msg("%s: mutation %d of %s passed", c.label, i % N_MUTATIONS, o->name);
                if (!strstr(ql_last_error(), ql_op_name(c.op)))
                    fail_msg("\"%s\" does not name %s", ql_last_error(), ql_op_name(c.op));
                refused++;
            }
            ql_arena_free(&c.arena);
        }
    assert_true(refused > 5000);
}

static void required_operands_must_be_there(void **state) {
    (void)state;
    for (int f = 0; f < ql_opcase_family_count(); f++)
        for (int row = 0; row < ql_opfamily_at(f)->n; row++) {
            opcase c = {.random = 5};
            int n;
            ql_opfamily_at(f)->build(&c, row);
            const ql_operand *list = ql_operands_of(c.op, &n);
            for (int i = 0; i < n; i++) {
                ql_op_args a = c.args;
                if (list[i].optional) continue;
                *mat_at(&a, &list[i]) = (ql_mat){0};
                assert_int_equal(ql_check_op(NULL, c.op, &a), QL_ERR_INVALID);
                assert_non_null(strstr(ql_last_error(), list[i].name));
            }
            ql_arena_free(&c.arena);
        }
}

/* ------------------------------------------------------------------------ placement */

/* A device and a buffer of 4096 bytes that are only looked at. */
typedef struct place {
    ql_device dev, other;
    ql_buffer buf, foreign;
} place;

static void set_place(place *p) {
    *p =
        (place){.buf = {.dev = &p->dev, .size = 4096}, .foreign = {.dev = &p->other, .size = 4096}};
}

static ql_mat mat(ql_buffer *buf, uint64_t off, int64_t rows, int64_t cols, int64_t ld) {
    return (ql_mat){.buf = buf, .off = off, .rows = rows, .cols = cols, .ld = ld, .dtype = QL_F32};
}

static ql_status check_axpby(place *p, ql_mat x, ql_mat y) {
    ql_op_args a = {.axpby = {.x = x, .y = y, .alpha = 1.0f}};
    return ql_check_op(&p->dev, QL_OP_AXPBY, &a);
}

static void operands_lie_inside_their_buffers(void **state) {
    place p;
    (void)state;
    set_place(&p);
    ql_mat x = mat(&p.buf, 0, 4, 8, 8);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 4096 - 4 * 32, 4, 8, 8)), QL_OK);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 4096 - 4 * 32 + 4, 4, 8, 8)), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "y [4, 8] f32"));
    assert_non_null(strstr(ql_last_error(), "4096"));
    /* the last row needs no gap behind it */
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 4096 - 4 * (3 * 100 + 8), 4, 8, 100)), QL_OK);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 130, 4, 8, 8)), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "multiple"));
    assert_int_equal(check_axpby(&p, x, mat(&p.foreign, 0, 4, 8, 8)), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "another device"));
    assert_int_equal(check_axpby(&p, x, (ql_mat){0}), QL_ERR_INVALID);
}

static void sizes_that_overflow_are_refused(void **state) {
    place p;
    (void)state;
    set_place(&p);
    ql_mat big = mat(&p.buf, 0, INT64_MAX, 8, INT64_MAX);
    assert_int_equal(check_axpby(&p, big, big), QL_ERR_INVALID);
    big = mat(&p.buf, UINT64_MAX - 3, 1, 1, 1);
    assert_int_equal(check_axpby(&p, big, big), QL_ERR_INVALID);
    ql_op_args a = {0};
    ql_gemm_q_args *g = &a.gemm_q;
    g->x = mat(&p.buf, 0, 1, 8, 8);
    g->y = mat(&p.buf, 64, 1, 8, 8);
    g->w = (ql_qmat){.n = INT64_MAX / 2, .k = 8, .row0 = INT64_MAX / 2, .bits = 4, .block = 64};
    g->w.codes =
        (ql_mat){.buf = &p.buf, .off = 128, .rows = 1, .cols = 32, .ld = 32, .dtype = QL_U8};
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM_Q, &a), QL_ERR_SHAPE);
}

static void overlap_is_refused_unless_in_place(void **state) {
    place p;
    (void)state;
    set_place(&p);
    ql_mat x = mat(&p.buf, 0, 4, 8, 16);
    assert_int_equal(check_axpby(&p, x, x), QL_OK);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 4, 4, 8, 16)), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "without being the same matrix"));
    /* columns [8, 16) of the same rows; one column less free; the next rows */
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 32, 4, 8, 16)), QL_OK);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 36, 4, 8, 16)), QL_ERR_INVALID);
    assert_int_equal(check_axpby(&p, mat(&p.buf, 32, 4, 8, 16), x), QL_OK);
    assert_int_equal(check_axpby(&p, mat(&p.buf, 36, 4, 8, 16), x), QL_ERR_INVALID);
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 4 * 64, 4, 8, 16)), QL_OK);
    /* another stride: touching ranges count as shared */
    assert_int_equal(check_axpby(&p, x, mat(&p.buf, 32, 4, 8, 17)), QL_ERR_INVALID);
    /* one row between the columns of another matrix; broadcast x */
    assert_int_equal(check_axpby(&p, mat(&p.buf, 64 + 32, 1, 8, 8), x), QL_OK);
    assert_int_equal(check_axpby(&p, mat(&p.buf, 64 + 28, 1, 8, 8), x), QL_ERR_INVALID);
    ql_op_args a = {.gather = {.table = mat(&p.buf, 0, 4, 8, 8), .y = mat(&p.buf, 0, 4, 8, 8)}};
    a.gather.index = mat(&p.buf, 1024, 1, 4, 4);
    a.gather.index.dtype = QL_I32;
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GATHER, &a), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "does not allow"));
}

static void the_last_matrix_of_a_batch_is_inside(void **state) {
    place p;
    (void)state;
    set_place(&p);
    ql_op_args a = {.gemm = {.a = mat(&p.buf, 0, 2, 4, 4),
                             .b = mat(&p.buf, 1024, 4, 2, 2),
                             .c = mat(&p.buf, 2048, 2, 2, 2),
                             .alpha = 1.0f,
                             .batch = 4,
                             .stride_a = 8,
                             .stride_b = 8,
                             .stride_c = 4}};
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_OK);
    a.gemm.stride_c = 170; /* 2048 + 4 * (3 * 170 + 4) = 4104 */
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "4 matrices c"));
    a.gemm.stride_c = 0;
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_ERR_INVALID);
    a.gemm.stride_c = 4, a.gemm.stride_a = 0; /* an input may repeat */
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_OK);
    a.gemm.stride_b = INT64_MAX / 2;
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_ERR_INVALID);
}

static void shape_sentences_name_both_shapes(void **state) {
    place p;
    (void)state;
    set_place(&p);
    ql_op_args a = {.gemm = {.a = mat(&p.buf, 0, 2, 4, 4),
                             .b = mat(&p.buf, 1024, 5, 2, 2),
                             .c = mat(&p.buf, 2048, 2, 2, 2),
                             .batch = 1}};
    assert_int_equal(ql_check_op(&p.dev, QL_OP_GEMM, &a), QL_ERR_SHAPE);
    assert_string_equal(ql_last_error(),
                        "gemm: op(a) is [2, 4], op(b) is [5, 2]; the inner sizes differ");
    assert_int_equal(check_axpby(&p, mat(&p.buf, 0, 3, 8, 8), mat(&p.buf, 1024, 4, 8, 8)),
                     QL_ERR_SHAPE);
    assert_string_equal(ql_last_error(), "axpby: x is [3, 8], expected [4, 8]");
}

/* ------------------------------------------------------------------- real devices */

static void operators_that_a_backend_lacks_are_refused_with_its_reason(void **state) {
    ql_device *dev;
    ql_queue *q;
    ql_buffer *buf;
    (void)state;
    assert_int_equal(ql_device_open_named("cpu", NULL, &dev), QL_OK);
    const ql_backend *b = dev->backend;
    assert_int_equal(b->queue_create(dev, &q), QL_OK);
    assert_int_equal(b->buffer_alloc(dev, QL_MEM_DEVICE, 4096, &buf), QL_OK);
    if (b->ops.lora_fwd) skip(); /* a backend may have it */
    ql_lora_fwd_args a = {.x = mat(buf, 0, 1, 4, 4),
                          .wd = mat(buf, 64, 2, 4, 4),
                          .a = mat(buf, 128, 1, 4, 4),
                          .b = mat(buf, 192, 2, 1, 1),
                          .u = mat(buf, 256, 1, 1, 1),
                          .y = mat(buf, 320, 1, 2, 2)};
    assert_int_equal(ql_run_lora_fwd(q, &a), QL_ERR_UNSUPPORTED);
    assert_non_null(strstr(ql_last_error(), "lora_fwd on "));
    const ql_op_args none = {0};
    assert_int_equal(ql_run_op(q, (ql_op)QL_OP_COUNT, &none), QL_ERR_INVALID);
    assert_int_equal(ql_run_op(q, QL_OP_FILL, &none), QL_ERR_INVALID);
    b->buffer_free(buf);
    b->queue_destroy(q);
    b->device_close(dev);
}

static void registry_lists_and_finds(void **state) {
    (void)state;
    assert_true(ql_backend_count() >= 1);
    assert_null(ql_backend_at(ql_backend_count()));
    assert_null(ql_backend_find("no such"));
    assert_ptr_equal(ql_backend_find("cpu"), ql_cpu_backend());
    assert_ptr_equal(ql_backend_at(0), ql_cpu_backend()); /* what auto takes */
    assert_string_equal(ql_backend_absence("cpu"), "");
    assert_non_null(strstr(ql_backend_absence("no such"), "not available"));
}

static void devices_open_by_name(void **state) {
    static const char *const good[] = {"auto", "cpu", "cpu:0", NULL};
    static const char *const bad[] = {"",
                                      ":",
                                      "cpu:",
                                      "cpu:x",
                                      "cpu:-1",
                                      "cpu:7",
                                      "tpu",
                                      "tpu:0",
                                      "cpu:99999999999999999999",
                                      "CPU",
                                      "cpu 0",
                                      "auto:0",
                                      "a_name_that_is_longer_than_any_backend_has"};
    ql_device *dev;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(ql_device_open_named(good[i], NULL, &dev), QL_OK);
        dev->backend->device_close(dev);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ql_device_open_named(bad[i], NULL, &dev), QL_ERR_NOT_FOUND);
        assert_non_null(strstr(ql_last_error(), "cpu:0"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operand_tables_hold_every_matrix),
        cmocka_unit_test(operators_have_their_names),
        cmocka_unit_test(every_mutation_of_every_case_is_refused),
        cmocka_unit_test(required_operands_must_be_there),
        cmocka_unit_test(operands_lie_inside_their_buffers),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(overlap_is_refused_unless_in_place),
        cmocka_unit_test(the_last_matrix_of_a_batch_is_inside),
        cmocka_unit_test(shape_sentences_name_both_shapes),
        cmocka_unit_test(operators_that_a_backend_lacks_are_refused_with_its_reason),
        cmocka_unit_test(registry_lists_and_finds),
        cmocka_unit_test(devices_open_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
