/*
 * reduce.cl - column sums, sums of squares, and the last step of every sum over chunks of rows.
 */

/* partial[c, j] = sum over the rows of chunk c of x[i, j]; one work-item per column and chunk. */
__kernel void sum_chunks(MAT(x), MAT(partial), const long rows, const long cols, const int chunk) {
    mat x = GET(x), partial = GET(partial);
    long j = get_global_id(0), c = get_global_id(1);
    if (j >= cols) return;
    float sum = 0.0f;
    for (long i = c * chunk; i < rows && i < (c + 1) * chunk; i++) sum += load(x, i, j);
    store_at(partial, c * cols + j, sum);
}

/* y[j] (=, +=) sum over chunks of partial[c, j], in the order of c. */
__kernel void combine_cols(MAT(partial), MAT(y), const long chunks, const long cols,
                           const int accumulate) {
    mat partial = GET(partial), y = GET(y);
    long j = get_global_id(0);
    if (j >= cols) return;
    float sum = accumulate ? load_at(y, j) : 0.0f;
    for (long c = 0; c < chunks; c++) sum += load_at(partial, c * cols + j);
    store_at(y, j, sum);
}

/* partial[2 p], [2 p + 1] = sum of squares and count of non-finite elements of piece p: `piece`
 * columns of one row, one work-group each. */
__kernel void square_pieces(MAT(x), MAT(partial), const long cols, const long piece) {
    __local float tmp[QL_WG];
    mat x = GET(x), partial = GET(partial);
    long p = get_group_id(0), per_row = (cols + piece - 1) / piece;
    long i = p / per_row, first = p % per_row * piece, l = get_local_id(0);
    float sum = 0.0f, rest = 0.0f, count = 0.0f;
    for (long j = first + l; j < cols && j < first + piece; j += QL_WG) {
        float v = load(x, i, j);
        bool finite = (ql_bits_of_f32(v) & 0x7F800000u) != 0x7F800000u;
        if (finite) add_exact(&sum, &rest, v * v);
        else sum += v * v;
        count += finite ? 0.0f : 1.0f;
    }
    float squares = group_sum(isfinite(sum) ? sum + rest : sum, tmp);
    count = group_sum(count, tmp);
    if (l == 0) {
        store_at(partial, 2 * p, squares);
        store_at(partial, 2 * p + 1, count);
    }
}

/* y[0] (=, +=) sum of squares, y[1] (=, +=) count; one work-group. */
__kernel void square_total(MAT(partial), MAT(y), const long pieces, const int accumulate) {
    __local float tmp[QL_WG];
    mat partial = GET(partial), y = GET(y);
    int l = (int)get_local_id(0);
    float sum = 0.0f, rest = 0.0f, count = 0.0f;
    for (long p = l; p < pieces; p += QL_WG) {
        float v = load_at(partial, 2 * p);
        if (isfinite(sum) && isfinite(v)) add_exact(&sum, &rest, v);
        else sum += v;
        count += load_at(partial, 2 * p + 1);
    }
    sum = group_sum(isfinite(sum) ? sum + rest : sum, tmp);
    count = group_sum(count, tmp);
    if (l > 0) return;
    store_at(y, 0, accumulate ? load_at(y, 0) + sum : sum);
    store_at(y, 1, accumulate ? load_at(y, 1) + count : count);
}
