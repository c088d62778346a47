/*
 * relative.c - relative positions that scores read: buckets of distances (T5, DeBERTa), and
 * DeBERTa's disentangled terms (He et al. 2021, eq. 4).
 *
 *   E = norm(table);  K = key(E), Q = query(E) [2P, H D];  c2p[i, h R + r] = s q_ih . K_rh;
 *   p2c[j, h R + r] = s k_jh . Q_rh.        One product per head; R = 2P.
 */
#include <math.h>

#include "core/model/build_impl.h"

/* T5: d = key - query. Half of the buckets are exact, the other half logarithmic up to M. */
static int32_t t5_bucket(const ql_stack *s, int64_t d) {
    int32_t buckets = s->buckets, first = 0;
    if (!s->causal) {
        buckets /= 2;
        if (d > 0) first = buckets;
    }
    int64_t n = s->causal ? (d < 0 ? -d : 0) : (d < 0 ? -d : d);
    int32_t exact = buckets / 2;
    if (n < exact) return first + (int32_t)n;
    float ratio =
        logf((float)n / (float)exact) / (float)log((double)s->max_distance / (double)exact);
    int32_t bucket = exact + (int32_t)(ratio * (float)(buckets - exact));
    return first + (bucket < buckets - 1 ? bucket : buckets - 1);
}

/* DeBERTa: r = query - key, logarithmic beyond P/2 when bucketed; row r + P of the table. */
static int32_t deberta_row(const ql_stack *s, int64_t r) {
    int64_t span = s->buckets, mid = span / 2, far = r < 0 ? -r : r;
    if (s->bucketed && far > mid && mid > 0) {
        double scaled = ceil((double)(float)(log((double)far / (double)mid) /
                                             log((double)(s->max_distance - 1) / (double)mid) *
                                             (double)(mid - 1)));
        far = (int64_t)scaled + mid;
        r = r < 0 ? -far : far;
    }
    int64_t row = r + span;
    return (int32_t)(row < 0 ? 0 : row > 2 * span - 1 ? 2 * span - 1 : row);
}

void ql_relative_fill(const ql_stack *s, int64_t L, int32_t *out) {
    for (int64_t d = -(L - 1); d < L; d++) {
        int32_t *at = &out[d + L - 1];
        switch (s->relative) {
        case QL_REL_T5: *at = t5_bucket(s, d); break;
        case QL_REL_DEBERTA: *at = deberta_row(s, d); break;
        default: *at = (int32_t)(d < 0 ? -d : d);
        }
    }
}

/* Slopes of n heads, n a power of two: 2^(-8 h / n), h = 1 .. n; between, the odd ones of twice as
 * many heads follow. */
static double alibi_slope(int32_t heads, int32_t h) {
    int32_t n = 1;
    while (2 * n <= heads) n *= 2;
    if (h < n) return pow(2.0, -8.0 * (h + 1) / n);
    return pow(2.0, -4.0 * (2 * (h - n) + 1) / n);
}

void ql_alibi_fill(const ql_stack *s, int64_t L, float *out) {
    for (int64_t d = 0; d < L; d++)
        for (int32_t h = 0; h < s->heads; h++)
            out[d * s->heads + h] =
                (float)(-alibi_slope(s->heads, h) * (double)d * (double)s->attn_scale);
}

ql_vid ql_build_relative_table(ql_builder *b) {
    const ql_stack_tensors *s = b->stack;
    if (b->arch->relative != QL_REL_DEBERTA) return 0;
    ql_vid table = ql_build_dense(b, s->rel_table);
    return s->rel_norm.w ? ql_build_norm(b, &s->rel_norm, table, 1, QL_F32, "relative.norm")
                         : table;
}

/* scores[i, h R + r] = s x_ih . rows_rh; zero when the term is absent. */
static ql_vid term(ql_builder *b, ql_vid x, ql_vid rows, int32_t heads, const char *name) {
    ql_tape *t = b->t;
    int64_t R = 2 * (int64_t)b->arch->buckets, D = b->arch->head_dim;
    ql_vid y = ql_build_value(b, heads * R, name);
    if (!rows) {
        QL_RECORD(t, FILL, fill, .y = ql_ref(t, y));
        return y;
    }
    for (int32_t h = 0; h < heads; h++) {
        ql_vid xh = ql_tape_view(t, x, 0, b->tokens, h * D, ql_fixed(D));
        ql_vid rh = ql_tape_view(t, rows, 0, ql_fixed(R), h * D, ql_fixed(D));
        ql_vid yh = ql_tape_view(t, y, 0, b->tokens, h * R, ql_fixed(R));
        QL_RECORD(t, GEMM, gemm, .a = ql_ref(t, xh), .b = ql_ref(t, rh), .c = ql_ref(t, yh),
                  .trans_b = true, .alpha = b->arch->attn_scale, .batch = 1);
    }
    return y;
}

void ql_build_relative_scores(ql_builder *b, const ql_layer *l, ql_vid q, ql_vid k, ql_vid *c2p,
                              ql_vid *p2c) {
    const ql_stack *a = b->arch;
    const ql_linear *key = l->lin[QL_LIN_POS_K] ? l->lin[QL_LIN_POS_K] : l->lin[QL_LIN_K];
    const ql_linear *query = l->lin[QL_LIN_POS_Q] ? l->lin[QL_LIN_POS_Q] : l->lin[QL_LIN_Q];
    ql_vid own = b->key, keys = 0, queries = 0;
    b->key = 0; /* rows of the table are no tokens */
    if (a->c2p) keys = ql_build_linear(b, key, b->relative, b->compute, "relative.k");
    if (a->p2c) queries = ql_build_linear(b, query, b->relative, b->compute, "relative.q");
    b->key = own;
    *c2p = term(b, q, keys, a->heads, "relative.c2p");
    *p2c = term(b, k, queries, a->kv_heads, "relative.p2c");
}
