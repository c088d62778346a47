/*
 * kern_avx512.c - the kernel table for AVX-512 (F, BW, DQ, VL). Only static functions and the
 * table's getter. What is not faster in 512 bits is taken from AVX2.
 */
#include "backends/cpu/isa/avx2_body.inc"

enum { MR = 14, NR = 32 };

/* ------------------------------------------------------------------ 14 x 32 product
 * zmm4..31 hold the tile, zmm0/1 one row of b, zmm2/3 elements of a; a points at row 0, d at
 * row 7, so that seven rows are reached through scaled indices. */
/* clang-format off */
#define FMA2(t, x, y)                                \
    "vfmadd231ps %%zmm0,%%zmm" #t ",%%zmm" #x "\n\t" \
    "vfmadd231ps %%zmm1,%%zmm" #t ",%%zmm" #y "\n\t"
#define ROW(at, t, x, y) "vbroadcastss " at ",%%zmm" #t "\n\t" FMA2(t, x, y)
#define STEP                                                                        \
    "vmovups (%[b]),%%zmm0\n\t"                                                     \
    "vmovups 64(%[b]),%%zmm1\n\t"                                                   \
    ROW("(%[a])", 2, 4, 5) ROW("(%[a],%[rs])", 3, 6, 7)                             \
    ROW("(%[a],%[rs],2)", 2, 8, 9) ROW("(%[a],%[r3])", 3, 10, 11)                   \
    ROW("(%[a],%[rs],4)", 2, 12, 13) ROW("(%[a],%[r5])", 3, 14, 15)                 \
    ROW("(%[a],%[r3],2)", 2, 16, 17) ROW("(%[d])", 3, 18, 19)                       \
    ROW("(%[d],%[rs])", 2, 20, 21) ROW("(%[d],%[rs],2)", 3, 22, 23)                 \
    ROW("(%[d],%[r3])", 2, 24, 25) ROW("(%[d],%[rs],4)", 3, 26, 27)                 \
    ROW("(%[d],%[r5])", 2, 28, 29) ROW("(%[d],%[r3],2)", 3, 30, 31)                 \
    "add %[ks],%[a]\n\t"                                                            \
    "add %[ks],%[d]\n\t"                                                            \
    "add %[lb],%[b]\n\t"
/* One row of c, reached through b once the sums are done. */
#define ADD_C(x, y)                             \
    "vaddps (%[b]),%%zmm" #x ",%%zmm" #x "\n\t"   \
    "vaddps 64(%[b]),%%zmm" #y ",%%zmm" #y "\n\t" \
    "add %[ld],%[b]\n\t"
#define PUT_C(x, y)                    \
    "vmovups %%zmm" #x ",(%[c])\n\t"   \
    "vmovups %%zmm" #y ",64(%[c])\n\t" \
    "add %[ld],%[c]\n\t"

static void micro(int64_t kc, const float *a, int64_t rs, int64_t ks, const float *b, int64_t ldb,
                  float *c, int64_t ldc, bool add) {
    const float *d = a + 7 * rs;
    const int64_t r1 = 4 * rs, r3 = 12 * rs, r5 = 20 * rs, a_step = 4 * ks, b_step = 4 * ldb;
    const int64_t c_step = 4 * ldc, adds = add;
    for (int i = 0; i < MR; i++) {
        __builtin_prefetch(c + i * ldc);
        __builtin_prefetch(c + i * ldc + NR - 1);
    }
    __asm__ volatile(
        ".irp r,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
        "vpxord %%zmm\\r,%%zmm\\r,%%zmm\\r\n\t"
        ".endr\n\t"
        ".p2align 5\n"
        "2:\n\t"
        STEP
        "dec %[n]\n\t"
        "jnz 2b\n\t"
        "cmpq $0,%[add]\n\t"
        "je 4f\n\t"
        "mov %[c],%[b]\n\t"
        ADD_C(4, 5) ADD_C(6, 7) ADD_C(8, 9) ADD_C(10, 11) ADD_C(12, 13) ADD_C(14, 15) ADD_C(16, 17)
        ADD_C(18, 19) ADD_C(20, 21) ADD_C(22, 23) ADD_C(24, 25) ADD_C(26, 27) ADD_C(28, 29)
        ADD_C(30, 31)
        "4:\n\t"
        PUT_C(4, 5) PUT_C(6, 7) PUT_C(8, 9) PUT_C(10, 11) PUT_C(12, 13) PUT_C(14, 15) PUT_C(16, 17)
        PUT_C(18, 19) PUT_C(20, 21) PUT_C(22, 23) PUT_C(24, 25) PUT_C(26, 27) PUT_C(28, 29)
        PUT_C(30, 31)
        "vzeroupper\n\t"
        : [a] "+r"(a), [d] "+r"(d), [b] "+r"(b), [n] "+r"(kc), [c] "+r"(c)
        : [rs] "r"(r1), [r3] "r"(r3), [r5] "r"(r5), [ks] "r"(a_step), [lb] "r"(b_step),
          [ld] "r"(c_step), [add] "m"(adds)
        : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18",
          "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
          "xmm28", "xmm29", "xmm30", "xmm31");
}
/* clang-format on */

/* ---------------------------------------------------------------- codes of 2 to 4 bits
 * The table is one register, and a permutation reads the low four bits of each index: a table of 4
 * or 8 entries is repeated, so that what stands above a code's bits does not matter. */

static inline __m512 table_of(const float *values, int bits) {
    if (bits == 4) return _mm512_loadu_ps(values);
    if (bits == 3) return _mm512_broadcast_f32x8(_mm256_loadu_ps(values));
    return _mm512_broadcast_f32x4(_mm_loadu_ps(values));
}

/* 2 * bits bytes of codes -> 16 indices. 4 bits: by nibbles of eight bytes. 2 bits: all lanes get
 * the four bytes, each shifts its own code down. 3 bits: lanes 0-7 get the first three bytes. */
static inline __attribute__((always_inline)) __m512i indices16(const uint8_t *codes, int bits,
                                                               bool low_first) {
    if (bits == 4) {
        __m512i x = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)codes));
        return low_first ? _mm512_or_si512(x, _mm512_slli_epi64(x, 28))
                         : _mm512_or_si512(_mm512_srli_epi64(x, 4), _mm512_slli_epi64(x, 32));
    }
    if (bits == 2) {
        const __m512i low =
            _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i high =
            _mm512_setr_epi32(6, 4, 2, 0, 14, 12, 10, 8, 22, 20, 18, 16, 30, 28, 26, 24);
        int32_t word;
        memcpy(&word, codes, sizeof word);
        return _mm512_srlv_epi32(_mm512_set1_epi32(word), low_first ? low : high);
    }
    const __m512i low = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 0, 3, 6, 9, 12, 15, 18, 21);
    const __m512i high = _mm512_setr_epi32(21, 18, 15, 12, 9, 6, 3, 0, 21, 18, 15, 12, 9, 6, 3, 0);
    const __m512i first = _mm512_set1_epi32((int32_t)word24(codes, low_first));
    const __m512i x = _mm512_mask_set1_epi32(first, 0xFF00, (int32_t)word24(codes + 3, low_first));
    return _mm512_srlv_epi32(x, low_first ? low : high);
}

static inline __attribute__((always_inline)) void decode_bits(const uint8_t *codes, int64_t n,
                                                              int bits, bool low_first,
                                                              const float *values, float *out) {
    const __m512 t = table_of(values, bits);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(
            out + i, _mm512_permutexvar_ps(indices16(codes + i * bits / 8, bits, low_first), t));
    body_decode(codes + i * bits / 8, n - i, bits, low_first, values, out + i);
}

static void decode(const uint8_t *codes, int64_t n, int32_t bits, bool low_first,
                   const float *values, float *out) {
    switch (bits) {
    case 2: decode_bits(codes, n, 2, low_first, values, out); break;
    case 3: decode_bits(codes, n, 3, low_first, values, out); break;
    default: decode_bits(codes, n, 4, low_first, values, out);
    }
}

/* Up to four rows of x against one row of codes; every row has two sums of its own. */
static inline __attribute__((always_inline)) void dotq_rows(const ql_cpu_codes *c, int bits,
                                                            const float *x, int64_t ldx, int rows,
                                                            float *sums) {
    const __m512 table = table_of(c->table, bits);
    const uint8_t *codes = c->codes;
    __m512 acc[4][2];
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (int64_t b = 0; b < c->blocks; b++) {
        __m512 t = _mm512_mul_ps(table, _mm512_set1_ps(c->scale[b]));
        if (c->zero) t = _mm512_add_ps(t, _mm512_set1_ps(c->zero[b]));
        for (int64_t i = 0; i < c->block; i += 32, codes += 4 * bits, x += 32) {
            _mm_prefetch((const char *)codes + 1024, _MM_HINT_T0);
            for (int h = 0; h < 2; h++) {
                __m512 v =
                    _mm512_permutexvar_ps(indices16(codes + 2 * bits * h, bits, c->low_first), t);
                for (int r = 0; r < rows; r++)
                    acc[r][h] =
                        _mm512_fmadd_ps(v, _mm512_loadu_ps(x + r * ldx + 16 * h), acc[r][h]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        sums[r] += _mm512_reduce_add_ps(_mm512_add_ps(acc[r][0], acc[r][1]));
}

static inline __attribute__((always_inline)) void dotq_bits(const ql_cpu_codes *c, int bits,
                                                            const float *x, int64_t ldx,
                                                            int32_t rows, float *sums) {
    for (int32_t r = 0; r < rows; r += 4, x += 4 * ldx) {
        switch (rows - r) {
        case 1: dotq_rows(c, bits, x, ldx, 1, sums + r); break;
        case 2: dotq_rows(c, bits, x, ldx, 2, sums + r); break;
        case 3: dotq_rows(c, bits, x, ldx, 3, sums + r); break;
        default: dotq_rows(c, bits, x, ldx, 4, sums + r);
        }
    }
}

static void dotq(const ql_cpu_codes *c, const float *x, int64_t ldx, int32_t rows, float *sums) {
    switch (c->bits) {
    case 2: dotq_bits(c, 2, x, ldx, rows, sums); break;
    case 3: dotq_bits(c, 3, x, ldx, rows, sums); break;
    default: dotq_bits(c, 4, x, ldx, rows, sums);
    }
}

/* ------------------------------------------------------------------------ exponential */

/* e^x = 2^n e^r, r = x - n ln 2, Taylor to r^7; 2^n by the instruction that knows the limits. */
static inline __m512 exp16(__m512 x) {
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440054690583e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040.0f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

/* Arguments are brought to [-110, 110] first (a NaN is the second operand: it stays). */
static float exp_sum(float *s, int64_t n, float mul, float sub) {
    const __m512 m = _mm512_set1_ps(mul), d = _mm512_set1_ps(sub);
    const __m512 low = _mm512_set1_ps(-110.0f), high = _mm512_set1_ps(110.0f);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 in = (__mmask16)(n - i >= 16 ? 0xFFFF : (1 << (n - i)) - 1);
        __m512 x = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(in, s + i), m, d);
        __m512 e = exp16(_mm512_min_ps(high, _mm512_max_ps(low, x)));
        _mm512_mask_storeu_ps(s + i, in, e);
        sum = _mm512_mask_add_ps(sum, in, sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

const ql_cpu_kernels *ql_cpu_kern_avx512(void) {
    static const ql_cpu_kernels kern = {
        .isa = "avx512",
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
