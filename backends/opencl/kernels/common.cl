/*
 * common.cl - the text in front of every kernel family, behind ql_math.inc: matrices, their
 * elements, sums over a work-group.
 *
 * OpenCL C 1.2 without extensions. Every work-group has QL_WG work-items in its first dimension.
 * A matrix comes as MAT(x) in a kernel's parameters and GET(x) in its body. With QL_CHUNKS 1 its
 * bytes lie behind one pointer; the other build of the same text, QL_CHUNKS 4, serves matrices
 * that straddle the pieces of a buffer larger than the device allows at once: piece c holds bytes
 * [c, c + 1) * QL_CHUNK_BYTES counted from the first piece, a multiple of every element size.
 * Functions are QL_FN (program.c: inlined by force).
 * Built without any relaxed mathematics: NaN and infinity must survive.
 */
#ifndef LOCAL_SYNC /* a test takes the barriers away to see that their absence is noticed */
#define LOCAL_SYNC barrier(CLK_LOCAL_MEM_FENCE)
#endif

#define T_NONE (-1) /* an absent operand */
#define T_F32  0    /* the values of ql_dtype */
#define T_F16  1
#define T_BF16 2
#define T_I32  3
#define T_U8   4

#if QL_CHUNKS == 1
#define MAT(x) __global uchar *x##_0, const ulong x##_off, const int x##_ld, const int x##_t
#define GET(x) make_mat(x##_0 + x##_off, x##_ld, x##_t)

typedef struct mat {
    __global uchar *p;
    long ld;
    int t;
} mat;

QL_FN mat make_mat(__global uchar *p, long ld, int t) {
    mat m;
    m.p = p;
    m.ld = ld;
    m.t = t;
    return m;
}
/* Address of a byte of the matrix. */
QL_FN __global uchar *at(mat m, long byte) {
    return m.p + byte;
}
#else
#define MAT(x)                                                                                     \
    __global uchar *x##_0, __global uchar *x##_1, __global uchar *x##_2, __global uchar *x##_3,    \
        const ulong x##_off, const int x##_ld, const int x##_t
#define GET(x) make_mat(x##_0, x##_1, x##_2, x##_3, x##_off, x##_ld, x##_t)

typedef struct mat {
    __global uchar *p0, *p1, *p2, *p3;
    ulong off;
    long ld;
    int t;
} mat;

QL_FN mat make_mat(__global uchar *p0, __global uchar *p1, __global uchar *p2,
                           __global uchar *p3, ulong off, long ld, int t) {
    mat m;
    m.p0 = p0;
    m.p1 = p1;
    m.p2 = p2;
    m.p3 = p3;
    m.off = off;
    m.ld = ld;
    m.t = t;
    return m;
}
QL_FN __global uchar *at(mat m, long byte) {
    ulong b = m.off + (ulong)byte;
    if (b < QL_CHUNK_BYTES) return m.p0 + b;
    b -= QL_CHUNK_BYTES;
    if (b < QL_CHUNK_BYTES) return m.p1 + b;
    b -= QL_CHUNK_BYTES;
    if (b < QL_CHUNK_BYTES) return m.p2 + b;
    return m.p3 + (b - QL_CHUNK_BYTES);
}
#endif

/* ------------------------------------------------------------------- elements */

QL_FN bool has(mat m) {
    return m.t != T_NONE;
}

/* Element number e of a matrix without gaps, or i * ld + j. */
QL_FN float load_at(mat m, long e) {
    if (m.t == T_F32) return *(__global const float *)at(m, e * 4);
    ushort h = *(__global const ushort *)at(m, e * 2);
    return m.t == T_BF16 ? ql_f32_from_bf16(h) : ql_f32_from_f16(h);
}
QL_FN void store_at(mat m, long e, float v) {
    if (m.t == T_F32)
        *(__global float *)at(m, e * 4) = v;
    else
        *(__global ushort *)at(m, e * 2) =
            m.t == T_BF16 ? ql_bf16_from_f32(v) : ql_f16_from_f32(v);
}
QL_FN float load(mat m, long i, long j) {
    return load_at(m, i * m.ld + j);
}
QL_FN void store(mat m, long i, long j, float v) {
    store_at(m, i * m.ld + j, v);
}
QL_FN int load_int(mat m, long e) {
    return *(__global const int *)at(m, e * 4);
}
QL_FN uchar load_byte(mat m, long e) {
    return *at(m, e);
}
/* Field of the step block, a float at 4 * index. */
QL_FN float step_field(mat step, int index) {
    return *(__global const float *)at(step, index * 4);
}
QL_FN void set_step_field(mat step, int index, float v) {
    *(__global float *)at(step, index * 4) = v;
}
#define STEP_LR         0
#define STEP_LOSS_SCALE 1
#define STEP_UNSCALE    2
#define STEP_BIAS1      3
#define STEP_BIAS2      4
#define STEP_CLIP       5
#define STEP_NORM       6
#define STEP_SKIP       7
#define STEP_RNG        8

/* ----------------------------------------------------------------- randomness */

/* Key of a stream in this step (ql_math.inc). */
QL_FN void rng_key(ulong seed, ulong stream, mat step, uint key[2]) {
    ql_rng_key(seed, stream, has(step) ? (uint)load_int(step, STEP_RNG) : 0u, key);
}
/* The word of one column; rows: I32 [N, 2] or absent. */
QL_FN uint rng_word(const uint key[2], mat rows, long row, uint lane, uint column) {
    uint words[4];
    int sample = has(rows) ? load_int(rows, row * rows.ld) : (int)row;
    int position = has(rows) ? load_int(rows, row * rows.ld + 1) : 0;
    ql_rng_words(key, sample, position, lane, column / 4, words);
    return words[column % 4];
}

/* ------------------------------------------------------- sums of a work-group
 * In a fixed order: every work-item brings one value, halves are added pairwise. All work-items
 * must call; `tmp` holds QL_WG floats. */

QL_FN float group_sum(float v, __local float *tmp) {
    int l = (int)get_local_id(0);
    LOCAL_SYNC;
    tmp[l] = v;
    LOCAL_SYNC;
    for (int width = QL_WG / 2; width > 0; width /= 2) {
        if (l < width) tmp[l] += tmp[l + width];
        LOCAL_SYNC;
    }
    return tmp[0];
}
/* The largest; NaN is passed over. */
QL_FN float group_max(float v, __local float *tmp) {
    int l = (int)get_local_id(0);
    LOCAL_SYNC;
    tmp[l] = v;
    LOCAL_SYNC;
    for (int width = QL_WG / 2; width > 0; width /= 2) {
        if (l < width) tmp[l] = tmp[l + width] > tmp[l] ? tmp[l + width] : tmp[l];
        LOCAL_SYNC;
    }
    return tmp[0];
}

/* sum + rest += v with the rounding error kept in rest (Knuth's two-sum): sums of thousands of
 * terms without a wider type. */
QL_FN void add_exact(float *sum, float *rest, float v) {
    float s = *sum + v, b = s - *sum;
    *rest += (*sum - (s - b)) + (v - b);
    *sum = s;
}
