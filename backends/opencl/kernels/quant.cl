/*
 * quant.cl - decoding a weight as an operator, and encoding: block statistics, then codes.
 *
 * Rules: spec/quantization.md 1.3 to 1.5 and 2.2, formulas in ql_math.inc; the CUDA rule with an
 * exact reciprocal. Elements count from the first one held here.
 */
#define ENCODE_NEAREST 0 /* ql_encode */
#define ENCODE_ROUND   1
#define ENCODE_AFFINE  2

/* w[i, j] = W[row0 + i, j]; columns in dimension 0. */
__kernel void q_dequantize(QMAT(q), MAT(w), const long row0, const long cols) {
    mat w = GET(w);
    qmat q;
    GET_Q(q, q);
    long j = get_global_id(0), i = get_global_id(1);
    qblock block = no_block();
    if (j < cols) store(w, i, j, decode(&q, row0 + i, j, &block));
}

/* Element e of w in row-major order. */
QL_FN float element(mat w, long e, long cols) {
    return w.ld == cols ? load_at(w, e) : load(w, e / cols, e % cols);
}

/* scale[b] = largest |w| of block b, or scale and zero of its range; one work-group per block. A
 * NaN makes the block NaN, or is passed over (8-bit map, CUDA rule). `ends`: the weight's last
 * element is here, so a partial last block has its absmax floored. */
__kernel void quant_scales(MAT(w), MAT(scale), MAT(zero), const long cols, const long count,
                           const long block, const int encode, const int bits, const int cuda,
                           const int ends) {
    __local float tmp[QL_WG];
    mat w = GET(w), scale = GET(scale), zero = GET(zero);
    long b = get_group_id(0), e0 = b * block, n = count - e0 < block ? count - e0 : block;
    int l = (int)get_local_id(0);
    float top = 0.0f, low = INFINITY, high = -INFINITY, nan = 0.0f;
    for (long e = l; e < n; e += QL_WG) {
        float x = element(w, e0 + e, cols);
        top = fabs(x) > top ? fabs(x) : top;
        low = x < low ? x : low;
        high = x > high ? x : high;
        nan = x != x ? 1.0f : nan;
    }
    nan = group_max(nan, tmp);
    if (encode == ENCODE_AFFINE) {
        low = -group_max(-low, tmp);
        high = group_max(high, tmp);
        if (nan > 0.0f) low = high = NAN;
        if (l == 0) {
            store_at(scale, b, ql_affine_scale(low, high, (1 << bits) - 1));
            store_at(zero, b, low);
        }
        return;
    }
    top = group_max(top, tmp);
    bool passes_nan = encode == ENCODE_NEAREST && (cuda || bits == 8);
    if (nan > 0.0f && !passes_nan) top = NAN;
    bool partial = encode == ENCODE_NEAREST && !cuda && bits < 8 && n < block && ends;
    if (partial && top <= 1e-38f) top = 1e-38f;
    if (l == 0) store_at(scale, b, top);
}

/* Codes in the order of their values (equal values in the order of codes), midpoints between
 * neighbours; a table of fewer than 16 entries is continued by cuts that nothing exceeds. All
 * work-items take part, one per entry; n 0: there is no table. */
QL_FN void cuts_of_table(mat table, int n, int cuda, __local float *cut,
                                 __local uchar *code) {
    int l = (int)get_local_id(0), place = 0;
    bool nf4 = cuda && n == 16;
    for (int i = 0; i < n; i++) {
        float v = load_at(table, i), mine = load_at(table, l < n ? l : 0);
        place += v < mine || (v == mine && i < l);
        nf4 = nf4 && v == ql_nf4_table[i];
    }
    if (l < n) code[place] = (uchar)l;
    LOCAL_SYNC;
    if (n > 0 && l >= n && l < 16) code[l] = code[n - 1];
    if (n > 0 && l < 16) {
        bool between = l + 1 < n;
        float a = load_at(table, code[between ? l : 0]);
        float b = load_at(table, code[between ? l + 1 : 0]);
        cut[l] = nf4 && l < 15 ? ql_nf4_mid_cuda[l] : between ? (a + b) * 0.5f : INFINITY;
    }
}

/* How the elements of one block become codes. */
typedef struct rule {
    int encode, bits, cuda;
    bool divide, fp4_cuda;
    float absmax, mul, low, scale;
} rule;

QL_FN rule rule_of(mat scale, mat zero, long b, int encode, int bits, int cuda,
                           bool partial, bool fp4_cuda) {
    rule r;
    r.encode = encode;
    r.bits = bits;
    r.cuda = cuda;
    r.divide = partial && encode == ENCODE_NEAREST && !cuda && bits < 8;
    r.fp4_cuda = fp4_cuda;
    r.absmax = r.scale = load_at(scale, b);
    r.low = encode == ENCODE_AFFINE ? load_at(zero, b) : 0.0f;
    r.mul = 1.0f / (r.absmax <= 1e-38f && !cuda && bits < 8 ? 1e-38f : r.absmax);
    return r;
}

QL_FN int encode_one(const rule *r, float x, const __local float *cut,
                             const __local uchar *code, const __local float *map) {
    if (r->encode == ENCODE_AFFINE) return ql_affine_code(x, r->low, r->scale, (1 << r->bits) - 1);
    if (r->encode == ENCODE_ROUND) return ql_int8_code(x, r->absmax);
    float v = r->divide ? x / r->absmax : x * r->mul;
    if (r->bits == 8) return r->cuda ? ql_dyn8_code_cuda(map, v) : ql_dyn8_code_cpu(map, v);
    if (r->fp4_cuda) return ql_fp4_code_cuda(v);
    return code[r->cuda ? ql_count_above_cut(v, cut, 15) : ql_count_below_cut(v, cut, 15)];
}

/* Codes; one work-item per 8 codes, which fill `bits` whole bytes. The unused end of the last byte:
 * half a byte holds the code of 0 (spec 1.2), else zeros. */
__kernel void quant_codes(MAT(w), MAT(scale), MAT(zero), MAT(table), MAT(codes), const long cols,
                          const long count, const long block, const int encode, const int bits,
                          const int cuda, const int low_first, const int ends) {
    __local float cut[16], map[256];
    __local uchar sorted[16];
    mat w = GET(w), scale = GET(scale), zero = GET(zero), table = GET(table), codes = GET(codes);
    int l = (int)get_local_id(0);
    bool nearest = encode == ENCODE_NEAREST, fp4_cuda = nearest && cuda && bits == 4;
    for (int i = l; i < 256; i += QL_WG) map[i] = nearest && bits == 8 ? load_at(table, i) : 0.0f;
    cuts_of_table(table, nearest && bits <= 4 ? 1 << bits : 0, cuda, cut, sorted);
    for (int i = 0; fp4_cuda && i < 16; i++) fp4_cuda = load_at(table, i) == ql_fp4_table[i];
    LOCAL_SYNC;
    long e0 = (long)get_global_id(0) * 8, have = -1;
    ulong bytes = 0; /* up to 8 bytes of codes, the first one lowest */
    rule r;
    for (int i = 0; i < 8 && e0 < count; i++) {
        long e = e0 + i, b = e / block;
        int code = 0;
        if (e < count) {
            if (b != have) {
                bool partial = ends && count - b * block < block;
                r = rule_of(scale, zero, b, encode, bits, cuda, partial, fp4_cuda);
                have = b;
            }
            code = encode_one(&r, element(w, e, cols), cut, sorted, map);
        } else if (bits == 4 && e == count) {
            r.divide = false;
            r.absmax = r.mul = r.scale = 1.0f;
            r.low = 0.0f;
            code = encode_one(&r, 0.0f, cut, sorted, map);
        }
        for (int k = 0; k < bits; k++) { /* from the code's first stored bit on */
            int bit = i * bits + k, value = low_first ? code >> k & 1 : code >> (bits - 1 - k) & 1;
            bytes |= (ulong)value << (bit / 8 * 8 + (low_first ? bit % 8 : 7 - bit % 8));
        }
    }
    long at_byte = e0 / 8 * bits, end = (count * bits + 7) / 8;
    for (int k = 0; k < bits && at_byte + k < end; k++)
        *at(codes, at_byte + k) = (uchar)(bytes >> (8 * k));
}
