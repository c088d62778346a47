/*
 * test_lora_values.c - adapter settings: what is refused and by which name, settings from text,
 * copies, lack of memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/model/lora.h"
#include "tests/support/engine.h"

/* ---------------------------------------------------------------- hostile and refused values */

static ql_status parse_with(const char *key, const char *value, ql_lora_config *out) {
    json_t *j = json_pack("{s:s, s:[s], s:s}", "peft_type", "LORA", "target_modules", "q_proj",
                          "task_type", "CAUSAL_LM");
    if (value)
        json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(j, key);
    assert_true(!value || json_object_get(j, key));
    ql_status s = ql_lora_config_parse(j, "file", out);
    json_decref(j);
    return s;
}

static void what_cannot_be_honoured_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *key, *value;
        ql_status status;
        const char *word;
    } cases[] = {
        {"bias", "\"all\"", QL_ERR_UNSUPPORTED, "bias 'all'"},
        {"bias", "\"lora_only\"", QL_ERR_UNSUPPORTED, "lora_only"},
        {"lora_bias", "true", QL_ERR_UNSUPPORTED, "lora_bias"},
        {"use_qalora", "true", QL_ERR_UNSUPPORTED, "use_qalora"},
        {"layer_replication", "[[0, 2]]", QL_ERR_UNSUPPORTED, "layer_replication"},
        {"target_parameters", "[\"w\"]", QL_ERR_UNSUPPORTED, "target_parameters"},
        {"velora_config", "{\"a\": 1}", QL_ERR_UNSUPPORTED, "velora_config"},
        {"init_lora_weights", "\"mica\"", QL_ERR_UNSUPPORTED, "mica"},
        {"init_lora_weights", "\"pissa\"", QL_ERR_UNSUPPORTED, "pissa"},
        {"init_lora_weights", "\"pissa_niter_4\"", QL_ERR_UNSUPPORTED, "pissa"},
        {"init_lora_weights", "\"olora\"", QL_ERR_UNSUPPORTED, "olora"},
        {"init_lora_weights", "\"corda\"", QL_ERR_UNSUPPORTED, "corda"},
        {"alora_invocation_tokens", "[1]", QL_ERR_UNSUPPORTED, "alora_invocation_tokens"},
        {"use_bdlora", "{\"nblocks\": 2}", QL_ERR_UNSUPPORTED, "use_bdlora"},
        {"kasa_config", "{\"beta\": 1}", QL_ERR_UNSUPPORTED, "kasa_config"},
        {"monteclora_config", "{\"a\": 1}", QL_ERR_UNSUPPORTED, "monteclora_config"},
        {"arrow_config", "{\"top_k\": 2}", QL_ERR_UNSUPPORTED, "arrow_config"},
        {"peft_type", "\"IA3\"", QL_ERR_UNSUPPORTED, "IA3"},
        {"peft_type", "\"ADALORA\"", QL_ERR_UNSUPPORTED, "ADALORA"},
        {"peft_type", NULL, QL_ERR_UNSUPPORTED, "absent"},
        {"peft_type", "7", QL_ERR_FORMAT, "peft_type"},
        {"r", "0", QL_ERR_FORMAT, "'r'"},
        {"r", "1e30", QL_ERR_FORMAT, "'r'"},
        {"r", "\"8\"", QL_ERR_FORMAT, "'r'"},
        {"lora_alpha", "-1", QL_ERR_FORMAT, "lora_alpha"},
        {"lora_alpha", "0", QL_ERR_INVALID, "lora_alpha"},
        {"lora_alpha", "[16]", QL_ERR_FORMAT, "lora_alpha"},
        {"lora_dropout", "1.5", QL_ERR_FORMAT, "lora_dropout"},
        {"lora_dropout", "1", QL_ERR_INVALID, "lora_dropout"},
        {"use_rslora", "1", QL_ERR_FORMAT, "use_rslora"},
        {"target_modules", NULL, QL_ERR_FORMAT, "target_modules"},
        {"target_modules", "[]", QL_ERR_FORMAT, "target_modules"},
        {"target_modules", "{}", QL_ERR_FORMAT, "target_modules"},
        {"target_modules", "[\"q_proj\", 3]", QL_ERR_FORMAT, "target_modules"},
        {"task_type", "\"TOKEN_CLS\"", QL_ERR_UNSUPPORTED, "TOKEN_CLS"},
        {"task_type", "\"FEATURE_EXTRACTION\"", QL_ERR_UNSUPPORTED, "FEATURE_EXTRACTION"},
        {"task_type", "4", QL_ERR_FORMAT, "task_type"},
        {"trainable_token_indices", "{\"a\": [1], \"b\": [2]}", QL_ERR_UNSUPPORTED, "several"},
        {"trainable_token_indices", "{\"a\": 1}", QL_ERR_FORMAT, "list of token ids"},
        {"trainable_token_indices", "7", QL_ERR_FORMAT, "list of token ids"},
        {"trainable_token_indices", "[1, -1]", QL_ERR_FORMAT, "whole numbers"},
        {"trainable_token_indices", "[1, 2, 1]", QL_ERR_INVALID, "token 1 twice"},
        {"trainable_token_indices", "[1.5]", QL_ERR_FORMAT, "whole numbers"},
        {"trainable_token_indices", "[4294967296]", QL_ERR_FORMAT, "whole numbers"},
        {"rank_pattern", "[1]", QL_ERR_FORMAT, "object of numbers"},
        {"rank_pattern", "{\"q\": \"8\"}", QL_ERR_FORMAT, "must be a number"},
        {"rank_pattern", "{\"q\": 0}", QL_ERR_INVALID, "rank of 'q' is 0"},
        {"rank_pattern", "{\"q\": 1.5}", QL_ERR_INVALID, "rank of 'q' is 1.5"},
        {"rank_pattern", "{\"q\": 1e300}", QL_ERR_INVALID, "rank of 'q'"},
        {"rank_pattern", "{\"q(\": 8}", QL_ERR_INVALID, "rank_pattern 'q('"},
        {"alpha_pattern", "{\"q\": -1}", QL_ERR_INVALID, "alpha of 'q' is -1"},
        {"alpha_pattern", "{\"q\": null}", QL_ERR_FORMAT, "must be a number"},
        {"alpha_pattern", "{\"[\": 8}", QL_ERR_INVALID, "alpha_pattern '['"},
        {"modules_to_save", "\"lm_head\"", QL_ERR_FORMAT, "list of names"},
        {"modules_to_save", "[\"\"]", QL_ERR_FORMAT, "other than names"},
        {"modules_to_save", "[[]]", QL_ERR_FORMAT, "other than names"},
        {"modules_to_save", "[\"a\", \"(\"]", QL_ERR_INVALID, "modules_to_save '('"},
        {"exclude_modules", "{}", QL_ERR_FORMAT, "list of names"},
        {"exclude_modules", "[1]", QL_ERR_FORMAT, "other than names"},
        {"exclude_modules", "\"a{,3}\"", QL_ERR_INVALID, "{0,n}"},
        {"layers_to_transform", "\"0\"", QL_ERR_FORMAT, "whole numbers"},
        {"layers_to_transform", "[0, true]", QL_ERR_FORMAT, "whole numbers"},
        {"layers_to_transform", "-2", QL_ERR_FORMAT, "whole numbers"},
        {"layers_pattern", "\"layers\"", QL_ERR_INVALID, "without layers_to_transform"},
        {"layers_pattern", "[\"layers\", 1]", QL_ERR_FORMAT, "other than names"},
        {"layers_pattern", "3", QL_ERR_FORMAT, "list of names"},
        {"use_dora", "\"yes\"", QL_ERR_FORMAT, "use_dora"},
        {"fan_in_fan_out", "1", QL_ERR_FORMAT, "fan_in_fan_out"},
        {"target_modules", "\"\"", QL_ERR_FORMAT, "target_modules"},
        {"target_modules", "\"(?<idx>\"", QL_ERR_INVALID, "lora_target_modules"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_lora_config c = {.r = 77};
        FAILS(parse_with(cases[i].key, cases[i].value, &c), cases[i].status, cases[i].word);
        assert_true(c.r == 77 && !c.memory.blocks);
    }
    assert_int_equal(ql_hostmem_live(), 0);
    json_t *list = json_array();
    ql_lora_config c;
    FAILS(ql_lora_config_parse(list, "list", &c), QL_ERR_FORMAT, "JSON object");
    json_decref(list);
}

/* The rest is as PEFT's LoraConfig has it by default: r 8, alpha 8. */
static void settings_that_change_nothing_are_read_over(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"task_type", NULL},
                                           {"task_type", "null"},
                                           {"inference_mode", "false"},
                                           {"init_lora_weights", "false"},
                                           {"init_lora_weights", "\"orthogonal\""},
                                           {"init_lora_weights", "\"eva\""},
                                           {"rank_pattern", "null"},
                                           {"rank_pattern", "{}"},
                                           {"modules_to_save", "[]"},
                                           {"exclude_modules", "[]"},
                                           {"exclude_modules", "\"\""},
                                           {"layers_to_transform", "[]"},
                                           {"layers_pattern", "\"\""},
                                           {"trainable_token_indices", "{}"},
                                           {"trainable_token_indices", "[]"},
                                           {"fan_in_fan_out", "true"},
                                           {"ensure_weight_tying", "true"},
                                           {"megatron_core", NULL},
                                           {"a_key_of_a_later_version", "null"},
                                           {"base_model_name_or_path", "null"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_lora_config c;
        OK(parse_with(cases[i][0], cases[i][1], &c));
        assert_true(c.r == 8 && c.alpha == 8 && c.dropout == 0 && c.n_targets == 1);
        assert_true(!c.rslora && !c.dora && !c.n_rank && !c.n_alpha && !c.n_save && !c.n_exclude);
        assert_true(!c.exclude_pattern && !c.n_layers && !c.n_layers_pattern && !c.tokens.n);
        ql_lora_config_free(&c);
    }
}

static void settings_contradict_each_other(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    OK(ql_lora_set_layers(&c, "0"));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "with all-linear");
    OK(ql_lora_set_targets(&c, ".*_proj"));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "with an expression");
    OK(ql_lora_set_targets(&c, "q_proj"));
    OK(ql_lora_check(&c));
    OK(ql_lora_set_saved(&c, "embed_tokens"));
    OK(ql_lora_set_tokens(&c, "{\"embed_tokens\": [1]}"));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "modules_to_save, which trains all");
    ql_lora_config_free(&c);
    FAILS(parse_with("layers_pattern", "[\"\"]", &c), QL_ERR_FORMAT, "layers_pattern");
    json_t *j = json_pack("{s:s, s:[s], s:b, s:[s]}", "peft_type", "LORA", "target_modules",
                          "q_proj", "ensure_weight_tying", 1, "modules_to_save", "embed_tokens");
    FAILS(ql_lora_config_parse(j, "file", &c), QL_ERR_UNSUPPORTED, "ensure_weight_tying");
    json_decref(j);
}

/* PEFT would put an adapter inside a module that it then saves whole, by the end of its name. */
static void a_module_is_adapted_or_saved(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    ql_lora_target t;
    OK(ql_lora_set_targets(&c, "q_proj"));
    OK(ql_lora_set_saved(&c, "proj"));
    FAILS(ql_lora_target_of(&c, "layers.0.q_proj", false, &t), QL_ERR_UNSUPPORTED, "q_proj");
    OK(ql_lora_target_of(&c, "layers.0.k_proj", false, &t));
    OK(ql_lora_set_saved(&c, "attn"));
    FAILS(ql_lora_target_of(&c, "0.self_attn.q_proj", false, &t), QL_ERR_UNSUPPORTED, "q_proj");
    OK(ql_lora_set_saved(&c, "self_attn"));
    OK(ql_lora_target_of(&c, "0.self_attn.q_proj", false, &t));
    assert_false(t.adapted);
    ql_lora_config_free(&c);
}

static void a_slow_expression_is_an_error(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    ql_lora_target t;
    char module[200];
    memset(module, 'a', sizeof module - 1);
    module[sizeof module - 1] = '\0';
    OK(ql_lora_set_targets(&c, "(a+)+[bc]"));
    OK(ql_lora_check(&c));
    FAILS(ql_lora_target_of(&c, module, false, &t), QL_ERR_INVALID, "cannot be matched");
    OK(ql_lora_set_targets(&c, "(a|aa)+(?R)"));
    if (ql_lora_check(&c) == QL_OK)
        FAILS(ql_lora_target_of(&c, module, false, &t), QL_ERR_INVALID, "cannot be matched");
    OK(ql_lora_set_targets(&c, ".*\xff"));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "UTF-8");
    char *huge = calloc(70001, 1);
    memset(huge, '(', 70000);
    OK(ql_lora_set_targets(&c, huge));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "70000 characters");
    huge[60000] = '\0';
    OK(ql_lora_set_targets(&c, huge));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "lora_target_modules");
    free(huge);
    ql_lora_config_free(&c);
}

/* ---------------------------------------------------------------- settings from text */

static void settings_are_read_from_text(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    OK(ql_lora_set_layers(&c, "0, 3,5-7"));
    static const int32_t layers[] = {0, 3, 5, 6, 7};
    assert_int_equal(c.n_layers, 5);
    assert_memory_equal(c.layers, layers, sizeof layers);
    OK(ql_lora_set_rank_pattern(&c, "q_proj=16,mlp.down_proj=4"));
    assert_true(c.n_rank == 2 && c.rank_pattern[0].value == 16 && c.rank_pattern[1].value == 4);
    assert_string_equal(c.rank_pattern[1].pattern, "mlp.down_proj");
    OK(ql_lora_set_alpha_pattern(&c, " {\"(q|v)_proj\": 2.5}"));
    assert_true(c.n_alpha == 1 && c.alpha_pattern[0].value == 2.5);
    OK(ql_lora_set_tokens(&c, "5,6,9-10"));
    assert_true(c.tokens.n == 4 && c.tokens.ids[3] == 10 && !c.tokens.module);
    OK(ql_lora_set_tokens(&c, "[8]"));
    assert_true(c.tokens.n == 1 && c.tokens.ids[0] == 8);
    OK(ql_lora_set_tokens(&c, "{\"wte\": [3, 1]}"));
    assert_true(c.tokens.n == 2 && c.tokens.ids[0] == 3);
    assert_string_equal(c.tokens.module, "wte");
    OK(ql_lora_set_exclude(&c, "lm_head,k_proj"));
    assert_true(c.n_exclude == 2 && !c.exclude_pattern);
    OK(ql_lora_set_exclude(&c, ".*k_proj"));
    assert_true(c.n_exclude == 0 && c.exclude_pattern);
    OK(ql_lora_set_layers_pattern(&c, "h,layers"));
    assert_int_equal(c.n_layers_pattern, 2);
    OK(ql_lora_set_saved(&c, "score,,x"));
    assert_int_equal(c.n_save, 2);
    OK(ql_lora_for_task(&c, "CAUSAL_LM"));
    assert_int_equal(c.n_save, 2);
    OK(ql_lora_for_task(&c, "SEQ_CLS"));
    OK(ql_lora_for_task(&c, "SEQ_CLS"));
    assert_int_equal(c.n_save, 3);
    assert_string_equal(c.modules_to_save[2], "classifier");
    ql_lora_config_free(&c);
}

static void other_text_is_refused(void **state) {
    (void)state;
    typedef ql_status (*set_fn)(ql_lora_config *, const char *);
    static const struct {
        set_fn set;
        const char *text, *word;
    } cases[] = {{ql_lora_set_layers, "", "layers_to_transform"},
                 {ql_lora_set_layers, "1,", "layers_to_transform"},
                 {ql_lora_set_layers, ",1", "layers_to_transform"},
                 {ql_lora_set_layers, "7-5", "layers_to_transform"},
                 {ql_lora_set_layers, "-1", "layers_to_transform"},
                 {ql_lora_set_layers, "1-", "layers_to_transform"},
                 {ql_lora_set_layers, "1 2", "layers_to_transform"},
                 {ql_lora_set_layers, "0x3", "layers_to_transform"},
                 {ql_lora_set_layers, "99999999999999999999", "layers_to_transform"},
                 {ql_lora_set_layers, "0-1073741824", "more than"},
                 {ql_lora_set_tokens, "", "trainable_token_indices"},
                 {ql_lora_set_tokens, "a", "trainable_token_indices"},
                 {ql_lora_set_tokens, "[1", "not valid JSON"},
                 {ql_lora_set_tokens, "[[1]]", "whole numbers"},
                 {ql_lora_set_tokens, "{\"a\": 1, \"b\": 2}", "several"},
                 {ql_lora_set_rank_pattern, "", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "q_proj", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "=4", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "q=", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "q=4x", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "q=4,", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "q=1111111111111111111111111111111111", "rank_pattern"},
                 {ql_lora_set_rank_pattern, "{\"q\": 1, \"q\": 2}", "duplicate"},
                 {ql_lora_set_alpha_pattern, "[1]", "object of numbers"},
                 {ql_lora_set_saved, ",", "modules_to_save"},
                 {ql_lora_set_exclude, "", "exclude_modules"},
                 {ql_lora_set_targets, "", "lora_target_modules"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_lora_config c = ql_lora_config_default();
        ql_status s = cases[i].set(&c, cases[i].text);
        if (s == QL_OK || !strstr(ql_last_error(), cases[i].word))
            fail_msg("'%s': %s", cases[i].text, s == QL_OK ? "accepted" : ql_last_error());
        ql_lora_config_free(&c);
    }
    ql_lora_config c = ql_lora_config_default();
    OK(ql_lora_set_rank_pattern(&c, "q=nan"));
    FAILS(ql_lora_check(&c), QL_ERR_INVALID, "rank of 'q' is nan");
    ql_lora_config_free(&c);
}

/* ---------------------------------------------------------------- memory */

/* A configuration with every list, copied; the original is freed first. */
static ql_status parse_and_copy(const json_t *j, ql_lora_config *out) {
    ql_lora_config c;
    QL_TRY(ql_lora_config_parse(j, "file", &c));
    ql_status s = ql_lora_config_copy(&c, out);
    ql_lora_config_free(&c);
    return s;
}

static json_t *full_config(void) {
    return json_pack(
        "{s:s, s:[s,s], s:{s:i}, s:{s:f}, s:[s], s:s, s:[i,i], s:[s], s:{s:[i,i]}, s:b}",
        "peft_type", "LORA", "target_modules", "q_proj", "v_proj", "rank_pattern", "q_proj", 3,
        "alpha_pattern", "v.*", 2.5, "modules_to_save", "norm", "exclude_modules", ".*x",
        "layers_to_transform", 0, 1, "layers_pattern", "h", "trainable_token_indices", "wte", 4, 2,
        "use_dora", 1);
}

static void a_copy_stands_alone(void **state) {
    (void)state;
    json_t *j = full_config(), *first, *second;
    const ql_lora_about about = {.task_type = "CAUSAL_LM"};
    ql_lora_config c, copy;
    OK(ql_lora_config_parse(j, "file", &c));
    OK(ql_lora_config_json(&c, &about, &first));
    ql_lora_config_free(&c);
    OK(parse_and_copy(j, &copy));
    OK(ql_lora_config_json(&copy, &about, &second));
    assert_true(json_equal(first, second) && copy.dora && copy.n_layers == 2);
    ql_lora_config_free(&copy);
    json_decref(first);
    json_decref(second);
    json_decref(j);
}

static void a_lack_of_memory_leaves_nothing_behind(void **state) {
    (void)state;
    json_t *j = full_config();
    size_t before = ql_hostmem_live();
    int failures = 0;
    for (long n = 1; n < 100; n++) {
        ql_lora_config c = {0};
        ql_hostmem_fail_after(n);
        ql_status s = parse_and_copy(j, &c);
        ql_hostmem_fail_after(0);
        if (s == QL_OK) {
            ql_lora_config_free(&c);
            break;
        }
        assert_int_equal(s, QL_ERR_NOMEM_HOST);
        assert_int_equal(ql_hostmem_live(), before);
        failures++;
    }
    assert_true(failures >= 2 && failures < 90);
    json_decref(j);
}

static void scaling_is_alpha_over_r_or_over_its_root(void **state) {
    (void)state;
    ql_lora_config c = {.r = 16, .alpha = 24};
    assert_true(ql_lora_scaling(&c) == 1.5f);
    c.rslora = true;
    assert_true(ql_lora_scaling(&c) == 6.0f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_honoured_is_refused_by_name),
        cmocka_unit_test(settings_that_change_nothing_are_read_over),
        cmocka_unit_test(settings_contradict_each_other),
        cmocka_unit_test(a_module_is_adapted_or_saved),
        cmocka_unit_test(a_slow_expression_is_an_error),
        cmocka_unit_test(settings_are_read_from_text),
        cmocka_unit_test(other_text_is_refused),
        cmocka_unit_test(a_copy_stands_alone),
        cmocka_unit_test(a_lack_of_memory_leaves_nothing_behind),
        cmocka_unit_test(scaling_is_alpha_over_r_or_over_its_root),
    };
    return cmocka_run_group_tests_name("lora_values", tests, NULL, NULL);
}
