/* evaluator.c - see evaluator.h. */
#include "tools/evaluator.h"

#include "core/base/hostmem.h"

#define LOGITS_CHUNK 64 /* rows of logits that exist at once */

ql_status ql_evaluator_plan(ql_model *m, ql_device *dev, ql_dtype compute, int32_t longest,
                            int32_t seqs, ql_evaluator *out) {
    ql_evaluator e = {.dev = dev, .model = m};
    const ql_graph_opts g = {.kind = QL_GRAPH_LOSS,
                             .compute = compute,
                             .max_tokens = longest * seqs,
                             .max_seqs = seqs,
                             .max_len = longest,
                             .max_labelled = longest * seqs,
                             .logits_chunk = LOGITS_CHUNK};
    QL_TRY(ql_graph_create(m, &g, dev, &e.graph));
    ql_status s = ql_graph_report(e.graph, &e.plan);
    if (s != QL_OK) {
        ql_graph_free(e.graph);
        return s;
    }
    ql_model_report(m, &e.plan);
    for (int i = 0; i < QL_POOL_COUNT; i++) e.plan.peak_bytes += e.plan.device[i];
    *out = e;
    return QL_OK;
}

ql_status ql_evaluator_start(ql_evaluator *e) {
    const ql_backend *b = e->dev->backend;
    QL_TRY(b->queue_create(e->dev, &e->queue));
    QL_TRY(ql_model_place(e->model, e->dev, e->queue));
    QL_TRY(b->buffer_alloc(e->dev, QL_MEM_DEVICE, e->plan.arena_bytes, &e->arena));
    QL_TRY(ql_graph_bind(e->graph, e->model, e->arena));
    e->losses = ql_host_calloc((size_t)e->graph->opts.max_labelled, sizeof(float));
    return e->losses ? QL_OK : QL_NOMEM("the losses of a batch");
}

ql_status ql_evaluator_run(ql_evaluator *e, const ql_batch *b, double *nll) {
    if (b->labelled == 0) return QL_OK;
    QL_TRY(ql_graph_set_batch(e->graph, e->queue, b));
    QL_TRY(ql_program_run(e->graph->program, e->queue));
    QL_TRY(ql_graph_get(e->graph, e->queue, e->graph->io.loss, e->losses,
                        (uint64_t)b->labelled * sizeof(float)));
    for (int32_t i = 0; i < b->labelled; i++) *nll += (double)e->losses[i];
    return QL_OK;
}

void ql_evaluator_free(ql_evaluator *e) {
    if (!e->dev) return;
    ql_graph_free(e->graph);
    e->dev->backend->buffer_free(e->arena);
    if (e->queue) {
        if (e->model->queue == e->queue) e->model->queue = NULL;
        e->dev->backend->queue_destroy(e->queue);
    }
    ql_host_free(e->losses);
    *e = (ql_evaluator){0};
}
