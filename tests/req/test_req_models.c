/*
 * test_req_models.c - requirements about the llama family: req_35 (LLaMA 7/13/33/65B: the same
 * logits and the same generation as transformers on tiny models, the right shapes at full size) and
 * req_36 (LLaMA-2: grouped-query attention, RMSNorm, RoPE).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/json.h"
#include "core/model/generate.h"
#include "core/verify/verify.h"
#include "tests/req/req_model.h"
#include "tests/support/lab.h"
#include "tools/shapes.h"

#define SEED 20240614u /* of all draws below */

static const char *model_dir(const char *name) {
    static char path[QL_PATH_MAX];
    OK(ql_path_join(path, QL_TEST_DATA "/models", name));
    return path;
}

/* The recorded logits, losses, gradients and steps of `name`, on 1 and 2 threads. */
static void verify(const char *name) {
    for (int threads = 1; threads <= 2; threads++) {
        ql_device *dev = engine_device(threads);
        ql_verify_opts o = {.cases = QL_VERIFY_ALL & ~(unsigned)QL_VERIFY_CURVE, .compute = QL_F32};
        ql_verify_report r;
        OK(ql_verify(model_dir(name), &o, dev, &r));
        int logits = 0;
        for (int i = 0; i < r.n_rows; i++) {
            if (!r.rows[i].ok)
                fail_msg("%s, %s: off by %g", name, r.rows[i].group, r.rows[i].max_abs);
            if (!strcmp(r.rows[i].group, "plain.logits")) {
                assert_true(r.rows[i].max_abs <= 1e-4 && r.rows[i].elements > 0);
                logits++;
            }
        }
        assert_true(r.ok && logits == 1);
        engine_close(dev);
    }
}

static void feed(ql_generator *g, const int32_t *ids, int32_t n, const float **logits) {
    OK(ql_generator_feed(g, ids, n, logits));
}

/* Greedy ids of transformers (tests/data/generate), through the cache. */
static void generates_like_transformers(const char *name) {
    char path[QL_PATH_MAX];
    snprintf(path, sizeof path, QL_TEST_DATA "/generate/%s.json", name);
    json_t *doc = NULL;
    OK(ql_json_read(path, &doc));
    json_t *cases = json_object_get(doc, "rows");
    assert_true(json_array_size(cases) > 0);
    ql_device *dev = engine_device(1);
    ql_model *m = req_open(model_dir(name), 16, false);
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_F32, (int32_t)m->arch.max_positions, dev, &g));
    const ql_sampling greedy = {.top_p = 1.0};
    for (size_t c = 0; c < json_array_size(cases); c++) {
        json_t *prompt = json_object_get(json_array_get(cases, c), "prompt");
        json_t *want = json_object_get(json_array_get(cases, c), "new");
        assert_true(json_array_size(prompt) > 0 && json_array_size(want) > 0);
        int32_t ids[256];
        int32_t n = (int32_t)json_array_size(prompt);
        assert_in_range(n, 1, 256);
        for (int32_t i = 0; i < n; i++)
            ids[i] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)i));
        const float *logits = NULL;
        ql_generator_reset(g);
        feed(g, ids, n, &logits);
        for (size_t i = 0; i < json_array_size(want); i++) {
            int32_t id = -1;
            OK(ql_sample(&greedy, logits, m->arch.vocab, i, &id));
            assert_int_equal(id, json_integer_value(json_array_get(want, i)));
            if (i + 1 < json_array_size(want)) feed(g, &id, 1, &logits);
        }
    }
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
    json_decref(doc);
}

static ql_model *plan(const char *shape) {
    json_t *config = ql_shape_find(shape);
    if (!config) fail_msg("no shape %s", shape);
    ql_source *source = NULL;
    ql_model *m = NULL;
    ql_model_opts o = ql_model_opts_default();
    OK(ql_source_open_json(shape, config, &source));
    OK(ql_model_open(source, &o, &m));
    json_decref(config);
    return m;
}

/* ---------------------------------------------------------------- req_35 */

static void req_35_tiny_llamas_give_transformers_logits(void **state) {
    (void)state;
    verify(
        "tiny-llama-linear"); /* every head has its own keys, biases, scaled positions, tied head */
    verify("tiny-llama-rope3");
    verify("tiny-llama-yarn");
}

static void req_35_tiny_llamas_generate_the_same_ids(void **state) {
    (void)state;
    generates_like_transformers("tiny-llama-linear");
    generates_like_transformers("tiny-llama-rope3");
    generates_like_transformers("tiny-llama-yarn");
}

/* Parameter counts of the released checkpoints. */
static void req_35_full_size_shapes_have_the_released_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t parameters;
        int layers, heads;
    } c[] = {{"llama-7b", 6738415616, 32, 32},
             {"llama-13b", 13015864320, 40, 40},
             {"llama-33b", 32528943616, 60, 52},
             {"llama-65b", 65285660672, 80, 64}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ql_model *m = plan(c[i].name);
        assert_int_equal(m->parameters, c[i].parameters);
        assert_true(m->arch.body.layers == c[i].layers && m->arch.body.heads == c[i].heads &&
                    m->arch.body.kv_heads == c[i].heads);
        assert_true(m->arch.norm == QL_NORM_RMS && m->arch.body.act == QL_ACT_SILU &&
                    m->arch.body.head_dim == 128);
        ql_model_close(m);
    }
}

/* ---------------------------------------------------------------- req_36 */

static void req_36_tiny_grouped_models_give_transformers_logits_and_ids(void **state) {
    (void)state;
    static const char *const names[] = {"tiny-llama", "tiny-mistral"};
    for (int i = 0; i < 2; i++) {
        ql_model *m = req_open(model_dir(names[i]), 16, false);
        assert_true(m->arch.body.kv_heads < m->arch.body.heads); /* grouped indeed */
        ql_model_close(m);
        verify(names[i]);
        generates_like_transformers(names[i]);
    }
}

static void req_36_full_size_shapes_have_the_released_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t parameters;
        int64_t k_rows;
    } c[] = {{"llama-2-7b", 6738415616, 4096},
             {"llama-2-13b", 13015864320, 5120},
             {"llama-2-70b", 68976648192, 1024},
             {"llama-3-8b", 8030261248, 1024}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ql_model *m = plan(c[i].name);
        assert_int_equal(m->parameters, c[i].parameters);
        assert_int_equal(ql_model_linear(m, QL_LIN_K)->n, c[i].k_rows);
        assert_int_equal(ql_model_linear(m, QL_LIN_V)->n, c[i].k_rows);
        assert_int_equal(ql_model_linear(m, QL_LIN_Q)->n, m->arch.hidden);
        ql_model_close(m);
    }
}

enum { ROWS = 9, HEADS = 6, D = 4 };

/* o of causal attention over keys and values with `kv` heads: the first `kv` heads' columns of the
 * wide matrices when `grouped`, else those columns repeated for every query head. */
static void attend(int kv, bool repeat, double o[ROWS * HEADS * D]) {
    static const int start[2] = {0, ROWS};
    lab l;
    lab_open(&l, 1, SEED);
    ql_vid q = lab_input(&l, QL_F32, ql_fixed(ROWS), ql_fixed(HEADS * D), "q"), kx[2];
    int heads = repeat ? HEADS : kv;
    for (int w = 0; w < 2; w++) {
        double narrow[ROWS][HEADS * D]; /* the same numbers whatever the form */
        ql_vid all = lab_input(&l, QL_F32, ql_fixed(ROWS), ql_fixed(HEADS * D), "all");
        memcpy(narrow, l.start[all], sizeof narrow);
        kx[w] = lab_input(&l, QL_F32, ql_fixed(ROWS), ql_fixed(heads * D), w ? "v" : "k");
        l.random = SEED + 77 + (uint64_t)w;
        for (int i = 0; i < ROWS; i++)
            for (int h = 0; h < heads; h++)
                for (int d = 0; d < D; d++)
                    l.start[kx[w]][(i * heads + h) * D + d] =
                        narrow[i][(repeat ? h / (HEADS / kv) : h) * D + d];
    }
    ql_vid offsets = lab_index(&l, ql_fixed(1), ql_fixed(2), start, "start");
    ql_vid out = lab_input(&l, QL_F32, ql_fixed(ROWS), ql_fixed(HEADS * D), "o");
    ql_vid lse = lab_input(&l, QL_F32, ql_fixed(HEADS), ql_fixed(ROWS), "lse");
    ql_attn_spec spec = {.heads_q = HEADS,
                         .heads_kv = heads,
                         .dim_qk = D,
                         .dim_v = D,
                         .scale = 0.5f,
                         .causal = true,
                         .max_q = ROWS,
                         .max_kv = ROWS,
                         .start_q = lab_ref(&l, offsets),
                         .start_kv = lab_ref(&l, offsets)};
    QL_RECORD(l.tape, ATTN_FWD, attn_fwd, .spec = spec, .q = lab_ref(&l, q),
              .k = lab_ref(&l, kx[0]), .v = lab_ref(&l, kx[1]), .o = lab_ref(&l, out),
              .lse = lab_ref(&l, lse));
    lab_plan(&l);
    lab_run(&l);
    memcpy(o, l.got[out], ROWS * HEADS * D * sizeof *o);
    lab_close(&l);
}

/* Query head h reads key head h / (Hq / Hk): the same as repeating each key head. */
static void req_36_grouped_attention_is_attention_with_repeated_heads(void **state) {
    (void)state;
    static const int kv[] = {1, 2, 3, 6};
    double grouped[ROWS * HEADS * D], repeated[ROWS * HEADS * D], first[ROWS * HEADS * D];
    for (int i = 0; i < 4; i++) {
        attend(kv[i], false, grouped);
        attend(kv[i], true, repeated);
        for (int k = 0; k < ROWS * HEADS * D; k++)
            assert_true(fabs(grouped[k] - repeated[k]) <= 1e-6);
        if (i == 0)
            memcpy(first, grouped, sizeof first);
        else
            assert_memory_not_equal(first, grouped, sizeof first); /* the grouping matters */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(req_35_tiny_llamas_give_transformers_logits),
        cmocka_unit_test(req_35_tiny_llamas_generate_the_same_ids),
        cmocka_unit_test(req_35_full_size_shapes_have_the_released_counts),
        cmocka_unit_test(req_36_tiny_grouped_models_give_transformers_logits_and_ids),
        cmocka_unit_test(req_36_full_size_shapes_have_the_released_counts),
        cmocka_unit_test(req_36_grouped_attention_is_attention_with_repeated_heads),
    };
    return cmocka_run_group_tests_name("req_models", tests, NULL, NULL);
}
