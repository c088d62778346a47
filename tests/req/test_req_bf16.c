/*
 * test_req_bf16.c - requirement 14: two data types, one for storage and one for computing. Software
 * bf16 rounds to nearest, ties to even: all 65,536 patterns and the float32 numbers around the
 * middle of every two neighbours, on the host and through every set of kernels of this machine.
 *
 * Independent truth: tests/support/convert.c (values from the layout of the format), arithmetic on
 * bit patterns of neighbours below.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/half.h"
#include "tests/req/req_model.h"
#include "tests/support/convert.h"

enum { PATTERNS = 65536 };

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static bool is_nan16(uint16_t p) {
    return (p & 0x7FFF) > 0x7F80;
}

static void req_14_every_pattern_widens_to_its_value_and_comes_back(void **state) {
    (void)state;
    for (uint32_t i = 0; i < PATTERNS; i++) {
        uint16_t p = (uint16_t)i;
        uint8_t bytes[2];
        memcpy(bytes, &p, 2);
        double want = ql_element_load(QL_BF16, bytes);
        float got = ql_f32_from_bf16(p);
        assert_int_equal(isnan(got), is_nan16(p));
        assert_int_equal(isnan(want), is_nan16(p));
        if (is_nan16(p)) {
            assert_true(is_nan16(ql_bf16_from_f32(got)));
            continue;
        }
        assert_true((double)got == want && !signbit(got) == !(i >> 15));
        assert_int_equal(ql_bf16_from_f32(got), p);
    }
}

/* What rounding to nearest even gives for the float of these 32 bits. */
static uint16_t nearest_even(uint32_t u) {
    uint32_t low = u & 0xFFFF, high = u >> 16; /* neighbours: patterns high and high + 1 */
    bool up = low > 0x8000 || (low == 0x8000 && high & 1);
    return (uint16_t)(high + up);
}

/* Below, at and above the middle of every two neighbours; beyond the largest comes infinity. */
static void req_14_ties_go_to_even(void **state) {
    (void)state;
    static const uint32_t lows[] = {0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    int64_t ties = 0;
    for (uint32_t p = 0; p < PATTERNS; p++) {
        if ((p & 0x7FFF) >= 0x7F80) continue; /* infinities and NaNs have no neighbour */
        for (size_t k = 0; k < sizeof lows / sizeof *lows; k++) {
            uint32_t u = p << 16 | lows[k];
            assert_int_equal(ql_bf16_from_f32(from_bits(u)), nearest_even(u));
            ties += lows[k] == 0x8000;
        }
    }
    assert_int_equal(ties, 2 * 0x7F80);
    assert_int_equal(ql_bf16_from_f32(from_bits(0x7F7FFFFF)), 0x7F80); /* FLT_MAX */
    for (uint32_t u = 0x7F800001; u < 0x7F810000;
         u += 0xFF) /* a NaN whose high bits are zero stays one */
        assert_true(is_nan16(ql_bf16_from_f32(from_bits(u))));
}

/* The operator that converts, on each set of kernels: the same bits. */
static void check_device(const char *isa, const float *in, const uint16_t *want, int64_t n) {
    ql_device *dev = NULL;
    ql_queue *q = NULL;
    ql_device_opts o = {.threads = 2, .isa = isa};
    if (ql_device_open_named("cpu", &o, &dev) != QL_OK) {
        print_message("req_14: this machine has no %s\n", isa);
        return;
    }
    const ql_backend *b = dev->backend;
    ql_buffer *wide = NULL, *narrow = NULL;
    OK(b->queue_create(dev, &q));
    OK(b->buffer_alloc(dev, QL_MEM_DEVICE, (uint64_t)n * 4, &wide));
    OK(b->buffer_alloc(dev, QL_MEM_DEVICE, (uint64_t)n * 2, &narrow));
    ql_mat f32 = {wide, 0, 1, n, n, QL_F32}, bf16 = {narrow, 0, 1, n, n, QL_BF16};
    OK(b->write(q, wide, 0, in, (uint64_t)n * 4));
    OK(ql_run_axpby(q, &(ql_axpby_args){f32, bf16, 1.0f, 0.0f}));
    uint16_t *got = calloc((size_t)n, sizeof *got);
    float *back = calloc((size_t)n, sizeof *back);
    OK(b->read(q, narrow, 0, got, (uint64_t)n * 2));
    OK(ql_run_axpby(q, &(ql_axpby_args){bf16, f32, 1.0f, 0.0f}));
    OK(b->read(q, wide, 0, back, (uint64_t)n * 4));
    for (int64_t i = 0; i < n; i++) {
        if (is_nan16(want[i]) ? !is_nan16(got[i]) || !isnan(back[i])
                              : got[i] != want[i] || to_bits(back[i]) != (uint32_t)want[i] << 16)
            fail_msg("%s: %08x gives %04x and back %08x, expected %04x", isa, to_bits(in[i]),
                     got[i], to_bits(back[i]), want[i]);
    }
    free(got);
    free(back);
    b->buffer_free(wide);
    b->buffer_free(narrow);
    b->queue_destroy(q);
    b->device_close(dev);
}

static void req_14_kernels_round_the_same_way(void **state) {
    (void)state;
    static const char *const sets[] = {"portable", "avx2", "avx512", "neon"};
    static const uint32_t lows[] = {0x0000, 0x7FFF, 0x8000, 0x8001};
    int64_t n = 4 * PATTERNS;
    float *in = calloc((size_t)n, sizeof *in);
    uint16_t *want = calloc((size_t)n, sizeof *want);
    for (int64_t i = 0; i < n; i++) {
        uint32_t p = (uint32_t)(i / 4), u = p << 16 | ((p & 0x7FFF) == 0x7F80 ? 0 : lows[i % 4]);
        in[i] = from_bits(u);
        want[i] = is_nan16((uint16_t)p) ? (uint16_t)p : nearest_even(u);
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) check_device(sets[i], in, want, n);
    free(in);
    free(want);
}

/* The training tape of an NF4 model that computes in bf16: codes are bytes, activations bf16,
 * trained values float32. */
static void req_14_storage_and_compute_types_are_apart(void **state) {
    (void)state;
    static const ql_dtype types[] = {QL_F32, QL_BF16};
    for (int i = 0; i < 2; i++) {
        ql_device *dev = engine_device(1);
        ql_model *m = engine_model("tiny-llama", 4, 4, 0);
        ql_graph_opts o = {.kind = QL_GRAPH_TRAIN,
                           .compute = types[i],
                           .max_tokens = 16,
                           .max_seqs = 2,
                           .max_len = 8,
                           .max_labelled = 16,
                           .logits_chunk = 4};
        ql_graph *g = NULL;
        OK(ql_graph_create(m, &o, dev, &g));
        const ql_tape *t = ql_program_tape(g->program);
        int products = 0, computed = 0;
        for (int32_t k = 0; k < ql_tape_count(t); k++) {
            const ql_record *r = ql_tape_record_at(t, k);
            if (r->op != QL_OP_GEMM_Q || r->phase != QL_PHASE_FWD) continue;
            const ql_gemm_q_args *a = &r->args.gemm_q;
            assert_int_equal(a->w.codes.dtype, QL_U8);
            assert_int_equal(a->w.bits, 4);
            assert_int_equal(a->x.dtype, types[i]);
            computed += a->y.dtype == types[i];
            products++;
        }
        assert_int_equal(products, 7 * m->arch.body.layers);
        /* o and down may write the residual stream, which may be wider */
        assert_true(computed >= 5 * m->arch.body.layers);
        for (ql_vid v = 1; v <= ql_tape_values(t); v++)
            if (ql_tape_at(t, v)->pool == QL_POOL_ADAPTERS)
                assert_int_equal(ql_tape_at(t, v)->dtype, QL_F32);
        ql_graph_free(g);
        ql_model_close(m);
        engine_close(dev);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(req_14_every_pattern_widens_to_its_value_and_comes_back),
        cmocka_unit_test(req_14_ties_go_to_even),
        cmocka_unit_test(req_14_kernels_round_the_same_way),
        cmocka_unit_test(req_14_storage_and_compute_types_are_apart),
    };
    return cmocka_run_group_tests_name("req_bf16", tests, NULL, NULL);
}
