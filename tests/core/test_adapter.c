/*
 * test_adapter.c - PEFT adapter folders: saved bytes come back, targets are attached as PEFT means
 * them, damaged or foreign folders are refused with a sentence, a full disk harms nothing.
 * (Settings alone: test_lora.c; DoRA, saved modules, token rows: test_adapter_kinds.c.)
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/half.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/io/safetensors.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define PREFIX "base_model.model."
#define CONFIG "adapter_config.json"
#define VALUES "adapter_model.safetensors"

/* A placed model with adapters (r 4, all linear layers of tiny-llama), values drawn from `seed`. */
typedef struct placed {
    ql_device *dev;
    ql_queue *queue;
    ql_model *m;
} placed;

static void randomize(ql_model *m, uint64_t seed) {
    ql_stream s = ql_stream_make(seed, QL_STREAM_SAMPLE, 0);
    for (int32_t i = 0; i < m->n_params; i++) {
        int64_t n = m->params[i].rows * m->params[i].cols;
        float *v = calloc((size_t)n, sizeof *v);
        for (int64_t k = 0; k < n; k++) v[k] = (float)(ql_stream_uniform(&s) - 0.5);
        OK(ql_param_write(m, i, v));
        free(v);
    }
}

static placed place(int r, uint64_t seed) {
    placed p = {.dev = engine_device(1), .m = engine_model("tiny-llama", 4, r, 0)};
    OK(p.dev->backend->queue_create(p.dev, &p.queue));
    OK(ql_model_place(p.m, p.dev, p.queue));
    randomize(p.m, seed);
    return p;
}

static void release(placed *p) {
    p->dev->backend->queue_destroy(p->queue);
    p->m->queue = NULL;
    ql_model_close(p->m);
    engine_close(p->dev);
}

/* All values of a model's adapters as one block; free with free(). */
static float *values_of(ql_model *m, size_t *bytes) {
    size_t n = 0, at = 0;
    for (int32_t i = 0; i < m->n_params; i++) n += (size_t)(m->params[i].rows * m->params[i].cols);
    float *v = calloc(n + 1, sizeof *v);
    for (int32_t i = 0; i < m->n_params; i++) {
        OK(ql_param_read(m, i, v + at));
        at += (size_t)(m->params[i].rows * m->params[i].cols);
    }
    *bytes = n * sizeof *v;
    return v;
}

static char *slurp(const char *dir, const char *name, size_t *len) {
    char path[QL_PATH_MAX], *data = NULL;
    OK(ql_path_join(path, dir, name));
    OK(ql_file_read(path, 1u << 28, &data, len));
    return data;
}

static void assert_holds(const char *dir, const float *want, size_t bytes) {
    placed p = place(4, 99);
    OK(ql_adapter_load(p.m, dir));
    size_t n = 0;
    float *have = values_of(p.m, &n);
    assert_int_equal(n, bytes);
    assert_memory_equal(have, want, bytes);
    free(have);
    release(&p);
}

/* ---------------------------------------------------------------- saving and loading */

static void saved_values_come_back_bit_for_bit(void **state) {
    (void)state;
    placed p = place(4, 1);
    size_t bytes = 0, a = 0, b = 0;
    float *v = values_of(p.m, &bytes);
    v[0] = -0.0f;
    v[1] = 1e-42f; /* below the smallest normal number */
    v[2] = 3.4e38f;
    OK(ql_param_write(p.m, 0, v));
    const char *dir = temp_path("round"), *again = temp_path("again");
    OK(ql_adapter_save(p.m, dir));
    assert_holds(dir, v, bytes);
    OK(ql_adapter_save(p.m, dir)); /* over an old one */
    OK(ql_adapter_save(p.m, again));
    static const char *const names[] = {CONFIG, VALUES, "README.md"};
    for (int i = 0; i < 3; i++) { /* and the same files each time */
        char *x = slurp(dir, names[i], &a), *y = slurp(again, names[i], &b);
        assert_int_equal(a, b);
        assert_memory_equal(x, y, a);
        ql_host_free(x);
        ql_host_free(y);
    }
    char **list = NULL;
    size_t n = 0;
    OK(ql_dir_list(dir, &list, &n));
    assert_int_equal(n, 3);
    ql_host_free(list);
    free(v);
    release(&p);
}

static void the_file_is_peft_s(void **state) {
    (void)state;
    placed p = place(4, 1);
    const char *dir = temp_path("layout");
    OK(ql_adapter_save(p.m, dir));
    char path[QL_PATH_MAX];
    OK(ql_path_join(path, dir, VALUES));
    ql_st_file *f = NULL;
    OK(ql_st_open(path, &f));
    assert_int_equal(ql_st_count(f), 28);
    assert_string_equal(ql_st_metadata(f, "format"), "pt");
    const ql_st_tensor *a = ql_st_find(f, PREFIX "model.layers.1.mlp.down_proj.lora_A.weight");
    const ql_st_tensor *b = ql_st_find(f, PREFIX "model.layers.1.mlp.down_proj.lora_B.weight");
    assert_true(a && a->dims == 2 && a->shape[0] == 4 && a->shape[1] == 96 &&
                a->dtype == QL_ST_F32);
    assert_true(b && b->dims == 2 && b->shape[0] == 64 && b->shape[1] == 4 &&
                b->dtype == QL_ST_F32);
    ql_st_close(f);
    json_t *c = NULL;
    OK(ql_path_join(path, dir, CONFIG));
    OK(ql_json_read(path, &c));
    assert_string_equal(json_string_value(json_object_get(c, "peft_type")), "LORA");
    assert_string_equal(json_string_value(json_object_get(c, "task_type")), "CAUSAL_LM");
    assert_int_equal(json_integer_value(json_object_get(c, "r")), 4);
    assert_int_equal(json_array_size(json_object_get(c, "target_modules")), 14);
    assert_true(json_is_true(json_object_get(c, "init_lora_weights")));
    json_decref(c);
    release(&p);
}

static void settings_survive_saving(void **state) {
    (void)state;
    static const char *const targets[] = {"all-linear", "q_proj,v_proj", ".*\\.(q|down)_proj"};
    static const int adapted[] = {14, 4, 4};
    ql_device *dev = engine_device(1);
    for (int i = 0; i < 3; i++) {
        ql_model *m = engine_model("tiny-llama", 4, 0, 0);
        ql_lora_config c = ql_lora_config_default(), back = {0};
        c.r = 3 + i;
        c.alpha = 2.5 * (i + 1);
        c.dropout = 0.25 * i;
        c.rslora = i == 1;
        c.init = i == 2 ? QL_INIT_GAUSSIAN : QL_INIT_DEFAULT;
        OK(ql_lora_set_targets(&c, targets[i]));
        OK(ql_model_attach_lora(m, &c));
        ql_queue *q = NULL;
        OK(dev->backend->queue_create(dev, &q));
        OK(ql_model_place(m, dev, q));
        const char *dir = temp_path("settings");
        OK(ql_adapter_save(m, dir));
        OK(ql_lora_config_read(dir, &back));
        assert_int_equal(back.r, c.r);
        assert_true(back.alpha == c.alpha && back.dropout == c.dropout);
        assert_int_equal(back.rslora, c.rslora);
        assert_int_equal(back.init, c.init);
        ql_model *other = engine_model("tiny-llama", 4, 0, 0);
        OK(ql_model_attach_lora(other, &back));
        assert_int_equal(other->n_params, 2 * adapted[i]);
        assert_int_equal(m->n_params, 2 * adapted[i]);
        for (int32_t k = 0; k < m->n_params; k++)
            assert_string_equal(m->params[k].name, other->params[k].name);
        ql_model_close(other);
        ql_lora_config_free(&back);
        ql_lora_config_free(&c);
        dev->backend->queue_destroy(q);
        m->queue = NULL;
        ql_model_close(m);
    }
    engine_close(dev);
}

static void a_full_disk_leaves_the_old_adapter(void **state) {
    (void)state;
    placed old = place(4, 1), new = place(4, 2);
    const char *dir = temp_path("full"), *staged = temp_path("full.tmp");
    OK(ql_adapter_save(old.m, dir));
    size_t bytes = 0, before_len = 0, after_len = 0;
    float *want = values_of(old.m, &bytes);
    char *before = slurp(dir, CONFIG, &before_len);
    int failures = 0;
    for (long n = 1;; n++) {
        ql_fs_fail_after(n);
        ql_status s = ql_adapter_save(new.m, dir);
        ql_fs_fail_after(0);
        if (s == QL_OK) break;
        failures++;
        assert_int_equal(s, QL_ERR_IO);
        assert_non_null(strstr(ql_last_error(), "No space left"));
        assert_false(ql_dir_exists(staged));
        assert_holds(dir, want, bytes);
        char *after = slurp(dir, CONFIG, &after_len);
        assert_int_equal(after_len, before_len);
        assert_memory_equal(after, before, before_len);
        ql_host_free(after);
    }
    assert_true(failures >= 3); /* settings, README, values */
    float *newer = values_of(new.m, &bytes);
    assert_holds(dir, newer, bytes);
    free(newer);
    free(want);
    ql_host_free(before);
    release(&old);
    release(&new);
}

static void a_model_without_adapters_has_nothing_to_save(void **state) {
    (void)state;
    ql_model *m = engine_model("tiny-llama", 4, 0, 0);
    FAILS(ql_adapter_save(m, temp_path("none")), QL_ERR_INVALID, "no adapter");
    assert_false(ql_dir_exists(temp_path("none")));
    ql_model_close(m);
}

/* ---------------------------------------------------------------- damaged values */

typedef enum damage {
    INTACT,
    MISSING,
    SURPLUS,
    RENAMED,
    SHAPE,
    SWAPPED,
    VECTOR,
    NOT_A_NUMBER,
    INFINITE,
    HALF,
    INTEGERS
} damage;

/* Writes m's adapter to `path` with one kind of damage at parameter 5. */
static void write_damaged(ql_model *m, damage d, const char *path) {
    ql_st_writer *w = NULL;
    OK(ql_st_writer_create(path, &w));
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < m->n_params; i++) {
            const ql_param *p = &m->params[i];
            damage here = i == 5 ? d : INTACT;
            char name[256];
            snprintf(name, sizeof name, PREFIX "%s%s", p->name, here == RENAMED ? "s" : "");
            int64_t shape[2] = {p->rows + (here == SHAPE), p->cols}, flat = p->rows * p->cols;
            int64_t swapped[2] = {p->cols, p->rows};
            int64_t numel = shape[0] * shape[1];
            ql_st_dtype t = here == HALF ? QL_ST_BF16 : here == INTEGERS ? QL_ST_I32 : QL_ST_F32;
            if (here == MISSING) continue;
            if (!pass) {
                OK(here == VECTOR
                       ? ql_st_writer_declare(w, name, t, 1, &flat)
                       : ql_st_writer_declare(w, name, t, 2, here == SWAPPED ? swapped : shape));
                continue;
            }
            float *v = calloc((size_t)numel, sizeof *v);
            uint16_t *h = calloc((size_t)numel, sizeof *h);
            for (int64_t k = 0; k < numel; k++)
                h[k] = ql_bf16_from_f32(v[k] = 0.125f * (float)(k % 17));
            if (here == NOT_A_NUMBER) v[numel - 1] = NAN;
            if (here == INFINITE) v[0] = -INFINITY;
            if (here == HALF)
                OK(ql_st_writer_data(w, h, (uint64_t)numel * sizeof *h));
            else
                OK(ql_st_writer_data(w, v, (uint64_t)numel * sizeof *v));
            free(h);
            free(v);
        }
        const int64_t one = 1;
        const float zero = 0;
        if (d == SURPLUS && !pass)
            OK(ql_st_writer_declare(w, PREFIX "lm_head.lora_A.weight", QL_ST_F32, 1, &one));
        if (d == SURPLUS && pass) OK(ql_st_writer_data(w, &zero, sizeof zero));
    }
    OK(ql_st_writer_commit(w));
}

static void damaged_values_are_refused(void **state) {
    (void)state;
    static const struct {
        damage damage;
        ql_status status;
        const char *word;
    } cases[] = {{INTACT, QL_OK, ""},
                 {HALF, QL_OK, ""}, /* PEFT may save 16-bit adapters */
                 {MISSING, QL_ERR_NOT_FOUND, "is missing"},
                 {SURPLUS, QL_ERR_SHAPE, "has no place"},
                 {RENAMED, QL_ERR_NOT_FOUND, "is missing"},
                 {SHAPE, QL_ERR_SHAPE, "this model needs"},
                 {SWAPPED, QL_ERR_SHAPE, "this model needs"},
                 {VECTOR, QL_ERR_SHAPE, "this model needs"},
                 {NOT_A_NUMBER, QL_ERR_NUMERIC, "not finite"},
                 {INFINITE, QL_ERR_NUMERIC, "not finite"},
                 {INTEGERS, QL_ERR_FORMAT, "I32"}};
    placed p = place(4, 1);
    const char *dir = temp_path("damaged"), *path = temp_path("damaged/" VALUES);
    OK(ql_dir_create(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_damaged(p.m, cases[i].damage, path);
        if (cases[i].status == QL_OK)
            OK(ql_adapter_load(p.m, dir));
        else
            FAILS(ql_adapter_load(p.m, dir), cases[i].status, cases[i].word);
    }
    release(&p);
}

static void truncated_files_are_refused(void **state) {
    (void)state;
    placed p = place(4, 1);
    const char *dir = temp_path("cut"), *path = temp_path("cut/" VALUES),
               *config = temp_path("cut/" CONFIG);
    OK(ql_adapter_save(p.m, dir));
    size_t len = 0, config_len = 0;
    char *data = slurp(dir, VALUES, &len), *text = slurp(dir, CONFIG, &config_len);
    const size_t cuts[] = {0, 1, 7, 8, 9, 100, 2000, len / 2, len - 4, len - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        temp_put("cut/" VALUES, data, cuts[i]);
        FAILS(ql_adapter_load(p.m, dir), QL_ERR_FORMAT, path);
    }
    for (size_t n = 0; n < config_len - 2; n += 7) {
        ql_lora_config c = {0};
        temp_put("cut/" CONFIG, text, n);
        FAILS(ql_lora_config_read(dir, &c), QL_ERR_FORMAT, config);
    }
    ql_host_free(data);
    ql_host_free(text);
    release(&p);
}

static void an_adapter_of_another_shape_is_refused(void **state) {
    (void)state;
    placed small = place(2, 1), large = place(4, 1);
    const char *dir = temp_path("other");
    OK(ql_adapter_save(small.m, dir));
    FAILS(ql_adapter_load(large.m, dir), QL_ERR_SHAPE, "this model needs 4 x");
    FAILS(ql_adapter_load(large.m, temp_path("absent")), QL_ERR_NOT_FOUND, "absent");
    ql_model *qv = engine_model("tiny-llama", 4, 0, 0); /* fewer targets than the file */
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    OK(ql_lora_set_targets(&c, "q_proj,v_proj"));
    OK(ql_model_attach_lora(qv, &c));
    OK(ql_model_place(qv, small.dev, small.queue));
    FAILS(ql_adapter_load(qv, dir), QL_ERR_SHAPE, "other targets");
    ql_lora_config_free(&c);
    qv->queue = NULL;
    ql_model_close(qv);
    release(&small);
    release(&large);
}

/* ---------------------------------------------------------------- settings */

/* PEFT's own configuration with one key replaced (JSON text; NULL = removed). */
static const char *config_with(const char *key, const char *json) {
    json_t *c = NULL;
    OK(ql_json_read(QL_TEST_DATA "/models/tiny-llama/adapter/" CONFIG, &c));
    if (key && json)
        json_object_set_new(c, key, json_loads(json, JSON_DECODE_ANY, NULL));
    else if (key)
        json_object_del(c, key);
    const char *dir = temp_path("config");
    OK(ql_dir_create(dir));
    OK(ql_json_write(temp_path("config/" CONFIG), c));
    json_decref(c);
    return dir;
}

static void targets_match_as_in_peft(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int adapted; /* linear layers of tiny-llama (2 layers, untied head) */
    } cases[] = {{"[\"q_proj\", \"v_proj\"]", 4},
                 {"[\"self_attn.q_proj\"]", 2},
                 {"[\"model.layers.1.mlp.up_proj\"]", 1},
                 {"[\"1.mlp.up_proj\", \"k_proj\"]", 3},
                 {"[\"q_proj\", \"q_proj\"]", 2},
                 {"[\"q_proj\", \"no_such_module\"]", 2},
                 {"[\"lm_head\", \"q_proj\"]", 3},
                 {"\"all-linear\"", 14},
                 {"\".*\\\\.(q|v)_proj\"", 4},
                 {"\"model\\\\.layers\\\\.[0]\\\\..*_proj\"", 7},
                 {"\".*lm_head|.*o_proj\"", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_lora_config c = {0};
        OK(ql_lora_config_read(config_with("target_modules", cases[i].json), &c));
        ql_model *m = engine_model("tiny-llama", 4, 0, 0);
        OK(ql_model_attach_lora(m, &c));
        if (m->n_params != 2 * cases[i].adapted)
            fail_msg("%s: %d adapters, expected %d", cases[i].json, m->n_params / 2,
                     cases[i].adapted);
        ql_model_close(m);
        ql_lora_config_free(&c);
    }
    static const char *const none[] = {"[\"proj\"]", "[\"_proj\"]", "\"q_proj\"", "[\"Q_PROJ\"]"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        ql_lora_config c = {0};
        OK(ql_lora_config_read(config_with("target_modules", none[i]), &c));
        ql_model *m = engine_model("tiny-llama", 4, 0, 0);
        FAILS(ql_model_attach_lora(m, &c), QL_ERR_INVALID, "lora_target_modules");
        ql_model_close(m);
        ql_lora_config_free(&c);
    }
}

static void a_tied_head_cannot_carry_an_adapter(void **state) {
    (void)state;
    ql_lora_config c = {0};
    OK(ql_lora_config_read(config_with("target_modules", "[\"lm_head\", \"q_proj\"]"), &c));
    ql_model *m = engine_model("tiny-llama-linear", 4, 0, 0);
    FAILS(ql_model_attach_lora(m, &c), QL_ERR_UNSUPPORTED, "tied");
    ql_model_close(m);
    ql_lora_config_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_values_come_back_bit_for_bit),
        cmocka_unit_test(the_file_is_peft_s),
        cmocka_unit_test(settings_survive_saving),
        cmocka_unit_test(a_full_disk_leaves_the_old_adapter),
        cmocka_unit_test(a_model_without_adapters_has_nothing_to_save),
        cmocka_unit_test(damaged_values_are_refused),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(an_adapter_of_another_shape_is_refused),
        cmocka_unit_test(targets_match_as_in_peft),
        cmocka_unit_test(a_tied_head_cannot_carry_an_adapter),
    };
    return cmocka_run_group_tests_name("adapter", tests, NULL, NULL);
}
