/*
 * limits.c - how far an output may be from the reference: NMSE per operator and dtype of the
 * output.
 *
 * Measured with `test_ops <family> --measure` (seeds 42, 1, 2, 3; portable, AVX2 and AVX-512 code
 * of the CPU backend), largest value times 4. f16, bf16  one rounding of the output decides: at
 * most (2^-11)^2 = 2.4e-7 and (2^-8)^2 = 1.5e-5 by theory, 6e-8 and 5.6e-6 measured, for every
 * operator alike f32        the number of roundings and what cancels decide: a value per operator
 */
#include "tests/support/opcase.h"

/* One or two roundings per element, no sums: 2^-48 = 3.6e-15 is one worst rounding. */
#define FEW_ROUNDINGS 2e-14

static const double f32_limits[QL_OP_COUNT] = {
    [QL_OP_FILL] = FEW_ROUNDINGS,
    [QL_OP_AXPBY] = FEW_ROUNDINGS,
    [QL_OP_DROPOUT] = FEW_ROUNDINGS,
    [QL_OP_GATHER] = FEW_ROUNDINGS,
    [QL_OP_ROW_COPY] = FEW_ROUNDINGS,
    [QL_OP_COL_COPY] = FEW_ROUNDINGS,
    [QL_OP_ROPE] = FEW_ROUNDINGS,
    [QL_OP_ACT_FWD] = FEW_ROUNDINGS,
    [QL_OP_Q_DEQUANTIZE] = FEW_ROUNDINGS,
    [QL_OP_CLIP] = FEW_ROUNDINGS,
    [QL_OP_ROW_NORM] = FEW_ROUNDINGS, /* all terms positive */
    [QL_OP_SUMSQ] = FEW_ROUNDINGS,    /* all terms positive */
    [QL_OP_SCATTER_ADD] = 3e-14,      /* up to 20 rows added in order */
    [QL_OP_SUM_ROWS] = 6e-14,         /* 1000 terms that cancel */
    [QL_OP_ACT_BWD] = 1.4e-13,        /* gelu' is a difference of nearly equal terms left of 0 */
    [QL_OP_NORM_FWD] = 1.6e-13,       /* mean is a sum that cancels */
    [QL_OP_NORM_BWD] = 1.4e-13,       /* dx is a difference of three such sums */
    [QL_OP_SCALE_COLS] = 1.8e-13,     /* dm: 200 terms that cancel */
    [QL_OP_GEMM] = 3e-13,             /* sums of up to 576 products */
    [QL_OP_GEMM_Q] = 3e-13,           /* the same */
    [QL_OP_LORA_FWD] = 3e-13,         /* the same */
    [QL_OP_LORA_BWD] = 3e-13,         /* the same */
    [QL_OP_ATTN_FWD] = 8e-13,         /* exp of sums */
    [QL_OP_ATTN_BWD] = 9e-13,         /* the same, and dP - delta cancels */
    [QL_OP_LOSS] = 1e-13,             /* p - 1 of a row that is nearly sure */
    [QL_OP_OPT_STEP] = 5e-14,         /* m cancels over a small root of v */
};

double ql_opcase_limit(ql_op op, ql_dtype t) {
    switch (t) {
    case QL_F32: return f32_limits[op];
    case QL_F16: return 2.4e-7;
    case QL_BF16: return 2.3e-5;
    default: return 0.0; /* codes and indices are exact */
    }
}
