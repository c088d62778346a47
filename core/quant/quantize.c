/*
 * quantize.c - options, byte counts, and the two levels put together into one tensor.
 */
#include "core/quant/quantize.h"

#include <math.h>

#include "core/base/half.h"

ql_quant_opts ql_quant_opts_default(void) {
    return (ql_quant_opts){
        .type = QL_QT_NF4, .block = 64, .block2 = 256, .double_quant = true, .rule = QL_RULE_CPU};
}

static bool power_of_two(int32_t n) {
    return n >= 32 && n <= 4096 && (n & (n - 1)) == 0;
}

bool ql_bnb_holds(const ql_qtype *type, int32_t block, int32_t block2) {
    if (!type->bnb || type->per_row) return type->bnb;
    return power_of_two(block) && (block2 == 0 || power_of_two(block2));
}

ql_status ql_quant_opts_check(const ql_quant_opts *o) {
    const ql_qtype *type = ql_qtype_at(o->type);
    if (type == NULL || type->id == QL_QT_GGML)
        return QL_FAIL(QL_ERR_INVALID, "--quant_type: expected one of %s", ql_qtype_names());
    if (!type->per_row && (o->block < QL_BLOCK_MIN || o->block > QL_BLOCK_MAX))
        return QL_FAIL(QL_ERR_INVALID, "--blocksize %d: expected %d to %d weights per scale",
                       (int)o->block, QL_BLOCK_MIN, QL_BLOCK_MAX);
    if (o->double_quant && type->per_row)
        return QL_FAIL(QL_ERR_INVALID,
                       "--quant_type %s keeps one float32 scale per row: use --double_quant false",
                       type->name);
    if (o->double_quant && (o->block2 < QL_BLOCK_MIN || o->block2 > QL_BLOCK2_MAX))
        return QL_FAIL(QL_ERR_INVALID,
                       "--blocksize2 %d: expected %d to %d scales per second-level scale",
                       (int)o->block2, QL_BLOCK_MIN, QL_BLOCK2_MAX);
    if (o->rule != QL_RULE_CPU && o->rule != QL_RULE_CUDA)
        return QL_FAIL(QL_ERR_INVALID, "--quant_rule: expected cpu or cuda");
    return QL_OK;
}

ql_status ql_quant_bytes(const ql_quant_opts *o, int64_t n, int64_t k, ql_qbytes *out) {
    const ql_qtype *type = ql_qtype_at(o->type);
    uint64_t total, bits;
    if (type == NULL || type->id == QL_QT_GGML || n < 1 || k < 1)
        return QL_FAIL(QL_ERR_INVALID, "quantize: no storage for a %lld x %lld weight of this type",
                       (long long)n, (long long)k);
    QL_TRY(ql_mul_size((uint64_t)n, (uint64_t)k, &total));
    QL_TRY(ql_mul_size(total, (uint64_t)type->bits, &bits));
    if (bits > INT64_MAX / 8)
        return QL_FAIL(QL_ERR_INVALID, "quantize: a %lld x %lld weight is too large", (long long)n,
                       (long long)k);
    ql_qbytes b = {.codes = (bits + 7) / 8};
    int64_t block = o->block;
    b.n_blocks = type->per_row ? n : ((int64_t)total + block - 1) / block;
    b.scale = (uint64_t)b.n_blocks * (o->double_quant ? 1 : sizeof(float));
    if (o->double_quant) {
        b.n_blocks2 = (b.n_blocks + o->block2 - 1) / o->block2;
        b.scale2 = (uint64_t)b.n_blocks2 * sizeof(float);
    }
    if (type->affine)
        b.zero = (uint64_t)b.n_blocks * (o->double_quant ? sizeof(uint16_t) : sizeof(float));
    *out = b;
    return QL_OK;
}

/* Replaces the float scales by the second level. */
static ql_status second_level(const ql_quant_opts *o, const ql_qbytes *bytes, float **absmax,
                              ql_qtensor *q) {
    uint8_t *codes = ql_host_calloc((size_t)bytes->n_blocks, 1);
    float *absmax2 = ql_host_calloc((size_t)bytes->n_blocks2, sizeof *absmax2);
    if (codes == NULL || absmax2 == NULL) {
        ql_host_free(codes);
        ql_host_free(absmax2);
        return QL_NOMEM("the second level of a quantized weight");
    }
    ql_double_quantize(*absmax, bytes->n_blocks, o->block2, o->rule, codes, absmax2, &q->offset);
    ql_host_free(*absmax);
    *absmax = NULL;
    q->absmax_q = codes;
    q->absmax2 = absmax2;
    q->code2 = ql_dyn8_signed();
    q->block2 = o->block2;
    q->n_blocks2 = bytes->n_blocks2;
    return QL_OK;
}

/* Zeros beside a second level: float16, whose error of 2^-11 of the block's minimum is far below
 * half a step of 2 to 4 bits. Smaller than an 8-bit code would make them by one byte in 64 weights,
 * and free of its error. */
static ql_status narrow_zeros(float **zero, int64_t blocks, ql_qtensor *q) {
    uint16_t *half = ql_host_calloc((size_t)blocks, sizeof *half);
    if (half == NULL) return QL_NOMEM("the zeros of a quantized weight");
    for (int64_t b = 0; b < blocks; b++) {
        half[b] = ql_f16_from_f32((*zero)[b]);
        if (!isfinite((*zero)[b]) || isfinite(ql_f32_from_f16(half[b]))) continue;
        ql_host_free(half);
        return QL_FAIL(QL_ERR_NUMERIC,
                       "quantize: a block's smallest weight is %g, beyond the float16 of affine "
                       "types with a second level; use --double_quant false",
                       (double)(*zero)[b]);
    }
    ql_host_free(*zero);
    *zero = NULL;
    q->zero_f16 = half;
    return QL_OK;
}

ql_status ql_quantize_with(const ql_quant_opts *o, ql_encode_fn encode, void *user, const float *w,
                           int64_t n, int64_t k, ql_qtensor *out) {
    QL_TRY(ql_quant_opts_check(o));
    ql_qbytes bytes;
    QL_TRY(ql_quant_bytes(o, n, k, &bytes));
    const ql_qtype *type = ql_qtype_at(o->type);
    uint8_t *codes = ql_host_calloc(bytes.codes, 1);
    float *absmax = ql_host_calloc((size_t)bytes.n_blocks, sizeof *absmax);
    float *zero = type->affine ? ql_host_calloc((size_t)bytes.n_blocks, sizeof *zero) : NULL;
    ql_qtensor q = {.type = type,
                    .n = n,
                    .k = k,
                    .block = type->per_row ? 0 : o->block,
                    .pack = QL_PACK_HIGH_FIRST,
                    .codes_bytes = bytes.codes,
                    .n_blocks = bytes.n_blocks,
                    .table = type->table,
                    .source_dtype = "float32",
                    .owned = true};
    ql_status s = QL_OK;
    if (codes == NULL || absmax == NULL || (type->affine && zero == NULL))
        s = QL_NOMEM("a quantized weight");
    if (s == QL_OK)
        s = (encode != NULL && !type->per_row ? encode : ql_encode_scalar)(user, o, w, n, k, codes,
                                                                           absmax, zero);
    if (s == QL_OK && o->double_quant) s = second_level(o, &bytes, &absmax, &q);
    if (s == QL_OK && o->double_quant && type->affine) s = narrow_zeros(&zero, bytes.n_blocks, &q);
    q.codes = codes;
    q.absmax = absmax;
    q.zero = zero;
    if (s != QL_OK) {
        ql_qtensor_free(&q);
        return s;
    }
    *out = q;
    return QL_OK;
}

ql_status ql_quantize(const ql_quant_opts *o, const float *w, int64_t n, int64_t k,
                      ql_qtensor *out) {
    return ql_quantize_with(o, NULL, NULL, w, n, k, out);
}

/* Drops const: only called on arrays that the tensor owns. */
static void free_array(const void *p) {
    union {
        const void *from;
        void *to;
    } array = {.from = p};
    ql_host_free(array.to);
}

void ql_qtensor_free(ql_qtensor *q) {
    if (q == NULL) return;
    if (q->owned) {
        free_array(q->codes);
        free_array(q->absmax);
        free_array(q->absmax_q);
        free_array(q->absmax2);
        free_array(q->zero);
        free_array(q->zero_f16);
        if (q->type == NULL || q->table != q->type->table) free_array(q->table);
        if (q->code2 != ql_dyn8_signed()) free_array(q->code2);
    }
    ql_arena_free(&q->arena);
    *q = (ql_qtensor){0};
}
