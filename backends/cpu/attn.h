/*
 * attn.h - tiles of attention, shared by forward (attn.c) and backward (attn_bwd.c).
 *
 *   o = softmax(softcap(scale q k^T) + bias, over visible keys) v        per sequence and head
 *
 * A tile is up to ROWS query rows of one sequence and one key-value head against up to KEYS keys.
 * Its rows are numbered r = i * group + g over queries i and the `group` query heads that share the
 * key-value head, so grouped heads share every packed key. The keys a row sees are one range of
 * consecutive numbers; its end and start grow with the row.
 *
 * Key j of a sequence is at position j, query i at position len_kv - Lq + i. Dropout draws use the
 * row of q, the query head as lane and j as column (ql_math.inc).
 */
#ifndef QLORA_BACKENDS_CPU_ATTN_H
#define QLORA_BACKENDS_CPU_ATTN_H

#include "backends/cpu/product.h"

enum {
    QL_CPU_ATTN_ROWS = 96,                                   /* query rows of a tile  */
    QL_CPU_ATTN_KEYS = 128,                                  /* keys; of MAX_NR       */
    QL_CPU_ATTN_ROWS_PAD = QL_CPU_ATTN_ROWS + QL_CPU_MAX_MR, /* whole register tiles  */
    QL_CPU_ATTN_KEYS_PAD = QL_CPU_ATTN_KEYS + QL_CPU_MAX_MR, /* keys as rows of dk, dv */
    QL_CPU_ATTN_LD =
        QL_CPU_ATTN_KEYS + 16 + QL_CPU_MAX_MR, /* row of scores; breaks 4 KiB strides */
};

/* What all tiles of one call share. */
typedef struct ql_cpu_attn {
    const ql_attn_spec *spec;
    const ql_cpu_kernels *kern;
    ql_mat q, k, v;
    int64_t group, n_seq, half_buckets; /* L: buckets of distance -(L-1) .. L-1 */
    ql_cpu_rng rng;
} ql_cpu_attn;

typedef struct ql_cpu_attn_seq {
    int64_t q0, lq, k0, lk; /* first row and rows of q; first row and rows in use of k */
} ql_cpu_attn_seq;

/* Query rows first .. first+count-1 of one sequence and key-value head. */
typedef struct ql_cpu_attn_rows {
    ql_cpu_attn_seq seq;
    int64_t head_kv, first, count;
} ql_cpu_attn_rows;

/* Keys j0 .. j0+n-1 of the sequence. */
typedef struct ql_cpu_attn_keys {
    int64_t j0, n;
} ql_cpu_attn_keys;

/* Keys [lo, hi) relative to j0 that a row sees. */
typedef struct ql_cpu_attn_span {
    int64_t lo, hi;
} ql_cpu_attn_span;

/* Where row r of a tile comes from. */
typedef struct ql_cpu_attn_row {
    int64_t row, head, position; /* of q; query head; position in the sequence */
} ql_cpu_attn_row;

ql_cpu_attn ql_cpu_attn_begin(const ql_queue *q, const ql_attn_spec *spec, const ql_mat *mq,
                              const ql_mat *mk, const ql_mat *mv);
ql_cpu_attn_seq ql_cpu_attn_seq_at(const ql_cpu_attn *a, int64_t s);

/* Tasks are numbered over sequences, tiles of a sequence (long and short ones alternating) and
 * key-value heads. by_keys: tiles of keys, else of query rows. */
int64_t ql_cpu_attn_tasks(const ql_cpu_attn *a, bool by_keys);
/* Sequence, head and tile of a task: the tile's first row or key goes to *first. */
ql_cpu_attn_rows ql_cpu_attn_task(const ql_cpu_attn *a, bool by_keys, int64_t task, int64_t *first);

static inline ql_cpu_attn_row ql_cpu_attn_row_at(const ql_cpu_attn *a, const ql_cpu_attn_rows *t,
                                                 int64_t r) {
    int64_t flat = t->first + r, i = flat / a->group;
    return (ql_cpu_attn_row){.row = t->seq.q0 + i,
                             .head = t->head_kv * a->group + flat % a->group,
                             .position = t->seq.lk - t->seq.lq + i};
}
ql_cpu_attn_span ql_cpu_attn_span_of(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, int64_t r,
                                     ql_cpu_attn_keys keys);
/* Union of the spans of rows [r, r + n): they are ordered. */
ql_cpu_attn_span ql_cpu_attn_spans(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, int64_t r,
                                   int64_t n, ql_cpu_attn_keys keys);

/* out[r, 0..dim) = the tile's rows of a [Nq, Hq * dim] matrix as f32, zero up to ROWS_PAD. */
void ql_cpu_attn_load(const ql_cpu_attn *a, const ql_mat *m, const ql_cpu_attn_rows *t, int64_t dim,
                      float *out);
/* Keys (or values) of the tile packed as the right factor: by depth = dim (transposed) or by
 * depth = key. tmp: MAX_NR * max(dim, 1) floats. */
void ql_cpu_attn_pack(const ql_cpu_attn *a, const ql_mat *m, const ql_cpu_attn_rows *t,
                      ql_cpu_attn_keys keys, int64_t dim, bool by_dim, float *out, float *tmp);
/* s[r, j] = sum_d x[r, d] y[d, j] for all register tiles that some row sees; the rest is not
 * written. */
void ql_cpu_attn_scores(const ql_cpu_attn *a, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                        const float *x, int64_t dim, const float *y, float *s);
/* True when a score is more than scale * q.k. */
bool ql_cpu_attn_bent(const ql_cpu_attn *a);
/* z[j] = softcap(scale z[j]) + bias over the span; slope[j] = d softcap (NULL: not wanted). */
void ql_cpu_attn_bend(const ql_cpu_attn *a, const ql_cpu_attn_row *row, const ql_cpu_attn_seq *seq,
                      ql_cpu_attn_keys keys, ql_cpu_attn_span span, float *z, float *slope);
/* keep[j] = 0 or 1 / (1 - p) over the span. */
void ql_cpu_attn_keep(const ql_cpu_attn *a, const ql_cpu_attn_row *row, ql_cpu_attn_keys keys,
                      ql_cpu_attn_span span, float *keep);

/* Bucket of a distance, clamped to the table of buckets. */
int64_t ql_cpu_attn_bucket(const ql_cpu_attn *a, int64_t distance);

#endif
