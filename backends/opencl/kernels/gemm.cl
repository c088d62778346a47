/*
 * gemm.cl - products, dense and with a weight that is decoded on the way into local memory.
 *
 *   gemm    C = alpha op(A) op(B) + beta C (+ bias)     a batch in dimension 2
 *   gemm_q  the same with B from a quantized weight, either orientation
 *   gemv    few rows of A with B row by row: one work-group per column of C
 *
 * Tiles of TM x TN of C, TK deep, one work-group of GEMM_WG work-items each, which keep RM x RN sums
 * in registers (build options; GEMM_WG = TM / RM * TN / RN). Local memory: (TM + TN + 2) * TK floats
 * <= 16 KiB. A sum runs over k in order, whatever the tile, so the tile does not change a result.
 */
#define GEMM_WG (TM / RM * (TN / RN))
#define A_AT(k, m) ((k) * (TM + 1) + (m))
#define B_AT(k, n) ((k) * (TN + 1) + (n))
#ifdef QL_FMA
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

/* tile[k, x] of a matrix: element (x, k) lies at base + x * by_x + k * by_k; outside it is 0. */
QL_FN void load_tile(mat m, long base, long x0, long X, long by_x, long k0, long K,
                             long by_k, int size, __local float *tile) {
    for (int e = (int)get_local_id(0); e < size * TK; e += GEMM_WG) {
        int x = by_k == 1 ? e / TK : e % size, k = by_k == 1 ? e % TK : e / size;
        float v = 0.0f;
        if (x0 + x < X && k0 + k < K) v = load_at(m, base + (x0 + x) * by_x + (k0 + k) * by_k);
        tile[k * (size + 1) + x] = v;
    }
}

/* B tile of a quantized weight W [n, k]: columns of C are rows of W, or, transposed, its columns.
 * A work-item decodes runs of four neighbours, which mostly share a scale. */
QL_FN void decode_tile(const qmat *w, long n0, long N, long k0, long K, int trans,
                               __local float *tile) {
    qblock block = no_block();
    for (int e0 = (int)get_local_id(0) * 4; e0 < TN * TK; e0 += GEMM_WG * 4)
        for (int e = e0; e < e0 + 4; e++) {
            int n = trans ? e % TN : e / TK, k = trans ? e / TN : e % TK;
            float v = 0.0f;
            if (n0 + n < N && k0 + k < K)
                v = trans ? decode(w, k0 + k, n0 + n, &block) : decode(w, n0 + n, k0 + k, &block);
            tile[B_AT(k, n)] = v;
        }
}

/* acc += the product of two tiles. */
QL_FN void multiply_tiles(const __local float *a, const __local float *b,
                                  float acc[RM][RN]) {
    int lx = (int)get_local_id(0) % (TN / RN), ly = (int)get_local_id(0) / (TN / RN);
    for (int k = 0; k < TK; k++) {
        float ar[RM], br[RN];
        for (int i = 0; i < RM; i++) ar[i] = a[A_AT(k, ly + i * (TM / RM))];
        for (int j = 0; j < RN; j++) br[j] = b[B_AT(k, lx + j * (TN / RN))];
        for (int i = 0; i < RM; i++)
            for (int j = 0; j < RN; j++) acc[i][j] = MULTIPLY_ADD(ar[i], br[j], acc[i][j]);
    }
}

QL_FN void store_tile(mat c, long base, mat bias, long m0, long M, long n0, long N,
                              float alpha, float beta, float acc[RM][RN]) {
    int lx = (int)get_local_id(0) % (TN / RN), ly = (int)get_local_id(0) / (TN / RN);
    for (int i = 0; i < RM; i++)
        for (int j = 0; j < RN; j++) {
            long m = m0 + ly + i * (TM / RM), n = n0 + lx + j * (TN / RN);
            if (m >= M || n >= N) continue;
            float v = alpha * acc[i][j];
            if (beta != 0.0f) v += beta * load_at(c, base + m * c.ld + n);
            if (has(bias)) v += load_at(bias, n);
            store_at(c, base + m * c.ld + n, v);
        }
}

/* a_m, a_k (b_n, b_k): distance in elements of neighbours along that index. */
__kernel void gemm(MAT(a), MAT(b), MAT(c), MAT(bias), const long M, const long N, const long K,
                   const long a_m, const long a_k, const long b_n, const long b_k,
                   const long stride_a, const long stride_b, const long stride_c, const float alpha,
                   const float beta) {
    __local float as[TK * (TM + 1)], bs[TK * (TN + 1)];
    mat a = GET(a), b = GET(b), c = GET(c), bias = GET(bias);
    long n0 = (long)get_group_id(0) * TN, m0 = (long)get_group_id(1) * TM, batch = get_group_id(2);
    float acc[RM][RN];
    for (int i = 0; i < RM; i++)
        for (int j = 0; j < RN; j++) acc[i][j] = 0.0f;
    for (long k0 = 0; k0 < K; k0 += TK) {
        LOCAL_SYNC;
        load_tile(a, batch * stride_a, m0, M, a_m, k0, K, a_k, TM, as);
        load_tile(b, batch * stride_b, n0, N, b_n, k0, K, b_k, TN, bs);
        LOCAL_SYNC;
        multiply_tiles(as, bs, acc);
    }
    store_tile(c, batch * stride_c, bias, m0, M, n0, N, alpha, beta, acc);
}

/* y [M,N] = alpha x [M,K] op(W) + beta y (+ bias) */
__kernel void gemm_q(MAT(x), QMAT(w), MAT(y), MAT(bias), const long M, const long N, const long K,
                     const int trans, const float alpha, const float beta) {
    __local float as[TK * (TM + 1)], bs[TK * (TN + 1)];
    mat x = GET(x), y = GET(y), bias = GET(bias);
    qmat w;
    GET_Q(w, w);
    long n0 = (long)get_group_id(0) * TN, m0 = (long)get_group_id(1) * TM;
    float acc[RM][RN];
    for (int i = 0; i < RM; i++)
        for (int j = 0; j < RN; j++) acc[i][j] = 0.0f;
    for (long k0 = 0; k0 < K; k0 += TK) {
        LOCAL_SYNC;
        load_tile(x, 0, m0, M, x.ld, k0, K, 1, TM, as);
        decode_tile(&w, n0, N, k0, K, trans, bs);
        LOCAL_SYNC;
        multiply_tiles(as, bs, acc);
    }
    store_tile(y, 0, bias, m0, M, n0, N, alpha, beta, acc);
}

/* y [M,N] = alpha x [M,K] W^T + beta y (+ bias), M <= GEMV_ROWS; W [N,K] dense or quantized. */
__kernel void gemv(MAT(x), QMAT(w), MAT(wd), MAT(y), MAT(bias), const int M, const long K,
                   const float alpha, const float beta) {
    __local float tmp[QL_WG];
    mat x = GET(x), wd = GET(wd), y = GET(y), bias = GET(bias);
    qmat w;
    GET_Q(w, w);
    long n = get_group_id(0);
    float acc[GEMV_ROWS];
    qblock block = no_block();
    for (int i = 0; i < GEMV_ROWS; i++) acc[i] = 0.0f;
    for (long k = get_local_id(0); k < K; k += QL_WG) {
        float v = has(wd) ? load(wd, n, k) : decode(&w, n, k, &block);
        for (int i = 0; i < M; i++) acc[i] = MULTIPLY_ADD(load(x, i, k), v, acc[i]);
    }
    for (int i = 0; i < M; i++) {
        float sum = alpha * group_sum(acc[i], tmp);
        if (get_local_id(0) > 0) continue;
        if (beta != 0.0f) sum += beta * load(y, i, n);
        if (has(bias)) sum += load_at(bias, n);
        store(y, i, n, sum);
    }
}
