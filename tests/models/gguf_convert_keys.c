/* gguf_convert_keys.c - the metadata of gguf_convert.h. */
#include "tests/models/gguf_convert.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t number(const json_t *c, const char *key) {
    return json_integer_value(json_object_get(c, key));
}
static bool flag(const json_t *c, const char *key) {
    return json_is_true(json_object_get(c, key));
}
static const char *text(const json_t *c, const char *key) {
    const char *s = json_string_value(json_object_get(c, key));
    return s ? s : "";
}
static bool given(const json_t *c, const char *key) {
    const json_t *v = json_object_get(c, key);
    return v && !json_is_null(v);
}

const char *gguf_convert_arch(const json_t *config) {
    static const struct {
        const char *hf, *gguf;
    } names[] = {{"llama", "llama"},        {"mistral", "llama"}, {"qwen2", "qwen2"},
                 {"qwen3", "qwen3"},        {"gemma", "gemma"},   {"gemma2", "gemma2"},
                 {"gemma3_text", "gemma3"}, {"phi3", "phi3"},     {"stablelm", "stablelm"},
                 {"gpt_neox", "gptneox"},   {"gpt2", "gpt2"},     {"falcon", "falcon"},
                 {"bert", "bert"},          {"t5", "t5"}};
    const char *type = text(config, "model_type");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].hf, type)) return names[i].gguf;
    fail_msg("no GGUF architecture for %s", type);
    return "";
}

typedef struct writer {
    gguf_build *b;
    const json_t *c;
    char key[128];
} writer;

static const char *key_of(writer *w, const char *name) {
    snprintf(w->key, sizeof w->key, "%s.%s", gguf_convert_arch(w->c), name);
    return w->key;
}
static void put(writer *w, const char *name, int64_t v) {
    gguf_put_u32(w->b, key_of(w, name), (uint32_t)v);
}
static void put_real(writer *w, const char *name, double v) {
    gguf_put_f32(w->b, key_of(w, name), (float)v);
}
/* The first of two keys that the config has. */
static void copy(writer *w, const char *name, const char *a, const char *b) {
    const char *key = given(w->c, a) ? a : b;
    const json_t *v = json_object_get(w->c, key);
    if (!given(w->c, key)) return;
    if (json_is_integer(v))
        put(w, name, json_integer_value(v));
    else
        put_real(w, name, json_real_value(v));
}

static void put_scaling(writer *w) {
    const json_t *s = json_object_get(w->c, "rope_scaling");
    const char *type = text(s, "rope_type");
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0) return;
    gguf_put_str(w->b, key_of(w, "rope.scaling.type"), type);
    put_real(w, "rope.scaling.factor", json_number_value(json_object_get(s, "factor")));
    if (strcmp(type, "yarn") != 0) return;
    put(w, "rope.scaling.original_context_length", number(s, "original_max_position_embeddings"));
    if (given(s, "beta_fast"))
        put_real(w, "rope.scaling.yarn_beta_fast",
                 json_number_value(json_object_get(s, "beta_fast")));
}

/* What the converter's base class writes of any model. */
static void put_common(writer *w) {
    copy(w, "block_count", "num_hidden_layers", "n_layer");
    copy(w, "context_length", "max_position_embeddings", "n_positions");
    copy(w, "embedding_length", "hidden_size", "n_embd");
    copy(w, "feed_forward_length", "intermediate_size", "n_inner");
    copy(w, "attention.head_count", "num_attention_heads", "n_head");
    copy(w, "attention.layer_norm_rms_epsilon", "rms_norm_eps", "");
    copy(w, "attention.layer_norm_epsilon", "layer_norm_eps", "layer_norm_epsilon");
}

/* The rotated share of a head under its old name or in rope_parameters. */
static double rotated_part(const json_t *c, const char *key) {
    const json_t *p = json_object_get(c, "rope_parameters");
    if (given(c, key)) return json_number_value(json_object_get(c, key));
    return json_number_value(json_object_get(p, "partial_rotary_factor"));
}

static int64_t head_size(const json_t *c) {
    return given(c, "head_dim") ? number(c, "head_dim")
                                : number(c, "hidden_size") / number(c, "num_attention_heads");
}

static void put_llama_like(writer *w) {
    put_common(w);
    copy(w, "attention.head_count_kv", "num_key_value_heads", "num_attention_heads");
    copy(w, "rope.freq_base", "rope_theta", "");
    copy(w, "attention.key_length", "head_dim", "");
    copy(w, "attention.value_length", "head_dim", "");
    put_scaling(w);
}

static void put_gemma(writer *w) {
    put_common(w);
    copy(w, "attention.head_count_kv", "num_key_value_heads", "");
    copy(w, "attention.key_length", "head_dim", "");
    copy(w, "attention.value_length", "head_dim", "");
    copy(w, "attn_logit_softcapping", "attn_logit_softcapping", "");
    copy(w, "final_logit_softcapping", "final_logit_softcapping", "");
    if (strcmp(text(w->c, "model_type"), "gemma") != 0)
        copy(w, "attention.sliding_window", "sliding_window", "");
    if (strcmp(text(w->c, "model_type"), "gemma3_text") != 0) return;
    copy(w, "rope.freq_base", "rope_theta", "");
    copy(w, "rope.freq_base_swa", "rope_local_base_freq", "");
    put_scaling(w);
    const json_t *types = json_object_get(w->c, "layer_types");
    uint8_t list[12 + 64] = {7}; /* an array of bools */
    uint64_t n = json_array_size(types);
    memcpy(list + 4, &n, sizeof n);
    for (size_t i = 0; i < n; i++)
        list[12 + i] = !strcmp(json_string_value(json_array_get(types, i)), "sliding_attention");
    gguf_put_raw(w->b, key_of(w, "attention.sliding_window_pattern"), 9, list, 12 + n);
}

static void put_phi3(writer *w) {
    put_common(w);
    copy(w, "attention.head_count_kv", "num_key_value_heads", "");
    copy(w, "rope.freq_base", "rope_theta", "");
    copy(w, "rope.scaling.original_context_length", "original_max_position_embeddings", "");
    double part = given(w->c, "partial_rotary_factor")
                      ? json_number_value(json_object_get(w->c, "partial_rotary_factor"))
                      : 1.0;
    put(w, "rope.dimension_count", (int64_t)(part * (double)head_size(w->c)));
    put(w, "attention.sliding_window", number(w->c, "sliding_window")); /* null: 0 */
    const json_t *s = json_object_get(w->c, "rope_scaling");
    if (!given(s, "long_factor")) return;
    double original = (double)number(w->c, "original_max_position_embeddings");
    double scale = (double)number(w->c, "max_position_embeddings") / original;
    put_real(w, "rope.scaling.attn_factor", sqrt(1 + log(scale) / log(original)));
    const char *const keys[] = {"short_factor", "long_factor"};
    const char *const names[] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    for (int i = 0; i < 2; i++) {
        float v[256];
        const json_t *list = json_object_get(s, keys[i]);
        uint64_t n = json_array_size(list);
        for (size_t k = 0; k < n; k++) v[k] = (float)json_number_value(json_array_get(list, k));
        gguf_put_tensor(w->b, names[i], GGML_F32, 1, &n, v, (size_t)n * sizeof *v);
    }
}

static void put_falcon(writer *w) {
    int64_t kv = flag(w->c, "new_decoder_architecture") ? number(w->c, "num_kv_heads") : 1;
    put(w, "context_length", 2048);
    gguf_put_str(w->b, key_of(w, "tensor_data_layout"), "jploski");
    copy(w, "embedding_length", "hidden_size", "");
    put(w, "feed_forward_length",
        given(w->c, "ffn_hidden_size") ? number(w->c, "ffn_hidden_size")
                                       : 4 * number(w->c, "hidden_size"));
    copy(w, "block_count", "num_hidden_layers", "");
    copy(w, "attention.head_count", "num_attention_heads", "");
    put(w, "attention.head_count_kv", kv);
    copy(w, "attention.layer_norm_epsilon", "layer_norm_epsilon", "");
}

static void put_rotated_part(writer *w, const char *key) {
    double part = rotated_part(w->c, key);
    put(w, "rope.dimension_count", (int64_t)(part * (double)head_size(w->c)));
    gguf_put_bool(w->b, key_of(w, "use_parallel_residual"), flag(w->c, "use_parallel_residual"));
    put_common(w);
    copy(w, "attention.head_count_kv", "num_key_value_heads", "");
}

static void put_bert(writer *w) {
    char names[8][32];
    const char *list[8];
    size_t n = json_object_size(json_object_get(w->c, "id2label"));
    put_common(w);
    gguf_put_bool(w->b, key_of(w, "attention.causal"), false);
    gguf_put_u32(w->b, "tokenizer.ggml.token_type_count",
                 (uint32_t)number(w->c, "type_vocab_size"));
    for (size_t i = 0; i < n && i < 8; i++) {
        snprintf(names[i], sizeof names[i], "LABEL_%zu", i);
        list[i] = names[i];
    }
    gguf_put_strs(w->b, key_of(w, "classifier.output_labels"), list, n);
}

static void put_t5(writer *w) {
    put(w, "context_length", 512);
    copy(w, "embedding_length", "d_model", "");
    copy(w, "feed_forward_length", "d_ff", "");
    copy(w, "block_count", "num_layers", "");
    copy(w, "decoder_block_count", "num_decoder_layers", "");
    copy(w, "attention.head_count", "num_heads", "");
    copy(w, "attention.key_length", "d_kv", "");
    copy(w, "attention.value_length", "d_kv", "");
    copy(w, "attention.layer_norm_epsilon", "layer_norm_epsilon", "");
    copy(w, "attention.relative_buckets_count", "relative_attention_num_buckets", "");
    copy(w, "attention.layer_norm_rms_epsilon", "layer_norm_epsilon", "");
    copy(w, "decoder_start_token_id", "decoder_start_token_id", "");
}

void gguf_convert_keys(gguf_build *b, const json_t *config) {
    writer w = {.b = b, .c = config};
    const char *arch = gguf_convert_arch(config);
    gguf_put_str(b, "general.architecture", arch);
    const char *const ids[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                  {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                  {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
    for (int i = 0; i < 3; i++)
        if (given(config, ids[i][0]))
            gguf_put_u32(b, ids[i][1], (uint32_t)number(config, ids[i][0]));
    if (!strncmp(arch, "gemma", 5)) {
        put_gemma(&w);
    } else if (!strcmp(arch, "phi3")) {
        put_phi3(&w);
    } else if (!strcmp(arch, "falcon")) {
        put_falcon(&w);
    } else if (!strcmp(arch, "gptneox")) {
        put_rotated_part(&w, "rotary_pct");
    } else if (!strcmp(arch, "stablelm")) {
        put_rotated_part(&w, "partial_rotary_factor");
    } else if (!strcmp(arch, "bert")) {
        put_bert(&w);
    } else if (!strcmp(arch, "t5")) {
        put_t5(&w);
    } else if (!strcmp(arch, "gpt2")) {
        put_common(&w);
    } else {
        put_llama_like(&w);
        if (!strcmp(arch, "llama")) {
            put(&w, "rope.dimension_count", head_size(config));
            copy(&w, "attention.sliding_window", "sliding_window", "");
        }
    }
}
