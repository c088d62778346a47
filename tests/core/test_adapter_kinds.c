/*
 * test_adapter_kinds.c - what PEFT writes for DoRA, saved modules, token rows, Conv1D and patterns:
 * the same names and shapes (tests/data/peft/matching.json), its files read, ours read back.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/io/safetensors.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define PREFIX "base_model.model."
#define VALUES "adapter_model.safetensors"

typedef struct placed {
    ql_device *dev;
    ql_queue *queue;
    ql_model *m;
} placed;

/* A model as stored with the adapter that c describes. */
static placed place(const char *model, const ql_lora_config *c) {
    placed p = {.dev = engine_device(1), .m = engine_model(model, 16, 0, 0)};
    OK(ql_model_attach_lora(p.m, c));
    OK(p.dev->backend->queue_create(p.dev, &p.queue));
    OK(ql_model_place(p.m, p.dev, p.queue));
    return p;
}

static void release(placed *p) {
    p->dev->backend->queue_destroy(p->queue);
    p->m->queue = NULL;
    ql_model_close(p->m);
    engine_close(p->dev);
}

static ql_st_file *open_values(const char *dir) {
    char path[QL_PATH_MAX];
    ql_st_file *f = NULL;
    OK(ql_path_join(path, dir, VALUES));
    OK(ql_st_open(path, &f));
    return f;
}

/* ---------------------------------------------------------------- names and shapes */

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

static bool same_shape(const ql_st_tensor *t, const json_t *shape) {
    if ((size_t)t->dims != json_array_size(shape)) return false;
    for (int32_t i = 0; i < t->dims; i++)
        if (t->shape[i] != json_integer_value(json_array_get(shape, (size_t)i))) return false;
    return true;
}

/* Exactly the tensors that PEFT wrote; it adds copies of an adapted head's own weight. */
static void compare_files(const json_t *k, const char *dir, const char *what) {
    ql_st_file *f = open_values(dir);
    const char *name;
    json_t *shape;
    int64_t n = 0;
    json_object_foreach(json_object_get(k, "tensors"), name, shape) {
        if (strstr(name, ".base_layer.")) continue;
        const ql_st_tensor *t = ql_st_find(f, name);
        if (!t) fail_msg("%s: '%s' is missing", what, name);
        if (!same_shape(t, shape)) fail_msg("%s: '%s' has another shape", what, name);
        n++;
    }
    if (ql_st_count(f) != n) fail_msg("%s: %d tensors too many", what, (int)(ql_st_count(f) - n));
    ql_st_close(f);
}

/* Does PEFT adapt an embedding here? This version has adapters on linear layers only. */
static bool adapts_a_table(const json_t *k) {
    const json_t *of = json_object_get(json_object_get(recorded, "modules"),
                                       json_string_value(json_object_get(k, "model")));
    const json_t *tables = json_object_get(of, "embedding");
    for (size_t i = 0; i < json_array_size(tables); i++)
        if (json_object_get(json_object_get(k, "adapted"),
                            json_string_value(json_array_get(tables, i))))
            return true;
    return false;
}

/* What this version refuses: adapters on tables and tied heads, rows of other tables than the
 * input's. */
static bool refused(const json_t *k, const ql_model *m) {
    if (adapts_a_table(k)) return true;
    const char *token = json_string_value(json_array_get(json_object_get(k, "tokens"), 0));
    char name[256] = "";
    if (token) snprintf(name, sizeof name, "%s.weight", token);
    if (token && strcmp(name, m->embed->name) != 0) return true;
    return m->tied && json_object_get(json_object_get(k, "adapted"), m->head->module);
}

static void compare_case(const json_t *k) {
    const char *model = json_string_value(json_object_get(k, "model"));
    char *what = json_dumps(json_object_get(k, "given"), 0);
    ql_lora_config c;
    OK(ql_lora_config_parse(json_object_get(k, "config"), "config", &c));
    ql_model *m = engine_model(model, 16, 0, 0);
    if (refused(k, m)) {
        ql_status s = ql_model_attach_lora(m, &c);
        if (s != QL_ERR_UNSUPPORTED) fail_msg("%s %s: accepted", model, what);
    } else {
        placed p = place(model, &c);
        const char *dir = temp_path("compared");
        OK(ql_adapter_save(p.m, dir));
        compare_files(k, dir, what);
        OK(ql_adapter_load(p.m, dir));
        release(&p);
    }
    ql_model_close(m);
    ql_lora_config_free(&c);
    free(what);
}

static void files_have_peft_s_names_and_shapes(void **state) {
    (void)state;
    const json_t *cases = json_object_get(recorded, "cases");
    int n = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *k = json_array_get(cases, i);
        if (json_object_get(k, "adapted_when_loaded")) continue; /* PEFT cannot load it either */
        compare_case(k);
        n++;
    }
    assert_true(n >= 130);
}

/* ---------------------------------------------------------------- PEFT's own folders */

static int32_t find_param(const ql_model *m, const char *name) {
    for (int32_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name)) return i;
    fail_msg("there is no parameter '%s'", name);
    return -1;
}

static void assert_param(ql_model *m, const ql_st_file *f, const char *name) {
    char full[256];
    snprintf(full, sizeof full, PREFIX "%s", name);
    const ql_st_tensor *t = ql_st_find(f, full);
    int32_t param = find_param(m, name);
    assert_non_null(t);
    assert_int_equal(t->numel, m->params[param].rows * m->params[param].cols);
    float *v = calloc((size_t)t->numel, sizeof *v);
    OK(ql_param_read(m, param, v));
    assert_memory_equal(v, t->data, (size_t)t->numel * sizeof *v);
    free(v);
}

/* Loads a recorded folder, saves it, and every value is the one in PEFT's file. */
static void folder_goes_both_ways(const char *model, const char *folder) {
    char dir[QL_PATH_MAX];
    snprintf(dir, sizeof dir, QL_TEST_DATA "/models/%s/%s", model, folder);
    ql_lora_config c;
    OK(ql_lora_config_read(dir, &c));
    placed p = place(model, &c);
    OK(ql_adapter_load(p.m, dir));
    const char *again = temp_path("again");
    OK(ql_adapter_save(p.m, again));
    ql_st_file *theirs = open_values(dir), *ours = open_values(again);
    assert_int_equal(ql_st_count(theirs), ql_st_count(ours));
    assert_int_equal(ql_st_count(ours), p.m->n_params);
    for (int32_t i = 0; i < p.m->n_params; i++) {
        assert_param(p.m, theirs, p.m->params[i].name);
        assert_param(p.m, ours, p.m->params[i].name);
    }
    ql_st_close(theirs);
    ql_st_close(ours);
    release(&p);
    ql_lora_config_free(&c);
}

static void folders_of_peft_go_both_ways(void **state) {
    (void)state;
    folder_goes_both_ways("tiny-llama", "adapter");
    folder_goes_both_ways("tiny-llama", "adapter-dora");
    folder_goes_both_ways("tiny-llama", "adapter-rslora");
    folder_goes_both_ways("tiny-roberta", "adapter");
    folder_goes_both_ways("tiny-deberta-v2", "adapter");
    folder_goes_both_ways("tiny-gpt2", "adapter");
    folder_goes_both_ways("tiny-t5", "adapter");
    folder_goes_both_ways("tiny-bart", "adapter");
}

/* ---------------------------------------------------------------- token rows */

/* File row i belongs to the i-th id of the settings; the engine keeps rows by ascending id. */
static void token_rows_keep_the_order_of_the_settings(void **state) {
    (void)state;
    static const int32_t ids[] = {200, 5, 91, 7}; /* ascending: rows 1, 3, 2, 0 */
    ql_lora_config c = ql_lora_config_default(), back;
    OK(ql_lora_set_targets(&c, "q_proj"));
    OK(ql_lora_set_tokens(&c, "200,5,91,7"));
    placed p = place("tiny-llama", &c);
    int32_t param = p.m->token_rows.param;
    int64_t cols = p.m->params[param].cols;
    float *rows = calloc((size_t)(4 * cols), sizeof *rows);
    for (int64_t i = 0; i < 4 * cols; i++)
        rows[i] = (float)(p.m->token_rows.ids[i / cols] * 1000 + i % cols);
    OK(ql_param_write(p.m, param, rows));
    const char *dir = temp_path("tokens");
    OK(ql_adapter_save(p.m, dir));
    ql_st_file *f = open_values(dir);
    const ql_st_tensor *t =
        ql_st_find(f, PREFIX "model.embed_tokens.token_adapter.trainable_tokens_delta");
    assert_true(t && t->dims == 2 && t->shape[0] == 4 && t->shape[1] == cols);
    for (int64_t i = 0; i < 4 * cols; i++) {
        float v;
        memcpy(&v, (const char *)t->data + (size_t)i * sizeof v, sizeof v);
        assert_true(v == (float)(ids[i / cols] * 1000 + i % cols));
    }
    ql_st_close(f);
    OK(ql_lora_config_read(dir, &back));
    assert_int_equal(back.tokens.n, 4);
    assert_memory_equal(back.tokens.ids, ids, sizeof ids);
    placed q = place("tiny-llama", &back);
    float *again = calloc((size_t)(4 * cols), sizeof *again);
    OK(ql_adapter_load(q.m, dir));
    OK(ql_param_read(q.m, q.m->token_rows.param, again));
    assert_memory_equal(again, rows, (size_t)(4 * cols) * sizeof *rows);
    free(again);
    free(rows);
    release(&p);
    release(&q);
    ql_lora_config_free(&back);
    ql_lora_config_free(&c);
}

/* ---------------------------------------------------------------- vectors */

/* One layer's A, B and magnitude; the magnitude under `name` with a shape. */
static void write_dora(const ql_model *m, const char *path, const char *name, int32_t dims,
                       const int64_t *shape) {
    ql_st_writer *w = NULL;
    OK(ql_st_writer_create(path, &w));
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < m->n_params; i++) {
            const ql_param *p = &m->params[i];
            int64_t full[2] = {p->rows, p->cols}, n = p->rows * p->cols;
            char plain[256];
            snprintf(plain, sizeof plain, PREFIX "%s", p->name);
            bool magnitude = p->dims == 1;
            if (!pass) {
                OK(ql_st_writer_declare(w, magnitude ? name : plain, QL_ST_F32,
                                        magnitude ? dims : 2, magnitude ? shape : full));
                continue;
            }
            float *v = calloc((size_t)n + 8, sizeof *v);
            for (int64_t k = 0; k < n; k++) v[k] = (float)k;
            if (magnitude) n = shape[0] * (dims > 1 ? shape[1] : 1);
            OK(ql_st_writer_data(w, v, (uint64_t)n * sizeof *v));
            free(v);
        }
    }
    OK(ql_st_writer_commit(w));
}

static void magnitudes_have_several_spellings(void **state) {
    (void)state;
#define NAME PREFIX "model.layers.1.mlp.down_proj.lora_magnitude_vector"
    static const struct {
        const char *name;
        int32_t dims;
        int64_t shape[2];
        ql_status status;
        const char *word;
    } cases[] = {{NAME, 1, {64, 0}, QL_OK, ""},
                 {NAME ".weight", 1, {64, 0}, QL_OK, ""},
                 {NAME, 2, {64, 1}, QL_OK, ""},
                 {NAME ".weight", 2, {1, 64}, QL_OK, ""},
                 {NAME, 1, {63, 0}, QL_ERR_SHAPE, "needs 1 x 64"},
                 {NAME, 2, {8, 8}, QL_ERR_SHAPE, "needs 1 x 64"},
                 {NAME ".bias", 1, {64, 0}, QL_ERR_NOT_FOUND, "is missing"},
                 {NAME "x", 1, {64, 0}, QL_ERR_NOT_FOUND, "is missing"}};
#undef NAME
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    c.dora = true;
    OK(ql_lora_set_targets(&c, "model.layers.1.mlp.down_proj"));
    placed p = place("tiny-llama", &c);
    assert_int_equal(p.m->n_params, 3);
    const char *dir = temp_path("dora");
    OK(ql_dir_create(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_dora(p.m, temp_path("dora/" VALUES), cases[i].name, cases[i].dims, cases[i].shape);
        if (cases[i].status == QL_OK) {
            float v[64];
            OK(ql_adapter_load(p.m, dir));
            OK(ql_param_read(
                p.m, ql_model_find_linear(p.m, "model.layers.1.mlp.down_proj")->adapter_m, v));
            assert_true(v[0] == 0 && v[63] == 63);
        } else {
            FAILS(ql_adapter_load(p.m, dir), cases[i].status, cases[i].word);
        }
    }
    release(&p);
    ql_lora_config_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_have_peft_s_names_and_shapes),
        cmocka_unit_test(folders_of_peft_go_both_ways),
        cmocka_unit_test(token_rows_keep_the_order_of_the_settings),
        cmocka_unit_test(magnitudes_have_several_spellings),
    };
    return cmocka_run_group_tests_name("adapter_kinds", tests, read_recorded, free_recorded);
}
