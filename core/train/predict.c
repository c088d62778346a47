/*
 * predict.c - logits of labelled rows, batch by batch, to predictions and scores (see predict.h).
 *
 * The logits of a sequence's targets are vocabulary wide, so an encoder-decoder is asked one row at
 * a time; classes take as many rows as the batch holds.
 */
#include "core/train/predict.h"

#include <string.h>

#include "core/base/hostmem.h"

/* ---------------------------------------------------------------- planning */

static ql_graph_opts graph_opts(const ql_model *m, const ql_predict_opts *o) {
    bool seq2seq = m->arch.task == QL_TASK_SEQ2SEQ;
    int32_t batch = seq2seq ? 1 : o->batch, source = 0;
    if (seq2seq) source = o->max_source_len > 0 ? o->max_source_len : o->max_len;
    return (ql_graph_opts){.kind = QL_GRAPH_LOGITS,
                           .compute = o->compute,
                           .max_tokens = batch * o->max_len,
                           .max_seqs = batch,
                           .max_len = o->max_len,
                           .max_labelled = seq2seq ? o->max_len : batch,
                           .max_source_tokens = source,
                           .max_source_len = source,
                           .logits_chunk = seq2seq ? o->max_len : batch};
}

ql_status ql_predictor_plan(ql_model *m, const ql_predict_opts *o, ql_device *dev,
                            ql_predictor *out) {
    if (m->arch.task == QL_TASK_CAUSAL) {
        return QL_FAIL(QL_ERR_INVALID, "predict: a decoder has no classes and no targets apart");
    }
    ql_predictor p = {.model = m, .n_labels = m->arch.n_labels};
    const ql_graph_opts g = graph_opts(m, o);
    QL_TRY(ql_graph_create(m, &g, dev, &p.graph));
    *out = p;
    return QL_OK;
}

ql_status ql_predictor_bind(ql_predictor *p, ql_buffer *arena) {
    const ql_graph_opts *g = &p->graph->opts;
    size_t outputs = (size_t)ql_arch_outputs(&p->model->arch);
    QL_TRY(ql_graph_bind(p->graph, p->model, arena));
    QL_TRY(ql_batch_create(g->max_tokens, g->max_seqs, g->max_source_tokens, &p->batch));
    p->logits = ql_host_calloc((size_t)g->max_labelled * outputs, sizeof(float));
    return p->logits ? QL_OK : QL_NOMEM("the logits of a batch");
}

void ql_predictor_free(ql_predictor *p) {
    if (!p) return;
    ql_graph_free(p->graph);
    ql_batch_free(&p->batch);
    ql_host_free(p->logits);
    *p = (ql_predictor){0};
}

/* ---------------------------------------------------------------- running */

/* Column of the largest value; the first of equal ones. */
static int32_t largest(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* The next rows of d from `at` on that fit: their logits in p->logits. */
static ql_status next_logits(ql_predictor *p, ql_queue *queue, const ql_dataset *d, int64_t at) {
    const ql_graph_opts *g = &p->graph->opts;
    int64_t index[64];
    int32_t count = 0, most = g->max_seqs < 64 ? g->max_seqs : 64;
    for (; count < most && at + count < d->n; count++) index[count] = at + count;
    QL_TRY(ql_batch_fill(&p->batch, d, index, count));
    if (p->batch.labelled == 0) return QL_OK;
    QL_TRY(ql_graph_set_batch(p->graph, queue, &p->batch));
    QL_TRY(ql_program_run(p->graph->program, queue));
    uint64_t outputs = (uint64_t)ql_arch_outputs(&p->model->arch);
    return ql_graph_get(p->graph, queue, p->graph->io.logits, p->logits,
                        (uint64_t)p->batch.labelled * outputs * sizeof(float));
}

/* Answers and truths of rows of classes or numbers. */
typedef struct answers {
    int32_t *predicted, *truth; /* one block; numbers are stored as floats */
    float *number, *true_number;
} answers;

static ql_status collect(ql_predictor *p, ql_queue *queue, const ql_dataset *d, float *logits,
                         const answers *a) {
    size_t k = (size_t)p->n_labels;
    for (int64_t at = 0; at < d->n; at += p->batch.seqs) {
        QL_TRY(next_logits(p, queue, d, at));
        for (int32_t i = 0; i < p->batch.seqs; i++) {
            const float *row = p->logits + (size_t)i * k;
            a->predicted[at + i] = largest(row, p->n_labels);
            a->truth[at + i] = d->items[at + i].target;
            a->number[at + i] = row[0];
            a->true_number[at + i] = d->items[at + i].value;
            if (logits) memcpy(logits + (size_t)(at + i) * k, row, k * sizeof(float));
        }
    }
    return QL_OK;
}

static ql_status run_classes(ql_predictor *p, ql_queue *queue, const ql_dataset *d, float *logits,
                             ql_scores *out) {
    size_t n = (size_t)d->n;
    int32_t *block = ql_host_calloc(n, 2 * (sizeof(int32_t) + sizeof(float)));
    if (!block) return QL_NOMEM("predictions");
    answers a = {.predicted = block, .truth = block + n, .number = (float *)(block + 2 * n)};
    a.true_number = a.number + n;
    ql_status s = collect(p, queue, d, logits, &a);
    if (s == QL_OK) {
        s = p->n_labels == 1
                ? ql_metric_numbers(a.number, a.true_number, d->n, &out->numbers)
                : ql_metric_classes(a.predicted, a.truth, d->n, p->n_labels, &out->classes);
    }
    ql_host_free(block);
    return s;
}

static ql_status run_sequences(ql_predictor *p, ql_queue *queue, const ql_dataset *d,
                               ql_scores *out) {
    int64_t vocab = ql_arch_outputs(&p->model->arch);
    int32_t *predicted = ql_host_calloc((size_t)p->graph->opts.max_labelled, sizeof(int32_t));
    if (!predicted) return QL_NOMEM("predictions");
    ql_status s = QL_OK;
    for (int64_t at = 0; at < d->n && s == QL_OK; at++) {
        s = next_logits(p, queue, d, at);
        if (s != QL_OK) break;
        for (int32_t i = 0; i < p->batch.labelled; i++)
            predicted[i] = largest(p->logits + (size_t)i * (size_t)vocab, vocab);
        ql_metric_add_sequence(&out->sequences, predicted, p->batch.label_target,
                               p->batch.labelled);
    }
    ql_host_free(predicted);
    return s;
}

ql_status ql_predictor_run(ql_predictor *p, ql_queue *queue, const ql_dataset *d, float *logits,
                           ql_scores *out) {
    if (d->task != p->model->arch.task || d->n < 1) {
        return QL_FAIL(QL_ERR_INVALID, "predict: %lld rows that are not of the model's task",
                       (long long)d->n);
    }
    ql_scores r = {.task = d->task, .n_labels = p->n_labels, .rows = d->n};
    ql_status s = d->task == QL_TASK_CLASSIFY ? run_classes(p, queue, d, logits, &r)
                                              : run_sequences(p, queue, d, &r);
    if (s == QL_OK) *out = r;
    return s;
}
