/*
 * source_gguf.c - tensors of a llama-family GGUF under Hugging Face's names.
 *
 * general.architecture "llama" covers Llama 1 to 3, SmolLM, and Mistral's files. A tensor without a
 * Hugging Face name refuses the file: leaving it out would change the model silently.
 */
#include <stdio.h>
#include <string.h>

#include "core/io/source_llama.h"

static const struct {
    const char *gguf, *hf;
} top_names[] = {{"token_embd", "model.embed_tokens"},
                 {"output_norm", "model.norm"},
                 {"output", "lm_head"}},
  part_names[] = {{"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
                  {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
                  {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
                  {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
                  {"ffn_down", "mlp.down_proj"}};

/* A GGUF name in its parts: "blk.12.attn_q.weight". */
typedef struct name_parts {
    int64_t layer; /* -1 = outside the blocks */
    const char *stem;
    size_t stem_len;
    const char *suffix; /* ".weight" or ".bias" */
} name_parts;

static bool split_name(const char *name, int64_t layers, name_parts *out) {
    name_parts p = {.layer = -1, .stem = name};
    if (strncmp(name, "blk.", 4) == 0) {
        const char *at = name + 4;
        int64_t layer = 0;
        if (*at == '0' && at[1] != '.') return false;
        for (; *at >= '0' && *at <= '9' && layer < layers; at++) layer = layer * 10 + (*at - '0');
        if (at == name + 4 || *at != '.' || layer >= layers) return false;
        p.layer = layer;
        p.stem = at + 1;
    }
    p.suffix = strchr(p.stem, '.');
    if (!p.suffix || (strcmp(p.suffix, ".weight") != 0 && strcmp(p.suffix, ".bias") != 0)) {
        return false;
    }
    p.stem_len = (size_t)(p.suffix - p.stem);
    *out = p;
    return true;
}

static bool stem_is(const name_parts *p, const char *stem) {
    return strlen(stem) == p->stem_len && memcmp(p->stem, stem, p->stem_len) == 0;
}

/* Hugging Face name into out[n]; false: llama has no such tensor. */
static bool hf_name(const name_parts *p, char *out, size_t n) {
    size_t count = p->layer < 0 ? sizeof top_names / sizeof top_names[0]
                                : sizeof part_names / sizeof part_names[0];
    for (size_t i = 0; i < count; i++) {
        if (p->layer < 0 && stem_is(p, top_names[i].gguf)) {
            return snprintf(out, n, "%s%s", top_names[i].hf, p->suffix) > 0;
        }
        if (p->layer >= 0 && stem_is(p, part_names[i].gguf)) {
            return snprintf(out, n, "model.layers.%lld.%s%s", (long long)p->layer, part_names[i].hf,
                            p->suffix) > 0;
        }
    }
    return false;
}

static ql_status add_tensor(ql_source *s, const ql_llama_keys *k, const ql_gguf_tensor *t) {
    name_parts p;
    char name[128];
    if (strcmp(t->name, "rope_freqs.weight") == 0) return QL_OK; /* config says it */
    if (!split_name(t->name, k->layers, &p) || !hf_name(&p, name, sizeof name)) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: the tensor '%.200s' has no place in a llama model of %lld layers",
                       s->path, t->name, (long long)k->layers);
    }
    ql_source_tensor *v = &s->tensors[s->n];
    *v = (ql_source_tensor){.rows = t->rows, .cols = t->cols, .dims = t->dims, .gguf = t};
    for (int32_t i = 0; i < t->dims; i++) v->shape[i] = t->shape[t->dims - 1 - i];
    bool q = stem_is(&p, "attn_q"), key = stem_is(&p, "attn_k");
    if (p.layer >= 0 && (q || key)) {
        v->permute_heads = (int32_t)(q ? k->heads : k->kv_heads);
        int64_t n = t->dims == 1 ? t->cols : t->rows;
        if (n != v->permute_heads * k->head_dim) {
            return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld rows, %d heads of %lld expected",
                           s->path, t->name, (long long)n, v->permute_heads,
                           (long long)k->head_dim);
        }
    }
    v->name = ql_arena_strndup(&s->arena, name, strlen(name));
    if (!v->name) return QL_NOMEM(s->path);
    s->n++;
    return QL_OK;
}

static ql_status check_architecture(const ql_source *s) {
    ql_str a = {"", 0};
    QL_TRY(ql_gguf_get_str(s->gguf, "general.architecture", &a));
    if (a.len == 5 && memcmp(a.s, "llama", 5) == 0) return QL_OK;
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: general.architecture is '%.*s'; GGUF files of the llama family are read",
                   s->path, (int)(a.len > 64 ? 64 : a.len), a.s);
}

ql_status ql_source_read_gguf(ql_source *s) {
    ql_llama_keys k;
    QL_TRY(check_architecture(s));
    QL_TRY(ql_llama_keys_read(s, &k));
    QL_TRY(ql_llama_config_make(s, &k));
    int64_t n = ql_gguf_count(s->gguf);
    s->tensors = ql_arena_alloc(&s->arena, (size_t)n, sizeof *s->tensors);
    if (!s->tensors) return QL_NOMEM(s->path);
    for (int64_t i = 0; i < n; i++) QL_TRY(add_tensor(s, &k, ql_gguf_at(s->gguf, i)));
    return QL_OK;
}
