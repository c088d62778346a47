/*
 * test_quant_gguf.c - GGUF weights: blocks borrowed as they are, rotated rows put in order, and a
 * GGUF model quantized into a Hugging Face folder.
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
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

enum { WIDTH = 64, HEADS = 2, HEAD = 32, FF = 96, VOCAB = 8, LARGEST = 96 * 96 * 4 };

static const struct {
    const char *name;
    uint32_t type;
    uint64_t rows, cols, block_bytes; /* block of 32; 0 = plain numbers */
} tensors[] = {{"token_embd.weight", QL_GT_Q4_1, VOCAB, WIDTH, 20},
               {"blk.0.attn_norm.weight", QL_GT_F32, 1, WIDTH, 0},
               {"blk.0.attn_q.weight", QL_GT_Q8_0, WIDTH, WIDTH, 34},
               {"blk.0.attn_k.weight", QL_GT_Q4_0, HEAD, WIDTH, 18},
               {"blk.0.attn_v.weight", QL_GT_F16, HEAD, WIDTH, 0},
               {"blk.0.attn_output.weight", QL_GT_BF16, WIDTH, WIDTH, 0},
               {"blk.0.ffn_norm.weight", QL_GT_F32, 1, WIDTH, 0},
               {"blk.0.ffn_gate.weight", QL_GT_Q5_1, FF, WIDTH, 24},
               {"blk.0.ffn_up.weight", QL_GT_F32, FF, WIDTH, 0},
               {"blk.0.ffn_down.weight", QL_GT_F32, WIDTH, FF, 0},
               {"output_norm.weight", QL_GT_F32, 1, WIDTH, 0},
               {"output.weight", QL_GT_Q8_0, VOCAB, WIDTH, 34}};

static uint8_t bytes[sizeof tensors / sizeof tensors[0]][LARGEST];

/* Random codes under small positive scales; plain numbers in [-1, 1]. */
static size_t fill(size_t i) {
    uint64_t n = tensors[i].rows * tensors[i].cols;
    uint8_t *p = bytes[i];
    if (tensors[i].block_bytes > 0) {
        size_t size = n / 32 * tensors[i].block_bytes;
        for (size_t b = 0; b < size; b++) p[b] = (uint8_t)rand();
        for (size_t b = 0; b < size; b += tensors[i].block_bytes) {
            uint16_t d = ql_f16_from_f32((float)(rand() % 100 + 1) / 4096.0f);
            memcpy(p + b, &d, sizeof d);
            bool has_minimum = tensors[i].type == QL_GT_Q4_1 || tensors[i].type == QL_GT_Q5_1;
            if (has_minimum) memcpy(p + b + 2, &d, sizeof d);
        }
        return size;
    }
    for (uint64_t e = 0; e < n; e++) {
        float x = (float)(rand() % 2001 - 1000) / 1000.0f;
        uint16_t h = tensors[i].type == QL_GT_F16 ? ql_f16_from_f32(x) : ql_bf16_from_f32(x);
        if (tensors[i].type == QL_GT_F32)
            memcpy(p + 4 * e, &x, sizeof x);
        else
            memcpy(p + 2 * e, &h, sizeof h);
    }
    return n * (tensors[i].type == QL_GT_F32 ? 4 : 2);
}

static ql_source *open_model(void) {
    static const char *const tokens[] = {"<s>", "</s>", "a", "b", "ab", "c", "abc", "d"};
    static const char *const merges[] = {"a b", "ab c"};
    static const int32_t types[] = {3, 3, 1, 1, 1, 1, 1, 1};
    gguf_build b = {0};
    gguf_put_str(&b, "general.architecture", "llama");
    gguf_put_u32(&b, "llama.block_count", 1);
    gguf_put_u32(&b, "llama.context_length", 64);
    gguf_put_u32(&b, "llama.embedding_length", WIDTH);
    gguf_put_u32(&b, "llama.feed_forward_length", FF);
    gguf_put_u32(&b, "llama.attention.head_count", HEADS);
    gguf_put_u32(&b, "llama.attention.head_count_kv", 1);
    gguf_put_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_f32(&b, "llama.rope.freq_base", 10000.0f);
    gguf_put_u32(&b, "llama.rope.dimension_count", HEAD);
    gguf_put_str(&b, "tokenizer.ggml.model", "gpt2");
    gguf_put_str(&b, "tokenizer.ggml.pre", "smollm");
    gguf_put_strs(&b, "tokenizer.ggml.tokens", tokens, VOCAB);
    gguf_put_i32s(&b, "tokenizer.ggml.token_type", types, VOCAB);
    gguf_put_strs(&b, "tokenizer.ggml.merges", merges, 2);
    gguf_put_u32(&b, "tokenizer.ggml.bos_token_id", 0);
    gguf_put_u32(&b, "tokenizer.ggml.eos_token_id", 1);
    srand(11);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        uint64_t shape[2] = {tensors[i].cols, tensors[i].rows};
        gguf_put_tensor(&b, tensors[i].name, tensors[i].type, tensors[i].rows == 1 ? 1 : 2, shape,
                        bytes[i], fill(i));
    }
    size_t size;
    uint8_t *file = gguf_finish(&b, &size);
    const char *path = temp_put("m.gguf", file, size);
    free(file);
    ql_source *s = NULL;
    if (ql_source_open(path, &s) != QL_OK) fail_msg("%s", ql_last_error());
    return s;
}

/* HF row h * D + j is file row h * D + 2 j (first half of the head) or h * D + 2 (j - D/2) + 1. */
static void blocks_are_taken_as_stored_with_rotated_rows_in_order(void **state) {
    (void)state;
    ql_source *s = open_model();
    ql_qtensor q;
    const char *name = "model.layers.0.self_attn.q_proj.weight";
    if (ql_stored_open(s, name, &q) != QL_OK) fail_msg("%s", ql_last_error());
    assert_int_equal(q.type->id, QL_QT_GGML);
    assert_int_equal(q.ggml, QL_GGML_Q8_0);
    assert_true(q.n == WIDTH && q.k == WIDTH && q.block == 32 && q.n_blocks == WIDTH * 2);
    float w[WIDTH * WIDTH];
    assert_int_equal(ql_dequantize_rows(&q, 0, WIDTH, w), QL_OK);
    for (int r = 0; r < WIDTH; r++) {
        int j = r % HEAD, row = r - j + (j < HEAD / 2 ? 2 * j : 2 * (j - HEAD / 2) + 1);
        for (int c = 0; c < WIDTH; c++) {
            const uint8_t *block = bytes[2] + (row * 2 + c / 32) * 34;
            uint16_t d;
            memcpy(&d, block, sizeof d);
            float want = ql_f32_from_f16(d) * (float)(int8_t)block[2 + c % 32];
            assert_floats_equal(&w[r * WIDTH + c], &want, 1, name);
        }
    }
    ql_qtensor_free(&q);
    name = "model.layers.0.mlp.gate_proj.weight"; /* not rotated: borrowed from the file */
    assert_int_equal(ql_stored_open(s, name, &q), QL_OK);
    assert_ptr_equal(q.codes, ql_source_find(s, name)->gguf->data);
    assert_int_equal(q.ggml, QL_GGML_Q5_1);
    ql_qtensor_free(&q);
    assert_false(ql_stored_is_quantized(s, "model.layers.0.mlp.up_proj.weight"));
    ql_source_close(s);
}

static void check_plain(const ql_source *from, const ql_source *to, const char *name,
                        ql_st_dtype dtype) {
    const ql_source_tensor *a = ql_source_find(from, name), *b = ql_source_find(to, name);
    assert_non_null(b);
    assert_int_equal(b->st->dtype, dtype);
    assert_int_equal(b->dims, a->dims);
    for (int64_t r = 0; r < a->rows; r++) {
        float want[WIDTH], got[WIDTH];
        assert_int_equal(ql_source_read_row(a, r, want), QL_OK);
        assert_int_equal(ql_source_read_row(b, r, got), QL_OK);
        for (int64_t c = 0; c < a->cols && dtype == QL_ST_BF16; c++)
            want[c] = ql_f32_from_bf16(ql_bf16_from_f32(want[c]));
        assert_floats_equal(got, want, a->cols, name);
    }
}

static void check_coded(const ql_source *from, const ql_source *to, const char *name,
                        const char *dtype) {
    const ql_source_tensor *a = ql_source_find(from, name);
    float *w = calloc((size_t)(a->rows * a->cols), sizeof *w);
    for (int64_t r = 0; r < a->rows; r++)
        assert_int_equal(ql_source_read_row(a, r, w + r * a->cols), QL_OK);
    ql_quant_opts o = ql_quant_opts_default();
    ql_qtensor want, got;
    assert_int_equal(ql_quantize(&o, w, a->rows, a->cols, &want), QL_OK);
    if (ql_stored_open(to, name, &got) != QL_OK) fail_msg("%s", ql_last_error());
    assert_bytes_equal(got.codes, want.codes, want.codes_bytes, name);
    assert_string_equal(got.source_dtype, dtype);
    ql_qtensor_free(&want);
    ql_qtensor_free(&got);
    free(w);
}

static void a_gguf_becomes_a_quantized_folder(void **state) {
    (void)state;
    ql_source *s = open_model();
    ql_quantize_folder_opts o = {.quant = ql_quant_opts_default()};
    ql_quantize_report r;
    char out[512];
    snprintf(out, sizeof out, "%s/out", temp_folder());
    if (ql_quantize_folder(s, &o, out, &r) != QL_OK) fail_msg("%s", ql_last_error());
    assert_int_equal(r.quantized, 7);
    assert_int_equal(r.requantized, 3); /* q, k and gate were GGUF blocks */
    ql_source *t = NULL;
    if (ql_source_open(out, &t) != QL_OK) fail_msg("%s", ql_last_error());
    check_plain(s, t, "model.embed_tokens.weight", QL_ST_BF16);
    check_plain(s, t, "lm_head.weight", QL_ST_BF16);
    check_plain(s, t, "model.norm.weight", QL_ST_F32);
    check_coded(s, t, "model.layers.0.self_attn.q_proj.weight", "bfloat16");
    check_coded(s, t, "model.layers.0.self_attn.v_proj.weight", "float16");
    check_coded(s, t, "model.layers.0.self_attn.o_proj.weight", "bfloat16");
    check_coded(s, t, "model.layers.0.mlp.down_proj.weight", "float32");
    const json_t *config = ql_source_config(t);
    assert_true(ql_json_has(config, "quantization_config"));
    assert_string_equal(json_string_value(json_object_get(config, "model_type")), "llama");
    char path[QL_PATH_MAX];
    assert_int_equal(ql_path_join(path, out, "tokenizer.json"), QL_OK);
    assert_true(ql_file_exists(path));
    ql_source_close(t);
    ql_source_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_taken_as_stored_with_rotated_rows_in_order),
        cmocka_unit_test(a_gguf_becomes_a_quantized_folder),
    };
    return cmocka_run_group_tests_name("quant_gguf", tests, NULL, NULL);
}
