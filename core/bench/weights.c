/* weights.c - random quantized weights (lab.h): their codes are drawn, nothing is encoded. */
#include "core/bench/lab.h"
#include "core/quant/qtype.h"

#define BLOCK  64
#define BLOCK2 256

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

ql_status ql_bench_nf4(ql_bench_lab *lab, int64_t n, int64_t k, ql_qmat *out) {
    const int64_t blocks = ceil_div(n * k, BLOCK);
    const float offset = 0.05f;
    ql_qmat w = {.n = n, .k = k, .bits = 4, .block = BLOCK, .block2 = BLOCK2};
    QL_TRY(ql_bench_random(lab, QL_U8, 1, ceil_div(n * k, 2), 0, 0, &w.codes));
    QL_TRY(ql_bench_random(lab, QL_U8, 1, blocks, 0, 0, &w.scale));
    QL_TRY(ql_bench_random(lab, QL_F32, 1, ceil_div(blocks, BLOCK2), 0.01f, 0.02f, &w.scale2));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, 16, ql_qtype_at(QL_QT_NF4)->table, &w.table));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, 256, ql_dyn8_signed(), &w.code2));
    QL_TRY(ql_bench_copy(lab, QL_F32, 1, 1, &offset, &w.offset));
    *out = w;
    return QL_OK;
}

double ql_bench_nf4_bytes(const ql_qmat *w) {
    return (double)(w->codes.cols + w->scale.cols + 4 * w->scale2.cols);
}
