/*
 * test_gradients.c - what a training graph accumulates is the derivative of the loss it reports,
 * for every family and every kind of trained tensor.
 *
 * For a tensor p with gradient g and d = g / |g|: (L(p + e d) - L(p - e d)) / 2e = |g|. Masks of
 * dropout depend on the step only, so that they are the same in all three runs.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/base/rng.h"
#include "tests/support/engine.h"

typedef struct grad_case {
    const char *model;
    float drop;     /* the model's dropout, everywhere                       */
    double dropout; /* the adapters'                                         */
    bool dora, full;
    const char *saved;  /* modules_to_save                                   */
    const char *tokens; /* trainable_token_indices                           */
    int32_t checkpoint;
} grad_case;

static const grad_case cases[] = {
    {"tiny-llama", 0, 0, false, false, NULL, NULL, 0},
    {"tiny-llama", 0, 0.2, true, false, NULL, NULL, 1},
    {"tiny-llama", 0, 0, false, false, "embed_tokens,lm_head,norm", NULL, 1},
    {"tiny-llama-tied", 0, 0.1, false, false, NULL, "3,4,5,17", 1},
    {"tiny-llama-tied", 0, 0, false, false, "embed_tokens", NULL, 0},
    {"tiny-qwen3", 0.1f, 0, false, true, NULL, NULL, 1},
    {"tiny-gemma3", 0.1f, 0, false, true, NULL, NULL, 0},
    {"tiny-gemma2", 0, 0.1, false, false, NULL, "9", 1},
    {"tiny-phi3", 0.2f, 0.1, true, false, NULL, NULL, 1},
    {"tiny-gpt-neox", 0.1f, 0.1, false, true, NULL, NULL, 1},
    {"tiny-gpt2", 0.1f, 0, false, true, NULL, NULL, 1},
    {"tiny-gpt2", 0.1f, 0, true, false, "ln_f", NULL, 1},
    {"tiny-opt-post", 0.1f, 0.1, false, false, NULL, "7,8", 0},
    {"tiny-falcon-new", 0.1f, 0, false, true, NULL, NULL, 0},
    {"tiny-stablelm-qknorm", 0, 0, false, true, NULL, NULL, 1},
    {"tiny-roberta", 0.1f, 0.1, false, false, NULL, NULL, 1},
    {"tiny-roberta-regression", 0.1f, 0, true, false, NULL, NULL, 0},
    {"tiny-bert", 0.1f, 0, false, true, NULL, NULL, 0},
    {"tiny-deberta-v2", 0.1f, 0.1, false, false, NULL, NULL, 1},
    {"tiny-deberta-noshare", 0, 0, false, true, NULL, NULL, 0},
    {"tiny-bart", 0.1f, 0.1, false, false, NULL, NULL, 1},
    {"tiny-mbart", 0, 0, false, true, NULL, NULL, 0},
    {"tiny-t5", 0.1f, 0.1, true, false, NULL, "11,12,40", 1},
    {"tiny-t5-v11", 0.1f, 0, false, true, NULL, NULL, 0}};

static ql_model *open_case(const grad_case *c) {
    char path[1024];
    ql_source *source = NULL;
    ql_model *m = NULL;
    snprintf(path, sizeof path, QL_TEST_DATA "/models/%s", c->model);
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = c->saved || c->full ? 16 : 4;
    o.full = c->full;
    o.optimizer = true;
    OK(ql_model_open(source, &o, &m));
    m->arch.drop = (ql_dropouts){c->drop, c->drop, c->drop, c->drop, c->drop, c->drop, c->drop};
    if (c->full) return m;
    ql_lora_config lora = ql_lora_config_default();
    lora.r = 4;
    lora.alpha = 8;
    lora.dropout = c->dropout;
    lora.dora = c->dora;
    if (c->saved) OK(ql_lora_set_saved(&lora, c->saved));
    if (c->tokens) OK(ql_lora_set_tokens(&lora, c->tokens));
    OK(ql_model_attach_lora(m, &lora));
    ql_lora_config_free(&lora);
    return m;
}

enum { ROWS = 3, LEN = 11, SOURCE = 9 };

/* Three rows for the model's task, ids from a fixed generator; token 5 occurs for sure. */
static ql_batch batch_for(const ql_arch *a) {
    ql_batch b = {0};
    int64_t index[ROWS] = {0, 1, 2};
    ql_stream s = ql_stream_make(11, QL_STREAM_SAMPLE, 1);
    ql_dataset d = {.n = ROWS, .task = a->task};
    d.items = ql_host_calloc(ROWS, sizeof(ql_example));
    assert_non_null(d.items);
    for (int r = 0; r < ROWS; r++) {
        ql_example *e = &d.items[r];
        e->row = r + 1;
        e->n = LEN - 2 * r;
        e->ids = ql_host_calloc(4 * LEN, sizeof(int32_t));
        if (a->task != QL_TASK_CLASSIFY) e->labels = e->ids + LEN;
        e->types = a->task == QL_TASK_CLASSIFY && a->body.front.types ? e->ids + 2 * LEN : NULL;
        if (a->task == QL_TASK_SEQ2SEQ) {
            e->source = e->ids + 3 * LEN;
            e->n_source = SOURCE - r;
        }
        for (int i = 0; i < LEN; i++) {
            e->ids[i] = i == 3 ? 5 : 3 + (int32_t)ql_stream_below(&s, (uint64_t)a->vocab - 3);
            if (e->labels) e->labels[i] = i % 4 == 2 ? QL_IGNORE : e->ids[i];
            if (e->types) e->types[i] = i > 5 && a->body.front.type_rows > 1;
            if (e->source) e->source[i < SOURCE ? i : 0] = (int32_t)ql_stream_below(&s, 60);
        }
        e->target = a->n_labels ? r % a->n_labels : 0;
        e->value = 0.5f * (float)r - 0.3f;
    }
    OK(ql_batch_create(ROWS * LEN, ROWS, a->task == QL_TASK_SEQ2SEQ ? ROWS * SOURCE : 0, &b));
    OK(ql_batch_fill(&b, &d, index, ROWS));
    ql_dataset_free(&d);
    return b;
}

/* New adapters have B = 0, where A has no gradient: everything moves off its start. */
static void shake(ql_model *m) {
    for (int32_t i = 0; i < m->n_params; i++) {
        int64_t n = m->params[i].rows * m->params[i].cols;
        float *p = ql_host_calloc((size_t)n, sizeof(float));
        assert_non_null(p);
        OK(ql_param_read(m, i, p));
        ql_stream s = ql_stream_make(3, QL_STREAM_SAMPLE, (uint64_t)i);
        for (int64_t k = 0; k < n; k++) p[k] += 0.03f * ql_stream_normal(&s);
        OK(ql_param_write(m, i, p));
        ql_host_free(p);
    }
}

static double loss_of(ql_trainer *t, const ql_batch *b) {
    ql_step_metrics r;
    OK(ql_trainer_gradients(t, &b, 1, &r));
    assert_true(isfinite(r.loss));
    return r.loss;
}

/* Loss with parameter i moved by e along d. */
static double moved(ql_trainer *t, const ql_batch *b, int32_t i, const float *p, const float *d,
                    double e, float *work) {
    ql_model *m = ql_trainer_model(t);
    int64_t n = m->params[i].rows * m->params[i].cols;
    for (int64_t k = 0; k < n; k++) work[k] = (float)(p[k] + e * d[k]);
    OK(ql_param_write(m, i, work));
    return loss_of(t, b);
}

/* Is |g| the derivative along g? DoRA's norms count as constants, so that only its magnitudes and
 * what stands behind the last of them can be compared. */
static bool param_agrees(ql_trainer *t, const ql_batch *b, int32_t i, const grad_case *c) {
    ql_model *m = ql_trainer_model(t);
    const ql_param *p = &m->params[i];
    int64_t n = p->rows * p->cols;
    float *x = ql_host_calloc((size_t)n, 3 * sizeof(float));
    assert_non_null(x);
    float *g = x + n, *work = x + 2 * n;
    OK(ql_param_read(m, i, x));
    (void)loss_of(t, b);
    OK(ql_param_read_grad(m, i, g));
    double norm = 0;
    for (int64_t k = 0; k < n; k++) norm += (double)g[k] * g[k];
    norm = sqrt(norm);
    for (int64_t k = 0; k < n && norm > 0; k++) g[k] = (float)(g[k] / norm);
    const double e = 4e-3;
    double up = moved(t, b, i, x, g, e, work), down = moved(t, b, i, x, g, -e, work);
    OK(ql_param_write(m, i, x));
    double slope = (up - down) / (2 * e), off = fabs(slope - norm);
    ql_host_free(x);
    bool ok = off <= 0.02 * norm + 5e-4;
    if (!ok) print_error("%s: %s: |g| %.6g, slope %.6g\n", c->model, p->name, norm, slope);
    return ok;
}

static int check_case(const grad_case *c) {
    ql_device *dev = engine_device(2);
    ql_model *m = open_case(c);
    ql_train_opts o = ql_train_opts_default();
    o.batch = ROWS;
    o.accumulate = 1;
    o.max_len = LEN;
    o.max_source_len = SOURCE;
    o.max_steps = 1;
    o.checkpoint = c->checkpoint;
    o.logits_chunk = 8;
    o.seed = 5;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, NULL, &t));
    shake(m);
    ql_batch b = batch_for(&m->arch);
    int bad = 0, compared = 0;
    for (int32_t i = 0; i < m->n_params; i++) {
        bool factor = strstr(m->params[i].name, ".lora_A") || strstr(m->params[i].name, ".lora_B");
        if (c->dora && factor) continue;
        bad += !param_agrees(t, &b, i, c);
        compared++;
    }
    assert_true(compared > 4);
    ql_batch_free(&b);
    ql_trainer_free(t);
    ql_model_close(m);
    engine_close(dev);
    return bad;
}

static void gradients_are_derivatives(void **state) {
    (void)state;
    int bad = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) bad += check_case(&cases[i]);
    assert_int_equal(bad, 0);
}

/* The model's dropout: the same draw for any number of threads and any recomputation, another one
 * in the next step, none when switched off. */
static double step_loss(int threads, int32_t checkpoint, bool on, int steps) {
    const grad_case c = {"tiny-deberta-v2", 0.3f, 0, false, false, NULL, NULL, 0};
    ql_device *dev = engine_device(threads);
    ql_model *m = open_case(&c);
    ql_train_opts o = ql_train_opts_default();
    o.batch = ROWS;
    o.accumulate = 1;
    o.max_len = LEN;
    o.max_steps = 3;
    o.checkpoint = checkpoint;
    o.model_dropout = on;
    o.schedule.lr = 0;
    ql_trainer *t = NULL;
    OK(ql_trainer_create(m, &o, dev, NULL, &t));
    ql_batch b = batch_for(&m->arch);
    const ql_batch *one = &b;
    ql_step_metrics r = {0};
    for (int i = 0; i < steps; i++) OK(ql_trainer_step_on(t, &one, 1, &r));
    ql_batch_free(&b);
    ql_trainer_free(t);
    ql_model_close(m);
    engine_close(dev);
    return r.loss;
}

static void the_models_dropout_draws_by_step(void **state) {
    (void)state;
    double first = step_loss(1, 1, true, 1);
    assert_true(first == step_loss(2, 1, true, 1));
    assert_true(first == step_loss(2, 0, true, 1));
    assert_true(first != step_loss(1, 1, true, 2));
    assert_true(first != step_loss(1, 1, false, 1));
    assert_true(step_loss(1, 1, false, 1) == step_loss(1, 1, false, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_derivatives),
                                       cmocka_unit_test(the_models_dropout_draws_by_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
