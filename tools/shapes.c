/*
 * shapes.c - see shapes.h.
 *
 * gpt3-175b is a shape, not an architecture: attention of its size, and a gated MLP with as many
 * weights as its plain one (3 C 32768 = 2 C 49152), tied head. That is what counting its LoRA
 * parameters and its memory needs.
 */
#include "tools/shapes.h"

#include <stdbool.h>

typedef struct shape {
    const char *name;
    int hidden, ffn, layers, heads, kv_heads, vocab, positions;
    double eps, theta;
    int tied;
} shape;

static const shape shapes[] = {
    {"llama-7b", 4096, 11008, 32, 32, 32, 32000, 2048, 1e-6, 1e4, 0},
    {"llama-13b", 5120, 13824, 40, 40, 40, 32000, 2048, 1e-6, 1e4, 0},
    {"llama-33b", 6656, 17920, 60, 52, 52, 32000, 2048, 1e-6, 1e4, 0},
    {"llama-65b", 8192, 22016, 80, 64, 64, 32000, 2048, 1e-5, 1e4, 0},
    {"llama-2-7b", 4096, 11008, 32, 32, 32, 32000, 4096, 1e-5, 1e4, 0},
    {"llama-2-13b", 5120, 13824, 40, 40, 40, 32000, 4096, 1e-5, 1e4, 0},
    {"llama-2-70b", 8192, 28672, 80, 64, 8, 32000, 4096, 1e-5, 1e4, 0},
    {"llama-3-8b", 4096, 14336, 32, 32, 8, 128256, 8192, 1e-5, 5e5, 0},
    {"gpt3-175b", 12288, 32768, 96, 96, 96, 50257, 2048, 1e-5, 1e4, 1},
};

const char *ql_shape_names(void) {
    return "llama-7b llama-13b llama-33b llama-65b llama-2-7b llama-2-13b llama-2-70b llama-3-8b "
           "gpt3-175b";
}

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++) {
        char c = *b >= 'A' && *b <= 'Z' ? (char)(*b - 'A' + 'a') : *b;
        if (*a != (c == '_' ? '-' : c)) return false;
    }
    return *a == *b;
}

json_t *ql_shape_find(const char *name) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        if (!same_name(s->name, name)) continue;
        return json_pack(
            "{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:s}",
            "model_type", "llama", "architectures", "LlamaForCausalLM", "hidden_act", "silu",
            "hidden_size", s->hidden, "intermediate_size", s->ffn, "num_hidden_layers", s->layers,
            "num_attention_heads", s->heads, "num_key_value_heads", s->kv_heads, "vocab_size",
            s->vocab, "max_position_embeddings", s->positions, "rms_norm_eps", s->eps, "rope_theta",
            s->theta, "tie_word_embeddings", s->tied, "torch_dtype", "bfloat16");
    }
    return NULL;
}
