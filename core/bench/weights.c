/* weights.c - random quantized weights (lab.h): their codes are drawn, nothing is encoded. */
#include "core/bench/lab.h"

#define BLOCK  64
#define BLOCK2 256

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

ql_status ql_bench_weights(ql_bench_lab *lab, ql_qtype_id id, int64_t n, int64_t k, ql_qmat *out) {
    const ql_qtype *type = ql_qtype_at(id);
    const int64_t blocks = ceil_div(n * k, BLOCK), entries = (int64_t)1 << type->bits;
    const float offset = 0.05f;
    ql_qmat w = {
        .n = n, .k = k, .bits = type->bits, .block = BLOCK, .block2 = BLOCK2, .post = type->post};
    QL_TRY(ql_bench_random(lab, QL_U8, 1, ceil_div(n * k * type->bits, 8), 0, 0, &w.codes));
    QL_TRY(ql_bench_random(lab, QL_U8, 1, blocks, 0, 0, &w.scale));
    QL_TRY(ql_bench_random(lab, QL_F32, 1, ceil_div(blocks, BLOCK2), 0.01f, 0.02f, &w.scale2));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, entries, type->table, &w.table));
    if (type->affine) QL_TRY(ql_bench_random(lab, QL_F16, 1, blocks, -0.1f, 0.0f, &w.zero));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, 256, ql_dyn8_signed(), &w.code2));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, 1, &offset, &w.offset));
    *out = w;
    return QL_OK;
}

double ql_bench_weights_bytes(const ql_qmat *w) {
    return (double)(w->codes.cols + w->scale.cols + 4 * w->scale2.cols + 2 * w->zero.cols);
}
