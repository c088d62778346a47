/* test_config.c - files of settings: values of every kind, spellings of others, hostile YAML. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/config.h"
#include "tools/yaml.h"

typedef struct options {
    bool flag, packing;
    int64_t n, bits;
    double x, warmup;
    uint64_t mem;
    const char *text, *choice, *list, *map, *output_dir, *compute;
} options;

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "flag", .also = "-f", .kind = QL_ARG_BOOL, .at = OF(flag), .help = "a"},
    {.name = "packing", .kind = QL_ARG_BOOL, .at = OF(packing), .fallback = "true", .help = "b"},
    {.name = "max_steps", .kind = QL_ARG_INT, .at = OF(n), .fallback = "-1", .help = "c"},
    {.name = "bits", .kind = QL_ARG_INT, .at = OF(bits), .fallback = "4", .help = "c"},
    {.name = "learning_rate",
     .also = "--lr",
     .kind = QL_ARG_REAL,
     .at = OF(x),
     .fallback = "2e-4",
     .lo = 0,
     .hi = 1,
     .help = "d"},
    {.name = "warmup_ratio", .kind = QL_ARG_REAL, .at = OF(warmup), .help = "d"},
    {.name = "mem", .kind = QL_ARG_SIZE, .at = OF(mem), .help = "e"},
    {.name = "prompt", .kind = QL_ARG_TEXT, .at = OF(text), .help = "f"},
    {.name = "init",
     .kind = QL_ARG_CHOICE,
     .at = OF(choice),
     .fallback = "true",
     .choices = "true gaussian|eva",
     .help = "g"},
    {.name = "lora_target_modules",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_LIST,
     .at = OF(list),
     .help = "h"},
    {.name = "rank_pattern", .kind = QL_ARG_TEXT, .flags = QL_ARG_MAP, .at = OF(map), .help = "h"},
    {.name = "output_dir", .kind = QL_ARG_TEXT, .at = OF(output_dir), .help = "i"},
    {.name = "compute_dtype",
     .kind = QL_ARG_CHOICE,
     .at = OF(compute),
     .fallback = "auto",
     .choices = "auto fp32 bf16|fp16",
     .help = "j"},
};
enum { N_ARGS = sizeof args / sizeof *args };
static const ql_arg other_args[] = {
    {.name = "window", .kind = QL_ARG_INT, .at = 0, .help = "of another command"}};

static bool given[N_ARGS];
static ql_spellings spellings;

static ql_status apply_as(const char *command, options *o, const char *text, size_t len) {
    memset(o, 0, sizeof *o);
    memset(given, 0, sizeof given);
    ql_spellings_free(&spellings);
    const ql_arg_table table = {args, N_ARGS, o, given};
    const ql_arg_table others = {other_args, 1, NULL, NULL};
    const ql_config_scope scope = {.command = command,
                                   .tables = &table,
                                   .n_tables = 1,
                                   .others = &others,
                                   .n_others = 1,
                                   .sp = &spellings};
    ql_status s = ql_args_defaults(&table, 1);
    return s != QL_OK ? s : ql_config_apply(&scope, text, len, "run.yaml");
}

static ql_status apply(options *o, const char *text) {
    return apply_as("train", o, text, strlen(text));
}

static void expect_ok(options *o, const char *text) {
    if (apply(o, text) != QL_OK) fail_msg("%s\n%s", text, ql_last_error());
}

static void expect_refusal(const char *text, const char *sentence) {
    options o;
    if (apply(&o, text) == QL_OK) fail_msg("should be refused: %.200s", text);
    if (!strstr(ql_last_error(), sentence))
        fail_msg("'%s' should be in: %s", sentence, ql_last_error());
}

static void expect_note(const char *text, const char *sentence) {
    options o;
    expect_ok(&o, text);
    for (size_t i = 0; i < spellings.n_notes; i++)
        if (strstr(spellings.notes[i], sentence)) return;
    fail_msg("no remark '%s' on: %s", sentence, text);
}

static bool was_given(const char *name) {
    for (size_t i = 0; i < N_ARGS; i++)
        if (strcmp(args[i].name, name) == 0) return given[i];
    return false;
}

/* ------------------------------------------------------------------- values */

static void scalars_mean_what_their_flag_says(void **state) {
    (void)state;
    options o;
    /* text to a YAML 1.1 reader, numbers to a 1.2 one; numbers to the flag */
    expect_ok(&o, "learning_rate: 2e-5\nmax_steps: 1e3\nmem: 8G\n");
    assert_true(o.x == 2e-5);
    assert_int_equal(o.n, 1000);
    assert_int_equal(o.mem, 8ull << 30);
    expect_ok(&o, "learning-rate: '1e-4'\nmax_steps: \"12\"\nprompt: no\n");
    assert_true(o.x == 1e-4);
    assert_int_equal(o.n, 12);
    assert_string_equal(o.text, "no"); /* a text stays as it is written */
    expect_ok(&o, "lr: .5\nprompt: \"a\\n\\u00e9: #\"\n");
    assert_true(o.x == 0.5);
    assert_string_equal(o.text, "a\n\xc3\xa9: #");
    expect_ok(&o, "max_steps: !!int 5\nlearning_rate: !!float \"3e-4\"\n");
    assert_int_equal(o.n, 5);
    expect_ok(&o, "\xEF\xBB\xBF---\r\n# a remark\r\nmax_steps: 7 # steps\r\n...\r\n");
    assert_int_equal(o.n, 7);
    expect_refusal("max_steps: 012\n", "run.yaml:1:1: max_steps is 012: octal");
    expect_refusal("max_steps: 1.5\n", "run.yaml:1:1: max_steps takes a whole number, not '1.5'");
    expect_refusal("max_steps: 0x10\n", "takes a whole number");
    expect_refusal("flag: true\nlearning_rate: fast\n",
                   "run.yaml:2:1: learning_rate takes a number, not 'fast'");
    expect_refusal("learning_rate: 2\n", "it must be from 0 to 1");
    expect_refusal("learning_rate: .inf\n", "takes a number");
}

static void booleans_take_every_word(void **state) {
    (void)state;
    static const char *const yes[] = {"true", "True", "yes", "on", "ON", "1"};
    static const char *const no[] = {"false", "False", "no", "off", "OFF", "0"};
    options o;
    char text[64];
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        snprintf(text, sizeof text, "flag: %s\npacking: %s\ninit: %s\n", yes[i], no[i], yes[i]);
        expect_ok(&o, text);
        assert_true(o.flag && !o.packing);
        assert_string_equal(o.choice, "true");
    }
    expect_refusal("flag: maybe\n", "flag takes true or false, not 'maybe'");
}

static void null_is_no_value(void **state) {
    (void)state;
    options o;
    expect_ok(&o, "prompt: null\nmem: ~\nlora_target_modules: []\nrank_pattern: {}\nmax_steps: 1\n"
                  "output_dir:\n");
    assert_null(o.text);
    assert_null(o.list);
    assert_null(o.map);
    assert_false(was_given("prompt"));
    expect_ok(&o, "prompt: 'null'\n"); /* in quotes it is a word */
    assert_string_equal(o.text, "null");
    expect_refusal("packing: null\n", "leave the line out for the default, true");
    expect_refusal("promt: null\n", "unknown key 'promt'; did you mean 'prompt'?");
}

static void lists_and_mappings_become_texts(void **state) {
    (void)state;
    options o;
    expect_ok(&o, "lora_target_modules: [q_proj, v_proj]\nrank_pattern:\n  q_proj: 16\n  "
                  "'mlp.down_proj': 4\n");
    assert_string_equal(o.list, "q_proj,v_proj");
    assert_string_equal(o.map, "{\"q_proj\":16,\"mlp.down_proj\":4}");
    expect_ok(&o, "rank_pattern: {a: false, b: 'false', c: True}\n");
    assert_string_equal(o.map, "{\"a\":false,\"b\":\"false\",\"c\":true}");
    expect_ok(&o, "lora_target_modules:\n- q_proj\n- v_proj\nrank_pattern: {a: 0.5, b: [1, 2]}\n");
    assert_string_equal(o.list, "q_proj,v_proj");
    assert_string_equal(o.map, "{\"a\":0.5,\"b\":[1,2]}");
    expect_refusal("max_steps: [1, 2]\n", "run.yaml:1:1: max_steps takes one value, not a list");
    expect_refusal("lora_target_modules: ['a,b']\n", "plain words without commas");
    expect_refusal("lora_target_modules: [[a]]\n", "plain words without commas");
    expect_refusal("max_steps: {a: 1}\n", "takes one value, not a mapping with the key 'a'");
    expect_refusal("rank_pattern: {a: {b: 1}}\n", "run.yaml:1:16: a holds values");
    expect_refusal("rank_pattern: {a: [[1]]}\n", "holds values and lists of values only");
}

/* --------------------------------------------------------------------- names */

static void unknown_keys_name_the_nearest(void **state) {
    (void)state;
    expect_refusal("flag: 1\n\n  \nlearnign_rate: 1\n",
                   "run.yaml:4:1: unknown key 'learnign_rate'; did you mean 'learning_rate'?");
    expect_refusal("xyzzyplugh: 1\n", "run.yaml:1:1: unknown key 'xyzzyplugh'; --help lists");
    expect_refusal("--flag: 1\n", "unknown key '--flag'");
    expect_refusal("f: 1\n", "unknown key 'f'"); /* short names are for the command line */
    expect_refusal("neftune_noise_alpha: 5\n", "'neftune_noise_alpha' is known, not available");
    expect_refusal("init: eva\n", "run.yaml:1:1: init eva is known, not available in this version");
    expect_refusal("xyz: {a: 1}\n", "unknown key 'xyz'");
    expect_refusal("xyz: [a]\n", "unknown key 'xyz'");
}

static void names_of_other_programs_name_ours(void **state) {
    (void)state;
    expect_refusal("micro_batch_size: 2\n",
                   "what other programs call so is here per_device_train_batch_size");
    expect_refusal("base_model: x\n", "is here model_name_or_path");
    expect_refusal("datasets:\n- path: x\n  type: alpaca\n", "is here dataset");
    expect_refusal("lora_parameters: {rank: 8}\n", "is here lora_r");
    expect_refusal("sequence_len: 2048\n", "is here max_seq_len");
}

static void spellings_of_others_are_mapped_said_or_refused(void **state) {
    (void)state;
    options o;
    expect_ok(&o, "bf16: true\nload_in_8bit: yes\nmax_memory_MB: 8000\n");
    assert_string_equal(o.compute, "bf16");
    assert_int_equal(o.bits, 8);
    assert_int_equal(o.mem, 8000000000ull);
    assert_true(was_given("bits"));
    expect_ok(&o,
              "quantization_config:\n  load_in_4bit: true\n  bnb_4bit_compute_dtype: bfloat16\n");
    assert_string_equal(o.compute, "bf16");
    assert_int_equal(o.bits, 4);
    expect_ok(&o, "warmup_steps: 0.25\ntarget_modules: [a, b]\n");
    assert_true(o.warmup == 0.25);
    assert_string_equal(o.list, "a,b");
    expect_ok(&o, "fp16: false\nbf16: null\nfsdp: ''\n");
    assert_string_equal(o.compute, "auto");
    assert_int_equal(spellings.n_notes, 0);
    expect_note("push_to_hub: false\n", "run.yaml:1:1: push_to_hub means nothing here: ");
    expect_note("gradient_checkpointing_kwargs: {use_reentrant: false}\n", "means nothing here");
    expect_note("dataloader_num_workers: 4\n", "means nothing here");
    expect_refusal("push_to_hub: true\n", "copy output_dir/adapter yourself");
    expect_refusal("fp16: true\n", "run.yaml:1:1: fp16 true: activations are fp32 or bf16 here");
    expect_refusal("report_to: wandb\n", "opens no network connection");
    expect_refusal("quantization_config: {load_in_4bit: false}\n", "run.yaml:1:23: load_in_4bit");
    expect_refusal("bf16: maybe\n", "run.yaml:1:1: bf16 has no value 'maybe' here");
    expect_refusal("bits: 4\nload_in_8bit: true\n",
                   "load_in_8bit contradicts the key bits: bits would be 8 and 4");
}

/* ------------------------------------------------------------ whom it is for */

static ql_status apply_for(const char *command, options *o, const char *text) {
    return apply_as(command, o, text, strlen(text));
}

static void one_file_serves_several_commands(void **state) {
    (void)state;
    options o;
    expect_note("window: 5\nmax_steps: 3\n", "run.yaml: not for train: window");
    /* merge has no flag "window": the file is for training, its output_dir is not merge's */
    assert_int_equal(apply_for("merge", &o, "window: 5\noutput_dir: runs/a\nbits: 8\n"), QL_OK);
    assert_null(o.output_dir);
    assert_int_equal(o.bits, 8);
    assert_non_null(strstr(spellings.notes[0], "output_dir is for 'train', not for 'merge'"));
    assert_int_equal(apply_for("merge", &o, "output_dir: runs/a\n"), QL_OK);
    assert_string_equal(o.output_dir, "runs/a");
    assert_int_equal(apply_for("merge", &o, "window: 5\ncommand: merge\noutput_dir: m\n"), QL_OK);
    assert_string_equal(o.output_dir, "m");
    assert_int_equal(apply_for("merge", &o, "command: train\noutput_dir: m\n"), QL_OK);
    assert_null(o.output_dir);
    assert_int_equal(apply_for("data", &o, "command: train\noutput_dir: m\n"), QL_OK);
    assert_null(o.output_dir);
    assert_int_equal(apply_for("data", &o, "output_dir: m\n"), QL_OK);
    assert_null(o.output_dir);
    assert_int_equal(apply_for("data", &o, "command: data\noutput_dir: m\n"), QL_OK);
    assert_string_equal(o.output_dir, "m");
    expect_refusal("command: fly\n", "run.yaml:1:1: command takes the name of a command");
}

static void keys_that_were_not_given_count_as_defaults(void **state) {
    (void)state;
    options o;
    expect_ok(&o, "bits: 4\nlearning_rate: 0.0002\nmax_steps: 9\npacking: true\ninit: yes\n"
                  "given: [packing]\n");
    assert_false(was_given("bits"));
    assert_false(was_given("learning_rate"));
    assert_false(was_given("init"));
    assert_true(was_given("packing"));
    assert_true(was_given("max_steps")); /* somebody changed it since */
    expect_ok(&o, "bits: 4\n");
    assert_true(was_given("bits"));
    expect_refusal("given: bits\n", "given takes a list of keys");
    expect_refusal("given: [[bits]]\n", "given takes a list of keys");
}

/* ------------------------------------------------------------- hostile files */

static void yaml_beyond_settings_is_refused(void **state) {
    (void)state;
    expect_refusal("", "run.yaml: it holds no settings");
    expect_refusal("# only a remark\n", "it holds no settings");
    expect_refusal("just words\n", "run.yaml:1:1: expected settings");
    expect_refusal("- a\n- b\n", "expected settings");
    expect_refusal("max_steps: 1\nflag: 1\nmax_steps: 2\n",
                   "run.yaml:3:1: the key stands on line 1 already: max_steps");
    expect_refusal("max_steps: 1\n---\nmax_steps: 2\n", "run.yaml:2:1: a second document");
    expect_refusal("prompt: !!python/object/apply:os.system ['rm']\n",
                   "run.yaml:1:9: settings are plain values; there is no tag");
    expect_refusal("prompt: !mine x\n", "there is no tag !mine");
    expect_refusal("prompt: &a x\n", "anchors are not read here");
    expect_refusal("prompt: *a\n", "aliases are not read here");
    expect_refusal("<<: {max_steps: 1}\n", "mappings are not merged here");
    expect_refusal("? [a, b]\n: 1\n", "a key is the name of a setting");
    expect_refusal("prompt: \"a\\0b\"\n", "zero byte");
    expect_refusal("\"a\\nb\": 1\n", "a key is the name of a setting");
    expect_refusal("prompt: \"unclosed\n", "run.yaml:");
    expect_refusal("max_steps: 1\n bad indent: 2\n", "run.yaml:");
    expect_refusal("prompt: \xff\xfe\n", "at byte");
    expect_refusal("\tmax_steps: 1\n", "run.yaml:1:1: ");
    options o;
    assert_int_equal(apply_as("train", &o, "prompt: a\0b\n", 12), QL_ERR_FORMAT);
}

/* One sentence and little memory for a text of `n` repetitions. */
static void expect_bounded(const char *before, const char *unit, size_t n, const char *sentence) {
    size_t len = strlen(before), each = strlen(unit);
    char *text = malloc(len + n * each + 1);
    assert_non_null(text);
    memcpy(text, before, len);
    for (size_t i = 0; i < n; i++) memcpy(text + len + i * each, unit, each);
    text[len + n * each] = '\0';
    expect_refusal(text, sentence);
    free(text);
}

static void depth_size_and_number_are_bounded(void **state) {
    (void)state;
    expect_bounded("prompt: ", "[", 100000, "not nested as deep");
    expect_bounded("prompt: ", "{a: ", 100000, "not nested as deep");
    expect_bounded("prompt: ", "- ", 100000, "run.yaml:1:");
    expect_bounded("prompt: [", "a, ", 100000, "more values than settings could need");
    expect_bounded("prompt: ", "xxxxxxxxxxxxxxxx", 70000, "settings have at most 1048576");
    expect_bounded("a: &a [x, x]\nb: &b [", "*a, ", 1000, "anchors are not read here");
    expect_bounded("", "xxxxxxxxxxxxxxxx", 40, "run.yaml:");
    expect_bounded("k: 1\n", "kkkkkkkkkkkkkkkkkkkkkkkkk", 30, "run.yaml:");
}

static int free_spellings(void **state) {
    (void)state;
    ql_spellings_free(&spellings);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_mean_what_their_flag_says),
        cmocka_unit_test(booleans_take_every_word),
        cmocka_unit_test(null_is_no_value),
        cmocka_unit_test(lists_and_mappings_become_texts),
        cmocka_unit_test(unknown_keys_name_the_nearest),
        cmocka_unit_test(names_of_other_programs_name_ours),
        cmocka_unit_test(spellings_of_others_are_mapped_said_or_refused),
        cmocka_unit_test(one_file_serves_several_commands),
        cmocka_unit_test(keys_that_were_not_given_count_as_defaults),
        cmocka_unit_test(yaml_beyond_settings_is_refused),
        cmocka_unit_test(depth_size_and_number_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, free_spellings);
}
