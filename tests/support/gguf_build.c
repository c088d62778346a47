/* gguf_build.c - see gguf_build.h; the layout is written here from the format's description. */
#include "tests/support/gguf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 32

static void append(gguf_bytes *b, const void *data, size_t size) {
    if (b->size + size > b->cap) {
        b->cap = (b->size + size) * 2;
        b->data = realloc(b->data, b->cap);
        if (!b->data) exit(2);
    }
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void append_u32(gguf_bytes *b, uint32_t v) {
    append(b, &v, sizeof v);
}
static void append_u64(gguf_bytes *b, uint64_t v) {
    append(b, &v, sizeof v);
}

static void append_str(gguf_bytes *b, const char *s) {
    append_u64(b, strlen(s));
    append(b, s, strlen(s));
}

static void pad(gguf_bytes *b) {
    static const uint8_t zeros[ALIGNMENT];
    append(b, zeros, (ALIGNMENT - b->size % ALIGNMENT) % ALIGNMENT);
}

void gguf_put_raw(gguf_build *b, const char *key, uint32_t type, const void *v, size_t size) {
    append_str(&b->keys, key);
    append_u32(&b->keys, type);
    append(&b->keys, v, size);
    b->n_keys++;
}

void gguf_put_u32(gguf_build *b, const char *key, uint32_t v) {
    gguf_put_raw(b, key, 4, &v, sizeof v);
}

void gguf_put_f32(gguf_build *b, const char *key, float v) {
    gguf_put_raw(b, key, 6, &v, sizeof v);
}

void gguf_put_bool(gguf_build *b, const char *key, bool v) {
    uint8_t byte = v;
    gguf_put_raw(b, key, 7, &byte, 1);
}

void gguf_put_str(gguf_build *b, const char *key, const char *v) {
    gguf_put_raw(b, key, 8, NULL, 0);
    append_str(&b->keys, v);
}

static void put_array(gguf_build *b, const char *key, uint32_t type, size_t n) {
    gguf_put_raw(b, key, 9, NULL, 0);
    append_u32(&b->keys, type);
    append_u64(&b->keys, n);
}

void gguf_put_strs(gguf_build *b, const char *key, const char *const *v, size_t n) {
    put_array(b, key, 8, n);
    for (size_t i = 0; i < n; i++) append_str(&b->keys, v[i]);
}

void gguf_put_i32s(gguf_build *b, const char *key, const int32_t *v, size_t n) {
    put_array(b, key, 5, n);
    append(&b->keys, v, n * sizeof *v);
}

void gguf_put_f32s(gguf_build *b, const char *key, const float *v, size_t n) {
    put_array(b, key, 6, n);
    append(&b->keys, v, n * sizeof *v);
}

void gguf_put_tensor_at(gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                        const uint64_t *shape, uint64_t offset) {
    append_str(&b->table, name);
    append_u32(&b->table, dims);
    for (uint32_t i = 0; i < dims; i++) append_u64(&b->table, shape[i]);
    append_u32(&b->table, type);
    append_u64(&b->table, offset);
    b->n_tensors++;
}

void gguf_put_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                     const uint64_t *shape, const void *data, size_t size) {
    pad(&b->data);
    gguf_put_tensor_at(b, name, type, dims, shape, b->data.size);
    append(&b->data, data, size);
}

uint8_t *gguf_finish(gguf_build *b, size_t *size) {
    gguf_bytes file = {0};
    append(&file, "GGUF", 4);
    append_u32(&file, 3);
    append_u64(&file, b->n_tensors);
    append_u64(&file, b->n_keys);
    append(&file, b->keys.data, b->keys.size);
    append(&file, b->table.data, b->table.size);
    pad(&file);
    append(&file, b->data.data, b->data.size);
    free(b->keys.data);
    free(b->table.data);
    free(b->data.data);
    *b = (gguf_build){0};
    *size = file.size;
    return file.data;
}

/* -------------------------------------------------------------- a tiny llama */

static void put_numbers(gguf_build *b, const char *name, uint64_t rows, uint64_t cols) {
    float v[128];
    uint64_t k = b->n_tensors;
    for (uint64_t i = 0; i < rows; i++) {
        for (uint64_t j = 0; j < cols; j++) v[i * cols + j] = (float)(1000 * k + 10 * i + j);
    }
    uint64_t shape[2] = {cols, rows};
    gguf_put_tensor(b, name, 0, rows == 1 ? 1 : 2, shape, v, sizeof v[0] * rows * cols);
}

static void put_vocabulary(gguf_build *b, gguf_vocabulary v) {
    static const char *const bytes[] = {"<s>", "</s>", "a", "b", "ab", "c", "abc", "\xC4\xA0"};
    static const char *const merges[] = {"a b", "ab c"};
    static const char *const pieces[] = {"<unk>", "<s>", "</s>", "<0x0A>",
                                         "a",     "b",   "ab",   "\xE2\x96\x81"};
    static const int32_t byte_types[] = {3, 3, 1, 1, 1, 1, 1, 4};
    static const int32_t piece_types[] = {2, 3, 3, 6, 1, 1, 1, 1};
    static const float scores[] = {0, 0, 0, 0, -2, -3, -1, -4};
    if (v == GGUF_NO_VOCABULARY) return;
    bool level = v == GGUF_BYTE_LEVEL;
    gguf_put_str(b, "tokenizer.ggml.model", level ? "gpt2" : "llama");
    gguf_put_strs(b, "tokenizer.ggml.tokens", level ? bytes : pieces, 8);
    gguf_put_i32s(b, "tokenizer.ggml.token_type", level ? byte_types : piece_types, 8);
    gguf_put_u32(b, "tokenizer.ggml.bos_token_id", level ? 0 : 1);
    gguf_put_u32(b, "tokenizer.ggml.eos_token_id", level ? 1 : 2);
    if (level) {
        gguf_put_str(b, "tokenizer.ggml.pre", "smollm");
        gguf_put_strs(b, "tokenizer.ggml.merges", merges, 2);
        gguf_put_str(b, "tokenizer.chat_template", "{{ messages }}");
    } else {
        gguf_put_u32(b, "tokenizer.ggml.unknown_token_id", 0);
        gguf_put_f32s(b, "tokenizer.ggml.scores", scores, 8);
    }
}

void gguf_put_llama(gguf_build *b, gguf_vocabulary v) {
    gguf_put_str(b, "general.architecture", "llama");
    gguf_put_u32(b, "llama.block_count", 2);
    gguf_put_u32(b, "llama.context_length", 64);
    gguf_put_u32(b, "llama.embedding_length", 8);
    gguf_put_u32(b, "llama.feed_forward_length", 12);
    gguf_put_u32(b, "llama.attention.head_count", 2);
    gguf_put_u32(b, "llama.attention.head_count_kv", 1);
    gguf_put_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_f32(b, "llama.rope.freq_base", 10000.0f);
    gguf_put_u32(b, "llama.rope.dimension_count", 4);
    put_vocabulary(b, v);
    put_numbers(b, "token_embd.weight", 8, 8);
    static const struct {
        const char *part;
        uint64_t rows, cols;
    } parts[] = {{"attn_norm", 1, 8}, {"attn_q", 8, 8},      {"attn_k", 4, 8},
                 {"attn_v", 4, 8},    {"attn_output", 8, 8}, {"ffn_norm", 1, 8},
                 {"ffn_gate", 12, 8}, {"ffn_up", 12, 8},     {"ffn_down", 8, 12}};
    for (int layer = 0; layer < 2; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].part);
            put_numbers(b, name, parts[i].rows, parts[i].cols);
        }
    }
    put_numbers(b, "output_norm.weight", 1, 8);
    put_numbers(b, "output.weight", 8, 8);
}
