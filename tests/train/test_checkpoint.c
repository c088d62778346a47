/*
 * test_checkpoint.c - a run that stops and resumes is the run that did not stop, bit for bit; a
 * checkpoint that is damaged, foreign or hostile is refused by name; a full disk costs nothing.
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
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

static const char *const files[] = {"adapter/adapter_config.json",
                                    "adapter/adapter_model.safetensors", "optimizer.safetensors",
                                    "state.json"};
enum { N_FILES = sizeof files / sizeof *files, STEPS = 6 };

/* What a run is made of. */
typedef struct setup {
    const char *model;
    int bits, rows;
    bool full;
    ql_lora_config lora;
    ql_quant_opts quant;
    ql_train_opts o;
} setup;

typedef struct job {
    ql_device *dev;
    ql_model *m;
    ql_dataset *data; /* where the trainer looks for it */
    ql_trainer *t;
} job;

/* 10 rows in micro-batches of 2, 2 of them a step: 3 steps an epoch. */
static setup usual(void) {
    setup s = {.model = "tiny-llama", .bits = 4, .rows = 10, .quant = ql_quant_opts_default()};
    s.lora = ql_lora_config_default();
    s.lora.r = 4;
    s.lora.dropout = 0.1;
    s.o = ql_train_opts_default();
    s.o.batch = 2;
    s.o.accumulate = 2;
    s.o.max_len = 31;
    s.o.max_steps = STEPS;
    s.o.schedule = (ql_schedule){.kind = QL_SCHEDULE_COSINE, .lr = 1e-2, .warmup = 2};
    s.o.weight_decay = 0.01;
    s.o.seed = 3;
    s.o.data_seed = 0x8000000000000005u; /* all 64 bits count */
    return s;
}

static job start(const setup *s) {
    job j = {.dev = engine_device(1)};
    char path[QL_PATH_MAX];
    OK(ql_path_join(path, QL_TEST_DATA "/models", s->model));
    ql_source *source = NULL;
    OK(ql_source_open(path, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = s->full ? 16 : s->bits;
    o.quant = s->quant;
    o.full = s->full;
    o.optimizer = true;
    OK(ql_model_open(source, &o, &j.m));
    if (!s->full) OK(ql_model_attach_lora(j.m, &s->lora));
    j.data = calloc(1, sizeof *j.data);
    *j.data = engine_data(s->rows, s->o.max_len, (int32_t)j.m->arch.vocab);
    OK(ql_trainer_create(j.m, &s->o, j.dev, j.data, &j.t));
    return j;
}

static void stop(job *j) {
    ql_trainer_free(j->t);
    ql_model_close(j->m);
    ql_dataset_free(j->data);
    free(j->data);
    assert_int_equal(engine_counts(j->dev).device_bytes, 0);
    engine_close(j->dev);
}

static void steps(job *j, int n, ql_step_metrics *out) {
    for (int i = 0; i < n; i++) OK(ql_trainer_step(j->t, &out[i]));
}

static void assert_same_state(job *a, job *b) {
    size_t na = 0, nb = 0;
    unsigned char *x = engine_state(a->t, &na), *y = engine_state(b->t, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* ---------------------------------------------------------------- resuming */

/* 6 steps at once against k, save, a new trainer, resume, 6 - k. */
static void compare_with_a_stop(const setup *s, int k) {
    ql_step_metrics whole[STEPS], parts[STEPS];
    memset(whole, 0, sizeof whole);
    memset(parts, 0, sizeof parts);
    job a = start(s), b = start(s);
    steps(&a, STEPS, whole);
    steps(&b, k, parts);
    OK(ql_trainer_save(b.t, temp_path("stop")));
    OK(ql_checkpoint_check(temp_path("stop")));
    stop(&b);
    job c = start(s);
    OK(ql_trainer_resume(c.t, temp_path("stop")));
    assert_int_equal(ql_trainer_done(c.t), k);
    steps(&c, STEPS - k, parts + k);
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(whole[i].step, i + 1);
        assert_int_equal(parts[i].step, i + 1);
        assert_int_equal(whole[i].tokens, parts[i].tokens);
        assert_int_equal(whole[i].supervised, parts[i].supervised);
        assert_true(whole[i].loss == parts[i].loss && whole[i].lr == parts[i].lr);
        assert_true(whole[i].grad_norm == parts[i].grad_norm && whole[i].epoch == parts[i].epoch);
    }
    assert_same_state(&a, &c);
    stop(&a);
    stop(&c);
}

static void resuming_is_bit_equal_anywhere_in_an_epoch(void **state) {
    (void)state;
    setup s = usual();
    for (int k = 1; k < STEPS; k++) compare_with_a_stop(&s, k); /* 3: at the end of an epoch */
}

static void resuming_is_bit_equal_with_packing_bf16_and_full_training(void **state) {
    (void)state;
    setup s = usual();
    s.o.packing = true;
    compare_with_a_stop(&s, 1);
    compare_with_a_stop(&s, 2);
    s = usual();
    s.o.compute = QL_BF16;
    s.lora.rslora = true;
    compare_with_a_stop(&s, 2);
    s = usual();
    s.full = true;
    s.model = "tiny-mistral";
    compare_with_a_stop(&s, 2);
    compare_with_a_stop(&s, 3);
}

static void a_checkpoint_of_a_checkpoint_is_the_same_bytes(void **state) {
    (void)state;
    setup s = usual();
    job a = start(&s), b = start(&s);
    ql_step_metrics m[2];
    steps(&a, 2, m);
    OK(ql_trainer_save(a.t, temp_path("first")));
    OK(ql_trainer_resume(b.t, temp_path("first")));
    OK(ql_trainer_save(b.t, temp_path("second")));
    for (int i = 0; i < N_FILES; i++) {
        char p[QL_PATH_MAX], *x = NULL, *y = NULL;
        size_t nx = 0, ny = 0;
        OK(ql_path_join(p, temp_path("first"), files[i]));
        OK(ql_file_read(p, 1u << 26, &x, &nx));
        OK(ql_path_join(p, temp_path("second"), files[i]));
        OK(ql_file_read(p, 1u << 26, &y, &ny));
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        ql_host_free(x);
        ql_host_free(y);
    }
    stop(&a);
    stop(&b);
}

/* ---------------------------------------------------------------- damage */

static const char *in(const char *dir, const char *file) {
    static char path[QL_PATH_MAX];
    OK(ql_path_join(path, dir, file));
    return path;
}

/* A checkpoint after one step in "checkpoint", and the job that made it, one step further. */
static job saved(const setup *s) {
    job j = start(s);
    ql_step_metrics m;
    OK(ql_trainer_step(j.t, &m));
    OK(ql_trainer_save(j.t, temp_path("checkpoint")));
    OK(ql_trainer_step(j.t, &m));
    return j;
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
    FAILS(ql_checkpoint_check(temp_path("checkpoint")), want, word);
    FAILS(ql_trainer_resume(j->t, temp_path("checkpoint")), want, word);
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
        snprintf(path, sizeof path, "%s", in(temp_path("checkpoint"), files[i]));
        OK(ql_file_read(path, 1u << 26, &data, &n));
        const size_t cuts[] = {0, 1, n / 2, n - 1};
        for (int c = 0; c < 4; c++) {
            OK(ql_file_replace(path, data, cuts[c]));
            refused(&j, QL_ERR_FORMAT, files[i]);
        }
        for (int c = 0; c < 8; c++) { /* one bit of one byte, from the first to the last */
            size_t at = (n - 1) * (size_t)c / 7;
            data[at] = (char)(data[at] ^ 1 << c);
            OK(ql_file_replace(path, data, n));
            refused(&j, QL_ERR_FORMAT, files[i]);
            data[at] = (char)(data[at] ^ 1 << c);
        }
        assert_int_equal(remove(path), 0);
        refused(&j, QL_ERR_NOT_FOUND, files[i]);
        OK(ql_file_replace(path, data, n));
        OK(ql_checkpoint_check(temp_path("checkpoint"))); /* whole again */
        ql_host_free(data);
    }
    OK(ql_trainer_resume(j.t, temp_path("checkpoint")));
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
    OK(ql_file_read(in(temp_path("checkpoint"), "MANIFEST.json"), 1u << 20, &data, &n));
    int unnoticed = 0;
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)(data[i] ^ 1);
        OK(ql_file_replace(in(temp_path("checkpoint"), "MANIFEST.json"), data, n));
        if (ql_checkpoint_check(temp_path("checkpoint")) == QL_OK) {
            if (!unnoticed++) print_error("unnoticed first at byte %zu: %.16s\n", i, data + i);
        }
        data[i] = (char)(data[i] ^ 1);
    }
    for (size_t cut = 0; cut + 1 < n; cut += 7) {
        OK(ql_file_replace(in(temp_path("checkpoint"), "MANIFEST.json"), data, cut));
        FAILS(ql_checkpoint_check(temp_path("checkpoint")), QL_ERR_FORMAT, "MANIFEST.json");
    }
    ql_host_free(data);
    assert_int_equal(remove(in(temp_path("checkpoint"), "MANIFEST.json")), 0);
    FAILS(ql_checkpoint_check(temp_path("checkpoint")), QL_ERR_NOT_FOUND, "MANIFEST.json");
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
        "{\"version\": 1, \"files\": {\"../checkpoint/state.json\": {\"bytes\": 1, \"xxh3_128\": "
        "\"00\"}}}",
        "{\"version\": 1, \"files\": {\"adapter/../../x\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"files\": {\"/etc/passwd\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"files\": {\"\": {\"bytes\": 1, \"xxh3_128\": \"00\"}}}",
        "{\"version\": 1, \"version\": 1, \"files\": {}}",
        "{\"files\": \"\xff\xfe\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        OK(ql_file_replace(in(temp_path("checkpoint"), "MANIFEST.json"), texts[i],
                           strlen(texts[i])));
        refused(&j, QL_ERR_FORMAT, "MANIFEST.json");
    }
    char deep[100001];
    memset(deep, '[', sizeof deep - 1);
    OK(ql_file_replace(in(temp_path("checkpoint"), "MANIFEST.json"), deep, sizeof deep - 1));
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
            if (k != i) rest[n++] = files[k];
        OK(ql_manifest_write(temp_path("checkpoint"), rest, n));
        FAILS(ql_trainer_resume(j.t, temp_path("checkpoint")), QL_ERR_FORMAT, files[i]);
        assert_untouched(&j);
    }
    free(kept);
    stop(&j);
}

/* ---------------------------------------------------------------- other content */

/* Sets `path` ("settings.batch") of state.json to `text`, or removes it, and signs the folder. */
static void forge(const char *key, const char *text) {
    json_t *doc = NULL;
    OK(ql_json_read(in(temp_path("checkpoint"), "state.json"), &doc));
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (value)
        json_object_set_new(doc, key, value);
    else
        json_object_del(doc, key);
    OK(ql_json_write(in(temp_path("checkpoint"), "state.json"), doc));
    json_decref(doc);
    OK(ql_manifest_write(temp_path("checkpoint"), files, N_FILES));
}

static void a_signed_state_with_impossible_content_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *text, *word;
    } bad[] = {{"version", "2", "version 2"},     {"version", NULL, "version"},
               {"version", "\"1\"", "'version'"}, {"step", "-1", "'step'"},
               {"step", NULL, "'step'"},          {"step", "1.5", "'step'"},
               {"step", "1e300", "'step'"},       {"step", "99999999999999999999", "'step'"},
               {"epoch", "-1", "'epoch'"},        {"next", "11", "'next'"},
               {"next", "-1", "'next'"},          {"next", "\"0\"", "'next'"},
               {"settings", NULL, "state.json"},  {"settings", "[]", "state.json"},
               {"settings", "{}", "state.json"},  {"settings", "null", "state.json"}};
    setup s = usual();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        job j = saved(&s);
        keep_state(&j);
        forge(bad[i].key, bad[i].text);
        ql_status got = ql_trainer_resume(j.t, temp_path("checkpoint"));
        if ((got != QL_ERR_FORMAT && got != QL_ERR_INVALID) ||
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
        FAILS(ql_trainer_resume(j.t, temp_path("checkpoint")), QL_ERR_FORMAT, keys[i]);
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
        OK(ql_file_replace(in(temp_path("checkpoint"), swapped[i]), data, n));
        OK(ql_manifest_write(temp_path("checkpoint"), files, N_FILES));
        ql_status got = ql_trainer_resume(j.t, temp_path("checkpoint"));
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
        "lora_r"};
    setup s = usual();
    job j = saved(&s);
    stop(&j);
    int wrong = 0;
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        setup other = usual();
        change(&other, i);
        job k = start(&other);
        ql_status got = ql_trainer_resume(k.t, temp_path("checkpoint"));
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
    OK(ql_trainer_resume(k.t, temp_path("checkpoint")));
    stop(&k);
    assert_int_equal(wrong, 0);
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
    ql_status got = ql_trainer_resume(k.t, temp_path("checkpoint"));
    assert_true(got != QL_OK);
    assert_int_equal(ql_trainer_done(k.t), 0); /* and nothing was taken over before that was seen */
    stop(&k);
    ql_lora_config_free(&s.lora);
    ql_lora_config_free(&other.lora);
}

/* ---------------------------------------------------------------- a full disk */

static void a_full_disk_leaves_the_previous_checkpoint(void **state) {
    (void)state;
    setup s = usual();
    job j = saved(&s); /* the checkpoint is of step 1, the job is at 2 */
    long n = 1;
    for (;; n++) {
        ql_fs_fail_after(n);
        ql_status got = ql_trainer_save(j.t, temp_path("checkpoint"));
        ql_fs_fail_after(0);
        if (got == QL_OK) break;
        assert_int_equal(got, QL_ERR_IO);
        assert_non_null(strstr(ql_last_error(), "o space left"));
        OK(ql_checkpoint_check(temp_path("checkpoint")));
        assert_false(ql_dir_exists(temp_path("checkpoint.tmp")));
        if (n % 4) continue;
        job k = start(&s);
        OK(ql_trainer_resume(k.t, temp_path("checkpoint")));
        assert_int_equal(ql_trainer_done(k.t), 1);
        stop(&k);
    }
    assert_true(n > N_FILES + 1); /* every file and the manifest failed at least once */
    print_message("%ld writes made to fail\n", n - 1);
    job k = start(&s);
    OK(ql_trainer_resume(k.t, temp_path("checkpoint")));
    assert_int_equal(ql_trainer_done(k.t), 2);
    assert_same_state(&j, &k);
    stop(&j);
    stop(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_is_bit_equal_anywhere_in_an_epoch),
        cmocka_unit_test(resuming_is_bit_equal_with_packing_bf16_and_full_training),
        cmocka_unit_test(a_checkpoint_of_a_checkpoint_is_the_same_bytes),
        cmocka_unit_test(every_damaged_file_is_refused_by_name),
        cmocka_unit_test(any_changed_byte_of_the_manifest_is_noticed),
        cmocka_unit_test(a_hostile_manifest_is_refused),
        cmocka_unit_test(a_manifest_that_leaves_a_file_out_is_refused_by_its_name),
        cmocka_unit_test(a_signed_state_with_impossible_content_is_refused),
        cmocka_unit_test(a_missing_position_is_refused),
        cmocka_unit_test(foreign_tensors_are_refused_and_change_nothing),
        cmocka_unit_test(other_settings_are_refused_by_name),
        cmocka_unit_test(other_targets_are_refused),
        cmocka_unit_test(a_full_disk_leaves_the_previous_checkpoint),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
