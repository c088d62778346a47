/*
 * gguf_build.h - writes GGUF files in memory for tests: any keys, any tensors, also wrong ones.
 *
 * A zeroed gguf_build is empty. Keys and tensors are appended in the order of the calls; nothing is
 * checked, so that hostile files can be made.
 */
#ifndef QLORA_TESTS_SUPPORT_GGUF_BUILD_H
#define QLORA_TESTS_SUPPORT_GGUF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gguf_bytes {
    uint8_t *data;
    size_t size, cap;
} gguf_bytes;

typedef struct gguf_build {
    gguf_bytes keys, table, data;
    uint64_t n_keys, n_tensors;
} gguf_build;

void gguf_put_u32(gguf_build *b, const char *key, uint32_t v);
void gguf_put_f32(gguf_build *b, const char *key, float v);
void gguf_put_bool(gguf_build *b, const char *key, bool v);
void gguf_put_str(gguf_build *b, const char *key, const char *v);
void gguf_put_strs(gguf_build *b, const char *key, const char *const *v, size_t n);
void gguf_put_i32s(gguf_build *b, const char *key, const int32_t *v, size_t n);
void gguf_put_f32s(gguf_build *b, const char *key, const float *v, size_t n);
/* Any value: its type's number and its bytes as they stand in the file. */
void gguf_put_raw(gguf_build *b, const char *key, uint32_t type, const void *v, size_t size);

/* shape in GGML order (shape[0] = row length); type is GGML's number. Aligned to 32. */
void gguf_put_tensor(gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                     const uint64_t *shape, const void *data, size_t size);
/* The same with an offset of the caller's choice and no data. */
void gguf_put_tensor_at(gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                        const uint64_t *shape, uint64_t offset);

/* The whole file (version 3), freed with free(); `b` is emptied. */
uint8_t *gguf_finish(gguf_build *b, size_t *size);

/* Vocabulary of a tiny model. */
typedef enum gguf_vocabulary {
    GGUF_NO_VOCABULARY,
    GGUF_BYTE_LEVEL,
    GGUF_SENTENCE_PIECE
} gguf_vocabulary;
/* Keys and F32 tensors of a llama: 2 layers, width 8, 2 query heads, 1 key head, feed-forward 12,
 * 8 tokens, untied. Element (i, j) of the k-th tensor is 1000 k + 10 i + j. */
void gguf_put_llama(gguf_build *b, gguf_vocabulary v);

#endif
