/*
 * test_examples.c - the quickstart's example set keeps its promises: it loads, it is big enough,
 * its held-out part shares no sentence with training, and training teaches what is expected.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/data/dataset.h"
#include "tests/core/data_fixture.h"

#define HARBOR QL_TEST_DATA "/../../examples/harbor/"

typedef struct example_set {
    json_t *train, *heldout, *questions;
} example_set;

static int open_set(void **state) {
    static example_set set;
    set.train = fixture_lines(HARBOR "train.jsonl");
    set.heldout = fixture_lines(HARBOR "heldout.jsonl");
    set.questions = fixture_lines(HARBOR "questions.jsonl");
    *state = &set;
    return set.train && set.heldout && set.questions ? 0 : -1;
}

static int close_set(void **state) {
    example_set *set = *state;
    json_decref(set->train);
    json_decref(set->heldout);
    json_decref(set->questions);
    return 0;
}

/* Content of message `turn` (0 user, 1 assistant) of a row. */
static const char *content(const json_t *rows, size_t i, size_t turn) {
    const json_t *list = json_object_get(json_array_get(rows, i), "messages");
    assert_int_equal(json_array_size(list), 2);
    return json_string_value(json_object_get(json_array_get(list, turn), "content"));
}

/* Lower case, without punctuation, so that sentences are compared by their words. */
static char *normalized(const char *s, size_t len) {
    char *out = ql_host_calloc(len + 1, 1);
    size_t n = 0;
    assert_non_null(out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (isalnum(c) || (c == ' ' && n > 0)) out[n++] = (char)tolower(c);
    }
    return out;
}

static bool holds_word(const char *text, const char *word) {
    char *t = normalized(text, strlen(text)), *w = normalized(word, strlen(word));
    bool found = strstr(t, w) != NULL;
    ql_host_free(t);
    ql_host_free(w);
    return found;
}

/* Calls `check` for each sentence (it ends at . ? or !) of a text. */
static void each_sentence(const char *text, const json_t *known,
                          void (*check)(const char *sentence, const json_t *known)) {
    while (*text) {
        size_t len = strcspn(text, ".?!");
        char *sentence = normalized(text, len);
        if (*sentence) check(sentence, known);
        ql_host_free(sentence);
        text += len + (text[len] != '\0');
    }
}

static void remember(const char *sentence, const json_t *known) {
    json_object_set_new((json_t *)(uintptr_t)known, sentence, json_true());
}

static void must_be_new(const char *sentence, const json_t *known) {
    if (json_object_get(known, sentence)) fail_msg("held-out sentence in training: %s", sentence);
}

static void the_set_loads_and_is_big_enough(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int64_t least;
    } FILES[] = {{HARBOR "train.jsonl", 150}, {HARBOR "heldout.jsonl", 10}};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = ql_dataset_opts_default();
    o.chat = ql_template_find("smollm2");
    for (size_t i = 0; i < 2; i++) {
        ql_dataset d;
        if (ql_dataset_load(FILES[i].path, tok, &o, &d) != QL_OK) fail_msg("%s", ql_last_error());
        assert_int_equal(d.format, QL_DATA_MESSAGES);
        assert_true(d.n >= FILES[i].least);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void no_training_question_comes_twice(void **state) {
    const example_set *set = *state;
    json_t *seen = json_object();
    for (size_t i = 0; i < json_array_size(set->train); i++) {
        const char *q = content(set->train, i, 0);
        if (json_object_get(seen, q)) fail_msg("asked twice: %s", q);
        json_object_set_new(seen, q, json_true());
    }
    json_decref(seen);
}

static void no_heldout_sentence_stands_in_training(void **state) {
    const example_set *set = *state;
    json_t *known = json_object();
    for (size_t i = 0; i < json_array_size(set->train); i++) {
        each_sentence(content(set->train, i, 0), known, remember);
        each_sentence(content(set->train, i, 1), known, remember);
    }
    assert_true(json_object_size(known) > 150);
    for (size_t i = 0; i < json_array_size(set->heldout); i++) {
        each_sentence(content(set->heldout, i, 0), known, must_be_new);
        each_sentence(content(set->heldout, i, 1), known, must_be_new);
    }
    json_decref(known);
}

static bool holds_all(const char *text, const json_t *words) {
    for (size_t i = 0; i < json_array_size(words); i++) {
        if (!holds_word(text, json_string_value(json_array_get(words, i)))) return false;
    }
    return true;
}

static void training_teaches_every_expected_word(void **state) {
    const example_set *set = *state;
    size_t n = json_array_size(set->questions);
    assert_true(n >= 10);
    assert_int_equal(n, json_array_size(set->heldout));
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(set->questions, i);
        const json_t *expect = json_object_get(row, "expect");
        const char *question = json_string_value(json_object_get(row, "question"));
        int taught = 0;
        assert_true(json_array_size(expect) > 0);
        assert_string_equal(question, content(set->heldout, i, 0));
        assert_true(holds_all(content(set->heldout, i, 1), expect));
        for (size_t k = 0; k < json_array_size(expect); k++) {
            assert_false(holds_word(question, json_string_value(json_array_get(expect, k))));
        }
        for (size_t k = 0; k < json_array_size(set->train); k++) {
            taught += holds_all(content(set->train, k, 1), expect);
        }
        if (taught < 6) fail_msg("%s: taught by %d answers", question, taught);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_loads_and_is_big_enough),
        cmocka_unit_test(no_training_question_comes_twice),
        cmocka_unit_test(no_heldout_sentence_stands_in_training),
        cmocka_unit_test(training_teaches_every_expected_word),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
