/*
 * test_data_check.c - faults of data sets, each seeded into a clean set: exactly that kind is
 * reported, in that row, and nothing in the clean one; none in the shared sets but their two known
 * duplicates.
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
#include "core/data/check.h"
#include "tests/core/data_fixture.h"
#include "tests/support/temp_folder.h"

/* ------------------------------------------------------------------ clean sets */

typedef enum set_kind {
    ALPACA,
    CHAT,
    SHARED_GPT,
    PAIRS,
    TOKENS,
    CLASSES,
    TABLE,
    SET_COUNT
} set_kind;

#define TURN(role, content) "{\"role\":\"" role "\",\"content\":\"" content "\"}"
#define MESSAGES(turns)     "{\"messages\":[" turns "]}"

typedef struct clean_set {
    const char *file, *chat, *head; /* head: a line before the rows; NULL = none */
    ql_task task;
    const char *rows[4];
} clean_set;

static const clean_set SETS[SET_COUNT] = {
    [ALPACA] = {"alpaca.jsonl",
                NULL,
                NULL,
                QL_TASK_CAUSAL,
                {"{\"instruction\":\"Name a fruit.\",\"input\":\"\",\"output\":\"An apple.\"}",
                 "{\"instruction\":\"Name a tree.\",\"input\":\"\",\"output\":\"An oak.\"}",
                 "{\"instruction\":\"Translate.\",\"input\":\"oui\",\"output\":\"yes\"}",
                 "{\"instruction\":\"Translate.\",\"input\":\"non\",\"output\":\"no\"}"}},
    [CHAT] = {"chat.jsonl",
              "chatml",
              NULL,
              QL_TASK_CAUSAL,
              {MESSAGES(TURN("user", "Hello") "," TURN("assistant", "Hi.")),
               MESSAGES(TURN("system", "Be kind.") "," TURN("user", "Hello") "," TURN("assistant",
                                                                                      "Hi there.")),
               MESSAGES(TURN("user", "1?") "," TURN("assistant", "2") "," TURN(
                   "user", "3?") "," TURN("assistant", "4")),
               MESSAGES(TURN("user", "5?") "," TURN("assistant", "6"))}},
    [SHARED_GPT] = {"gpt.jsonl",
                    "llama2",
                    NULL,
                    QL_TASK_CAUSAL,
                    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\","
                     "\"value\":\"b\"}]}",
                     "{\"conversations\":[{\"from\":\"human\",\"value\":\"c\"},{\"from\":\"gpt\","
                     "\"value\":\"d\"}]}"}},
    [PAIRS] = {"pairs.jsonl",
               NULL,
               NULL,
               QL_TASK_CAUSAL,
               {"{\"prompt\":\"one\",\"completion\":\"two\"}",
                "{\"prompt\":\"three\",\"completion\":\"four\"}",
                "{\"prompt\":\"five\",\"completion\":\"six\"}"}},
    [TOKENS] = {"tokens.jsonl",
                NULL,
                NULL,
                QL_TASK_CAUSAL,
                {"{\"input_ids\":[0,10,11,1]}",
                 "{\"input_ids\":[0,12,13,1],\"labels\":[-100,-100,13,1]}"}},
    [CLASSES] = {"classes.jsonl",
                 NULL,
                 NULL,
                 QL_TASK_CLASSIFY,
                 {"{\"text\":\"good\",\"label\":\"yes\"}", "{\"text\":\"bad\",\"label\":\"no\"}",
                  "{\"text\":\"fine\",\"label\":\"yes\"}"}},
    [TABLE] = {"table.csv",
               NULL,
               "prompt,completion",
               QL_TASK_CAUSAL,
               {"one,two", "\"three, and\nmore\",four", "five,six"}},
};

/* -------------------------------------------------------------------- faults */

#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* A line that takes the place of row 2, and what has to be found. */
/* clang-format off */
static const struct {
    const char *fault;
    set_kind set;
    const char *row;
    ql_problem kind;
    int32_t max_len;
    ql_truncation truncation;
} FAULTS[] = {
    {"a line cut short", ALPACA, "{\"instruction\":\"Name", QL_PROBLEM_JSON, 0, 0},
    {"bytes of Latin-1", ALPACA, "{\"instruction\":\"caf\xe9\",\"output\":\"x\"}", QL_PROBLEM_UTF8, 0, 0},
    {"a list for a row", ALPACA, "[1,2]", QL_PROBLEM_KEYS, 0, 0},
    {"a misspelt key", ALPACA, "{\"instruction\":\"a\",\"ouput\":\"b\"}", QL_PROBLEM_MISSING_KEY, 0, 0},
    {"an answer of null", ALPACA, "{\"instruction\":\"a\",\"output\":null}", QL_PROBLEM_MISSING_KEY, 0, 0},
    {"a number for an answer", ALPACA, "{\"instruction\":\"a\",\"output\":7}", QL_PROBLEM_TYPE, 0, 0},
    {"an empty answer", ALPACA, "{\"instruction\":\"a\",\"output\":\" \\n\"}", QL_PROBLEM_EMPTY_ANSWER, 0, 0},
    {"an empty question", ALPACA, "{\"instruction\":\" \",\"output\":\"b\"}", QL_PROBLEM_EMPTY_PROMPT, 0, 0},
    {"a row of another format", ALPACA, "{\"prompt\":\"a\",\"completion\":\"b\"}", QL_PROBLEM_FORMAT, 0, 0},
    {"the same row again", ALPACA, "{\"output\":\"An apple.\",\"input\":\"\",\"instruction\":\"Name a fruit.\"}", QL_PROBLEM_DUPLICATE, 0, 0},
    {"the question as answer", ALPACA, "{\"instruction\":\"Say it.\",\"output\":\"Say it. \"}", QL_PROBLEM_ECHO, 0, 0},
    {"the prompt's heading inside", ALPACA, "{\"instruction\":\"a\",\"output\":\"b\\n\\n### Instruction:\\nc\"}", QL_PROBLEM_TEMPLATE_MARKER, 0, 0},
    {"another model's end mark", ALPACA, "{\"instruction\":\"a\",\"output\":\"b<|eot_id|>\"}", QL_PROBLEM_TEMPLATE_MARKER, 0, 0},
    {"a lone surrogate", ALPACA, "{\"instruction\":\"a\",\"output\":\"b \\ud83d c\"}", QL_PROBLEM_ENCODING, 0, 0},
    {"a control character", ALPACA, "{\"instruction\":\"a\",\"output\":\"b\\u0007\"}", QL_PROBLEM_ENCODING, 0, 0},
    {"UTF-8 encoded twice", ALPACA, "{\"instruction\":\"a\",\"output\":\"it\xc3\xa2\xe2\x82\xac\xe2\x84\xa2s\"}", QL_PROBLEM_ENCODING, 0, 0},
    {"longer than the limit", ALPACA, "{\"instruction\":\"a\",\"output\":\"" B64 B64 B64 B64 "\"}", QL_PROBLEM_TOO_LONG, 280, 0},
    {"the end of the answer cut off", PAIRS, "{\"prompt\":\"a\",\"completion\":\"0123456789012345678901234567\"}", QL_PROBLEM_NO_EOS, 20, QL_TRUNCATE_RIGHT},
    {"the beginning cut off", PAIRS, "{\"prompt\":\"0123456789012345678901234567\",\"completion\":\"b\"}", QL_PROBLEM_TRUNCATED, 20, QL_TRUNCATE_LEFT},
    {"the whole answer cut off", PAIRS, "{\"prompt\":\"0123456789012345678901234567\",\"completion\":\"b\"}", QL_PROBLEM_EMPTY_MASK, 20, QL_TRUNCATE_RIGHT},
    {"the start token as text", PAIRS, "{\"prompt\":\"<s>a\",\"completion\":\"b\"}", QL_PROBLEM_DOUBLE_BOS, 0, 0},
    {"two start tokens", TOKENS, "{\"input_ids\":[0,0,12,1]}", QL_PROBLEM_DOUBLE_BOS, 0, 0},
    {"an id of another model", TOKENS, "{\"input_ids\":[0,4000,1]}", QL_PROBLEM_VOCABULARY, 0, 0},
    {"labels shifted already", TOKENS, "{\"input_ids\":[0,10,11],\"labels\":[10,11,-100]}", QL_PROBLEM_LABELS, 0, 0},
    {"fewer labels than ids", TOKENS, "{\"input_ids\":[0,10,11],\"labels\":[0,10]}", QL_PROBLEM_LABELS, 0, 0},
    {"nothing labelled", TOKENS, "{\"input_ids\":[0,10],\"labels\":[-100,-100]}", QL_PROBLEM_EMPTY_MASK, 0, 0},
    {"nobody answers", CHAT, MESSAGES(TURN("user", "x")), QL_PROBLEM_NO_ANSWER, 0, 0},
    {"no message", CHAT, MESSAGES(""), QL_PROBLEM_NO_ANSWER, 0, 0},
    {"two questions in a row", CHAT, MESSAGES(TURN("user", "x") "," TURN("user", "y") "," TURN("assistant", "z")), QL_PROBLEM_TURNS, 0, 0},
    {"a question left open", CHAT, MESSAGES(TURN("user", "x") "," TURN("assistant", "y") "," TURN("user", "z")), QL_PROBLEM_TURNS, 0, 0},
    {"an answer first", SHARED_GPT, "{\"conversations\":[{\"from\":\"gpt\",\"value\":\"x\"},{\"from\":\"gpt\",\"value\":\"y\"}]}", QL_PROBLEM_TURNS, 0, 0},
    {"an unknown speaker", SHARED_GPT, "{\"conversations\":[{\"from\":\"bing\",\"value\":\"x\"},{\"from\":\"gpt\",\"value\":\"y\"}]}", QL_PROBLEM_ROLE, 0, 0},
    {"the template's mark inside", CHAT, MESSAGES(TURN("user", "x<|im_end|>") "," TURN("assistant", "y")), QL_PROBLEM_TEMPLATE_MARKER, 0, 0},
    {"an empty turn", CHAT, MESSAGES(TURN("user", "") "," TURN("assistant", "y")), QL_PROBLEM_EMPTY_PROMPT, 0, 0},
    {"a number that is no class", CLASSES, "{\"text\":\"so\",\"label\":7}", QL_PROBLEM_CLASS, 0, 0},
    {"no class", CLASSES, "{\"text\":\"so\"}", QL_PROBLEM_MISSING_KEY, 0, 0},
    {"a class that does not exist", CLASSES, "{\"text\":\"so\",\"label\":\"yse\"}", QL_PROBLEM_CLASS, 0, 0},
    {"one text, two classes", CLASSES, "{\"text\":\"good\",\"label\":\"no\"}", QL_PROBLEM_CONFLICT, 0, 0},
    {"a field too many", TABLE, "three,four,five", QL_PROBLEM_TABLE, 0, 0},
    {"text behind a quote", TABLE, "\"three\"four,five", QL_PROBLEM_TABLE, 0, 0},
};
/* clang-format on */
enum { N_FAULTS = sizeof FAULTS / sizeof *FAULTS };

/* ------------------------------------------------------------------- checking */

typedef struct found {
    int64_t n, row;
    ql_problem kind;
    char message[512];
} found;

static ql_status take(void *user, int64_t row, ql_problem kind, const char *message) {
    found *f = user;
    f->n++;
    f->row = row;
    f->kind = kind;
    (void)snprintf(f->message, sizeof f->message, "%s", message);
    return QL_OK;
}

/* The set with `row` in place of row 2 (NULL = clean) as a file. */
static const char *write_set(const clean_set *s, const char *row) {
    char text[4096] = "";
    size_t used = 0;
    if (s->head) used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", s->head);
    for (int i = 0; i < 4 && s->rows[i]; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\n",
                                 row && i == 1 ? row : s->rows[i]);
    }
    return temp_put(s->file, text, used);
}

static found check(const char *path, const clean_set *s, const ql_tokenizer *tok, int32_t max_len,
                   ql_truncation truncation, const char *eval, ql_check_report *report) {
    static const char *const classes[] = {"no", "yes"};
    ql_dataset_opts o = ql_dataset_opts_default();
    found f = {0};
    ql_check_opts c = {.problem = take, .user = &f, .stop = {1, 3}, .n_stop = 2, .eval_path = eval};
    o.chat = s->chat ? ql_template_find(s->chat) : NULL;
    o.task = s->task;
    o.num_labels = 2;
    o.labels = classes;
    o.vocab = 260;
    o.max_len = max_len;
    o.truncation = truncation;
    if (ql_check_file(path, tok, &o, &c, report) != QL_OK) fail_msg("%s", ql_last_error());
    return f;
}

static void every_seeded_fault_is_found_and_nothing_else(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    size_t live = ql_hostmem_live();
    assert_true(N_FAULTS >= 20);
    for (size_t i = 0; i < N_FAULTS; i++) {
        const clean_set *s = &SETS[FAULTS[i].set];
        ql_problem kind = FAULTS[i].kind;
        ql_check_report r;
        found f =
            check(write_set(s, NULL), s, tok, FAULTS[i].max_len, FAULTS[i].truncation, NULL, &r);
        if (f.n) {
            fail_msg("%s, clean: row %lld: %s: %s", FAULTS[i].fault, (long long)f.row,
                     ql_problem_name(f.kind), f.message);
        }
        ql_check_report_free(&r);
        f = check(write_set(s, FAULTS[i].row), s, tok, FAULTS[i].max_len, FAULTS[i].truncation,
                  NULL, &r);
        if (f.n != 1 || f.kind != kind || f.row != 2) {
            fail_msg("%s: %lld problems, row %lld: %s: %s; expected %s", FAULTS[i].fault,
                     (long long)f.n, (long long)f.row, f.n ? ql_problem_name(f.kind) : "none",
                     f.message, ql_problem_name(kind));
        }
        assert_true(f.message[0] != '\0');
        assert_int_equal(r.problems[kind], 1);
        assert_int_equal(r.good, r.rows - 1);
        ql_check_report_free(&r);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

/* What needs no tokens is found without a tokenizer as well. */
static void texts_are_checked_without_a_tokenizer(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FAULTS; i++) {
        bool tokens = FAULTS[i].set == TOKENS || FAULTS[i].max_len ||
                      FAULTS[i].kind == QL_PROBLEM_DOUBLE_BOS || FAULTS[i].kind == QL_PROBLEM_CLASS;
        if (tokens) continue;
        const clean_set *s = &SETS[FAULTS[i].set];
        ql_check_report r;
        found f = check(write_set(s, FAULTS[i].row), s, NULL, 0, QL_TRUNCATE_ERROR, NULL, &r);
        if (f.n != 1 || f.kind != FAULTS[i].kind || f.row != 2) {
            fail_msg("%s: %lld problems: %s", FAULTS[i].fault, (long long)f.n,
                     f.n ? ql_problem_name(f.kind) : "none");
        }
        ql_check_report_free(&r);
    }
}

static void rows_of_the_evaluation_set_are_found(void **state) {
    (void)state;
    static const struct {
        set_kind set;
        const char *eval;
    } CASES[] = {
        {ALPACA,
         "{\"instruction\":\"Name a tree.\",\"input\":\"\",\"output\":\"Another answer.\"}"},
        {CHAT, MESSAGES(TURN("system", "Be kind.") "," TURN("user", "Hello") "," TURN("assistant",
                                                                                      "Another"))},
        {TOKENS, "{\"input_ids\":[0,12,13,1],\"labels\":[-100,-100,13,1]}"},
        {CLASSES, "{\"text\":\"bad\",\"label\":\"yes\"}"},
    };
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const clean_set *s = &SETS[CASES[i].set];
        ql_check_report r;
        const char *eval = temp_put("eval.jsonl", CASES[i].eval, strlen(CASES[i].eval));
        found f = check(write_set(s, NULL), s, tok, 0, QL_TRUNCATE_ERROR, eval, &r);
        assert_int_equal(f.n, 1);
        assert_int_equal(f.kind, QL_PROBLEM_OVERLAP);
        assert_int_equal(f.row, 2);
        assert_non_null(strstr(f.message, "row 1 of "));
        ql_check_report_free(&r);
    }
    ql_tokenizer_close(tok);
}

static void kinds_can_be_switched_off_by_name(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = ql_dataset_opts_default();
    for (int k = 0; k < QL_PROBLEM_COUNT; k++) {
        ql_problem named;
        assert_true(ql_problem_find(ql_problem_name((ql_problem)k), &named));
        assert_int_equal(named, k);
        assert_non_null(strstr(ql_problem_names(), ql_problem_name((ql_problem)k)));
    }
    ql_problem kind;
    assert_true(ql_problem_find("too_long", &kind));
    assert_int_equal(kind, QL_PROBLEM_TOO_LONG);
    assert_false(ql_problem_find("too", &kind));
    const char *path = write_set(&SETS[ALPACA], FAULTS[9].row);
    for (int ignored = 0; ignored < 2; ignored++) {
        found f = {0};
        ql_check_report r;
        ql_check_opts c = {.problem = take, .user = &f, .stop = {1}, .n_stop = 1};
        c.ignore[QL_PROBLEM_DUPLICATE] = ignored;
        assert_int_equal(ql_check_file(path, tok, &o, &c, &r), QL_OK);
        assert_int_equal(f.n, 1 - ignored);
        assert_int_equal(r.n_problems, 1 - ignored);
        assert_int_equal(r.rows, 4);
        ql_check_report_free(&r);
    }
    ql_tokenizer_close(tok);
}

/* The two duplicates are in the sets (tests of their makers would have to remove them). */
static void the_shared_sets_have_no_other_fault(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ql_task task;
        int64_t row; /* of the duplicate; 0 = none */
    } CASES[] = {
        {"alpaca_gpt4_500", 0, 276},
        {"alpaca_original_100", 0, 0},
        {"self_instruct_seed_100", 0, 0},
        {"vicuna_questions_80", 0, 0},
        {"oasst1_guanaco_230", 0, 0},
        {"gsm8k_train_300", 0, 0},
        {"gsm8k_test_100", 0, 0},
        {"mmlu_dev", 0, 44},
        {"mmlu_test", 0, 0},
        {"tinyshakespeare_300k", 0, 0},
        {"wikitext2_excerpt_test", 0, 0},
        {"glue_cola_dev_in_300", QL_TASK_CLASSIFY, 0},
        {"glue_rte_dev_200", QL_TASK_CLASSIFY, 0},
    };
    ql_tokenizer *tok = fixture_byte_tokenizer();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char path[QL_PATH_MAX];
        (void)snprintf(path, sizeof path, QL_TEST_SHARED "/fixtures/data/%s.jsonl", CASES[i].name);
        if (!ql_file_exists(path)) skip();
        ql_dataset_opts o = ql_dataset_opts_default();
        found f = {0};
        ql_check_report r;
        ql_check_opts c = {.problem = take, .user = &f, .stop = {1}, .n_stop = 1};
        o.task = CASES[i].task;
        o.num_labels = 2;
        if (ql_check_file(path, tok, &o, &c, &r) != QL_OK) fail_msg("%s", ql_last_error());
        if (f.n != (CASES[i].row != 0) || f.row != CASES[i].row) {
            fail_msg("%s: %lld problems, row %lld: %s: %s", CASES[i].name, (long long)f.n,
                     (long long)f.row, ql_problem_name(f.kind), f.message);
        }
        if (f.n) assert_int_equal(f.kind, QL_PROBLEM_DUPLICATE);
        assert_int_equal(r.n_lengths, r.rows);
        ql_check_report_free(&r);
    }
    ql_tokenizer_close(tok);
}

static void running_out_of_memory_leaks_nothing(void **state) {
    (void)state;
    ql_tokenizer *tok = fixture_byte_tokenizer();
    ql_dataset_opts o = ql_dataset_opts_default();
    const char *path = write_set(&SETS[ALPACA], NULL);
    size_t live = ql_hostmem_live();
    ql_status s = QL_ERR_NOMEM_HOST;
    for (long n = 1; s != QL_OK; n++) {
        found f = {0};
        ql_check_report r = {0};
        ql_check_opts c = {.problem = take, .user = &f, .stop = {1}, .n_stop = 1};
        assert_true(n < 2000);
        ql_hostmem_fail_after(n);
        s = ql_check_file(path, tok, &o, &c, &r);
        ql_hostmem_fail_after(0);
        if (s == QL_OK) assert_int_equal(f.n, 0);
        ql_check_report_free(&r);
        assert_int_equal(ql_hostmem_live(), live);
    }
    ql_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_seeded_fault_is_found_and_nothing_else),
        cmocka_unit_test(texts_are_checked_without_a_tokenizer),
        cmocka_unit_test(rows_of_the_evaluation_set_are_found),
        cmocka_unit_test(kinds_can_be_switched_off_by_name),
        cmocka_unit_test(the_shared_sets_have_no_other_fault),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
