/*
 * attn.cl - attention, forward with an online softmax and backward from the saved log-sum-exp; no
 * [Nq, Nk] matrix exists.
 *
 *   o = softmax(softcap(scale q k^T) + bias, over visible keys) v        per sequence and head
 *
 * Key j of a sequence is at position j, query i at position len - Lq + i; key j is visible when
 * (causal) j <= i and (window) i - j < window. A work-group owns one query row of one head
 * (attn_fwd, attn_bwd_q) or one key row of one key-value head (attn_bwd_kv) and goes over the other
 * side in tiles of QL_WG, one score per work-item: no atomics, every sum in a fixed order. Rows in
 * dimension 0, heads in dimension 1. Head sizes are at most ATTN_DIMS.
 */
#define BIAS_NONE   0 /* ql_attn_bias */
#define BIAS_TABLE  1
#define BIAS_DISENT 2

#define SPEC                                                                                       \
    MAT(start_q), MAT(start_kv), MAT(len_kv), MAT(key), MAT(step), MAT(table), MAT(c2p), MAT(p2c), \
        MAT(bucket), const int n_seq, const int heads_q, const int heads_kv, const int dim,        \
        const int dim_v, const float scale, const float softcap, const int window,                 \
        const int causal, const float dropout, const ulong seed, const ulong stream,               \
        const int bias, const int buckets, const int half_buckets
#define GET_SPEC(s)                                                                                \
    (s).start_q = GET(start_q);                                                                    \
    (s).start_kv = GET(start_kv);                                                                  \
    (s).len_kv = GET(len_kv);                                                                      \
    (s).key = GET(key);                                                                            \
    (s).table = GET(table);                                                                        \
    (s).c2p = GET(c2p);                                                                            \
    (s).p2c = GET(p2c);                                                                            \
    (s).bucket = GET(bucket);                                                                      \
    (s).n_seq = n_seq;                                                                             \
    (s).group = heads_q / heads_kv;                                                                \
    (s).scale = scale;                                                                             \
    (s).softcap = softcap;                                                                         \
    (s).window = window;                                                                           \
    (s).causal = causal;                                                                           \
    (s).dropout = dropout;                                                                         \
    (s).bias = bias;                                                                               \
    (s).buckets = buckets;                                                                         \
    (s).half_buckets = half_buckets;                                                               \
    (s).root[0] = 0;                                                                               \
    (s).root[1] = 0;                                                                               \
    if (dropout > 0.0f) rng_key(seed, stream, GET(step), (s).root)

typedef struct spec {
    mat start_q, start_kv, len_kv, key, table, c2p, p2c, bucket;
    int n_seq, group, window, causal, bias, buckets, half_buckets;
    float scale, softcap, dropout;
    uint root[2];
} spec;

typedef struct seq {
    int q0, lq, k0, lk; /* first row and rows of q; first row and rows in use of k */
} seq;

QL_FN seq seq_at(const spec *s, int i) {
    seq q;
    q.q0 = load_int(s->start_q, i);
    q.lq = load_int(s->start_q, i + 1) - q.q0;
    q.k0 = load_int(s->start_kv, i);
    q.lk = has(s->len_kv) ? load_int(s->len_kv, i) : load_int(s->start_kv, i + 1) - q.k0;
    return q;
}

/* The sequence that query row (key row) `row` belongs to; lq (lk) 0 when there is none. */
QL_FN seq seq_of(const spec *s, int row, bool by_key) {
    for (int i = 0; i < s->n_seq; i++) {
        seq q = seq_at(s, i);
        if (by_key ? row >= q.k0 && row < q.k0 + q.lk : row >= q.q0 && row < q.q0 + q.lq) return q;
    }
    seq none;
    none.q0 = none.lq = none.k0 = none.lk = 0;
    return none;
}

/* Keys [lo, hi) of the sequence that the query at `position` sees. */
QL_FN int keys_from(const spec *s, int position) {
    int lo = s->window > 0 ? position - s->window + 1 : 0;
    return lo > 0 ? lo : 0;
}
QL_FN int keys_to(const spec *s, const seq *q, int position) {
    return s->causal && position + 1 < q->lk ? position + 1 : q->lk;
}

QL_FN int bucket_of(const spec *s, int distance) {
    int most = s->half_buckets - 1;
    return load_int(s->bucket, (distance < -most ? -most : distance > most ? most : distance) + most);
}

/* The score from q.k; *slope = its derivative by scale q.k. row: of q; key_row: of k. */
QL_FN float bend(const spec *s, float dot, int row, int head, int position, int j,
                         int key_row, float *slope) {
    float z = ql_softcap(dot * s->scale, s->softcap);
    *slope = ql_softcap_d(z, s->softcap);
    if (s->bias == BIAS_TABLE) z += load(s->table, bucket_of(s, j - position), head);
    if (s->bias == BIAS_DISENT) {
        int b = bucket_of(s, position - j);
        z += load(s->c2p, row, head * s->buckets + b) +
             load(s->p2c, key_row, head / s->group * s->buckets + b);
    }
    return z;
}

/* 1 / (1 - p) or 0: dropout of one probability. */
QL_FN float keep_of(const spec *s, int row, int head, int j) {
    if (s->dropout <= 0.0f) return 1.0f;
    float u = ql_uniform24(rng_word(s->root, s->key, row, (uint)head, (uint)j));
    return u >= s->dropout ? 1.0f / (1.0f - s->dropout) : 0.0f;
}

/* local x . row `row` of m from column `col` on */
QL_FN float dot_row(const __local float *x, mat m, int row, long col, int n) {
    float sum = 0.0f;
    for (int d = 0; d < n; d++) sum += x[d] * load(m, row, col + d);
    return sum;
}

/* -------------------------------------------------------------------- forward */

__kernel void attn_fwd(MAT(q), MAT(k), MAT(v), MAT(o), MAT(lse), SPEC) {
    __local float tmp[QL_WG], p[QL_WG], qs[ATTN_DIMS], os[ATTN_DIMS];
    mat q = GET(q), k = GET(k), v = GET(v), o = GET(o), lse = GET(lse);
    spec s;
    GET_SPEC(s);
    int row = (int)get_group_id(0), head = (int)get_group_id(1), l = (int)get_local_id(0);
    int hk = head / s.group;
    seq t = seq_of(&s, row, false);
    int position = t.lk - t.lq + row - t.q0, lo = 0, hi = 0;
    if (t.lq > 0) {
        lo = keys_from(&s, position);
        hi = keys_to(&s, &t, position);
    }
    for (int d = l; d < dim; d += QL_WG) qs[d] = load(q, row, (long)head * dim + d);
    for (int d = l; d < dim_v; d += QL_WG) os[d] = 0.0f;
    float top = -INFINITY, sum = 0.0f, slope;
    for (int j0 = lo; j0 < hi; j0 += QL_WG) {
        int j = j0 + l, n = hi - j0 < QL_WG ? hi - j0 : QL_WG;
        LOCAL_SYNC; /* qs is there; p of the last tile was read */
        float z = -INFINITY;
        if (j < hi) {
            z = dot_row(qs, k, t.k0 + j, (long)hk * dim, dim);
            z = bend(&s, z, row, head, position, j, t.k0 + j, &slope);
        }
        float most = group_max(z, tmp), old = top;
        top = most > top ? most : top;
        float sub = top == -INFINITY ? 0.0f : top; /* all scores -infinity, or NaN */
        float e = j < hi ? ql_exp(z - sub) : 0.0f;
        float shrink = old == -INFINITY ? 0.0f : ql_exp(old - top);
        sum = sum * shrink + group_sum(e, tmp);
        p[l] = j < hi ? e * keep_of(&s, row, head, j) : 0.0f;
        LOCAL_SYNC;
        for (int d = l; d < dim_v; d += QL_WG) {
            float acc = os[d] * shrink;
            for (int i = 0; i < n; i++) acc += p[i] * load(v, t.k0 + j0 + i, (long)hk * dim_v + d);
            os[d] = acc;
        }
    }
    bool seen = sum != 0.0f; /* NaN counts as seen */
    float inverse = seen ? 1.0f / sum : 0.0f;
    for (int d = l; d < dim_v; d += QL_WG) store(o, row, (long)head * dim_v + d, os[d] * inverse);
    if (l == 0) store(lse, head, row, seen ? top + log(sum) : -INFINITY);
}

/* ------------------------------------------------------------------- backward
 *   P = e^(score - lse)     dP = keep (do v^T)     dB = P (dP - delta)     delta_i = do_i . o_i
 *   dS = scale slope dB     dq = dS k     dk = dS^T q     dv = (P keep)^T do */

/* dq, dc2p and, in scratch, delta [Nq, Hq] for attn_bwd_kv and, from element slots_at on (0: not
 * wanted), a slot [buckets] of dtable per query row and head. */
__kernel void attn_bwd_q(MAT(q), MAT(k), MAT(v), MAT(o), MAT(lse), MAT(d_o), MAT(dq), MAT(dc2p),
                         MAT(scratch), const long slots_at, SPEC) {
    __local float tmp[QL_WG], ds[QL_WG], db[QL_WG], qs[ATTN_DIMS], gs[ATTN_DIMS], acc[ATTN_DIMS];
    __local int at_bucket[QL_WG];
    mat q = GET(q), k = GET(k), v = GET(v), o = GET(o), lse = GET(lse), d_o = GET(d_o),
        dq = GET(dq), dc2p = GET(dc2p), scratch = GET(scratch);
    spec s;
    GET_SPEC(s);
    int row = (int)get_group_id(0), head = (int)get_group_id(1), l = (int)get_local_id(0);
    int hk = head / s.group;
    long slot = slots_at + ((long)row * heads_q + head) * buckets;
    bool slots = slots_at > 0;
    seq t = seq_of(&s, row, false);
    int position = t.lk - t.lq + row - t.q0, lo = 0, hi = 0;
    if (t.lq > 0) {
        lo = keys_from(&s, position);
        hi = keys_to(&s, &t, position);
    }
    for (int d = l; d < dim; d += QL_WG) {
        qs[d] = load(q, row, (long)head * dim + d);
        acc[d] = 0.0f;
    }
    float part = 0.0f, slope = 0.0f, lse_row = load(lse, head, row);
    for (int d = l; d < dim_v; d += QL_WG) {
        gs[d] = load(d_o, row, (long)head * dim_v + d);
        if (lo < hi) part += gs[d] * load(o, row, (long)head * dim_v + d);
    }
    for (int b = l; slots && b < buckets; b += QL_WG) store_at(scratch, slot + b, 0.0f);
    float delta = group_sum(part, tmp);
    if (l == 0) store_at(scratch, (long)row * heads_q + head, delta);
    for (int j0 = lo; j0 < hi; j0 += QL_WG) {
        int j = j0 + l, n = hi - j0 < QL_WG ? hi - j0 : QL_WG;
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
        if (j < hi) {
            float z = dot_row(qs, k, t.k0 + j, (long)hk * dim, dim);
            float dp = dot_row(gs, v, t.k0 + j, (long)hk * dim_v, dim_v);
            z = bend(&s, z, row, head, position, j, t.k0 + j, &slope);
            db[l] = ql_exp(z - lse_row) * (dp * keep_of(&s, row, head, j) - delta);
            ds[l] = db[l] * s.scale * slope;
            if (s.bias != BIAS_NONE)
                at_bucket[l] =
                    bucket_of(&s, s.bias == BIAS_TABLE ? j - position : position - j);
        }
        LOCAL_SYNC;
        for (int d = l; d < dim; d += QL_WG) {
            float a = acc[d];
            for (int i = 0; i < n; i++) a += ds[i] * load(k, t.k0 + j0 + i, (long)hk * dim + d);
            acc[d] = a;
        }
        /* bucket b belongs to work-item b mod QL_WG; keys in order */
        for (int i = 0; i < n && (slots || has(dc2p)); i++) {
            int b = at_bucket[i];
            if (b % QL_WG != l) continue;
            if (slots) store_at(scratch, slot + b, load_at(scratch, slot + b) + db[i]);
            long at_c2p = (long)head * buckets + b;
            if (has(dc2p)) store(dc2p, row, at_c2p, load(dc2p, row, at_c2p) + db[i]);
        }
    }
    for (int d = l; d < dim; d += QL_WG) store(dq, row, (long)head * dim + d, acc[d]);
}

/* dtable[b, h] += the slots of all rows, in order; one work-item per entry. */
__kernel void attn_bwd_table(MAT(scratch), MAT(dtable), const long slots_at, const long rows,
                             const int heads, const int buckets) {
    mat scratch = GET(scratch), dtable = GET(dtable);
    int e = (int)get_global_id(0), b = e % buckets, h = e / buckets;
    float sum = 0.0f, rest = 0.0f;
    if (h >= heads) return;
    for (long i = 0; i < rows; i++)
        add_exact(&sum, &rest, load_at(scratch, slots_at + (i * heads + h) * buckets + b));
    store(dtable, b, h, load(dtable, b, h) + (sum + rest));
}

/* dk, dv, dp2c. Key rows that no sequence uses get 0. */
__kernel void attn_bwd_kv(MAT(q), MAT(k), MAT(v), MAT(lse), MAT(d_o), MAT(delta), MAT(dk), MAT(dv),
                          MAT(dp2c), SPEC) {
    __local float ds[QL_WG], db[QL_WG], pk[QL_WG], ks[ATTN_DIMS], vs[ATTN_DIMS];
    __local float acc[ATTN_DIMS], acc_v[ATTN_DIMS];
    __local int at_bucket[QL_WG];
    mat q = GET(q), k = GET(k), v = GET(v), lse = GET(lse), d_o = GET(d_o), delta = GET(delta),
        dk = GET(dk), dv = GET(dv), dp2c = GET(dp2c);
    spec s;
    GET_SPEC(s);
    int row = (int)get_group_id(0), hk = (int)get_group_id(1), l = (int)get_local_id(0);
    seq t = seq_of(&s, row, true);
    int j = row - t.k0, shift = t.lk - t.lq; /* query number i is at position shift + i */
    int lo = s.causal && j - shift > 0 ? j - shift : 0, hi = t.lk > 0 ? t.lq : 0;
    if (s.window > 0 && j - shift + s.window < hi) hi = j - shift + s.window;
    for (int d = l; d < dim; d += QL_WG) {
        ks[d] = load(k, row, (long)hk * dim + d);
        acc[d] = 0.0f;
    }
    for (int d = l; d < dim_v; d += QL_WG) {
        vs[d] = load(v, row, (long)hk * dim_v + d);
        acc_v[d] = 0.0f;
    }
    for (int head = hk * s.group; head < (hk + 1) * s.group; head++)
        for (int i0 = lo; i0 < hi; i0 += QL_WG) {
            int i = i0 + l, n = hi - i0 < QL_WG ? hi - i0 : QL_WG, qr = t.q0 + i;
            barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
            if (i < hi) {
                float slope, z = dot_row(ks, q, qr, (long)head * dim, dim);
                float dp = dot_row(vs, d_o, qr, (long)head * dim_v, dim_v);
                z = bend(&s, z, qr, head, shift + i, j, row, &slope);
                float p = ql_exp(z - load(lse, head, qr)), keep = keep_of(&s, qr, head, j);
                db[l] = p * (dp * keep - load_at(delta, (long)qr * heads_q + head));
                ds[l] = db[l] * s.scale * slope;
                pk[l] = p * keep;
                if (s.bias == BIAS_DISENT) at_bucket[l] = bucket_of(&s, shift + i - j);
            }
            LOCAL_SYNC;
            for (int d = l; d < dim; d += QL_WG) {
                float a = acc[d];
                for (int r = 0; r < n; r++)
                    a += ds[r] * load(q, t.q0 + i0 + r, (long)head * dim + d);
                acc[d] = a;
            }
            for (int d = l; d < dim_v; d += QL_WG) {
                float a = acc_v[d];
                for (int r = 0; r < n; r++)
                    a += pk[r] * load(d_o, t.q0 + i0 + r, (long)head * dim_v + d);
                acc_v[d] = a;
            }
            for (int r = 0; has(dp2c) && r < n; r++) {
                int b = at_bucket[r];
                long at_p2c = (long)hk * buckets + b;
                if (b % QL_WG == l) store(dp2c, row, at_p2c, load(dp2c, row, at_p2c) + db[r]);
            }
        }
    for (int d = l; d < dim; d += QL_WG) store(dk, row, (long)hk * dim + d, acc[d]);
    for (int d = l; d < dim_v; d += QL_WG) store(dv, row, (long)hk * dim_v + d, acc_v[d]);
}
