/*
 * test_dataset.c - rows of every format to ids and labels, qlora.py's pair rule against its oracle,
 * refusals with file and row, cutting, epoch order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/data/dataset.h"
#include "tests/core/data_fixture.h"

static ql_status parse(const char *name, const char *text, const ql_tokenizer *tok,
                       const ql_dataset_opts *o, ql_dataset *out) {
    return ql_dataset_parse(name, text, strlen(text), tok, o, out);
}

static ql_dataset_opts opts_with(const char *chat) {
    ql_dataset_opts o = ql_dataset_opts_default();
    o.chat = chat ? ql_template_find(chat) : NULL;
    return o;
}

static void check_list(const json_t *want, const int32_t *got, int32_t n) {
    assert_int_equal(json_array_size(want), n);
    for (int32_t i = 0; i < n; i++) {
        assert_int_equal(json_integer_value(json_array_get(want, (size_t)i)), got[i]);
    }
}

static void check_pairs(const char *file, const char *tokenizer) {
    json_t *lines = fixture_shared_lines(file);
    ql_tokenizer *tok = lines ? fixture_shared_tokenizer(tokenizer) : NULL;
    if (!tok) skip();
    assert_int_equal(json_array_size(lines), 39);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        ql_dataset_opts o = ql_dataset_opts_default();
        ql_example e;
        o.source_max_len = (int32_t)json_integer_value(json_object_get(line, "source_max_len"));
        o.target_max_len = (int32_t)json_integer_value(json_object_get(line, "target_max_len"));
        o.train_on_source = json_is_true(json_object_get(line, "train_on_source"));
        assert_int_equal(
            ql_example_from_pair(tok, json_string_value(json_object_get(line, "source")),
                                 json_string_value(json_object_get(line, "target")), &o, &e),
            QL_OK);
        check_list(json_object_get(line, "input_ids"), e.ids, e.n);
        check_list(json_object_get(line, "labels"), e.labels, e.n);
        ql_example_free(&e);
    }
    ql_tokenizer_close(tok);
    json_decref(lines);
}

static void llama2_pairs_equal_the_oracle(void **state) {
    (void)state;
    check_pairs("eval/sft_examples_llama2.jsonl", "llama2");
}

static void llama3_pairs_equal_the_oracle(void **state) {
    (void)state;
    check_pairs("eval/sft_examples_llama3.jsonl", "llama3");
}

#define ALPACA_HEAD "Below is an instruction that describes a task"
#define ALPACA_TAIL                                                                                \
    ". Write a response that appropriately completes the request.\n\n### Instruction:\n"

/* One row and what becomes of it. `learned` is `text` with '.' where nothing is learned; control
 * bytes 1 to 4 are the special tokens (data_fixture.h). */
typedef struct format_case {
    const char *row, *chat;
    ql_data_format found;
    const char *text, *answer; /* `answer` = the end of `text` that is learned */
} format_case;

static const format_case FORMATS[] = {
    {"{\"prompt\":\"Q:\",\"completion\":\" A\"}", NULL, QL_DATA_COMPLETION, "\1Q: A\2", " A\2"},
    {"{\"prompt\":\"\",\"completion\":\"A\"}", NULL, QL_DATA_COMPLETION, "\1A\2", "A\2"},
    {"{\"text\":\"all of it\"}", NULL, QL_DATA_COMPLETION, "\1all of it\2", "all of it\2"},
    {"{\"text\":\"all of it\"}", "chatml", QL_DATA_COMPLETION, "\1all of it\2", "all of it\2"},
    {"{\"input\":\"Q\",\"output\":\"A\"}", NULL, QL_DATA_INPUT_OUTPUT, "\1QA\2", "A\2"},
    {"{\"prompt\":\"Q\",\"completion\":\"A\"}", "chatml", QL_DATA_COMPLETION,
     "\1\3user\nQ\4\n\3assistant\nA\4\n", "A\4\n"},
    {"{\"instruction\":\"Do\",\"input\":\"\",\"output\":\"A\"}", NULL, QL_DATA_ALPACA,
     "\1" ALPACA_HEAD ALPACA_TAIL "Do\n\n### Response: A\2", "A\2"},
    {"{\"instruction\":\"Do\",\"output\":\"A\"}", "alpaca", QL_DATA_ALPACA,
     "\1" ALPACA_HEAD ALPACA_TAIL "Do\n\n### Response: A\2", "A\2"},
    {"{\"instruction\":\"Do\",\"input\":\" \",\"output\":\"A\"}", NULL, QL_DATA_ALPACA,
     "\1" ALPACA_HEAD ", paired with an input that provides further context" ALPACA_TAIL
     "Do\n\n### Input:\n \n\n### Response: A\2",
     "A\2"},
    {"{\"instruction\":\"Do\",\"input\":\"this\",\"output\":\"A\"}", "chatml", QL_DATA_ALPACA,
     "\1\3user\nDo\n\nthis\4\n\3assistant\nA\4\n", "A\4\n"},
    {"{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"Q\"},"
     "{\"role\":\"assistant\",\"content\":\"A\"}]}",
     "chatml", QL_DATA_MESSAGES, "\1\3system\nS\4\n\3user\nQ\4\n\3assistant\nA\4\n", "A\4\n"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"Q\"},{\"from\":\"gpt\",\"value\":\"A\"}]"
     "}",
     "chatml", QL_DATA_SHAREGPT, "\1\3user\nQ\4\n\3assistant\nA\4\n", "A\4\n"},
    {"{\"system\":\"S\",\"conversations\":[{\"role\":\"user\",\"content\":\"Q\"},"
     "{\"role\":\"assistant\",\"content\":\"A\"}]}",
     "chatml", QL_DATA_SHAREGPT, "\1\3system\nS\4\n\3user\nQ\4\n\3assistant\nA\4\n", "A\4\n"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"assistant\",\"content\":"
     "\"A\"}]}",
     "guanaco_train", QL_DATA_MESSAGES, "\1### Human: Q### Assistant: A\2", " A\2"},
    {"{\"prompt\":\"<s></s><|im_end|>\",\"completion\":\"</s>\"}", NULL, QL_DATA_COMPLETION,
     "\1<s></s><|im_end|></s>\2", "</s>\2"},
    {"{\"prompt\":\"\\ud800 \\ud83d\\ude00 \\\\ud800\",\"completion\":\"\\udc00A\"}", NULL,
     QL_DATA_COMPLETION,
     "\1\xef\xbf\xbd \xf0\x9f\x98\x80 \\ud800\xef\xbf\xbd"
     "A\2",
     "\xef\xbf\xbd"
     "A\2"},
};

static void every_format_becomes_ids_and_labels(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof FORMATS / sizeof FORMATS[0]; i++) {
        const format_case *c = &FORMATS[i];
        ql_dataset_opts o = opts_with(c->chat);
        ql_dataset d;
        ql_status s = parse("rows.jsonl", c->row, tok, &o, &d);
        if (s != QL_OK) fail_msg("case %zu: %s", i, ql_last_error());
        assert_int_equal(d.n, 1);
        assert_int_equal(d.format, c->found);
        const ql_example *e = &d.items[0];
        assert_true(fixture_bytes_equal(e->ids, (size_t)e->n, c->text));
        int32_t first = (int32_t)(strlen(c->text) - strlen(c->answer)), after = 0;
        /* the newline that chatml writes behind its end mark is not learned */
        if (c->answer[strlen(c->answer) - 1] == '\n') after = 1;
        for (int32_t k = 0; k < e->n; k++) {
            assert_int_equal(e->labels[k], k < first || k >= e->n - after ? QL_IGNORE : e->ids[k]);
        }
        assert_int_equal(e->supervised, e->n - first - after);
        assert_int_equal(d.supervised, e->supervised);
        assert_int_equal(d.tokens, e->n);
        assert_int_equal(d.longest, e->n);
        ql_dataset_free(&d);

        o.train_on_source = true;
        assert_int_equal(parse("rows.jsonl", c->row, tok, &o, &d), QL_OK);
        for (int32_t k = 0; k < d.items[0].n; k++) {
            assert_int_equal(d.items[0].labels[k], d.items[0].ids[k]);
        }
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void every_answer_of_a_conversation_is_learned(void **state) {
    (void)state;
    const char *row =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
        "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},{\"role\":"
        "\"assistant\",\"content\":\"d\"}]}";
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with("mistral");
    ql_dataset d;
    assert_int_equal(parse("rows.jsonl", row, tok, &o, &d), QL_OK);
    const char *text = "\1[INST] a [/INST]b\2[INST] c [/INST]d\2";
    assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, text));
    for (int32_t k = 0; k < d.items[0].n; k++) {
        bool learned = text[k] == 'b' || text[k] == 'd' || text[k] == '\2';
        assert_int_equal(d.items[0].labels[k], learned ? d.items[0].ids[k] : QL_IGNORE);
    }
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

/* {file name, text, template, truncation limit, vocabulary} and a part of the sentence. */
static const struct {
    const char *name, *text, *chat;
    int32_t max_len, vocab;
    const char *sentence;
} REFUSALS[] = {
    {"a.jsonl", "", NULL, 0, 0, "a.jsonl: the file holds no row"},
    {"a.jsonl", "\n \r\n", NULL, 0, 0, "a.jsonl: the file holds no row"},
    {"a.dat", "a,b\n", NULL, 0, 0,
     "a.dat: neither JSON lines nor a JSON array (it begins with 'a')"},
    {"a.jsonl", "{\"query\":\"x\",\"reply\":\"y\"}", NULL, 0, 0,
     "a.jsonl: row 1: the keys (query, reply) fit no known format"},
    {"a.jsonl", "{}", NULL, 0, 0, "a.jsonl: row 1: the keys (none) fit no known format"},
    {"a.jsonl", "{\"text\":\"x\"}\n{\"text\":", NULL, 0, 0, "a.jsonl: row 2: not valid JSON"},
    {"a.jsonl", "{\"text\":\"x\"}\n\n{\"text\":7}", NULL, 0, 0,
     "a.jsonl: row 2 (line 3): 'text' must be a string"},
    {"a.jsonl", "{\"text\":\"x\",\"text\":\"y\"}", NULL, 0, 0, "a.jsonl: row 1: not valid JSON"},
    {"a.jsonl", "{\"text\":\"\xff\"}", NULL, 0, 0, "a.jsonl: row 1: not valid JSON"},
    {"a.jsonl", "{\"prompt\":\"x\",\"completion\":\"y\"}\n{\"prompt\":\"x\"}", NULL, 0, 0,
     "a.jsonl: row 2: the key 'completion' is missing"},
    {"a.jsonl", "{\"prompt\":\"x\",\"completion\":\" \\n\"}", NULL, 0, 0,
     "a.jsonl: row 1: the answer 'completion' is empty"},
    {"a.jsonl", "{\"prompt\":[\"x\"],\"completion\":\"y\"}", NULL, 0, 0,
     "'prompt' must be a string"},
    {"a.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "chatml", 0, 0,
     "row 1: no message of an assistant"},
    {"a.jsonl", "{\"messages\":[]}", "chatml", 0, 0, "'messages' must be a list"},
    {"a.jsonl", "{\"messages\":[7]}", "chatml", 0, 0, "message 1 must be an object"},
    {"a.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}", "chatml", 0, 0,
     "the answer 'content' is empty"},
    {"a.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}", NULL, 0, 0,
     "choose one with --chat_template"},
    {"a.jsonl",
     "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"},{\"role\":\"assistant\","
     "\"content\":\"x\"}]}",
     "chatml", 0, 0, "a.jsonl: row 1: message 1: role 'tool' is not known"},
    {"a.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}", "llama3", 0, 0,
     "template 'llama3' ends an answer with <|eot_id|>, which this tokenizer does not have"},
    {"a.jsonl", "{\"conversations\":[{\"from\":\"tool\",\"value\":\"x\"}]}", "chatml", 0, 0,
     "message 1 is from 'tool'"},
    {"a.jsonl", "{\"text\":\"x\"}\n{\"text\":\"123456789\"}", NULL, 8, 0,
     "a.jsonl: row 2: 11 tokens, the limit is 8"},
    {"a.jsonl", "{\"text\":\"x\"}", NULL, 0, 100, "row 1: token 2 has id 124, outside"},
    {"a.jsonl", "{\"input_ids\":[1,2,3],\"labels\":[1,2]}", NULL, 0, 0, "3 input_ids but 2 labels"},
    {"a.jsonl", "{\"input_ids\":[1,-1]}", NULL, 0, 0, "item 2 of 'input_ids' is no token id"},
    {"a.jsonl", "{\"input_ids\":[1,-100]}", NULL, 0, 0, "item 2 of 'input_ids' is no token id"},
    {"a.jsonl", "{\"input_ids\":[1,99999999999]}", NULL, 0, 0, "item 2 of 'input_ids'"},
    {"a.jsonl", "{\"input_ids\":[1,2.0]}", NULL, 0, 0, "item 2 of 'input_ids'"},
    {"a.jsonl", "{\"input_ids\":\"1 2\"}", NULL, 0, 0, "'input_ids' must be a list of integers"},
    {"a.jsonl", "{\"input_ids\":[1,2,300]}", NULL, 0, 300, "token 3 has id 300, outside"},
    {"a.jsonl", "{\"input_ids\":[1,2],\"labels\":[-100,300]}", NULL, 0, 300, "id 300, outside"},
    {"a.jsonl", "{\"input_ids\":[1,2,3],\"labels\":[2,3,-100]}", NULL, 0, 0, "labels are shifted"},
    {"a.jsonl", "{\"input_ids\":[1,2],\"labels\":[1,-100]}", NULL, 0, 0, "no token of an answer"},
    {"a.jsonl", "{\"input_ids\":[1]}", NULL, 0, 0,
     "no token of an answer is left to learn (1 tokens)"},
    {"a.jsonl", "{\"input_ids\":[]}", NULL, 0, 0,
     "no token of an answer is left to learn (0 tokens)"},
    {"a.json", "[{\"text\":\"x\"},7]", NULL, 0, 0, "a.json: row 2: a row must be an object"},
    {"a.json", "[{\"text\":\"x\"}", NULL, 0, 0, "a.json: not valid JSON"},
    {"a.txt", " \n", NULL, 0, 0, "a.txt: the file holds no row"},
    {"a.txt", "abc\xc3(", NULL, 0, 0, "3"},
};

static void bad_rows_are_refused_with_file_and_row(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    size_t live = ql_hostmem_live();
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        ql_dataset_opts o = opts_with(REFUSALS[i].chat);
        ql_dataset d = {0};
        o.max_len = REFUSALS[i].max_len;
        o.vocab = REFUSALS[i].vocab;
        assert_int_equal(parse(REFUSALS[i].name, REFUSALS[i].text, tok, &o, &d), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), REFUSALS[i].sentence)) {
            fail_msg("case %zu: '%s' not in '%s'", i, REFUSALS[i].sentence, ql_last_error());
        }
        assert_null(d.items);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

static void a_format_can_be_forced(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with(NULL);
    ql_dataset d;
    const char *both = "{\"text\":\"t\",\"input\":\"Q\",\"output\":\"A\"}";
    o.format = QL_DATA_INPUT_OUTPUT;
    assert_int_equal(parse("a.jsonl", both, tok, &o, &d), QL_OK);
    assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, "\1QA\2"));
    ql_dataset_free(&d);
    o.format = QL_DATA_TEXT;
    assert_int_equal(parse("a.jsonl", "{}", tok, &o, &d), QL_OK);
    assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, "\1{}\2"));
    ql_dataset_free(&d);
    o.format = QL_DATA_TOKENS;
    assert_int_equal(parse("a.jsonl", both, tok, &o, &d), QL_ERR_FORMAT);
    for (int i = 0; i < QL_DATA_FORMAT_COUNT; i++) {
        ql_data_format f;
        assert_true(ql_data_format_find(ql_data_format_name((ql_data_format)i), &f));
        assert_int_equal(f, i);
    }
    assert_false(ql_data_format_find("parquet", &o.format));
    ql_tokenizer_close(tok);
}

static void line_ends_marks_and_blank_lines_do_not_matter(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with(NULL);
    ql_dataset d;
    const char *text =
        "\xef\xbb\xbf{\"text\":\"a\"}\r\n\r\n  \n{\"text\":\"b\"}\n\n{\"text\":\"c\"}";
    assert_int_equal(parse("a.jsonl", text, tok, &o, &d), QL_OK);
    assert_int_equal(d.n, 3);
    for (int64_t i = 0; i < 3; i++) {
        assert_int_equal(d.items[i].row, i + 1);
        assert_int_equal(d.items[i].ids[1], 'a' + i + 4);
    }
    ql_dataset_free(&d);
    o.max_rows = 2;
    assert_int_equal(
        parse("a.json", " [{\"text\":\"a\"},{\"text\":\"b\"},{\"text\":\"c\"}]\n", tok, &o, &d),
        QL_OK);
    assert_int_equal(d.n, 2);
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void cutting_keeps_the_side_that_was_asked_for(void **state) {
    (void)state;
    static const struct {
        ql_truncation truncation;
        const char *text;
        int32_t supervised;
    } CASES[] = {{QL_TRUNCATE_RIGHT, "\1QQQQA", 1}, {QL_TRUNCATE_LEFT, "\1AAAA\2", 5}};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    const char *row = "{\"prompt\":\"QQQQ\",\"completion\":\"AAAA\"}";
    for (size_t i = 0; i < 2; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        o.max_len = 6;
        o.truncation = CASES[i].truncation;
        assert_int_equal(parse("a.jsonl", row, tok, &o, &d), QL_OK);
        assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n, CASES[i].text));
        assert_int_equal(d.items[0].supervised, CASES[i].supervised);
        ql_dataset_free(&d);
        o.max_len = 4;
        ql_status s = parse("a.jsonl", row, tok, &o, &d);
        if (CASES[i].truncation == QL_TRUNCATE_LEFT) {
            assert_int_equal(s, QL_OK);
            ql_dataset_free(&d);
        } else {
            assert_int_equal(s, QL_ERR_FORMAT);
            assert_non_null(strstr(ql_last_error(), "row 1: no token of an answer is left"));
        }
    }
    ql_tokenizer_close(tok);
}

static void text_is_cut_into_rows_of_max_len(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t max_len;
        int64_t rows;
        int32_t last;
    } CASES[] = {
        {"abcdef", 4, 2, 4}, {"abcdefg", 4, 2, 4}, {"abcdefgh", 4, 3, 2}, {"abc", 0, 1, 5}};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        o.max_len = CASES[i].max_len;
        assert_int_equal(parse("a.txt", CASES[i].text, tok, &o, &d), QL_OK);
        assert_int_equal(d.format, QL_DATA_TEXT);
        assert_int_equal(d.n, CASES[i].rows);
        assert_int_equal(d.items[d.n - 1].n, CASES[i].last);
        int32_t at = 0;
        for (int64_t k = 0; k < d.n; k++) {
            for (int32_t j = 0; j < d.items[k].n; j++, at++) {
                bool end = at == (int32_t)strlen(CASES[i].text) + 1;
                int32_t want = at == 0 ? 0 : end ? 1 : CASES[i].text[at - 1] + 4;
                assert_int_equal(d.items[k].ids[j], want);
                assert_int_equal(d.items[k].labels[j], want);
            }
        }
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void token_rows_need_no_tokenizer(void **state) {
    (void)state;
    ql_dataset_opts o = opts_with(NULL);
    ql_dataset d;
    const char *text =
        "{\"input_ids\":[5,6,7]}\n{\"input_ids\":[5,6,7],\"labels\":[-100,-100,7]}\n";
    assert_int_equal(parse("a.jsonl", text, NULL, &o, &d), QL_OK);
    assert_int_equal(d.format, QL_DATA_TOKENS);
    const int32_t ids[] = {5, 6, 7}, labels[] = {QL_IGNORE, QL_IGNORE, 7};
    assert_memory_equal(d.items[0].labels, ids, sizeof ids);
    assert_memory_equal(d.items[1].ids, ids, sizeof ids);
    assert_memory_equal(d.items[1].labels, labels, sizeof labels);
    assert_int_equal(d.items[0].supervised, 2);
    assert_int_equal(d.items[1].supervised, 1);
    ql_dataset_free(&d);
    assert_int_equal(parse("a.jsonl", "{\"text\":\"x\"}", NULL, &o, &d), QL_ERR_INVALID);
}

static void files_are_read_and_missing_ones_named(void **state) {
    (void)state;
    ql_dataset_opts o = opts_with(NULL);
    ql_dataset d;
    assert_int_not_equal(ql_dataset_load(QL_TEST_DATA "/no-such.jsonl", NULL, &o, &d), QL_OK);
    assert_non_null(strstr(ql_last_error(), "no-such.jsonl"));
    const char *path = QL_TEST_SHARED "/fixtures/data/alpaca_gpt4_500.jsonl";
    if (!ql_file_exists(path)) skip();
    ql_tokenizer *tok = fixture_byte_tokenizer();
    assert_int_equal(ql_dataset_load(path, tok, &o, &d), QL_OK);
    assert_int_equal(d.n, 500);
    assert_int_equal(d.format, QL_DATA_ALPACA);
    ql_dataset_free(&d);
    o.chat = ql_template_find("chatml");
    assert_int_equal(ql_dataset_load(path, tok, &o, &d), QL_OK);
    assert_int_equal(d.n, 500);
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

static void running_out_of_memory_leaks_nothing(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with("smollm2");
    const char *text = "{\"instruction\":\"Do\",\"input\":\"\\n\",\"output\":\"A\"}";
    size_t live = ql_hostmem_live();
    ql_status s = QL_ERR_NOMEM_HOST;
    for (long n = 1; s != QL_OK; n++) {
        ql_dataset d = {0};
        assert_true(n < 1000);
        ql_hostmem_fail_after(n);
        s = parse("a.jsonl", text, tok, &o, &d);
        ql_hostmem_fail_after(0);
        assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
        ql_dataset_free(&d);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

static void an_epoch_is_a_permutation_of_seed_and_epoch(void **state) {
    (void)state;
    enum { N = 100 };
    int64_t a[N], b[N];
    bool seen[N] = {0};
    assert_int_equal(ql_epoch_order(N, 7, 0, true, a), QL_OK);
    for (int i = 0; i < N; i++) {
        assert_in_range(a[i], 0, N - 1);
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
    }
    assert_int_equal(ql_epoch_order(N, 7, 0, true, b), QL_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(ql_epoch_order(N, 7, 1, true, b), QL_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(ql_epoch_order(N, 8, 0, true, b), QL_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(ql_epoch_order(N, 7, 3, false, b), QL_OK);
    for (int i = 0; i < N; i++) assert_int_equal(b[i], i);
    assert_int_equal(ql_epoch_order(0, 7, 0, true, a), QL_OK);
    assert_int_equal(ql_epoch_order(-1, 7, 0, true, a), QL_ERR_INVALID);
}

/* 6,000 shuffles of three: each of the six orders is expected 1,000 times; chi-square with 5
 * degrees of freedom stays below 20.5 with probability 0.999. */
static void shuffles_are_uniform(void **state) {
    (void)state;
    int count[27] = {0}, orders = 0;
    double chi = 0;
    for (int epoch = 0; epoch < 6000; epoch++) {
        int64_t order[3];
        assert_int_equal(ql_epoch_order(3, 42, epoch, true, order), QL_OK);
        count[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    for (int i = 0; i < 27; i++) {
        if (!count[i]) continue;
        orders++;
        chi += (count[i] - 1000.0) * (count[i] - 1000.0) / 1000.0;
    }
    assert_int_equal(orders, 6);
    assert_true(chi < 20.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2_pairs_equal_the_oracle),
        cmocka_unit_test(llama3_pairs_equal_the_oracle),
        cmocka_unit_test(every_format_becomes_ids_and_labels),
        cmocka_unit_test(every_answer_of_a_conversation_is_learned),
        cmocka_unit_test(bad_rows_are_refused_with_file_and_row),
        cmocka_unit_test(a_format_can_be_forced),
        cmocka_unit_test(line_ends_marks_and_blank_lines_do_not_matter),
        cmocka_unit_test(cutting_keeps_the_side_that_was_asked_for),
        cmocka_unit_test(text_is_cut_into_rows_of_max_len),
        cmocka_unit_test(token_rows_need_no_tokenizer),
        cmocka_unit_test(files_are_read_and_missing_ones_named),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
        cmocka_unit_test(an_epoch_is_a_permutation_of_seed_and_epoch),
        cmocka_unit_test(shuffles_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
