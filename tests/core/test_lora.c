/*
 * test_lora.c - adapter settings against PEFT: what it recorded for 137 configurations of 14 models
 * (tests/golden/make_peft.py): what becomes of every module, and configuration files both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/json.h"
#include "core/model/lora.h"
#include "tests/support/engine.h"

/* ---------------------------------------------------------------- the recording */

static json_t *recorded;

static int read_recorded(void **state) {
    (void)state;
    return ql_json_read(QL_TEST_DATA "/peft/matching.json", &recorded) == QL_OK ? 0 : -1;
}

static int free_recorded(void **state) {
    (void)state;
    json_decref(recorded);
    return 0;
}

static bool listed(const json_t *list, const char *path) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(json_string_value(json_array_get(list, i)), path)) return true;
    return false;
}

static void compare_module(const json_t *k, const char *adapted, const ql_lora_config *c,
                           const char *path, bool linear, const char *input) {
    const json_t *want = json_object_get(json_object_get(k, adapted), path);
    const char *head = json_string_value(json_object_get(k, "head"));
    ql_lora_target t;
    bool saved = false;
    OK(ql_lora_target_of(c, path, !linear || (head && !strcmp(head, path)), &t));
    OK(ql_lora_saves(c, path, &saved));
    char *given = json_dumps(json_object_get(k, "given"), JSON_SORT_KEYS);
    const char *model = json_string_value(json_object_get(k, "model"));
    if (t.adapted != (want != NULL))
        fail_msg("%s %s: %s is %s adapted", model, given, path, t.adapted ? "wrongly" : "not");
    if (saved != listed(json_object_get(k, "saved"), path))
        fail_msg("%s %s: %s is %s saved", model, given, path, saved ? "wrongly" : "not");
    if (ql_lora_has_tokens_of(c, path, !strcmp(path, input)) !=
        listed(json_object_get(k, "tokens"), path))
        fail_msg("%s %s: token rows of %s", model, given, path);
    if (want && (t.r != json_integer_value(json_array_get(want, 0)) ||
                 t.alpha != json_number_value(json_array_get(want, 1)) ||
                 t.scaling != (float)json_number_value(json_array_get(want, 2))))
        fail_msg("%s %s: %s has r %d, alpha %g, scaling %g", model, given, path, t.r, t.alpha,
                 (double)t.scaling);
    free(given);
}

/* Every module that has parameters; how many were compared. `adapted`: key of what PEFT did. */
static int compare_modules(const json_t *k, const char *adapted, const ql_lora_config *c) {
    static const char *const kinds[] = {"linear", "embedding", "other"};
    const char *model = json_string_value(json_object_get(k, "model"));
    const json_t *of = json_object_get(json_object_get(recorded, "modules"), model);
    const char *input = json_string_value(json_array_get(json_object_get(of, "embedding"), 0));
    int n = 0;
    for (int kind = 0; kind < 3; kind++) {
        const json_t *list = json_object_get(of, kinds[kind]);
        for (size_t i = 0; i < json_array_size(list); i++, n++)
            compare_module(k, adapted, c, json_string_value(json_array_get(list, i)), kind == 0,
                           input);
    }
    return n;
}

/* What PEFT was asked for, as the configuration file that would say so. */
static json_t *given_config(const json_t *k) {
    json_t *j = json_deep_copy(json_object_get(k, "given"));
    json_object_set_new(j, "peft_type", json_string("LORA"));
    json_object_set(j, "task_type", json_object_get(k, "task"));
    return j;
}

static void modules_fare_as_in_peft(void **state) {
    (void)state;
    const json_t *cases = json_object_get(recorded, "cases");
    int n = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *k = json_array_get(cases, i);
        /* PEFT writes the patterns sorted, and the first that matches holds. */
        bool again = json_object_get(k, "adapted_when_loaded") != NULL;
        json_t *forms[] = {json_deep_copy(json_object_get(k, "config")), given_config(k)};
        for (int f = 0; f < 2; f++) {
            ql_lora_config c;
            OK(ql_lora_config_parse(forms[f], "case", &c));
            n += compare_modules(k, f == 0 && again ? "adapted_when_loaded" : "adapted", &c);
            ql_lora_config_free(&c);
            json_decref(forms[f]);
        }
    }
    assert_true(n > 4000);
}

/* ---------------------------------------------------------------- files both ways */

static const char **sorted_keys(const json_t *o) {
    const char **list = calloc(json_object_size(o) + 1, sizeof *list);
    const char *key;
    json_t *v;
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) list[n++] = key;
    return list;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Lists of names that PEFT keeps as sets are recorded in order. */
static json_t *in_order(json_t *j, const char *key) {
    json_t *v = json_object_get(j, key), *out = json_array();
    if (!json_is_array(v)) {
        json_decref(out);
        return json_incref(v);
    }
    size_t n = json_array_size(v);
    const char **names = calloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++) names[i] = json_string_value(json_array_get(v, i));
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            json_array_append_new(out, json_string(names[i]));
    free(names);
    return out;
}

static void compare_key(const char *given, const char *key, json_t *ours, json_t *theirs) {
    static const char *const single[] = {"layers_to_transform", "layers_pattern"};
    bool is_set = !strcmp(key, "target_modules") || !strcmp(key, "exclude_modules");
    json_t *want = json_incref(json_object_get(theirs, key));
    json_t *have = is_set ? in_order(ours, key) : json_incref(json_object_get(ours, key));
    for (int i = 0; i < 2; i++) /* one value is written as a list of one */
        if (!strcmp(key, single[i]) && !json_is_array(want) && !json_is_null(want)) {
            json_t *list = json_pack("[o]", want);
            want = list;
        }
    if (!want || !json_equal(want, have)) {
        char *a = json_dumps(have, JSON_ENCODE_ANY), *b = json_dumps(want, JSON_ENCODE_ANY);
        fail_msg("%s: '%s' is written as %s, PEFT writes %s", given, key, a, b);
    }
    json_decref(want);
    json_decref(have);
}

static ql_lora_about about_of(const json_t *k, const char **adapted) {
    const json_t *theirs = json_object_get(k, "config");
    return (ql_lora_about){.task_type = json_string_value(json_object_get(k, "task")),
                           .fan_in_fan_out =
                               json_is_true(json_object_get(theirs, "fan_in_fan_out")),
                           .adapted = adapted,
                           .n_adapted = (int64_t)json_object_size(json_object_get(k, "adapted"))};
}

/* Settings written from what PEFT was given, for the classifier models too, are what PEFT wrote. */
static void configurations_are_written_as_peft_does(void **state) {
    (void)state;
    const json_t *cases = json_object_get(recorded, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *k = json_array_get(cases, i);
        json_t *theirs = json_object_get(k, "config"), *given = given_config(k), *ours, *v;
        char *text = json_dumps(given, 0);
        const char *key, **adapted = sorted_keys(json_object_get(k, "adapted"));
        ql_lora_about about = about_of(k, adapted);
        ql_lora_config c, back;
        OK(ql_lora_config_parse(given, "given", &c));
        OK(ql_lora_config_json(&c, &about, &ours));
        assert_true(json_object_size(ours) >= 25);
        json_object_foreach(ours, key, v) {
            if (!strcmp(key, "base_model_name_or_path")) continue;
            /* For all-linear PEFT lists also what it then saves whole or leaves out. */
            bool less = c.n_save || c.n_exclude || c.exclude_pattern;
            if (c.n_targets || !less || strcmp(key, "target_modules") != 0)
                compare_key(text, key, ours, theirs);
        }
        OK(ql_lora_config_parse(ours, "ours", &back));
        compare_modules(k, "adapted", &back);
        ql_lora_config_free(&c);
        ql_lora_config_free(&back);
        json_decref(ours);
        json_decref(given);
        free(adapted);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_fare_as_in_peft),
        cmocka_unit_test(configurations_are_written_as_peft_does),
    };
    return cmocka_run_group_tests_name("lora", tests, read_recorded, free_recorded);
}
