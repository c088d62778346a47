/*
 * test_known.c - the reference against numbers from elsewhere: Random123's test vectors of Philox,
 * the consequences that spec/quantization.md lists, and the definition of the 16-bit formats.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/ref/ref.h"
#include "tests/support/convert.h"

/* kat_vectors of Random123: philox4x32, 10 rounds. */
static void philox_gives_the_published_vectors(void **state) {
    static const struct {
        uint32_t ctr[4], key[2], want[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        uint32_t ctr[4];
        for (int j = 0; j < 4; j++) ctr[j] = kat[i].ctr[j];
        ref_philox4x32(ctr, kat[i].key);
        for (int j = 0; j < 4; j++) assert_int_equal(ctr[j], kat[i].want[j]);
    }
}

/* Drops p of the elements, keeps the rest scaled; another step draws another mask. */
static void dropout_keeps_the_mean(void **state) {
    double words[REF_STEP_WORDS] = {0};
    ql_buffer step = {.host = words};
    ql_rng rng = {.seed = 11, .stream = 2, .step = {.buf = &step, .rows = 1, .cols = 16}};
    double sum = 0.0, squares = 0.0;
    int differ = 0;
    (void)state;
    for (int i = 0; i < 100; i++)
        for (int j = 0; j < 400; j++) {
            double k;
            words[REF_STEP_RNG] = 0;
            k = ref_keep(&rng, 0.3f, i, 0, j);
            sum += k;
            squares += k * k;
            words[REF_STEP_RNG] = 1;
            differ += k != ref_keep(&rng, 0.3f, i, 0, j);
        }
    /* 40000 draws: 1 and 1 / 0.7 within five standard deviations */
    assert_true(fabs(sum / 40000 - 1.0) < 5.0 * sqrt(0.3 / 0.7 / 40000));
    assert_true(fabs(squares / 40000 - 1.0 / 0.7) < 0.02);
    assert_true(differ > 15000 && differ < 18500); /* 2 * 0.3 * 0.7 of 40000 = 16800 */
}

static void rounding_is_to_nearest_even(void **state) {
    (void)state;
    assert_true(ref_round_to(QL_F16, 1.0 + 0x1p-11) == 1.0);
    assert_true(ref_round_to(QL_F16, 1.0 + 3 * 0x1p-11) == 1.0 + 0x1p-9);
    assert_true(ref_round_to(QL_F16, 65519.0) == 65504.0);
    assert_true(isinf(ref_round_to(QL_F16, 65520.0)));
    assert_true(ref_round_to(QL_F16, 0x1.8p-24) == 0x1p-23);
    assert_true(ref_round_to(QL_F16, 0x1p-25) == 0.0);
    assert_true(ref_round_to(QL_BF16, 1.0 + 0x1p-8) == 1.0);
    assert_true(ref_round_to(QL_BF16, 1.0 + 3 * 0x1p-8) == 1.0 + 0x1p-6);
    assert_true(isinf(ref_round_to(QL_BF16, 3.4e38)));
}

/* Every 16-bit pattern that is not a NaN survives load, round, store. */
static void sixteen_bit_formats_survive_a_round_trip(void **state) {
    static const ql_dtype types[] = {QL_F16, QL_BF16};
    (void)state;
    for (int t = 0; t < 2; t++)
        for (uint32_t u = 0; u < 65536; u++) {
            uint8_t in[2] = {(uint8_t)u, (uint8_t)(u >> 8)}, out[2];
            double v = ql_element_load(types[t], in);
            if (isnan(v)) continue;
            assert_true(ref_round_to(types[t], v) == v);
            ql_element_store(types[t], out, v);
            assert_memory_equal(in, out, 2);
        }
    uint8_t one_f16[2] = {0x00, 0x3C}, one_bf16[2] = {0x80, 0x3F};
    assert_true(ql_element_load(QL_F16, one_f16) == 1.0);
    assert_true(ql_element_load(QL_BF16, one_bf16) == 1.0);
}

/* ------------------------------------------------------------------- quantization */

static const double nf4[16] = {-1.0,
                               -0.6961928009986877,
                               -0.5250730514526367,
                               -0.39491748809814453,
                               -0.28444138169288635,
                               -0.18477343022823334,
                               -0.09105003625154495,
                               0.0,
                               0.07958029955625534,
                               0.16093020141124725,
                               0.24611230194568634,
                               0.33791524171829224,
                               0.44070982933044434,
                               0.5626170039176941,
                               0.7229568362236023,
                               1.0};
static const double fp4[16] = {0.0,
                               0.0052083334885537624,
                               0.6666666865348816,
                               1.0,
                               0.3333333432674408,
                               0.5,
                               0.1666666716337204,
                               0.25,
                               0.0,
                               -0.0052083334885537624,
                               -0.6666666865348816,
                               -1.0,
                               -0.3333333432674408,
                               -0.5,
                               -0.1666666716337204,
                               -0.25};

/* n values in blocks of 4 -> bytes and absmax. */
static void encode(const double *table, const double *w, int n, ql_quant_rule rule, double *bytes,
                   double *absmax) {
    double map[16], in[16];
    for (int i = 0; i < 16; i++) map[i] = table[i];
    for (int i = 0; i < n; i++) in[i] = w[i];
    ql_buffer wb = {.host = in}, tb = {.host = map}, cb = {.host = bytes}, sb = {.host = absmax};
    ql_q_quantize_args a = {.w = {.buf = &wb, .rows = 1, .cols = n}, .rule = rule, .total = n};
    a.q = (ql_qmat){.n = 1, .k = n, .bits = 4, .block = 4};
    a.q.table = (ql_mat){.buf = &tb, .rows = 1, .cols = 16};
    a.q.codes = (ql_mat){.buf = &cb, .rows = 1, .cols = (n + 1) / 2};
    a.q.scale = (ql_mat){.buf = &sb, .rows = 1, .cols = (n + 3) / 4};
    ql_ref_q_quantize(&a);
}

/* The table of spec 1.5. */
static void encoders_differ_where_the_specification_says(void **state) {
    const double zero[6] = {0}, tiny[4] = {1.0, 1e-4, -1e-4, 0.0};
    const double nan_block[4] = {1.0, NAN, -1.0, 0.5}, inf_block[4] = {INFINITY, 1.0, -INFINITY, 0};
    double b[3], s[2];
    (void)state;
    encode(nf4, zero, 6, QL_RULE_CPU, b, s);
    assert_true(b[0] == 0x77 && b[1] == 0x77 && b[2] == 0x77);
    assert_true(s[0] == 0.0 && s[1] == 9.999999350456404e-39);
    encode(nf4, zero, 6, QL_RULE_CUDA, b, s);
    assert_true(b[0] == 0x00 && b[2] == 0x00 && s[0] == 0.0 && s[1] == 0.0);
    encode(fp4, tiny, 4, QL_RULE_CPU, b, s);
    assert_true(b[0] == 0x38 && b[1] == 0x00);
    encode(fp4, tiny, 4, QL_RULE_CUDA, b, s);
    assert_true(b[0] == 0x30 && b[1] == 0x80);
    encode(nf4, nan_block, 4, QL_RULE_CPU, b, s);
    assert_true(b[0] == 0xFF && b[1] == 0xFF && isnan(s[0]));
    encode(nf4, nan_block, 4, QL_RULE_CUDA, b, s);
    assert_true(b[0] == 0xF0 && s[0] == 1.0);
    encode(nf4, inf_block, 4, QL_RULE_CPU, b, s);
    assert_true(b[0] == 0xF7 && b[1] == 0xF7 && isinf(s[0]));
    encode(nf4, inf_block, 4, QL_RULE_CUDA, b, s);
    assert_true(b[0] == 0x07 && b[1] == 0x07);
}

/* A tie goes to the lower value; odd counts end in the code of 0. */
static void ties_go_down_and_the_tail_is_zero(void **state) {
    const double w[5] = {1.0, 0.03979014977812767, 0.039790153503417969, -0.8480963706970215, 1.0};
    double b[3], s[2];
    (void)state;
    encode(nf4, w, 5, QL_RULE_CPU, b, s);
    assert_true(b[0] == 0xF7 && b[1] == 0x80 && b[2] == 0xF7);
}

/* Signed dynamic map by the recipe of spec 2.1. */
static void dynamic_map(double *map) {
    int n = 0;
    map[n++] = 0.0;
    map[n++] = 1.0;
    for (int i = 0; i < 7; i++) {
        int k = 1 << i;
        float step = (1.0f - 0.1f) / (float)k, scale = (float)pow(10.0, i - 6), last = 0.0f;
        for (int j = 0; j <= k; j++) {
            float p =
                j < (k + 1) / 2 ? fmaf(step, (float)j, 0.1f) : fmaf(-step, (float)(k - j), 1.0f);
            float mean = (last + p) / 2.0f * scale;
            if (j > 0) map[n++] = (double)mean, map[n++] = -(double)mean;
            last = p;
        }
    }
    assert_int_equal(n, 256);
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && map[j - 1] > map[j]; j--) {
            double swapped = map[j];
            map[j] = map[j - 1];
            map[j - 1] = swapped;
        }
}

static void exact_zero_takes_the_snapped_code(void **state) {
    double map[256];
    (void)state;
    dynamic_map(map);
    assert_true(map[127] == 0.0 && map[255] == 1.0 && map[0] == -0.992968738079071);
    assert_int_equal(ref_dyn8_code(map, 0.0f), 131);
    assert_int_equal(ref_dyn8_code(map, 1.0f), 255);
    assert_int_equal(ref_dyn8_code(map, -1.0f), 0);
    assert_int_equal(ref_dyn8_code(map, NAN), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(dropout_keeps_the_mean),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(sixteen_bit_formats_survive_a_round_trip),
        cmocka_unit_test(encoders_differ_where_the_specification_says),
        cmocka_unit_test(ties_go_down_and_the_tail_is_zero),
        cmocka_unit_test(exact_zero_takes_the_snapped_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
