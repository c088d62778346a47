/*
 * bpw_kl.c - how far the next-token distributions move when one matrix is stored in few bits.
 *
 * The model stands in float32 on the device; a matrix is replaced by its decoded codes, the
 * calibration text runs, and the matrix is put back.
 *   KL = mean over rows of sum_v p(v) (log p(v) - log q(v))
 */
#include <math.h>
#include <string.h>

#include "core/data/batch.h"
#include "core/device/device.h"
#include "core/model/bpw_impl.h"
#include "core/model/build.h"
#include "core/model/encode.h"

typedef struct probe {
    const ql_bpw_opts *o;
    ql_model *m; /* all weights as float32 parameters */
    ql_queue *q;
    ql_graph *graph;
    ql_buffer *arena;
    ql_batch batch;
    int64_t rows, vocab;
    float *usual, *now; /* [rows, vocab]: log-probabilities of the model, logits of a run */
} probe;

static void log_softmax(float *row, int64_t n) {
    double top = row[0], sum = 0;
    for (int64_t i = 1; i < n; i++) top = row[i] > top ? row[i] : top;
    for (int64_t i = 0; i < n; i++) sum += exp((double)row[i] - top);
    double shift = top + log(sum);
    for (int64_t i = 0; i < n; i++) row[i] = (float)((double)row[i] - shift);
}

/* Log-probabilities of every row -> out. */
static ql_status run(probe *p, float *out) {
    QL_TRY(ql_graph_set_batch(p->graph, p->q, &p->batch));
    QL_TRY(ql_program_run(p->graph->program, p->q));
    QL_TRY(ql_graph_get(p->graph, p->q, p->graph->io.logits, out,
                        (uint64_t)(p->rows * p->vocab) * sizeof(float)));
    for (int64_t r = 0; r < p->rows; r++) log_softmax(out + r * p->vocab, p->vocab);
    return QL_OK;
}

static double divergence(const probe *p) {
    double sum = 0;
    for (int64_t i = 0; i < p->rows * p->vocab; i++)
        sum += exp((double)p->usual[i]) * ((double)p->usual[i] - (double)p->now[i]);
    return sum / (double)p->rows;
}

/* w [n, k] into the parameter of l, which lies [k, n] for a Conv1D. */
static ql_status write_weight(const probe *p, const ql_linear *l, const float *w) {
    if (!l->transposed) return ql_param_write(p->m, l->dense_param, w);
    float *t = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof *t);
    if (!t) return QL_NOMEM("a transposed weight");
    for (int64_t i = 0; i < l->n; i++)
        for (int64_t j = 0; j < l->k; j++) t[j * l->n + i] = w[i * l->k + j];
    ql_status s = ql_param_write(p->m, l->dense_param, t);
    ql_host_free(t);
    return s;
}

/* KL with item `it` stored at one size. w: its weights; coded: room for as many. */
static ql_status probe_size(probe *p, const ql_linear *l, ql_bpw_item *it, int size, const float *w,
                            float *coded) {
    ql_qtensor q = {0};
    QL_TRY(ql_quantize_with(&it->quant[size], ql_encode_on_queue, p->q, w, l->n, l->k, &q));
    ql_status s = ql_dequantize_rows(&q, 0, q.n, coded);
    ql_qtensor_free(&q);
    if (s == QL_OK) s = write_weight(p, l, coded);
    if (s == QL_OK) s = run(p, p->now);
    if (s == QL_OK) it->cost[size] = divergence(p);
    return s;
}

static ql_status probe_item(probe *p, const ql_model *listed, ql_bpw_item *it) {
    const ql_linear *l = ql_model_find_linear(p->m, it->l->module);
    if (!l || l->dense_param < 0)
        return QL_FAIL(QL_ERR_INTERNAL, "target_bpw: %s has no float32 place", it->l->module);
    float *w = NULL, *coded = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof *coded);
    ql_status s = coded ? ql_bpw_read(listed, it->l, &w) : QL_NOMEM("a decoded weight");
    for (int i = 0; i + 1 < QL_BPW_SIZES && s == QL_OK; i++) s = probe_size(p, l, it, i, w, coded);
    if (s == QL_OK) s = write_weight(p, l, w);
    int four = QL_BPW_SIZES - 2;
    double ratio = it->error[four] > 0.0 ? it->error[four + 1] / it->error[four] : 0.0;
    it->cost[four + 1] = it->cost[four] * ratio;
    ql_host_free(coded);
    ql_host_free(w);
    return s;
}

static ql_status open_model(probe *p, const char *model) {
    ql_source *source;
    ql_model_opts mo = ql_model_opts_default();
    mo.bits = 16;
    mo.full = true;
    QL_TRY(ql_source_open(model, &source));
    QL_TRY(ql_model_open(source, &mo, &p->m));
    if (p->m->arch.task != QL_TASK_CAUSAL)
        return QL_FAIL(QL_ERR_INVALID,
                       "calibration: next-token distributions need a decoder; %s is none",
                       ql_source_path(p->m->source));
    QL_TRY(ql_model_place(p->m, p->o->dev, p->q));
    return ql_model_init_trained(p->m, 0);
}

static ql_status open_graph(probe *p) {
    int32_t n = p->o->n_ids;
    const ql_graph_opts g = {.kind = QL_GRAPH_LOGITS,
                             .compute = QL_F32,
                             .max_tokens = n,
                             .max_seqs = 1,
                             .max_len = n,
                             .max_labelled = n,
                             .logits_chunk = 16};
    QL_TRY(ql_batch_create(n, 1, 0, &p->batch));
    QL_TRY(ql_batch_fill_flat(&p->batch, p->o->ids, p->o->ids, NULL, n));
    p->rows = p->batch.labelled;
    p->vocab = ql_arch_outputs(&p->m->arch);
    QL_TRY(ql_graph_create(p->m, &g, p->o->dev, &p->graph));
    QL_TRY(p->o->dev->backend->buffer_alloc(p->o->dev, QL_MEM_DEVICE,
                                            ql_program_arena_bytes(p->graph->program), &p->arena));
    QL_TRY(ql_graph_bind(p->graph, p->m, p->arena));
    p->usual = ql_host_calloc((size_t)p->rows, (size_t)p->vocab * sizeof(float));
    p->now = ql_host_calloc((size_t)p->rows, (size_t)p->vocab * sizeof(float));
    return p->usual && p->now ? QL_OK : QL_NOMEM("the distributions of the calibration text");
}

ql_status ql_bpw_calibrate(const char *model, const ql_model *m, const ql_bpw_opts *o, ql_queue *q,
                           ql_bpw_item *items, int64_t n) {
    probe p = {.o = o, .q = q};
    ql_status s = open_model(&p, model);
    if (s == QL_OK) s = open_graph(&p);
    if (s == QL_OK) s = run(&p, p.usual);
    for (int64_t i = 0; i < n && s == QL_OK; i++) {
        if (o->progress) o->progress(o->user, i, n, items[i].l->module);
        s = probe_item(&p, m, &items[i]);
    }
    ql_graph_free(p.graph);
    o->dev->backend->buffer_free(p.arena);
    ql_batch_free(&p.batch);
    ql_host_free(p.usual);
    ql_host_free(p.now);
    if (p.m) p.m->queue = NULL;
    ql_model_close(p.m);
    return s;
}
