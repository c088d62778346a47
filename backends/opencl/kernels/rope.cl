/*
 * rope.cl - rotary positions. Pairs (a, b) of a head become (a cos - b sin, b cos + a sin), sin
 * times `sign`; columns from `rot` on are copied. Dimension 0 counts pairs and copied columns of
 * all heads, dimension 1 rows. A pair belongs to one work-item: y may be x.
 */
__kernel void rope(MAT(x), MAT(table), MAT(pos), MAT(y), const int heads, const int head_dim,
                   const int rot, const float sign, const int interleaved) {
    mat x = GET(x), table = GET(table), pos = GET(pos), y = GET(y);
    int half_rot = rot / 2, units = head_dim - half_rot;
    int unit = (int)get_global_id(0);
    long i = get_global_id(1);
    if (unit >= heads * units) return;
    long col = (long)(unit / units) * head_dim;
    int u = unit % units;
    if (u >= half_rot) {
        long c = col + half_rot + u;
        store(y, i, c, load(x, i, c));
        return;
    }
    long lo = col + (interleaved ? 2 * u : u), hi = col + (interleaved ? 2 * u + 1 : u + half_rot);
    long row = load_int(pos, i);
    float cs = load(table, row, u), sn = sign * load(table, row, half_rot + u);
    float a = load(x, i, lo), b = load(x, i, hi);
    store(y, i, lo, a * cs - b * sn);
    store(y, i, hi, b * cs + a * sn);
}
