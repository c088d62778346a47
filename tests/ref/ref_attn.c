/*
 * ref_attn.c - attention forward and backward, one score at a time.
 *
 * Sequence s has query rows start_q[s] .. start_q[s+1] and key rows start_kv[s] .. + len, where len
 * is len_kv[s] or, when absent, start_kv[s+1] - start_kv[s]. Query number r of Lq sits at position
 * i = len - Lq + r, key number j at position j. Key j is visible when (causal) j <= i and (window)
 * i - j < window.
 *   score = softcap(scale q.k) + bias        p = softmax over visible keys
 *   o = sum_j p_j keep_j v_j                 keep: dropout of the probabilities
 * A row without a visible key gives o = 0 and lse = -inf.
 */
#include <math.h>

#include "tests/ref/ref.h"

/* One query row of one head, and the keys it may see. */
typedef struct row {
    const ql_attn_spec *s;
    const ql_mat *q, *k;
    int64_t row;   /* of q, o, d_o        */
    int64_t key0;  /* first key row       */
    int64_t len;   /* keys of the sequence */
    int64_t i;     /* position            */
    int64_t h, hk; /* query, kv head      */
} row;

static const double *at_head(const ql_mat *m, int64_t r, int64_t head, int64_t dim) {
    return ref_row(m, r) + head * dim;
}

static bool visible(const row *t, int64_t j) {
    if (t->s->causal && j > t->i) return false;
    return t->s->window == 0 || t->i - j < t->s->window;
}

static double dot(const double *x, const double *y, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static int64_t bucket_of(const row *t, int64_t distance) {
    int64_t L = (t->s->bucket.cols + 1) / 2;
    return (int64_t)ref_values(&t->s->bucket)[distance + L - 1];
}

/* Places of the bias of key j: in table (and dtable), or in c2p and p2c. */
static int64_t table_at(const row *t, int64_t j) {
    return bucket_of(t, j - t->i) * t->s->heads_q + t->h;
}
static int64_t c2p_at(const row *t, int64_t j) {
    int64_t R = t->s->c2p.cols / t->s->heads_q;
    return t->row * t->s->c2p.cols + t->h * R + bucket_of(t, t->i - j);
}
static int64_t p2c_at(const row *t, int64_t j) {
    int64_t R = t->s->p2c.cols / t->s->heads_kv;
    return (t->key0 + j) * t->s->p2c.cols + t->hk * R + bucket_of(t, t->i - j);
}

/* *slope = derivative of the score by scale q.k. */
static double score(const row *t, int64_t j, double *slope) {
    const ql_attn_spec *s = t->s;
    double cap = (double)s->softcap;
    double z = (double)s->scale * dot(at_head(t->q, t->row, t->h, s->dim_qk),
                                      at_head(t->k, t->key0 + j, t->hk, s->dim_qk), s->dim_qk);
    *slope = 1.0;
    if (cap > 0.0) {
        double th = tanh(z / cap);
        z = cap * th;
        *slope = 1.0 - th * th;
    }
    if (s->bias == QL_BIAS_TABLE) z += ref_values(&s->table)[table_at(t, j)];
    if (s->bias == QL_BIAS_DISENT)
        z += ref_values(&s->c2p)[c2p_at(t, j)] + ref_values(&s->p2c)[p2c_at(t, j)];
    return z;
}

/* Fills the place of query row `r` of sequence `seq`, head h. */
static row row_of(const ql_attn_spec *s, const ql_mat *q, const ql_mat *k, int64_t seq, int64_t r,
                  int64_t h) {
    int64_t q0 = (int64_t)ref_values(&s->start_q)[seq],
            q1 = (int64_t)ref_values(&s->start_q)[seq + 1];
    int64_t k0 = (int64_t)ref_values(&s->start_kv)[seq];
    int64_t k1 = (int64_t)ref_values(&s->start_kv)[seq + 1];
    int64_t len = s->len_kv.buf ? (int64_t)ref_values(&s->len_kv)[seq] : k1 - k0;
    return (row){.s = s,
                 .q = q,
                 .k = k,
                 .row = r,
                 .key0 = k0,
                 .len = len,
                 .i = len - (q1 - q0) + (r - q0),
                 .h = h,
                 .hk = h / (s->heads_q / s->heads_kv)};
}

static double keep_of(const row *t, int64_t j) {
    return ref_keep(&t->s->rng, t->s->dropout, t->row, (uint32_t)t->h, j);
}

static void fwd_row(const ql_attn_fwd_args *a, const row *t) {
    double top = -INFINITY, sum = 0.0, slope;
    double *o = ref_row(&a->o, t->row) + t->h * a->spec.dim_v;
    for (int64_t d = 0; d < a->spec.dim_v; d++) o[d] = 0.0;
    for (int64_t j = 0; j < t->len; j++)
        if (visible(t, j)) top = fmax(top, score(t, j, &slope));
    for (int64_t j = 0; j < t->len; j++) {
        if (!visible(t, j)) continue;
        double p = exp(score(t, j, &slope) - top), kept = p * keep_of(t, j);
        const double *v = at_head(&a->v, t->key0 + j, t->hk, a->spec.dim_v);
        sum += p;
        for (int64_t d = 0; d < a->spec.dim_v; d++) o[d] += kept * v[d];
    }
    for (int64_t d = 0; d < a->spec.dim_v && sum > 0.0; d++) o[d] /= sum;
    ref_values(&a->lse)[t->h * a->q.rows + t->row] = sum > 0.0 ? top + log(sum) : -INFINITY;
}

void ql_ref_attn_fwd(const ql_attn_fwd_args *a) {
    const double *start = ref_values(&a->spec.start_q);
    for (int64_t seq = 0; seq + 1 < a->spec.start_q.cols; seq++)
        for (int64_t r = (int64_t)start[seq]; r < (int64_t)start[seq + 1]; r++)
            for (int64_t h = 0; h < a->spec.heads_q; h++) {
                row t = row_of(&a->spec, &a->q, &a->k, seq, r, h);
                fwd_row(a, &t);
            }
}

/* P from the saved lse; delta = do.o; dP = keep do.v; dB = P (dP - delta) is the gradient of the
 * score and of its bias; dS = dB slope;  dq += scale dS k, dk += scale dS q, dv += P keep do. */
static void bwd_row(const ql_attn_bwd_args *a, const row *t) {
    const ql_attn_spec *s = &a->spec;
    const double *dout = at_head(&a->d_o, t->row, t->h, s->dim_v);
    const double *q = at_head(&a->q, t->row, t->h, s->dim_qk);
    double *dq = ref_row(&a->dq, t->row) + t->h * s->dim_qk;
    double lse = ref_values(&a->lse)[t->h * a->q.rows + t->row];
    double delta = dot(dout, at_head(&a->o, t->row, t->h, s->dim_v), s->dim_v);
    for (int64_t j = 0; j < t->len; j++) {
        if (!visible(t, j)) continue;
        int64_t kr = t->key0 + j;
        const double *k = at_head(&a->k, kr, t->hk, s->dim_qk);
        double *dk = ref_row(&a->dk, kr) + t->hk * s->dim_qk;
        double *dv = ref_row(&a->dv, kr) + t->hk * s->dim_v;
        double slope, p = exp(score(t, j, &slope) - lse), keep = keep_of(t, j);
        double dp = keep * dot(dout, at_head(&a->v, kr, t->hk, s->dim_v), s->dim_v);
        double db = p * (dp - delta), ds = db * slope * (double)s->scale;
        for (int64_t d = 0; d < s->dim_qk; d++) {
            dq[d] += ds * k[d];
            dk[d] += ds * q[d];
        }
        for (int64_t d = 0; d < s->dim_v; d++) dv[d] += p * keep * dout[d];
        if (a->dtable.buf) ref_values(&a->dtable)[table_at(t, j)] += db;
        if (a->dc2p.buf) ref_values(&a->dc2p)[c2p_at(t, j)] += db;
        if (a->dp2c.buf) ref_values(&a->dp2c)[p2c_at(t, j)] += db;
    }
}

static void zero(const ql_mat *m) {
    for (int64_t e = 0; e < m->rows * m->cols; e++) ref_values(m)[e] = 0.0;
}

void ql_ref_attn_bwd(const ql_attn_bwd_args *a) {
    const double *start = ref_values(&a->spec.start_q);
    zero(&a->dq);
    zero(&a->dk);
    zero(&a->dv);
    for (int64_t seq = 0; seq + 1 < a->spec.start_q.cols; seq++)
        for (int64_t r = (int64_t)start[seq]; r < (int64_t)start[seq + 1]; r++)
            for (int64_t h = 0; h < a->spec.heads_q; h++) {
                row t = row_of(&a->spec, &a->q, &a->k, seq, r, h);
                bwd_row(a, &t);
            }
}
