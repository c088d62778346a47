/*
 * test_merge.c - merged models against a reference in double that knows only the base's file and
 * the adapter's values: LoRA and DoRA, Conv1D, saved modules, token rows, tied and untied heads.
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
#include "core/model/merge.h"
#include "tests/support/engine.h"
#include "tests/support/temp_folder.h"

/* ---------------------------------------------------------------- models */

typedef struct placed {
    const char *name;
    ql_device *dev;
    ql_queue *queue;
    ql_model *m;
} placed;

/* Every trained value is drawn; magnitudes of DoRA are positive. */
static void randomize(ql_model *m) {
    ql_stream s = ql_stream_make(11, QL_STREAM_SAMPLE, 0);
    for (int32_t i = 0; i < m->n_params; i++) {
        int64_t n = m->params[i].rows * m->params[i].cols;
        float *v = calloc((size_t)n, sizeof *v);
        bool magnitude = strstr(m->params[i].name, "magnitude") != NULL;
        for (int64_t k = 0; k < n; k++) v[k] = ql_stream_uniform(&s) - (magnitude ? -0.1f : 0.5f);
        OK(ql_param_write(m, i, v));
        free(v);
    }
}

static placed place(const char *model, const ql_lora_config *c) {
    placed p = {.name = model, .dev = engine_device(1), .m = engine_model(model, 16, 0, 0)};
    OK(ql_model_attach_lora(p.m, c));
    OK(p.dev->backend->queue_create(p.dev, &p.queue));
    OK(ql_model_place(p.m, p.dev, p.queue));
    randomize(p.m);
    return p;
}

static void release(placed *p) {
    p->dev->backend->queue_destroy(p->queue);
    p->m->queue = NULL;
    ql_model_close(p->m);
    engine_close(p->dev);
}

/* What ql_merge told. */
typedef struct told {
    int n;
    char names[64][128];
    double largest[64];
} told;

static void note(void *user, const char *name, double largest) {
    told *t = user;
    assert_true(t->n < 64);
    snprintf(t->names[t->n], sizeof t->names[0], "%s", name);
    t->largest[t->n++] = largest;
}

static double told_of(const told *t, const char *name) {
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->names[i], name)) return t->largest[i];
    return -1;
}

/* ---------------------------------------------------------------- reference */

typedef struct values {
    int64_t rows, cols;
    float *v; /* NULL = there is none */
} values;

static values param_values(ql_model *m, const char *module, const char *what) {
    char name[256];
    snprintf(name, sizeof name, "%s%s", module, what);
    for (int32_t i = 0; i < m->n_params; i++) {
        const ql_param *p = &m->params[i];
        if (strcmp(p->name, name) != 0) continue;
        values x = {p->rows, p->cols, calloc((size_t)(p->rows * p->cols), sizeof(float))};
        OK(ql_param_read(m, i, x.v));
        return x;
    }
    return (values){0};
}

static double *tensor_values(const ql_st_tensor *t) {
    float *f = calloc((size_t)t->numel, sizeof *f);
    double *v = calloc((size_t)t->numel, sizeof *v);
    OK(ql_st_read_f32(t, 0, t->numel, f));
    for (int64_t i = 0; i < t->numel; i++) v[i] = (double)f[i];
    free(f);
    return v;
}

/* w [n, k] (stored by columns when `by_column`) += s B A, rows then scaled to the magnitudes. */
static void add_adapter(double *w, int64_t n, int64_t k, bool by_column, double s, const values *a,
                        const values *b, const values *magnitude) {
    assert_true(a->cols == k && b->rows == n && a->rows == b->cols);
    for (int64_t i = 0; i < n; i++) {
        long double square = 0;
        for (int64_t j = 0; j < k; j++) {
            double *x = by_column ? &w[j * n + i] : &w[i * k + j];
            long double sum = 0;
            for (int64_t r = 0; r < a->rows; r++)
                sum += (long double)b->v[i * a->rows + r] * (long double)a->v[r * k + j];
            *x += (double)(s * sum);
            square += (long double)*x * *x;
        }
        if (!magnitude->v) continue;
        for (int64_t j = 0; j < k; j++)
            w[by_column ? j * n + i : i * k + j] *= (double)(magnitude->v[i] / sqrtl(square));
    }
}

/* w becomes what the tensor must be; true when the adapter has to do with it. */
static bool expect(ql_model *m, const char *name, double *w, const ql_st_tensor *base) {
    char module[256];
    snprintf(module, sizeof module, "%s", name);
    char *dot = strrchr(module, '.');
    *dot = '\0';
    bool weight = !strcmp(dot + 1, "weight");
    values whole = param_values(m, name, "");
    values rows =
        weight ? param_values(m, module, ".token_adapter.trainable_tokens_delta") : (values){0};
    values a = weight ? param_values(m, module, ".lora_A.weight") : (values){0};
    bool touched = whole.v || rows.v || a.v;
    for (int64_t i = 0; whole.v && i < base->numel; i++) w[i] = (double)whole.v[i];
    for (int64_t i = 0; i < rows.rows; i++)
        for (int64_t j = 0; j < rows.cols; j++)
            w[m->token_rows.ids[i] * rows.cols + j] = (double)rows.v[i * rows.cols + j];
    if (a.v) {
        values b = param_values(m, module, ".lora_B.weight");
        values magnitude = param_values(m, module, ".lora_magnitude_vector");
        bool by_column = strstr(module, "transformer.h.") != NULL; /* GPT-2 */
        add_adapter(w, base->shape[by_column], base->shape[!by_column], by_column,
                    (double)ql_model_find_linear(m, module)->scaling, &a, &b, &magnitude);
        free(b.v);
        free(magnitude.v);
    }
    free(whole.v);
    free(rows.v);
    free(a.v);
    return touched;
}

static ql_st_file *open_weights(const char *dir) {
    char path[QL_PATH_MAX];
    ql_st_file *f = NULL;
    OK(ql_path_join(path, dir, "model.safetensors"));
    OK(ql_st_open(path, &f));
    return f;
}

static void compare_tensor(ql_model *m, const ql_st_tensor *base, const ql_st_tensor *merged,
                           const told *t) {
    assert_int_equal(base->dims, merged->dims);
    for (int32_t d = 0; d < base->dims; d++) assert_int_equal(base->shape[d], merged->shape[d]);
    assert_int_equal(merged->dtype, QL_ST_F32);
    double *old = tensor_values(base), *want = tensor_values(base), *have = tensor_values(merged);
    bool touched = expect(m, base->name, want, base);
    double largest = 0;
    for (int64_t i = 0; i < base->numel; i++) {
        if (fabs(want[i] - old[i]) > largest) largest = fabs(want[i] - old[i]);
        if (fabs(have[i] - want[i]) > 1e-7 * fabs(want[i]) + 1e-12)
            fail_msg("%s[%d]: %.9g, expected %.9g", base->name, (int)i, have[i], want[i]);
    }
    double said = told_of(t, base->name);
    if (touched != (said >= 0))
        fail_msg("%s: %s told as changed", base->name, touched ? "not" : "");
    if (touched && fabs(said - largest) > 1e-6 * largest)
        fail_msg("%s: a change of %.9g is told as %.9g", base->name, largest, said);
    free(old);
    free(want);
    free(have);
}

/* Merges p, compares every tensor of the base; returns how many tensors the result has besides. */
static int merge_and_compare(placed *p, const char *dir, int changed) {
    char from[QL_PATH_MAX];
    told t = {0};
    const ql_merge_opts o = {.dtype = QL_ST_F32, .changed = note, .user = &t};
    OK(ql_merge(p->m, &o, dir));
    snprintf(from, sizeof from, QL_TEST_DATA "/models/%s", p->name);
    ql_st_file *base = open_weights(from), *merged = open_weights(dir);
    for (int64_t i = 0; i < ql_st_count(base); i++) {
        const ql_st_tensor *b = ql_st_at(base, i), *x = ql_st_find(merged, b->name);
        if (!x) fail_msg("%s is missing in the merged model", b->name);
        compare_tensor(p->m, b, x, &t);
    }
    int more = (int)(ql_st_count(merged) - ql_st_count(base));
    assert_int_equal(t.n, changed);
    ql_st_close(base);
    ql_st_close(merged);
    return more;
}

/* The boolean or -1. */
static int config_flag(const char *dir, const char *key) {
    char path[QL_PATH_MAX];
    json_t *c = NULL;
    OK(ql_path_join(path, dir, "config.json"));
    OK(ql_json_read(path, &c));
    const json_t *v = json_object_get(c, key);
    int flag = json_is_boolean(v) ? json_is_true(v) : -1;
    json_decref(c);
    return flag;
}

/* ---------------------------------------------------------------- cases */

static void adapters_are_added_with_their_own_scaling(void **state) {
    (void)state;
    for (int dora = 0; dora < 2; dora++) {
        ql_lora_config c = ql_lora_config_default();
        c.r = 4;
        c.alpha = 6;
        c.dora = dora == 1;
        OK(ql_lora_set_rank_pattern(&c, "q_proj=3,1.mlp.down_proj=7"));
        OK(ql_lora_set_alpha_pattern(&c, "mlp.down_proj=2"));
        OK(ql_lora_set_exclude(&c, "0.self_attn.v_proj"));
        placed p = place("tiny-llama", &c);
        assert_int_equal(merge_and_compare(&p, temp_path("llama"), 13), 0);
        assert_int_equal(config_flag(temp_path("llama"), "tie_word_embeddings"), 0);
        release(&p);
        ql_lora_config_free(&c);
    }
}

static void conv1d_stays_as_the_file_has_it(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    c.r = 4;
    c.dora = true;
    OK(ql_lora_set_targets(&c, "c_attn,mlp.c_proj"));
    OK(ql_lora_set_saved(&c, "ln_f,wpe,0.mlp.c_fc")); /* c_fc: weight and bias */
    placed p = place("tiny-gpt2", &c);
    assert_int_equal(merge_and_compare(&p, temp_path("gpt2"), 4 + 2 + 1 + 2), 0);
    release(&p);
    ql_lora_config_free(&c);
}

static void a_classifier_is_replaced(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    OK(ql_lora_set_targets(&c, "query,value"));
    placed p = place("tiny-roberta", &c);
    assert_int_equal(merge_and_compare(&p, temp_path("roberta"), 4 + 4), 0);
    release(&p);
    ql_lora_config_free(&c);
}

static void token_rows_replace_the_embedding_s(void **state) {
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-llama-tied"};
    for (int i = 0; i < 2; i++) {
        ql_lora_config c = ql_lora_config_default();
        c.r = 2;
        OK(ql_lora_set_targets(&c, "q_proj"));
        OK(ql_lora_set_tokens(&c, "90,3,0,17"));
        placed p = place(models[i], &c);
        assert_int_equal(merge_and_compare(&p, temp_path(models[i]), 3), 0);
        assert_int_equal(config_flag(temp_path(models[i]), "tie_word_embeddings"), i);
        release(&p);
        ql_lora_config_free(&c);
    }
}

/* The saved embedding is the base's copy; the head goes on with the base's own, as in PEFT. */
static void a_saved_embedding_is_no_longer_tied(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    OK(ql_lora_set_targets(&c, "q_proj"));
    OK(ql_lora_set_saved(&c, "embed_tokens"));
    placed p = place("tiny-llama-tied", &c);
    const char *dir = temp_path("untied");
    assert_int_equal(merge_and_compare(&p, dir, 3), 1);
    assert_int_equal(config_flag(dir, "tie_word_embeddings"), 0);
    ql_st_file *base = open_weights(QL_TEST_DATA "/models/tiny-llama-tied");
    ql_st_file *merged = open_weights(dir);
    const ql_st_tensor *head = ql_st_find(merged, "lm_head.weight");
    assert_non_null(head);
    double *want = tensor_values(ql_st_find(base, "model.embed_tokens.weight"));
    double *have = tensor_values(head);
    assert_memory_equal(have, want, (size_t)head->numel * sizeof *have);
    free(want);
    free(have);
    ql_st_close(base);
    ql_st_close(merged);
    release(&p);
    ql_lora_config_free(&c);
}

/* A T5 whose head is untied does not scale it: the merged model would be another. */
static void a_head_that_is_scaled_stays_tied(void **state) {
    (void)state;
    ql_lora_config c = ql_lora_config_default();
    c.r = 2;
    OK(ql_lora_set_targets(&c, "q"));
    OK(ql_lora_set_saved(&c, "shared"));
    placed p = place("tiny-t5", &c);
    const ql_merge_opts o = {.dtype = QL_ST_F32};
    FAILS(ql_merge(p.m, &o, temp_path("t5")), QL_ERR_UNSUPPORTED, "unties");
    assert_false(ql_dir_exists(temp_path("t5")));
    release(&p);
    ql_lora_config_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_are_added_with_their_own_scaling),
        cmocka_unit_test(conv1d_stays_as_the_file_has_it),
        cmocka_unit_test(a_classifier_is_replaced),
        cmocka_unit_test(token_rows_replace_the_embedding_s),
        cmocka_unit_test(a_saved_embedding_is_no_longer_tied),
        cmocka_unit_test(a_head_that_is_scaled_stays_tied),
    };
    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
