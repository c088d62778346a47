/*
 * gguf_convert.h - a model folder to GGUF, by the rules of llama.cpp's converter, for tests.
 *
 * Written from the rules alone and in the other direction than core/io, which it checks.
 */
#ifndef QLORA_TESTS_MODELS_GGUF_CONVERT_H
#define QLORA_TESTS_MODELS_GGUF_CONVERT_H

#include <jansson.h>

#include "core/io/safetensors.h"
#include "tests/support/gguf_build.h"

enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q8_0 = 8, GGML_BF16 = 30 };

/* general.architecture of a model_type; ends the test for one that has none. */
const char *gguf_convert_arch(const json_t *config);
/* Metadata: what the converter writes for this config. */
void gguf_convert_keys(gguf_build *b, const json_t *config);
/* All tensors; matrices stay what they are in `file`, or become `type` when it is not negative. */
void gguf_convert_tensors(gguf_build *b, const json_t *config, const ql_st_file *file, int type);

#endif
