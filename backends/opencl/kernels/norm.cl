/*
 * norm.cl - layer norm and RMS norm, whole rows or per group of columns (q/k norm).
 *
 * With `groups` > 1 a row is `groups` vectors of D columns, each normalized by itself with the same
 * w, b [1, D]; mean and rstd hold N * groups values. One work-group per vector; dw and db: one
 * work-item per column and chunk of vectors, then combine_cols.
 */

QL_FN float load_vec(mat m, long v, int groups, long D, long j) {
    return load(m, v / groups, v % groups * D + j);
}
QL_FN void store_vec(mat m, long v, int groups, long D, long j, float x) {
    store(m, v / groups, v % groups * D + j, x);
}

/* s = x + residual;  y = (s - mean) rstd (w + w_offset) + b. `sum` may be x or residual: every
 * work-item writes what only itself reads, in the last pass. */
__kernel void norm_fwd(MAT(x), MAT(residual), MAT(w), MAT(b), MAT(sum), MAT(y), MAT(mean),
                       MAT(rstd), const int groups, const long D, const int rms, const float eps,
                       const float w_offset) {
    __local float tmp[QL_WG];
    mat x = GET(x), residual = GET(residual), w = GET(w), b = GET(b), sum = GET(sum), y = GET(y),
        mean_out = GET(mean), rstd_out = GET(rstd);
    long v = get_group_id(0), l = get_local_id(0);
    float total = 0.0f, mean = 0.0f;
    if (!rms) {
        for (long j = l; j < D; j += QL_WG) {
            float s = load_vec(x, v, groups, D, j);
            if (has(residual)) s += load_vec(residual, v, groups, D, j);
            total += s;
        }
        mean = group_sum(total, tmp) / (float)D;
    }
    total = 0.0f;
    for (long j = l; j < D; j += QL_WG) {
        float s = load_vec(x, v, groups, D, j);
        if (has(residual)) s += load_vec(residual, v, groups, D, j);
        s -= mean;
        total += s * s;
    }
    float rstd = 1.0f / sqrt(group_sum(total, tmp) / (float)D + eps);
    for (long j = l; j < D; j += QL_WG) {
        float s = load_vec(x, v, groups, D, j);
        if (has(residual)) s += load_vec(residual, v, groups, D, j);
        if (has(sum)) store_vec(sum, v, groups, D, j, s);
        float n = (s - mean) * rstd * (load_at(w, j) + w_offset);
        if (has(b)) n += load_at(b, j);
        store_vec(y, v, groups, D, j, n);
    }
    if (l == 0) {
        if (has(mean_out)) store_at(mean_out, v, mean);
        if (has(rstd_out)) store_at(rstd_out, v, rstd);
    }
}

/* n = (s - mean) rstd, g = dy (w + w_offset):
 *   LAYER dx = rstd (g - mean(g) - n mean(g n))      RMS dx = rstd (g - n mean(g n)) */
__kernel void norm_bwd(MAT(s), MAT(w), MAT(mean), MAT(rstd), MAT(dy), MAT(dx), const int groups,
                       const long D, const int rms, const float w_offset, const int accumulate) {
    __local float tmp[QL_WG];
    mat s = GET(s), w = GET(w), mean_in = GET(mean), rstd_in = GET(rstd), dy = GET(dy),
        dx = GET(dx);
    long v = get_group_id(0), l = get_local_id(0);
    float rstd = load_at(rstd_in, v), mean = rms ? 0.0f : load_at(mean_in, v);
    float sum_g = 0.0f, sum_gn = 0.0f;
    for (long j = l; j < D; j += QL_WG) {
        float n = (load_vec(s, v, groups, D, j) - mean) * rstd;
        float g = load_vec(dy, v, groups, D, j) * (load_at(w, j) + w_offset);
        sum_g += g;
        sum_gn += g * n;
    }
    float mean_g = rms ? 0.0f : group_sum(sum_g, tmp) / (float)D;
    float mean_gn = group_sum(sum_gn, tmp) / (float)D;
    for (long j = l; j < D; j += QL_WG) {
        float n = (load_vec(s, v, groups, D, j) - mean) * rstd;
        float g = load_vec(dy, v, groups, D, j) * (load_at(w, j) + w_offset);
        float d = rstd * (g - mean_g - n * mean_gn);
        if (accumulate) d += load_vec(dx, v, groups, D, j);
        store_vec(dx, v, groups, D, j, d);
    }
}

/* partial[c, j] = sum over the vectors of chunk c of dy n (of dy alone for db). Runs before
 * norm_bwd. */
__kernel void norm_bwd_dw(MAT(s), MAT(mean), MAT(rstd), MAT(dy), MAT(partial), const int groups,
                          const long D, const long count, const int rms, const int chunk,
                          const int for_bias) {
    mat s = GET(s), mean_in = GET(mean), rstd_in = GET(rstd), dy = GET(dy), partial = GET(partial);
    long j = get_global_id(0), c = get_global_id(1);
    if (j >= D) return;
    float sum = 0.0f;
    for (long v = c * chunk; v < count && v < (c + 1) * chunk; v++) {
        float g = load_vec(dy, v, groups, D, j);
        float mean = rms ? 0.0f : load_at(mean_in, v);
        if (!for_bias) g *= (load_vec(s, v, groups, D, j) - mean) * load_at(rstd_in, v);
        sum += g;
    }
    store_at(partial, c * D + j, sum);
}
