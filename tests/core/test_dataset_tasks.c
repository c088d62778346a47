/*
 * test_dataset_tasks.c - rows of classes and numbers, rows of an encoder-decoder: every spelling to
 * ids, types and answers; cutting; what is refused, with file and row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/dataset.h"
#include "tests/core/data_fixture.h"
#include "tests/support/temp_folder.h"

static ql_status parse(const char *text, const ql_tokenizer *tok, const ql_dataset_opts *o,
                       ql_dataset *out) {
    return ql_dataset_parse("a.jsonl", text, strlen(text), tok, o, out);
}

static void ok(ql_status s) {
    if (s != QL_OK) fail_msg("%s", ql_last_error());
}

static ql_dataset_opts classify(int32_t num_labels) {
    ql_dataset_opts o = ql_dataset_opts_default();
    o.task = QL_TASK_CLASSIFY;
    o.num_labels = num_labels;
    o.type_rows = 2;
    return o;
}

static ql_dataset_opts seq2seq(void) {
    ql_dataset_opts o = ql_dataset_opts_default();
    o.task = QL_TASK_SEQ2SEQ;
    o.decoder_start = 0;
    o.pad = 2;
    return o;
}

/* ---------------------------------------------------------------- classification */

/* `text`: 1 is <s>, 2 is </s> (data_fixture.h); `second`: where the ids of type 1 begin. */
static const struct {
    const char *row, *text;
    int32_t second, target;
} CLASSES[] = {
    {"{\"text\":\"abc\",\"label\":2}", "\1abc\2", -1, 2},
    {"{\"sentence\":\"abc\",\"labels\":1,\"source\":\"x\"}", "\1abc\2", -1, 1},
    {"{\"sentence1\":\"ab\",\"sentence2\":\"c\",\"label\":0,\"idx\":7}", "\1ab\2c\2", 4, 0},
    {"{\"premise\":\"ab\",\"hypothesis\":\"c\",\"target\":1}", "\1ab\2c\2", 4, 1},
    {"{\"question\":\"ab\",\"sentence\":\"c\",\"label\":1}", "\1ab\2c\2", 4, 1},
    {"{\"question1\":\"ab\",\"question2\":\"c\",\"label\":1}", "\1ab\2c\2", 4, 1},
    {"{\"text_a\":\"ab\",\"text_b\":\"\",\"label\":1}", "\1ab\2\2", 4, 1},
    {"{\"text\":\"abc\",\"label\":\"no\"}", "\1abc\2", -1, 1},
    {"{\"text\":\"abc\",\"label\":\"yes\"}", "\1abc\2", -1, 2},
    {"{\"text\":\"abc\",\"label\":2.0}", "\1abc\2", -1, 2},
    {"{\"text\":\"abc\",\"label\":true}", "\1abc\2", -1, 1},
    {"{\"text\":\"<s>\\ud83d\\ude00\",\"label\":0}", "\1<s>\xf0\x9f\x98\x80\2", -1, 0},
};
static const char *const NAMES[] = {"maybe", "no", "yes"};

static void every_spelling_becomes_ids_types_and_a_class(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    ql_dataset_opts o = classify(3);
    o.labels = NAMES;
    for (size_t i = 0; i < sizeof CLASSES / sizeof *CLASSES; i++) {
        ql_dataset d;
        ok(parse(CLASSES[i].row, tok, &o, &d));
        const ql_example *e = &d.items[0];
        assert_int_equal(d.n, 1);
        assert_int_equal(d.format, QL_DATA_CLASSIFICATION);
        assert_int_equal(d.task, QL_TASK_CLASSIFY);
        assert_true(fixture_bytes_equal(e->ids, (size_t)e->n, CLASSES[i].text));
        assert_null(e->labels);
        assert_int_equal(e->target, CLASSES[i].target);
        assert_int_equal(e->supervised, 1);
        assert_int_equal(d.supervised, 1);
        assert_int_equal(d.longest, e->n);
        assert_int_equal(e->types != NULL, CLASSES[i].second >= 0);
        for (int32_t k = 0; e->types && k < e->n; k++)
            assert_int_equal(e->types[k], k >= CLASSES[i].second);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void a_model_without_types_gets_none(void **state) {
    (void)state;
    const char *row = "{\"sentence1\":\"ab\",\"sentence2\":\"c\",\"label\":1}";
    ql_tokenizer *bert = fixture_byte_tokenizer_with(FIXTURE_BERT);
    ql_tokenizer *roberta = fixture_byte_tokenizer_with(FIXTURE_ROBERTA);
    ql_dataset_opts o = classify(2);
    ql_dataset d;
    o.type_rows = 0;
    ok(parse(row, bert, &o, &d));
    assert_null(d.items[0].types);
    ql_dataset_free(&d);
    o.type_rows = 1;
    assert_int_equal(parse(row, bert, &o, &d), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "row 1: token 5 has type 1, the model has 1 types"));
    ok(parse(row, roberta, &o, &d));
    assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, "\1ab\2\2c\2"));
    assert_null(d.items[0].types);
    ql_dataset_free(&d);
    ql_tokenizer_close(bert);
    ql_tokenizer_close(roberta);
}

static void one_label_is_a_number(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    ql_dataset_opts o = classify(1);
    ql_dataset d;
    ok(parse("{\"text\":\"a\",\"label\":-3.25}\n{\"text\":\"b\",\"label\":7}", tok, &o, &d));
    assert_true(d.items[0].value == -3.25f && d.items[1].value == 7.0f);
    assert_int_equal(d.items[0].target, 0);
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void the_longer_text_is_cut_first(void **state) {
    (void)state;
    const char *row = "{\"sentence1\":\"abcdefgh\",\"sentence2\":\"xyz\",\"label\":1}";
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    ql_dataset_opts o = classify(2);
    ql_dataset d;
    o.max_len = 9;
    assert_int_equal(parse(row, tok, &o, &d), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "a.jsonl: row 1: 14 tokens, the limit is 9"));
    o.truncation = QL_TRUNCATE_RIGHT;
    ok(parse(row, tok, &o, &d));
    assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, "\1abc\2xyz\2"));
    ql_dataset_free(&d);
    o.truncation = QL_TRUNCATE_LEFT;
    assert_int_equal(parse(row, tok, &o, &d), QL_ERR_INVALID);
    ql_tokenizer_close(tok);
}

static void ids_are_taken_as_they_are(void **state) {
    (void)state;
    ql_dataset_opts o = classify(3);
    ql_dataset d;
    ok(parse("{\"input_ids\":[5,6,7],\"token_type_ids\":[0,0,1],\"label\":2}\n"
             "{\"input_ids\":[8],\"label\":0}",
             NULL, &o, &d));
    assert_int_equal(d.format, QL_DATA_TOKENS);
    const int32_t ids[] = {5, 6, 7}, types[] = {0, 0, 1};
    assert_memory_equal(d.items[0].ids, ids, sizeof ids);
    assert_memory_equal(d.items[0].types, types, sizeof types);
    assert_int_equal(d.items[0].target, 2);
    assert_int_equal(d.items[1].n, 1);
    assert_null(d.items[1].types);
    assert_int_equal(d.tokens, 4);
    ql_dataset_free(&d);
}

/* ------------------------------------------------------------------------ seq2seq */

static const struct {
    const char *row, *chat, *prefix, *source, *target;
    ql_data_format found;
} PAIRS[] = {
    {"{\"input\":\"ab\",\"output\":\"c\"}", NULL, NULL, "ab\2", "c\2", QL_DATA_INPUT_OUTPUT},
    {"{\"prompt\":\"ab\",\"completion\":\"c\"}", NULL, NULL, "ab\2", "c\2", QL_DATA_COMPLETION},
    {"{\"prompt\":\"ab\",\"completion\":\"c\"}", "chatml", "up: ", "up: ab\2", "c\2",
     QL_DATA_COMPLETION},
    {"{\"instruction\":\"Do\",\"input\":\"it\",\"output\":\"c\"}", NULL, NULL, "Do\n\nit\2", "c\2",
     QL_DATA_ALPACA},
    {"{\"instruction\":\"Do\",\"input\":\"\",\"output\":\"c\"}", NULL, "p", "pDo\2", "c\2",
     QL_DATA_ALPACA},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":"
     "\"c</s>\"}]}",
     NULL, NULL, "ab\2", "c</s>\2", QL_DATA_MESSAGES},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"ab\"},{\"from\":\"gpt\",\"value\":\"c\"}]"
     "}",
     NULL, NULL, "ab\2", "c\2", QL_DATA_SHAREGPT},
};

/* The decoder reads the start id (0, written 1 here) and the target without its last id. */
static void check_decoder(const ql_example *e, const char *target) {
    char inputs[32];
    snprintf(inputs, sizeof inputs, "\1%.*s", (int)strlen(target) - 1, target);
    assert_true(fixture_bytes_equal(e->labels, (size_t)e->n, target));
    assert_true(fixture_bytes_equal(e->ids, (size_t)e->n, inputs));
    assert_int_equal(e->supervised, e->n);
}

static void every_pair_becomes_two_streams(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_T5);
    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        ql_dataset_opts o = seq2seq();
        ql_dataset d;
        o.chat = PAIRS[i].chat ? ql_template_find(PAIRS[i].chat) : NULL;
        o.source_prefix = PAIRS[i].prefix;
        ok(parse(PAIRS[i].row, tok, &o, &d));
        const ql_example *e = &d.items[0];
        assert_int_equal(d.task, QL_TASK_SEQ2SEQ);
        assert_int_equal(d.format, PAIRS[i].found);
        assert_true(fixture_bytes_equal(e->source, (size_t)e->n_source, PAIRS[i].source));
        check_decoder(e, PAIRS[i].target);
        assert_int_equal(d.longest, e->n);
        assert_int_equal(d.longest_source, e->n_source);
        assert_int_equal(d.tokens, e->n + e->n_source);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void the_alpaca_text_is_used_when_asked_for(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_T5);
    ql_dataset_opts o = seq2seq();
    ql_dataset d;
    o.chat = ql_template_find("alpaca");
    ok(parse("{\"instruction\":\"Do\",\"output\":\"c\"}", tok, &o, &d));
    assert_true(fixture_bytes_equal(
        d.items[0].source, (size_t)d.items[0].n_source,
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nDo\n\n### Response: \2"));
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void a_tokenizer_without_eos_gets_one(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer(); /* adds <s> in front only */
    ql_dataset_opts o = seq2seq();
    ql_dataset d;
    ok(parse("{\"input\":\"ab\",\"output\":\"c\"}", tok, &o, &d));
    assert_true(fixture_bytes_equal(d.items[0].source, (size_t)d.items[0].n_source, "\1ab"));
    check_decoder(&d.items[0], "\1c\2");
    ql_dataset_free(&d);
    o.target_max_len = 3;
    ok(parse("{\"input\":\"ab\",\"output\":\"cdef\"}", tok, &o, &d));
    check_decoder(&d.items[0], "\1c\2");
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void each_side_is_cut_at_its_own_limit(void **state) {
    (void)state;
    const char *row = "{\"input\":\"abcdef\",\"output\":\"uvwxyz\"}";
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_T5);
    ql_dataset_opts o = seq2seq();
    ql_dataset d;
    o.source_max_len = 4;
    o.target_max_len = 3;
    ok(parse(row, tok, &o, &d));
    assert_true(fixture_bytes_equal(d.items[0].source, (size_t)d.items[0].n_source, "abc\2"));
    check_decoder(&d.items[0], "uv\2");
    ql_dataset_free(&d);
    o.source_max_len = o.target_max_len = 0;
    o.max_len = 5;
    assert_int_equal(parse(row, tok, &o, &d), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "row 1: 7 tokens, the limit is 5"));
    o.truncation = QL_TRUNCATE_RIGHT;
    ok(parse(row, tok, &o, &d));
    check_decoder(&d.items[0], "uvwx\2");
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

/* transformers: shift_tokens_right and DataCollatorForSeq2Seq. */
static void decoder_inputs_are_the_labels_shifted(void **state) {
    (void)state;
    const char *row = "{\"input_ids\":[9,8],\"labels\":[-100,5,-100,6,-100,-100]}";
    const int32_t labels[] = {-100, 5, -100, 6}, started[] = {0, 2, 5, 2}, moved[] = {6, 2, 5, 2};
    ql_dataset_opts o = seq2seq();
    ql_dataset d;
    ok(parse(row, NULL, &o, &d));
    const ql_example *e = &d.items[0];
    assert_int_equal(e->n, 4);
    assert_int_equal(e->supervised, 2);
    assert_memory_equal(e->labels, labels, sizeof labels);
    assert_memory_equal(e->ids, started, sizeof started);
    assert_int_equal(e->n_source, 2);
    assert_int_equal(e->source[1], 8);
    ql_dataset_free(&d);
    o.decoder_start = -1; /* mBART: the last id that counts goes to the front */
    ok(parse(row, NULL, &o, &d));
    assert_memory_equal(d.items[0].ids, moved, sizeof moved);
    ql_dataset_free(&d);
}

/* ----------------------------------------------------------------------- refusals */

static const struct {
    ql_task task;
    int32_t num_labels;
    const char *text, *sentence;
} REFUSALS[] = {
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":1}\n{\"text\":\"x\"}",
     "a.jsonl: row 2: no key 'label', 'labels' or 'target'"},
    {QL_TASK_CLASSIFY, 2, "{\"label\":1}", "row 1: no text to classify"},
    {QL_TASK_CLASSIFY, 2, "{\"sentence1\":\"x\",\"label\":1}", "row 1: no text to classify"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\" \",\"label\":1}", "row 1: there is no text"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":7,\"label\":1}", "row 1: 'text' must be a string"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":2}",
     "the label 2 is no class; they are 0 to 1"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":-1}", "the label -1 is no class"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":0.5}", "the label 0.5 is no class"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":1e300}", "is no class"},
    {QL_TASK_CLASSIFY, 3, "{\"text\":\"x\",\"label\":\"often\"}",
     "row 1: the label 'often' is none of the 3 classes (maybe, ...)"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":\"yes\"}",
     "the label 'yes' is a name, the classes have numbers"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":[1]}", "'label' is a list"},
    {QL_TASK_CLASSIFY, 2, "{\"text\":\"x\",\"label\":{}}", "'label' must be a name or a number"},
    {QL_TASK_CLASSIFY, 1, "{\"text\":\"x\",\"label\":\"1\"}", "with one label a number is learned"},
    {QL_TASK_CLASSIFY, 1, "{\"text\":\"x\",\"label\":1e39}", "the label 1e+39 is too large"},
    {QL_TASK_CLASSIFY, 2, "[7]", "row 1: a row must be an object"},
    {QL_TASK_CLASSIFY, 2, "{\"input_ids\":[],\"label\":1}", "the row has no token"},
    {QL_TASK_CLASSIFY, 2, "{\"input_ids\":[1,300],\"label\":1}", "token 2 has id 300, outside"},
    {QL_TASK_CLASSIFY, 2, "{\"input_ids\":[1],\"token_type_ids\":[0,1],\"label\":1}",
     "1 input_ids but 2 token_type_ids"},
    {QL_TASK_CLASSIFY, 2, "{\"input_ids\":[1],\"token_type_ids\":[-1],\"label\":1}",
     "item 1 of 'token_type_ids' is no token id"},
    {QL_TASK_CLASSIFY, 2, "{\"input_ids\":[1],\"token_type_ids\":[2],\"label\":1}",
     "token 1 has type 2, the model has 2 types"},
    {QL_TASK_SEQ2SEQ, 0, "{\"text\":\"x\"}", "row 1: the keys (text) fit no known format"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input\":\"x\",\"output\":\" \"}", "the answer 'output' is empty"},
    {QL_TASK_SEQ2SEQ, 0,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
     "\"b\"},{\"role\":\"user\",\"content\":\"c\"}]}",
     "row 1: an encoder-decoder takes one message of a user and one answer, this row has 3"},
    {QL_TASK_SEQ2SEQ, 0,
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":"
     "\"c\"}]}",
     "takes one message of a user"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input_ids\":[1],\"labels\":[-100]}", "the target has no token"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input_ids\":[],\"labels\":[1]}", "the source has no token"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input_ids\":[1]}", "'labels' must be a list of integers"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input_ids\":[1],\"labels\":[270]}", "token 1 has id 270, outside"},
    {QL_TASK_SEQ2SEQ, 0, "{\"input_ids\":[270],\"labels\":[1]}", "token 1 has id 270, outside"},
};

static void bad_rows_are_refused_with_file_and_row(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    size_t live = ql_hostmem_live();
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        bool classes = REFUSALS[i].task == QL_TASK_CLASSIFY;
        ql_dataset_opts o = classes ? classify(REFUSALS[i].num_labels) : seq2seq();
        ql_dataset d = {0};
        if (o.num_labels == 3) o.labels = NAMES;
        o.vocab = 260;
        assert_int_equal(parse(REFUSALS[i].text, tok, &o, &d), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), REFUSALS[i].sentence))
            fail_msg("case %zu: '%s' not in '%s'", i, REFUSALS[i].sentence, ql_last_error());
        assert_non_null(strstr(ql_last_error(), "a.jsonl: row "));
        assert_null(d.items);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

static void a_format_that_cannot_teach_the_task_is_refused(void **state) {
    (void)state;
    static const struct {
        ql_task task;
        ql_data_format format;
    } CASES[] = {{QL_TASK_CAUSAL, QL_DATA_CLASSIFICATION},
                 {QL_TASK_CLASSIFY, QL_DATA_TEXT},
                 {QL_TASK_CLASSIFY, QL_DATA_ALPACA},
                 {QL_TASK_SEQ2SEQ, QL_DATA_TEXT},
                 {QL_TASK_SEQ2SEQ, QL_DATA_CLASSIFICATION}};
    ql_dataset d;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ql_dataset_opts o = classify(2);
        o.task = CASES[i].task;
        o.format = CASES[i].format;
        assert_int_equal(parse("{}", NULL, &o, &d), QL_ERR_INVALID);
        assert_non_null(strstr(ql_last_error(), "cannot teach the task"));
    }
    ql_dataset_opts o = classify(0);
    assert_int_equal(parse("{}", NULL, &o, &d), QL_ERR_INVALID);
}

/* Memory that runs out at any allocation leaves nothing behind. */
static void nothing_leaks_when_memory_runs_out(void **state) {
    (void)state;
    static const char *const ROWS[] = {
        "{\"sentence1\":\"ab\",\"sentence2\":\"c\",\"label\":1}\n{\"input_ids\":[1],\"label\":0}",
        "{\"instruction\":\"ab\",\"input\":\"b\",\"output\":\"c\"}"};
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    size_t live = ql_hostmem_live();
    for (int task = 0; task < 2; task++) {
        ql_dataset_opts o = task ? seq2seq() : classify(2);
        ql_status s = QL_ERR_NOMEM_HOST;
        o.source_prefix = "p: ";
        for (int i = 1; s == QL_ERR_NOMEM_HOST && i < 200; i++) {
            ql_dataset d = {0};
            ql_hostmem_fail_after(i);
            s = parse(ROWS[task], tok, &o, &d);
            ql_hostmem_fail_after(0);
            ql_dataset_free(&d);
            assert_int_equal(ql_hostmem_live(), live);
        }
        assert_int_equal(s, task ? QL_OK : QL_ERR_FORMAT); /* its second row has no text */
    }
    ql_tokenizer_close(tok);
}

/* ------------------------------------------------------------------------- labels */

static ql_status labels_of(const char *text, ql_label_set *out) {
    return ql_dataset_labels(temp_put("labels.jsonl", text, strlen(text)), out);
}

static void the_classes_of_a_file_are_found(void **state) {
    (void)state;
    ql_label_set s;
    ok(labels_of("\xef\xbb\xbf{\"label\":\"yes\"}\n\n{\"label\":\"no\"}\n{\"label\":\"yes\"}", &s));
    assert_int_equal(s.n, 2);
    assert_string_equal(s.names[0], "no");
    assert_string_equal(s.names[1], "yes");
    assert_false(s.real);
    ql_label_set_free(&s);
    ok(labels_of("[{\"label\":0},{\"labels\":4},{\"target\":1}]", &s));
    assert_int_equal(s.n, 5);
    assert_null(s.names);
    assert_false(s.real);
    ok(labels_of("{\"label\":0}\n{\"label\":2.5}", &s));
    assert_true(s.real);
    ok(labels_of("{\"label\":0}\n{\"label\":-1}", &s));
    assert_true(s.real);
    assert_int_equal(labels_of("{\"label\":0}\n{\"label\":\"a\"}", &s), QL_ERR_FORMAT);
    assert_non_null(
        strstr(ql_last_error(), "row 2: the label is a name, those before are numbers"));
    assert_int_equal(labels_of("{\"label\":0}\n{\"text\":\"a\"}", &s), QL_ERR_FORMAT);
    assert_int_equal(labels_of("\n", &s), QL_ERR_FORMAT);
    assert_int_equal(ql_dataset_labels(temp_path("none"), &s), QL_ERR_NOT_FOUND);
}

static void names_without_end_are_refused(void **state) {
    (void)state;
    static char text[40000];
    size_t used = 0;
    for (int i = 0; i < 1001; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "{\"label\":\"n%d\"}\n", i);
    ql_label_set s;
    size_t live = ql_hostmem_live();
    assert_int_equal(labels_of(text, &s), QL_ERR_FORMAT);
    assert_non_null(strstr(ql_last_error(), "row 1001: more than 1000 different labels"));
    assert_int_equal(ql_hostmem_live(), live);
}

/* The shared excerpts of GLUE: every row is read, classes are in balance as published. */
static void the_glue_excerpts_are_read(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int64_t rows;
    } FILES[] = {{QL_TEST_SHARED "/fixtures/data/glue_rte_dev_200.jsonl", 200},
                 {QL_TEST_SHARED "/fixtures/data/glue_cola_dev_in_300.jsonl", 300}};
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_ROBERTA);
    for (size_t i = 0; i < 2; i++) {
        if (!ql_file_exists(FILES[i].path)) {
            ql_tokenizer_close(tok);
            skip();
        }
        ql_label_set s;
        ql_dataset d;
        ok(ql_dataset_labels(FILES[i].path, &s));
        assert_int_equal(s.n, 2);
        ql_dataset_opts o = classify(s.n);
        ok(ql_dataset_load(FILES[i].path, tok, &o, &d));
        assert_int_equal(d.n, FILES[i].rows);
        int64_t ones = 0;
        for (int64_t r = 0; r < d.n; r++) ones += d.items[r].target;
        assert_in_range(ones, d.n * 2 / 5, d.n * 4 / 5);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_becomes_ids_types_and_a_class),
        cmocka_unit_test(a_model_without_types_gets_none),
        cmocka_unit_test(one_label_is_a_number),
        cmocka_unit_test(the_longer_text_is_cut_first),
        cmocka_unit_test(ids_are_taken_as_they_are),
        cmocka_unit_test(every_pair_becomes_two_streams),
        cmocka_unit_test(the_alpaca_text_is_used_when_asked_for),
        cmocka_unit_test(a_tokenizer_without_eos_gets_one),
        cmocka_unit_test(each_side_is_cut_at_its_own_limit),
        cmocka_unit_test(decoder_inputs_are_the_labels_shifted),
        cmocka_unit_test(bad_rows_are_refused_with_file_and_row),
        cmocka_unit_test(a_format_that_cannot_teach_the_task_is_refused),
        cmocka_unit_test(nothing_leaks_when_memory_runs_out),
        cmocka_unit_test(the_classes_of_a_file_are_found),
        cmocka_unit_test(names_without_end_are_refused),
        cmocka_unit_test(the_glue_excerpts_are_read),
    };
    return cmocka_run_group_tests_name("dataset_tasks", tests, NULL, NULL);
}
