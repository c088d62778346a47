/*
 * attn_bwd.c - attention backward from the saved log-sum-exp, in two passes without atomics.
 *
 *   P = e^(score - lse)     dP = keep (do v^T)     dB = P (dP - delta)     delta_i = do_i . o_i
 *   dS = scale slope dB     dq = dS k     dk = dS^T q     dv = (P keep)^T do
 *
 * Pass 1 owns tiles of query rows: delta, dq, dc2p, and per task a private sum for dtable. Pass 2
 * owns tiles of keys: dk, dv, dp2c. Scores are recomputed in both, which costs two products of
 * seven and keeps every sum in one task, in a fixed order.
 */
#include "backends/cpu/attn.h"

/* Floats: an area shared by all threads, then one private area per thread. */
typedef struct bwd_layout {
    int64_t delta, slots, shared; /* [Hq, Nq]; per task [group, buckets] */
    int64_t q, g, kt, vt, right, right_v, s, dp, acc, acc_v, tmp, floats;
    int64_t ld, ld_v; /* dims in whole register tiles */
} bwd_layout;

static int64_t round_up(int64_t x, int64_t unit) {
    return ql_cpu_ceil_div(x, unit) * unit;
}

static bwd_layout layout_of(const ql_attn_bwd_args *a) {
    enum { SPILL = 16, LONGEST = QL_CPU_ATTN_KEYS_PAD };
    const ql_attn_spec *s = &a->spec;
    bwd_layout l = {.ld = round_up(s->dim_qk, QL_CPU_MAX_NR),
                    .ld_v = round_up(s->dim_v, QL_CPU_MAX_NR)};
    const int64_t group = s->heads_q / s->heads_kv;
    l.slots = l.delta + round_up(s->heads_q * a->q.rows, 16);
    l.shared = l.slots;
    if (s->bias == QL_BIAS_TABLE) {
        int64_t tasks = (a->q.rows * group / QL_CPU_ATTN_ROWS + s->start_q.cols) * s->heads_kv;
        l.shared += round_up(2 * tasks * group * s->table.rows, 16); /* doubles */
    }
    l.g = l.q + QL_CPU_ATTN_ROWS_PAD * s->dim_qk;
    l.kt = l.g + QL_CPU_ATTN_ROWS_PAD * s->dim_v;
    l.vt = l.kt + QL_CPU_ATTN_KEYS * s->dim_qk + SPILL;
    l.right = l.vt + QL_CPU_ATTN_KEYS * s->dim_v + SPILL;
    l.right_v = l.right + QL_CPU_ATTN_KEYS * l.ld + SPILL;
    l.s = l.right_v + QL_CPU_ATTN_KEYS * l.ld_v + SPILL;
    l.dp = l.s + QL_CPU_ATTN_ROWS_PAD * QL_CPU_ATTN_LD;
    l.acc = l.dp + QL_CPU_ATTN_ROWS_PAD * QL_CPU_ATTN_LD;
    l.acc_v = l.acc + LONGEST * l.ld;
    l.tmp = l.acc_v + LONGEST * l.ld_v;
    l.floats = round_up(l.tmp + QL_CPU_MAX_NR * ql_cpu_max(s->dim_qk, s->dim_v), 16);
    return l;
}

uint64_t ql_cpu_scratch_attn_bwd(const ql_cpu_device *dev, const ql_attn_bwd_args *a) {
    bwd_layout l = layout_of(a);
    return (uint64_t)(l.shared + l.floats * dev->threads) * sizeof(float);
}

typedef struct bwd {
    const ql_attn_bwd_args *args;
    ql_cpu_attn a;
    bwd_layout layout;
    float *scratch;
} bwd;

static float *private_of(const bwd *b, int thread) {
    return b->scratch + b->layout.shared + thread * b->layout.floats;
}

static double *slots_of(const bwd *b) {
    return (double *)(void *)(b->scratch + b->layout.slots);
}

/* ----------------------------------------------------------------------- one tile */

/* One row: s = q.k -> P keep, dp = do.v -> dS; db = gradient of the score where a bias needs it.
 * Both are zero outside the span, over all keys of the tile. */
static void bwd_row(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys, int64_t r,
                    float *mine, float db[QL_CPU_ATTN_KEYS]) {
    const ql_attn_spec *spec = b->a.spec;
    const ql_cpu_attn_row row = ql_cpu_attn_row_at(&b->a, t, r);
    const ql_cpu_attn_span span = ql_cpu_attn_span_of(&b->a, t, r, keys);
    const bool bent = ql_cpu_attn_bent(&b->a);
    float *s = mine + b->layout.s + r * QL_CPU_ATTN_LD;
    float *dp = mine + b->layout.dp + r * QL_CPU_ATTN_LD;
    float slope[QL_CPU_ATTN_KEYS], keep[QL_CPU_ATTN_KEYS];
    memset(s, 0, (size_t)span.lo * sizeof *s);
    memset(dp, 0, (size_t)span.lo * sizeof *s);
    memset(s + span.hi, 0, (size_t)(keys.n - span.hi) * sizeof *s);
    memset(dp + span.hi, 0, (size_t)(keys.n - span.hi) * sizeof *s);
    if (span.lo == span.hi) return;
    const float lse = ql_cpu_f32(&b->args->lse, row.head)[row.row];
    const float delta = b->scratch[b->layout.delta + row.head * b->a.q.rows + row.row];
    if (bent) ql_cpu_attn_bend(&b->a, &row, &t->seq, keys, span, s, slope);
    b->a.kern->exp_sum(s + span.lo, span.hi - span.lo, bent ? 1.0f : spec->scale, lse);
    if (spec->dropout > 0.0f) {
        ql_cpu_attn_keep(&b->a, &row, keys, span, keep);
        for (int64_t j = span.lo; j < span.hi; j++) dp[j] *= keep[j];
    }
    for (int64_t j = span.lo; j < span.hi; j++) db[j] = s[j] * (dp[j] - delta);
    for (int64_t j = span.lo; j < span.hi; j++) dp[j] = db[j] * spec->scale;
    if (bent)
        for (int64_t j = span.lo; j < span.hi; j++) dp[j] *= slope[j];
    if (spec->dropout > 0.0f)
        for (int64_t j = span.lo; j < span.hi; j++) s[j] *= keep[j];
}

/* Raw q.k and do.v of a tile; the left factors are loaded, the keys packed. */
static void raw_scores(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                       float *mine) {
    const ql_attn_spec *s = b->a.spec;
    const bwd_layout *l = &b->layout;
    ql_cpu_attn_scores(&b->a, t, keys, mine + l->q, s->dim_qk, mine + l->kt, mine + l->s);
    ql_cpu_attn_scores(&b->a, t, keys, mine + l->g, s->dim_v, mine + l->vt, mine + l->dp);
}

static void pack_keys(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys, float *mine) {
    const ql_attn_spec *s = b->a.spec;
    const bwd_layout *l = &b->layout;
    float *tmp = mine + l->tmp;
    ql_cpu_attn_pack(&b->a, &b->a.k, t, keys, s->dim_qk, true, mine + l->kt, tmp);
    ql_cpu_attn_pack(&b->a, &b->a.v, t, keys, s->dim_v, true, mine + l->vt, tmp);
}

static void add_to(const ql_mat *m, int64_t row, int64_t col, float x) {
    float old;
    ql_cpu_widen(m->dtype, ql_cpu_at(m, row, col), &old, 1);
    old += x;
    ql_cpu_narrow(m->dtype, ql_cpu_at(m, row, col), &old, 1);
}

/* ------------------------------------------------------------------ pass 1: query rows */

static void row_deltas(const bwd *b, const ql_cpu_attn_rows *t, const float *g, float *tmp) {
    const int64_t dim = b->a.spec->dim_v;
    for (int64_t r = 0; r < t->count; r++) {
        const ql_cpu_attn_row row = ql_cpu_attn_row_at(&b->a, t, r);
        const float *o = ql_cpu_span_f32(&b->args->o, row.row, row.head * dim, dim, tmp);
        float *delta = &b->scratch[b->layout.delta + row.head * b->a.q.rows + row.row];
        *delta = 0.0f;
        b->a.kern->dot(g + r * dim, dim, o, dim, 1, delta);
    }
}

/* dtable[bucket(j - i), h] into the task's own slot, in double since thousands of scores share a
 * bucket; dc2p[i, h R + bucket(i - j)]. */
static void row_bias_gradients(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                               int64_t r, const float *db, double *slot) {
    const ql_attn_spec *s = b->a.spec;
    const ql_cpu_attn_row row = ql_cpu_attn_row_at(&b->a, t, r);
    const ql_cpu_attn_span span = ql_cpu_attn_span_of(&b->a, t, r, keys);
    const bool table = s->bias == QL_BIAS_TABLE && ql_cpu_has(&b->args->dtable);
    const bool c2p = s->bias == QL_BIAS_DISENT && ql_cpu_has(&b->args->dc2p);
    for (int64_t j = span.lo; j < span.hi; j++) {
        int64_t d = keys.j0 + j - row.position;
        if (table)
            slot[row.head % b->a.group * s->table.rows + ql_cpu_attn_bucket(&b->a, d)] +=
                (double)db[j];
        if (c2p)
            add_to(&b->args->dc2p, row.row,
                   row.head * (s->c2p.cols / s->heads_q) + ql_cpu_attn_bucket(&b->a, -d), db[j]);
    }
}

/* dq += dS k for the keys of one tile. */
static void add_dq(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys, float *mine) {
    const ql_cpu_kernels *kern = b->a.kern;
    const bwd_layout *l = &b->layout;
    for (int64_t r = 0; r < t->count; r += kern->mr) {
        const ql_cpu_attn_span s = ql_cpu_attn_spans(&b->a, t, r, kern->mr, keys);
        if (s.lo >= s.hi) continue;
        for (int64_t d = 0; d < b->a.spec->dim_qk; d += kern->nr)
            kern->micro(s.hi - s.lo, mine + l->dp + r * QL_CPU_ATTN_LD + s.lo, QL_CPU_ATTN_LD, 1,
                        mine + l->right + d * keys.n + s.lo * kern->nr, kern->nr,
                        mine + l->acc + r * l->ld + d, l->ld, true);
    }
}

static void dq_tasks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const bwd *b = (const bwd *)ctx;
    const ql_attn_spec *s = b->a.spec;
    const bwd_layout *l = &b->layout;
    float *mine = private_of(b, thread), db[QL_CPU_ATTN_KEYS];
    const int64_t slot_size = s->bias == QL_BIAS_TABLE ? b->a.group * s->table.rows : 0;
    for (int64_t task = begin; task < end; task++) {
        double *slot = slots_of(b) + task * slot_size;
        int64_t first;
        ql_cpu_attn_rows t = ql_cpu_attn_task(&b->a, false, task, &first);
        t.first = first;
        t.count = ql_cpu_min(QL_CPU_ATTN_ROWS, t.seq.lq * b->a.group - first);
        memset(slot, 0, (size_t)slot_size * sizeof *slot);
        memset(mine + l->acc, 0, (size_t)(QL_CPU_ATTN_ROWS_PAD * l->ld) * sizeof *mine);
        ql_cpu_attn_load(&b->a, &b->a.q, &t, s->dim_qk, mine + l->q);
        ql_cpu_attn_load(&b->a, &b->args->d_o, &t, s->dim_v, mine + l->g);
        row_deltas(b, &t, mine + l->g, mine + l->tmp);
        for (int64_t j = 0; j < t.seq.lk; j += QL_CPU_ATTN_KEYS) {
            ql_cpu_attn_keys keys = {.j0 = j, .n = ql_cpu_min(QL_CPU_ATTN_KEYS, t.seq.lk - j)};
            ql_cpu_attn_span all = ql_cpu_attn_spans(&b->a, &t, 0, t.count, keys);
            if (all.lo >= all.hi) continue;
            pack_keys(b, &t, keys, mine);
            ql_cpu_attn_pack(&b->a, &b->a.k, &t, keys, s->dim_qk, false, mine + l->right,
                             mine + l->tmp);
            raw_scores(b, &t, keys, mine);
            for (int64_t r = 0; r < t.count; r++) {
                bwd_row(b, &t, keys, r, mine, db);
                if (s->bias != QL_BIAS_NONE) row_bias_gradients(b, &t, keys, r, db, slot);
            }
            add_dq(b, &t, keys, mine);
        }
        for (int64_t r = 0; r < t.count; r++) {
            const ql_cpu_attn_row row = ql_cpu_attn_row_at(&b->a, &t, r);
            ql_cpu_span_store(&b->args->dq, row.row, row.head * s->dim_qk, s->dim_qk,
                              mine + l->acc + r * l->ld);
        }
    }
}

/* Slots in the order of tasks, each table entry rounded once. */
static void sum_table_slots(const bwd *b, int64_t tasks) {
    const ql_attn_spec *s = b->a.spec;
    const int64_t size = b->a.group * s->table.rows;
    for (int64_t hk = 0; hk < s->heads_kv; hk++)
        for (int64_t i = 0; i < size; i++) {
            double sum = 0.0;
            for (int64_t task = hk; task < tasks; task += s->heads_kv)
                sum += slots_of(b)[task * size + i];
            add_to(&b->args->dtable, i % s->table.rows, hk * b->a.group + i / s->table.rows,
                   (float)sum);
        }
}

/* ------------------------------------------------------------------------ pass 2: keys */

/* A loaded tile of rows as a right factor, depth = row. */
static void pack_rows(const bwd *b, const ql_cpu_attn_rows *t, float *rows, int64_t dim,
                      float *out) {
    ql_buffer local = {.host = rows};
    ql_cpu_side side = {.mat = {.buf = &local, .rows = t->count, .cols = dim, .ld = dim}};
    ql_cpu_pack(b->a.kern, &side, 0, dim, 0, t->count, b->a.kern->nr, out, NULL);
}

/* acc[j, :] += sum over rows r of x[r, j] y[r, :]; only rows that see some key of the register
 * tile take part. */
static void add_transposed(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                           const float *x, const float *y, int64_t dim, float *acc, int64_t ld) {
    const ql_cpu_kernels *kern = b->a.kern;
    for (int64_t j = 0; j < keys.n; j += kern->mr) {
        int64_t r0 = 0, r1 = t->count;
        while (r0 < r1 && ql_cpu_attn_span_of(&b->a, t, r0, keys).hi <= j) r0++;
        while (r1 > r0 && ql_cpu_attn_span_of(&b->a, t, r1 - 1, keys).lo >= j + kern->mr) r1--;
        if (r0 == r1) continue;
        for (int64_t d = 0; d < dim; d += kern->nr)
            kern->micro(r1 - r0, x + r0 * QL_CPU_ATTN_LD + j, 1, QL_CPU_ATTN_LD,
                        y + d * t->count + r0 * kern->nr, kern->nr, acc + j * ld + d, ld, true);
    }
}

/* dp2c[j, hk R + bucket(i - j)] */
static void key_bias_gradients(const bwd *b, const ql_cpu_attn_rows *t, ql_cpu_attn_keys keys,
                               int64_t r, const float *db) {
    const ql_attn_spec *s = b->a.spec;
    const ql_cpu_attn_row row = ql_cpu_attn_row_at(&b->a, t, r);
    const ql_cpu_attn_span span = ql_cpu_attn_span_of(&b->a, t, r, keys);
    const int64_t buckets = s->p2c.cols / s->heads_kv;
    for (int64_t j = span.lo; j < span.hi; j++)
        add_to(&b->args->dp2c, t->seq.k0 + keys.j0 + j,
               t->head_kv * buckets + ql_cpu_attn_bucket(&b->a, row.position - keys.j0 - j), db[j]);
}

static void dkv_rows(const bwd *b, ql_cpu_attn_rows *t, ql_cpu_attn_keys keys, float *mine) {
    const ql_attn_spec *s = b->a.spec;
    const bwd_layout *l = &b->layout;
    float db[QL_CPU_ATTN_KEYS];
    ql_cpu_attn_load(&b->a, &b->a.q, t, s->dim_qk, mine + l->q);
    ql_cpu_attn_load(&b->a, &b->args->d_o, t, s->dim_v, mine + l->g);
    pack_rows(b, t, mine + l->q, s->dim_qk, mine + l->right);
    pack_rows(b, t, mine + l->g, s->dim_v, mine + l->right_v);
    raw_scores(b, t, keys, mine);
    for (int64_t r = 0; r < t->count; r++) {
        bwd_row(b, t, keys, r, mine, db);
        if (s->bias == QL_BIAS_DISENT && ql_cpu_has(&b->args->dp2c))
            key_bias_gradients(b, t, keys, r, db);
    }
    add_transposed(b, t, keys, mine + l->dp, mine + l->right, s->dim_qk, mine + l->acc, l->ld);
    add_transposed(b, t, keys, mine + l->s, mine + l->right_v, s->dim_v, mine + l->acc_v, l->ld_v);
}

static void dkv_tasks(const void *ctx, int64_t begin, int64_t end, int thread) {
    const bwd *b = (const bwd *)ctx;
    const ql_attn_spec *s = b->a.spec;
    const bwd_layout *l = &b->layout;
    float *mine = private_of(b, thread);
    for (int64_t task = begin; task < end; task++) {
        int64_t j0;
        ql_cpu_attn_rows t = ql_cpu_attn_task(&b->a, true, task, &j0);
        ql_cpu_attn_keys keys = {.j0 = j0, .n = ql_cpu_min(QL_CPU_ATTN_KEYS, t.seq.lk - j0)};
        memset(mine + l->acc, 0, (size_t)(QL_CPU_ATTN_KEYS_PAD * l->ld) * sizeof *mine);
        memset(mine + l->acc_v, 0, (size_t)(QL_CPU_ATTN_KEYS_PAD * l->ld_v) * sizeof *mine);
        pack_keys(b, &t, keys, mine);
        for (int64_t rows = t.seq.lq * b->a.group; t.first < rows; t.first += QL_CPU_ATTN_ROWS) {
            t.count = ql_cpu_min(QL_CPU_ATTN_ROWS, rows - t.first);
            ql_cpu_attn_span all = ql_cpu_attn_spans(&b->a, &t, 0, t.count, keys);
            if (all.lo < all.hi) dkv_rows(b, &t, keys, mine);
        }
        for (int64_t j = 0; j < keys.n; j++) {
            int64_t row = t.seq.k0 + j0 + j;
            ql_cpu_span_store(&b->args->dk, row, t.head_kv * s->dim_qk, s->dim_qk,
                              mine + l->acc + j * l->ld);
            ql_cpu_span_store(&b->args->dv, row, t.head_kv * s->dim_v, s->dim_v,
                              mine + l->acc_v + j * l->ld_v);
        }
    }
}

/* ------------------------------------------------------------------------------ entry */

static void zero_rows(const ql_mat *m, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
        memset(ql_cpu_at(m, i, 0), 0, (size_t)m->cols * ql_cpu_dtype_size(m->dtype));
}

/* Rows that belong to no sequence, or lie behind the keys in use, get gradient 0. */
static void zero_gaps(const bwd *b) {
    int64_t q = 0, k = 0;
    for (int64_t s = 0; s < b->a.n_seq; s++) {
        const ql_cpu_attn_seq seq = ql_cpu_attn_seq_at(&b->a, s);
        zero_rows(&b->args->dq, q, seq.q0);
        zero_rows(&b->args->dk, k, seq.k0);
        zero_rows(&b->args->dv, k, seq.k0);
        q = seq.q0 + seq.lq;
        k = seq.k0 + seq.lk;
    }
    zero_rows(&b->args->dq, q, b->args->dq.rows);
    zero_rows(&b->args->dk, k, b->args->dk.rows);
    zero_rows(&b->args->dv, k, b->args->dv.rows);
}

ql_status ql_cpu_attn_bwd(ql_queue *q, const ql_attn_bwd_args *a) {
    bwd b = {.args = a,
             .a = ql_cpu_attn_begin(q, &a->spec, &a->q, &a->k, &a->v),
             .layout = layout_of(a),
             .scratch = (float *)ql_cpu_at(&a->scratch, 0, 0)};
    const int64_t tasks = ql_cpu_attn_tasks(&b.a, false);
    zero_gaps(&b);
    ql_cpu_parallel(q, tasks, 1, dq_tasks, &b);
    if (a->spec.bias == QL_BIAS_TABLE && ql_cpu_has(&a->dtable)) sum_table_slots(&b, tasks);
    ql_cpu_parallel(q, ql_cpu_attn_tasks(&b.a, true), 1, dkv_tasks, &b);
    return QL_OK;
}
