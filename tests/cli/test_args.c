/* test_args.c - the flag parser: every kind of value, spellings, defaults, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/argv.h"
#include "tools/known.h"

typedef struct options {
    bool flag, on;
    int64_t n;
    double x;
    uint64_t size;
    const char *text, *choice, *file;
} options;

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "flag", .kind = QL_ARG_BOOL, .at = OF(flag), .help = "a"},
    {.name = "on", .kind = QL_ARG_BOOL, .at = OF(on), .fallback = "true", .help = "b"},
    {.name = "max_steps",
     .also = "-n --steps",
     .kind = QL_ARG_INT,
     .at = OF(n),
     .fallback = "-1",
     .lo = -1,
     .hi = 1000,
     .help = "c"},
    {.name = "learning_rate",
     .also = "--lr",
     .kind = QL_ARG_REAL,
     .at = OF(x),
     .fallback = "2e-4",
     .lo = 0,
     .hi = 1,
     .help = "d"},
    {.name = "mem", .kind = QL_ARG_SIZE, .at = OF(size), .help = "e"},
    {.name = "prompt", .also = "-p", .kind = QL_ARG_TEXT, .at = OF(text), .help = "f"},
    {.name = "format",
     .kind = QL_ARG_CHOICE,
     .at = OF(choice),
     .fallback = "bnb",
     .choices = "bnb qlora|mlx",
     .help = "g"},
    {.name = "file", .kind = QL_ARG_TEXT, .at = OF(file), .flags = QL_ARG_POSITIONAL, .help = "h"},
};
enum { N_ARGS = sizeof args / sizeof *args };

static bool given[N_ARGS];
static ql_spellings spellings; /* texts of the latest line */

/* Parses words separated by '\1' (so that a word may hold spaces). */
static ql_status parse(options *o, int *help, const char *line) {
    static char buffer[512];
    static char *words[32];
    int n = 0;
    memset(o, 0, sizeof *o);
    memset(given, 0, sizeof given);
    strcpy(buffer, line);
    for (char *w = strtok(buffer, "\1"); w; w = strtok(NULL, "\1")) words[n++] = w;
    const ql_arg_table table = {args, N_ARGS, o, given};
    ql_spellings_free(&spellings);
    ql_status s = ql_args_defaults(&table, 1);
    return s != QL_OK ? s : ql_args_parse(&table, 1, n, words, &spellings, help);
}

static void expect_refusal(const char *line, const char *sentence) {
    options o;
    int help;
    assert_int_equal(parse(&o, &help, line), QL_ERR_INVALID);
    if (!strstr(ql_last_error(), sentence)) {
        fail_msg("'%s' should be in: %s", sentence, ql_last_error());
    }
}

static void defaults_are_the_tables(void **state) {
    (void)state;
    options o;
    int help = 9;
    assert_int_equal(parse(&o, &help, ""), QL_OK);
    assert_int_equal(help, 0);
    assert_false(o.flag);
    assert_true(o.on);
    assert_int_equal(o.n, -1);
    assert_true(o.x == 2e-4);
    assert_true(o.size == 0);
    assert_null(o.text);
    assert_string_equal(o.choice, "bnb");
    for (int i = 0; i < N_ARGS; i++) assert_false(given[i]);
}

static void every_spelling_reaches_the_field(void **state) {
    (void)state;
    static const char *const lines[] = {"--max_steps\1"
                                        "7",
                                        "--max-steps\1"
                                        "7",
                                        "--max_steps=7",
                                        "--max-steps=7",
                                        "-n\1"
                                        "7",
                                        "--steps\1"
                                        "7",
                                        "-n=7"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        options o;
        int help;
        assert_int_equal(parse(&o, &help, lines[i]), QL_OK);
        assert_int_equal(o.n, 7);
        assert_true(given[2]);
    }
}

static void booleans_take_a_word_or_nothing(void **state) {
    (void)state;
    options o;
    int help;
    assert_int_equal(parse(&o, &help, "--flag\1--on\1False"), QL_OK);
    assert_true(o.flag);
    assert_false(o.on);
    assert_int_equal(parse(&o, &help, "--flag=no\1--on=0"), QL_OK);
    assert_false(o.flag);
    assert_false(o.on);
    assert_int_equal(parse(&o, &help, "--flag\1data.txt"), QL_OK);
    assert_true(o.flag);
    assert_string_equal(o.file, "data.txt");
    expect_refusal("--flag=maybe", "--flag takes true or false, not 'maybe'");
}

static void numbers_and_sizes_are_read_whole(void **state) {
    (void)state;
    options o;
    int help;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"--mem=4096", 4096},      {"--mem=512M", 512u << 20},
                 {"--mem=8G", 8ull << 30},  {"--mem=1.5GiB", 3ull << 29},
                 {"--mem=64KB", 64u << 10}, {"--mem=2t", 2ull << 40}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(parse(&o, &help, sizes[i].text), QL_OK);
        assert_true(o.size == sizes[i].bytes);
    }
    assert_int_equal(parse(&o, &help,
                           "--lr\1"
                           "0.5"),
                     QL_OK);
    assert_true(o.x == 0.5);
    expect_refusal("--mem=8X", "size");
    expect_refusal("--mem=-1", "size");
    expect_refusal("--mem=nan", "size");
    expect_refusal("--mem=", "size");
    expect_refusal("--mem=99999999T", "size");
    expect_refusal("--max_steps=7.5", "whole number, not '7.5'");
    expect_refusal("--max_steps=", "whole number");
    expect_refusal("--max_steps=99999999999999999999", "whole number");
    expect_refusal("--max_steps=1001", "from -1 to 1000");
    expect_refusal("--lr=inf", "takes a number");
    expect_refusal("--lr=1.5", "from 0 to 1");
    expect_refusal("--lr=1e-4x", "takes a number");
}

static void texts_may_hold_anything(void **state) {
    (void)state;
    options o;
    int help;
    assert_int_equal(parse(&o, &help, "-p\1-1 = x"), QL_OK);
    assert_string_equal(o.text, "-1 = x");
    assert_int_equal(parse(&o, &help, "--prompt=--help"), QL_OK);
    assert_string_equal(o.text, "--help");
    assert_int_equal(help, 0);
    assert_int_equal(parse(&o, &help, "--\1--odd"), QL_OK);
    assert_string_equal(o.file, "--odd");
    expect_refusal("--prompt\1--flag", "--prompt needs a value");
    expect_refusal("--prompt", "--prompt needs a value");
    expect_refusal("a\1b", "unexpected argument 'b'");
}

static void choices_know_what_comes_later(void **state) {
    (void)state;
    expect_refusal("--format=mlx", "--format mlx is known, not available in this version");
    expect_refusal("--format=gguf", "--format takes one of 'bnb qlora', not 'gguf'");
    expect_refusal("--format=", "takes one of");
    expect_refusal("--format=bn", "takes one of");
}

static void unknown_flags_name_the_nearest(void **state) {
    (void)state;
    expect_refusal("--learnign_rate=1", "did you mean '--learning_rate'?");
    expect_refusal("--max-step=1", "did you mean '--max_steps'?");
    expect_refusal("--formt\1x", "did you mean '--format'?");
    expect_refusal("--xyzzyplugh", "--help lists the flags");
    expect_refusal("-z", "unknown flag '-z'");
    expect_refusal("--p=1", "unknown flag '--p'"); /* a short name needs one dash */
    expect_refusal("--neftune_noise_alpha=1", "known, not available in this version");
    expect_refusal(
        "--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "unknown flag");
}

static void help_stops_the_parser(void **state) {
    (void)state;
    options o;
    int help;
    assert_int_equal(parse(&o, &help, "--flag\1--help\1--nonsense"), QL_OK);
    assert_int_equal(help, 1);
    assert_int_equal(parse(&o, &help, "-h\1all"), QL_OK);
    assert_int_equal(help, 2);
}

static void required_flags_are_missed(void **state) {
    (void)state;
    static const ql_arg required[] = {{.name = "model_name_or_path",
                                       .also = "-m",
                                       .kind = QL_ARG_TEXT,
                                       .at = OF(text),
                                       .flags = QL_ARG_REQUIRED,
                                       .help = "the model"}};
    options o = {0};
    bool was_given[1] = {false};
    int help;
    char word[] = "-m=x";
    char *words[] = {word};
    const ql_arg_table table = {required, 1, &o, was_given};
    assert_int_equal(ql_args_parse(&table, 1, 0, NULL, &spellings, &help), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "--model_name_or_path is required: the model"));
    assert_int_equal(ql_args_parse(&table, 1, 1, words, &spellings, &help), QL_OK);
    assert_string_equal(o.text, "x");
}

static void nearest_name_has_a_limit(void **state) {
    (void)state;
    char near[32];
    assert_true(ql_nearest_name("train eval generate", "trian", near, sizeof near));
    assert_string_equal(near, "train");
    assert_true(ql_nearest_name("train eval generate", "genrate", near, sizeof near));
    assert_string_equal(near, "generate");
    assert_false(ql_nearest_name("train eval generate", "quantize", near, sizeof near));
    assert_false(ql_nearest_name("", "x", near, sizeof near));
}

static void known_names_are_whole_words(void **state) {
    (void)state;
    assert_true(ql_known_flag("lora_r"));
    assert_true(ql_known_flag("model_name_or_path"));
    assert_true(ql_known_flag("stride"));
    assert_false(ql_known_flag("lora"));
    assert_false(ql_known_flag(""));
    assert_true(ql_names_have(ql_known_commands(), "serve"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_tables),
        cmocka_unit_test(every_spelling_reaches_the_field),
        cmocka_unit_test(booleans_take_a_word_or_nothing),
        cmocka_unit_test(numbers_and_sizes_are_read_whole),
        cmocka_unit_test(texts_may_hold_anything),
        cmocka_unit_test(choices_know_what_comes_later),
        cmocka_unit_test(unknown_flags_name_the_nearest),
        cmocka_unit_test(help_stops_the_parser),
        cmocka_unit_test(required_flags_are_missed),
        cmocka_unit_test(nearest_name_has_a_limit),
        cmocka_unit_test(known_names_are_whole_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
