/*
 * test_req_lora.c - requirements about adapters, by their numbers in the list of what must work:
 * req_12 (Y = X doubleDequant(c1, c2, W) + s X L1 L2, gradients for L1 and L2 only), req_13
 * (identity at B = 0, shapes, s), req_17 (GPT-3 175B: 18M parameters).
 *
 * PEFT's names: L1 = A^T [d, r], L2 = B^T [r, k]; A [r, d], B [k, r].
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/req/req_model.h"
#include "tests/support/lab.h"
#include "tools/shapes.h"

#define SEED 20240613u /* of all draws below */

enum { N = 5, D = 70, K = 33, R = 4, BLOCK = 64, BLOCK2 = 256 };
#define SCALING 0.25

/* ---------------------------------------------------------------- req_12 */

/* The formula by hand: scales from codes and the second level, weights from nibbles and scales. */
static void double_dequant(const ql_qtensor *q, double w[K][D]) {
    for (int64_t e = 0; e < (int64_t)K * D; e++) {
        int64_t block = e / BLOCK;
        double c1 = (double)q->absmax2[block / BLOCK2], offset = (double)q->offset;
        double scale = (double)q->code2[q->absmax_q[block]] * c1 + offset;
        int nibble = e % 2 ? q->codes[e / 2] & 15 : q->codes[e / 2] >> 4;
        w[e / D][e % D] = (double)q->table[nibble] * scale;
    }
}

typedef struct truth {
    double x[N][D], w[K][D], a[R][D], b[K][R], target[N][K];
    double y[N][K], dx[N][D], da[R][D], db[K][R], loss;
} truth;

/* Y = X W^T + s X A^T B^T; L = mean over columns of (Y - T)^2, summed over rows;
 * dY = 2 (Y - T) / K; dB = s dY^T U; dU = s dY B; dA = dU^T X; dX = dY W + dU A. */
static void compute(truth *t) {
    static double dy[N][K], u[N][R], du[N][R];
    t->loss = 0.0;
    memset(t->dx, 0, sizeof t->dx);
    memset(t->da, 0, sizeof t->da);
    memset(t->db, 0, sizeof t->db);
    for (int i = 0; i < N; i++) {
        for (int r = 0; r < R; r++) {
            u[i][r] = du[i][r] = 0.0;
            for (int d = 0; d < D; d++) u[i][r] += t->x[i][d] * t->a[r][d];
        }
        for (int k = 0; k < K; k++) {
            t->y[i][k] = 0.0;
            for (int d = 0; d < D; d++) t->y[i][k] += t->x[i][d] * t->w[k][d];
            for (int r = 0; r < R; r++) t->y[i][k] += SCALING * u[i][r] * t->b[k][r];
            double diff = t->y[i][k] - t->target[i][k];
            dy[i][k] = 2.0 * diff / K;
            t->loss += diff * diff / K;
            for (int r = 0; r < R; r++) {
                t->db[k][r] += SCALING * dy[i][k] * u[i][r];
                du[i][r] += SCALING * dy[i][k] * t->b[k][r];
            }
            for (int d = 0; d < D; d++) t->dx[i][d] += dy[i][k] * t->w[k][d];
        }
        for (int r = 0; r < R; r++)
            for (int d = 0; d < D; d++) {
                t->da[r][d] += du[i][r] * t->x[i][d];
                t->dx[i][d] += du[i][r] * t->a[r][d];
            }
    }
}

static void near(const char *what, const double *got, const double *want, int n, double tolerance) {
    double largest = 0.0;
    for (int i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * largest))
            fail_msg("%s[%d] is %.9g, the formula gives %.9g", what, i, got[i], want[i]);
}

typedef struct layer {
    ql_vid x, a, b, target, loss;
} layer;

/* What core/model/linear.c records, with a mean square error behind it. */
static layer record_layer(lab *l, const ql_qtensor *q, ql_dtype compute_type) {
    layer v = {.a = lab_trained(l, R, D, "lora_A"), .b = lab_trained(l, K, R, "lora_B")};
    ql_dim rows = ql_fixed(N);
    v.x = compute_type == QL_F32 ? lab_trained(l, N, D, "x")
                                 : lab_input(l, compute_type, rows, ql_fixed(D), "x");
    ql_vid u = lab_value(l, rows, R, "u"), z = lab_value(l, rows, K, "z");
    ql_vid y = ql_tape_value(l->tape, QL_POOL_ACTIVATIONS, compute_type, rows, ql_fixed(K), "y");
    QL_RECORD(l->tape, GEMM_Q, gemm_q, .x = lab_ref(l, v.x), .y = lab_ref(l, y),
              .w = lab_weight(l, q), .alpha = 1.0f);
    QL_RECORD(l->tape, GEMM, gemm, .a = lab_ref(l, v.x), .b = lab_ref(l, v.a), .c = lab_ref(l, u),
              .trans_b = true, .alpha = 1.0f, .batch = 1);
    QL_RECORD(l->tape, GEMM, gemm, .a = lab_ref(l, u), .b = lab_ref(l, v.b), .c = lab_ref(l, y),
              .trans_b = true, .alpha = (float)SCALING, .beta = 1.0f, .batch = 1);
    QL_RECORD(l->tape, AXPBY, axpby, .x = lab_ref(l, y), .y = lab_ref(l, z), .alpha = 1.0f);
    lab_mse(l, z);
    v.loss = ql_tape_values(l->tape);
    v.target = v.loss - 1;
    return v;
}

static void quantized_weight(ql_qtensor *q) {
    static float w[K * D];
    ql_stream s = ql_stream_make(SEED, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < K * D; i++) w[i] = 0.05f * ql_stream_normal(&s);
    ql_quant_opts o = ql_quant_opts_default();
    assert_true(o.type == QL_QT_NF4 && o.double_quant && o.block == BLOCK && o.block2 == BLOCK2);
    OK(ql_quantize(&o, w, K, D, q));
}

static void truth_of(const lab *l, const layer *v, const ql_qtensor *q, truth *t) {
    memcpy(t->x, l->start[v->x], sizeof t->x);
    memcpy(t->a, l->start[v->a], sizeof t->a);
    memcpy(t->b, l->start[v->b], sizeof t->b);
    memcpy(t->target, l->start[v->target], sizeof t->target);
    double_dequant(q, t->w);
    compute(t);
}

static void req_12_the_layer_is_its_formula_forward_and_backward(void **state) {
    (void)state;
    static truth t;
    const double bar[] = {[QL_F32] = 3e-6, [QL_BF16] = 0x1p-6}; /* bf16: a few of its 8 digits */
    static const ql_dtype types[] = {QL_F32, QL_BF16};
    ql_qtensor q = {0};
    quantized_weight(&q);
    for (int i = 0; i < 2; i++) {
        lab l;
        lab_open(&l, 1, SEED);
        layer v = record_layer(&l, &q, types[i]);
        if (types[i] == QL_F32) {
            lab_check(&l, false); /* against finite differences too */
        } else {
            ql_tape_backward(l.tape, 0, ql_tape_count(l.tape));
            OK(ql_tape_status(l.tape));
            lab_plan(&l);
            lab_run(&l);
        }
        truth_of(&l, &v, &q, &t);
        double loss = 0.0;
        for (int n = 0; n < N; n++) loss += l.got[v.loss][n];
        near("loss", &loss, &t.loss, 1, bar[types[i]]);
        near("dA", l.got[ql_tape_at(l.tape, v.a)->grad], t.da[0], R * D, bar[types[i]]);
        near("dB", l.got[ql_tape_at(l.tape, v.b)->grad], t.db[0], K * R, bar[types[i]]);
        if (types[i] == QL_F32)
            near("dX", l.got[ql_tape_at(l.tape, v.x)->grad], t.dx[0], N * D, bar[QL_F32]);
        lab_close(&l);
    }
    ql_qtensor_free(&q);
}

static bool names_a_param(const ql_model *m, const char *gradient) {
    for (int32_t i = 0; i < m->n_params; i++) {
        char want[64] = "d.";
        strncat(want, m->params[i].name, 61); /* the tape cuts names at 63 bytes */
        if (!strcmp(gradient, want)) return true;
    }
    return false;
}

/* In the training tape of a model nothing frozen has a gradient, and nothing else is written. */
static void req_12_only_adapters_have_gradients(void **state) {
    (void)state;
    for (int bits = 4; bits <= 16; bits *= 2) {
        ql_device *dev = engine_device(1);
        ql_model *m = engine_model("tiny-llama", bits, 4, 0.1);
        ql_graph_opts o = {.kind = QL_GRAPH_TRAIN,
                           .compute = QL_F32,
                           .max_tokens = 16,
                           .max_seqs = 2,
                           .max_len = 8,
                           .max_labelled = 16,
                           .logits_chunk = 4,
                           .checkpoint = 1};
        ql_graph *g = NULL;
        OK(ql_graph_create(m, &o, dev, &g));
        const ql_tape *t = ql_program_tape(g->program);
        int frozen = 0, gradients = 0;
        for (ql_vid v = 1; v <= ql_tape_values(t); v++) {
            const ql_value *x = ql_tape_at(t, v);
            if (x->kind != QL_VALUE_EXTERNAL) continue;
            if (x->pool == QL_POOL_WEIGHTS) {
                assert_true(!x->needs_grad && !x->grad);
                frozen++;
            }
            if (x->pool == QL_POOL_ADAPTERS) assert_true(x->needs_grad && x->grad);
            if (x->pool == QL_POOL_GRADIENTS) {
                assert_true(names_a_param(m, x->name));
                gradients++;
            }
        }
        assert_true(frozen > 14);
        assert_int_equal(gradients, m->n_params);
        assert_int_equal(m->n_params, 2 * 7 * m->arch.body.layers);
        for (int32_t i = 0; i < ql_tape_count(t); i++)
            for (int k = 0; k < ql_op_info_of(ql_tape_record_at(t, i)->op).count; k++) {
                const ql_record *r = ql_tape_record_at(t, i);
                if (!r->operand[k] || !ql_use_writes(ql_operand_access(r->op, &r->args, k)))
                    continue;
                const ql_value *x = ql_tape_at(t, ql_tape_base(t, r->operand[k]));
                assert_true(x->kind == QL_VALUE_PLANNED || x->pool == QL_POOL_GRADIENTS ||
                            !strcmp(x->name, "loss"));
            }
        ql_graph_free(g);
        ql_model_close(m);
        engine_close(dev);
    }
}

/* ---------------------------------------------------------------- req_13 */

enum { TOKENS = 9 };

static void req_13_fresh_adapters_change_nothing(void **state) {
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-llama-linear", "tiny-mistral"};
    for (int i = 0; i < 3; i++)
        for (int bits = 4; bits <= 16; bits *= 4) {
            ql_device *dev = engine_device(1);
            ql_queue *qa = NULL, *qb = NULL;
            ql_model *plain = engine_model(models[i], bits, 0, 0),
                     *fresh = engine_model(models[i], bits, 8, 0);
            float *a = req_logits(plain, dev, &qa, TOKENS),
                  *b = req_logits(fresh, dev, &qb, TOKENS);
            int64_t n = (TOKENS - 1) * plain->arch.vocab;
            for (int64_t k = 0; k < n; k++) assert_true(a[k] == b[k]);
            ql_linear *q = ql_model_linear(fresh, 0); /* and one element of B changes something */
            float *values = calloc((size_t)(q->n * q->r), sizeof *values);
            values[3] = 0.5f;
            OK(ql_param_write(fresh, q->adapter_b, values));
            float *c = req_logits(fresh, dev, &qb, TOKENS);
            assert_memory_not_equal(a, c, (size_t)n * sizeof *a);
            free(a), free(b), free(c), free(values);
            ql_model_close(plain);
            ql_model_close(fresh);
            dev->backend->queue_destroy(qa);
            dev->backend->queue_destroy(qb);
            engine_close(dev);
        }
}

static void req_13_shapes_follow_the_layer(void **state) {
    (void)state;
    static const int32_t ranks[] = {1, 2, 3, 7, 8, 64, 200};
    const req_shape s = {96, 160, 3, 8, 2, 77, 64, false}; /* head size 12, k and v have 24 rows */
    static const int64_t out[] = {96, 24, 24, 96, 160, 160, 96},
                         in[] = {96, 96, 96, 96, 96, 96, 160};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        ql_model_opts o = ql_model_opts_default();
        ql_model *m = req_plan_llama(&s, &o);
        ql_lora_config c = ql_lora_config_default();
        c.r = ranks[i];
        OK(ql_model_attach_lora(m, &c));
        uint64_t sum = 0;
        for (int64_t k = 0; k < 3 * 7; k++) {
            const ql_linear *l = ql_model_linear(m, k);
            const ql_param *a = &m->params[l->adapter_a], *b = &m->params[l->adapter_b];
            assert_int_equal(l->n, out[k % 7]);
            assert_int_equal(l->k, in[k % 7]);
            assert_true(a->rows == ranks[i] && a->cols == l->k && b->rows == l->n &&
                        b->cols == ranks[i]);
            sum += (uint64_t)ranks[i] * (uint64_t)(l->n + l->k);
        }
        assert_int_equal(m->trainable, sum);
        assert_int_equal(ql_model_linear(m, 3 * 7)->adapter_a, -1); /* the head has none */
        ql_model_close(m);
    }
}

static void req_13_s_is_alpha_over_r(void **state) {
    (void)state;
    static const struct {
        int32_t r;
        double alpha;
    } c[] = {{64, 16}, {8, 16}, {1, 1}, {3, 10}, {16, 0.5}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        for (int root = 0; root < 2; root++) {
            ql_lora_config cfg = ql_lora_config_default();
            cfg.r = c[i].r;
            cfg.alpha = c[i].alpha;
            cfg.rslora = root;
            double want = c[i].alpha / (root ? sqrt((double)c[i].r) : (double)c[i].r);
            assert_true(ql_lora_scaling(&cfg) == (float)want);
        }
    ql_lora_config paper = ql_lora_config_default();
    assert_true(paper.r == 64 && paper.alpha == 16.0 && ql_lora_scaling(&paper) == 0.25f);
}

/* ---------------------------------------------------------------- req_17 */

static void req_17_gpt3_has_eighteen_million_lora_parameters(void **state) {
    (void)state;
    json_t *config = ql_shape_find("gpt3-175b");
    assert_non_null(config);
    ql_source *source = NULL;
    ql_model *m = NULL;
    ql_model_opts o = ql_model_opts_default();
    o.optimizer = true;
    OK(ql_source_open_json("gpt3-175b", config, &source));
    OK(ql_model_open(source, &o, &m));
    json_decref(config);
    ql_lora_config c = ql_lora_config_default();
    c.r = 4;
    OK(ql_lora_set_targets(&c, "q_proj,v_proj"));
    OK(ql_model_attach_lora(m, &c));
    assert_int_equal(m->trainable, 18874368); /* 96 layers x 2 matrices x 2 factors x 12288 x 4 */
    assert_int_equal(m->trainable, 96LL * 2 * 2 * 12288 * 4);
    assert_true((double)m->trainable * 2.0 / 1048576.0 == 36.0); /* fp16; the paper says 35 MB */
    assert_true(m->parameters > 174000000000 && m->parameters < 176000000000);
    ql_memory_report r = {0};
    ql_model_report(m, &r);
    assert_int_equal(r.device[QL_POOL_ADAPTERS],
                     18874368 * sizeof(float)); /* fp32 while training */
    ql_opt_layout adamw;
    OK(ql_opt_layout_plan(m, ql_optim_find("adamw"), 0, 64, 0, &adamw));
    assert_int_equal(adamw.device_bytes, 2 * 18874368 * sizeof(float));
    ql_opt_layout_free(&adamw);
    ql_lora_config_free(&c);
    ql_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(req_12_the_layer_is_its_formula_forward_and_backward),
        cmocka_unit_test(req_12_only_adapters_have_gradients),
        cmocka_unit_test(req_13_fresh_adapters_change_nothing),
        cmocka_unit_test(req_13_shapes_follow_the_layer),
        cmocka_unit_test(req_13_s_is_alpha_over_r),
        cmocka_unit_test(req_17_gpt3_has_eighteen_million_lora_parameters),
    };
    return cmocka_run_group_tests_name("req_lora", tests, NULL, NULL);
}
