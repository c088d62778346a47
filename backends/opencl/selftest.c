/*
 * selftest.c - see selftest.h.
 *
 * Drivers have computed garbage without an error; a run of hours on such a device is worth nothing.
 * The test takes the path that matters most: 33 x 70 random weights to NF4 (blocks that straddle
 * rows, an odd tail), back, and a product with them, against the formulas of ql_math.inc in C.
 */
#include "backends/opencl/selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/common/ql_math.inc"

enum { N = 33, K = 70, M = 9, BLOCK = 64, COUNT = N * K, BLOCKS = (COUNT + BLOCK - 1) / BLOCK };
#define TOLERANCE 1e-5f /* of the largest sum: 70 products in f32 */

typedef struct trial {
    float w[COUNT], x[M * K], table[16];
    uint8_t codes[COUNT / 2];
    float scale[BLOCKS], decoded[COUNT];
    float y[M * N];
} trial;

/* Numbers in (-1, 1) from Philox, so every device sees the same. */
static float draw(uint32_t i, uint32_t lane) {
    uint32_t words[4];
    const uint32_t key[2] = {20240517u, 7u};
    ql_rng_words(key, 0, 0, lane, i / 4, words);
    return 2.0f * ql_uniform24(words[i % 4]) - 1.0f;
}

static void expect(trial *t) {
    for (uint32_t i = 0; i < COUNT; i++) t->w[i] = draw(i, 0);
    for (uint32_t i = 0; i < M * K; i++) t->x[i] = draw(i, 1);
    memcpy(t->table, ql_nf4_table, sizeof t->table);
    for (int b = 0; b < BLOCKS; b++) {
        int first = b * BLOCK, n = COUNT - first < BLOCK ? COUNT - first : BLOCK;
        float top = 0.0f;
        for (int i = 0; i < n; i++)
            top = fabsf(t->w[first + i]) > top ? fabsf(t->w[first + i]) : top;
        t->scale[b] = top;
        for (int i = first; i < first + n; i++) {
            int code = ql_nf4_code_cpu(n < BLOCK ? t->w[i] / top : t->w[i] * (1.0f / top));
            t->decoded[i] = ql_nf4_table[code] * top;
            if (i % 2 == 0)
                t->codes[i / 2] = (uint8_t)(code << 4);
            else
                t->codes[i / 2] |= (uint8_t)code;
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = 0.0;
            for (int k = 0; k < K; k++)
                sum += (double)t->x[m * K + k] * (double)t->decoded[n * K + k];
            t->y[m * N + n] = (float)sum;
        }
}

/* Places of the parts in one device buffer. */
static const uint64_t at_w = offsetof(trial, w), at_x = offsetof(trial, x),
                      at_table = offsetof(trial, table), at_codes = offsetof(trial, codes),
                      at_scale = offsetof(trial, scale), at_decoded = offsetof(trial, decoded),
                      at_y = offsetof(trial, y);

static ql_mat part(ql_buffer *b, uint64_t off, int64_t rows, int64_t cols, ql_dtype t) {
    return (ql_mat){b, off, rows, cols, cols, t};
}

static ql_status run_trial(ql_queue *q, ql_buffer *b, trial *got) {
    ql_qmat w = {.codes = part(b, at_codes, 1, COUNT / 2, QL_U8),
                 .table = part(b, at_table, 1, 16, QL_F32),
                 .scale = part(b, at_scale, 1, BLOCKS, QL_F32),
                 .n = N,
                 .k = K,
                 .bits = 4,
                 .block = BLOCK};
    const ql_q_quantize_args encode = {
        .w = part(b, at_w, N, K, QL_F32), .q = w, .encode = QL_ENCODE_NEAREST, .total = COUNT};
    const ql_q_dequantize_args decode = {.q = w, .w = part(b, at_decoded, N, K, QL_F32)};
    const ql_gemm_q_args product = {
        .x = part(b, at_x, M, K, QL_F32), .y = part(b, at_y, M, N, QL_F32), .w = w, .alpha = 1.0f};
    QL_TRY(ql_cl_op_q_quantize(q, &encode));
    QL_TRY(ql_cl_op_q_dequantize(q, &decode));
    QL_TRY(ql_cl_op_gemm_q(q, &product));
    return ql_cl_read(q, b, 0, got, sizeof *got);
}

static ql_status compare(const ql_cl_device *d, const trial *want, const trial *got) {
    const char *what = NULL;
    float largest = 0.0f, off = 0.0f;
    for (int i = 0; i < M * N; i++) {
        float e = fabsf(got->y[i] - want->y[i]);
        largest = fmaxf(largest, fabsf(want->y[i]));
        off = e <= off ? off : e; /* NaN stays */
    }
    if (!(off <= TOLERANCE * largest)) what = "a product";
    if (memcmp(got->decoded, want->decoded, sizeof got->decoded) != 0) what = "decoded weights";
    if (memcmp(got->codes, want->codes, sizeof got->codes) != 0) what = "quantized codes";
    if (memcmp(got->scale, want->scale, sizeof got->scale) != 0) what = "block scales";
    if (!what) return QL_OK;
    return QL_FAIL(
        QL_ERR_DRIVER,
        "opencl: '%s' (driver %s) fails its self-test: %s differ from plain C; update the "
        "driver, or set QLORA_OPENCL_SELFTEST=0 to use it all the same",
        d->base.props.name, d->base.props.driver, what);
}

static ql_status on_queue(ql_cl_device *d, ql_queue *q, trial *want, trial *got) {
    ql_buffer *b = NULL;
    memset(want, 0, sizeof *want);
    expect(want);
    *got = *want;
    memset(got->codes, 0xEE, sizeof got->codes);
    memset(got->scale, 0xEE, sizeof got->scale);
    memset(got->decoded, 0xEE, sizeof got->decoded);
    memset(got->y, 0xEE, sizeof got->y);
    QL_TRY(ql_cl_buffer_alloc(&d->base, QL_MEM_DEVICE, sizeof *got, &b));
    ql_status s = ql_cl_write(q, b, 0, got, sizeof *got);
    if (s == QL_OK) s = run_trial(q, b, got);
    if (s == QL_OK) s = compare(d, want, got);
    ql_cl_buffer_free(b);
    return s;
}

ql_status ql_cl_selftest(ql_cl_device *d) {
    const char *setting = ql_cl_setting("QLORA_OPENCL_SELFTEST");
    if (setting && strcmp(setting, "0") == 0) return QL_OK;
    ql_queue *q = NULL;
    trial *want = malloc(sizeof *want), *got = malloc(sizeof *got);
    ql_status s = want && got ? ql_cl_queue_create(&d->base, &q)
                              : QL_FAIL(QL_ERR_NOMEM_HOST, "opencl: no host memory for a test");
    if (s == QL_OK) s = on_queue(d, q, want, got);
    ql_cl_queue_destroy(q);
    free(want);
    free(got);
    return s;
}
