/*
 * verify.c - the recorded cases of one model, recomputed (see verify.h).
 */
#include "core/verify/verify.h"

#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/verify/oracle.h"

typedef struct verifier {
    const char *dir;
    const ql_verify_opts *o;
    ql_device *dev;
    ql_st_file *oracle;
    ql_results *results;
    ql_oracle_inputs in;
} verifier;

/* ---------------------------------------------------------------- logits */

/* Runs a frozen graph of `kind` once over `b`; its output (logits or losses) -> out. The model must
 * be placed. */
static ql_status run_frozen(const verifier *v, ql_model *m, ql_graph_kind kind, const ql_batch *b,
                            float *out, uint64_t n) {
    ql_graph_opts o = {.kind = kind,
                       .compute = v->o->compute,
                       .max_tokens = b->tokens,
                       .max_seqs = b->seqs,
                       .max_len = b->longest,
                       .max_source_tokens = b->source.tokens,
                       .max_source_len = b->source.longest,
                       .max_labelled = b->tokens,
                       .logits_chunk = 16}; /* several chunks, so that chunking is verified too */
    ql_graph *g = NULL;
    QL_TRY(ql_graph_create(m, &o, v->dev, &g));
    ql_buffer *arena = NULL;
    ql_status s = v->dev->backend->buffer_alloc(v->dev, QL_MEM_DEVICE,
                                                ql_program_arena_bytes(g->program), &arena);
    if (s == QL_OK) s = ql_graph_bind(g, m, arena);
    if (s == QL_OK) s = ql_graph_set_batch(g, m->queue, b);
    if (s == QL_OK) s = ql_program_run(g->program, m->queue);
    ql_vid result = kind == QL_GRAPH_LOGITS ? g->io.logits : g->io.loss;
    if (s == QL_OK) s = ql_graph_get(g, m->queue, result, out, n * sizeof(float));
    ql_graph_free(g);
    v->dev->backend->buffer_free(arena);
    return s;
}

/* Logits of all rows of `b`, of its labelled rows when it is classified -> out. */
static ql_status all_logits(const verifier *v, ql_model *m, const ql_batch *b, float *out) {
    uint64_t columns = (uint64_t)ql_arch_outputs(&m->arch);
    if (m->arch.task == QL_TASK_CLASSIFY)
        return run_frozen(v, m, QL_GRAPH_LOGITS, b, out, (uint64_t)b->labelled * columns);
    ql_batch rows = *b;
    rows.labelled = b->tokens;
    rows.label_row = ql_host_calloc((size_t)b->tokens, sizeof(int32_t));
    rows.label_target = ql_host_calloc((size_t)b->tokens, sizeof(int32_t));
    ql_status s = rows.label_row && rows.label_target ? QL_OK : QL_NOMEM("logits");
    for (int32_t i = 0; s == QL_OK && i < b->tokens; i++) rows.label_row[i] = i;
    if (s == QL_OK)
        s = run_frozen(v, m, QL_GRAPH_LOGITS, &rows, out, (uint64_t)b->tokens * columns);
    ql_host_free(rows.label_row);
    ql_host_free(rows.label_target);
    return s;
}

/* Where the packed rows of a case's logits stand: [rows, cols, outputs], without `mask`ed rows;
 * cols 0: [rows, outputs]. */
typedef struct logit_shape {
    int64_t rows, cols;
    const float *mask;
} logit_shape;

static logit_shape shape_of(const verifier *v, const ql_model *m) {
    if (m->arch.task == QL_TASK_CLASSIFY) return (logit_shape){v->in.rows, 0, NULL};
    if (m->arch.task == QL_TASK_SEQ2SEQ) return (logit_shape){v->in.rows, v->in.label_cols, NULL};
    return (logit_shape){v->in.rows, v->in.cols, v->in.mask};
}

/* Adds "<name>.logits": packed rows go back to their places, others stay zero. */
static ql_status add_logits(const verifier *v, ql_model *m, const char *name, const ql_batch *b,
                            logit_shape at) {
    char full[64];
    snprintf(full, sizeof full, "%s.logits", name);
    int64_t outputs = ql_arch_outputs(&m->arch), rows = at.rows * (at.cols ? at.cols : 1);
    int64_t three[3] = {at.rows, at.cols, outputs}, two[2] = {at.rows, outputs};
    float *out = NULL;
    QL_TRY(ql_results_add(v->results, full, at.cols ? 3 : 2, at.cols ? three : two, &out));
    float *packed = ql_host_calloc((size_t)b->tokens * (size_t)outputs, sizeof(float));
    if (!packed) return QL_NOMEM("logits");
    ql_status s = all_logits(v, m, b, packed);
    for (int64_t i = 0, row = 0; s == QL_OK && i < rows; i++) {
        if (at.mask && at.mask[i] == 0) continue;
        memcpy(out + i * outputs, packed + row++ * outputs, (size_t)outputs * sizeof(float));
    }
    ql_host_free(packed);
    return s;
}

static ql_status add_scalars(const verifier *v, const char *prefix, const char *kind,
                             const double *x, int64_t n) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", prefix, kind);
    float *out = NULL;
    QL_TRY(ql_results_add(v->results, full, 1, &n, &out));
    for (int64_t i = 0; i < n; i++) out[i] = (float)x[i];
    return QL_OK;
}

/* ---------------------------------------------------------------- frozen cases */

/* Mean loss over the labels of `b`. */
static ql_status mean_loss(const verifier *v, ql_model *m, const ql_batch *b, double *out) {
    float *loss = ql_host_calloc((size_t)b->labelled, sizeof(float));
    if (!loss) return QL_NOMEM("losses");
    ql_status s = run_frozen(v, m, QL_GRAPH_LOSS, b, loss, (uint64_t)b->labelled);
    *out = 0;
    for (int32_t i = 0; s == QL_OK && i < b->labelled; i++) *out += loss[i] / (double)b->labelled;
    ql_host_free(loss);
    return s;
}

static ql_status frozen_on(const verifier *v, ql_model *m, const char *name, const ql_batch *b,
                           logit_shape shape) {
    ql_queue *q = NULL;
    QL_TRY(v->dev->backend->queue_create(v->dev, &q));
    double loss = 0;
    ql_status s = ql_model_place(m, v->dev, q);
    if (s == QL_OK) s = add_logits(v, m, name, b, shape);
    if (s == QL_OK) s = mean_loss(v, m, b, &loss);
    if (s == QL_OK) s = add_scalars(v, name, "loss", &loss, 1);
    v->dev->backend->queue_destroy(q);
    m->queue = NULL;
    return s;
}

static ql_status verify_plain(const verifier *v) {
    ql_model *m = NULL;
    ql_batch b = {0};
    ql_status s = ql_oracle_model(v->dir, 16, false, NULL, &m);
    if (s == QL_OK) s = ql_oracle_batch(&v->in, &m->arch, &b);
    if (s == QL_OK) s = frozen_on(v, m, "plain", &b, shape_of(v, m));
    ql_model_close(m);
    ql_batch_free(&b);
    return s;
}

/* Row vectors of int64 as the int32 that batches use. */
static ql_status read_row(const verifier *v, const char *name, int32_t *n, int32_t **out) {
    const ql_st_tensor *t = ql_st_find(v->oracle, name);
    if (!t || t->numel < 1 || t->numel > INT32_MAX || (*n && t->numel != *n))
        return QL_FAIL(QL_ERR_FORMAT, "%s: the oracle has no row '%s' of the others' length",
                       v->dir, name);
    *n = (int32_t)t->numel;
    int64_t *wide = ql_host_calloc((size_t)*n, sizeof(int64_t));
    int32_t *x = ql_host_calloc((size_t)*n, sizeof(int32_t));
    ql_status s = wide && x ? ql_st_read_i64(t, 0, *n, wide) : QL_NOMEM("oracle ids");
    for (int32_t i = 0; s == QL_OK && i < *n; i++) x[i] = (int32_t)wide[i];
    ql_host_free(wide);
    if (s != QL_OK) {
        ql_host_free(x);
        return s;
    }
    *out = x;
    return QL_OK;
}

static ql_status verify_packed(const verifier *v) {
    static const char *const names[3] = {"packed.input_ids", "packed.labels",
                                         "packed.position_ids"};
    int32_t n = 0, *x[3] = {NULL};
    ql_status s = QL_OK;
    for (int i = 0; i < 3 && s == QL_OK; i++) s = read_row(v, names[i], &n, &x[i]);
    ql_batch b = {0};
    ql_model *m = NULL;
    if (s == QL_OK) s = ql_batch_create(n, n, 0, &b);
    if (s == QL_OK) s = ql_batch_fill_flat(&b, x[0], x[1], x[2], n);
    if (s == QL_OK) s = ql_oracle_model(v->dir, 16, false, NULL, &m);
    if (s == QL_OK) s = frozen_on(v, m, "packed", &b, (logit_shape){1, n, NULL});
    ql_model_close(m);
    ql_batch_free(&b);
    for (int i = 0; i < 3; i++) ql_host_free(x[i]);
    return s;
}

/* ---------------------------------------------------------------- adapter cases */

static ql_status add_params(const verifier *v, ql_model *m, const char *prefix, const char *kind,
                            bool grad) {
    char full[256];
    for (int32_t i = 0; i < m->n_params; i++) {
        const ql_param *p = &m->params[i];
        const int64_t shape[2] = {p->rows, p->cols};
        float *out = NULL;
        /* In PEFT's module the magnitudes are a layer with a weight; in its files a vector. */
        bool magnitude = strstr(p->name, ".lora_magnitude_vector") != NULL;
        int n = snprintf(full, sizeof full, "%s.%s.base_model.model.%s%s", prefix, kind, p->name,
                         magnitude ? ".weight" : "");
        if (n < 0 || (size_t)n >= sizeof full)
            return QL_FAIL(QL_ERR_INVALID, "name '%s' is too long", p->name);
        bool vector = p->dims == 1;
        QL_TRY(ql_results_add(v->results, full, vector ? 1 : 2, vector ? shape + 1 : shape, &out));
        QL_TRY(grad ? ql_param_read_grad(m, i, out) : ql_param_read(m, i, out));
    }
    return QL_OK;
}

/* Settings under which the oracles took their three steps. */
static ql_train_opts oracle_training(const verifier *v, const ql_batch *b) {
    ql_train_opts o = ql_train_opts_default();
    o.batch = b->seqs;
    o.accumulate = 1;
    o.max_len = (b->tokens + b->seqs - 1) / b->seqs > b->longest ? b->tokens : b->longest;
    o.max_source_len = b->source.longest;
    o.schedule = (ql_schedule){QL_SCHEDULE_CONSTANT, 1e-3, 0, 3};
    o.max_steps = 3;
    o.weight_decay = 0.01;
    o.max_grad_norm = 0.3;
    o.checkpoint = v->o->checkpoint;
    o.logits_chunk = 16; /* several chunks, so that chunking is part of what is verified */
    o.compute = v->o->compute;
    return o;
}

static ql_status adapter_steps(const verifier *v, ql_model *m, ql_trainer *t, const char *name,
                               const ql_batch *b) {
    ql_step_metrics r;
    double losses[4], norms[3];
    QL_TRY(add_logits(v, m, name, b, shape_of(v, m)));
    QL_TRY(ql_trainer_gradients(t, &b, 1, &r));
    QL_TRY(add_scalars(v, name, "loss", &r.loss, 1));
    QL_TRY(add_params(v, m, name, "grad", true));
    for (int i = 0; i < 3; i++) {
        QL_TRY(ql_trainer_step_on(t, &b, 1, &r));
        losses[i] = r.loss;
        norms[i] = r.grad_norm;
    }
    QL_TRY(ql_trainer_gradients(t, &b, 1, &r));
    losses[3] = r.loss;
    QL_TRY(add_scalars(v, name, "losses", losses, 4));
    QL_TRY(add_scalars(v, name, "grad_norms", norms, 3));
    return add_params(v, m, name, "after3", false);
}

/* What a case of an adapter does: logits and loss only, or three steps of training as well. */
typedef struct adapter_case {
    const char *name, *folder;
    bool double_quant, steps;
} adapter_case;

static ql_status adapter_values(const verifier *v, ql_model *m, ql_trainer *t,
                                const adapter_case *c, const ql_batch *b) {
    ql_step_metrics r;
    if (c->steps) return adapter_steps(v, m, t, c->name, b);
    QL_TRY(add_logits(v, m, c->name, b, shape_of(v, m)));
    QL_TRY(ql_trainer_gradients(t, &b, 1, &r));
    return add_scalars(v, c->name, "loss", &r.loss, 1);
}

static ql_status verify_adapter(const verifier *v, const adapter_case *c) {
    char dir[QL_PATH_MAX];
    QL_TRY(ql_path_join(dir, v->dir, c->folder));
    ql_batch b = {0};
    ql_model *m = NULL;
    ql_trainer *t = NULL;
    ql_status s = ql_oracle_model(v->dir, 4, c->double_quant, dir, &m);
    if (s == QL_OK) s = ql_oracle_batch(&v->in, &m->arch, &b);
    if (s == QL_OK) {
        ql_train_opts o = oracle_training(v, &b);
        s = ql_trainer_create(m, &o, v->dev, NULL, &t);
    }
    if (s == QL_OK) s = ql_adapter_load(m, dir);
    if (s == QL_OK) s = adapter_values(v, m, t, c, &b);
    ql_trainer_free(t);
    ql_model_close(m);
    ql_batch_free(&b);
    return s;
}

/* ---------------------------------------------------------------- all cases */

static bool oracle_has(const ql_st_file *f, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "%s.logits", name);
    return ql_st_find(f, full) != NULL;
}

static void append_name(char list[256], const char *name) {
    size_t n = strlen(list);
    snprintf(list + n, 256 - n, "%s%s", n ? ", " : "", name);
}

static ql_status run_cases(const verifier *v, ql_verify_report *out) {
    static const struct {
        unsigned bit;
        adapter_case c;
    } cases[] = {{QL_VERIFY_PLAIN, {"plain", NULL, false, false}},
                 {QL_VERIFY_PACKED, {"packed", NULL, false, false}},
                 {QL_VERIFY_QLORA, {"qlora", "adapter", true, true}},
                 {QL_VERIFY_RSLORA, {"rslora", "adapter-rslora", true, true}},
                 {QL_VERIFY_DORA, {"dora", "adapter-dora", true, true}},
                 {QL_VERIFY_LOFTQ, {"loftq", "adapter-loftq", false, false}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const adapter_case *c = &cases[i].c;
        bool here = oracle_has(v->oracle, c->name), asked = v->o->cases & cases[i].bit;
        if (here && !asked) append_name(out->not_run, c->name);
        if (!here && asked) append_name(out->absent, c->name);
        if (!here || !asked) continue;
        if (cases[i].bit == QL_VERIFY_PLAIN)
            QL_TRY(verify_plain(v));
        else if (cases[i].bit == QL_VERIFY_PACKED)
            QL_TRY(verify_packed(v));
        else
            QL_TRY(verify_adapter(v, c));
    }
    return QL_OK;
}

/* Rows of logits that have no defined value: padding of a causal model. */
static ql_status logit_mask(const verifier *v, const float **out) {
    ql_source *source = NULL;
    ql_arch arch;
    QL_TRY(ql_source_open_config(v->dir, &source));
    ql_status s = ql_arch_from_config(ql_source_config(source), v->dir, &arch);
    ql_source_close(source);
    if (s == QL_OK) *out = arch.task == QL_TASK_CAUSAL ? v->in.mask : NULL;
    return s;
}

static ql_status verify_oracle(const char *dir, const char *path, const ql_verify_opts *o,
                               ql_device *dev, ql_results *results, ql_verify_report *out) {
    verifier v = {.dir = dir, .o = o, .dev = dev, .results = results};
    QL_TRY(ql_st_open(path, &v.oracle));
    ql_status s = ql_oracle_inputs_read(v.oracle, dir, &v.in);
    if (s == QL_OK) s = run_cases(&v, out);
    const float *mask = NULL;
    if (s == QL_OK) s = logit_mask(&v, &mask);
    if (s == QL_OK)
        s = ql_results_compare(results, v.oracle, mask, v.in.rows * v.in.cols, o->compute, out);
    ql_oracle_inputs_free(&v.in);
    ql_st_close(v.oracle);
    return s;
}

ql_status ql_verify(const char *dir, const ql_verify_opts *o, ql_device *dev,
                    ql_verify_report *out) {
    char oracle[QL_PATH_MAX], curve[QL_PATH_MAX];
    QL_TRY(ql_path_join(oracle, dir, "oracle.safetensors"));
    QL_TRY(ql_path_join(curve, dir, "curve.json"));
    ql_results results = {0};
    ql_verify_report report = {.ok = true};
    ql_status s = QL_OK;
    if (ql_file_exists(oracle))
        s = verify_oracle(dir, oracle, o, dev, &results, &report);
    else if (ql_file_exists(curve))
        s = ql_verify_curve(dir, o, dev, &results, &report);
    else
        s = QL_FAIL(QL_ERR_NOT_FOUND, "%s: has neither oracle.safetensors nor curve.json", dir);
    if (s == QL_OK && !report.n_rows)
        s = QL_FAIL(QL_ERR_INVALID, "%s: none of the cases asked for is in the oracle", dir);
    if (s == QL_OK && o->write) s = ql_results_write(&results, o->write);
    ql_results_free(&results);
    if (s == QL_OK) *out = report;
    return s;
}
