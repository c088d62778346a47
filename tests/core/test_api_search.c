/*
 * test_api_search.c - beams and encoder-decoders through qlora/qlora.h: transformers' ids, one
 * generator for requests that fit it, what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/json.h"
#include "tests/core/api_fixture.h"

typedef struct heard {
    int32_t ids[64];
    size_t n, enough;
} heard;

static bool hear(void *user, int32_t id) {
    heard *h = user;
    h->ids[h->n++] = id;
    return h->n != h->enough;
}

static size_t read_ids(const json_t *list, int32_t *out) {
    size_t n = json_array_size(list);
    assert_true(n > 0 && n <= 64);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

/* Asks what a recorded row asked, and the same cut after three ids. */
static void follow(qlora_model *m, const json_t *row) {
    int32_t prompt[64], want[64], *got = NULL;
    const json_t *source = json_object_get(row, "encoder"), *start = json_object_get(row, "start");
    size_t n = read_ids(source ? source : json_object_get(row, "prompt"), prompt), got_n = 0;
    size_t want_n = read_ids(json_object_get(row, "new"), want);
    const json_t *beams = json_object_get(row, "num_beams");
    heard all = {.n = 0}, three = {.enough = 3};
    qlora_generate_opts o = qlora_generate_defaults();
    o.compute = "fp32";
    o.max_new_tokens = (int64_t)want_n;
    o.ignore_eos = true;
    if (beams) o.num_beams = json_integer_value(beams);
    if (start) o.decoder_start = json_integer_value(start);
    o.on_token = hear;
    o.user = &all;
    OK(qlora_generate(m, prompt, n, &o, &got, &got_n));
    assert_int_equal(got_n, want_n);
    assert_memory_equal(got, want, want_n * sizeof *want);
    assert_int_equal(all.n, want_n);
    assert_memory_equal(all.ids, want, want_n * sizeof *want);
    qlora_free(got);
    o.user = &three;
    OK(qlora_generate(m, prompt, n, &o, &got, &got_n));
    assert_int_equal(got_n, 3);
    assert_memory_equal(got, want, 3 * sizeof *want);
    qlora_free(got);
}

static void answers_are_those_of_transformers(void **state) {
    (void)state;
    const char *const names[] = {"tiny-t5", "tiny-bart", "tiny-mbart", "tiny-qwen2"};
    for (int i = 0; i < 4; i++) {
        char path[256];
        json_t *j = NULL, *row;
        size_t k;
        snprintf(path, sizeof path, QL_TEST_DATA "/generate/%s.json", names[i]);
        OK(ql_json_read(path, &j));
        snprintf(path, sizeof path, MODELS "%s", names[i]);
        qlora_session *s = api_session();
        qlora_model *m = api_model(s, path, 16, 0);
        json_array_foreach(json_object_get(j, "rows"), k, row) follow(m, row);
        json_array_foreach(json_object_get(j, "beams"), k, row) {
            if (json_is_null(json_object_get(row, "eos"))) follow(m, row);
        }
        json_decref(j);
        qlora_model_close(m);
        qlora_session_close(s);
    }
}

/* The source has the tokenizer's special tokens; no template stands between. */
static void a_source_text_is_read_without_a_template(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, MODELS "tiny-t5", 16, 0);
    qlora_generate_opts o = qlora_generate_defaults();
    char *text = NULL;
    o.max_new_tokens = 4;
    o.num_beams = 2;
    OK(qlora_generate_text(m, "Hi", &o, &text));
    assert_non_null(text);
    qlora_free(text);
    text = NULL;
    o.chat_template = "chatml";
    FAILS(qlora_generate_text(m, "Hi", &o, &text), QL_ERR_INVALID, "reads its source");
    o.chat_template = NULL;
    o.system = "Be short.";
    FAILS(qlora_generate_text(m, "Hi", &o, &text), QL_ERR_INVALID, "system");
    assert_null(text);
    qlora_model_close(m);
    qlora_session_close(s);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    qlora_session *s = api_session();
    qlora_model *m = api_model(s, MODELS "tiny-mbart", 16, 0), *llama = api_model(s, TINY, 16, 0);
    qlora_model *roberta = api_model(s, MODELS "tiny-roberta", 16, 0);
    const int32_t prompt[3] = {5, 6, 7};
    int32_t *ids = NULL;
    size_t n = 0;
    qlora_generate_opts o = qlora_generate_defaults();
    FAILS(qlora_generate(roberta, prompt, 3, &o, &ids, &n), QL_ERR_UNSUPPORTED, "classifier");
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "decoder_start");
    o.decoder_start = 96;
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "decoder_start is 96");
    o.decoder_start = 3;
    FAILS(qlora_generate(llama, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "no encoder");
    o.num_beams = 2;
    o.temperature = 1;
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_UNSUPPORTED, "not sampled");
    o.temperature = 0;
    o.num_beams = 0;
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "num_beams is 0");
    o.num_beams = 2;
    o.early_stopping = "soon";
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "'soon'");
    o.early_stopping = "never";
    o.length_penalty = 1e9;
    FAILS(qlora_generate(m, prompt, 3, &o, &ids, &n), QL_ERR_INVALID, "length_penalty");
    assert_null(ids);
    o.length_penalty = 1;
    o.max_new_tokens = 5;
    OK(qlora_generate(m, prompt, 3, &o, &ids, &n));
    qlora_free(ids);
    qlora_model_close(roberta);
    qlora_model_close(llama);
    qlora_model_close(m);
    qlora_session_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_transformers),
        cmocka_unit_test(a_source_text_is_read_without_a_template),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests_name("api_search", tests, NULL, NULL);
}
