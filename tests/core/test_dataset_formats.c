/*
 * test_dataset_formats.c - the formats of data sets other than the plain ones: their source and
 * target, tables with quotes, GLUE's files, trees of conversations, how a format is told.
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
#include "core/data/problem.h"
#include "tests/core/data_fixture.h"
#include "tests/support/temp_folder.h"

static ql_status parse(const char *name, const char *text, const ql_tokenizer *tok,
                       const ql_dataset_opts *o, ql_dataset *out) {
    return ql_dataset_parse(name, text, strlen(text), tok, o, out);
}

static void ok(ql_status s) {
    if (s != QL_OK) fail_msg("%s", ql_last_error());
}

static ql_dataset_opts opts_with(const char *chat) {
    ql_dataset_opts o = ql_dataset_opts_default();
    o.chat = chat ? ql_template_find(chat) : NULL;
    return o;
}

/* The tokens of e are "<s>" source target "</s>", the target and the end learned. */
static void assert_pair(const ql_example *e, const char *source, const char *target) {
    size_t from = strlen(source), len = from + strlen(target);
    char *text = calloc(len + 3, 1);
    (void)snprintf(text, len + 3, "\1%s%s\2", source, target);
    if (!fixture_bytes_equal(e->ids, (size_t)e->n, text)) fail_msg("not the ids of '%s'", text);
    for (int32_t k = 0; k < e->n; k++)
        assert_int_equal(e->labels[k], (size_t)k < from + 1 ? QL_IGNORE : e->ids[k]);
    assert_int_equal(e->chars, len);
    free(text);
}

#define BOT(q, a) "<human>: " q "\\n<bot>: " a

static const struct {
    ql_data_format format;
    bool found; /* by detection */
    const char *row, *source, *target;
} PAIRS[] = {
    {QL_DATA_CHIP2, true, "{\"text\":\"" BOT("Q", "A") "\"}", "Q", "A"},
    {QL_DATA_CHIP2, true, "{\"text\":\"" BOT("a <human>: b", "A\\nB") "\\n<bot>: C\"}", "a b",
     "A\nB"},
    {QL_DATA_CHIP2, true, "{\"text\":\"<human>: <human>: x\\n<human>: y\\n<bot>: z\"}", "x\ny",
     "z"},
    {QL_DATA_SELF_INSTRUCT, false, "{\"prompt\":\"Q \",\"completion\":\" A\"}", "Q ", " A"},
    {QL_DATA_HH_RLHF, true, "{\"chosen\":\"\\n\\nHuman: Q\\n\\nAssistant: A\",\"rejected\":\"\"}",
     "", "\n\nHuman: Q\n\nAssistant: A"},
    {QL_DATA_UNNATURAL, true,
     "{\"instruction_with_input\":\"I\",\"instruction\":\"J\",\"input\":\"K\",\"output\":\"A\"}",
     "I", "A"},
    {QL_DATA_OASST1, true, "{\"text\":\"### Human: Q### Assistant: A\"}", "",
     "### Human: Q### Assistant: A"},
    {QL_DATA_FLAN, true, "{\"inputs\":\"Q\\n\",\"targets\":\"A\",\"task\":\"t\"}", "Q\n", "A"},
    {QL_DATA_GSM8K, true, "{\"question\":\"1+1?\",\"answer\":\"2\\n#### 2\"}",
     "Question: 1+1?\nAnswer:", " 2\n#### 2"},
    {QL_DATA_MMLU, true, "{\"question\":\"Q\",\"choices\":[\"x\",\"y\"],\"answer\":\"B\"}",
     "Q\nA. x\nB. y\nAnswer:", " B"},
    {QL_DATA_MMLU, true, "{\"question\":\"Q\",\"choices\":[\"x\",\"y\"],\"answer\":0}",
     "Q\nA. x\nB. y\nAnswer:", " A"},
};

static void every_set_is_reduced_to_source_and_target(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        for (int named = PAIRS[i].found ? 0 : 1; named < 2; named++) {
            ql_dataset_opts o = opts_with(NULL);
            ql_dataset d;
            if (named) o.format = PAIRS[i].format;
            ok(parse("a.jsonl", PAIRS[i].row, tok, &o, &d));
            assert_int_equal(d.format, PAIRS[i].format);
            assert_int_equal(d.why[0] == '\0', named);
            assert_pair(&d.items[0], PAIRS[i].source, PAIRS[i].target);
            ql_dataset_free(&d);
        }
    }
    ql_tokenizer_close(tok);
}

static void questions_go_through_the_template_where_there_is_one(void **state) {
    (void)state;
    static const char *const rows[] = {"{\"inputs\":\"Q\",\"targets\":\"A\"}",
                                       "{\"question\":\"Q\",\"answer\":\"A\"}"};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with("chatml");
    for (int i = 0; i < 2; i++) {
        ql_dataset d;
        ok(parse("a.jsonl", rows[i], tok, &o, &d));
        assert_true(fixture_bytes_equal(d.items[0].ids, (size_t)d.items[0].n,
                                        "\1\3user\nQ\4\n\3assistant\nA\4\n"));
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

/* ---------------------------------------------------------------------- trees */

#define NODE(role, text, rank, replies)                                                            \
    "{\"role\":\"" role "\",\"text\":\"" text "\",\"rank\":" rank ",\"replies\":[" replies "]}"
#define TREE(prompt) "{\"message_tree_id\":\"t\",\"tree_state\":\"x\",\"prompt\":" prompt "}"

/* The best of three answers, of which a better one was deleted; then an unranked question before a
 * worse ranked one; what the user asks last is dropped. */
static const char *const FOREST =
    TREE(NODE("prompter", "q", "null",
              NODE("assistant", "second", "1", "") "," NODE(
                  "assistant", "first", "0",
                  NODE("prompter", "unranked", "null", NODE("assistant", "lost", "0", "")) "," NODE(
                      "prompter", "more", "3",
                      NODE("assistant", "end", "null",
                           NODE("prompter", "left alone", "0",
                                "")))) "," NODE("assistant", "third", "2",
                                                "") ",{\"role\":\"assistant\",\"text\":\"bad\","
                                                    "\"rank\":-1,\"deleted\":true}"));

static void the_best_ranked_path_of_a_tree_is_taken(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = opts_with(NULL);
    ql_dataset d;
    ok(parse("a.trees.jsonl", FOREST, tok, &o, &d));
    assert_int_equal(d.format, QL_DATA_OASST1);
    assert_pair(&d.items[0], "",
                "### Human: q### Assistant: first### Human: more### Assistant: end");
    ql_dataset_free(&d);
    o = opts_with("chatml");
    ok(parse("a.trees.jsonl", FOREST, tok, &o, &d));
    assert_true(fixture_bytes_equal(
        d.items[0].ids, (size_t)d.items[0].n,
        "\1\3user\nq\4\n\3assistant\nfirst\4\n\3user\nmore\4\n\3assistant\nend\4\n"));
    ql_dataset_free(&d);
    ql_tokenizer_close(tok);
}

/* --------------------------------------------------------------------- tables */

static void quoted_fields_hold_separators_and_lines(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } FILES[] = {
        {"a.csv",
         "id,prompt,completion\r\n1,\"a, \"\"b\"\"\nc\",\"d\r\ne\"\r\n\r\n2,x\"y,\"\"\"\"\n"},
        {"a.tsv", "id\tprompt\tcompletion\n1\t\"a, \"\"b\"\"\nc\"\t\"d\r\ne\"\n2\tx\"y\t\"\"\"\""},
    };
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < 2; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        ok(parse(FILES[i].name, FILES[i].text, tok, &o, &d));
        assert_int_equal(d.n, 2);
        assert_int_equal(d.format, QL_DATA_COMPLETION);
        assert_pair(&d.items[0], "a, \"b\"\nc", "d\r\ne");
        assert_pair(&d.items[1], "x\"y", "\"");
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static const struct {
    const char *name, *text, *sentence;
    ql_problem kind;
} BROKEN[] = {
    {"a.csv", "prompt,completion\na,b\n\"c,d\n", "row 2 (line 3): the quote of line 3 is never",
     QL_PROBLEM_TABLE},
    {"a.csv", "prompt,completion\n\"a\"b,c\n", "row 1 (line 2): text behind a closing quote",
     QL_PROBLEM_TABLE},
    {"a.csv", "prompt,completion\na,b,c\n", "row 1 (line 2): 3 fields, the header has 2 columns",
     QL_PROBLEM_TABLE},
    {"a.csv", "prompt,,completion\n", "column 2 of the header has no name", QL_PROBLEM_TABLE},
    {"a.csv", "prompt,prompt\n", "two columns are called 'prompt'", QL_PROBLEM_TABLE},
    {"a.csv", "prompt;completion\na;b\n", "the keys (prompt;completion) fit no known format",
     QL_PROBLEM_KEYS},
    {"a.csv", "prompt,completion\na,\xff\n", "field 2 is not UTF-8", QL_PROBLEM_UTF8},
    {"a.csv", "prompt,completion\n", "holds no row", QL_PROBLEM_COUNT},
    {"a.csv", "prompt,completion\na,\n", "the answer 'completion' is empty",
     QL_PROBLEM_EMPTY_ANSWER},
    {"a.json", "[{\"text\":\"x\"}", "not valid JSON: the array does not end", QL_PROBLEM_JSON},
    {"a.json", "[{\"text\":\"x\"}] x", "is followed by more text", QL_PROBLEM_JSON},
    {"a.json", "[{\"text\":\"x\"},]", "row 2: not valid JSON", QL_PROBLEM_JSON},
    {"a.json", "[{\"text\":\"x]\"},{\"text\":\"\\\"]\"} 7]", "row 2: not valid JSON",
     QL_PROBLEM_JSON},
    {"a.jsonl", "{\"text\":\"\xff\"}", "not valid JSON", QL_PROBLEM_UTF8},
    {"a.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "pairs of preferences",
     QL_PROBLEM_KEYS},
    {"a.jsonl", "{\"message_id\":\"1\",\"parent_id\":\"2\",\"text\":\"x\",\"role\":\"prompter\"}",
     "the file of trees", QL_PROBLEM_KEYS},
    {"a.jsonl", TREE(NODE("prompter", "q", "null", "")), "nobody answers", QL_PROBLEM_NO_ANSWER},
    {"a.jsonl", TREE(NODE("system", "q", "null", "")), "a message of 'system'", QL_PROBLEM_ROLE},
    {"a.jsonl", TREE("\"q\""), "a message with its replies", QL_PROBLEM_TYPE},
    {"a.jsonl", "{\"question\":\"Q\",\"choices\":[\"x\",\"y\"],\"answer\":\"C\"}",
     "one of the 2 choices", QL_PROBLEM_CLASS},
    {"a.jsonl", "{\"question\":\"Q\",\"choices\":[\"x\"],\"answer\":\"A\"}", "2 to 8 texts",
     QL_PROBLEM_TYPE},
};

static void broken_tables_and_rows_are_named_by_kind(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    size_t live = ql_hostmem_live();
    for (size_t i = 0; i < sizeof BROKEN / sizeof *BROKEN; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        ql_problem_note(QL_PROBLEM_COUNT);
        assert_int_equal(parse(BROKEN[i].name, BROKEN[i].text, tok, &o, &d), QL_ERR_FORMAT);
        if (!strstr(ql_last_error(), BROKEN[i].sentence))
            fail_msg("case %zu: '%s' not in '%s'", i, BROKEN[i].sentence, ql_last_error());
        assert_int_equal(ql_problem_last(), BROKEN[i].kind);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

/* ----------------------------------------------------------------------- GLUE */

/* `text`: 1 is <s>, 2 is </s>; the quote that opens a sentence of GLUE closes nowhere. */
static const struct {
    const char *task, *text, *ids;
    int32_t target;
    double value;
} GLUE[] = {
    {"cola", "gj04\t1\t\tab\ngj04\t0\t*\tc\n", "\1ab\2", 1, 0},
    {"sst2", "sentence\tlabel\n\"ab\t1\n", "\1\"ab\2", 1, 0},
    {"mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\t\"ab\tc\r\n", "\1\"ab\2c\2",
     1, 0},
    {"qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tab\tc\t1\n", "\1ab\2c\2",
     1, 0},
    {"stsb", "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\tab\tc\t2.500\n", "\1ab\2c\2", 0,
     2.5},
    {"rte", "index\tsentence1\tsentence2\tlabel\n0\tab\tc\tnot_entailment\n", "\1ab\2c\2", 1, 0},
    {"qnli", "index\tquestion\tsentence\tlabel\n0\tab\tc\tentailment\n", "\1ab\2c\2", 0, 0},
    {"mnli",
     "index\tpromptID\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
     "0\t1\t(x)\tab\tc\tneutral\tnot_entailment\n",
     "\1ab\2c\2", 1, 0},
};

static void glue_files_become_classification_rows(void **state) {
    (void)state;
    static const char *const names[] = {"entailment", "not_entailment"};
    ql_tokenizer *tok = fixture_byte_tokenizer_with(FIXTURE_BERT);
    for (size_t i = 0; i < sizeof GLUE / sizeof *GLUE; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        o.task = QL_TASK_CLASSIFY;
        o.num_labels = GLUE[i].value != 0 ? 1 : 2;
        o.labels = strstr(GLUE[i].text, "entailment") ? names : NULL;
        if (parse("x.tsv", GLUE[i].text, tok, &o, &d) != QL_OK)
            fail_msg("%s: %s", GLUE[i].task, ql_last_error());
        const ql_example *e = &d.items[0];
        assert_true(fixture_bytes_equal(e->ids, (size_t)e->n, GLUE[i].ids));
        assert_int_equal(e->target, GLUE[i].target);
        assert_true((double)e->value == GLUE[i].value);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void the_classes_of_a_table_are_numbers_or_names(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t n;
        bool names, real;
    } CASES[] = {{"sentence\tlabel\na\t1\nb\t0\n", 2, false, false},
                 {"index\tsentence\tlabel\n0\ta\tyes\n1\tb\tno\n", 2, true, false},
                 {"index\tsentence1\tsentence2\tscore\n0\ta\tb\t1.5\n", 0, false, true}};
    for (size_t i = 0; i < 3; i++) {
        ql_label_set set;
        const char *path = temp_put("x.tsv", CASES[i].text, strlen(CASES[i].text));
        ok(ql_dataset_labels(path, &set));
        assert_int_equal(set.n, CASES[i].n);
        assert_int_equal(set.names != NULL, CASES[i].names);
        assert_int_equal(set.real, CASES[i].real);
        ql_label_set_free(&set);
    }
}

/* ------------------------------------------------------------------ detection */

static const struct {
    const char *row;
    ql_data_format format;
    const char *why;
} WHY[] = {
    {"{\"instruction\":\"a\",\"output\":\"b\",\"text\":\"c\"}", QL_DATA_ALPACA,
     "by the keys instruction and output; it could also be completion (text)"},
    {"{\"question\":\"a\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}", QL_DATA_MMLU,
     "by the keys question, choices and answer"},
    {"{\"text\":\"### Human: a### Assistant: b\"}", QL_DATA_OASST1,
     "by the key text, whose text holds '### Human: '; it could also be completion (text)"},
    {"{\"prompt\":\"a\",\"completion\":\"b\",\"input\":\"c\",\"output\":\"d\",\"chosen\":null}",
     QL_DATA_COMPLETION,
     "by the keys prompt and completion; it could also be input-output (input and output)"},
};

static void detection_says_which_keys_decided(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof WHY / sizeof *WHY; i++) {
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        ok(parse("a.jsonl", WHY[i].row, tok, &o, &d));
        assert_int_equal(d.format, WHY[i].format);
        assert_string_equal(d.why, WHY[i].why);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

static void shared_sets_are_recognised(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t rows;
        ql_data_format format;
    } SETS[] = {{"alpaca_gpt4_500", 500, QL_DATA_ALPACA},
                {"alpaca_original_100", 100, QL_DATA_ALPACA},
                {"self_instruct_seed_100", 100, QL_DATA_ALPACA},
                {"oasst1_guanaco_230", 230, QL_DATA_OASST1},
                {"gsm8k_train_300", 300, QL_DATA_GSM8K},
                {"mmlu_dev", 255, QL_DATA_MMLU},
                {"tinyshakespeare_300k", 149, QL_DATA_COMPLETION}};
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof SETS / sizeof *SETS; i++) {
        char path[QL_PATH_MAX];
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        (void)snprintf(path, sizeof path, QL_TEST_SHARED "/fixtures/data/%s.jsonl", SETS[i].name);
        if (!ql_file_exists(path)) skip();
        ok(ql_dataset_load(path, tok, &o, &d));
        assert_int_equal(d.n, SETS[i].rows);
        assert_int_equal(d.format, SETS[i].format);
        ql_dataset_free(&d);
    }
    ql_tokenizer_close(tok);
}

/* The prompt of MMLU is the one that it is evaluated with: the end of every recorded prompt. */
static void mmlu_prompts_end_as_recorded(void **state) {
    (void)state;
    json_t *prompts = fixture_shared_lines("eval/mmlu_prompts.jsonl");
    json_t *rows = fixture_shared_lines("data/mmlu_test.jsonl");
    if (!prompts || !rows) skip();
    ql_tokenizer *tok = fixture_byte_tokenizer();
    json_t *count = json_object();
    for (size_t i = 0, p = 0; i < json_array_size(rows) && p < json_array_size(prompts); i++) {
        const json_t *row = json_array_get(rows, i);
        char *line = json_dumps(row, 0);
        ql_dataset_opts o = opts_with(NULL);
        ql_dataset d;
        ok(parse("a.jsonl", line, tok, &o, &d));
        char *text;
        size_t len;
        int32_t prompt = d.items[0].n - d.items[0].supervised;
        ok(ql_tokenizer_decode(tok, d.items[0].ids + 1, (size_t)prompt - 1, false, &text, &len));
        const char *subject = json_string_value(json_object_get(row, "subject"));
        json_int_t at = json_integer_value(json_object_get(count, subject));
        json_object_set_new(count, subject, json_integer(at + 1));
        for (size_t k = 0; k < json_array_size(prompts); k++) {
            const json_t *want = json_array_get(prompts, k);
            const json_t *test_row = json_object_get(want, "test_row");
            if (strcmp(subject, json_string_value(json_object_get(want, "subject"))) != 0) continue;
            if (!json_is_integer(test_row) || json_integer_value(test_row) != at) continue;
            const char *whole = json_string_value(json_object_get(want, "prompt"));
            assert_true(strlen(whole) > len);
            assert_string_equal(whole + strlen(whole) - len, text);
            p++;
        }
        ql_host_free(text);
        free(line);
        ql_dataset_free(&d);
    }
    json_decref(count);
    json_decref(rows);
    json_decref(prompts);
    ql_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_is_reduced_to_source_and_target),
        cmocka_unit_test(questions_go_through_the_template_where_there_is_one),
        cmocka_unit_test(the_best_ranked_path_of_a_tree_is_taken),
        cmocka_unit_test(quoted_fields_hold_separators_and_lines),
        cmocka_unit_test(broken_tables_and_rows_are_named_by_kind),
        cmocka_unit_test(glue_files_become_classification_rows),
        cmocka_unit_test(the_classes_of_a_table_are_numbers_or_names),
        cmocka_unit_test(detection_says_which_keys_decided),
        cmocka_unit_test(shared_sets_are_recognised),
        cmocka_unit_test(mmlu_prompts_end_as_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
