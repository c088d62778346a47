/*
 * decode.cl - one element of a quantized weight, any storage type; included by the families that
 * read weights.
 *
 *   W(e) = table[code(e)] * scale(b) + zero(b), then * post: each operation rounded on its own.
 *
 * e counts elements of the whole weight; codes, scales and zeros start with the item that holds the
 * first element held here (first = row0 * k), so a slice may begin inside a block or a byte.
 * block_shift, block2_shift: log2, or -1 where the block is no power of two.
 */
#define QMAT(w)                                                                                    \
    MAT(w##_codes), MAT(w##_table), MAT(w##_scale), MAT(w##_zero), MAT(w##_scale2),                \
        MAT(w##_code2), MAT(w##_offset), const long w##_k, const long w##_first,                   \
        const int w##_bits, const long w##_block, const int w##_shift, const int w##_block2,       \
        const int w##_shift2, const int w##_pack, const int w##_ggml, const float w##_post
#define GET_Q(w, q)                                                                                \
    (q).codes = GET(w##_codes);                                                                    \
    (q).table = GET(w##_table);                                                                    \
    (q).scale = GET(w##_scale);                                                                    \
    (q).zero = GET(w##_zero);                                                                      \
    (q).scale2 = GET(w##_scale2);                                                                  \
    (q).code2 = GET(w##_code2);                                                                    \
    (q).offset = GET(w##_offset);                                                                  \
    (q).k = w##_k;                                                                                 \
    (q).first = w##_first;                                                                         \
    (q).bits = w##_bits;                                                                           \
    (q).block = w##_block;                                                                         \
    (q).shift = w##_shift;                                                                         \
    (q).block2 = w##_block2;                                                                       \
    (q).shift2 = w##_shift2;                                                                       \
    (q).pack = w##_pack;                                                                           \
    (q).ggml = w##_ggml;                                                                           \
    (q).post = w##_post

#define PACK_LOW_FIRST 1 /* ql_pack */
#define PACK_GGML      2

typedef struct qmat {
    mat codes, table, scale, zero, scale2, code2, offset;
    long k, first, block;
    int bits, shift, block2, shift2, pack, ggml;
    float post;
} qmat;

QL_FN long block_of(const qmat *q, long e) {
    return q->shift >= 0 ? e >> q->shift : e / q->block;
}
QL_FN long group_of(const qmat *q, long b) {
    return q->shift2 >= 0 ? b >> q->shift2 : b / q->block2;
}

/* Scale of block b, counted in the whole weight; second level restored. */
QL_FN float scale_of(const qmat *q, long b) {
    long first = block_of(q, q->first);
    if (q->scale.t != T_U8) return load_at(q->scale, b - first);
    long group = group_of(q, b) - group_of(q, first);
    float restored =
        load_at(q->code2, load_byte(q->scale, b - first)) * load_at(q->scale2, group);
    return restored + load_at(q->offset, 0);
}

/* The code of element e; a 3-bit code may straddle two bytes. */
QL_FN int code_of(const qmat *q, long e) {
    long bit = q->first * q->bits % 8 + (e - q->first) * q->bits;
    int shift = (int)(bit & 7), mask = (1 << q->bits) - 1;
    int low = load_byte(q->codes, bit >> 3), next = 0;
    if (shift + q->bits > 8) next = load_byte(q->codes, (bit >> 3) + 1);
    if (q->pack == PACK_LOW_FIRST) return ((low | next << 8) >> shift) & mask;
    return ((low << 8 | next) >> (16 - q->bits - shift)) & mask;
}

/* ---------------------------------------------------------------- GGUF blocks of 32
 * w = d * (q - bias) + m (backend.h, ql_ggml) */

QL_FN float half_at(const qmat *q, long byte) {
    return ql_f32_from_f16((ushort)(load_byte(q->codes, byte) | load_byte(q->codes, byte + 1) << 8));
}

QL_FN float decode_ggml(const qmat *q, long row, long col) {
    int i = (int)(col & 31), type = q->ggml;
    bool affine = type == 2 || type == 4, five = type == 3 || type == 4;
    int bytes = type == 5 ? 34 : 16 + (affine ? 4 : 2) + (five ? 4 : 0);
    long at_block = row * q->codes.ld + (col >> 5) * bytes;
    long at_codes = at_block + (affine ? 4 : 2);
    float d = half_at(q, at_block);
    if (type == 5) return d * (float)(char)load_byte(q->codes, at_codes + i);
    int fifth = 0;
    if (five) {
        fifth = load_byte(q->codes, at_codes + (i >> 3)) >> (i & 7) & 1;
        at_codes += 4;
    }
    int byte = load_byte(q->codes, at_codes + (i & 15));
    int code = (i < 16 ? byte & 15 : byte >> 4) | fifth << 4;
    float v = d * (float)(code - (affine ? 0 : five ? 16 : 8));
    return affine ? v + half_at(q, at_block + 2) : v;
}

/* ------------------------------------------------------------------------- elements */

/* Scale and zero of the block of one element, kept while neighbours are decoded. */
typedef struct qblock {
    long number;
    float scale, zero;
} qblock;

QL_FN qblock no_block(void) {
    qblock b;
    b.number = -1;
    b.scale = 0.0f;
    b.zero = 0.0f;
    return b;
}

QL_FN float decode(const qmat *q, long row, long col, qblock *b) {
    if (q->pack == PACK_GGML) return decode_ggml(q, row, col);
    long e = q->first + row * q->k + col, number = block_of(q, e);
    if (number != b->number) {
        b->number = number;
        b->scale = scale_of(q, number);
        if (has(q->zero)) b->zero = load_at(q->zero, number - block_of(q, q->first));
    }
    float v = load_at(q->table, code_of(q, e)) * b->scale;
    if (has(q->zero)) v += b->zero;
    return q->post != 0.0f ? v * q->post : v;
}
