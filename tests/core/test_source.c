/* test_source.c - folders, shards and GGUF behind one face; the small files made from a GGUF. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/io/gguf_tokenizer.h"
#include "core/io/source.h"
#include "core/io/source_internal.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

static ql_source *open_source(const char *path) {
    ql_source *s = NULL;
    if (ql_source_open(path, &s) != QL_OK) fail_msg("%s", ql_last_error());
    return s;
}

static void refused(const char *path, ql_status want, const char *word) {
    ql_source *s = NULL;
    ql_status got = ql_source_open(path, &s);
    assert_null(s);
    if (got != want || !strstr(ql_last_error(), word)) {
        fail_msg("'%s' expected, %d: %s", word, got, ql_last_error());
    }
}

static const char *folder(const char *name) {
    const char *path = temp_path(name);
    assert_int_equal(ql_dir_remove(path), QL_OK);
    assert_int_equal(ql_dir_create(path), QL_OK);
    return path;
}

static void put_text(const char *name, const char *text) {
    temp_put(name, text, strlen(text));
}

/* One tensor [rows, cols] of numbers first, first + 1 ... */
static void put_weights(const char *file, const char *name, int64_t rows, int64_t cols,
                        float first) {
    ql_st_writer *w = NULL;
    assert_int_equal(ql_st_writer_create(temp_path(file), &w), QL_OK);
    assert_int_equal(ql_st_writer_declare(w, name, QL_ST_F32, 2, (int64_t[]){rows, cols}), QL_OK);
    for (int64_t i = 0; i < rows * cols; i++) {
        float x = first + (float)i;
        assert_int_equal(ql_st_writer_data(w, &x, sizeof x), QL_OK);
    }
    assert_int_equal(ql_st_writer_commit(w), QL_OK);
}

static const char *put_gguf(gguf_build *b) {
    size_t size;
    uint8_t *file = gguf_finish(b, &size);
    const char *path = temp_put("m.gguf", file, size);
    free(file);
    return path;
}

static int64_t config_int(const ql_source *s, const char *key) {
    int64_t v = -999;
    assert_int_equal(ql_json_get_i64(ql_source_config(s), "config", key, -1, 1 << 30, &v), QL_OK);
    return v;
}

/* -------------------------------------------------------------------- folders */

static void a_folder_with_one_file_is_read(void **state) {
    (void)state;
    const char *dir = folder("one");
    put_text("one/config.json", "{\"model_type\": \"llama\", \"hidden_size\": 3}");
    put_weights("one/model.safetensors", "w.weight", 2, 3, 10);
    ql_source *s = open_source(dir);
    const ql_source_tensor *t = ql_source_find(s, "w.weight");
    float row[3];
    assert_false(ql_source_is_gguf(s));
    assert_null(ql_source_gguf(s));
    assert_string_equal(ql_source_path(s), dir);
    assert_int_equal(config_int(s, "hidden_size"), 3);
    assert_null(ql_source_generation_config(s));
    assert_int_equal(ql_source_count(s), 1);
    assert_ptr_equal(ql_source_at(s, 0), t);
    assert_null(ql_source_at(s, 1));
    assert_null(ql_source_find(s, "x"));
    assert_true(t->rows == 2 && t->cols == 3 && t->st && !t->gguf && t->permute_heads == 0);
    assert_int_equal(ql_source_row(t, 1), 1);
    assert_int_equal(ql_source_read_row(t, 1, row), QL_OK);
    assert_true(row[0] == 13 && row[2] == 15);
    assert_int_equal(ql_source_read_row(t, 2, row), QL_ERR_INVALID);
    assert_int_equal(ql_source_files(s), 1);
    assert_ptr_equal(ql_source_map(s, 0)->data + t->st->offset, t->st->data);
    assert_null(ql_source_map(s, 1));
    ql_source_close(s);
    ql_source_close(NULL);
}

static void shards_are_found_through_the_index(void **state) {
    (void)state;
    const char *dir = folder("sharded");
    put_text("sharded/config.json", "{}");
    put_text("sharded/generation_config.json", "{\"eos_token_id\": 2}");
    put_weights("sharded/model-1.safetensors", "b", 1, 2, 0);
    put_weights("sharded/model-2.safetensors", "a", 1, 2, 100);
    put_text("sharded/model.safetensors.index.json",
             "{\"metadata\": {}, \"weight_map\": {\"b\": \"model-1.safetensors\", "
             "\"a\": \"model-2.safetensors\"}}");
    ql_source *s = open_source(dir);
    float row[2];
    assert_int_equal(ql_source_count(s), 2);
    assert_int_equal(ql_source_files(s), 2);
    assert_string_equal(ql_source_at(s, 0)->name, "a");
    assert_int_equal(ql_source_read_row(ql_source_at(s, 0), 0, row), QL_OK);
    assert_true(row[1] == 101);
    assert_int_not_equal(ql_source_at(s, 0)->file, ql_source_at(s, 1)->file);
    assert_ptr_equal(ql_source_map(s, ql_source_at(s, 0)->file)->data +
                         ql_source_at(s, 0)->st->offset,
                     ql_source_at(s, 0)->st->data);
    assert_non_null(ql_source_generation_config(s));
    ql_source_close(s);
}

static void an_index_cannot_leave_the_folder(void **state) {
    (void)state;
    static const struct {
        const char *index, *word;
        ql_status status;
    } cases[] = {
        {"{\"weight_map\": {\"b\": \"../one.safetensors\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"/etc/passwd\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"sub/x\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"sub\\\\x\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"..\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"\"}}", "plain file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": 7}}", "not a file name", QL_ERR_FORMAT},
        {"{\"weight_map\": {\"b\": \"absent.safetensors\"}}", "absent", QL_ERR_NOT_FOUND},
        {"{\"weight_map\": {\"x\": \"model-1.safetensors\"}}", "'x' is not in", QL_ERR_FORMAT},
        {"{\"weight_map\": {}}", "weight_map", QL_ERR_FORMAT},
        {"{\"weight_map\": []}", "weight_map", QL_ERR_FORMAT},
        {"{}", "weight_map", QL_ERR_FORMAT},
        {"[]", "object", QL_ERR_FORMAT},
    };
    size_t live = ql_hostmem_live();
    const char *dir = folder("outside");
    put_text("outside/config.json", "{}");
    put_weights("outside/model-1.safetensors", "b", 1, 2, 0);
    put_weights("one.safetensors", "b", 1, 2, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_text("outside/model.safetensors.index.json", cases[i].index);
        refused(dir, cases[i].status, cases[i].word);
    }
    assert_int_equal(ql_hostmem_live(), live);
}

static void what_is_missing_is_said(void **state) {
    (void)state;
    const char *dir = folder("missing");
    refused(dir, QL_ERR_NOT_FOUND, "no config.json");
    put_text("missing/config.json", "[1]");
    refused(dir, QL_ERR_FORMAT, "object");
    put_text("missing/config.json", "{}");
    refused(dir, QL_ERR_NOT_FOUND, "neither model.safetensors nor");
    put_text("missing/pytorch_model.bin", "x");
    refused(dir, QL_ERR_NOT_FOUND, "save_pretrained");
    put_weights("missing/model.safetensors", "w", 1, 1, 0);
    refused(temp_path("missing/model.safetensors"), QL_ERR_INVALID, "folder");
    refused(temp_path("nowhere"), QL_ERR_NOT_FOUND, "nowhere");
}

static void a_config_alone_is_enough_for_planning(void **state) {
    (void)state;
    folder("plan");
    put_text("plan/config.json", "{\"hidden_size\": 4096}");
    const char *paths[] = {temp_path("plan"), temp_path("plan/config.json")};
    for (int i = 0; i < 2; i++) {
        ql_source *s = NULL;
        assert_int_equal(ql_source_open_config(paths[i], &s), QL_OK);
        assert_int_equal(ql_source_count(s), 0);
        assert_int_equal(ql_source_files(s), 0);
        assert_null(ql_source_find(s, "x"));
        assert_int_equal(config_int(s, "hidden_size"), 4096);
        ql_source_close(s);
    }
}

/* ---------------------------------------------------------------------- GGUF */

static void a_gguf_has_hugging_face_names_and_rows(void **state) {
    (void)state;
    gguf_build b = {0};
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    ql_source *s = open_source(put_gguf(&b));
    float row[12];
    assert_true(ql_source_is_gguf(s));
    assert_int_equal(ql_source_files(s), 1);
    assert_int_equal(ql_source_count(s), 21);
    static const struct {
        const char *name;
        int64_t rows, cols, first; /* first: value of element (0, 0) */
    } cases[] = {
        {"model.embed_tokens.weight", 8, 8, 0},
        {"model.layers.0.input_layernorm.weight", 1, 8, 1000},
        {"model.layers.0.self_attn.q_proj.weight", 8, 8, 2000},
        {"model.layers.0.self_attn.k_proj.weight", 4, 8, 3000},
        {"model.layers.0.self_attn.v_proj.weight", 4, 8, 4000},
        {"model.layers.0.self_attn.o_proj.weight", 8, 8, 5000},
        {"model.layers.0.post_attention_layernorm.weight", 1, 8, 6000},
        {"model.layers.0.mlp.gate_proj.weight", 12, 8, 7000},
        {"model.layers.0.mlp.up_proj.weight", 12, 8, 8000},
        {"model.layers.1.mlp.down_proj.weight", 8, 12, 18000},
        {"model.norm.weight", 1, 8, 19000},
        {"lm_head.weight", 8, 8, 20000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ql_source_tensor *t = ql_source_find(s, cases[i].name);
        if (!t) fail_msg("no %s", cases[i].name);
        assert_true(t->rows == cases[i].rows && t->cols == cases[i].cols && t->gguf && !t->st);
        assert_int_equal(t->dims, t->rows == 1 ? 1 : 2);
        assert_int_equal(t->shape[t->dims - 1], t->cols);
        assert_int_equal(ql_source_read_row(t, 0, row), QL_OK);
        assert_true(row[0] == (float)cases[i].first);
        assert_true(row[t->cols - 1] == (float)(cases[i].first + t->cols - 1));
    }
    ql_source_close(s);
}

/* Two query heads of four rows: Hugging Face's 0 1 2 3 are the file's 0 2 1 3 in each. */
static void query_and_key_rows_are_permuted_back(void **state) {
    (void)state;
    static const int64_t file_row[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    gguf_build b = {0};
    float bias[8] = {0, 1, 2, 3, 4, 5, 6, 7}, row[8];
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_tensor(&b, "blk.1.attn_q.bias", 0, 1, (uint64_t[]){8}, bias, sizeof bias);
    ql_source *s = open_source(put_gguf(&b));
    const ql_source_tensor *q = ql_source_find(s, "model.layers.0.self_attn.q_proj.weight");
    const ql_source_tensor *k = ql_source_find(s, "model.layers.0.self_attn.k_proj.weight");
    const ql_source_tensor *v = ql_source_find(s, "model.layers.0.self_attn.v_proj.weight");
    const ql_source_tensor *qb = ql_source_find(s, "model.layers.1.self_attn.q_proj.bias");
    assert_true(q->permute_heads == 2 && k->permute_heads == 1 && v->permute_heads == 0);
    for (int64_t i = 0; i < 8; i++) {
        assert_int_equal(ql_source_row(q, i), file_row[i]);
        assert_int_equal(ql_source_read_row(q, i, row), QL_OK);
        assert_true(row[3] == (float)(2000 + 10 * file_row[i] + 3));
        if (i >= 4) continue;
        assert_int_equal(ql_source_row(k, i), file_row[i]);
        assert_int_equal(ql_source_row(v, i), i);
    }
    assert_int_equal(ql_source_read_row(qb, 0, row), QL_OK);
    for (int i = 0; i < 8; i++) assert_true(row[i] == (float)file_row[i]);
    assert_true(json_is_true(json_object_get(ql_source_config(s), "attention_bias")));
    assert_true(json_is_false(json_object_get(ql_source_config(s), "mlp_bias")));
    ql_source_close(s);
}

static void a_gguf_has_the_config_that_transformers_would_have(void **state) {
    (void)state;
    static const char *const want =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":8,"
        "\"intermediate_size\":12,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
        "\"num_key_value_heads\":1,\"head_dim\":4,\"vocab_size\":8,\"max_position_embeddings\":64,"
        "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
        "\"rope_scaling\":null,\"attention_bias\":false,\"attention_dropout\":0.0,"
        "\"mlp_bias\":false,\"initializer_range\":0.35355339059327373,"
        "\"tie_word_embeddings\":false,\"bos_token_id\":0,\"eos_token_id\":1,"
        "\"pad_token_id\":null,\"torch_dtype\":\"bfloat16\",\"use_cache\":true}";
    gguf_build b = {0};
    json_t *j = NULL;
    gguf_put_llama(&b, GGUF_BYTE_LEVEL);
    ql_source *s = open_source(put_gguf(&b));
    assert_int_equal(ql_json_parse(want, strlen(want), "want", &j), QL_OK);
    if (!json_equal(j, ql_source_config(s))) {
        fail_msg("%s", json_dumps(ql_source_config(s), JSON_COMPACT));
    }
    json_decref(j);
    assert_int_equal(
        json_integer_value(json_object_get(ql_source_generation_config(s), "eos_token_id")), 1);
    ql_source_close(s);
}

static const char *scaling_text(const char *path, char out[300]) {
    ql_source *s = open_source(path);
    const json_t *j = json_object_get(ql_source_config(s), "rope_scaling");
    size_t n = json_dumpb(j, out, 299, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    out[n < 300 ? n : 0] = '\0';
    ql_source_close(s);
    return out;
}

static void rotary_scalings_are_told(void **state) {
    (void)state;
    char text[300];
    gguf_build b = {0};
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_str(&b, "llama.rope.scaling.type", "linear");
    gguf_put_f32(&b, "llama.rope.scaling.factor", 2.5f);
    assert_string_equal(scaling_text(put_gguf(&b), text),
                        "{\"factor\":2.5,\"rope_type\":\"linear\"}");
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_str(&b, "llama.rope.scaling.type", "yarn");
    gguf_put_f32(&b, "llama.rope.scaling.factor", 4.0f);
    gguf_put_u32(&b, "llama.rope.scaling.original_context_length", 16);
    assert_string_equal(
        scaling_text(put_gguf(&b), text),
        "{\"factor\":4.0,\"original_max_position_embeddings\":16,\"rope_type\":\"yarn\"}");
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_str(&b, "llama.rope.scaling.type", "longrope");
    refused(put_gguf(&b), QL_ERR_UNSUPPORTED, "longrope");
}

/* Divisors as spec/models.md gives them for llama3: D = 4, theta 10000, so the wave lengths are
 * 2 pi and 200 pi. With L0 = 1024 both turn often enough to stay; with L0 = 1257 (2 turns of the
 * second) the second is mixed: s = (2.0006 - 1) / 3. */
static void llama3_scaling_is_found_in_the_divisors(void **state) {
    (void)state;
    char text[300];
    gguf_build b = {0};
    double turns = 1257.0 / (2 * 3.14159265358979323846 * 100.0), mix = (turns - 1) / 3;
    float mixed = (float)(1.0 / ((1 - mix) / 8 + mix));
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_u32(&b, "llama.rope.scaling.original_context_length", 1257);
    gguf_put_tensor(&b, "rope_freqs.weight", 0, 1, (uint64_t[]){2}, (float[]){1, mixed}, 8);
    /* the factor is only visible where a frequency is divided by all of it */
    refused(put_gguf(&b), QL_ERR_UNSUPPORTED, "rope_freqs");
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_u32(&b, "llama.rope.scaling.original_context_length", 500);
    gguf_put_tensor(&b, "rope_freqs.weight", 0, 1, (uint64_t[]){2}, (float[]){1, 8}, 8);
    assert_string_equal(scaling_text(put_gguf(&b), text),
                        "{\"factor\":8.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
                        "\"original_max_position_embeddings\":500,\"rope_type\":\"llama3\"}");
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_tensor(&b, "rope_freqs.weight", 0, 1, (uint64_t[]){2}, (float[]){1, NAN}, 8);
    refused(put_gguf(&b), QL_ERR_UNSUPPORTED, "rope_freqs");
    gguf_put_llama(&b, GGUF_NO_VOCABULARY);
    gguf_put_tensor(&b, "rope_freqs.weight", 0, 1, (uint64_t[]){1}, (float[]){1}, 4);
    refused(put_gguf(&b), QL_ERR_FORMAT, "rope_freqs");
}

/* What a file may say that a llama of Hugging Face cannot be: one wrong key or tensor each. */
static void ggufs_that_are_no_llama_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        ql_status status;
        const char *word;
    } keys[] = {
        {"llama.expert_count", 8, QL_ERR_UNSUPPORTED, "8 experts"},
        {"llama.attention.key_length", 6, QL_ERR_UNSUPPORTED, "rope.dimension_count"},
        {"llama.attention.key_length", 0, QL_ERR_FORMAT, "key_length"},
        {"tokenizer.ggml.bos_token_id", 8, QL_ERR_FORMAT, "vocabulary has 8"},
    };
    gguf_build b = {0};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        gguf_put_llama(&b, GGUF_NO_VOCABULARY);
        gguf_put_u32(&b, keys[i].key, keys[i].value);
        refused(put_gguf(&b), keys[i].status, keys[i].word);
    }
    static const char *const names[] = {
        "blk.2.attn_q.weight",       "blk.00.attn_q.weight",
        "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.scale",
        "blk.x.attn_q.weight",       "blk.99999999999999999999.a.weight",
        "output.weight.weight",      "mystery"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        gguf_put_llama(&b, GGUF_NO_VOCABULARY);
        gguf_put_tensor(&b, names[i], 0, 1, (uint64_t[]){1}, (float[]){1}, 4);
        refused(put_gguf(&b), QL_ERR_UNSUPPORTED, names[i]);
    }
    gguf_put_str(&b, "general.architecture", "mamba");
    refused(put_gguf(&b), QL_ERR_UNSUPPORTED, "'mamba'");
    refused(put_gguf(&b), QL_ERR_UNSUPPORTED, "general.architecture");
    gguf_put_str(&b, "general.architecture", "llama");
    refused(put_gguf(&b), QL_ERR_FORMAT, "'llama.block_count' is missing");
}

/* Opens a model, reads a row of each tensor, makes its tokenizer; `to`: writes its small files. */
static ql_status try_model(const char *path, const char *to) {
    ql_source *s = NULL;
    json_t *tokenizer = NULL, *config = NULL;
    ql_status st = ql_source_open(path, &s);
    if (st != QL_OK) return st;
    for (int64_t i = 0; i < ql_source_count(s); i++) {
        const ql_source_tensor *t = ql_source_at(s, i);
        float *row = malloc((size_t)t->cols * sizeof *row);
        assert_int_equal(ql_source_read_row(t, t->rows - 1, row), QL_OK);
        free(row);
    }
    st = to ? ql_source_write_sidecars(s, to)
            : ql_gguf_tokenizer_json(ql_source_gguf(s), path, &tokenizer, &config);
    json_decref(tokenizer);
    json_decref(config);
    ql_source_close(s);
    return st;
}

static void no_changed_byte_of_a_model_does_harm(void **state) {
    (void)state;
    size_t size, live = ql_hostmem_live();
    for (gguf_vocabulary v = GGUF_BYTE_LEVEL; v <= GGUF_SENTENCE_PIECE; v++) {
        gguf_build b = {0};
        gguf_put_llama(&b, v);
        uint8_t *file = gguf_finish(&b, &size);
        size_t data = size - 1;
        while (memcmp(file + data, "output.weight", 13) != 0) data--; /* the table's last name */
        for (size_t i = 8; i < data; i++) {
            uint8_t keep = file[i];
            static const uint8_t masks[] = {0x01, 0x80, 0xFF};
            file[i] = (uint8_t)(keep ^ masks[i % 3]);
            ql_status s = try_model(temp_put("hostile.gguf", file, size), NULL);
            assert_true(s == QL_OK || s == QL_ERR_FORMAT || s == QL_ERR_UNSUPPORTED);
            file[i] = keep;
        }
        free(file);
    }
    assert_int_equal(ql_hostmem_live(), live);
}

static void memory_that_runs_out_is_reported_and_not_leaked(void **state) {
    (void)state;
    for (gguf_vocabulary v = GGUF_BYTE_LEVEL; v <= GGUF_SENTENCE_PIECE; v++) {
        size_t live = ql_hostmem_live();
        gguf_build b = {0};
        gguf_put_llama(&b, v);
        const char *path = put_gguf(&b);
        ql_status s = QL_ERR_NOMEM_HOST;
        for (long n = 1; s != QL_OK; n++) {
            assert_true(n < 100);
            ql_hostmem_fail_after(n);
            s = try_model(path, temp_path("sidecars"));
            ql_hostmem_fail_after(0);
            assert_true(s == QL_OK || s == QL_ERR_NOMEM_HOST);
            assert_int_equal(ql_hostmem_live(), live);
        }
    }
}

/* ------------------------------------------------------------------ sidecars */

static void assert_json_file(const char *path, const char *key, const char *want) {
    json_t *got = NULL, *expected = NULL;
    assert_int_equal(ql_json_read(path, &got), QL_OK);
    assert_int_equal(ql_json_parse(want, strlen(want), "want", &expected), QL_OK);
    const json_t *part = key ? json_object_get(got, key) : got;
    if (!json_equal(part, expected)) {
        fail_msg("%s: %s", path, json_dumps(part, JSON_COMPACT | JSON_ENCODE_ANY));
    }
    json_decref(got);
    json_decref(expected);
}

static void a_folders_small_files_are_copied(void **state) {
    (void)state;
    const char *dir = folder("from");
    put_text("from/config.json", "{\"a\": 1}");
    put_text("from/tokenizer.json", "{\"b\":   2}");
    put_text("from/tokenizer.model", "binary");
    put_text("from/secret.txt", "no");
    put_weights("from/model.safetensors", "w", 1, 1, 0);
    ql_source *s = open_source(dir);
    const char *to = temp_path("to");
    char **names;
    size_t n;
    assert_int_equal(ql_source_write_sidecars(s, to), QL_OK);
    assert_int_equal(ql_dir_list(to, &names, &n), QL_OK);
    assert_int_equal(n, 3);
    ql_host_free(names);
    char *text;
    size_t len;
    assert_int_equal(ql_file_read(temp_path("to/tokenizer.json"), 100, &text, &len), QL_OK);
    assert_string_equal(text, "{\"b\":   2}"); /* byte for byte */
    ql_host_free(text);
    ql_fs_fail_after(1);
    assert_int_equal(ql_source_write_sidecars(s, to), QL_ERR_IO);
    assert_json_file(temp_path("to/config.json"), NULL, "{\"a\": 1}");
    ql_source_close(s);
}

static void a_byte_level_vocabulary_becomes_tokenizer_json(void **state) {
    (void)state;
    gguf_build b = {0};
    gguf_put_llama(&b, GGUF_BYTE_LEVEL);
    ql_source *s = open_source(put_gguf(&b));
    folder("bpe");
    assert_int_equal(ql_source_write_sidecars(s, temp_path("bpe")), QL_OK);
    ql_source_close(s);
    const char *path = temp_path("bpe/tokenizer.json");
#define SPECIAL(id, text, special)                                                                 \
    "{\"id\":" #id ",\"content\":\"" text "\",\"single_word\":false,\"lstrip\":false,"             \
    "\"rstrip\":false,\"normalized\":false,\"special\":" #special "}"
    assert_json_file(path, "added_tokens",
                     "[" SPECIAL(0, "<s>", true) "," SPECIAL(1, "</s>", true) "," SPECIAL(
                         7, "\xC4\xA0", false) "]");
    assert_json_file(path, "model",
                     "{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                     "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                     "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,"
                     "\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4,\"c\":5,\"abc\":6,"
                     "\"\xC4\xA0\":7},\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"]]}");
    assert_json_file(path, "pre_tokenizer",
                     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
                     "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
                     "false,\"trim_offsets\":true,\"use_regex\":true}]}");
    const char *config = temp_path("bpe/tokenizer_config.json");
    assert_json_file(config, "additional_special_tokens", "[\"<s>\",\"</s>\"]");
    json_t *j = NULL;
    assert_int_equal(ql_json_read(config, &j), QL_OK);
    assert_string_equal(json_string_value(json_object_get(j, "chat_template")), "{{ messages }}");
    assert_string_equal(json_string_value(json_object_get(j, "eos_token")), "</s>");
    assert_true(json_is_null(json_object_get(j, "pad_token")));
    json_decref(j);
    assert_json_file(temp_path("bpe/generation_config.json"), NULL,
                     "{\"bos_token_id\":0,\"eos_token_id\":1,\"pad_token_id\":null,"
                     "\"do_sample\":false}");
}

static void a_sentencepiece_vocabulary_becomes_tokenizer_json(void **state) {
    (void)state;
    gguf_build b = {0};
    gguf_put_llama(&b, GGUF_SENTENCE_PIECE);
    ql_source *s = open_source(put_gguf(&b));
    folder("spm");
    assert_int_equal(ql_source_write_sidecars(s, temp_path("spm")), QL_OK);
    ql_source_close(s);
    const char *path = temp_path("spm/tokenizer.json");
    assert_json_file(path, "normalizer",
                     "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                     "\"\xE2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                     "\"content\":\"\xE2\x96\x81\"}]}");
    assert_json_file(path, "post_processor",
                     "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                     "\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
                     "\"pair\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":"
                     "{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":"
                     "1}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":"
                     "{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}}");
    json_t *j = NULL;
    assert_int_equal(ql_json_read(path, &j), QL_OK);
    const json_t *model = json_object_get(j, "model");
    char *merges = json_dumps(json_object_get(model, "merges"), JSON_COMPACT);
    assert_string_equal(merges, "[[\"a\",\"b\"]]");
    free(merges);
    assert_true(json_is_true(json_object_get(model, "byte_fallback")));
    assert_string_equal(json_string_value(json_object_get(model, "unk_token")), "<unk>");
    json_decref(j);
}

static void unknown_tokenizers_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *word;
    } cases[] = {{"tokenizer.ggml.model", "rwkv", "'rwkv'"},
                 {"tokenizer.ggml.pre", "grok-2", "'grok-2'"}};
    for (size_t i = 0; i < 2; i++) {
        gguf_build b = {0};
        gguf_put_llama(&b, GGUF_NO_VOCABULARY);
        if (i == 1) gguf_put_str(&b, "tokenizer.ggml.model", "gpt2");
        gguf_put_str(&b, cases[i].key, cases[i].value);
        gguf_put_strs(&b, "tokenizer.ggml.tokens", (const char *[]){"a"}, 1);
        ql_source *s = open_source(put_gguf(&b));
        assert_int_equal(ql_source_write_sidecars(s, temp_path("refused")), QL_ERR_UNSUPPORTED);
        assert_non_null(strstr(ql_last_error(), cases[i].word));
        ql_source_close(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_with_one_file_is_read),
        cmocka_unit_test(shards_are_found_through_the_index),
        cmocka_unit_test(an_index_cannot_leave_the_folder),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(a_config_alone_is_enough_for_planning),
        cmocka_unit_test(a_gguf_has_hugging_face_names_and_rows),
        cmocka_unit_test(query_and_key_rows_are_permuted_back),
        cmocka_unit_test(a_gguf_has_the_config_that_transformers_would_have),
        cmocka_unit_test(rotary_scalings_are_told),
        cmocka_unit_test(llama3_scaling_is_found_in_the_divisors),
        cmocka_unit_test(ggufs_that_are_no_llama_are_refused_by_name),
        cmocka_unit_test(no_changed_byte_of_a_model_does_harm),
        cmocka_unit_test(memory_that_runs_out_is_reported_and_not_leaked),
        cmocka_unit_test(a_folders_small_files_are_copied),
        cmocka_unit_test(a_byte_level_vocabulary_becomes_tokenizer_json),
        cmocka_unit_test(a_sentencepiece_vocabulary_becomes_tokenizer_json),
        cmocka_unit_test(unknown_tokenizers_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
