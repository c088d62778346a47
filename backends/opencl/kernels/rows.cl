/*
 * rows.cl - operators that move, gather or scale whole rows. One work-item per element unless a
 * kernel says otherwise: columns in dimension 0, rows in dimension 1.
 */

/* y[i,:] (=, +=) scale table[index[i],:]     table [V,C], index I32 [1,N], y [N,C] */
__kernel void gather(MAT(table), MAT(index), MAT(y), const long cols, const float scale,
                     const int accumulate) {
    mat table = GET(table), index = GET(index), y = GET(y);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    float v = scale * load(table, load_int(index, i), j);
    if (accumulate) v = load(y, i, j) + v;
    store(y, i, j, v);
}

/* ---------------------------------------------------------------- scatter_add
 * Three kernels: first[v] = N; then first[v] = the first i with index[i] == v (the smallest wins,
 * whatever the order) and next[i] = the next i with the same index, N = none; then the first of
 * each index adds its whole chain in index order and rounds once. Scratch: first [V], next [N]. */

__kernel void scatter_init(MAT(scratch), const long V, const int N) {
    mat s = GET(scratch);
    long v = get_global_id(0);
    if (v < V) *(__global int *)at(s, v * 4) = N;
}

__kernel void scatter_link(MAT(scratch), MAT(index), const long V, const int N) {
    mat s = GET(scratch), index = GET(index);
    int i = (int)get_global_id(0), next;
    if (i >= N) return;
    int v = load_int(index, i);
    for (next = i + 1; next < N && load_int(index, next) != v; next++) {}
    *(__global int *)at(s, (V + i) * 4) = next;
    atomic_min((volatile __global int *)at(s, (long)v * 4), i);
}

/* dtable[index[i],:] += scale dy[i,:]     dy [N,C], index I32 [1,N], dtable [V,C] */
__kernel void scatter_add(MAT(scratch), MAT(index), MAT(dy), MAT(dtable), const long V, const int N,
                          const long cols, const float scale) {
    mat s = GET(scratch), index = GET(index), dy = GET(dy), dtable = GET(dtable);
    long j = get_global_id(0);
    int i = (int)get_global_id(1), v = load_int(index, i);
    if (j >= cols || load_int(s, v) != i) return;
    float sum = load(dtable, v, j);
    for (int k = i; k < N; k = load_int(s, V + k)) sum += scale * load(dy, k, j);
    store(dtable, v, j, sum);
}

/* ------------------------------------------------------------------- row_norm
 * norm[i] = || W[i,:] + s (b a)[i,:] ||     W [n,k] dense or quantized, a [r,k], b [n,r].
 * One work-group per row. */
__kernel void row_norm(QMAT(w), MAT(wd), MAT(a), MAT(b), MAT(norm), const long k, const long r,
                       const float s) {
    __local float tmp[QL_WG];
    mat wd = GET(wd), a = GET(a), b = GET(b), norm = GET(norm);
    qmat w;
    GET_Q(w, w);
    long i = get_group_id(0);
    float sum = 0.0f, rest = 0.0f;
    qblock block = no_block();
    for (long j = get_local_id(0); j < k; j += QL_WG) {
        float v = has(wd) ? load(wd, i, j) : decode(&w, i, j, &block), low = 0.0f;
        if (has(a)) {
            for (long t = 0; t < r; t++) low += load(b, i, t) * load(a, t, j);
            v += s * low;
        }
        add_exact(&sum, &rest, v * v);
    }
    sum = group_sum(sum + rest, tmp);
    if (get_local_id(0) == 0) store_at(norm, i, sqrt(sum));
}

/* ----------------------------------------------------------------- scale_cols */

/* y = in m / norm, in = dy in backward, else x;  x, y, dy [N,K]; m, norm F32 [1,K] */
__kernel void scale_cols(MAT(in), MAT(m), MAT(norm), MAT(y), const long cols) {
    mat in = GET(in), m = GET(m), norm = GET(norm), y = GET(y);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    store(y, i, j, load(in, i, j) * load_at(m, j) / (has(norm) ? load_at(norm, j) : 1.0f));
}

/* partial[c, j] = sum over the rows of chunk c of dy x / norm; combined by combine_cols. Runs
 * before scale_cols, since y may be x. */
__kernel void scale_cols_dm(MAT(x), MAT(dy), MAT(norm), MAT(partial), const long rows,
                            const long cols, const int chunk) {
    mat x = GET(x), dy = GET(dy), norm = GET(norm), partial = GET(partial);
    long j = get_global_id(0), c = get_global_id(1);
    if (j >= cols) return;
    float sum = 0.0f, by = has(norm) ? load_at(norm, j) : 1.0f;
    for (long i = c * chunk; i < rows && i < (c + 1) * chunk; i++)
        sum += load(dy, i, j) * load(x, i, j) / by;
    store_at(partial, c * cols + j, sum);
}

/* --------------------------------------------------------- row_copy, col_copy */

/* y[dst[i],:] = x[src[i],:]; no two dst are equal. */
__kernel void row_copy(MAT(x), MAT(y), MAT(src), MAT(dst), const long cols) {
    mat x = GET(x), y = GET(y), src = GET(src), dst = GET(dst);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    long from = has(src) ? load_int(src, i) : i, to = has(dst) ? load_int(dst, i) : i;
    long ex = from * x.ld + j, ey = to * y.ld + j;
    if (x.t == T_U8)
        *at(y, ey) = *at(x, ex);
    else if (x.t == T_I32 || (x.t == T_F32 && y.t == T_F32))
        *(__global uint *)at(y, ey * 4) = *(__global const uint *)at(x, ex * 4);
    else if (x.t == y.t)
        *(__global ushort *)at(y, ey * 2) = *(__global const ushort *)at(x, ex * 2);
    else
        store_at(y, ey, load_at(x, ex));
}

/* y[i, g y_step + y_at + j] (=, +=) x[i, g x_step + x_at + j]; dimension 0 = g * width + j */
__kernel void col_copy(MAT(x), MAT(y), const int groups, const int width, const int x_step,
                       const int x_at, const int y_step, const int y_at, const int accumulate) {
    mat x = GET(x), y = GET(y);
    long c = get_global_id(0), i = get_global_id(1);
    if (c >= (long)groups * width) return;
    long g = c / width, j = c % width, to = g * y_step + y_at + j;
    float v = load(x, i, g * x_step + x_at + j);
    store(y, i, to, accumulate ? load(y, i, to) + v : v);
}
