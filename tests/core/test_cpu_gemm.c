/*
 * test_cpu_gemm.c - the matrix products and quantization loops of the CPU backend, one kernel table
 * against another and all of them against double precision.
 *
 * Truth is computed here from the formulas of backend.h. Dense results are compared with the sum of
 * the absolute products (the condition of a dot product); codes and decoded values bit for bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "backends/cpu/qdecode.h"
#include "tests/core/cpu_fixture.h"

/* ---------------------------------------------------------------------- dense product */

typedef struct shape {
    int64_t m, n, k;
    bool trans_a, trans_b;
    ql_dtype ta, tb, tc;
    float alpha, beta;
    bool bias;
} shape;

typedef struct product_case {
    matrix a, b, c, bias, before;
    shape s;
} product_case;

static void product_make(product_case *p, shape s) {
    p->s = s;
    matrix_make(&p->a, s.ta, s.trans_a ? s.k : s.m, s.trans_a ? s.m : s.k, 3);
    matrix_make(&p->b, s.tb, s.trans_b ? s.n : s.k, s.trans_b ? s.k : s.n, 5);
    matrix_make(&p->c, s.tc, s.m, s.n, 2);
    matrix_make(&p->bias, QL_F32, 1, s.n, 0);
    fill(&p->a.mat);
    fill(&p->b.mat);
    fill(&p->bias.mat);
    if (s.beta != 0.0f) fill(&p->c.mat); /* with beta 0 the old values are NaN and must not count */
    matrix_make(&p->before, s.tc, s.m, s.n, 2);
    memcpy(p->before.bytes, p->c.bytes, p->c.buf.size);
}
static void product_free(product_case *p) {
    matrix_free(&p->a);
    matrix_free(&p->b);
    matrix_free(&p->c);
    matrix_free(&p->bias);
    matrix_free(&p->before);
}

static void product_run(product_case *p, const ql_cpu_kernels *kern, int threads) {
    cpu_bare b;
    matrix scratch;
    cpu_bare_open(&b, kern, threads);
    ql_gemm_args args = {.a = p->a.mat,
                         .b = p->b.mat,
                         .c = p->c.mat,
                         .trans_a = p->s.trans_a,
                         .trans_b = p->s.trans_b,
                         .alpha = p->s.alpha,
                         .beta = p->s.beta,
                         .batch = 1};
    if (p->s.bias) args.bias = p->bias.mat;
    matrix_make(&scratch, QL_U8, 1, (int64_t)ql_cpu_scratch_gemm(&b.dev, &args), 0);
    args.scratch = scratch.mat;
    memcpy(p->c.bytes, p->before.bytes, p->c.buf.size);
    assert_int_equal(ql_cpu_gemm(&b.queue, &args), QL_OK);
    assert_guards(&p->c);
    assert_guards(&scratch);
    matrix_free(&scratch);
}

/* |error| <= (2 k 2^-24 for the sum + one rounding to the dtype) times the sum of |products|. */
static void product_check(const product_case *p) {
    static const double unit[] = {[QL_F32] = 0x1p-24, [QL_F16] = 0x1p-11, [QL_BF16] = 0x1p-8};
    const shape *s = &p->s;
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < s->k; k++) {
                double x = s->trans_a ? value_at(&p->a.mat, k, i) : value_at(&p->a.mat, i, k);
                double y = s->trans_b ? value_at(&p->b.mat, j, k) : value_at(&p->b.mat, k, j);
                sum += x * y;
                size += fabs(x * y);
            }
            sum *= (double)s->alpha;
            size *= fabs((double)s->alpha);
            if (s->beta != 0.0f) {
                double old = (double)s->beta * value_at(&p->before.mat, i, j);
                sum += old;
                size += fabs(old);
            }
            if (s->bias) {
                sum += value_at(&p->bias.mat, 0, j);
                size += fabs(value_at(&p->bias.mat, 0, j));
            }
            double got = value_at(&p->c.mat, i, j);
            double limit = (double)(s->k + 4) * 0x1p-23 * size + unit[s->tc] * fabs(sum) + 0x1p-24;
            if (!(fabs(got - sum) <= limit))
                fail_msg("m %d n %d k %d (%d, %d): %.9g, want %.9g", (int)s->m, (int)s->n,
                         (int)s->k, (int)i, (int)j, got, sum);
        }
}

static const int64_t sizes[] = {1, 3, 4, 5, 8, 9, 13, 14, 15, 17, 31, 33, 97};

static void every_shape_and_orientation_matches_double(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (unsigned im = 0; im < sizeof sizes / sizeof *sizes; im++)
            for (unsigned in = im % 3; in < sizeof sizes / sizeof *sizes; in += 3)
                for (int trans = 0; trans < 4; trans++) {
                    static const int64_t depths[] = {1, 2, 7, 64, 255, 256, 257, 600};
                    product_case p;
                    shape s = {.m = sizes[im],
                               .n = sizes[in],
                               .k = depths[(im + in + (unsigned)trans) % 8],
                               .trans_a = trans & 1,
                               .trans_b = trans & 2,
                               .alpha = im % 2 ? 1.0f : -0.5f,
                               .beta = (float)(in % 3) * 0.5f,
                               .bias = (im + in) % 2};
                    product_make(&p, s);
                    product_run(&p, kern[t], 1);
                    product_check(&p);
                    product_free(&p);
                }
}

static void every_dtype_combination_matches_double(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int types = 0; types < 27; types++)
            for (int small = 0; small < 2; small++) {
                product_case p;
                shape s = {.m = small ? 3 : 50,
                           .n = 45,
                           .k = 300,
                           .trans_a = !small && types % 2,
                           .trans_b = small || types % 3 == 0,
                           .ta = (ql_dtype)(types % 3),
                           .tb = (ql_dtype)(types / 3 % 3),
                           .tc = (ql_dtype)(types / 9),
                           .alpha = 1.25f,
                           .beta = types % 4 == 0 ? 1.0f : 0.0f,
                           .bias = types % 2};
                product_make(&p, s);
                product_run(&p, kern[t], 2);
                product_check(&p);
                product_free(&p);
            }
}

/* From many threads to few: the team of clang's OpenMP leaks its buffers when it grows. */
static void any_number_of_threads_gives_the_same_bits(void **state) {
    static const shape shapes[] = {{.m = 70, .n = 400, .k = 300, .trans_b = true, .alpha = 1},
                                   {.m = 900, .n = 20, .k = 270, .alpha = 1},
                                   {.m = 5, .n = 333, .k = 700, .trans_b = true, .alpha = 1},
                                   {.m = 33, .n = 65, .k = 64, .trans_a = true, .alpha = 2}};
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            product_case p;
            product_make(&p, shapes[i]);
            product_run(&p, kern[t], 1);
            uint8_t *first = malloc(p.c.buf.size);
            assert_non_null(first);
            memcpy(first, p.c.bytes, p.c.buf.size);
            for (int threads = 5; threads >= 2; threads--) {
                product_run(&p, kern[t], threads);
                assert_memory_equal(first, p.c.bytes, p.c.buf.size);
            }
            free(first);
            product_free(&p);
        }
}

/* Rows of a large batch and the same rows in a smaller one, both on the blocked path. */
static void a_row_does_not_depend_on_the_other_rows(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++) {
        product_case p;
        shape s = {.m = 200, .n = 90, .k = 500, .trans_b = true, .alpha = 1};
        product_make(&p, s);
        product_run(&p, kern[t], 2);
        uint8_t *all = malloc(p.c.buf.size);
        assert_non_null(all);
        memcpy(all, p.c.bytes, p.c.buf.size);
        p.s.m = p.a.mat.rows = p.c.mat.rows = 17;
        cpu_bare b;
        matrix scratch;
        cpu_bare_open(&b, kern[t], 2);
        ql_gemm_args args = {.a = p.a.mat, .b = p.b.mat, .c = p.c.mat, .trans_b = true, .alpha = 1};
        matrix_make(&scratch, QL_U8, 1, (int64_t)ql_cpu_scratch_gemm(&b.dev, &args), 0);
        args.scratch = scratch.mat;
        assert_int_equal(ql_cpu_gemm(&b.queue, &args), QL_OK);
        for (int64_t i = 0; i < 17; i++)
            assert_memory_equal(all + CPU_GUARD + (uint64_t)(i * p.c.mat.ld) * 4,
                                ql_cpu_at(&p.c.mat, i, 0), 90 * 4);
        free(all);
        matrix_free(&scratch);
        product_free(&p);
    }
}

static void a_batch_is_the_products_one_by_one(void **state) {
    enum { BATCH = 3, M = 20, N = 37, K = 29 };
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++) {
        matrix a, b, c, one, scratch;
        cpu_bare d;
        cpu_bare_open(&d, kern[t], 2);
        matrix_make(&a, QL_BF16, BATCH * M, K, 0);
        matrix_make(&b, QL_F32, BATCH * K, N, 1);
        matrix_make(&c, QL_F32, BATCH * M, N, 0);
        matrix_make(&one, QL_F32, M, N, 0);
        fill(&a.mat);
        fill(&b.mat);
        ql_gemm_args args = {.a = a.mat,
                             .b = b.mat,
                             .c = c.mat,
                             .alpha = 1,
                             .batch = BATCH,
                             .stride_a = M * K,
                             .stride_b = K * (N + 1),
                             .stride_c = M * N};
        args.a.rows = args.c.rows = M;
        args.b.rows = K;
        matrix_make(&scratch, QL_U8, 1, (int64_t)ql_cpu_scratch_gemm(&d.dev, &args), 0);
        args.scratch = scratch.mat;
        assert_int_equal(ql_cpu_gemm(&d.queue, &args), QL_OK);
        for (int64_t i = 0; i < BATCH; i++) {
            ql_gemm_args single = args;
            single.batch = 1;
            single.c = one.mat;
            single.a.off += (uint64_t)(i * M * K) * 2;
            single.b.off += (uint64_t)(i * K * (N + 1)) * 4;
            assert_int_equal(ql_cpu_gemm(&d.queue, &single), QL_OK);
            assert_memory_equal(ql_cpu_at(&one.mat, 0, 0), ql_cpu_at(&c.mat, i * M, 0), M * N * 4);
        }
        matrix_free(&a);
        matrix_free(&b);
        matrix_free(&c);
        matrix_free(&one);
        matrix_free(&scratch);
    }
}

static void a_nan_or_infinity_reaches_exactly_its_row(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int m = 4; m <= 40; m += 36)
            for (int inf = 0; inf < 2; inf++) {
                product_case p;
                shape s = {.m = m, .n = 50, .k = 300, .trans_b = true, .alpha = 1};
                product_make(&p, s);
                *(float *)ql_cpu_at(&p.a.mat, 2, 291) = inf ? INFINITY : NAN;
                product_run(&p, kern[t], 2);
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < 50; j++)
                        assert_int_equal(isfinite(value_at(&p.c.mat, i, j)) != 0, i != 2);
                product_free(&p);
            }
}

/* ------------------------------------------------------------------ quantized weights */

typedef struct weight_case {
    const char *name;
    int bits, block; /* block 0: per row */
    ql_pack pack;
    ql_dtype scale;
    bool zero, doubled, post;
    ql_ggml ggml;
    int ggml_bytes;
} weight_case;

static const weight_case weights[] = {
    {"4 bit", 4, 64, QL_PACK_HIGH_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"4 bit doubled", 4, 64, QL_PACK_HIGH_FIRST, QL_U8, false, true, false, QL_GGML_NONE, 0},
    {"4 bit straddling", 4, 32, QL_PACK_HIGH_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"4 bit low first, zero", 4, 128, QL_PACK_LOW_FIRST, QL_F16, true, false, false, QL_GGML_NONE,
     0},
    {"4 bit low first", 4, 32, QL_PACK_LOW_FIRST, QL_U8, false, true, false, QL_GGML_NONE, 0},
    {"4 bit block 96", 4, 96, QL_PACK_HIGH_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"2 bit", 2, 64, QL_PACK_LOW_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"2 bit high first", 2, 64, QL_PACK_HIGH_FIRST, QL_U8, true, true, false, QL_GGML_NONE, 0},
    {"3 bit", 3, 64, QL_PACK_HIGH_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"3 bit low first", 3, 32, QL_PACK_LOW_FIRST, QL_F16, true, false, true, QL_GGML_NONE, 0},
    {"8 bit", 8, 256, QL_PACK_HIGH_FIRST, QL_F32, false, false, false, QL_GGML_NONE, 0},
    {"8 bit per row", 8, 0, QL_PACK_HIGH_FIRST, QL_F32, false, false, true, QL_GGML_NONE, 0},
    {"q4_0", 4, 32, QL_PACK_GGML, QL_F32, false, false, false, QL_GGML_Q4_0, 18},
    {"q4_1", 4, 32, QL_PACK_GGML, QL_F32, false, false, false, QL_GGML_Q4_1, 20},
    {"q5_0", 5, 32, QL_PACK_GGML, QL_F32, false, false, false, QL_GGML_Q5_0, 22},
    {"q5_1", 5, 32, QL_PACK_GGML, QL_F32, false, false, false, QL_GGML_Q5_1, 24},
    {"q8_0", 8, 32, QL_PACK_GGML, QL_F32, false, false, false, QL_GGML_Q8_0, 34},
};
enum { N_WEIGHTS = sizeof weights / sizeof *weights };

typedef struct weight {
    const weight_case *kind;
    ql_qmat q;
    matrix codes, table, scale, zero, scale2, code2, offset;
} weight;

static void weight_make(weight *w, const weight_case *kind, int64_t n, int64_t k) {
    int64_t blocks = kind->block ? (n * k + kind->block - 1) / kind->block : n;
    bool ggml = kind->pack == QL_PACK_GGML;
    memset(w, 0, sizeof *w);
    w->kind = kind;
    w->q = (ql_qmat){.n = n,
                     .k = k,
                     .bits = kind->bits,
                     .block = kind->block,
                     .block2 = 16,
                     .pack = kind->pack,
                     .ggml = kind->ggml,
                     .post = kind->post ? 1 / 127.0f : 0};
    if (ggml)
        matrix_make(&w->codes, QL_U8, n, k / 32 * kind->ggml_bytes, 7);
    else
        matrix_make(&w->codes, QL_U8, 1, (n * k * kind->bits + 7) / 8, 0);
    for (int64_t i = 0; i < w->codes.mat.rows; i++)
        for (int64_t j = 0; j < w->codes.mat.cols; j++)
            *(uint8_t *)ql_cpu_at(&w->codes.mat, i, j) = (uint8_t)cpu_random_bits();
    w->q.codes = w->codes.mat;
    if (ggml) { /* random bytes would make NaN scales */
        for (int64_t i = 0; i < n; i++)
            for (int64_t b = 0; b < k / 32; b++)
                for (int half = 0; half < 2; half++) {
                    uint16_t h = ql_f16_from_f32(cpu_random_float());
                    bool has_min = kind->ggml == QL_GGML_Q4_1 || kind->ggml == QL_GGML_Q5_1;
                    if (half == 0 || has_min)
                        memcpy(ql_cpu_at(&w->codes.mat, i, b * kind->ggml_bytes + 2 * half), &h, 2);
                }
        return;
    }
    matrix_make(&w->table, QL_F32, 1, 1 << kind->bits, 0);
    fill(&w->table.mat);
    w->q.table = w->table.mat;
    matrix_make(&w->scale, kind->scale, 1, blocks, 0);
    if (kind->doubled) {
        for (int64_t b = 0; b < blocks; b++)
            *(uint8_t *)ql_cpu_at(&w->scale.mat, 0, b) = (uint8_t)cpu_random_bits();
        matrix_make(&w->scale2, QL_F32, 1, (blocks + 15) / 16, 0);
        matrix_make(&w->code2, QL_F32, 1, 256, 0);
        matrix_make(&w->offset, QL_F32, 1, 1, 0);
        fill(&w->scale2.mat);
        fill(&w->code2.mat);
        fill(&w->offset.mat);
        w->q.scale2 = w->scale2.mat;
        w->q.code2 = w->code2.mat;
        w->q.offset = w->offset.mat;
    } else {
        fill(&w->scale.mat);
    }
    w->q.scale = w->scale.mat;
    if (!kind->zero) return;
    matrix_make(&w->zero, QL_F32, 1, blocks, 0);
    fill(&w->zero.mat);
    w->q.zero = w->zero.mat;
}
static void weight_free(weight *w) {
    matrix *all[] = {&w->codes, &w->table, &w->scale, &w->zero, &w->scale2, &w->code2, &w->offset};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) matrix_free(all[i]);
}

static float half_at(const uint8_t *p) {
    return ql_f32_from_f16((uint16_t)(p[0] | p[1] << 8));
}

static float ggml_value(const weight *w, int64_t row, int64_t col) {
    const uint8_t *p = ql_cpu_at(&w->codes.mat, row, col / 32 * w->kind->ggml_bytes);
    int i = (int)(col % 32), nibble = i < 16 ? 0 : 4;
    switch (w->kind->ggml) {
    case QL_GGML_Q4_0: return half_at(p) * (float)((p[2 + i % 16] >> nibble & 15) - 8);
    case QL_GGML_Q4_1: {
        volatile float product = half_at(p) * (float)(p[4 + i % 16] >> nibble & 15);
        return product + half_at(p + 2);
    }
    case QL_GGML_Q5_0: {
        int high = p[2 + i / 8] >> i % 8 & 1;
        return half_at(p) * (float)(((p[6 + i % 16] >> nibble & 15) | high << 4) - 16);
    }
    case QL_GGML_Q5_1: {
        int high = p[4 + i / 8] >> i % 8 & 1;
        volatile float product = half_at(p) * (float)((p[8 + i % 16] >> nibble & 15) | high << 4);
        return product + half_at(p + 2);
    }
    default: return half_at(p) * (float)(int8_t)p[2 + i];
    }
}

/* W(row, col) bit by bit from the contract. */
static float weight_value(const weight *w, int64_t row, int64_t col) {
    if (w->kind->pack == QL_PACK_GGML) return ggml_value(w, row, col);
    const uint8_t *bytes = ql_cpu_at(&w->codes.mat, 0, 0);
    int64_t e = row * w->q.k + col, b = w->kind->block ? e / w->kind->block : row;
    int code = 0;
    for (int i = 0; i < w->kind->bits; i++) {
        int64_t bit = e * w->kind->bits + i;
        if (w->kind->pack == QL_PACK_HIGH_FIRST)
            code = code << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1);
        else
            code |= (bytes[bit / 8] >> (bit % 8) & 1) << i;
    }
    volatile float scale = (float)0, product;
    if (w->kind->doubled) {
        const uint8_t *q = ql_cpu_at(&w->scale.mat, 0, 0);
        product = ql_cpu_f32(&w->code2.mat, 0)[q[b]] * ql_cpu_f32(&w->scale2.mat, 0)[b / 16];
        scale = product + ql_cpu_f32(&w->offset.mat, 0)[0];
    } else {
        scale = (float)value_at(&w->scale.mat, 0, b);
    }
    product = ql_cpu_f32(&w->table.mat, 0)[code] * scale;
    if (w->kind->zero) product = product + (float)value_at(&w->zero.mat, 0, b);
    if (w->kind->post) product = product * w->q.post;
    return product;
}

static void decoding_is_exact_for_every_type_and_table(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int i = 0; i < N_WEIGHTS; i++) {
        weight w;
        int64_t n = 7, k = weights[i].pack == QL_PACK_GGML ? 96 : 101;
        weight_make(&w, &weights[i], n, k);
        for (int t = 0; t < n_tables; t++)
            for (int64_t row = 0; row < n; row++)
                for (int64_t col = 0; col < k; col += 1 + (col + row) % 9)
                    for (int64_t run = 1; col + run <= k; run += 1 + run / 2) {
                        float got[128];
                        got[run] = 77.0f;
                        ql_cpu_qdecode(kern[t], &w.q, row, col, run, got);
                        assert_true(got[run] == 77.0f);
                        for (int64_t j = 0; j < run; j++) {
                            float want = weight_value(&w, row, col + j);
                            if (memcmp(&want, &got[j], 4) != 0)
                                fail_msg("%s, %s: (%d, %d) is %.9g, want %.9g", weights[i].name,
                                         kern[t]->isa, (int)row, (int)(col + j), (double)got[j],
                                         (double)want);
                        }
                    }
        weight_free(&w);
    }
}

/* Rows [3, 7) as a weight of their own, beginning inside a block and inside a byte. */
static void a_slice_of_rows_decodes_like_the_whole(void **state) {
    (void)state;
    for (int i = 0; i < N_WEIGHTS; i++) {
        const weight_case *kind = &weights[i];
        weight w;
        if (kind->pack == QL_PACK_GGML) continue;
        weight_make(&w, kind, 7, 101);
        ql_qmat slice = w.q;
        int64_t first = 3 * 101, block = kind->block ? first / kind->block : 3;
        slice.row0 = 3;
        slice.n = 4;
        slice.codes.off += (uint64_t)(first * kind->bits / 8);
        slice.scale.off += (uint64_t)block * ql_cpu_dtype_size(kind->scale);
        slice.zero.off += (uint64_t)block * 4;
        slice.scale2.off += (uint64_t)(block / 16) * 4;
        for (int64_t row = 0; row < 4; row++) {
            float got[101];
            ql_cpu_q_decode(&slice, row, 0, 101, got);
            for (int64_t col = 0; col < 101; col++) {
                float want = weight_value(&w, 3 + row, col);
                assert_memory_equal(&want, &got[col], 4);
            }
        }
        weight_free(&w);
    }
}

/* Both orientations of gemm_q, few rows and many, against doubles of the exact weights. */
static void products_with_every_type_match_double(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int i = 0; i < N_WEIGHTS; i++)
        for (int t = 0; t < n_tables; t++)
            for (int variant = 0; variant < 6; variant++) {
                const int64_t n = 45, k = 288, m = (const int64_t[]){1, 8, 37}[variant % 3];
                const bool trans = variant >= 3;
                const int64_t depth = trans ? n : k, width = trans ? k : n;
                weight w;
                matrix x, y, scratch;
                cpu_bare b;
                cpu_bare_open(&b, kern[t], 2);
                weight_make(&w, &weights[i], n, k);
                matrix_make(&x, variant % 2 ? QL_BF16 : QL_F32, m, depth, 1);
                matrix_make(&y, QL_F32, m, width, 1);
                fill(&x.mat);
                ql_gemm_q_args args = {
                    .x = x.mat, .y = y.mat, .w = w.q, .trans_w = trans, .alpha = 1};
                matrix_make(&scratch, QL_U8, 1, (int64_t)ql_cpu_scratch_gemm_q(&b.dev, &args), 0);
                args.scratch = scratch.mat;
                assert_int_equal(ql_cpu_gemm_q(&b.queue, &args), QL_OK);
                assert_guards(&y);
                assert_guards(&scratch);
                for (int64_t r = 0; r < m; r++)
                    for (int64_t c = 0; c < width; c++) {
                        double sum = 0, size = 0;
                        for (int64_t d = 0; d < depth; d++) {
                            double v =
                                (double)(trans ? weight_value(&w, d, c) : weight_value(&w, c, d));
                            sum += value_at(&x.mat, r, d) * v;
                            size += fabs(value_at(&x.mat, r, d) * v);
                        }
                        double error = fabs(value_at(&y.mat, r, c) - sum);
                        if (!(error <= (double)(depth + 4) * 0x1p-23 * size))
                            fail_msg("%s %s trans %d m %d: (%d, %d) off by %g", weights[i].name,
                                     kern[t]->isa, trans, (int)m, (int)r, (int)c, error);
                    }
                matrix_free(&x);
                matrix_free(&y);
                matrix_free(&scratch);
                weight_free(&w);
            }
}

static void dequantized_rows_are_the_weights_rounded_once(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int i = 0; i < N_WEIGHTS; i++)
        for (int t = 0; t < n_tables; t++)
            for (int dtype = QL_F32; dtype <= QL_BF16; dtype++) {
                weight w;
                matrix out;
                cpu_bare b;
                cpu_bare_open(&b, kern[t], 2);
                weight_make(&w, &weights[i], 9, 96);
                matrix_make(&out, (ql_dtype)dtype, 4, 96, 3);
                ql_q_dequantize_args args = {.q = w.q, .w = out.mat, .row0 = 2};
                assert_int_equal(ql_cpu_q_dequantize(&b.queue, &args), QL_OK);
                assert_guards(&out);
                for (int64_t r = 0; r < 4; r++)
                    for (int64_t c = 0; c < 96; c++) {
                        float want = weight_value(&w, 2 + r, c);
                        uint8_t stored[4];
                        ql_cpu_narrow((ql_dtype)dtype, stored, &want, 1);
                        assert_memory_equal(stored, ql_cpu_at(&out.mat, r, c),
                                            ql_cpu_dtype_size((ql_dtype)dtype));
                    }
                matrix_free(&out);
                weight_free(&w);
            }
}

/* --------------------------------------------------------------- loops of the tables */

/* Every cut and its neighbours, zeros, denormals, infinities and NaN; lengths with a tail. */
static void encoding_gives_the_same_codes_in_every_table(void **state) {
    enum { N = 4096 };
    static float x[N];
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int i = 0; i < N; i++) {
        float cut = ql_nf4_mid_cpu[i % 15];
        uint32_t any = cpu_random_bits();
        switch (i % 8) {
        case 0: x[i] = cut; break;
        case 1: x[i] = nextafterf(cut, 2.0f); break;
        case 2: x[i] = nextafterf(cut, -2.0f); break;
        case 3: memcpy(&x[i], &any, 4); break;
        default: x[i] = cpu_random_float();
        }
    }
    for (int nan_low = 0; nan_low < 2; nan_low++) {
        ql_cpu_cuts cuts = {.nan_low = nan_low};
        memcpy(cuts.cut, ql_nf4_mid_cpu, sizeof cuts.cut);
        for (int i = 0; i < 16; i++) cuts.code[i] = (uint8_t)(i * 7 % 16);
        for (int64_t n = 2; n <= N; n = n * 3 / 2 / 2 * 2 + 2)
            for (int t = 0; t < n_tables; t++) {
                uint8_t got[N / 2 + 1];
                got[n / 2] = 0xA5;
                kern[t]->encode4(x, n, 1.0f, &cuts, got);
                assert_int_equal(got[n / 2], 0xA5);
                for (int64_t i = 0; i < n; i++) {
                    int place = 0;
                    for (int c = 0; c < 15; c++)
                        place += nan_low ? x[i] > cuts.cut[c] : !(x[i] <= cuts.cut[c]);
                    assert_int_equal(got[i / 2] >> (i % 2 ? 0 : 4) & 15, cuts.code[place]);
                }
            }
    }
}

static void exponentials_are_accurate_and_keep_nan(void **state) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int64_t n = 1; n < 70; n++) {
            float s[72], x[72];
            double sum = 0;
            for (int64_t i = 0; i < n; i++) s[i] = x[i] = cpu_random_float() * 60.0f;
            s[n] = 5.0f;
            float got = kern[t]->exp_sum(s, n, 0.5f, 30.0f);
            assert_true(s[n] == 5.0f);
            for (int64_t i = 0; i < n; i++) {
                double want = exp((double)x[i] * 0.5 - 30.0);
                assert_true(fabs((double)s[i] - want) <=
                            want * 8e-6); /* argument up to 60: 2^-18 */
                sum += (double)s[i];
            }
            assert_true(fabs((double)got - sum) <= sum * 1e-6);
        }
    for (int t = 0; t < n_tables; t++) {
        float s[3] = {NAN, -INFINITY, 0.0f};
        float sum = kern[t]->exp_sum(s, 3, 1.0f, 0.0f);
        assert_true(isnan(sum) && isnan(s[0]));
        assert_true(s[1] == 0.0f && s[2] == 1.0f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(every_shape_and_orientation_matches_double),
        cmocka_unit_test(every_dtype_combination_matches_double),
        cmocka_unit_test(a_row_does_not_depend_on_the_other_rows),
        cmocka_unit_test(a_batch_is_the_products_one_by_one),
        cmocka_unit_test(a_nan_or_infinity_reaches_exactly_its_row),
        cmocka_unit_test(decoding_is_exact_for_every_type_and_table),
        cmocka_unit_test(a_slice_of_rows_decodes_like_the_whole),
        cmocka_unit_test(products_with_every_type_match_double),
        cmocka_unit_test(dequantized_rows_are_the_weights_rounded_once),
        cmocka_unit_test(encoding_gives_the_same_codes_in_every_table),
        cmocka_unit_test(exponentials_are_accurate_and_keep_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
