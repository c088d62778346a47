/*
 * operands.c - the operand tables (operands.h).
 *
 * One array per operator, in the order of the struct; `may_be` bits count positions in it.
 */
#include "core/device/operands.h"

#define AT(op, field) (uint16_t) offsetof(ql_##op##_args, field)
#define IN(op, field)                                                                              \
    { #field, AT(op, field), QL_USE_READ, false, 0 }
#define OPT_IN(op, field)                                                                          \
    { #field, AT(op, field), QL_USE_READ, true, 0 }
#define OUT(op, field)                                                                             \
    { #field, AT(op, field), QL_USE_WRITE, false, 0 }
#define OPT_OUT(op, field)                                                                         \
    { #field, AT(op, field), QL_USE_WRITE, true, 0 }
#define UPD(op, field)                                                                             \
    { #field, AT(op, field), QL_USE_UPDATE, false, 0 }
#define OPT_UPD(op, field)                                                                         \
    { #field, AT(op, field), QL_USE_UPDATE, true, 0 }
#define SCRATCH(op)                                                                                \
    { "scratch", AT(op, scratch), QL_USE_SCRATCH, true, 0 }
/* An output that may be operand(s) `mask` in place. */
#define OUT_AS(op, field, mask)                                                                    \
    { #field, AT(op, field), QL_USE_WRITE, false, mask }
#define OPT_OUT_AS(op, field, mask)                                                                \
    { #field, AT(op, field), QL_USE_WRITE, true, mask }
#define UPD_AS(op, field, mask)                                                                    \
    { #field, AT(op, field), QL_USE_UPDATE, false, mask }
/* The matrices of a quantized weight and of a random stream. */
#define QMAT(op, w, USE)                                                                           \
    USE(op, w.codes), OPT_IN(op, w.table), USE(op, w.scale), USE(op, w.zero),                      \
        OPT_IN(op, w.scale2), OPT_IN(op, w.code2), OPT_IN(op, w.offset)
#define RNG(op, r) OPT_IN(op, r.key), OPT_IN(op, r.step)
#define SPEC(op)                                                                                   \
    RNG(op, spec.rng), IN(op, spec.start_q), IN(op, spec.start_kv), OPT_IN(op, spec.len_kv),       \
        OPT_IN(op, spec.table), OPT_IN(op, spec.c2p), OPT_IN(op, spec.p2c),                        \
        OPT_IN(op, spec.bucket)
#define B(i) (1u << (i))

static const ql_operand fill[] = {OUT(fill, y)};
static const ql_operand axpby[] = {IN(axpby, x), UPD_AS(axpby, y, B(0))};
static const ql_operand dropout[] = {IN(dropout, x), OUT_AS(dropout, y, B(0)), RNG(dropout, rng)};
static const ql_operand act_fwd[] = {IN(act_fwd, x), OPT_IN(act_fwd, up), OUT_AS(act_fwd, y, B(0))};
static const ql_operand act_bwd[] = {IN(act_bwd, x), OPT_IN(act_bwd, up), IN(act_bwd, dy),
                                     OUT_AS(act_bwd, dx, B(0)), OPT_OUT_AS(act_bwd, dup, B(1))};
static const ql_operand gather[] = {IN(gather, table), IN(gather, index), UPD(gather, y)};
static const ql_operand scatter_add[] = {IN(scatter_add, dy), IN(scatter_add, index),
                                         UPD(scatter_add, dtable), SCRATCH(scatter_add)};
static const ql_operand norm_fwd[] = {IN(norm_fwd, x),
                                      OPT_IN(norm_fwd, residual),
                                      IN(norm_fwd, w),
                                      OPT_IN(norm_fwd, b),
                                      OPT_OUT_AS(norm_fwd, sum, B(0) | B(1)),
                                      OUT(norm_fwd, y),
                                      OPT_OUT(norm_fwd, mean),
                                      OPT_OUT(norm_fwd, rstd)};
static const ql_operand norm_bwd[] = {
    IN(norm_bwd, s),       IN(norm_bwd, w),       OPT_IN(norm_bwd, mean),
    IN(norm_bwd, rstd),    IN(norm_bwd, dy),      UPD(norm_bwd, dx),
    OPT_UPD(norm_bwd, dw), OPT_UPD(norm_bwd, db), SCRATCH(norm_bwd)};
static const ql_operand rope[] = {IN(rope, x), IN(rope, table), IN(rope, pos),
                                  OUT_AS(rope, y, B(0))};
static const ql_operand attn_fwd[] = {SPEC(attn_fwd),   IN(attn_fwd, q),  IN(attn_fwd, k),
                                      IN(attn_fwd, v),  OUT(attn_fwd, o), OUT(attn_fwd, lse),
                                      SCRATCH(attn_fwd)};
static const ql_operand attn_bwd[] = {
    SPEC(attn_bwd),          IN(attn_bwd, q),   IN(attn_bwd, k),           IN(attn_bwd, v),
    IN(attn_bwd, o),         IN(attn_bwd, lse), IN(attn_bwd, d_o),         OUT(attn_bwd, dq),
    OUT(attn_bwd, dk),       OUT(attn_bwd, dv), OPT_UPD(attn_bwd, dtable), OPT_UPD(attn_bwd, dc2p),
    OPT_UPD(attn_bwd, dp2c), SCRATCH(attn_bwd)};
static const ql_operand gemm[] = {IN(gemm, a), IN(gemm, b), UPD(gemm, c), OPT_IN(gemm, bias),
                                  SCRATCH(gemm)};
static const ql_operand gemm_q[] = {IN(gemm_q, x), UPD(gemm_q, y), OPT_IN(gemm_q, bias),
                                    SCRATCH(gemm_q), QMAT(gemm_q, w, OPT_IN)};
static const ql_operand q_quantize[] = {IN(q_quantize, w), QMAT(q_quantize, q, OPT_OUT)};
static const ql_operand q_dequantize[] = {QMAT(q_dequantize, q, OPT_IN), OUT(q_dequantize, w)};
static const ql_operand row_norm[] = {QMAT(row_norm, w, OPT_IN), OPT_IN(row_norm, wd),
                                      OPT_IN(row_norm, a),       OPT_IN(row_norm, b),
                                      OUT(row_norm, norm),       SCRATCH(row_norm)};
static const ql_operand scale_cols[] = {IN(scale_cols, x),        IN(scale_cols, m),
                                        OPT_IN(scale_cols, norm), OUT_AS(scale_cols, y, B(0)),
                                        OPT_IN(scale_cols, dy),   OPT_UPD(scale_cols, dm),
                                        SCRATCH(scale_cols)};
static const ql_operand row_copy[] = {IN(row_copy, x), UPD(row_copy, y), OPT_IN(row_copy, src),
                                      OPT_IN(row_copy, dst)};
static const ql_operand col_copy[] = {IN(col_copy, x), UPD(col_copy, y)};
static const ql_operand lora_fwd[] = {
    IN(lora_fwd, x),           OPT_IN(lora_fwd, wd), OPT_IN(lora_fwd, bias), IN(lora_fwd, a),
    IN(lora_fwd, b),           OUT(lora_fwd, u),     OUT(lora_fwd, y),       SCRATCH(lora_fwd),
    QMAT(lora_fwd, w, OPT_IN), RNG(lora_fwd, rng)};
static const ql_operand lora_bwd[] = {
    IN(lora_bwd, x),   OPT_IN(lora_bwd, wd), IN(lora_bwd, a),           IN(lora_bwd, b),
    IN(lora_bwd, u),   IN(lora_bwd, dy),     OPT_UPD(lora_bwd, dx),     UPD(lora_bwd, da),
    UPD(lora_bwd, db), SCRATCH(lora_bwd),    QMAT(lora_bwd, w, OPT_IN), RNG(lora_bwd, rng)};
static const ql_operand loss[] = {IN(loss, logits),
                                  IN(loss, target),
                                  OPT_IN(loss, weight),
                                  OUT(loss, loss),
                                  OPT_OUT_AS(loss, dlogits, B(0)),
                                  OPT_IN(loss, step)};
static const ql_operand sum_rows[] = {IN(sum_rows, x), UPD(sum_rows, y), SCRATCH(sum_rows)};
static const ql_operand sumsq[] = {IN(sumsq, x), UPD(sumsq, y), SCRATCH(sumsq)};
static const ql_operand clip[] = {IN(clip, sum), UPD(clip, step)};
static const ql_operand opt_step[] = {UPD(opt_step, p),
                                      IN(opt_step, g),
                                      OPT_UPD(opt_step, m),
                                      OPT_UPD(opt_step, v),
                                      OPT_UPD(opt_step, m_absmax),
                                      OPT_UPD(opt_step, v_absmax),
                                      OPT_IN(opt_step, code8_m),
                                      OPT_IN(opt_step, code8_v),
                                      IN(opt_step, step)};

static const struct {
    const ql_operand *list;
    int n;
} tables[QL_OP_COUNT] = {
#define QL_X(ID, name, family) [QL_OP_##ID] = {name, (int)(sizeof name / sizeof *name)},
    QL_OPS(QL_X)
#undef QL_X
};

const ql_operand *ql_operands_of(ql_op op, int *n) {
    *n = tables[op].n;
    return tables[op].list;
}
