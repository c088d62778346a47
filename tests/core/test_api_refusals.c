/*
 * test_api_refusals.c - what the library for programs refuses, in which words, and that refused,
 * cancelled and failed calls leave nothing behind.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tests/core/api_fixture.h"

/* ------------------------------------------------------------------ data */

static void arrays_lines_and_text_make_rows(void **state) {
    (void)state;
    const char *lines = "{\"input_ids\": [1, 2, 3], \"labels\": [-100, 2, 3]}\n"
                        "{\"input_ids\": [4, 5]}\n";
    const int32_t a[] = {1, 2, 3}, la[] = {-100, 2, 3}, b[] = {4, 5};
    const qlora_row rows[] = {{a, la, 3}, {b, NULL, 2}};
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 0);
    qlora_data *x, *y, *z;
    qlora_data_info i, j;
    qlora_data_opts o = qlora_data_defaults();
    OK(qlora_data_from_rows(m, rows, 2, NULL, &x));
    OK(qlora_data_parse(m, lines, strlen(lines), NULL, &y));
    OK(qlora_data_describe(x, &i));
    OK(qlora_data_describe(y, &j));
    assert_memory_equal(&i, &j, sizeof i);
    assert_true(i.rows == 2 && i.tokens == 5 && i.supervised == 3 && i.longest == 3);
    o.chat_template = "chatml";
    const char *chat = "{\"prompt\": \"a?\", \"completion\": \"b\"}";
    OK(qlora_data_parse(m, chat, strlen(chat), &o, &z));
    OK(qlora_data_describe(z, &j));
    assert_true(j.rows == 1 && j.supervised > 0 && j.supervised < j.tokens);
    qlora_data_free(x);
    qlora_data_free(y);
    qlora_data_free(z);
    const char *path = temp_put("words.txt", "some words to learn", 19);
    o = qlora_data_defaults();
    o.max_len = 8;
    OK(qlora_data_load(m, path, &o, &z));
    OK(qlora_data_describe(z, &j)); /* <s>, 19 bytes, </s> in rows of 8 */
    assert_true(j.rows == 3 && j.tokens == 21 && j.longest == 8);
    qlora_data_free(z);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void bad_rows_are_refused_by_number(void **state) {
    (void)state;
    const int32_t good[] = {1, 2, 3}, mute[] = {-100, -100, -100}, wild[] = {1, VOCAB, 3};
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 0);
    qlora_data *d = NULL;
    qlora_row rows[2] = {{good, NULL, 3}, {wild, NULL, 3}};
    FAILS(qlora_data_from_rows(m, rows, 2, NULL, &d), QL_ERR_FORMAT, "row 2");
    rows[1] = (qlora_row){good, mute, 3};
    FAILS(qlora_data_from_rows(m, rows, 2, NULL, &d), QL_ERR_FORMAT, "row 2");
    rows[1] = (qlora_row){good, NULL, 0};
    FAILS(qlora_data_from_rows(m, rows, 2, NULL, &d), QL_ERR_INVALID, "row 2");
    FAILS(qlora_data_from_rows(m, rows, 0, NULL, &d), QL_ERR_INVALID, "none");
    FAILS(qlora_data_parse(m, "{\"x\": 1}", 8, NULL, &d), QL_ERR_FORMAT, "row 1");
    FAILS(qlora_data_load(m, temp_path("absent.jsonl"), NULL, &d), QL_ERR_NOT_FOUND, "absent");
    qlora_data_opts o = qlora_data_defaults();
    o.format = "csv";
    FAILS(qlora_data_parse(m, "{}", 2, &o, &d), QL_ERR_INVALID, "csv");
    o = qlora_data_defaults();
    o.truncation = "middle";
    FAILS(qlora_data_parse(m, "{}", 2, &o, &d), QL_ERR_INVALID, "middle");
    o = qlora_data_defaults();
    o.max_len = 2;
    FAILS(qlora_data_from_rows(m, rows, 1, &o, &d), QL_ERR_FORMAT, "3 tokens");
    assert_null(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

/* ------------------------------------------------------------------ refusals */

static void null_arguments_are_named(void **state) {
    (void)state;
    qlora_session *s = api_session(), *none = NULL;
    qlora_model *m = api_model(s, TINY, 4, 2), *made = NULL;
    qlora_data *d = api_data(m, 2);
    qlora_trainer *t = NULL;
    ql_memory_report r;
    qlora_evaluation e;
    int32_t *ids;
    size_t n;
    char *text;
    const int32_t prompt = 1;
    const struct {
        ql_status status;
        const char *name;
    } calls[] = {{qlora_session_open(NULL, NULL), "out"},
                 {qlora_session_memory(NULL, NULL, NULL), "'s'"},
                 {qlora_model_open(none, TINY, NULL, &made), "'s'"},
                 {qlora_model_open(s, NULL, NULL, &made), "path"},
                 {qlora_model_open(s, TINY, NULL, NULL), "out"},
                 {qlora_model_describe(NULL, NULL), "'m'"},
                 {qlora_lora_attach(NULL, NULL), "'m'"},
                 {qlora_adapter_load(m, NULL), "dir"},
                 {qlora_adapter_save(NULL, "x"), "'m'"},
                 {qlora_data_load(m, NULL, NULL, &d), "path"},
                 {qlora_data_parse(m, NULL, 0, NULL, &d), "text"},
                 {qlora_data_from_rows(m, NULL, 1, NULL, &d), "rows"},
                 {qlora_data_describe(d, NULL), "out"},
                 {qlora_plan(m, NULL, NULL, &r), "'d'"},
                 {qlora_plan(m, d, NULL, NULL), "out"},
                 {qlora_trainer_create(m, d, NULL, NULL), "out"},
                 {qlora_trainer_step(t, NULL), "'t'"},
                 {qlora_trainer_evaluate(t, d, &e), "'t'"},
                 {qlora_trainer_save(t, "x"), "'t'"},
                 {qlora_trainer_resume(t, "x"), "'t'"},
                 {qlora_encode(m, NULL, false, &ids, &n), "text"},
                 {qlora_decode(m, NULL, 1, false, &text), "ids"},
                 {qlora_generate(m, NULL, 1, NULL, &ids, &n), "prompt"},
                 {qlora_generate(m, &prompt, 0, NULL, &ids, &n), "prompt"},
                 {qlora_generate_text(m, NULL, NULL, &text), "prompt"},
                 {qlora_merge(m, NULL, NULL), "dir"},
                 {qlora_quantize(s, NULL, "x", NULL, NULL), "path"},
                 {qlora_device_describe(0, NULL), "out"}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].status != QL_ERR_INVALID) fail_msg("%zu: %s", i, calls[i].name);
    FAILS(qlora_model_open(s, NULL, NULL, &made), QL_ERR_INVALID, "qlora_model_open: 'path'");
    assert_int_equal(qlora_trainer_total(NULL), 0);
    assert_int_equal(qlora_trainer_done(NULL), 0);
    assert_null(qlora_trainer_memory(NULL));
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void wrong_files_are_refused_and_leave_no_trace(void **state) {
    (void)state;
    size_t live = ql_hostmem_live();
    qlora_session_opts so = qlora_session_defaults();
    qlora_session *s = NULL;
    so.device = "abacus:3";
    FAILS(qlora_session_open(&so, &s), QL_ERR_NOT_FOUND, "cpu");
    so.device = "cpu";
    so.threads = -1;
    FAILS(qlora_session_open(&so, &s), QL_ERR_INVALID, "threads");
    assert_null(s);
    s = api_session();
    qlora_model *m = NULL;
    assert_true(qlora_model_open(s, temp_path("nothing"), NULL, &m) != QL_OK);
    assert_non_null(strstr(ql_last_error(), "nothing"));
    assert_true(qlora_model_open(s, temp_put("x.gguf", "GGUX", 4), NULL, &m) != QL_OK);
    assert_null(m);
    qlora_model_opts o = qlora_model_defaults();
    o.quant_type = "nf5";
    FAILS(qlora_model_open(s, TINY, &o, &m), QL_ERR_INVALID, "nf5");
    o.quant_type = "nf4";
    o.bits = 8;
    FAILS(qlora_model_open(s, TINY, &o, &m), QL_ERR_INVALID, "contradicts");
    o.bits = 16;
    FAILS(qlora_model_open(s, TINY, &o, &m), QL_ERR_INVALID, "contradicts");
    o = qlora_model_defaults();
    o.bits = 5;
    FAILS(qlora_model_open(s, TINY, &o, &m), QL_ERR_INVALID, "bits is 5");
    OK(qlora_model_open(s, TINY, NULL, &m)); /* this folder has no tokenizer */
    int32_t *ids;
    size_t n;
    assert_true(qlora_encode(m, "a", false, &ids, &n) != QL_OK);
    FAILS(qlora_adapter_load(m, temp_folder()), QL_ERR_NOT_FOUND, "adapter_model");
    FAILS(qlora_adapter_load(m, TINY "/adapter-loftq"), QL_ERR_UNSUPPORTED, "loftq");
    qlora_quantized q;
    qlora_quantize_opts qo = qlora_quantize_defaults();
    qo.block = 0;
    FAILS(qlora_quantize(s, TINY, temp_path("q0"), &qo, &q), QL_ERR_INVALID, "block");
    assert_false(ql_dir_exists(temp_path("q0")));
    qlora_model_close(m);
    qlora_session_close(s);
    assert_int_equal(ql_hostmem_live(), live);
}

static void calls_in_the_wrong_order_are_refused(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 0);
    qlora_data *d = api_data(m, ROWS);
    qlora_train_opts o = api_train_opts();
    qlora_trainer *t = NULL, *second = NULL;
    ql_memory_report r;
    qlora_lora_opts l = qlora_lora_defaults();
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_INVALID, "nothing to train");
    FAILS(qlora_plan(m, d, &o, &r), QL_ERR_INVALID, "nothing to train");
    FAILS(qlora_adapter_save(m, temp_path("never")), QL_ERR_INVALID, "no adapter");
    l.targets = "no_such_proj";
    FAILS(qlora_lora_attach(m, &l), QL_ERR_INVALID, "matches no linear layer");
    l.targets = "lm_head,[";
    FAILS(qlora_lora_attach(m, &l), QL_ERR_INVALID, "lora_target_modules");
    l = qlora_lora_defaults();
    l.r = 0;
    FAILS(qlora_lora_attach(m, &l), QL_ERR_INVALID, "r is 0");
    l.r = 2;
    OK(qlora_lora_attach(m, &l)); /* the refused ones left nothing behind */
    FAILS(qlora_lora_attach(m, &l), QL_ERR_INVALID, "already");
    FAILS(qlora_adapter_save(m, temp_path("never")), QL_ERR_INVALID, "no values");
    FAILS(qlora_merge(m, temp_path("never"), NULL), QL_ERR_INVALID, "no values");
    o.schedule = "zigzag";
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_INVALID, "zigzag");
    o = api_train_opts();
    o.compute = "fp17";
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_INVALID, "fp17");
    o = api_train_opts();
    o.max_len = 5;
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_INVALID, "longest");
    o = api_train_opts();
    o.batch = 0;
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_INVALID, "batch");
    assert_null(t);
    o = api_train_opts();
    o.evaluate = false;
    OK(qlora_trainer_create(m, d, &o, &t));
    FAILS(qlora_trainer_create(m, d, &o, &second), QL_ERR_INVALID, "in use");
    qlora_evaluation e;
    FAILS(qlora_trainer_evaluate(t, d, &e), QL_ERR_INVALID, "without evaluation");
    assert_true(qlora_trainer_resume(t, temp_path("no_point")) != QL_OK);
    api_steps(t, 1);
    assert_false(ql_dir_exists(temp_path("never")));
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void what_does_not_fit_is_refused_before_it_begins(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 2);
    qlora_data *d = api_data(m, ROWS);
    qlora_train_opts o = api_train_opts();
    ql_memory_report plan;
    OK(qlora_plan(m, d, &o, &plan));
    qlora_model_close(m);
    qlora_session_close(s);
    for (int less = 0; less < 2; less++) {
        uint64_t peak = 1;
        s = api_session_with(plan.peak_bytes - (uint64_t)less, NULL, NULL);
        m = api_model(s, TINY, 4, 2);
        qlora_trainer *t = NULL;
        if (less) {
            FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_NOMEM_DEV, "memory_limit");
            OK(qlora_session_memory(s, NULL, &peak));
            assert_int_equal(peak, 0);
        } else {
            OK(qlora_trainer_create(m, d, &o, &t));
            api_steps(t, 1);
            qlora_trainer_free(t);
        }
        qlora_model_close(m);
        qlora_session_close(s);
    }
    qlora_data_free(d);
}

static void options_of_other_versions_are_understood(void **state) {
    (void)state;
    qlora_session *s = NULL;
    qlora_session_opts o = qlora_session_defaults();
    o.device = "cpu";
    o.size = offsetof(qlora_session_opts, memory_limit); /* an older header */
    o.memory_limit = 1;                                  /* not part of it */
    OK(qlora_session_open(&o, &s));
    qlora_session_close(s);
    s = NULL;
    struct {
        qlora_session_opts o;
        uint64_t later;
    } longer; /* a newer header */
    qlora_session_opts_init(&longer.o, sizeof longer);
    assert_int_equal(longer.o.size, sizeof longer);
    longer.o.device = "cpu";
    OK(qlora_session_open(&longer.o, &s));
    qlora_session_close(s);
    s = NULL;
    longer.later = 1;
    FAILS(qlora_session_open(&longer.o, &s), QL_ERR_UNSUPPORTED, "newer");
    memset(&o, 0, sizeof o);
    FAILS(qlora_session_open(&o, &s), QL_ERR_INVALID, "qlora_session_defaults");
    assert_null(s);
    unsigned char small[2] = {7, 7};
    qlora_train_opts_init((void *)small, sizeof small); /* no room for the size itself */
    assert_int_equal(small[0], 7);
}

/* ------------------------------------------------------------------ cancelling */

typedef struct stopper {
    const char *what;
    int64_t at;
    int calls;
} stopper;

static bool stop_at(void *user, const char *what, int64_t done, int64_t total) {
    stopper *s = user;
    assert_true(done >= 0 && done <= total);
    s->calls++;
    return !s->what || strcmp(s->what, what) != 0 || done != s->at;
}

static void cancelled_files_leave_nothing_behind(void **state) {
    (void)state;
    const char *q = temp_path("cancelled_q"), *merged = temp_path("cancelled_m");
    stopper stop = {.what = "quantize", .at = 1};
    qlora_session *s = api_session_with(0, stop_at, &stop);
    qlora_quantized r = {.tensors = -1};
    FAILS(qlora_quantize(s, TINY, q, NULL, &r), QL_ERR_CANCELLED, "quantize");
    assert_false(ql_dir_exists(q));
    assert_int_equal(r.tensors, -1);
    stop.what = NULL;
    OK(qlora_quantize(s, TINY, q, NULL, &r)); /* the request was used up */
    assert_true(r.quantized > 0 && r.bytes_out < r.bytes_in && r.rel_error > 0);
    qlora_model *m = api_model(s, q, 0, 0);
    OK(qlora_adapter_load(m, TINY "/adapter"));
    stop = (stopper){.what = "merge", .at = 0};
    FAILS(qlora_merge(m, merged, NULL), QL_ERR_CANCELLED, "merge");
    assert_false(ql_dir_exists(merged));
    stop.what = NULL;
    OK(qlora_merge(m, merged, NULL));
    assert_true(stop.calls > 3);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void cancelled_calls_leave_model_and_trainer_as_they_were(void **state) {
    (void)state;
    const char *core = temp_path("core"), *api = temp_path("api");
    const int32_t prompt[] = {5, 6, 7};
    api_core_run(core, 6);
    stopper stop = {.what = "load", .at = 0};
    qlora_session *s = api_session_with(0, stop_at, &stop);
    qlora_model *m = api_model(s, TINY, 4, 4);
    qlora_data *d = api_data(m, ROWS);
    qlora_train_opts o = api_train_opts();
    qlora_trainer *t = NULL;
    uint64_t now = 1;
    FAILS(qlora_trainer_create(m, d, &o, &t), QL_ERR_CANCELLED, "load");
    assert_null(t);
    OK(qlora_session_memory(s, &now, NULL));
    assert_int_equal(now, 0);
    stop.what = NULL;
    t = api_trainer(m, d);
    api_steps(t, 3);
    qlora_cancel(s);
    FAILS(qlora_trainer_step(t, NULL), QL_ERR_CANCELLED, "train");
    stop = (stopper){.what = "evaluate", .at = 0};
    qlora_evaluation e;
    FAILS(qlora_trainer_evaluate(t, d, &e), QL_ERR_CANCELLED, "evaluate");
    stop = (stopper){.what = "generate", .at = 2};
    int32_t *ids = NULL;
    size_t n = 0;
    FAILS(qlora_generate(m, prompt, 3, NULL, &ids, &n), QL_ERR_CANCELLED, "generate");
    assert_null(ids);
    stop.what = NULL;
    OK(qlora_generate(m, prompt, 3, NULL, &ids, &n));
    qlora_free(ids);
    api_steps(t, 3);
    OK(qlora_adapter_save(m, api));
    api_same_adapter(core, api);
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void *cancel_it(void *s) {
    qlora_cancel(s);
    return NULL;
}

static void another_thread_may_cancel(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, TINY, 4, 2);
    qlora_data *d = api_data(m, ROWS);
    qlora_trainer *t = api_trainer(m, d);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_it, s), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    FAILS(qlora_trainer_step(t, NULL), QL_ERR_CANCELLED, "cancelled");
    api_steps(t, 1);
    qlora_trainer_free(t);
    qlora_data_free(d);
    qlora_model_close(m);
    qlora_session_close(s);
}

/* ------------------------------------------------------------------ faults */

/* Out of host memory at any point: a status, no leak. */
static void running_out_of_host_memory_is_survived(void **state) {
    (void)state;
    size_t live = ql_hostmem_live();
    bool done = false;
    int refused = 0;
    for (long n = 1; !done; n += n < 40 ? 1 : n / 8) {
        qlora_session *s = api_session();
        qlora_model *m = NULL;
        qlora_data *d = NULL;
        qlora_trainer *t = NULL;
        const int32_t ids[] = {1, 2, 3};
        const qlora_row row = {ids, NULL, 3};
        qlora_train_opts o = qlora_train_defaults();
        o.max_steps = 1;
        o.accumulate = 1;
        ql_hostmem_fail_after(n);
        ql_status r = qlora_model_open(s, TINY, NULL, &m);
        if (r == QL_OK) r = qlora_lora_attach(m, NULL);
        if (r == QL_OK) r = qlora_data_from_rows(m, &row, 1, NULL, &d);
        if (r == QL_OK) r = qlora_trainer_create(m, d, &o, &t);
        if (r == QL_OK) r = qlora_trainer_step(t, NULL);
        ql_hostmem_fail_after(0);
        assert_true(r == QL_OK || r == QL_ERR_NOMEM_HOST);
        done = r == QL_OK;
        refused += !done;
        qlora_trainer_free(t);
        qlora_data_free(d);
        qlora_model_close(m);
        qlora_session_close(s);
        assert_int_equal(ql_hostmem_live(), live);
    }
    assert_true(refused > 40); /* every one of the first allocations was made to fail */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_lines_and_text_make_rows),
        cmocka_unit_test(bad_rows_are_refused_by_number),
        cmocka_unit_test(null_arguments_are_named),
        cmocka_unit_test(wrong_files_are_refused_and_leave_no_trace),
        cmocka_unit_test(calls_in_the_wrong_order_are_refused),
        cmocka_unit_test(what_does_not_fit_is_refused_before_it_begins),
        cmocka_unit_test(options_of_other_versions_are_understood),
        cmocka_unit_test(cancelled_files_leave_nothing_behind),
        cmocka_unit_test(cancelled_calls_leave_model_and_trainer_as_they_were),
        cmocka_unit_test(another_thread_may_cancel),
        cmocka_unit_test(running_out_of_host_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
