/*
 * test_messages.c - conversations whose messages say more than a role and a text: weights in the
 * loss, what is trained on, tool calls.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/data/batch.h"
#include "core/data/dataset.h"
#include "tests/core/data_fixture.h"

#define TALK(first, second)                                                                        \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "                                   \
    "{\"role\": \"assistant\", \"content\": \"b\"" first                                           \
    "}, {\"role\": \"user\", \"content\": \"c\"}, "                                                \
    "{\"role\": \"assistant\", \"content\": \"d\"" second "}]}"

/* chatml over the byte tokenizer: the ids that are learned as text ('#' = a control mark), and the
 * weights of their labels. */
static void check_learned(const char *row, ql_train_on on, const char *want, const float *weights) {
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = ql_dataset_opts_default();
    ql_dataset d;
    char got[128] = "";
    size_t n = 0;
    o.chat = ql_template_find("chatml");
    o.train_on = on;
    assert_int_equal(ql_dataset_parse("t.jsonl", row, strlen(row), tok, &o, &d), QL_OK);
    const ql_example *e = &d.items[0];
    assert_int_equal(d.weighted, weights != NULL);
    assert_int_equal(e->weights != NULL, weights != NULL);
    for (int32_t i = 0; i < e->n; i++) {
        if (e->labels[i] == QL_IGNORE) continue;
        assert_int_equal(e->labels[i], e->ids[i]);
        assert_true(n < sizeof got - 1);
        if (weights) assert_true(e->weights[i] == weights[n]);
        got[n++] =
            ql_tokenizer_is_special(tok, e->ids[i]) ? '#' : ql_tokenizer_piece(tok, e->ids[i])[0];
    }
    assert_string_equal(got, want);
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void every_answer_or_the_last_or_everything_is_learned(void **state) {
    (void)state;
    check_learned(TALK("", ""), QL_TRAIN_ON_ASSISTANT, "b#d#", NULL);
    check_learned(TALK("", ""), QL_TRAIN_ON_LAST, "d#", NULL);
    check_learned(TALK(", \"train\": false", ""), QL_TRAIN_ON_ASSISTANT, "d#", NULL);
    check_learned(TALK("", ", \"weight\": 0"), QL_TRAIN_ON_ASSISTANT, "b#", NULL);
    check_learned(TALK(", \"weight\": 1, \"train\": true", ""), QL_TRAIN_ON_ASSISTANT, "b#d#",
                  NULL);
    /* \n is a piece of its own of the byte alphabet: its first byte is \304 */
    check_learned(TALK("", ", \"weight\": 0"), QL_TRAIN_ON_ALL,
                  "##user\304a#\304#assistant\304b#\304#user\304c#\304#assistant\304\304", NULL);
}

static void real_weights_reach_the_batch(void **state) {
    (void)state;
    const float weights[] = {0.25f, 0.25f, 3, 3};
    check_learned(TALK(", \"weight\": 0.25", ", \"weight\": 3"), QL_TRAIN_ON_ASSISTANT, "b#d#",
                  weights);
    int32_t ids[] = {5, 6, 7, 8}, labels[] = {QL_IGNORE, 6, QL_IGNORE, 8};
    float of[] = {1, 0.5f, 1, 2};
    ql_example e[] = {
        {.ids = ids, .labels = labels, .weights = of, .n = 4, .supervised = 2, .row = 1},
        {.ids = ids, .labels = labels, .n = 4, .supervised = 2, .row = 2}};
    const ql_dataset d = {.items = e, .n = 2, .weighted = true};
    const int64_t index[] = {1, 0};
    ql_batch b;
    assert_int_equal(ql_batch_create(8, 2, 0, &b), QL_OK);
    assert_int_equal(ql_batch_fill(&b, &d, index, 2), QL_OK);
    assert_int_equal(b.labelled, 4);
    assert_true(b.label_weight[0] == 1 && b.label_weight[1] == 1);
    assert_true(b.label_weight[2] == 0.5f && b.label_weight[3] == 2);
    assert_true(ql_batch_weight(&b) == 4.5);
    ql_batch_free(&b);
}

static void what_a_message_cannot_say_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *row, *sentence;
    } CASES[] = {
        {TALK(", \"weight\": -1", ""), "'weight'"},
        {TALK(", \"weight\": \"2\"", ""), "'weight'"},
        {TALK(", \"train\": 1", ""), "'train'"},
        {TALK(", \"train\": false, \"weight\": 2", ""), "give one of them"},
        {TALK(", \"train\": false", ", \"train\": false"), "no token of an answer"},
        {TALK("", ", \"tool_calls\": [{\"name\": \"f\"}]"), "message 4 holds tool calls"},
    };
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = ql_dataset_opts_default();
    o.chat = ql_template_find("chatml");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ql_dataset d;
        const char *row = CASES[i].row;
        assert_int_equal(ql_dataset_parse("t.jsonl", row, strlen(row), tok, &o, &d), QL_ERR_FORMAT);
        assert_non_null(strstr(ql_last_error(), CASES[i].sentence));
        assert_non_null(strstr(ql_last_error(), "row 1"));
    }
    ql_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_or_the_last_or_everything_is_learned),
        cmocka_unit_test(real_weights_reach_the_batch),
        cmocka_unit_test(what_a_message_cannot_say_is_refused),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
