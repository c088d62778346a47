/*
 * attn_tile.c - the pieces of an attention tile (attn.h).
 */
#include "backends/cpu/attn.h"

ql_cpu_attn ql_cpu_attn_begin(const ql_queue *q, const ql_attn_spec *spec, const ql_mat *mq,
                              const ql_mat *mk, const ql_mat *mv) {
    ql_cpu_attn a = {.spec = spec,
                     .kern = ql_cpu_dev(q)->kern,
                     .q = *mq,
                     .k = *mk,
                     .v = *mv,
                     .group = spec->heads_q / spec->heads_kv,
                     .n_seq = spec->start_q.cols - 1,
                     .half_buckets = (spec->bucket.cols + 1) / 2};
    if (spec->dropout > 0.0f) a.rng = ql_cpu_rng_begin(&spec->rng);
    return a;
}

ql_cpu_attn_seq ql_cpu_attn_seq_at(const ql_cpu_attn *a, int64_t s) {
    const int32_t *q = ql_cpu_i32(&a->spec->start_q, 0), *k = ql_cpu_i32(&a->spec->start_kv, 0);
    ql_cpu_attn_seq seq = {.q0 = q[s], .lq = q[s + 1] - q[s], .k0 = k[s], .lk = k[s + 1] - k[s]};
    if (ql_cpu_has(&a->spec->len_kv)) seq.lk = ql_cpu_i32(&a->spec->len_kv, 0)[s];
    return seq;
}

/* -------------------------------------------------------------------------- tasks */

static int64_t tiles_of(const ql_cpu_attn *a, const ql_cpu_attn_seq *seq, bool by_keys) {
    return by_keys ? ql_cpu_ceil_div(seq->lk, QL_CPU_ATTN_KEYS)
                   : ql_cpu_ceil_div(seq->lq * a->group, QL_CPU_ATTN_ROWS);
}

int64_t ql_cpu_attn_tasks(const ql_cpu_attn *a, bool by_keys) {
    int64_t tiles = 0;
    for (int64_t s = 0; s < a->n_seq; s++) {
        ql_cpu_attn_seq seq = ql_cpu_attn_seq_at(a, s);
        tiles += tiles_of(a, &seq, by_keys);
    }
    return tiles * a->spec->heads_kv;
}

ql_cpu_attn_rows ql_cpu_attn_task(const ql_cpu_attn *a, bool by_keys, int64_t task,
                                  int64_t *first) {
    int64_t tile = task / a->spec->heads_kv, s = 0, tiles;
    ql_cpu_attn_rows t = {.head_kv = task % a->spec->heads_kv};
    for (;; s++) {
        t.seq = ql_cpu_attn_seq_at(a, s);
        tiles = tiles_of(a, &t.seq, by_keys);
        if (tile < tiles) break;
        tile -= tiles;
    }
    /* 0, last, 1, last - 1, ...: with a causal mask any run of tasks then costs about the same */
    tile = tile % 2 == 0 ? tile / 2 : tiles - 1 - tile / 2;
    *first = tile * (by_keys ? QL_CPU_ATTN_KEYS : QL_CPU_ATTN_ROWS);
    return t;
}

/* --------------------------------------------------------------------------- spans */

ql_cpu_attn_span ql_cpu_attn_span_of(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, int64_t r,
                                     ql_cpu_attn_keys keys) {
    int64_t position = ql_cpu_attn_row_at(a, t, r).position;
    ql_cpu_attn_span s = {.lo = 0, .hi = keys.n};
    if (a->spec->causal) s.hi = ql_cpu_min(keys.n, position + 1 - keys.j0);
    if (a->spec->window > 0) s.lo = ql_cpu_max(0, position - a->spec->window + 1 - keys.j0);
    s.hi = ql_cpu_max(s.hi, 0);
    s.lo = ql_cpu_min(s.lo, s.hi);
    return s;
}

ql_cpu_attn_span ql_cpu_attn_spans(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, int64_t r,
                                   int64_t n, ql_cpu_attn_keys keys) {
    ql_cpu_attn_span first = ql_cpu_attn_span_of(a, t, r, keys);
    ql_cpu_attn_span last = ql_cpu_attn_span_of(a, t, ql_cpu_min(r + n, t->count) - 1, keys);
    return (ql_cpu_attn_span){.lo = first.lo < first.hi ? first.lo : ql_cpu_min(first.lo, last.lo),
                              .hi = last.hi};
}

/* ------------------------------------------------------------------------- operands */

void ql_cpu_attn_load(const ql_cpu_attn *a, const ql_mat *m, const ql_cpu_attn_rows *t, int64_t dim,
                      float *out) {
    for (int64_t r = 0; r < t->count; r++) {
        ql_cpu_attn_row at = ql_cpu_attn_row_at(a, t, r);
        ql_cpu_kwiden(a->kern, m->dtype, ql_cpu_at(m, at.row, at.head * dim), dim, out + r * dim);
    }
    memset(out + t->count * dim, 0,
           (size_t)((QL_CPU_ATTN_ROWS_PAD - t->count) * dim) * sizeof *out);
}

void ql_cpu_attn_pack(const ql_cpu_attn *a, const ql_mat *m, const ql_cpu_attn_rows *t,
                      ql_cpu_attn_keys keys, int64_t dim, bool by_dim, float *out, float *tmp) {
    const int64_t row = t->seq.k0 + keys.j0, col = t->head_kv * dim, nr = a->kern->nr;
    ql_cpu_side side = {.mat = *m, .depth_contiguous = by_dim};
    if (by_dim)
        ql_cpu_pack(a->kern, &side, row, keys.n, col, dim, nr, out, tmp);
    else
        ql_cpu_pack(a->kern, &side, col, dim, row, keys.n, nr, out, tmp);
}

void ql_cpu_attn_scores(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                        const float *x, int64_t dim, const float *y, float *s) {
    const int64_t mr = a->kern->mr, nr = a->kern->nr;
    for (int64_t r = 0; r < t->count; r += mr) {
        ql_cpu_attn_span span = ql_cpu_attn_spans(a, t, r, mr, keys);
        for (int64_t j = span.lo / nr * nr; j < span.hi; j += nr)
            a->kern->micro(dim, x + r * dim, dim, 1, y + j * dim, nr, s + r * QL_CPU_ATTN_LD + j,
                           QL_CPU_ATTN_LD, false);
    }
}

/* --------------------------------------------------------------------------- scores */

bool ql_cpu_attn_bent(const ql_cpu_attn *a) {
    return a->spec->softcap > 0.0f || a->spec->bias != QL_BIAS_NONE || !(a->spec->scale > 0.0f);
}

int64_t ql_cpu_attn_bucket(const ql_cpu_attn *a, int64_t distance) {
    int64_t most = a->half_buckets - 1;
    distance = ql_cpu_max(-most, ql_cpu_min(most, distance));
    return ql_cpu_i32(&a->spec->bucket, 0)[distance + most];
}

static float value_at(const ql_mat *m, int64_t row, int64_t col) {
    float x;
    ql_cpu_widen(m->dtype, ql_cpu_at(m, row, col), &x, 1);
    return x;
}

/* table[bucket(j - i), h], or c2p[i, h R + bucket(i - j)] + p2c[j, hk R + bucket(i - j)]. */
static void add_bias(const ql_cpu_attn *a, const ql_cpu_attn_row *row, const ql_cpu_attn_seq *seq,
                     ql_cpu_attn_keys keys, ql_cpu_attn_span span, float *z) {
    const ql_attn_spec *s = a->spec;
    const int64_t hk = row->head / a->group;
    for (int64_t j = span.lo; j < span.hi; j++) {
        int64_t d = keys.j0 + j - row->position;
        if (s->bias == QL_BIAS_TABLE) {
            z[j] += value_at(&s->table, ql_cpu_attn_bucket(a, d), row->head);
        } else {
            int64_t b = ql_cpu_attn_bucket(a, -d), n_c2p = s->c2p.cols / s->heads_q;
            z[j] += value_at(&s->c2p, row->row, row->head * n_c2p + b) +
                    value_at(&s->p2c, seq->k0 + keys.j0 + j, hk * (s->p2c.cols / s->heads_kv) + b);
        }
    }
}

void ql_cpu_attn_bend(const ql_cpu_attn *a, const ql_cpu_attn_row *row, const ql_cpu_attn_seq *seq,
                      ql_cpu_attn_keys keys, ql_cpu_attn_span span, float *z, float *slope) {
    const float cap = a->spec->softcap, scale = a->spec->scale;
    for (int64_t j = span.lo; j < span.hi; j++) {
        z[j] = ql_softcap(z[j] * scale, cap);
        if (slope) slope[j] = ql_softcap_d(z[j], cap);
    }
    if (a->spec->bias != QL_BIAS_NONE) add_bias(a, row, seq, keys, span, z);
}

void ql_cpu_attn_keep(const ql_cpu_attn *a, const ql_cpu_attn_row *row, ql_cpu_attn_keys keys,
                      ql_cpu_attn_span span, float *keep) {
    const float p = a->spec->dropout, kept = 1.0f / (1.0f - p);
    uint32_t words[4] = {0};
    int64_t have = -1;
    for (int64_t j = span.lo; j < span.hi; j++) {
        int64_t column = keys.j0 + j;
        if (column / 4 != have) {
            have = column / 4;
            ql_cpu_rng_words(&a->rng, row->row, (uint32_t)row->head, (uint32_t)have, words);
        }
        keep[j] = ql_uniform24(words[column % 4]) >= p ? kept : 0.0f;
    }
}
