/*
 * test_search.c - answers of encoder-decoders and by beam search are transformers' answers; the
 * caches, the regions that beams exchange and the rules change nothing else.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/search.h"
#include "tests/models/logits.h"
#include "tests/models/recorded.h"
#include "tests/support/engine.h"

#define LONGEST RECORDED_LONGEST

static const char *const pairs[] = {"tiny-t5", "tiny-t5-v11", "tiny-bart", "tiny-mbart"};
/* Decoders whose beams were recorded. */
static const char *const decoders[] = {
    "tiny-llama-tied",      "tiny-qwen2",      "tiny-qwen2-window", "tiny-qwen3",
    "tiny-gemma2",          "tiny-gemma3",     "tiny-phi3",         "tiny-opt",
    "tiny-opt-post",        "tiny-gpt-neox",   "tiny-gpt-neox-seq", "tiny-gpt2",
    "tiny-falcon",          "tiny-falcon-new", "tiny-stablelm",     "tiny-stablelm-parallel",
    "tiny-stablelm-qknorm", "tiny-falcon-rw"};
#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

/* A recorded row as a prompt: of an encoder-decoder the source and the start. */
typedef struct question {
    int32_t source[LONGEST], prompt[LONGEST], want[LONGEST], eos[LONGEST];
    int32_t n_source, n, n_want, n_eos;
} question;

static void read_question(const json_t *row, question *q) {
    const json_t *source = json_object_get(row, "encoder"), *eos = json_object_get(row, "eos");
    const json_t *start = json_object_get(row, "start"), *text = json_object_get(row, "prompt");
    *q = (question){.n = 0};
    q->n_want = recorded_ids(json_object_get(row, "new"), q->want);
    if (start) {
        q->n_source = recorded_ids(source ? source : text, q->source);
        q->prompt[q->n++] = (int32_t)json_integer_value(start);
    } else {
        q->n = recorded_ids(text, q->prompt);
    }
    if (json_is_array(eos)) q->n_eos = recorded_ids(eos, q->eos);
    if (json_is_integer(eos)) q->eos[q->n_eos++] = (int32_t)json_integer_value(eos);
}

static ql_generator *generator(ql_model *m, ql_device *dev, int32_t sequences) {
    const ql_generator_opts o = {.compute = QL_F32,
                                 .context = LONGEST,
                                 .sequences = sequences,
                                 .source = m->arch.encoder.layers ? LONGEST : 0};
    ql_generator *g = NULL;
    OK(ql_generator_create_for(m, &o, dev, &g));
    return g;
}

static ql_answer ask(ql_generator *g, const question *q, ql_search_opts o) {
    ql_answer a = {.score = 0};
    if (q->n_source) OK(ql_generator_set_source(g, q->source, q->n_source));
    o.stop = q->eos;
    o.n_stop = q->n_eos;
    OK(ql_search(g, &o, q->prompt, q->n, &a));
    return a;
}

static void assert_found(const ql_answer *a, const question *q) {
    assert_int_equal(a->ids.n, q->n_want);
    assert_memory_equal(a->ids.ids, q->want, (size_t)q->n_want * sizeof *q->want);
}

static double log_probability(const float *logits, int64_t vocab, int32_t id) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < vocab; i++) top = fmax(top, (double)logits[i]);
    for (int64_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - top);
    return (double)logits[id] - top - log(sum);
}

/* Sum of the log probabilities of `ids` behind the prompt, from one pass without a cache. */
static double log_likelihood(ql_model *m, const question *q, const int32_t *ids, int32_t n) {
    const int64_t vocab = m->arch.vocab;
    int32_t all[2 * LONGEST];
    float *logits = calloc((size_t)(2 * LONGEST) * (size_t)vocab, sizeof *logits);
    double sum = 0;
    memcpy(all, q->prompt, (size_t)q->n * sizeof *all);
    memcpy(all + q->n, ids, (size_t)n * sizeof *all);
    OK(logits_of_pair(m, QL_F32, q->source, q->n_source, all, q->n + n - 1, logits));
    for (int32_t i = 0; i < n; i++)
        sum += log_probability(logits + (q->n - 1 + i) * vocab, vocab, ids[i]);
    free(logits);
    return sum;
}

/* ---------------------------------------------------------------- recordings */

/* Greedy through the caches, and again by computing everything anew for every token. */
static void follow_greedy(ql_generator *g, ql_model *m, const json_t *row) {
    question q;
    read_question(row, &q);
    ql_search_opts o = ql_search_defaults();
    o.max_new = q.n_want;
    ql_answer a = ask(g, &q, o);
    assert_found(&a, &q);
    assert_false(a.stopped);
    float *logits = calloc((size_t)LONGEST * (size_t)m->arch.vocab, sizeof *logits);
    int32_t all[LONGEST] = {q.prompt[0]};
    for (int32_t i = 0; i < q.n_want; i++) {
        OK(logits_of_pair(m, QL_F32, q.source, q.n_source, all, i + 1, logits));
        all[i + 1] = logits_argmax(logits + i * m->arch.vocab, m->arch.vocab);
        assert_int_equal(all[i + 1], q.want[i]);
    }
    free(logits);
    double score = json_number_value(json_object_get(row, "score"));
    assert_true(fabs(log_likelihood(m, &q, q.want, q.n_want) - score) < 1e-4 * fabs(score));
    ql_ids_free(&a.ids);
}

static ql_search_opts beam_opts(const json_t *row, int32_t max_new) {
    ql_search_opts o = ql_search_defaults();
    const json_t *early = json_object_get(row, "early_stopping");
    json_int_t beams = json_integer_value(json_object_get(row, "num_beams"));
    o.max_new = max_new;
    o.beams = (int32_t)beams;
    if (beams == 1) return o;
    o.length_penalty = json_number_value(json_object_get(row, "length_penalty"));
    o.early = json_is_string(early) ? QL_EARLY_NEVER
              : json_is_true(early) ? QL_EARLY_TRUE
                                    : QL_EARLY_FALSE;
    return o;
}

static void follow_beams(ql_generator *g, ql_model *m, const json_t *row) {
    question q;
    read_question(row, &q);
    json_int_t most = json_integer_value(json_object_get(row, "max_new"));
    ql_search_opts o = beam_opts(row, (int32_t)most);
    double score = json_number_value(json_object_get(row, "score"));
    ql_answer a = ask(g, &q, o);
    assert_found(&a, &q);
    assert_true(fabs(a.score - score) < 1e-4 * fabs(score));
    double sum = log_likelihood(m, &q, a.ids.ids, (int32_t)a.ids.n);
    assert_true(fabs(sum / (double)a.ids.n - score) < 1e-4 * fabs(score));
    assert_int_equal(a.stopped, q.n_eos > 0 && a.ids.ids[a.ids.n - 1] == q.eos[0]);
    ql_ids_free(&a.ids);
}

static void follow_model(const char *name, int threads, bool greedy) {
    ql_device *dev = engine_device(threads);
    ql_model *m = recorded_fixture(name);
    ql_generator *g = generator(m, dev, 5);
    json_t *j = recorded_json(name), *row;
    size_t i, rows = 0;
    print_message("%s\n", name);
    json_array_foreach(json_object_get(j, "beams"), i, row) {
        follow_beams(g, m, row);
        rows++;
    }
    assert_int_equal(rows, 2);
    if (greedy) json_array_foreach(json_object_get(j, "rows"), i, row) follow_greedy(g, m, row);
    assert_true(!greedy || i == 5);
    json_decref(j);
    ql_generator_free(g);
    ql_model_close(m);
    assert_int_equal(engine_counts(dev).device_bytes, 0);
    engine_close(dev);
}

static void encoder_decoders_find_the_recorded_tokens(void **state) {
    (void)state;
    for (int i = 0; i < COUNT(pairs); i++) follow_model(pairs[i], 1 + i % 2, true);
}

static void decoders_find_the_recorded_beams(void **state) {
    (void)state;
    for (int i = 0; i < COUNT(decoders); i++) follow_model(decoders[i], 1 + i % 2, false);
}

static int32_t setting(const json_t *row, const char *key, int32_t absent) {
    const json_t *v = json_object_get(row, key);
    return v ? (int32_t)json_integer_value(v) : absent;
}

/* Length penalties, kinds of early stopping, several end tokens, every rule; made by
 * tests/golden/make_search.py. */
static void searches_find_what_transformers_finds(void **state) {
    (void)state;
    json_t *j = recorded_json("search"), *row;
    int32_t most = setting(j, "max_new_tokens", 0), asked = 0;
    const char *name = "";
    ql_device *dev = engine_device(2);
    ql_model *m = NULL;
    ql_generator *g = NULL;
    size_t i;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        const char *model = json_string_value(json_object_get(row, "model"));
        if (strcmp(model, name) != 0) {
            ql_generator_free(g);
            ql_model_close(m);
            name = model;
            m = recorded_fixture(name);
            g = generator(m, dev, 5);
        }
        question q;
        read_question(row, &q);
        ql_search_opts o = beam_opts(row, most);
        o.rules.no_repeat_ngram = setting(row, "no_repeat_ngram_size", 0);
        o.rules.min_length = setting(row, "min_length", 0);
        o.rules.forced_bos = setting(row, "forced_bos_token_id", -1);
        o.rules.forced_eos = setting(row, "forced_eos_token_id", -1);
        ql_answer a = ask(g, &q, o);
        if (a.ids.n != (size_t)q.n_want ||
            memcmp(a.ids.ids, q.want, (size_t)q.n_want * sizeof *q.want) != 0) {
            char *text = json_dumps(row, 0);
            print_error("row %zu: %s\n", i, text);
            free(text);
        }
        assert_found(&a, &q);
        const json_t *score = json_object_get(row, "score");
        assert_true(!score || fabs(a.score - json_number_value(score)) <
                                  1e-4 * fabs(json_number_value(score)));
        ql_ids_free(&a.ids);
        asked++;
    }
    assert_true(asked > 400);
    json_decref(j);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

/* ---------------------------------------------------------------- properties */

static question random_question(const ql_model *m, uint64_t number) {
    ql_stream s = ql_stream_make(21, QL_STREAM_SAMPLE, number);
    uint64_t vocab = (uint64_t)m->arch.vocab;
    question q = {.n = 1 + (int32_t)ql_stream_below(&s, 12)};
    for (int32_t i = 0; i < q.n; i++) q.prompt[i] = (int32_t)ql_stream_below(&s, vocab);
    if (!m->arch.encoder.layers) return q;
    q.n_source = q.n;
    memcpy(q.source, q.prompt, sizeof q.source);
    q.n = 1;
    return q;
}

static int32_t argmax_of(const float *x, int64_t n) {
    return logits_argmax(x, n);
}

/* Sequences that split, swap, end and multiply have the logits of the same sequences alone. */
static void live_sequences_are_independent(void **state) {
    (void)state;
    const char *const names[] = {"tiny-gemma2", "tiny-phi3", "tiny-opt", "tiny-t5", "tiny-bart"};
    enum { S = 5, STEPS = 12 };
    for (int i = 0; i < COUNT(names); i++) {
        ql_device *dev = engine_device(2);
        ql_model *m = recorded_fixture(names[i]);
        ql_generator *g = generator(m, dev, S);
        const int64_t vocab = m->arch.vocab;
        question q = random_question(m, 5);
        const float *logits = NULL;
        float *alone = calloc((size_t)LONGEST * (size_t)vocab, sizeof *alone);
        int32_t seq[S][LONGEST], next[S][LONGEST], live = 1, n = q.n;
        if (q.n_source) OK(ql_generator_set_source(g, q.source, q.n_source));
        OK(ql_generator_feed(g, q.prompt, q.n, &logits));
        memcpy(seq[0], q.prompt, sizeof seq[0]);
        ql_stream r = ql_stream_make(9, QL_STREAM_SAMPLE, (uint64_t)i);
        for (int step = 0; step < STEPS; step++, n++) {
            int32_t count = 1 + (int32_t)ql_stream_below(&r, S), parent[S], ids[S];
            for (int32_t s = 0; s < count; s++) {
                parent[s] = (int32_t)ql_stream_below(&r, (uint64_t)live);
                ids[s] = (int32_t)ql_stream_below(&r, (uint64_t)vocab);
                memcpy(next[s], seq[parent[s]], sizeof next[s]);
                next[s][n] = ids[s];
            }
            memcpy(seq, next, sizeof seq);
            live = count;
            OK(ql_generator_step(g, count, parent, ids, &logits));
            for (int32_t s = 0; s < count; s++) {
                OK(logits_of_pair(m, QL_F32, q.source, q.n_source, seq[s], n + 1, alone));
                for (int64_t v = 0; v < vocab; v++)
                    assert_true(fabsf(logits[s * vocab + v] - alone[n * vocab + v]) <
                                2e-5f * (1 + fabsf(alone[n * vocab + v])));
            }
        }
        free(alone);
        ql_generator_free(g);
        ql_model_close(m);
        engine_close(dev);
    }
}

/* With as many beams as there are sequences of two tokens the best of all is found. */
static void many_beams_find_the_best_of_all(void **state) {
    (void)state;
    ql_device *dev = engine_device(2);
    ql_model *m = recorded_fixture("tiny-mbart");
    const int32_t vocab = (int32_t)m->arch.vocab;
    const ql_generator_opts made = {
        .compute = QL_F32, .context = 8, .sequences = vocab / 2, .source = LONGEST};
    ql_generator *g = NULL;
    OK(ql_generator_create_for(m, &made, dev, &g));
    question q = random_question(m, 3);
    double best = -INFINITY;
    const float *logits = NULL;
    for (int32_t first = 0; first < vocab; first++) {
        const int32_t all[2] = {q.prompt[0], first};
        OK(ql_generator_set_source(g, q.source, q.n_source));
        OK(ql_generator_feed(g, all, 1, &logits));
        double sum = log_probability(logits, vocab, first);
        OK(ql_generator_feed(g, all + 1, 1, &logits));
        sum += log_probability(logits, vocab, argmax_of(logits, vocab));
        best = fmax(best, sum);
    }
    ql_search_opts o = ql_search_defaults();
    o.max_new = 2;
    o.beams = vocab / 2;
    ql_answer a = ask(g, &q, o);
    assert_int_equal(a.ids.n, 2);
    assert_true(fabs(2 * a.score - best) < 1e-4 * fabs(best));
    ql_ids_free(&a.ids);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

/* Drawn answers of an encoder-decoder: the same for the same draws, others for other draws. */
static void drawn_answers_depend_on_the_draws(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = recorded_fixture("tiny-t5-v11");
    ql_generator *g = generator(m, dev, 1);
    question q = random_question(m, 1);
    ql_search_opts o = ql_search_defaults();
    o.sampling.temperature = 1;
    o.max_new = 20;
    ql_answer a = ask(g, &q, o), b = ask(g, &q, o);
    o.first_draw = 1000;
    ql_answer c = ask(g, &q, o);
    assert_memory_equal(a.ids.ids, b.ids.ids, 20 * sizeof *a.ids.ids);
    assert_memory_not_equal(a.ids.ids, c.ids.ids, 20 * sizeof *a.ids.ids);
    ql_ids_free(&a.ids);
    ql_ids_free(&b.ids);
    ql_ids_free(&c.ids);
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

static void memory_is_as_planned_and_searches_allocate_nothing(void **state) {
    (void)state;
    const char *const names[] = {"tiny-llama", "tiny-t5", "tiny-bart"};
    for (int i = 0; i < COUNT(names); i++) {
        ql_device *dev = engine_device(1);
        ql_model *m = engine_model(names[i], 4, 0, 0);
        const ql_generator_opts made = {.compute = QL_BF16,
                                        .context = 40,
                                        .sequences = 4,
                                        .source = m->arch.encoder.layers ? 30 : 0};
        ql_memory_report plan;
        OK(ql_generator_plan_for(m, &made, dev, &plan));
        assert_int_equal(engine_counts(dev).allocs, 0);
        ql_generator *g = NULL;
        OK(ql_generator_create_for(m, &made, dev, &g));
        ql_counts before = engine_counts(dev);
        assert_int_equal(before.device_peak, plan.peak_bytes);
        question q = random_question(m, 2);
        ql_search_opts o = ql_search_defaults();
        o.max_new = 40;
        o.beams = 4;
        ql_answer a = ask(g, &q, o);
        assert_int_equal(a.ids.n, 40 - q.n + 1 < 40 ? 40 - q.n + 1 : 40);
        ql_counts after = engine_counts(dev);
        assert_int_equal(after.allocs + after.wraps, before.allocs + before.wraps);
        assert_int_equal(after.device_peak, plan.peak_bytes);
        ql_ids_free(&a.ids);
        ql_generator_free(g);
        ql_model_close(m);
        assert_int_equal(engine_counts(dev).device_bytes, 0);
        engine_close(dev);
    }
}

/* ---------------------------------------------------------------- refusals */

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = recorded_fixture("tiny-bart"), *llama = recorded_fixture("tiny-llama");
    ql_model *roberta = recorded_fixture("tiny-roberta");
    ql_generator_opts o = {.compute = QL_F32, .context = 10, .sequences = 2, .source = 0};
    ql_memory_report r;
    FAILS(ql_generator_plan_for(m, &o, dev, &r), QL_ERR_INVALID, "source text of 0 tokens");
    o.source = 65;
    FAILS(ql_generator_plan_for(m, &o, dev, &r), QL_ERR_INVALID, "takes 1 to 64");
    FAILS(ql_generator_plan_for(llama, &o, dev, &r), QL_ERR_INVALID, "no encoder");
    FAILS(ql_generator_plan_for(roberta, &o, dev, &r), QL_ERR_UNSUPPORTED, "classifier");
    o.source = 8;
    o.sequences = 0;
    FAILS(ql_generator_plan_for(m, &o, dev, &r), QL_ERR_INVALID, "0 sequences");
    o.sequences = 2;
    ql_generator *g = NULL;
    OK(ql_generator_create_for(m, &o, dev, &g));

    const int32_t ids[9] = {3, 4, 5, 6, 7, 8, 9, 10, 11}, none[2] = {0, 1};
    const float *logits = NULL;
    FAILS(ql_generator_feed(g, ids, 1, &logits), QL_ERR_INVALID, "none was given");
    FAILS(ql_generator_set_source(g, ids, 9), QL_ERR_INVALID, "room for 1 to 8");
    const int32_t beyond[2] = {3, 256};
    FAILS(ql_generator_set_source(g, beyond, 2), QL_ERR_INVALID, "vocabulary of 256");
    OK(ql_generator_set_source(g, ids, 8));
    FAILS(ql_generator_step(g, 3, none, ids, &logits), QL_ERR_INVALID, "room for 1 to 2");
    OK(ql_generator_feed(g, ids, 1, &logits));
    FAILS(ql_generator_step(g, 2, none, ids, &logits), QL_ERR_INVALID, "number 1 of 1");
    const int32_t both[2] = {0, 0};
    OK(ql_generator_step(g, 2, both, ids, &logits));
    FAILS(ql_generator_feed(g, ids, 1, &logits), QL_ERR_INVALID, "2 are live");

    ql_answer a;
    ql_search_opts s = ql_search_defaults();
    s.beams = 3;
    FAILS(ql_search(g, &s, ids, 1, &a), QL_ERR_INVALID, "room for 2");
    s.beams = 2;
    s.sampling.temperature = 1;
    FAILS(ql_search(g, &s, ids, 1, &a), QL_ERR_UNSUPPORTED, "not sampled");
    s.sampling.temperature = 0;
    s.rules.forced_eos = 256;
    FAILS(ql_search(g, &s, ids, 1, &a), QL_ERR_INVALID, "token id 256");
    s.rules.forced_eos = -1;
    FAILS(ql_search(g, &s, ids, 0, &a), QL_ERR_INVALID, "prompt of 0 tokens");
    int32_t ends[200];
    for (int32_t i = 0; i < 200; i++) ends[i] = i;
    s.stop = ends;
    s.n_stop = 200;
    FAILS(ql_search(g, &s, ids, 1, &a), QL_ERR_INVALID, "too many for a vocabulary of 256");
    ql_generator_free(g);
    ql_model_close(m);
    ql_model_close(llama);
    ql_model_close(roberta);
    engine_close(dev);
}

/* Rules that leave no token: with one token twice forbidden and all others ends too early. */
static void rules_that_forbid_everything_are_refused(void **state) {
    (void)state;
    ql_device *dev = engine_device(1);
    ql_model *m = recorded_fixture("tiny-mbart");
    ql_generator *g = generator(m, dev, 2);
    int32_t ends[96];
    for (int32_t i = 0; i < 96; i++) ends[i] = i;
    question q = random_question(m, 1);
    ql_search_opts o = ql_search_defaults();
    ql_answer a;
    o.rules.min_length = 5;
    o.stop = ends;
    o.n_stop = 96;
    OK(ql_generator_set_source(g, q.source, q.n_source));
    FAILS(ql_search(g, &o, q.prompt, q.n, &a), QL_ERR_INVALID, "every one is forbidden");
    ql_generator_free(g);
    ql_model_close(m);
    engine_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoder_decoders_find_the_recorded_tokens),
        cmocka_unit_test(decoders_find_the_recorded_beams),
        cmocka_unit_test(searches_find_what_transformers_finds),
        cmocka_unit_test(live_sequences_are_independent),
        cmocka_unit_test(many_beams_find_the_best_of_all),
        cmocka_unit_test(drawn_answers_depend_on_the_draws),
        cmocka_unit_test(memory_is_as_planned_and_searches_allocate_nothing),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(rules_that_forbid_everything_are_refused),
    };
    return cmocka_run_group_tests_name("models_search", tests, NULL, NULL);
}
