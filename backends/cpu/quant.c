/*
 * quant.c - products with a quantized weight, and its decoding as an operator.
 *
 * gemm_q packs (or, for few rows, streams) decoded runs of the weight; see product.c, qdecode.c.
 */
#include "backends/cpu/product.h"
#include "backends/cpu/qdecode.h"

ql_status ql_cpu_gemm_q(ql_queue *q, const ql_gemm_q_args *a) {
    ql_cpu_product p = ql_cpu_product_of_gemm_q(a);
    ql_cpu_product_run(q, &p);
    return QL_OK;
}

typedef struct dequant {
    const ql_q_dequantize_args *a;
    const ql_cpu_kernels *kern;
} dequant;

/* w[i, :] = W[row0 + i, :] for rows [begin, end). */
static void dequant_rows(const void *ctx, int64_t begin, int64_t end, int thread) {
    const dequant *d = (const dequant *)ctx;
    const ql_mat *w = &d->a->w;
    float tmp[QL_CPU_TILE];
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        for (int64_t col = 0; col < w->cols; col += QL_CPU_TILE) {
            int64_t n = ql_cpu_min(QL_CPU_TILE, w->cols - col);
            float *out = ql_cpu_span_out(w, i, col, tmp);
            ql_cpu_qdecode(d->kern, &d->a->q, d->a->row0 + i, col, n, out);
            ql_cpu_span_store(w, i, col, n, out);
        }
}

ql_status ql_cpu_q_dequantize(ql_queue *q, const ql_q_dequantize_args *a) {
    dequant d = {.a = a, .kern = ql_cpu_dev(q)->kern};
    ql_cpu_parallel(q, a->w.rows, ql_cpu_row_grain(a->w.cols), dequant_rows, &d);
    return QL_OK;
}
