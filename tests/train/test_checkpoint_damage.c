/*
 * test_checkpoint_damage.c - a checkpoint that is damaged, foreign or hostile is refused by name,
 * and a refusal has changed nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/train/manifest.h"
#include "tests/support/temp_folder.h"
#include "tests/train/run_fixture.h"

/* ---------------------------------------------------------------- damage */

static const char *in(const char *dir, const char *file) {
    static char path[QL_PATH_MAX];
    OK(ql_path_join(path, dir, file));
    return path;
}

static unsigned char *kept; /* state before a refusal */
static size_t kept_bytes;

static void keep_state(job *j) {
    kept = engine_state(j->t, &kept_bytes);
}

/* A refused checkpoint has changed nothing. */
static void assert_untouched(job *j) {
    size_t n = 0;
    unsigned char *now = engine_state(j->t, &n);
    assert_int_equal(n, kept_bytes);
    assert_memory_equal(now, kept, n);
    assert_int_equal(ql_trainer_done(j->t), 2);
    free(now);
}

static void refused(job *j, ql_status want, const char *word) {
    FAILS(ql_checkpoint_check(checkpoint_dir()), want, word);
    FAILS(ql_trainer_resume(j->t, checkpoint_dir()), want, word);
    assert_untouched(j);
}

static void every_damaged_file_is_refused_by_name(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s);
    keep_state(&j);
    for (int i = 0; i < N_FILES; i++) {
        char path[QL_PATH_MAX], *data = NULL;
        size_t n = 0;
        snprintf(path, sizeof path, "%s", in(checkpoint_dir(), checkpoint_files[i]));
        OK(ql_file_read(path, 1u << 26, &data, &n));
        const size_t cuts[] = {0, 1, n / 2, n - 1};
        for (int c = 0; c < 4; c++) {
            OK(ql_file_replace(path, data, cuts[c]));
            refused(&j, QL_ERR_FORMAT, checkpoint_files[i]);
        }
        for (int c = 0; c < 8; c++) { /* one bit of one byte, from the first to the last */
            size_t at = (n - 1) * (size_t)c / 7;
            data[at] = (char)(data[at] ^ 1 << c);
            OK(ql_file_replace(path, data, n));
            refused(&j, QL_ERR_FORMAT, checkpoint_files[i]);
            data[at] = (char)(data[at] ^ 1 << c);
        }
        assert_int_equal(remove(path), 0);
        refused(&j, QL_ERR_NOT_FOUND, checkpoint_files[i]);
        OK(ql_file_replace(path, data, n));
        OK(ql_checkpoint_check(checkpoint_dir())); /* whole again */
        ql_host_free(data);
    }
    OK(ql_trainer_resume(j.t, checkpoint_dir()));
    assert_int_equal(ql_trainer_done(j.t), 1);
    free(kept);
    stop(&j);
}

static void any_changed_byte_of_the_manifest_is_noticed(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s);
    char *data = NULL;
    size_t n = 0;
    OK(ql_file_read(in(checkpoint_dir(), "MANIFEST.json"), 1u << 20, &data, &n));
    int unnoticed = 0;
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)(data[i] ^ 1);
        OK(ql_file_replace(in(checkpoint_dir(), "MANIFEST.json"), data, n));
        if (ql_checkpoint_check(checkpoint_dir()) == QL_OK) {
            if (!unnoticed++) print_error("unnoticed first at byte %zu: %.16s\n", i, data + i);
        }
        data[i] = (char)(data[i] ^ 1);
    }
    for (size_t cut = 0; cut + 1 < n; cut += 7) {
        OK(ql_file_replace(in(checkpoint_dir(), "MANIFEST.json"), data, cut));
        FAILS(ql_checkpoint_check(checkpoint_dir()), QL_ERR_FORMAT, "MANIFEST.json");
    }
    ql_host_free(data);
    assert_int_equal(remove(in(checkpoint_dir(), "MANIFEST.json")), 0);
    FAILS(ql_checkpoint_check(checkpoint_dir()), QL_ERR_NOT_FOUND, "MANIFEST.json");
    FAILS(ql_checkpoint_check(temp_path("no such folder")), QL_ERR_NOT_FOUND, "no such folder");
    assert_int_equal(unnoticed, 0);
    stop(&j);
}

static void a_hostile_manifest_is_refused(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s);
    keep_state(&j);
    static const char *const texts[] = {
        "",
        "[]",
        "3",
        "\"x\"",
        "null",
        "{}",
        "{\"files\": {}}",
        "{\"files\": []}",
        "{\"files\": 7}",
        "{\"version\": 1, \"files\": {\"state.json\": 5}}",
        "{\"version\": 1, \"files\": {\"state.json\": {}}}",
        "{\"version\": 1, \"files\": {\"state.json\": {\"bytes\": 1, \"xxh3_128\": 5}}}",
        "{\"version\": 1, \"files\": {\"state.json\": {\"bytes\": 1, \"xxh3_128\": \"\"}}}",
        "{\"version\": 1, \"files\": {\"../state.json\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"files\": {\"adapter/../../x\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"files\": {\"/etc/passwd\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"files\": {\"\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"version\": 1, \"files\": {}}",
        "{\"files\": \"\xff\xfe\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        OK(ql_file_replace(in(checkpoint_dir(), "MANIFEST.json"), texts[i], strlen(texts[i])));
        refused(&j, QL_ERR_FORMAT, "MANIFEST.json");
    }
    char deep[100001];
    memset(deep, '[', sizeof deep - 1);
    OK(ql_file_replace(in(checkpoint_dir(), "MANIFEST.json"), deep, sizeof deep - 1));
    refused(&j, QL_ERR_FORMAT, "MANIFEST.json");
    free(kept);
    stop(&j);
}

/* A manifest that is right as far as it goes protects only what it lists: it must list everything
 * that resuming reads. */
static void a_manifest_that_leaves_a_file_out_is_refused_by_its_name(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s);
    keep_state(&j);
    for (int i = 0; i < N_FILES; i++) {
        const char *rest[N_FILES];
        int n = 0;
        for (int k = 0; k < N_FILES; k++)
            if (k != i) rest[n++] = checkpoint_files[k];
        OK(ql_manifest_write(checkpoint_dir(), rest, n));
        FAILS(ql_trainer_resume(j.t, checkpoint_dir()), QL_ERR_FORMAT, checkpoint_files[i]);
        assert_untouched(&j);
    }
    free(kept);
    stop(&j);
}

/* ---------------------------------------------------------------- other content */

/* Sets `path` ("settings.batch") of state.json to `text`, or removes it, and signs the folder. */
static void forge(const char *key, const char *text) {
    json_t *doc = NULL;
    OK(ql_json_read(in(checkpoint_dir(), "state.json"), &doc));
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (value)
        json_object_set_new(doc, key, value);
    else
        json_object_del(doc, key);
    OK(ql_json_write(in(checkpoint_dir(), "state.json"), doc));
    json_decref(doc);
    OK(ql_manifest_write(checkpoint_dir(), checkpoint_files, N_FILES));
}

static void a_signed_state_with_impossible_content_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *text, *word;
    } bad[] = {{"version", "3", "version 3"},     {"version", NULL, "version"},
               {"version", "\"1\"", "'version'"}, {"step", "-1", "'step'"},
               {"step", NULL, "'step'"},          {"step", "1.5", "'step'"},
               {"step", "1e300", "'step'"},       {"step", "99999999999999999999", "'step'"},
               {"epoch", "-1", "'epoch'"},        {"next", "11", "'next'"},
               {"next", "-1", "'next'"},          {"next", "\"0\"", "'next'"},
               {"settings", NULL, "state.json"},  {"settings", "[]", "state.json"},
               {"settings", "{}", "state.json"},  {"settings", "null", "state.json"},
               {"notes", NULL, "'notes'"},        {"notes", "[]", "'notes'"}};
    setup s = usual();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        job j = saved(&s);
        keep_state(&j);
        forge(bad[i].key, bad[i].text);
        ql_status got = ql_trainer_resume(j.t, checkpoint_dir());
        if ((got != QL_ERR_FORMAT && got != QL_ERR_INVALID && got != QL_ERR_UNSUPPORTED) ||
            !strstr(ql_last_error(), bad[i].word))
            fail_msg("%s = %s: %s '%s', wanted '%s'", bad[i].key,
                     bad[i].text ? bad[i].text : "(absent)", ql_status_name(got), ql_last_error(),
                     bad[i].word);
        assert_untouched(&j);
        free(kept);
        stop(&j);
    }
}

static void a_missing_position_is_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"epoch", "next"};
    setup s = usual();
    for (int i = 0; i < 2; i++) {
        job j = saved(&s);
        forge(keys[i], NULL);
        FAILS(ql_trainer_resume(j.t, checkpoint_dir()), QL_ERR_FORMAT, keys[i]);
        stop(&j);
    }
}

/* Signed, but of another run: nothing of it may have been taken over. */
static void foreign_tensors_are_refused_and_change_nothing(void **state) {
    (void)state;
    setup s = usual(), other = usual();
    other.lora.r = 8;
    job big = start(&other);
    OK(ql_trainer_save(big.t, temp_path("foreign")));
    stop(&big);
    static const char *const swapped[] = {"optimizer.safetensors",
                                          "adapter/adapter_model.safetensors"};
    for (int i = 0; i < 2; i++) {
        job j = saved(&s);
        keep_state(&j);
        char *data = NULL;
        size_t n = 0;
        OK(ql_file_read(in(temp_path("foreign"), swapped[i]), 1u << 26, &data, &n));
        OK(ql_file_replace(in(checkpoint_dir(), swapped[i]), data, n));
        OK(ql_manifest_write(checkpoint_dir(), checkpoint_files, N_FILES));
        ql_status got = ql_trainer_resume(j.t, checkpoint_dir());
        assert_true(got == QL_ERR_FORMAT || got == QL_ERR_SHAPE);
        assert_non_null(strstr(ql_last_error(), swapped[i]));
        assert_untouched(&j);
        ql_host_free(data);
        free(kept);
        stop(&j);
    }
}

static void change(setup *s, int which) {
    switch (which) {
    case 0: s->o.batch = 1; break;
    case 1: s->o.accumulate = 4; break;
    case 2: s->o.max_len = 40; break;
    case 3: s->o.packing = true; break;
    case 4: s->o.shuffle = false; break;
    case 5: s->o.seed = 4; break;
    case 6: s->o.data_seed ^= 1; break; /* below the digits of a double */
    case 7: s->o.schedule.kind = QL_SCHEDULE_LINEAR; break;
    case 8: s->o.schedule.lr = 2e-2; break;
    case 9: s->o.schedule.warmup = 1; break;
    case 10: s->o.max_steps = 7; break;
    case 11: s->o.weight_decay = 0; break;
    case 12: s->o.max_grad_norm = 1; break;
    case 13: s->o.beta1 = 0.8; break;
    case 14: s->o.beta2 = 0.99; break;
    case 15: s->o.epsilon = 1e-6; break;
    case 16: s->o.compute = QL_BF16; break;
    case 17: s->lora.dropout = 0.2; break;
    case 18: s->rows = 11; break;
    case 19: s->o.label_smoothing = 0.1; break;
    case 20: s->lora.alpha = 32; break;
    case 21: s->lora.rslora = true; break;
    case 22: s->bits = 16; break;
    case 23: s->quant.type = ql_qtype_find("fp4")->id; break;
    case 24: s->quant.double_quant = false; break;
    case 25: s->o.optim = ql_optim_find("lion"); break;
    case 26: s->o.momentum = 0.5; break;
    default: s->lora.r = 2; break;
    }
}

/* What changes the numbers of a run is refused by its name, what does not is allowed. */
static void other_settings_are_refused_by_name(void **state) {
    (void)state;
    static const char *const names[] = {
        "batch",       "accumulate",   "max_len",       "packing",       "shuffle",
        "seed",        "data_seed",    "schedule",      "learning_rate", "warmup",
        "total_steps", "weight_decay", "max_grad_norm", "beta1",         "beta2",
        "epsilon",     "compute",      "lora_dropout",  "rows",          "label_smoothing",
        "lora_alpha",  "rslora",       "bits",          "quant",         "double_quant",
        "optim",       "momentum",     "lora_r"};
    setup s = usual();
    job j = saved(&s);
    stop(&j);
    int wrong = 0;
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        setup other = usual();
        change(&other, i);
        job k = start(&other);
        ql_status got = ql_trainer_resume(k.t, checkpoint_dir());
        if (got != QL_ERR_INVALID || !strstr(ql_last_error(), names[i])) {
            print_error("%s: %s %s\n", names[i], ql_status_name(got),
                        got == QL_OK ? "" : ql_last_error());
            wrong++;
        }
        if (got != QL_OK) assert_int_equal(ql_trainer_done(k.t), 0);
        stop(&k);
    }
    setup same = usual(); /* these are free to change */
    same.o.checkpoint = 0;
    same.o.evaluate = true;
    job k = start(&same);
    OK(ql_trainer_resume(k.t, checkpoint_dir()));
    stop(&k);
    assert_int_equal(wrong, 0);
}

/* The same number of rows of the same lengths, one id or label of which is another. */
static void changed_rows_are_refused(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s);
    keep_state(&j);
    int n = j.data->items[s.rows - 1].n;
    const int places[] = {1, n, 2 * n}; /* first id, last id, last label */
    for (int i = 0; i < 3; i++) {
        setup other = s;
        other.flip = places[i];
        job k = start(&other);
        FAILS(ql_trainer_resume(k.t, checkpoint_dir()), QL_ERR_INVALID, "rows have changed");
        assert_int_equal(ql_trainer_done(k.t), 0);
        stop(&k);
    }
    assert_untouched(&j);
    OK(ql_trainer_resume(j.t, checkpoint_dir()));
    free(kept);
    stop(&j);
}

/* Adapters on other modules with the same number of elements. */
static void other_targets_are_refused(void **state) {
    (void)state;
    setup s = usual(), other = usual();
    OK(ql_lora_set_targets(&s.lora, "gate_proj"));
    OK(ql_lora_set_targets(&other.lora, "up_proj"));
    job j = saved(&s);
    stop(&j);
    job k = start(&other);
    ql_status got = ql_trainer_resume(k.t, checkpoint_dir());
    assert_true(got != QL_OK);
    assert_int_equal(ql_trainer_done(k.t), 0); /* and nothing was taken over before that was seen */
    stop(&k);
    ql_lora_config_free(&s.lora);
    ql_lora_config_free(&other.lora);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_damaged_file_is_refused_by_name),
        cmocka_unit_test(any_changed_byte_of_the_manifest_is_noticed),
        cmocka_unit_test(a_hostile_manifest_is_refused),
        cmocka_unit_test(a_manifest_that_leaves_a_file_out_is_refused_by_its_name),
        cmocka_unit_test(a_signed_state_with_impossible_content_is_refused),
        cmocka_unit_test(a_missing_position_is_refused),
        cmocka_unit_test(foreign_tensors_are_refused_and_change_nothing),
        cmocka_unit_test(other_settings_are_refused_by_name),
        cmocka_unit_test(changed_rows_are_refused),
        cmocka_unit_test(other_targets_are_refused),
    };
    return cmocka_run_group_tests_name("checkpoint_damage", tests, NULL, NULL);
}
