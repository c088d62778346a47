/*
 * test_generate.c - greedy tokens are transformers' tokens, the cache changes nothing, sampling
 * follows its settings and its seed, and what cannot be generated is refused with a sentence.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/model/generate.h"
#include "tests/models/logits.h"
#include "tests/models/recorded.h"
#include "tests/support/engine.h"

#define STORIES QL_TEST_SHARED "/fixtures/models/stories260k"
#define LONGEST RECORDED_LONGEST
#define VOCAB   512

static const char *const fixtures[] = {"tiny-llama",
                                       "tiny-llama-linear",
                                       "tiny-llama-rope3",
                                       "tiny-llama-yarn",
                                       "tiny-llama-tied",
                                       "tiny-mistral",
                                       "tiny-qwen2",
                                       "tiny-qwen2-window",
                                       "tiny-qwen3",
                                       "tiny-gemma2",
                                       "tiny-gemma3",
                                       "tiny-phi3",
                                       "tiny-opt",
                                       "tiny-opt-post",
                                       "tiny-gpt-neox",
                                       "tiny-gpt-neox-seq",
                                       "tiny-gpt2",
                                       "tiny-falcon",
                                       "tiny-falcon-new",
                                       "tiny-stablelm",
                                       "tiny-stablelm-parallel",
                                       "tiny-stablelm-qknorm",
                                       "tiny-falcon-rw"};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

/* Greedy tokens after `prompt` through the cache. */
static void greedy(ql_generator *g, ql_model *m, const int32_t *prompt, int32_t n, int32_t *out,
                   int32_t count) {
    const ql_sampling s = {0};
    const float *logits = NULL;
    ql_generator_reset(g);
    OK(ql_generator_feed(g, prompt, n, &logits));
    for (int32_t i = 0; i < count; i++) {
        OK(ql_sample(&s, logits, m->arch.vocab, (uint64_t)i, &out[i]));
        if (i + 1 < count) OK(ql_generator_feed(g, &out[i], 1, &logits));
    }
}

/* The same by computing everything again for each token. */
static void greedy_without_cache(ql_model *m, const int32_t *prompt, int32_t n, int32_t *out,
                                 int32_t count) {
    int32_t ids[2 * LONGEST];
    float *logits = calloc((size_t)(2 * LONGEST) * (size_t)m->arch.vocab, sizeof *logits);
    memcpy(ids, prompt, (size_t)n * sizeof *ids);
    for (int32_t i = 0; i < count; i++) {
        OK(logits_of_sequence(m, QL_F32, ids, n + i, logits));
        ids[n + i] = out[i] = logits_argmax(logits + (n + i - 1) * m->arch.vocab, m->arch.vocab);
    }
    free(logits);
}

static void follow_recorded(const char *name, const char *folder, int threads) {
    ql_device *dev = engine_device(threads);
    ql_model *m = recorded_model(folder);
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_F32, LONGEST, dev, &g));
    json_t *j = recorded_json(name), *row;
    size_t i;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        int32_t prompt[LONGEST], want[LONGEST], have[LONGEST], plain[LONGEST];
        int32_t n = recorded_ids(json_object_get(row, "prompt"), prompt);
        int32_t count = recorded_ids(json_object_get(row, "new"), want);
        greedy(g, m, prompt, n, have, count);
        assert_memory_equal(have, want, (size_t)count * sizeof *want);
        assert_int_equal(ql_generator_position(g), n + count - 1);
        greedy_without_cache(m, prompt, n, plain, count);
        assert_memory_equal(plain, want, (size_t)count * sizeof *want);
    }
    assert_int_equal(i, 5);
    json_decref(j);
    ql_generator_free(g);
    ql_model_close(m);
    assert_int_equal(engine_counts(dev).device_bytes, 0);
    engine_close(dev);
}

static void greedy_gives_the_recorded_tokens_with_and_without_cache(void **state) {
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        char folder[QL_PATH_MAX];
        print_message("%s\n", fixtures[i]);
        OK(ql_path_join(folder, QL_TEST_DATA "/models", fixtures[i]));
        follow_recorded(fixtures[i], folder, 1 + i % 2);
    }
}

static void greedy_gives_the_recorded_tokens_of_stories260k(void **state) {
    (void)state;
    if (!ql_dir_exists(STORIES)) {
        print_message("no fixtures/models/stories260k: skipped\n");
        skip();
    }
    follow_recorded("stories260k", STORIES, 2);
}

static double largest_difference(const float *a, const float *b, int64_t n) {
    double d = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = fabs((double)a[i] - (double)b[i]);
        if (!(x <= d)) d = x;
    }
    return d;
}

/* A prompt longer than one piece (256), fed in cuts of any size, gives the logits of one pass. */
static void any_cutting_of_a_long_prompt_gives_the_same_logits(void **state) {
    (void)state;
    if (!ql_dir_exists(STORIES)) {
        print_message("no fixtures/models/stories260k: skipped\n");
        skip();
    }
    enum { N = 300 };
    static const int32_t cuts[][4] = {{300}, {1, 299}, {257, 43}, {100, 156, 1, 43}};
    ql_device *dev = engine_device(2);
    ql_model *m = recorded_model(STORIES);
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_F32, N, dev, &g));
    int32_t ids[N];
    ql_stream s = ql_stream_make(3, QL_STREAM_SAMPLE, 0);
    for (int i = 0; i < N; i++) ids[i] = (int32_t)ql_stream_below(&s, (uint64_t)m->arch.vocab);
    float *whole = calloc((size_t)N * (size_t)m->arch.vocab, sizeof *whole);
    OK(logits_of_sequence(m, QL_F32, ids, N, whole));
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        ql_generator_reset(g);
        int32_t at = 0;
        for (int k = 0; k < 4 && cuts[c][k]; k++) {
            const float *logits = NULL;
            OK(ql_generator_feed(g, ids + at, cuts[c][k], &logits));
            at += cuts[c][k];
            assert_true(
                largest_difference(logits, whole + (at - 1) * m->arch.vocab, m->arch.vocab) < 2e-5);
        }
        assert_int_equal(at, N);
    }
    free(whole);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

static void memory_is_as_planned_and_steps_allocate_nothing(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 0, 0);
    ql_memory_report plan;
    OK(ql_generator_plan(m, QL_BF16, 48, dev, &plan));
    assert_int_equal(engine_counts(dev).allocs, 0);
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_BF16, 48, dev, &g));
    ql_counts before = engine_counts(dev);
    assert_int_equal(before.device_peak, plan.peak_bytes);
    int32_t ids[3] = {3, 4, 5}, out[40];
    greedy(g, m, ids, 3, out, 40);
    ql_counts after = engine_counts(dev);
    assert_int_equal(after.allocs + after.wraps, before.allocs + before.wraps);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 16, 0, 0);
    ql_generator *g = NULL;
    FAILS(ql_generator_create(m, QL_F32, 65, dev, &g), QL_ERR_INVALID, "64 positions");
    FAILS(ql_generator_create(m, QL_F32, 0, dev, &g), QL_ERR_INVALID, "context of 0");
    OK(ql_generator_create(m, QL_F32, 8, dev, &g));
    const float *logits = NULL;
    int32_t ids[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    FAILS(ql_generator_feed(g, ids, 9, &logits), QL_ERR_INVALID, "exceed the context of 8");
    FAILS(ql_generator_feed(g, ids, 0, &logits), QL_ERR_INVALID, "0 tokens");
    OK(ql_generator_feed(g, ids, 8, &logits));
    FAILS(ql_generator_feed(g, ids, 1, &logits), QL_ERR_INVALID, "exceed the context of 8");
    ql_generator_reset(g);
    ids[1] = -1;
    FAILS(ql_generator_feed(g, ids, 2, &logits), QL_ERR_INVALID, "token id -1");
    ids[1] = 256;
    FAILS(ql_generator_feed(g, ids, 2, &logits), QL_ERR_INVALID, "vocabulary of 256");
    ids[1] = 255;
    OK(ql_generator_feed(g, ids, 2, &logits)); /* refusals left no trace */
    assert_int_equal(ql_generator_position(g), 2);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

static void nan_logits_are_refused(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = engine_model("tiny-llama", 4, 2, 0);
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_F32, 16, dev, &g));
    float *b = calloc((size_t)m->params[1].rows * (size_t)m->params[1].cols, sizeof *b);
    b[0] = NAN;
    OK(ql_param_write(m, 1, b));
    free(b);
    const float *logits = NULL;
    int32_t ids[2] = {3, 4}, out = -1;
    OK(ql_generator_feed(g, ids, 2, &logits));
    for (int hot = 0; hot < 2; hot++) {
        ql_sampling s = {.temperature = hot, .top_p = 1};
        FAILS(ql_sample(&s, logits, m->arch.vocab, 0, &out), QL_ERR_NUMERIC, "NaN");
    }
    assert_int_equal(out, -1);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

/* ---------------------------------------------------------------- sampling */

static void greedy_takes_the_first_of_the_largest(void **state) {
    (void)state;
    const float logits[5] = {-1, 7, 3, 7, -INFINITY};
    ql_sampling s = {.temperature = 0, .top_p = 1};
    int32_t id = -1;
    OK(ql_sample(&s, logits, 5, 0, &id));
    assert_int_equal(id, 1);
}

static void draws_depend_on_seed_and_number_only(void **state) {
    (void)state;
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++) logits[i] = sinf((float)i);
    int other_seed = 0, other_index = 0;
    for (uint64_t i = 0; i < 200; i++) {
        ql_sampling s = {.temperature = 1, .top_p = 1, .seed = 11}, t = s;
        t.seed = 12;
        int32_t a = 0, b = 0, c = 0, d = 0;
        OK(ql_sample(&s, logits, VOCAB, i, &a));
        OK(ql_sample(&s, logits, VOCAB, i + 1000, &d));
        OK(ql_sample(&t, logits, VOCAB, i, &c));
        OK(ql_sample(&s, logits, VOCAB, i, &b));
        assert_int_equal(a, b);
        other_seed += a != c;
        other_index += a != d;
    }
    assert_true(other_seed > 150 && other_index > 150);
}

/* Frequencies of 20,000 draws against the softmax, within five standard deviations. */
static void assert_distribution(const ql_sampling *s, const float *logits, const double *p, int n) {
    enum { DRAWS = 20000 };
    int count[8] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        int32_t id = -1;
        OK(ql_sample(s, logits, n, i, &id));
        assert_true(id >= 0 && id < n);
        count[id]++;
    }
    for (int i = 0; i < n; i++) {
        double sd = sqrt(DRAWS * p[i] * (1 - p[i]));
        assert_true(fabs(count[i] - DRAWS * p[i]) <= 5 * sd);
    }
}

static void draws_follow_temperature_top_k_and_top_p(void **state) {
    (void)state;
    const double p[6] = {0.10, 0.40, 0.05, 0.25, 0.15, 0.05};
    float logits[6];
    for (int i = 0; i < 6; i++) logits[i] = (float)log(p[i]);
    ql_sampling s = {.temperature = 1, .top_p = 1, .seed = 5};
    assert_distribution(&s, logits, p, 6);

    double hot[6], sum = 0;
    for (int i = 0; i < 6; i++) sum += hot[i] = pow(p[i], 1 / 2.0);
    for (int i = 0; i < 6; i++) hot[i] /= sum;
    s.temperature = 2;
    assert_distribution(&s, logits, hot, 6);

    s.temperature = 1;
    s.top_k = 3;
    const double three[6] = {0, 0.5, 0, 0.3125, 0.1875, 0};
    assert_distribution(&s, logits, three, 6);

    s.top_k = 0;
    s.top_p = 0.5; /* the smallest set that reaches one half: 0.40 + 0.25 */
    const double two[6] = {0, 0.40 / 0.65, 0, 0.25 / 0.65, 0, 0};
    assert_distribution(&s, logits, two, 6);

    const double one[6] = {0, 1, 0, 0, 0, 0};
    s.top_p = 1e-9;
    assert_distribution(&s, logits, one, 6);
    s.top_p = 1;
    s.top_k = 1;
    assert_distribution(&s, logits, one, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_gives_the_recorded_tokens_with_and_without_cache),
        cmocka_unit_test(greedy_gives_the_recorded_tokens_of_stories260k),
        cmocka_unit_test(any_cutting_of_a_long_prompt_gives_the_same_logits),
        cmocka_unit_test(memory_is_as_planned_and_steps_allocate_nothing),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(nan_logits_are_refused),
        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(draws_depend_on_seed_and_number_only),
        cmocka_unit_test(draws_follow_temperature_top_k_and_top_p),
    };
    return cmocka_run_group_tests_name("models_generate", tests, NULL, NULL);
}
