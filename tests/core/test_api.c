/*
 * test_api.c - the library for programs (qlora/qlora.h) does what core does: the same bytes, the
 * same ids, exact memory, and everything given back.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/json.h"
#include "tests/core/api_fixture.h"

/* ------------------------------------------------------------------ life */

static void handles_may_be_given_back_in_any_order(void **state) {
    (void)state;
    size_t live = ql_hostmem_live();
    for (int order = 0; order < 4; order++) {
        qlora_session *s = api_session();
        qlora_model *m = api_model(s, TINY, 4, 2);
        qlora_data *d = api_data(m, ROWS);
        qlora_trainer *t = api_trainer(m, d);
        if (order & 1) qlora_session_close(s);
        if (order & 2) qlora_model_close(m);
        qlora_data_free(d);
        api_steps(t, 1);
        qlora_trainer_free(t);
        if (!(order & 2)) qlora_model_close(m);
        if (!(order & 1)) qlora_session_close(s);
    }
    assert_int_equal(ql_hostmem_live(), live);
    qlora_session_close(NULL);
    qlora_model_close(NULL);
    qlora_data_free(NULL);
    qlora_trainer_free(NULL);
    qlora_free(NULL);
    qlora_cancel(NULL);
}

static void everything_on_the_device_is_given_back(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 2);
    qlora_data *d = api_data(m, ROWS);
    ql_memory_report plan;
    qlora_train_opts o = api_train_opts();
    uint64_t now = 1, peak = 1;
    OK(qlora_plan(m, d, &o, &plan));
    OK(qlora_session_memory(s, &now, &peak));
    assert_int_equal(peak, 0); /* planning touches no device memory */
    qlora_trainer *t = api_trainer(m, d);
    api_steps(t, 2);
    OK(qlora_session_memory(s, &now, &peak));
    assert_int_equal(peak, plan.peak_bytes);
    assert_int_equal(now, plan.peak_bytes);
    assert_memory_equal(qlora_trainer_memory(t), &plan, sizeof plan);
    qlora_trainer_free(t);
    qlora_model_close(m);
    OK(qlora_session_memory(s, &now, NULL));
    assert_int_equal(now, 0);
    qlora_data_free(d);
    qlora_session_close(s);
}

static void devices_and_models_describe_themselves(void **state) {
    (void)state;
    qlora_device_info dev;
    assert_true(qlora_device_count() >= 1);
    OK(qlora_device_describe(0, &dev));
    assert_string_equal(dev.id, "cpu:0");
    assert_true(strlen(dev.name) > 0 && dev.memory_bytes > 0);
    FAILS(qlora_device_describe(qlora_device_count(), &dev), QL_ERR_NOT_FOUND, "there are");
    FAILS(qlora_device_describe(-1, &dev), QL_ERR_NOT_FOUND, "-1");
    assert_non_null(strstr(qlora_build(), qlora_version()));

    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 2);
    qlora_model_info info;
    OK(qlora_model_describe(m, &info));
    assert_string_equal(info.family, "llama");
    assert_int_equal(info.vocab, VOCAB);
    assert_true(info.layers > 0 && info.hidden > 0 && info.max_positions > 0);
    assert_true(info.trainable > 0 && info.parameters > info.trainable);
    qlora_model_close(m);
    qlora_session_close(s);
}

/* ------------------------------------------------------------------ equal to core */

static void the_same_seed_gives_the_adapter_bytes_of_core(void **state) {
    (void)state;
    const char *core = temp_path("core"), *api = temp_path("api");
    api_core_run(core, 6);
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 4);
    qlora_data *d = api_data(m, ROWS);
    qlora_trainer *t = api_trainer(m, d);
    assert_int_equal(qlora_trainer_total(t), 6);
    api_steps(t, 6);
    FAILS(qlora_trainer_step(t, NULL), QL_ERR_INVALID, "all 6 steps");
    OK(qlora_adapter_save(m, api));
    api_same_adapter(core, api);
    api_same_file(core, api, "adapter_config.json");
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void two_models_at_once_do_not_meet(void **state) {
    (void)state;
    const char *alone = temp_path("alone"), *a_dir = temp_path("a"), *b_dir = temp_path("b");
    api_core_run(alone, 4);
    qlora_session *s = api_session();
    qlora_model *a = api_model(s, TINY, 4, 4), *b = api_model(s, MODELS "tiny-mistral", 16, 2);
    qlora_model *c = api_model(s, TINY, 4, 4);
    qlora_data *da = api_data(a, ROWS), *db = api_data(b, ROWS);
    qlora_trainer *ta = api_trainer(a, da), *tb = api_trainer(b, db), *tc = api_trainer(c, da);
    for (int i = 0; i < 4; i++) {
        api_steps(ta, 1);
        api_steps(tb, 1);
        api_steps(tc, 1);
    }
    OK(qlora_adapter_save(a, a_dir));
    OK(qlora_adapter_save(c, b_dir));
    api_same_adapter(alone, a_dir);
    api_same_adapter(alone, b_dir);
    qlora_session_close(s);
    qlora_trainer_free(tb);
    qlora_trainer_free(ta);
    qlora_trainer_free(tc);
    qlora_data_free(da);
    qlora_data_free(db);
    qlora_model_close(a);
    qlora_model_close(b);
    qlora_model_close(c);
}

static void *train_in_a_thread(void *arg) {
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 4);
    qlora_data *d = api_data(m, ROWS);
    qlora_trainer *t = api_trainer(m, d);
    api_steps(t, 4);
    OK(qlora_adapter_save(m, arg));
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
    return NULL;
}

static void sessions_work_in_different_threads(void **state) {
    (void)state;
    const char *alone = temp_path("alone");
    char *dir[2] = {(char *)(uintptr_t)temp_path("t0"), (char *)(uintptr_t)temp_path("t1")};
    pthread_t thread[2];
    api_core_run(alone, 4);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, train_in_a_thread, dir[i]), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 2; i++) api_same_adapter(alone, dir[i]);
}

static void a_resumed_run_has_the_bytes_of_one_that_did_not_stop(void **state) {
    (void)state;
    const char *whole = temp_path("whole"), *point = temp_path("point"), *rest = temp_path("rest");
    api_core_run(whole, 6);
    qlora_session *s = api_session();
    for (int part = 0; part < 2; part++) {
        qlora_model *m = api_model(s, TINY, 4, 4);
        qlora_data *d = api_data(m, ROWS);
        qlora_trainer *t = api_trainer(m, d);
        if (part == 0) {
            api_steps(t, 3);
            OK(qlora_trainer_save(t, point));
        } else {
            OK(qlora_trainer_resume(t, point));
            assert_int_equal(qlora_trainer_done(t), 3);
            api_steps(t, 3);
            OK(qlora_adapter_save(m, rest));
        }
        qlora_trainer_free(t);
        qlora_data_free(d);
        qlora_model_close(m);
    }
    api_same_adapter(whole, rest);
    qlora_session_close(s);
}

/* ------------------------------------------------------------------ values */

static void values_survive_trainers_and_the_device(void **state) {
    (void)state;
    const char *first = temp_path("first"), *again = temp_path("again");
    const int32_t prompt[] = {1, 17, 99};
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 4);
    qlora_data *d = api_data(m, ROWS);
    qlora_trainer *t = api_trainer(m, d);
    int32_t *before, *after;
    size_t n, k;
    api_steps(t, 3);
    OK(qlora_adapter_save(m, first));
    OK(qlora_generate(m, prompt, 3, NULL, &before, &n));
    qlora_trainer_free(t);
    OK(qlora_adapter_save(m, again)); /* without a trainer */
    api_same_adapter(first, again);
    OK(qlora_generate(m, prompt, 3, NULL, &after, &k));
    assert_int_equal(n, k);
    assert_memory_equal(before, after, n * sizeof *before);
    t = api_trainer(m, d); /* goes on from the values */
    OK(qlora_adapter_save(m, again));
    api_same_adapter(first, again);
    qlora_trainer_free(t);
    qlora_free(before);
    qlora_free(after);
    qlora_model_close(m);

    m = api_model(s, TINY, 4, 0); /* loaded, the same values, whatever comes first */
    OK(qlora_adapter_load(m, first));
    t = api_trainer(m, d);
    OK(qlora_adapter_save(m, again));
    api_same_adapter(first, again);
    qlora_trainer_free(t);
    qlora_model_close(m);
    qlora_data_free(d);
    qlora_session_close(s);
}

static void a_folder_that_does_not_fit_changes_nothing(void **state) {
    (void)state;
    const char *first = temp_path("mine"), *again = temp_path("still_mine");
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 4);
    qlora_data *d = api_data(m, ROWS);
    qlora_trainer *t = api_trainer(m, d);
    api_steps(t, 1);
    OK(qlora_adapter_save(m, first));
    FAILS(qlora_adapter_load(m, TINY "/adapter"), QL_ERR_SHAPE, "adapter"); /* another rank */
    OK(qlora_adapter_save(m, again));
    api_same_adapter(first, again);
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

static double loss_of(qlora_model *m, qlora_data *d) {
    qlora_train_opts o = api_train_opts();
    qlora_trainer *t = NULL;
    qlora_evaluation e;
    OK(qlora_trainer_create(m, d, &o, &t));
    OK(qlora_trainer_evaluate(t, d, &e));
    qlora_data_info info;
    OK(qlora_data_describe(d, &info));
    assert_int_equal(e.targets, info.supervised);
    qlora_trainer_free(t);
    return e.loss;
}

static void a_merged_model_has_the_loss_of_model_and_adapter(void **state) {
    (void)state;
    const char *merged = temp_path("merged");
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 16, 0), *base = api_model(s, TINY, 16, 2);
    OK(qlora_adapter_load(m, TINY "/adapter"));
    qlora_data *d = api_data(m, ROWS);
    double with = loss_of(m, d), without = loss_of(base, d);
    qlora_merge_opts o = qlora_merge_defaults();
    o.dtype = "f32";
    OK(qlora_merge(m, merged, &o));
    qlora_model *whole = api_model(s, merged, 16, 2); /* new adapters add nothing: B = 0 */
    double loss = loss_of(whole, d);
    assert_true(fabs(loss - with) < 1e-5 * with); /* one rounding per merged weight */
    assert_true(fabs(without - with) > 1e-3);
    qlora_model_close(whole);
    qlora_model_close(base);
    qlora_model_close(m);
    qlora_data_free(d);
    qlora_session_close(s);
}

static void all_weights_can_be_trained_and_written(void **state) {
    (void)state;
    const char *dir = temp_path("full");
    qlora_session *s = api_session();
    qlora_model_opts o = qlora_model_defaults();
    o.full = true;
    qlora_model *m = NULL;
    OK(qlora_model_open(s, TINY, &o, &m));
    FAILS(qlora_lora_attach(m, NULL), QL_ERR_INVALID, "all weights");
    qlora_data *d = api_data(m, ROWS);
    double before = loss_of(m, d);
    qlora_trainer *t = api_trainer(m, d);
    api_steps(t, 6);
    qlora_trainer_free(t);
    FAILS(qlora_adapter_save(m, dir), QL_ERR_INVALID, "no adapter");
    qlora_merge_opts merge = qlora_merge_defaults();
    merge.dtype = "f32";
    OK(qlora_merge(m, dir, &merge));
    double after = loss_of(m, d); /* a new trainer keeps the weights */
    assert_true(after < before);
    qlora_model *written = api_model(s, dir, 16, 1);
    assert_true(fabs(loss_of(written, d) - after) < 1e-6 * after);
    qlora_model_close(written);
    qlora_model_close(m);
    qlora_data_free(d);
    qlora_session_close(s);
}

/* ------------------------------------------------------------------ generation */

static int32_t *ids_of(const json_t *list, size_t *n) {
    *n = json_array_size(list);
    int32_t *ids = calloc(*n, sizeof *ids);
    for (size_t i = 0; i < *n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static void greedy_generation_gives_the_ids_of_transformers(void **state) {
    (void)state;
    json_t *oracle = NULL;
    OK(ql_json_read(QL_TEST_DATA "/generate/tiny-llama.json", &oracle));
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 16, 0);
    size_t cases = json_array_size(json_object_get(oracle, "rows"));
    assert_true(cases > 0);
    for (size_t i = 0; i < cases; i++) {
        const json_t *c = json_array_get(json_object_get(oracle, "rows"), i);
        size_t n, want_n, got_n;
        int32_t *prompt = ids_of(json_object_get(c, "prompt"), &n);
        int32_t *want = ids_of(json_object_get(c, "new"), &want_n), *got = NULL;
        qlora_generate_opts o = qlora_generate_defaults();
        o.max_new_tokens = (int64_t)want_n;
        OK(qlora_generate(m, prompt, n, &o, &got, &got_n));
        assert_int_equal(got_n, want_n);
        assert_memory_equal(got, want, want_n * sizeof *want);
        qlora_free(got);
        free(prompt);
        free(want);
    }
    json_decref(oracle);
    qlora_model_close(m);
    qlora_session_close(s);
}

typedef struct seen {
    int32_t ids[64];
    size_t n, most;
} seen;

static bool see(void *user, int32_t id) {
    seen *v = user;
    v->ids[v->n++] = id;
    return v->n < v->most;
}

static void generation_stops_where_it_is_told(void **state) {
    (void)state;
    const int32_t prompt[] = {5, 6, 7};
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 0);
    qlora_generate_opts o = qlora_generate_defaults();
    int32_t *all = NULL, *some = NULL;
    size_t n, k;
    o.max_new_tokens = 12;
    o.temperature = 1.0;
    o.seed = 3;
    o.ignore_eos = true;
    OK(qlora_generate(m, prompt, 3, &o, &all, &n));
    assert_int_equal(n, 12);
    seen v = {.most = 5};
    o.on_token = see;
    o.user = &v;
    OK(qlora_generate(m, prompt, 3, &o, &some, &k)); /* the same seed, cut by the callback */
    assert_int_equal(k, 5);
    assert_memory_equal(all, some, k * sizeof *all);
    assert_memory_equal(all, v.ids, k * sizeof *all);
    qlora_free(some);
    o.on_token = NULL;
    o.stop = &all[7];
    o.n_stop = 1;
    OK(qlora_generate(m, prompt, 3, &o, &some, &k));
    assert_true(k <= 8 && some[k - 1] == all[7]);
    qlora_free(some);
    o.stop = NULL;
    o.n_stop = 0;
    o.max_new_tokens = 1000; /* the positions of the model end it */
    OK(qlora_generate(m, prompt, 3, &o, &some, &k));
    qlora_model_info info;
    OK(qlora_model_describe(m, &info));
    assert_int_equal(k, (size_t)info.max_positions - 3 + 1);
    qlora_free(some);
    qlora_free(all);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void text_goes_in_and_comes_out(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 0);
    int32_t *ids;
    size_t n;
    char *text;
    OK(qlora_encode(m, "Hi", true, &ids, &n)); /* <s>, then bytes + 4 */
    assert_int_equal(n, 3);
    assert_true(ids[0] == 0 && ids[1] == 'H' + 4 && ids[2] == 'i' + 4);
    OK(qlora_decode(m, ids, n, false, &text));
    assert_string_equal(text, "Hi");
    qlora_free(text);
    OK(qlora_decode(m, ids, n, true, &text));
    assert_string_equal(text, "<s>Hi");
    qlora_free(text);
    qlora_free(ids);
    OK(qlora_decode(m, NULL, 0, true, &text));
    assert_string_equal(text, "");
    qlora_free(text);
    qlora_generate_opts o = qlora_generate_defaults();
    o.max_new_tokens = 8;
    OK(qlora_generate_text(m, "Hi", &o, &text));
    qlora_free(text);
    o.chat_template = "chatml";
    OK(qlora_generate_text(m, "Hi", &o, &text));
    qlora_free(text);
    o.chat_template = "no-such";
    FAILS(qlora_generate_text(m, "Hi", &o, &text), QL_ERR_INVALID, "chatml");
    o.chat_template = NULL;
    o.system = "Be brief.";
    FAILS(qlora_generate_text(m, "Hi", &o, &text), QL_ERR_INVALID, "template");
    qlora_model_close(m);
    qlora_session_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_may_be_given_back_in_any_order),
        cmocka_unit_test(everything_on_the_device_is_given_back),
        cmocka_unit_test(devices_and_models_describe_themselves),
        cmocka_unit_test(the_same_seed_gives_the_adapter_bytes_of_core),
        cmocka_unit_test(two_models_at_once_do_not_meet),
        cmocka_unit_test(sessions_work_in_different_threads),
        cmocka_unit_test(a_resumed_run_has_the_bytes_of_one_that_did_not_stop),
        cmocka_unit_test(values_survive_trainers_and_the_device),
        cmocka_unit_test(a_folder_that_does_not_fit_changes_nothing),
        cmocka_unit_test(a_merged_model_has_the_loss_of_model_and_adapter),
        cmocka_unit_test(all_weights_can_be_trained_and_written),
        cmocka_unit_test(greedy_generation_gives_the_ids_of_transformers),
        cmocka_unit_test(generation_stops_where_it_is_told),
        cmocka_unit_test(text_goes_in_and_comes_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
