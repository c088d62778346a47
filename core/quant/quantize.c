/*
 * quantize.c - options, byte counts, and the two levels put together into one tensor.
 */
#include "core/quant/quantize.h"

ql_quant_opts ql_quant_opts_default(void) {
    return (ql_quant_opts){
        .type = QL_QT_NF4, .block = 64, .block2 = 256, .double_quant = true, .rule = QL_RULE_CPU};
}

static bool is_block(int32_t n) {
    return n >= 32 && n <= 4096 && (n & (n - 1)) == 0;
}

ql_status ql_quant_opts_check(const ql_quant_opts *o) {
    const ql_qtype *type = ql_qtype_at(o->type);
    if (type == NULL || type->id == QL_QT_GGML)
        return QL_FAIL(QL_ERR_INVALID, "--quant_type: expected one of %s", ql_qtype_names());
    if (!type->available)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "--quant_type %s: this version quantizes to 4 and 8 bits (%s); files of "
                       "2 and 3 bits can be read",
                       type->name, ql_qtype_names());
    if (!type->per_row && !is_block(o->block))
        return QL_FAIL(QL_ERR_INVALID,
                       "--blocksize %d: expected 32, 64, 128, 256, 512, 1024, 2048 or 4096",
                       (int)o->block);
    if (o->double_quant && type->per_row)
        return QL_FAIL(QL_ERR_INVALID,
                       "--quant_type %s keeps one float32 scale per row: use --double_quant false",
                       type->name);
    if (o->double_quant && !is_block(o->block2))
        return QL_FAIL(QL_ERR_INVALID,
                       "--blocksize2 %d: expected 32, 64, 128, 256, 512, 1024, 2048 or 4096",
                       (int)o->block2);
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
    if (type->affine) b.zero = (uint64_t)b.n_blocks * sizeof(float);
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
        if (q->type == NULL || q->table != q->type->table) free_array(q->table);
        if (q->code2 != ql_dyn8_signed()) free_array(q->code2);
    }
    ql_arena_free(&q->arena);
    *q = (ql_qtensor){0};
}
