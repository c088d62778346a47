/*
 * test_quant_folder.c - whole models: files equal byte for byte to those that transformers wrote
 * with bitsandbytes, shards, requantizing, refusals, and failures that leave the old folder alone.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/half.h"
#include "core/quant/stored.h"
#include "tests/core/quant_fixture.h"

#define BASE QL_TEST_DATA "/quant/tiny_base"

/* Folder of this program's outputs, in the directory in which ctest runs it. */
#define WORK "quant_folder.work"

static ql_quantize_folder_opts options(const char *type, bool doubled) {
    ql_quantize_folder_opts o = {.quant = ql_quant_opts_default()};
    o.quant.type = ql_qtype_find(type)->id;
    o.quant.double_quant = doubled;
    return o;
}

static ql_source *open_source(const char *path) {
    ql_source *s = NULL;
    if (ql_source_open(path, &s) != QL_OK) fail_msg("%s", ql_last_error());
    return s;
}

static ql_quantize_report quantize(const char *from, const ql_quantize_folder_opts *o,
                                   const char *out) {
    ql_source *s = open_source(from);
    ql_quantize_report report;
    if (ql_quantize_folder(s, o, out, &report) != QL_OK) fail_msg("%s", ql_last_error());
    ql_source_close(s);
    return report;
}

static void assert_files_equal(const char *got, const char *want) {
    ql_map a, b;
    if (ql_map_open(got, &a) != QL_OK) fail_msg("%s", ql_last_error());
    if (ql_map_open(want, &b) != QL_OK) fail_msg("%s", ql_last_error());
    assert_int_equal(a.size, b.size);
    assert_bytes_equal(a.data, b.data, a.size, got);
    ql_map_close(&a);
    ql_map_close(&b);
}

static void assert_configs_equal(const char *got, const char *want) {
    json_t *a = NULL, *b = NULL;
    assert_int_equal(ql_json_read(got, &a), QL_OK);
    assert_int_equal(ql_json_read(want, &b), QL_OK);
    json_object_del(a, "transformers_version");
    json_object_del(b, "transformers_version");
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
}

static void model_files_equal_those_of_transformers(void **state) {
    (void)state;
    static const struct {
        const char *folder, *type;
        bool doubled;
    } cases[] = {
        {"tiny_nf4", "nf4", false}, {"tiny_nf4_dq", "nf4", true}, {"tiny_int8", "llm_int8", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ql_quantize_folder_opts o = options(cases[i].type, cases[i].doubled);
        ql_quantize_report r = quantize(BASE, &o, WORK "/tiny");
        char want[512];
        snprintf(want, sizeof want, "%s/quant/%s/model.safetensors", QL_TEST_DATA, cases[i].folder);
        assert_files_equal(WORK "/tiny/model.safetensors", want);
        snprintf(want, sizeof want, "%s/quant/%s/config.json", QL_TEST_DATA, cases[i].folder);
        assert_configs_equal(WORK "/tiny/config.json", want);
        assert_int_equal(r.quantized, 7);
        assert_int_equal(r.requantized, 0);
        assert_int_equal(r.files, 1);
        char **names;
        size_t n;
        assert_int_equal(ql_dir_list(WORK "/tiny", &names, &n), QL_OK);
        assert_int_equal(n, 2); /* nothing else: no spool, no temporary */
        ql_host_free(names);
        assert_false(ql_dir_exists(WORK "/tiny.partial"));
    }
}

/* 43008 weights: 4 bits of code, one byte per 64, 4 bytes per 64 * 256 in each of 7 tensors. */
static void report_counts_bits_and_error(void **state) {
    (void)state;
    ql_quantize_folder_opts o = options("nf4", true);
    ql_quantize_report r = quantize(BASE, &o, WORK "/report");
    double weights = 3 * 64 * 160 + 2 * 64 * 64 + 2 * 32 * 64;
    assert_true(fabs(r.bits_per_weight - (4.0 + 8.0 / 64.0 + 7 * 32.0 / weights)) < 1e-12);
    assert_true(r.rel_error > 0.05 && r.rel_error < 0.15);
    assert_true(r.bytes_out < r.bytes_in);
}

static int done_calls;
static void count_progress(void *user, int64_t done, int64_t total, const char *name) {
    (void)user;
    assert_non_null(name);
    assert_true(done >= 1 && done <= total);
    done_calls++;
}

static float *decoded(const ql_source *s, const char *name, int64_t *n) {
    ql_qtensor q;
    if (ql_stored_open(s, name, &q) != QL_OK) fail_msg("%s", ql_last_error());
    *n = q.n * q.k;
    float *w = calloc((size_t)*n, sizeof *w);
    assert_int_equal(ql_dequantize_rows(&q, 0, q.n, w), QL_OK);
    ql_qtensor_free(&q);
    return w;
}

static void stored_models_decode_to_what_the_package_decodes(void **state) {
    (void)state;
    static const char *const folders[] = {"tiny_nf4", "tiny_nf4_dq"};
    ql_st_file *f = fixture_open("tiny_expected");
    int checked = 0;
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/quant/%s", QL_TEST_DATA, folders[i]);
        ql_source *s = open_source(path);
        for (int64_t t = 0; t < ql_source_count(s); t++) {
            const char *name = ql_source_at(s, t)->name;
            if (!ql_stored_is_quantized(s, name)) continue;
            int64_t n;
            float *got = decoded(s, name, &n);
            const ql_st_tensor *in = fixture_find(f, "%s.dequant.%s", folders[i], name);
            float *want = fixture_floats(in);
            assert_int_equal(n, in->numel);
            assert_int_equal(in->dtype, QL_ST_BF16);
            for (int64_t e = 0; e < n; e++) got[e] = ql_f32_from_bf16(ql_bf16_from_f32(got[e]));
            assert_floats_equal(got, want, n, in->name);
            checked++;
            free(got);
            free(want);
        }
        ql_source_close(s);
    }
    assert_int_equal(checked, 14);
    ql_st_close(f);
}

static void shards_hold_the_same_tensors(void **state) {
    (void)state;
    ql_quantize_folder_opts o = options("nf4", true);
    quantize(BASE, &o, WORK "/whole");
    o.max_shard_bytes = 20000;
    o.progress = count_progress;
    done_calls = 0;
    ql_quantize_report r = quantize(BASE, &o, WORK "/shards");
    assert_true(r.files > 2);
    assert_int_equal(done_calls, 12);
    char first[128];
    snprintf(first, sizeof first, WORK "/shards/model-00001-of-%05d.safetensors", (int)r.files);
    assert_true(ql_file_exists(first));
    assert_false(ql_file_exists(WORK "/shards/model.safetensors"));
    ql_source *a = open_source(WORK "/whole"), *b = open_source(WORK "/shards");
    assert_int_equal(ql_source_files(b), r.files);
    assert_int_equal(ql_source_count(a), ql_source_count(b));
    for (int64_t i = 0; i < ql_source_count(a); i++) {
        const ql_source_tensor *x = ql_source_at(a, i), *y = ql_source_find(b, x->name);
        assert_non_null(y);
        assert_int_equal(x->st->bytes, y->st->bytes);
        assert_bytes_equal(y->st->data, x->st->data, x->st->bytes, x->name);
    }
    ql_source_close(a);
    ql_source_close(b);

    o = options("int4", true); /* sharded in, one file out */
    quantize(WORK "/shards", &o, WORK "/again");
    assert_true(ql_file_exists(WORK "/again/model.safetensors"));
}

static void every_type_goes_through_a_folder(void **state) {
    (void)state;
    ql_source *base = open_source(BASE);
    for (int id = 0; id < QL_QT_GGML; id++) {
        const ql_qtype *type = ql_qtype_at(id);
        for (int own = 0; own < 2; own++) {
            ql_quantize_folder_opts o = options(type->name, !type->per_row);
            o.format = own ? QL_STORED_QLORA : QL_STORED_BNB;
            quantize(BASE, &o, WORK "/type");
            ql_source *s = open_source(WORK "/type");
            const char *name = "model.layers.0.mlp.down_proj.weight";
            ql_qtensor q, direct;
            if (ql_stored_open(s, name, &q) != QL_OK) fail_msg("%s", ql_last_error());
            assert_ptr_equal(q.type, type);
            const ql_source_tensor *t = ql_source_find(base, name);
            float *w = fixture_floats(t->st);
            assert_int_equal(ql_quantize(&o.quant, w, t->rows, t->cols, &direct), QL_OK);
            assert_bytes_equal(q.codes, direct.codes, direct.codes_bytes, type->name);
            assert_string_equal(q.source_dtype, type->per_row && !own ? "float16" : "bfloat16");
            float *a = calloc((size_t)t->st->numel, sizeof *a);
            float *b = calloc((size_t)t->st->numel, sizeof *b);
            assert_int_equal(ql_dequantize_rows(&q, 0, q.n, a), QL_OK);
            assert_int_equal(ql_dequantize_rows(&direct, 0, q.n, b), QL_OK);
            assert_floats_equal(a, b, t->st->numel, type->name);
            free(a);
            free(b);
            free(w);
            ql_qtensor_free(&q);
            ql_qtensor_free(&direct);
            const char *method = NULL;
            const json_t *qc = json_object_get(ql_source_config(s), "quantization_config");
            assert_int_equal(ql_json_get_str(qc, "config", "quant_method", &method), QL_OK);
            assert_string_equal(method, type->bnb && !own ? "bitsandbytes" : "qlora");
            ql_source_close(s);
        }
    }
    ql_source_close(base);
}

/* What bitsandbytes' readers refuse goes into our own container under the same type. */
static void odd_blocks_go_into_our_container(void **state) {
    (void)state;
    static const struct {
        const char *type, *method;
        int32_t block, block2;
    } cases[] = {{"nf4", "bitsandbytes", 32, 256}, {"nf4", "qlora", 48, 256},
                 {"nf4", "qlora", 64, 100},        {"fp4", "qlora", 8192, 256},
                 {"nf3", "qlora", 8, 8},           {"int2a", "qlora", 100, 256}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ql_quantize_folder_opts o = options(cases[i].type, true);
        o.quant.block = cases[i].block;
        o.quant.block2 = cases[i].block2;
        quantize(BASE, &o, WORK "/odd");
        ql_source *s = open_source(WORK "/odd");
        const json_t *qc = json_object_get(ql_source_config(s), "quantization_config");
        assert_string_equal(json_string_value(json_object_get(qc, "quant_method")),
                            cases[i].method);
        ql_qtensor q;
        if (ql_stored_open(s, "model.layers.0.mlp.down_proj.weight", &q) != QL_OK)
            fail_msg("%s", ql_last_error());
        assert_int_equal(q.block, cases[i].block);
        assert_int_equal(q.block2, cases[i].block2);
        ql_qtensor_free(&q);
        ql_source_close(s);
    }
}

static void quantized_sources_are_decoded_and_reported(void **state) {
    (void)state;
    ql_quantize_folder_opts o = options("nf4", true);
    ql_quantize_report r = quantize(QL_TEST_DATA "/quant/tiny_nf4_dq", &o, WORK "/re");
    assert_int_equal(r.quantized, 7);
    assert_int_equal(r.requantized, 7);
    o = options("int4a", false);
    r = quantize(QL_TEST_DATA "/quant/tiny_int8", &o, WORK "/re");
    assert_int_equal(r.requantized, 7);
    o = options("llm_int8", false);
    r = quantize(WORK "/re", &o, WORK "/re2");
    assert_int_equal(r.requantized, 7);
}

static void head_is_quantized_on_request_and_loaders_are_told(void **state) {
    (void)state;
    ql_quantize_folder_opts o = options("nf4", true);
    o.quantize_head = true;
    o.compute_dtype = "bfloat16";
    ql_quantize_report r = quantize(BASE, &o, WORK "/head");
    assert_int_equal(r.quantized, 8);
    ql_source *s = open_source(WORK "/head");
    assert_true(ql_stored_is_quantized(s, "lm_head.weight"));
    assert_false(ql_stored_is_quantized(s, "model.embed_tokens.weight"));
    const json_t *qc = json_object_get(ql_source_config(s), "quantization_config");
    assert_true(json_is_array(json_object_get(qc, "llm_int8_skip_modules")));
    assert_string_equal(json_string_value(json_object_get(qc, "bnb_4bit_compute_dtype")),
                        "bfloat16");
    assert_true(ql_quantizes_module(ql_source_config(s), "lm_head", false));
    ql_source_close(s);
}

/* A copy of the base whose down_proj has `bits` (BF16) at row 3, column 5. */
static void write_damaged(const char *name, uint16_t bits) {
    ql_source *s = open_source(BASE);
    assert_int_equal(ql_source_write_sidecars(s, WORK "/damaged"), QL_OK);
    ql_st_writer *w;
    assert_int_equal(ql_st_writer_create(WORK "/damaged/model.safetensors", &w), QL_OK);
    for (int64_t i = 0; i < ql_source_count(s); i++) {
        const ql_st_tensor *t = ql_source_at(s, i)->st;
        assert_int_equal(ql_st_writer_declare(w, t->name, t->dtype, t->dims, t->shape), QL_OK);
    }
    for (int64_t i = 0; i < ql_source_count(s); i++) {
        const ql_source_tensor *t = ql_source_at(s, i);
        uint8_t *copy = malloc(t->st->bytes);
        memcpy(copy, t->st->data, t->st->bytes);
        if (strcmp(t->name, name) == 0) memcpy(copy + 2 * (3 * t->cols + 5), &bits, sizeof bits);
        assert_int_equal(ql_st_writer_data(w, copy, t->st->bytes), QL_OK);
        free(copy);
    }
    assert_int_equal(ql_st_writer_commit(w), QL_OK);
    ql_source_close(s);
}

static void nan_and_infinity_are_refused_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *tensor, *word;
        uint16_t bits;
    } cases[] = {{"model.layers.0.mlp.down_proj.weight", "NaN", 0x7FC0},
                 {"model.layers.0.mlp.down_proj.weight", "infinite", 0xFF80},
                 {"model.embed_tokens.weight", "NaN", 0x7F81}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_damaged(cases[i].tensor, cases[i].bits);
        ql_source *s = open_source(WORK "/damaged");
        ql_quantize_folder_opts o = options("nf4", true);
        ql_quantize_report r;
        assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_ERR_NUMERIC);
        assert_non_null(strstr(ql_last_error(), cases[i].tensor));
        assert_non_null(strstr(ql_last_error(), cases[i].word));
        assert_non_null(strstr(ql_last_error(), "row 3, column 5"));
        assert_false(ql_dir_exists(WORK "/never"));
        assert_false(ql_dir_exists(WORK "/never.partial"));
        ql_source_close(s);
    }
}

static void float16_overflow_is_refused_for_llm_int8(void **state) {
    (void)state;
    write_damaged("model.layers.0.mlp.down_proj.weight", 0x4880); /* 262144 */
    ql_source *s = open_source(WORK "/damaged");
    ql_quantize_folder_opts o = options("llm_int8", false);
    ql_quantize_report r;
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_ERR_NUMERIC);
    assert_non_null(strstr(ql_last_error(), "float16"));
    o = options("nf4", true);
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_OK);
    assert_int_equal(ql_dir_remove(WORK "/never"), QL_OK);
    ql_source_close(s);
}

static void bad_options_and_bad_outputs_are_refused(void **state) {
    (void)state;
    ql_source *s = open_source(BASE);
    ql_quantize_report r;
    ql_quantize_folder_opts o = options("llm_int8", true);
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_ERR_INVALID);
    o = options("nf4", true);
    o.quant.block = 7;
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "--blocksize 7"));
    o.quant.block = 64;
    o.quant.block2 = 5000;
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/never", &r), QL_ERR_INVALID);
    assert_non_null(strstr(ql_last_error(), "--blocksize2 5000"));
    o = options("nf4", true);
    assert_int_equal(ql_quantize_folder(s, &o, BASE "/", &r), QL_ERR_INVALID);
    assert_int_equal(ql_dir_create(WORK "/mine"), QL_OK);
    assert_int_equal(ql_file_replace(WORK "/mine/diary.txt", "dear", 4), QL_OK);
    assert_int_equal(ql_quantize_folder(s, &o, WORK "/mine", &r), QL_ERR_INVALID);
    assert_true(ql_file_exists(WORK "/mine/diary.txt"));
    assert_false(ql_dir_exists(WORK "/never"));
    ql_source_close(s);
}

/* Every write call in turn fails as on a full disk, until one run gets through. */
static void a_full_disk_leaves_the_old_folder(void **state) {
    (void)state;
    ql_quantize_folder_opts old = options("int8", false), new = options("nf4", true);
    quantize(BASE, &old, WORK "/full");
    ql_source *s = open_source(BASE);
    ql_quantize_report r;
    size_t live = ql_hostmem_live();
    long n = 1;
    for (; n < 1000; n++) {
        ql_fs_fail_after(n);
        ql_status status = ql_quantize_folder(s, &new, WORK "/full", &r);
        ql_fs_fail_after(0);
        if (status == QL_OK) break;
        assert_int_equal(status, QL_ERR_IO);
        assert_int_equal(ql_hostmem_live(), live);
        assert_false(ql_dir_exists(WORK "/full.partial"));
        ql_source *kept = open_source(WORK "/full");
        ql_qtensor q;
        assert_int_equal(ql_stored_open(kept, "model.layers.0.mlp.up_proj.weight", &q), QL_OK);
        assert_int_equal(q.type->id, QL_QT_INT8);
        ql_qtensor_free(&q);
        ql_source_close(kept);
    }
    assert_true(n > 3 && n < 1000); /* config, spool and model were each hit */
    ql_source_close(s);
}

/* Every allocation in turn fails; nothing may leak or crash. */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    ql_quantize_folder_opts o = options("int4a", true);
    ql_source *s = open_source(BASE);
    ql_quantize_report r;
    size_t live = ql_hostmem_live();
    ql_status status = QL_ERR_NOMEM_HOST;
    long n = 1;
    for (; n < 5000 && status != QL_OK; n++) {
        ql_hostmem_fail_after(n);
        status = ql_quantize_folder(s, &o, WORK "/memory", &r);
        ql_hostmem_fail_after(0);
        assert_int_equal(ql_hostmem_live(), live);
    }
    assert_int_equal(status, QL_OK);
    assert_true(n > 50);
    ql_source_close(s);
}

static ql_status marked_encoder(void *user, const ql_quant_opts *o, const float *w, int64_t n,
                                int64_t k, uint8_t *codes, float *absmax, float *zero) {
    ++*(int *)user;
    return ql_encode_scalar(NULL, o, w, n, k, codes, absmax, zero);
}

static void the_first_level_can_come_from_a_backend(void **state) {
    (void)state;
    int calls = 0;
    ql_quantize_folder_opts o = options("nf4", true);
    o.encode = marked_encoder;
    o.encode_user = &calls;
    quantize(BASE, &o, WORK "/hook");
    assert_int_equal(calls, 7);
    assert_files_equal(WORK "/hook/model.safetensors",
                       QL_TEST_DATA "/quant/tiny_nf4_dq/model.safetensors");
}

static void modules_follow_the_skip_rules(void **state) {
    (void)state;
    static const struct {
        const char *config, *module;
        bool head, want;
    } cases[] = {
        {"{}", "model.layers.0.mlp.up_proj", false, true},
        {"{}", "model.embed_tokens", true, false},
        {"{}", "transformer.wte", true, false},
        {"{}", "lm_head", false, false},
        {"{}", "lm_head", true, true},
        {"{\"tie_word_embeddings\": true}", "lm_head", true, false},
        {"{}", "score", false, false},
        {"{}", "classifier", false, false},
        {"{}", "classifier.dense", false, false},
        {"{}", "classifier.out_proj", false, false},
        {"{\"model_type\": \"t5\"}", "decoder.block.0.layer.2.DenseReluDense.wo", false, false},
        {"{\"model_type\": \"t5\"}", "decoder.block.0.layer.2.DenseReluDense.wi", false, true},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": null}}", "lm_head", false, false},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": []}}", "lm_head", false, true},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"q_proj\"]}}", "a.b.q_proj",
         false, false},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"q_proj\"]}}", "a.q_proj.b",
         false, true},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"a\"]}}", "a.q_proj.b", false,
         false},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"a\"]}}", "ab.q_proj", false,
         true},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"model.layers.[02]\"]}}",
         "model.layers.2.mlp.up_proj", false, false},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"model.layers.[02]\"]}}",
         "model.layers.20.mlp.up_proj", false, true},
        {"{\"quantization_config\": {\"llm_int8_skip_modules\": [\"((\"]}}", "x.up_proj", false,
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *config = json_loads(cases[i].config, 0, NULL);
        bool got = ql_quantizes_module(config, cases[i].module, cases[i].head);
        if (got != cases[i].want) fail_msg("%s with %s", cases[i].module, cases[i].config);
        json_decref(config);
    }
}

static int prepare(void **state) {
    (void)state;
    if (ql_dir_remove(WORK) != QL_OK || ql_dir_create(WORK) != QL_OK) return -1;
    return 0;
}

static int clean(void **state) {
    (void)state;
    return ql_dir_remove(WORK) == QL_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_files_equal_those_of_transformers),
        cmocka_unit_test(report_counts_bits_and_error),
        cmocka_unit_test(stored_models_decode_to_what_the_package_decodes),
        cmocka_unit_test(shards_hold_the_same_tensors),
        cmocka_unit_test(every_type_goes_through_a_folder),
        cmocka_unit_test(odd_blocks_go_into_our_container),
        cmocka_unit_test(quantized_sources_are_decoded_and_reported),
        cmocka_unit_test(head_is_quantized_on_request_and_loaders_are_told),
        cmocka_unit_test(nan_and_infinity_are_refused_with_their_place),
        cmocka_unit_test(float16_overflow_is_refused_for_llm_int8),
        cmocka_unit_test(bad_options_and_bad_outputs_are_refused),
        cmocka_unit_test(a_full_disk_leaves_the_old_folder),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(the_first_level_can_come_from_a_backend),
        cmocka_unit_test(modules_follow_the_skip_rules),
    };
    return cmocka_run_group_tests_name("quant_folder", tests, prepare, clean);
}
