/*
 * elem.cl - fill, axpby, dropout, activations. One work-item per element (dropout: per four columns
 * that share a draw), columns in dimension 0, rows in dimension 1. No sums.
 */

/* y [R,K] = value */
__kernel void fill(MAT(y), const long cols, const float value) {
    mat y = GET(y);
    long j = get_global_id(0), i = get_global_id(1), e = i * y.ld + j;
    if (j >= cols) return;
    if (y.t == T_U8)
        *at(y, e) = (uchar)value;
    else if (y.t == T_I32)
        *(__global int *)at(y, e * 4) = (int)value;
    else
        store_at(y, e, value);
}

/* y [R,K] = alpha x + beta y; x [R,K] or, with x_rows 1, [1,K]. beta 0 does not read y. */
__kernel void axpby(MAT(x), MAT(y), const long cols, const int x_one_row, const float alpha,
                    const float beta) {
    mat x = GET(x), y = GET(y);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    float v = alpha * load(x, x_one_row ? 0 : i, j);
    if (beta != 0.0f) v += beta * load(y, i, j);
    store(y, i, j, v);
}

/* y [R,K] = keep ? x / (1 - p) : 0. A dropped infinity is 0, not NaN. */
__kernel void dropout(MAT(x), MAT(y), MAT(key), MAT(step), const long cols, const float p,
                      const float scale, const ulong seed, const ulong stream) {
    mat x = GET(x), y = GET(y), rows = GET(key), step = GET(step);
    long group = get_global_id(0), i = get_global_id(1);
    uint root[2], words[4];
    if (group * 4 >= cols) return;
    int sample = has(rows) ? load_int(rows, i * rows.ld) : (int)i;
    int position = has(rows) ? load_int(rows, i * rows.ld + 1) : 0;
    rng_key(seed, stream, step, root);
    ql_rng_words(root, sample, position, 0, (uint)group, words);
    for (int w = 0; w < 4 && group * 4 + w < cols; w++) {
        bool keep = ql_uniform24(words[w]) >= p;
        store(y, i, group * 4 + w, keep ? load(x, i, group * 4 + w) * scale : 0.0f);
    }
}

/* y [R,F] = act(x) up; up absent = 1. */
__kernel void act_fwd(MAT(x), MAT(up), MAT(y), const long cols, const int kind) {
    mat x = GET(x), up = GET(up), y = GET(y);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    float f = ql_act(kind, load(x, i, j));
    if (has(up)) f *= load(up, i, j);
    store(y, i, j, f);
}

/* dx = dy up act'(x);  dup = dy act(x). dx may be x and dup may be up: both are read first. */
__kernel void act_bwd(MAT(x), MAT(up), MAT(dy), MAT(dx), MAT(dup), const long cols,
                      const int kind) {
    mat x = GET(x), up = GET(up), dy = GET(dy), dx = GET(dx), dup = GET(dup);
    long j = get_global_id(0), i = get_global_id(1);
    if (j >= cols) return;
    float v = load(x, i, j), g = load(dy, i, j), d = ql_act_d(kind, v) * g;
    if (has(up)) d *= load(up, i, j);
    if (has(dx)) store(dx, i, j, d);
    if (has(dup)) store(dup, i, j, ql_act(kind, v) * g);
}
