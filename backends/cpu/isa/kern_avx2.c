/*
 * kern_avx2.c - the kernel table for AVX2 + FMA. Only static functions and the table's getter, so
 * that no wide instruction leaks into code that runs before the CPU was asked.
 *
 * The 6 x 16 tile is written in assembly: gcc 12 spills accumulators of the same loop in
 * intrinsics and loses 7 to 10 % (design/gemm.md, rule 1).
 */
#include "backends/cpu/isa/avx2_body.inc"

enum { MR = 6, NR = 16 };

/* ------------------------------------------------------------------- 6 x 16 product
 * ymm4..15 hold the tile, ymm0/1 one row of b, ymm2/3 elements of a. */
/* clang-format off */
#define ZERO(r) "vxorps %%ymm" #r ",%%ymm" #r ",%%ymm" #r "\n\t"
#define FMA2(t, x, y)                                \
    "vfmadd231ps %%ymm0,%%ymm" #t ",%%ymm" #x "\n\t" \
    "vfmadd231ps %%ymm1,%%ymm" #t ",%%ymm" #y "\n\t"
#define STEP                                  \
    "vmovups (%[b]),%%ymm0\n\t"               \
    "vmovups 32(%[b]),%%ymm1\n\t"             \
    "vbroadcastss (%[a]),%%ymm2\n\t"          \
    "vbroadcastss (%[a],%[rs]),%%ymm3\n\t"    \
    FMA2(2, 4, 5) FMA2(3, 6, 7)               \
    "vbroadcastss (%[a],%[rs],2),%%ymm2\n\t"  \
    "vbroadcastss (%[a],%[r3]),%%ymm3\n\t"    \
    FMA2(2, 8, 9) FMA2(3, 10, 11)             \
    "vbroadcastss (%[a],%[rs],4),%%ymm2\n\t"  \
    "vbroadcastss (%[a],%[r5]),%%ymm3\n\t"    \
    "add %[ks],%[a]\n\t"                      \
    "add %[lb],%[b]\n\t"                      \
    FMA2(2, 12, 13) FMA2(3, 14, 15)
#define ADD_C(x, y)                                \
    "vaddps (%[c]),%%ymm" #x ",%%ymm" #x "\n\t"   \
    "vaddps 32(%[c]),%%ymm" #y ",%%ymm" #y "\n\t"
#define PUT_C(x, y)                    \
    "vmovups %%ymm" #x ",(%[c])\n\t"   \
    "vmovups %%ymm" #y ",32(%[c])\n\t" \
    "add %[ld],%[c]\n\t"

static void micro(int64_t kc, const float *a, int64_t rs, int64_t ks, const float *b, int64_t ldb,
                  float *c, int64_t ldc, bool add) {
    const int64_t r1 = 4 * rs, r3 = 12 * rs, r5 = 20 * rs, a_step = 4 * ks, b_step = 4 * ldb;
    const int64_t c_step = 4 * ldc, adds = add;
    for (int i = 0; i < MR; i++) {
        __builtin_prefetch(c + i * ldc);
        __builtin_prefetch(c + i * ldc + NR - 1);
    }
    __asm__ volatile(
        ZERO(4) ZERO(5) ZERO(6) ZERO(7) ZERO(8) ZERO(9)
        ZERO(10) ZERO(11) ZERO(12) ZERO(13) ZERO(14) ZERO(15)
        "test $1,%[n]\n\t"
        "jz 1f\n\t"
        STEP
        "1:\n\t"
        "shr %[n]\n\t"
        "jz 3f\n\t"
        ".p2align 5\n"
        "2:\n\t"
        STEP STEP
        "dec %[n]\n\t"
        "jnz 2b\n"
        "3:\n\t"
        "cmpq $0,%[add]\n\t"
        "je 4f\n\t"
        ADD_C(4, 5) PUT_C(4, 5) ADD_C(6, 7) PUT_C(6, 7) ADD_C(8, 9) PUT_C(8, 9)
        ADD_C(10, 11) PUT_C(10, 11) ADD_C(12, 13) PUT_C(12, 13) ADD_C(14, 15) PUT_C(14, 15)
        "jmp 5f\n"
        "4:\n\t"
        PUT_C(4, 5) PUT_C(6, 7) PUT_C(8, 9) PUT_C(10, 11) PUT_C(12, 13) PUT_C(14, 15)
        "5:\n\t"
        "vzeroupper\n\t"
        : [a] "+r"(a), [b] "+r"(b), [n] "+r"(kc), [c] "+r"(c)
        : [rs] "r"(r1), [r3] "r"(r3), [r5] "r"(r5), [ks] "r"(a_step), [lb] "r"(b_step),
          [ld] "r"(c_step), [add] "m"(adds)
        : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
/* clang-format on */

/* ------------------------------------------------------------------- four-bit codes */

/* A table of 16 floats as four tables of 16 bytes, for byte shuffles in both lanes. */
typedef struct planes {
    __m256i byte[4];
} planes;

static inline planes planes_of(const float table[16]) {
    const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i q[4], l[4];
    planes p;
    for (int i = 0; i < 4; i++)
        q[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(table + 4 * i)), bytes);
    for (int i = 0; i < 2; i++) {
        l[2 * i] = _mm_unpacklo_epi32(q[2 * i], q[2 * i + 1]);
        l[2 * i + 1] = _mm_unpackhi_epi32(q[2 * i], q[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        p.byte[2 * i] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(l[i], l[2 + i]));
        p.byte[2 * i + 1] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(l[i], l[2 + i]));
    }
    return p;
}

/* Values of 32 code bytes x, 4-byte groups ordered 0 2 4 6 | 1 3 5 7: v[j] = values 8j .. 8j+7. */
static inline void planes_lookup(const planes *p, __m256i x, __m256 v[4]) {
    __m256i b0 = _mm256_shuffle_epi8(p->byte[0], x), b1 = _mm256_shuffle_epi8(p->byte[1], x);
    __m256i b2 = _mm256_shuffle_epi8(p->byte[2], x), b3 = _mm256_shuffle_epi8(p->byte[3], x);
    __m256i l0 = _mm256_unpacklo_epi8(b0, b1), h0 = _mm256_unpackhi_epi8(b0, b1);
    __m256i l1 = _mm256_unpacklo_epi8(b2, b3), h1 = _mm256_unpackhi_epi8(b2, b3);
    v[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(l0, l1));
    v[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(l0, l1));
    v[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(h0, h1));
    v[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(h0, h1));
}

/* 16 bytes of codes -> 32 code bytes in the order planes_lookup wants. */
static inline __m256i nibbles32(const uint8_t *codes, bool low_first) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)codes));
    __m256i low = _mm256_and_si256(x, _mm256_set1_epi16(15)), high = _mm256_srli_epi16(x, 4);
    x = low_first ? _mm256_or_si256(low, _mm256_slli_epi16(high, 8))
                  : _mm256_or_si256(high, _mm256_slli_epi16(low, 8));
    return _mm256_permutevar8x32_epi32(x, order);
}

/* ---------------------------------------------------------------- codes of 2 and 3 bits
 * The table is one register, and a permutation reads the low three bits of each index: four entries
 * are repeated, so that what stands above a 2-bit code does not matter. */

static inline __m256 table8(const float *values, int bits) {
    return bits == 3 ? _mm256_loadu_ps(values) : _mm256_broadcast_ps((const __m128 *)values);
}

/* `bits` bytes of codes -> 8 indices: all lanes get the bytes, each shifts its own code down. */
static inline __attribute__((always_inline)) __m256i indices8(const uint8_t *codes, int bits,
                                                              bool low_first) {
    __m256i shift;
    int32_t word;
    if (bits == 3) {
        word = (int32_t)word24(codes, low_first);
        shift = low_first ? _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21)
                          : _mm256_setr_epi32(21, 18, 15, 12, 9, 6, 3, 0);
    } else {
        word = codes[0] | codes[1] << 8;
        shift = low_first ? _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)
                          : _mm256_setr_epi32(6, 4, 2, 0, 14, 12, 10, 8);
    }
    return _mm256_srlv_epi32(_mm256_set1_epi32(word), shift);
}

/* 32 codes of a byte's start -> v[j] = values 8j .. 8j+7. */
static inline __attribute__((always_inline)) void lookup32(const uint8_t *codes, int bits,
                                                           bool low_first, __m256 table,
                                                           __m256 v[4]) {
    for (int j = 0; j < 4; j++)
        v[j] = _mm256_permutevar8x32_ps(table, indices8(codes + bits * j, bits, low_first));
}

/* ------------------------------------------------------------------------------ decode */

static inline __attribute__((always_inline)) void decode_small(const uint8_t *codes, int64_t n,
                                                               int bits, bool low_first,
                                                               const float *values, float *out) {
    const __m256 t = table8(values, bits);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            out + i, _mm256_permutevar8x32_ps(t, indices8(codes + i * bits / 8, bits, low_first)));
    body_decode(codes + i * bits / 8, n - i, bits, low_first, values, out + i);
}

static void decode4(const uint8_t *codes, int64_t n, bool low_first, const float values[16],
                    float *out) {
    const planes p = planes_of(values);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256 v[4];
        planes_lookup(&p, nibbles32(codes + i / 2, low_first), v);
        for (int j = 0; j < 4; j++) _mm256_storeu_ps(out + i + 8 * j, v[j]);
    }
    body_decode(codes + i / 2, n - i, 4, low_first, values, out + i);
}

static void decode(const uint8_t *codes, int64_t n, int32_t bits, bool low_first,
                   const float *values, float *out) {
    switch (bits) {
    case 2: decode_small(codes, n, 2, low_first, values, out); break;
    case 3: decode_small(codes, n, 3, low_first, values, out); break;
    default: decode4(codes, n, low_first, values, out);
    }
}

/* -------------------------------------------------------------------- decode and dot */

/* acc += v * x over 32 values, for every row. */
static inline __attribute__((always_inline)) void accumulate(const __m256 v[4], const float *x,
                                                             int64_t ldx, int rows,
                                                             __m256 acc[4][2]) {
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < rows; r++)
            acc[r][j & 1] =
                _mm256_fmadd_ps(v[j], _mm256_loadu_ps(x + r * ldx + 8 * j), acc[r][j & 1]);
}

/* Up to four rows of x against one row of codes; every row has two sums of its own. Tables of 4 and
 * 8 entries are scaled once per block, byte planes of 16 entries stay and values are scaled. */
static inline __attribute__((always_inline)) void dotq_rows(const ql_cpu_codes *c, int bits,
                                                            const planes *p, const float *x,
                                                            int64_t ldx, int rows, float *sums) {
    const __m256 table = bits < 4 ? table8(c->table, bits) : _mm256_setzero_ps();
    const uint8_t *codes = c->codes;
    __m256 acc[4][2];
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < c->blocks; b++) {
        const __m256 s = _mm256_broadcast_ss(c->scale + b);
        const __m256 z = c->zero ? _mm256_broadcast_ss(c->zero + b) : _mm256_setzero_ps();
        __m256 t = _mm256_mul_ps(table, s);
        if (c->zero) t = _mm256_add_ps(t, z);
        for (int64_t i = 0; i < c->block; i += 32, codes += 4 * bits, x += 32) {
            __m256 v[4];
            _mm_prefetch((const char *)codes + 1024, _MM_HINT_T0);
            if (bits < 4) {
                lookup32(codes, bits, c->low_first, t, v);
            } else {
                planes_lookup(p, nibbles32(codes, c->low_first), v);
                for (int j = 0; j < 4; j++) v[j] = _mm256_mul_ps(v[j], s);
                for (int j = 0; c->zero && j < 4; j++) v[j] = _mm256_add_ps(v[j], z);
            }
            accumulate(v, x, ldx, rows, acc);
        }
    }
    for (int r = 0; r < rows; r++) sums[r] += sum8(_mm256_add_ps(acc[r][0], acc[r][1]));
}

static inline __attribute__((always_inline)) void dotq_bits(const ql_cpu_codes *c, int bits,
                                                            const planes *p, const float *x,
                                                            int64_t ldx, int32_t rows,
                                                            float *sums) {
    for (int32_t r = 0; r < rows; r += 4, x += 4 * ldx) {
        switch (rows - r) {
        case 1: dotq_rows(c, bits, p, x, ldx, 1, sums + r); break;
        case 2: dotq_rows(c, bits, p, x, ldx, 2, sums + r); break;
        case 3: dotq_rows(c, bits, p, x, ldx, 3, sums + r); break;
        default: dotq_rows(c, bits, p, x, ldx, 4, sums + r);
        }
    }
}

static void dotq(const ql_cpu_codes *c, const float *x, int64_t ldx, int32_t rows, float *sums) {
    if (c->bits == 2) {
        dotq_bits(c, 2, NULL, x, ldx, rows, sums);
    } else if (c->bits == 3) {
        dotq_bits(c, 3, NULL, x, ldx, rows, sums);
    } else {
        const planes p = planes_of(c->table);
        dotq_bits(c, 4, &p, x, ldx, rows, sums);
    }
}

/* ------------------------------------------------------------------------ exponential */

/* e^x = 2^n e^r, r = x - n ln 2, Taylor to r^7; below -87.3 (the least normal number) 0. */
static inline __m256 exp8(__m256 x) {
    const __m256 low = _mm256_set1_ps(-87.33654f), high = _mm256_set1_ps(88.37626f);
    const __m256 tiny = _mm256_cmp_ps(x, low, _CMP_LT_OQ);
    x = _mm256_min_ps(high, _mm256_max_ps(low, x)); /* a NaN is the second operand: it stays */
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440054690583e-4f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040.0f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i scale =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_andnot_ps(tiny, _mm256_mul_ps(p, _mm256_castsi256_ps(scale)));
}

static float exp_sum(float *s, int64_t n, float mul, float sub) {
    const __m256 m = _mm256_set1_ps(mul), d = _mm256_set1_ps(sub);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int h = 0; h < 2; h++) {
            __m256 e = exp8(_mm256_fmsub_ps(_mm256_loadu_ps(s + i + 8 * h), m, d));
            _mm256_storeu_ps(s + i + 8 * h, e);
            sum[h] = _mm256_add_ps(sum[h], e);
        }
    for (; i < n; i += 8) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i in = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)(n - i)), lane);
        __m256 e = exp8(_mm256_fmsub_ps(_mm256_maskload_ps(s + i, in), m, d));
        _mm256_maskstore_ps(s + i, in, e);
        sum[0] = _mm256_add_ps(sum[0], _mm256_and_ps(e, _mm256_castsi256_ps(in)));
    }
    return sum8(_mm256_add_ps(sum[0], sum[1]));
}

const ql_cpu_kernels *ql_cpu_kern_avx2(void) {
    static const ql_cpu_kernels kern = {
        .isa = "avx2",
        .mr = MR,
        .nr = NR,
        .micro = micro,
        .interleave = avx2_interleave,
        .widen_bf16 = body_widen_bf16,
        .widen_f16 = body_widen_f16,
        .narrow_bf16 = body_narrow_bf16,
        .narrow_f16 = body_narrow_f16,
        .decode = decode,
        .encode4 = avx2_encode4,
        .absmax = body_absmax,
        .dot = avx2_dot,
        .dotq = dotq,
        .max = body_max,
        .exp_sum = exp_sum,
    };
    return &kern;
}
