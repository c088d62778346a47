/* optim.c - see optim.h. */
#include "core/train/optim.h"

#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/quant/qtype.h"

static const ql_optim optims[] = {
    {"paged_adamw_32bit", "adamw", QL_OPT_ADAMW, false, true},
    {"adamw", "adamw", QL_OPT_ADAMW, false, false},
    {"adamw_8bit", "adamw_8bit", QL_OPT_ADAMW, true, false},
    {"paged_adamw_8bit", "adamw_8bit", QL_OPT_ADAMW, true, true},
    {"lion", "lion", QL_OPT_LION, false, false},
    {"lion_8bit", "lion_8bit", QL_OPT_LION, true, false},
    {"paged_lion_32bit", "lion", QL_OPT_LION, false, true},
    {"paged_lion_8bit", "lion_8bit", QL_OPT_LION, true, true},
    {"sgd", "sgd", QL_OPT_SGD, false, false},
    {"sgd_8bit", "sgd_8bit", QL_OPT_SGD, true, false},
};

const ql_optim *ql_optim_find(const char *name) {
    for (size_t i = 0; i < sizeof optims / sizeof *optims; i++)
        if (strcmp(optims[i].name, name) == 0) return &optims[i];
    return NULL;
}

const char *ql_optim_names(void) {
    return "paged_adamw_32bit adamw adamw_8bit paged_adamw_8bit lion lion_8bit paged_lion_32bit "
           "paged_lion_8bit sgd sgd_8bit";
}

/* --------------------------------------------------------------------- layout */

#define MAP_BYTES (256 * sizeof(float))

static uint64_t aligned(uint64_t x, uint32_t align) {
    return (x + align - 1) & ~(uint64_t)(align - 1);
}

static uint64_t blocks(uint64_t n) {
    return (n + QL_OPT_BLOCK - 1) / QL_OPT_BLOCK;
}

/* Places a part of `bytes` behind all others. */
static uint64_t place(ql_opt_state *s, uint64_t bytes, uint32_t align) {
    uint64_t at = aligned(s->bytes, align);
    s->bytes = at + bytes;
    return at;
}

/* Does a tensor that begins where the run ends continue it? Coded ones only on a block's edge. */
static bool joins(const ql_opt_run *r, bool coded, bool decay) {
    return r->coded == coded && r->decay == decay && (!coded || r->n % QL_OPT_BLOCK == 0);
}

/* Ends the last run at `first`, where the next tensor begins or all end. */
static ql_opt_run *end_run(ql_opt_state *s, uint64_t first) {
    ql_opt_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;
    if (last) last->n = first - last->first;
    return last;
}

/* Runs over all elements, the padding behind each tensor included: it is 0 and stays 0. */
static void find_runs(ql_opt_state *s, const ql_model *m) {
    for (int pass = 0; pass < 2; pass++) { /* the region's order: with weight decay first */
        for (int32_t i = 0; i < m->n_params; i++) {
            const ql_param *p = &m->params[i];
            if (p->decay != (pass == 0)) continue;
            bool coded = s->optim->coded && p->rows * p->cols >= QL_OPT_MIN_CODED;
            const ql_opt_run *last = end_run(s, p->first);
            if (last && joins(last, coded, p->decay)) continue;
            s->runs[s->n_runs++] =
                (ql_opt_run){.first = p->first, .coded = coded, .decay = p->decay};
        }
    }
    end_run(s, m->n_trained);
}

static uint64_t all_values(const ql_opt_state *s) {
    const ql_opt_run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;
    return last ? last->first + last->n : 0;
}

static void place_runs(ql_opt_state *s, uint32_t align) {
    for (int32_t i = 0; i < s->n_runs; i++) s->coded |= s->runs[i].coded;
    if (!s->coded) { /* m of all runs, then v of all runs */
        uint64_t all = all_values(s);
        uint64_t m = s->has_m ? place(s, all * sizeof(float), align) : 0;
        uint64_t v = s->has_v ? place(s, all * sizeof(float), align) : 0;
        for (int32_t i = 0; i < s->n_runs; i++) {
            s->runs[i].m = m + s->runs[i].first * sizeof(float);
            s->runs[i].v = v + s->runs[i].first * sizeof(float);
        }
        return;
    }
    for (int32_t i = 0; i < s->n_runs; i++) {
        ql_opt_run *r = &s->runs[i];
        uint64_t one = r->coded ? r->n : r->n * sizeof(float);
        uint64_t scales = blocks(r->n) * sizeof(float);
        r->m = place(s, one, align);
        if (s->has_v) r->v = place(s, one, align);
        if (!r->coded) continue;
        r->m_absmax = place(s, scales, align);
        if (s->has_v) r->v_absmax = place(s, scales, align);
    }
    s->map_m = place(s, MAP_BYTES, align);
    if (s->has_v) s->map_v = place(s, MAP_BYTES, align);
}

ql_status ql_opt_state_plan(const ql_model *m, const ql_optim *optim, double momentum,
                            uint32_t align, ql_opt_state *out) {
    ql_opt_state s = {.optim = optim,
                      .has_m = optim->kind != QL_OPT_SGD || momentum != 0,
                      .has_v = optim->kind == QL_OPT_ADAMW};
    if (optim->coded && !s.has_m)
        return QL_FAIL(QL_ERR_INVALID,
                       "--optim %s keeps a momentum in 8 bits, but --sgd_momentum is 0; use "
                       "--optim sgd, which then keeps nothing",
                       optim->name);
    s.runs = ql_host_calloc((size_t)m->n_params + 1, sizeof *s.runs);
    if (!s.runs) return QL_NOMEM("the optimizer's layout");
    find_runs(&s, m);
    place_runs(&s, align < 64 ? 64 : align);
    s.bytes = aligned(s.bytes, sizeof(float));
    *out = s;
    return QL_OK;
}

void ql_opt_state_free(ql_opt_state *s) {
    ql_host_free(s->runs);
    *s = (ql_opt_state){0};
}

ql_status ql_opt_state_reset(const ql_opt_state *s, ql_queue *q, ql_buffer *buf) {
    if (!s->bytes) return QL_OK;
    int64_t n = (int64_t)(s->bytes / sizeof(float));
    const ql_fill_args zero = {{buf, 0, 1, n, n, QL_F32}, 0.0f};
    QL_TRY(ql_run_fill(q, &zero));
    if (!s->coded) return QL_OK;
    const ql_backend *b = q->dev->backend;
    QL_TRY(b->write(q, buf, s->map_m, ql_dyn8_signed(), MAP_BYTES));
    if (s->has_v) QL_TRY(b->write(q, buf, s->map_v, ql_dyn8_unsigned(), MAP_BYTES));
    return b->queue_sync(q);
}

/* --------------------------------------------------------------------- update */

static ql_mat row(ql_buffer *buf, uint64_t off, uint64_t n, ql_dtype t) {
    return (ql_mat){buf, off, 1, (int64_t)n, (int64_t)n, t};
}

ql_opt_step_args ql_opt_run_args(const ql_opt_state *s, const ql_opt_run *run, const ql_model *m,
                                 ql_buffer *buf, const ql_opt_hyper *h) {
    ql_dtype t = run->coded ? QL_U8 : QL_F32;
    uint64_t at = run->first * sizeof(float);
    ql_opt_step_args a = {.kind = s->optim->kind,
                          .p = row(m->trained, at, run->n, QL_F32),
                          .g = row(m->gradients, at, run->n, QL_F32),
                          .beta1 = (float)(s->optim->kind == QL_OPT_SGD ? h->momentum : h->beta1),
                          .beta2 = (float)h->beta2,
                          .eps = (float)h->epsilon,
                          .weight_decay = run->decay ? (float)h->weight_decay : 0.0f,
                          .lr_scale = 1.0f};
    if (s->has_m) a.m = row(buf, run->m, run->n, t);
    if (s->has_v) a.v = row(buf, run->v, run->n, t);
    if (!run->coded) return a;
    a.m_absmax = row(buf, run->m_absmax, blocks(run->n), QL_F32);
    a.code8_m = row(buf, s->map_m, 256, QL_F32);
    if (!s->has_v) return a;
    a.v_absmax = row(buf, run->v_absmax, blocks(run->n), QL_F32);
    a.code8_v = row(buf, s->map_v, 256, QL_F32);
    return a;
}

/* ---------------------------------------------------------------------- parts */

bool ql_opt_state_part(const ql_opt_state *s, int32_t i, ql_opt_part *out) {
    static const char *const names[] = {"m", "v", "m_absmax", "v_absmax"};
    if (!s->coded) {
        if (i >= s->has_m + s->has_v) return false;
        *out = (ql_opt_part){
            .dtype = QL_ST_F32, .off = i ? s->runs[0].v : s->runs[0].m, .count = all_values(s)};
        snprintf(out->name, sizeof out->name, "%s", names[i]);
        return true;
    }
    for (int32_t r = 0; r < s->n_runs; r++) {
        const ql_opt_run *run = &s->runs[r];
        const uint64_t off[] = {run->m, run->v, run->m_absmax, run->v_absmax};
        for (int k = 0; k < 4; k++) {
            bool there = (k % 2 == 0 || s->has_v) && (k < 2 || run->coded);
            if (!there || i-- > 0) continue;
            *out = (ql_opt_part){.dtype = k < 2 && run->coded ? QL_ST_U8 : QL_ST_F32,
                                 .off = off[k],
                                 .count = k < 2 ? run->n : blocks(run->n)};
            snprintf(out->name, sizeof out->name, "%d.%s", (int)r, names[k]);
            return true;
        }
    }
    return false;
}
