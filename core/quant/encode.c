/*
 * encode.c - the first level of every type: a weight into packed codes, block scales and zeros.
 *
 * Blocks are runs of the flattened weight and may cross rows (llm_int8: one block per row). Codes
 * form one string of bits, the highest bit first; a block may end inside a byte. The last byte is
 * filled up with the code of 0.0 (4 bits, as bitsandbytes has it) or with zeros.
 */
#include "backends/common/ql_math.inc"
#include "core/quant/codebook.h"
#include "core/quant/dyn8.h"
#include "core/quant/int8.h"

/* The string of bits so far: bytes before `out`, then `have` bits. */
typedef struct packer {
    uint8_t *out;
    uint32_t held;
    int32_t bits, have;
} packer;

static void pack(packer *p, const uint8_t *codes, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        p->held = p->held << p->bits | codes[i];
        p->have += p->bits;
        if (p->have < 8) continue;
        p->have -= 8;
        *p->out++ = (uint8_t)(p->held >> p->have);
    }
}

static void pack_end(packer *p, uint8_t fill) {
    if (p->have == 0) return;
    uint32_t rest = p->bits == 4 ? fill : 0;
    *p->out = (uint8_t)(p->held << (8 - p->have) | rest);
}

/* scale = (max - min) / levels, zero = min, code = round((x - zero) / scale). A block with a NaN or
 * an Inf gets a scale that is not finite. */
static float encode_affine(const float *x, int64_t n, int32_t levels, uint8_t *codes, float *zero) {
    float low = x[0], high = x[0], poison = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        poison += x[i] * 0.0f;
    }
    float scale = ql_affine_scale(low, high, levels) + poison;
    for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)ql_affine_code(x[i], low, scale, levels);
    *zero = low;
    return scale;
}

static void encode_rows(const float *w, int64_t n, int64_t k, uint8_t *codes, float *absmax) {
    for (int64_t r = 0; r < n; r++) absmax[r] = ql_int8_encode_row(w + r * k, k, codes + r * k);
}

ql_status ql_encode_scalar(void *user, const ql_quant_opts *o, const float *w, int64_t n, int64_t k,
                           uint8_t *codes, float *absmax, float *zero) {
    (void)user;
    const ql_qtype *type = ql_qtype_at(o->type);
    if (type->per_row) {
        encode_rows(w, n, k, codes, absmax);
        return QL_OK;
    }
    ql_codebook book = {0};
    bool coded = type->encode == QL_ENCODE_NEAREST && type->bits <= 4;
    if (coded) ql_codebook_init(&book, type, o->rule);
    uint8_t *block = ql_host_calloc((size_t)o->block, 1);
    if (block == NULL) return QL_NOMEM("the codes of a block");
    packer p = {.out = codes, .bits = type->bits};
    int64_t total = n * k;
    for (int64_t first = 0, b = 0; first < total; first += o->block, b++) {
        int64_t count = total - first < o->block ? total - first : o->block;
        const float *x = w + first;
        if (coded)
            absmax[b] = ql_codebook_encode_block(&book, x, count, count == o->block, block);
        else if (type->encode == QL_ENCODE_AFFINE)
            absmax[b] = encode_affine(x, count, (1 << type->bits) - 1, block, &zero[b]);
        else if (type->encode == QL_ENCODE_ROUND)
            absmax[b] = ql_int8_encode_block(x, count, block);
        else
            absmax[b] = ql_dyn8_encode_block(type->table, x, count, o->rule, block);
        pack(&p, block, count);
    }
    pack_end(&p, coded ? ql_codebook_zero(&book) : 0);
    ql_host_free(block);
    return QL_OK;
}
