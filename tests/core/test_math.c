/*
 * test_math.c - the scalar formulas of ql_math.inc against independent computations in double and
 * published vectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/common/ql_math.inc"

/* -------------------------------------------------------------- 16-bit formats */

/* A binary format of `m` mantissa and `e` exponent bits, from its definition. */
typedef struct format {
    int e, m;
} format;
static const format F16 = {5, 10}, BF16 = {8, 7};

/* Value of a pattern; NaN and infinity as such. */
static double value_of(format f, unsigned bits) {
    int bias = (1 << (f.e - 1)) - 1;
    unsigned mantissa = bits & ((1u << f.m) - 1u), exponent = bits >> f.m & ((1u << f.e) - 1u);
    double sign = bits >> (f.e + f.m) & 1u ? -1.0 : 1.0;
    if (exponent == (1u << f.e) - 1u) return mantissa ? (double)NAN : sign * HUGE_VAL;
    if (exponent == 0) return sign * ldexp((double)mantissa, 1 - bias - f.m);
    return sign * ldexp((double)(mantissa + (1u << f.m)), (int)exponent - bias - f.m);
}

static float widen(format f, unsigned bits) {
    return f.e == 5 ? ql_f32_from_f16((uint16_t)bits) : ql_f32_from_bf16((uint16_t)bits);
}
static unsigned narrow(format f, float x) {
    return f.e == 5 ? ql_f16_from_f32(x) : ql_bf16_from_f32(x);
}

static void all_patterns_are_exact(format f) {
    for (unsigned bits = 0; bits < 65536; bits++) {
        double want = value_of(f, bits);
        float got = widen(f, bits);
        if (want != want) {
            unsigned back = narrow(f, got), quiet = 1u << (f.m - 1);
            assert_true(got != got);
            assert_int_equal(back, bits | quiet); /* sign and payload kept */
        } else {
            assert_true((double)got == want);
            assert_int_equal(signbit(got) != 0, bits >> 15);
            assert_int_equal(narrow(f, got), bits);
        }
    }
}

static void f16_patterns_are_exact(void **state) {
    (void)state;
    all_patterns_are_exact(F16);
}
static void bf16_patterns_are_exact(void **state) {
    (void)state;
    all_patterns_are_exact(BF16);
}

/* Nearest pattern of x >= 0 among p and p + 1, ties to the even one; both exact in double. */
static unsigned nearest(format f, double x, unsigned p) {
    unsigned top = ((1u << f.e) - 1u) << f.m; /* infinity stands where the next value would */
    double low = value_of(f, p),
           high = p + 1 == top ? 2 * low - value_of(f, p - 1) : value_of(f, p + 1);
    if (x - low < high - x) return p;
    if (x - low > high - x) return p + 1;
    return p & 1u ? p + 1 : p;
}

/* Every midpoint between neighbours, and the floats on both sides of it. */
static void rounding_is_to_nearest_even(format f) {
    unsigned top = ((1u << f.e) - 1u) << f.m;
    for (unsigned p = 0; p < top; p++) {
        double low = value_of(f, p),
               high = p + 1 == top ? 2 * low - value_of(f, p - 1) : value_of(f, p + 1);
        float middle = (float)(0.5 * (low + high));
        float tries[3] = {nextafterf(middle, 0.0f), middle, nextafterf(middle, HUGE_VALF)};
        for (int i = 0; i < 3; i++) {
            unsigned want = nearest(f, (double)tries[i], p);
            assert_int_equal(narrow(f, tries[i]), want);
            assert_int_equal(narrow(f, -tries[i]), want | 0x8000u);
        }
    }
    assert_int_equal(narrow(f, HUGE_VALF), top);
    assert_int_equal(narrow(f, 3.4028234e38f), top);
}

static void f16_rounds_to_nearest_even(void **state) {
    (void)state;
    rounding_is_to_nearest_even(F16);
}
static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    rounding_is_to_nearest_even(BF16);
}

/* ------------------------------------------------------------------ randomness */

/* Known answers published with Random123 (philox4x32, 10 rounds). */
static void philox_gives_the_published_words(void **state) {
    static const uint32_t vectors[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1}};
    (void)state;
    for (int v = 0; v < 3; v++) {
        uint32_t ctr[4];
        memcpy(ctr, vectors[v], sizeof ctr);
        ql_philox4x32(ctr, vectors[v] + 4);
        assert_memory_equal(ctr, vectors[v] + 6, sizeof ctr);
    }
}

static void uniform_covers_zero_to_below_one(void **state) {
    (void)state;
    assert_true(ql_uniform24(0) == 0.0f);
    assert_true(ql_uniform24(0xFFu) == 0.0f);
    assert_true(ql_uniform24(0x80000000u) == 0.5f);
    assert_true((double)ql_uniform24(0xFFFFFFFFu) == 1.0 - 1.0 / 16777216.0);
}

/* ------------------------------------------------------------- exp, activations */

/* |got - want| in units of the last place of want (of 2^-149 below the normal range). */
static double ulps(float got, double want) {
    int e;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

/* 2 ulp: the polynomial is below half an ulp, each of its last roundings adds half. */
static void exp_is_within_two_ulp(void **state) {
    double worst = 0;
    (void)state;
    for (int i = 0; i < 518000; i++) { /* -103 to 88.66 */
        double x = -103.0 + 0.00037 * i;
        double u = ulps(ql_exp((float)x), exp((double)(float)x));
        worst = u > worst ? u : worst;
    }
    assert_true(worst <= 2.0);
    assert_true(ql_exp(0.0f) == 1.0f);
    assert_true(isinf(ql_exp(88.73f)));
    assert_true(ql_exp(-HUGE_VALF) == 0.0f);
    assert_true(isinf(ql_exp(HUGE_VALF)));
    assert_true(isnan(ql_exp(NAN)));
}

/* 4 ulp: exp twice as exact as above, a division and two additions. */
static void tanh_is_within_four_ulp(void **state) {
    double worst = 0;
    (void)state;
    for (int i = 0; i < 536000; i++) {
        double x = -11.0 + 0.000041 * i;
        double u = ulps(ql_tanh((float)x), tanh((double)(float)x));
        worst = u > worst ? u : worst;
    }
    assert_true(worst <= 4.0);
    assert_true(ql_tanh(1e-30f) == 1e-30f);
    assert_true(signbit(ql_tanh(-0.0f)));
    assert_true(ql_tanh(-HUGE_VALF) == -1.0f);
    assert_true(isnan(ql_tanh(NAN)));
}

static double act_true(int kind, double x) {
    double u = sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x);
    switch (kind) {
    case 1: return x > 0 ? x : 0;
    case 2: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case 3: return 0.5 * x * (1 + tanh(u));
    case 4: return x / (1 + exp(-x));
    case 5: return tanh(x);
    default: return x;
    }
}

/* 4e-7 max(1, |x|): values are O(|x|), each formula has a few roundings of 6e-8 relative; the tails
 * of gelu cancel in 1 + tanh and are small in absolute terms only. Slopes come from a central
 * difference of the double formula (error about 1e-10). */
static void activations_and_slopes_match_double(void **state) {
    (void)state;
    for (int kind = 0; kind <= 5; kind++)
        for (int i = 0; i < 2124; i++) {
            float x = (float)(-12.0 + 0.0113 * i);
            double h = 1e-5, d = (double)x, bound = 4e-7 * fmax(1.0, fabs(d));
            double slope = (act_true(kind, d + h) - act_true(kind, d - h)) / (2 * h);
            assert_true(fabs((double)ql_act(kind, x) - act_true(kind, d)) <= bound);
            if (kind == 1 && fabs(d) < 2 * h) continue; /* the corner of relu */
            assert_true(fabs((double)ql_act_d(kind, x) - slope) <= 2 * bound);
        }
    for (int kind = 1; kind <= 5; kind++) assert_true(isnan(ql_act(kind, NAN)));
}

static void softcap_limits_and_differentiates(void **state) {
    (void)state;
    for (int i = 0; i < 1081; i++) {
        double s = -200.0 + 0.37 * i;
        double z = 30.0 * tanh((double)(float)s / 30.0), t = z / 30.0;
        float got = ql_softcap((float)s, 30.0f);
        assert_true(fabs((double)got - z) <= 1e-5);
        assert_true(fabs((double)ql_softcap_d(got, 30.0f) - (1 - t * t)) <= 1e-6);
    }
    assert_true(ql_softcap(123.0f, 0.0f) == 123.0f);
    assert_true(ql_softcap_d(123.0f, 0.0f) == 1.0f);
}

/* --------------------------------------------------------------------- codes */

/* Nearest entry of a table by exhaustive search in double; ties to the lower value. */
static double nearest_value(const float *table, double v) {
    double best = HUGE_VAL, value = 0;
    for (int i = 0; i < 16; i++) {
        double d = fabs(v - (double)table[i]);
        if (d < best || (d == best && (double)table[i] < value)) best = d, value = (double)table[i];
    }
    return value;
}

static double gap_to_threshold(const float *mid, int n, double v) {
    double gap = HUGE_VAL;
    for (int i = 0; i < n; i++) gap = fmin(gap, fabs(v - (double)mid[i]));
    return gap;
}

/* Away from thresholds every rule takes the nearest entry; at a threshold the lower one. */
static void four_bit_codes_are_nearest(void **state) {
    (void)state;
    for (int i = 0; i < 11561; i++) {
        float v = (float)(-1.0 + 0.000173 * i);
        if (gap_to_threshold(ql_nf4_mid_cpu, 15, (double)v) > 1e-6) {
            double want = nearest_value(ql_nf4_table, (double)v);
            assert_true((double)ql_nf4_table[ql_nf4_code_cpu(v)] == want);
            assert_true((double)ql_nf4_table[ql_nf4_code_cuda(v)] == want);
        }
        if (gap_to_threshold(ql_fp4_mid_cpu, 15, (double)v) > 1e-6) {
            double want = nearest_value(ql_fp4_table, (double)v);
            assert_true((double)ql_fp4_table[ql_fp4_code_cpu(v)] == want);
            assert_true((double)ql_fp4_table[ql_fp4_code_cuda(v)] == want);
        }
    }
    for (int i = 0; i < 15; i++) {
        float up = nextafterf(ql_nf4_mid_cpu[i], 2.0f);
        assert_int_equal(ql_nf4_code_cpu(ql_nf4_mid_cpu[i]), i);
        assert_int_equal(ql_nf4_code_cpu(up), i + 1);
        assert_int_equal(ql_nf4_code_cuda(ql_nf4_mid_cuda[i]), i);
    }
}

/* The midpoints are those of the tables in float32 (spec 1.3). */
static void midpoints_are_halfway(void **state) {
    float sorted[16];
    (void)state;
    for (int i = 0; i < 16; i++) sorted[i] = ql_fp4_table[ql_fp4_sorted[i]];
    for (int i = 0; i < 15; i++) {
        assert_true(ql_nf4_mid_cpu[i] == (ql_nf4_table[i] + ql_nf4_table[i + 1]) / 2);
        assert_true(ql_fp4_mid_cpu[i] == (sorted[i] + sorted[i + 1]) / 2);
    }
}

/* Spec 1.5: where the two rules differ. */
static void rules_differ_where_the_packages_do(void **state) {
    (void)state;
    assert_int_equal(ql_nf4_code_cpu(NAN), 15);
    assert_int_equal(ql_fp4_code_cpu(NAN), 3);
    assert_int_equal(ql_nf4_code_cuda(NAN), 0);
    assert_int_equal(ql_fp4_code_cuda(NAN), 0);
    assert_int_equal(ql_fp4_code_cpu(1e-6f), 8);
    assert_int_equal(ql_fp4_code_cpu(-1e-6f), 0);
    assert_int_equal(ql_fp4_code_cuda(1e-6f), 0);
    assert_int_equal(ql_fp4_code_cuda(-1e-6f), 8);
}

static void round_codes_round_half_to_even(void **state) {
    (void)state;
    for (int q = -127; q <= 127; q++) {
        assert_int_equal(ql_int8_code((float)q, 127.0f), q & 0xFF);
        int even = q % 2 == 0 ? q : q + 1; /* q + 0.5 lies between q and q + 1 */
        if (q < 127) assert_int_equal(ql_int8_code((float)q + 0.5f, 127.0f), even & 0xFF);
    }
    assert_int_equal(ql_int8_code(0.0f, 0.0f), 0);
    assert_int_equal(ql_int8_code(NAN, 1.0f), 0);
    assert_int_equal(ql_affine_code(-1.0f, -1.0f, ql_affine_scale(-1.0f, 2.0f, 15), 15), 0);
    assert_int_equal(ql_affine_code(2.0f, -1.0f, ql_affine_scale(-1.0f, 2.0f, 15), 15), 15);
    assert_int_equal(ql_affine_code(0.5f, 0.0f, 1.0f, 15), 0);
    assert_int_equal(ql_affine_code(1.5f, 0.0f, 1.0f, 15), 2);
    assert_int_equal(ql_affine_code(3.0f, 3.0f, 0.0f, 15), 0);
}

/* A count by binary search equals a plain count, on and beside every midpoint. */
static void map_search_equals_counting(void **state) {
    float map[256];
    (void)state;
    for (int i = 0; i < 256; i++) map[i] = (float)(i - 127) * (float)abs(i - 127) / 16384.0f;
    for (int i = 0; i < 255; i++) {
        float mid = 0.5f * (map[i] + map[i + 1]);
        float tries[3] = {nextafterf(mid, -9.0f), mid, nextafterf(mid, 9.0f)};
        for (int t = 0; t < 3; t++) {
            int count = 0;
            for (int j = 0; j < 255; j++) count += 0.5f * (map[j] + map[j + 1]) < tries[t];
            assert_int_equal(ql_map256_count(map, tries[t]), count);
        }
    }
    assert_int_equal(ql_map256_count(map, 1e9f), 255);
    assert_int_equal(ql_dyn8_code_cpu(map, NAN), 0);
    assert_int_equal(ql_dyn8_code_cuda(map, NAN), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_patterns_are_exact),
        cmocka_unit_test(bf16_patterns_are_exact),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(uniform_covers_zero_to_below_one),
        cmocka_unit_test(exp_is_within_two_ulp),
        cmocka_unit_test(tanh_is_within_four_ulp),
        cmocka_unit_test(activations_and_slopes_match_double),
        cmocka_unit_test(softcap_limits_and_differentiates),
        cmocka_unit_test(four_bit_codes_are_nearest),
        cmocka_unit_test(midpoints_are_halfway),
        cmocka_unit_test(rules_differ_where_the_packages_do),
        cmocka_unit_test(round_codes_round_half_to_even),
        cmocka_unit_test(map_search_equals_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
