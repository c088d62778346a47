/*
 * test_cpu_quant.c - the CPU backend's quantizer against bitsandbytes' codes in tests/data/quant,
 * with every kernel table, whole and in chunks, and rules of types that have no fixture.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/core/cpu_fixture.h"
#include "tests/core/quant_fixture.h"

static const struct {
    const char *name;
    const float *table;
} four_bit[] = {{"nf4", ql_nf4_table}, {"fp4", ql_fp4_table}};

typedef struct result {
    uint8_t *codes;
    float *scale, *zero;
    int64_t bytes, blocks;
} result;

static void result_free(result *r) {
    free(r->codes);
    free(r->scale);
    free(r->zero);
}

typedef struct request {
    const uint8_t *data;     /* elements of `dtype`, perhaps unaligned */
    int64_t n, block, chunk; /* chunk: elements per call, 0 = all */
    ql_dtype dtype;
    const float *table;
    int bits;
    ql_encode encode;
    ql_quant_rule rule;
} request;

static result quantize(const request *q, const ql_cpu_kernels *kern) {
    cpu_bare b;
    const uint64_t size = ql_cpu_dtype_size(q->dtype);
    result r = {.bytes = (q->n * q->bits + 7) / 8, .blocks = ql_cpu_ceil_div(q->n, q->block)};
    uint8_t *input = malloc((size_t)q->n * size); /* aligned copy */
    r.codes = malloc((size_t)r.bytes);
    r.scale = calloc((size_t)r.blocks, sizeof *r.scale);
    r.zero = calloc((size_t)r.blocks, sizeof *r.zero);
    assert_true(input && r.codes && r.scale && r.zero);
    memcpy(input, q->data, (size_t)q->n * size);
    memset(r.codes, 0xEE, (size_t)r.bytes);
    cpu_bare_open(&b, kern, 2);
    ql_buffer w = {.host = input}, codes = {.host = r.codes}, scale = {.host = r.scale};
    ql_buffer table, zero = {.host = r.zero};
    memset(&table, 0, sizeof table);
    memcpy(&table.host, &q->table, sizeof table.host); /* only read */
    const int64_t chunk = q->chunk ? q->chunk : q->n;
    for (int64_t first = 0; first < q->n; first += chunk) {
        int64_t n = ql_cpu_min(chunk, q->n - first), blocks = ql_cpu_ceil_div(n, q->block);
        ql_q_quantize_args a = {
            .w = {.buf = &w,
                  .off = (uint64_t)first * size,
                  .rows = 1,
                  .cols = n,
                  .ld = n,
                  .dtype = q->dtype},
            .q = {.codes = {.buf = &codes,
                            .off = (uint64_t)(first * q->bits / 8),
                            .rows = 1,
                            .cols = (n * q->bits + 7) / 8,
                            .ld = n,
                            .dtype = QL_U8},
                  .table = {.buf = q->table ? &table : NULL, .rows = 1, .cols = 1 << q->bits},
                  .scale = {.buf = &scale,
                            .off = (uint64_t)(first / q->block) * 4,
                            .rows = 1,
                            .cols = blocks,
                            .ld = blocks},
                  .zero = {.buf = &zero,
                           .off = (uint64_t)(first / q->block) * 4,
                           .rows = 1,
                           .cols = blocks,
                           .ld = blocks},
                  .n = 1,
                  .k = n,
                  .bits = q->bits,
                  .block = (int32_t)q->block},
            .encode = q->encode,
            .rule = q->rule,
            .first = first,
            .total = q->n};
        if (q->encode != QL_ENCODE_AFFINE) a.q.zero.buf = NULL;
        assert_int_equal(ql_cpu_q_quantize(&b.queue, &a), QL_OK);
    }
    free(input);
    return r;
}

static ql_dtype dtype_of(const ql_st_tensor *t) {
    return t->dtype == QL_ST_F16 ? QL_F16 : t->dtype == QL_ST_BF16 ? QL_BF16 : QL_F32;
}

/* Codes and scales of the fixture, from every table, in one call and in chunks of three blocks. */
static void check(request q, const ql_st_tensor *codes, const ql_st_tensor *absmax) {
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    for (int t = 0; t < n_tables; t++)
        for (int chunks = 0; chunks < 2; chunks++) {
            q.chunk = chunks ? 3 * q.block : 0;
            result r = quantize(&q, kern[t]);
            assert_int_equal(r.bytes, codes->bytes);
            assert_bytes_equal(r.codes, codes->data, codes->bytes, codes->name);
            if (absmax) {
                float *want = fixture_floats(absmax);
                assert_int_equal(r.blocks, absmax->numel);
                assert_floats_equal(r.scale, want, r.blocks, absmax->name);
                free(want);
            }
            result_free(&r);
        }
}

static void nf4_and_fp4_equal_at_every_block_size(void **state) {
    static const char *const dtypes[] = {"f32", "f16", "bf16"};
    ql_st_file *f = fixture_open("q4_plain");
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int t = 0; t < 2; t++)
            for (int block = 32; block <= 4096; block *= 2) {
                const char *dt = dtypes[d], *type = four_bit[t].name;
                const char *size = block <= 256 ? "small" : "large";
                const ql_st_tensor *in = fixture_find(f, "%s.%s.input", dt, size);
                request q = {.data = in->data,
                             .n = in->numel,
                             .block = block,
                             .bits = 4,
                             .dtype = dtype_of(in),
                             .table = four_bit[t].table};
                check(q, fixture_find(f, "%s.%s.%s.bs%d.packed", dt, size, type, block),
                      fixture_find(f, "%s.%s.%s.bs%d.absmax", dt, size, type, block));
                q.rule = QL_RULE_CUDA;
                if (t == 1)
                    check(q, fixture_find(f, "%s.%s.fp4.bs%d.packed_cuda_rule", dt, size, block),
                          NULL);
            }
    ql_st_close(f);
}

/* The list of cases comes from the file, so that none is forgotten. */
static void edge_cases_equal_under_both_rules(void **state) {
    ql_st_file *f = fixture_open("edge_cases");
    int cases = 0;
    (void)state;
    for (int64_t i = 0; i < ql_st_count(f); i++) {
        const ql_st_tensor *in = ql_st_at(f, i);
        const char *dot = strstr(in->name, ".input");
        if (!dot) continue;
        int length = (int)(dot - in->name);
        for (int t = 0; t < 2; t++) {
            const char *type = four_bit[t].name;
            request q = {.data = in->data,
                         .n = in->numel,
                         .block = 64,
                         .bits = 4,
                         .dtype = dtype_of(in),
                         .table = four_bit[t].table};
            if (!fixture_has(f, "%.*s.%s.packed", length, in->name, type)) continue;
            check(q, fixture_find(f, "%.*s.%s.packed", length, in->name, type),
                  fixture_find(f, "%.*s.%s.absmax", length, in->name, type));
            q.rule = QL_RULE_CUDA;
            check(q, fixture_find(f, "%.*s.%s.packed_cuda_rule", length, in->name, type),
                  fixture_find(f, "%.*s.%s.absmax_cuda_rule", length, in->name, type));
            cases++;
        }
    }
    assert_true(cases >= 20);
    ql_st_close(f);
}

static void eight_bit_maps_follow_their_own_rule(void **state) {
    static const char *const dtypes[] = {"f32", "f16", "bf16"}, *const kinds[] = {"signed",
                                                                                  "unsigned"};
    ql_st_file *f = fixture_open("q8_blockwise");
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int s = 0; s < 2; s++)
            for (int block = 64; block <= 2048; block *= block == 64 ? 4 : 8) {
                const char *dt = dtypes[d], *kind = kinds[s];
                const ql_st_tensor *in = fixture_find(f, "%s.%s.input", dt, kind);
                float *map = fixture_floats(fixture_find(f, "qmap_%s", kind));
                request q = {.data = in->data,
                             .n = in->numel,
                             .block = block,
                             .bits = 8,
                             .dtype = dtype_of(in),
                             .table = map};
                check(q, fixture_find(f, "%s.%s.bs%d.codes", dt, kind, block),
                      fixture_find(f, "%s.%s.bs%d.absmax", dt, kind, block));
                q.rule = QL_RULE_CUDA;
                check(q, fixture_find(f, "%s.%s.bs%d.codes_cuda_rule", dt, kind, block), NULL);
                free(map);
            }
    ql_st_close(f);
}

/* Matrices with a gap between rows quantize like the same numbers without one. */
static void rows_with_gaps_are_read_in_order(void **state) {
    enum { ROWS = 11, COLS = 93, N = ROWS * COLS };
    const ql_cpu_kernels *kern[CPU_TABLES];
    int n_tables = cpu_tables(kern);
    (void)state;
    for (int dtype = QL_F32; dtype <= QL_BF16; dtype++)
        for (int t = 0; t < n_tables; t++) {
            matrix w;
            cpu_bare b;
            uint8_t dense[N * 4], codes[N];
            float scale[N / 32 + 1];
            const uint64_t size = ql_cpu_dtype_size((ql_dtype)dtype);
            matrix_make(&w, (ql_dtype)dtype, ROWS, COLS, 7);
            fill(&w.mat);
            for (int64_t i = 0; i < ROWS; i++)
                memcpy(dense + (uint64_t)(i * COLS) * size, ql_cpu_at(&w.mat, i, 0), COLS * size);
            request q = {.data = dense,
                         .n = N,
                         .block = 32,
                         .bits = 4,
                         .dtype = (ql_dtype)dtype,
                         .table = ql_nf4_table};
            result want = quantize(&q, kern[t]);
            cpu_bare_open(&b, kern[t], 1);
            ql_buffer cb = {.host = codes}, sb = {.host = scale}, tb;
            const float *table = ql_nf4_table;
            memset(&tb, 0, sizeof tb);
            memcpy(&tb.host, &table, sizeof tb.host);
            ql_q_quantize_args a = {
                .w = w.mat,
                .q = {.codes = {.buf = &cb, .rows = 1, .cols = (N + 1) / 2, .dtype = QL_U8},
                      .table = {.buf = &tb, .rows = 1, .cols = 16},
                      .scale = {.buf = &sb, .rows = 1, .cols = N / 32 + 1},
                      .n = ROWS,
                      .k = COLS,
                      .bits = 4,
                      .block = 32},
                .total = N};
            assert_int_equal(ql_cpu_q_quantize(&b.queue, &a), QL_OK);
            assert_memory_equal(codes, want.codes, (size_t)want.bytes);
            assert_memory_equal(scale, want.scale, (size_t)want.blocks * 4);
            result_free(&want);
            matrix_free(&w);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nf4_and_fp4_equal_at_every_block_size),
        cmocka_unit_test(edge_cases_equal_under_both_rules),
        cmocka_unit_test(eight_bit_maps_follow_their_own_rule),
        cmocka_unit_test(rows_with_gaps_are_read_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
