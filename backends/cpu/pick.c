/*
 * pick.c - which code a device runs: the reference table first, then what its level has better.
 */
#include "backends/cpu/cpu.h"

#include <stdio.h>

#include "backends/cpu/kern.h"

#if defined(__x86_64__)
const ql_op_table *ql_cpu_table_avx2(void);
const ql_op_table *ql_cpu_table_avx512(void);

static const ql_op_table *variant_of(ql_cpu_isa isa) {
    if (isa == QL_CPU_AVX2) return ql_cpu_table_avx2();
    if (isa == QL_CPU_AVX512 || isa == QL_CPU_AVX512BF16) return ql_cpu_table_avx512();
    return NULL;
}
static const ql_cpu_kernels *kern_of(ql_cpu_isa isa) {
    if (isa == QL_CPU_AVX2) return ql_cpu_kern_avx2();
    if (isa == QL_CPU_AVX512 || isa == QL_CPU_AVX512BF16) return ql_cpu_kern_avx512();
    return ql_cpu_kern();
}
#else
static const ql_op_table *variant_of(ql_cpu_isa isa) {
    (void)isa;
    return NULL;
}
static const ql_cpu_kernels *kern_of(ql_cpu_isa isa) {
    (void)isa;
    return ql_cpu_kern();
}
#endif

void ql_cpu_pick(ql_cpu_device *dev) {
    const ql_op_table *better = variant_of(dev->isa);
    dev->kern = kern_of(dev->isa);
    dev->ops = *ql_cpu_table();
    dev->ops.gemm = ql_cpu_gemm;
    dev->ops.gemm_q = ql_cpu_gemm_q;
    dev->ops.q_quantize = ql_cpu_q_quantize;
    dev->ops.q_dequantize = ql_cpu_q_dequantize;
    dev->ops.attn_fwd = ql_cpu_attn_fwd;
    dev->ops.attn_bwd = ql_cpu_attn_bwd;
#define QL_X(ID, name, family)                                                                     \
    if (better && better->name) dev->ops.name = better->name;
    QL_OPS(QL_X)
#undef QL_X
    snprintf(dev->base.props.isa, sizeof dev->base.props.isa, "%s: kernels %s, operators %s",
             ql_cpu_isa_name(dev->isa), dev->kern->isa,
             better ? ql_cpu_isa_name(dev->isa == QL_CPU_AVX512BF16 ? QL_CPU_AVX512 : dev->isa)
                    : "portable");
}
