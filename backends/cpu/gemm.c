/*
 * gemm.c - dense matrix product: c = alpha * op(a) op(b) + beta * c (+ bias).
 *
 * All of the work is product.c's; 16-bit factors are widened while they are packed.
 */
#include "backends/cpu/product.h"

ql_status ql_cpu_gemm(ql_queue *q, const ql_gemm_args *a) {
    ql_cpu_product p = ql_cpu_product_of_gemm(a);
    ql_cpu_product_run(q, &p);
    return QL_OK;
}
