/* evaluator.c - see evaluator.h. */
#include "tools/evaluator.h"

#include "core/base/hostmem.h"

#define LOGITS_CHUNK 64 /* rows of logits that exist at once */

static ql_status plan_graphs(ql_evaluator *e, const ql_predict_opts *o) {
    int32_t source = o->max_source_len > 0 ? o->max_source_len : o->max_len;
    if (e->model->arch.task != QL_TASK_SEQ2SEQ) source = 0;
    const ql_graph_opts g = {.kind = QL_GRAPH_LOSS,
                             .compute = o->compute,
                             .max_tokens = o->max_len * o->batch,
                             .max_seqs = o->batch,
                             .max_len = o->max_len,
                             .max_labelled = o->max_len * o->batch,
                             .max_source_tokens = source * o->batch,
                             .max_source_len = source,
                             .logits_chunk = LOGITS_CHUNK};
    QL_TRY(ql_graph_create(e->model, &g, e->dev, &e->graph));
    QL_TRY(ql_graph_report(e->graph, &e->plan));
    e->predicts = e->model->arch.task != QL_TASK_CAUSAL;
    if (!e->predicts) return QL_OK;
    QL_TRY(ql_predictor_plan(e->model, o, e->dev, &e->predictor));
    return ql_graph_report(e->predictor.graph, &e->plan);
}

ql_status ql_evaluator_plan(ql_model *m, ql_device *dev, const ql_predict_opts *o,
                            ql_evaluator *out) {
    ql_evaluator e = {.dev = dev, .model = m};
    ql_status s = plan_graphs(&e, o);
    if (s != QL_OK) {
        ql_evaluator_free(&e);
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
    if (e->predicts) QL_TRY(ql_predictor_bind(&e->predictor, e->arena));
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

ql_status ql_evaluator_scores(ql_evaluator *e, const ql_dataset *d, ql_scores *out) {
    return ql_predictor_run(&e->predictor, e->queue, d, NULL, out);
}

void ql_evaluator_free(ql_evaluator *e) {
    if (!e->dev) return;
    ql_graph_free(e->graph);
    ql_predictor_free(&e->predictor);
    e->dev->backend->buffer_free(e->arena);
    if (e->queue) {
        if (e->model->queue == e->queue) e->model->queue = NULL;
        e->dev->backend->queue_destroy(e->queue);
    }
    ql_host_free(e->losses);
    *e = (ql_evaluator){0};
}
