/*
 * test_verify.c - the recorded cases of every model hold on 1 and 2 threads, with and without
 * recomputation, and verify fails when one value of an oracle, an adapter or a weight is wrong.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/io/safetensors.h"
#include "core/verify/verify.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

#define CURVE QL_TEST_SHARED "/fixtures/models/stories260k-curve"

static const struct {
    const char *name;
    unsigned cases; /* what its oracle holds */
} models[] = {
    {"tiny-llama", QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA | QL_VERIFY_RSLORA},
    {"tiny-llama-linear", QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA},
    {"tiny-llama-rope3", QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA},
    {"tiny-llama-yarn", QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA},
    {"tiny-mistral", QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA}};
enum { N_MODELS = sizeof models / sizeof *models };

static const char *folder_of(const char *model) {
    static char path[QL_PATH_MAX];
    OK(ql_path_join(path, QL_TEST_DATA "/models", model));
    return path;
}

static ql_verify_report verify(const char *dir, int threads, const ql_verify_opts *o) {
    ql_device *dev = engine_device(threads);
    ql_verify_report r;
    OK(ql_verify(dir, o, dev, &r));
    assert_int_equal(engine_counts(dev).device_bytes, 0);
    engine_close(dev);
    return r;
}

static const ql_verify_row *find_row(const ql_verify_report *r, const char *group) {
    for (int i = 0; i < r->n_rows; i++)
        if (!strcmp(r->rows[i].group, group)) return &r->rows[i];
    return NULL;
}

static void print_rows(const ql_verify_report *r, const char *title) {
    print_message("%s\n", title);
    for (int i = 0; i < r->n_rows; i++)
        print_message("  %-20s %3lld tensors  max_abs %.3g  max_rel %.3g  %s\n", r->rows[i].group,
                      (long long)r->rows[i].tensors, r->rows[i].max_abs, r->rows[i].max_rel,
                      r->rows[i].ok ? "ok" : "TOO FAR");
}

/* Every group that `cases` must give is there, is not empty, and is near enough. */
static void assert_complete(const ql_verify_report *r, unsigned cases, bool fp32) {
    static const struct {
        unsigned bit;
        const char *name;
        bool adapter;
    } all[] = {{QL_VERIFY_PLAIN, "plain", false},
               {QL_VERIFY_PACKED, "packed", false},
               {QL_VERIFY_QLORA, "qlora", true},
               {QL_VERIFY_RSLORA, "rslora", true}};
    static const char *const kinds[] = {"logits", "loss", "losses", "grad", "grad_norms", "after3"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int n = !all[i].adapter ? 2 : !fp32 ? 3 : 6;
        for (int k = 0; k < n && cases & all[i].bit; k++) {
            char group[64];
            snprintf(group, sizeof group, "%s.%s", all[i].name, kinds[k]);
            const ql_verify_row *row = find_row(r, group);
            if (!row || !row->elements || !row->ok)
                fail_msg("%s is %s", group, row ? "too far" : "absent");
        }
    }
    assert_true(r->ok);
}

static void every_model_agrees_with_its_oracle(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        for (int how = 0; how < 4; how++) {
            int threads = 1 + how % 2, checkpoint = how / 2;
            ql_verify_opts o = {
                .cases = models[i].cases, .compute = QL_F32, .checkpoint = checkpoint};
            ql_verify_report r = verify(folder_of(models[i].name), threads, &o);
            char title[128];
            snprintf(title, sizeof title, "%s, %d threads, checkpoint %d", models[i].name, threads,
                     checkpoint);
            if (how == 0 || !r.ok) print_rows(&r, title);
            assert_complete(&r, models[i].cases, true);
            assert_string_equal(r.absent, "");
        }
    }
}

static void bf16_stays_within_its_bar(void **state) {
    (void)state;
    bool ok = true;
    for (int i = 0; i < N_MODELS; i++) {
        ql_verify_opts o = {.cases = models[i].cases, .compute = QL_BF16, .checkpoint = 1};
        ql_verify_report r = verify(folder_of(models[i].name), 2, &o);
        print_rows(&r, models[i].name);
        ok &= r.ok;
        if (r.ok) assert_complete(&r, models[i].cases, false);
    }
    assert_true(ok);
}

static void cases_are_named_when_not_run_or_absent(void **state) {
    (void)state;
    ql_verify_opts o = {.cases = QL_VERIFY_PLAIN | QL_VERIFY_RSLORA, .compute = QL_F32};
    ql_verify_report r = verify(folder_of("tiny-llama"), 1, &o);
    assert_non_null(strstr(r.not_run, "packed"));
    assert_non_null(strstr(r.not_run, "qlora"));
    assert_non_null(strstr(r.not_run, "dora"));
    assert_non_null(strstr(r.not_run, "loftq"));
    assert_null(strstr(r.not_run, "plain"));
    r = verify(folder_of("tiny-mistral"), 1, &o);
    assert_string_equal(r.absent, "rslora");
    ql_device *dev = engine_device(1);
    o.cases = QL_VERIFY_RSLORA;
    FAILS(ql_verify(folder_of("tiny-mistral"), &o, dev, &r), QL_ERR_INVALID, "none of the cases");
    FAILS(ql_verify(temp_folder(), &o, dev, &r), QL_ERR_NOT_FOUND, "neither oracle");
    engine_close(dev);
}

/* ---------------------------------------------------------------- verify fails when it must */

static void copy_file(const char *from_dir, const char *name, const char *to_dir) {
    char from[QL_PATH_MAX], to[QL_PATH_MAX];
    OK(ql_path_join(from, from_dir, name));
    OK(ql_path_join(to, to_dir, name));
    char *data = NULL;
    size_t len = 0;
    OK(ql_file_read(from, 1u << 28, &data, &len));
    OK(ql_file_replace(to, data, len));
    ql_host_free(data);
}

/* A copy of a model with its adapter. */
static const char *copy_of(const char *model) {
    static const char *const names[] = {"config.json", "model.safetensors", "oracle.safetensors"};
    static const char *const adapter[] = {"adapter_config.json", "adapter_model.safetensors"};
    static char from[QL_PATH_MAX], sub_from[QL_PATH_MAX], sub_to[QL_PATH_MAX];
    const char *to = temp_path(model);
    OK(ql_path_join(from, QL_TEST_DATA "/models", model));
    OK(ql_path_join(sub_from, from, "adapter"));
    OK(ql_path_join(sub_to, to, "adapter"));
    OK(ql_dir_create(sub_to));
    for (int i = 0; i < 3; i++) copy_file(from, names[i], to);
    for (int i = 0; i < 2; i++) copy_file(sub_from, adapter[i], sub_to);
    return to;
}

/* Changes the float at `element` of a tensor in its file: x -> x + by; false when there is none. */
static void perturb(const char *dir, const char *file, const char *tensor, int64_t element,
                    float by) {
    char path[QL_PATH_MAX];
    OK(ql_path_join(path, dir, file));
    ql_st_file *f = NULL;
    OK(ql_st_open(path, &f));
    const ql_st_tensor *t = ql_st_find(f, tensor);
    assert_non_null(t);
    assert_int_equal(t->dtype, QL_ST_F32);
    assert_true(element < t->numel);
    uint64_t at = t->offset + (uint64_t)element * sizeof(float);
    ql_st_close(f);
    char *data = NULL;
    size_t len = 0;
    OK(ql_file_read(path, 1u << 28, &data, &len));
    float x;
    memcpy(&x, data + at, sizeof x);
    x += by;
    memcpy(data + at, &x, sizeof x);
    OK(ql_file_replace(path, data, len));
    ql_host_free(data);
}

static void one_wrong_value_is_found(void **state) {
    (void)state;
    static const struct {
        const char *file, *tensor;
        int64_t element;
        float by;
        const char *group; /* must be too far */
    } wrong[] = {
        {"oracle.safetensors", "plain.logits", 5, 1e-4f, "plain.logits"},
        {"oracle.safetensors", "packed.loss", 0, 1e-4f, "packed.loss"},
        {"oracle.safetensors", "qlora.logits", 7, -1e-4f, "qlora.logits"},
        {"oracle.safetensors", "qlora.losses", 2, 3e-4f, "qlora.losses"},
        {"oracle.safetensors", "qlora.grad_norms", 1, 0.01f, "qlora.grad_norms"},
        {"oracle.safetensors",
         "qlora.grad.base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", 3, 0.01f,
         "qlora.grad"},
        {"oracle.safetensors",
         "qlora.after3.base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight", 0, 1e-3f,
         "qlora.after3"},
        {"oracle.safetensors", "plain.logits", 0, NAN, "plain.logits"},
        {"adapter/adapter_model.safetensors",
         "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", 0, 0.05f,
         "qlora.after3"},
        {"model.safetensors", "model.norm.weight", 3, 0.01f, "plain.logits"},
        {"model.safetensors", "model.layers.1.mlp.down_proj.weight", 0, 0.05f, "packed.logits"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *dir = copy_of("tiny-llama");
        ql_verify_opts o = {.cases = QL_VERIFY_PLAIN | QL_VERIFY_PACKED | QL_VERIFY_QLORA,
                            .compute = QL_F32};
        if (i == 0) assert_true(verify(dir, 1, &o).ok); /* the copy itself is right */
        perturb(dir, wrong[i].file, wrong[i].tensor, wrong[i].element, wrong[i].by);
        ql_verify_report r = verify(dir, 1, &o);
        const ql_verify_row *row = find_row(&r, wrong[i].group);
        if (r.ok || !row || row->ok)
            fail_msg("%s in %s: not found", wrong[i].tensor, wrong[i].file);
    }
}

static void written_values_are_the_compared_ones(void **state) {
    (void)state;
    ql_verify_opts o = {
        .cases = QL_VERIFY_PLAIN, .compute = QL_F32, .write = temp_path("ours.safetensors")};
    ql_verify_report r = verify(folder_of("tiny-mistral"), 1, &o);
    ql_st_file *ours = NULL, *oracle = NULL;
    OK(ql_st_open(o.write, &ours));
    OK(ql_st_open(QL_TEST_DATA "/models/tiny-mistral/oracle.safetensors", &oracle));
    float a = 0, b = 0;
    OK(ql_st_read_f32(ql_st_find(ours, "plain.loss"), 0, 1, &a));
    OK(ql_st_read_f32(ql_st_find(oracle, "plain.loss"), 0, 1, &b));
    assert_true(fabs((double)a - (double)b) == find_row(&r, "plain.loss")->max_abs);
    ql_st_close(ours);
    ql_st_close(oracle);
}

/* ---------------------------------------------------------------- the training curve */

static void fifty_steps_follow_the_recorded_curve(void **state) {
    (void)state;
    if (!ql_dir_exists(CURVE) || !ql_dir_exists(CURVE "/../stories260k")) {
        print_message("no fixtures/models/stories260k-curve: skipped\n");
        skip();
    }
    for (int how = 0; how < 2; how++) {
        ql_verify_opts o = {.cases = QL_VERIFY_CURVE, .compute = QL_F32, .checkpoint = how};
        ql_verify_report r = verify(CURVE, 1 + how, &o);
        print_rows(&r, how ? "curve, 2 threads, checkpoint 1" : "curve, 1 thread");
        assert_true(r.ok);
        const ql_verify_row *losses = find_row(&r, "curve.losses");
        assert_true(losses && losses->elements == 50 && losses->max_rel <= 1e-4);
        const ql_verify_row *final = find_row(&r, "curve.final_adapter");
        assert_true(final && final->tensors > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_agrees_with_its_oracle),
        cmocka_unit_test(cases_are_named_when_not_run_or_absent),
        cmocka_unit_test(one_wrong_value_is_found),
        cmocka_unit_test(written_values_are_the_compared_ones),
        cmocka_unit_test(fifty_steps_follow_the_recorded_curve),
        cmocka_unit_test(bf16_stays_within_its_bar),
    };
    return cmocka_run_group_tests_name("models_verify", tests, NULL, NULL);
}
