/*
 * gguf_convert.c - see gguf_convert.h. Values are changed as floats and written back in the type
 * they came in, which is exact but for Q8_0; vectors and tables of positions become F32.
 */
#include "tests/models/gguf_convert.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/half.h"

/* --------------------------------------------------------------------- names */

/* Rules of Hugging Face's modules: '#' stands for a number, '?' for a letter; the first that fits
 * counts. */
static const struct rule {
    const char *arch; /* NULL: any */
    const char *hf, *gguf;
} rules[] = {
    {"gemma2", "model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm"},
    {"gemma3", "model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm"},
    {NULL, "model.layers.#.pre_feedforward_layernorm", "blk.#.ffn_norm"},
    {NULL, "model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm"},
    {NULL, "model.embed_tokens", "token_embd"},
    {NULL, "model.norm", "output_norm"},
    {NULL, "lm_head", "output"},
    {NULL, "model.layers.#.input_layernorm", "blk.#.attn_norm"},
    {NULL, "model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {NULL, "model.layers.#.self_attn.q_proj", "blk.#.attn_q"},
    {NULL, "model.layers.#.self_attn.k_proj", "blk.#.attn_k"},
    {NULL, "model.layers.#.self_attn.v_proj", "blk.#.attn_v"},
    {NULL, "model.layers.#.self_attn.o_proj", "blk.#.attn_output"},
    {NULL, "model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {NULL, "model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
    {NULL, "model.layers.#.self_attn.qkv_proj", "blk.#.attn_qkv"},
    {NULL, "model.layers.#.mlp.gate_up_proj", "blk.#.ffn_up"},
    {NULL, "model.layers.#.mlp.gate_proj", "blk.#.ffn_gate"},
    {NULL, "model.layers.#.mlp.up_proj", "blk.#.ffn_up"},
    {NULL, "model.layers.#.mlp.down_proj", "blk.#.ffn_down"},
    {NULL, "gpt_neox.embed_in", "token_embd"},
    {NULL, "gpt_neox.final_layer_norm", "output_norm"},
    {NULL, "embed_out", "output"},
    {NULL, "gpt_neox.layers.#.input_layernorm", "blk.#.attn_norm"},
    {NULL, "gpt_neox.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {NULL, "gpt_neox.layers.#.attention.query_key_value", "blk.#.attn_qkv"},
    {NULL, "gpt_neox.layers.#.attention.dense", "blk.#.attn_output"},
    {NULL, "gpt_neox.layers.#.mlp.dense_h_to_4h", "blk.#.ffn_up"},
    {NULL, "gpt_neox.layers.#.mlp.dense_4h_to_h", "blk.#.ffn_down"},
    {NULL, "transformer.wte", "token_embd"},
    {NULL, "transformer.wpe", "position_embd"},
    {NULL, "transformer.ln_f", "output_norm"},
    {NULL, "transformer.h.#.ln_1", "blk.#.attn_norm"},
    {NULL, "transformer.h.#.ln_2", "blk.#.ffn_norm"},
    {NULL, "transformer.h.#.attn.c_attn", "blk.#.attn_qkv"},
    {NULL, "transformer.h.#.attn.c_proj", "blk.#.attn_output"},
    {NULL, "transformer.h.#.mlp.c_fc", "blk.#.ffn_up"},
    {NULL, "transformer.h.#.mlp.c_proj", "blk.#.ffn_down"},
    {NULL, "transformer.word_embeddings", "token_embd"},
    {NULL, "transformer.h.#.input_layernorm", "blk.#.attn_norm"},
    {NULL, "transformer.h.#.ln_mlp", "blk.#.attn_norm"},
    {NULL, "transformer.h.#.ln_attn", "blk.#.attn_norm_2"},
    {NULL, "transformer.h.#.self_attention.query_key_value", "blk.#.attn_qkv"},
    {NULL, "transformer.h.#.self_attention.dense", "blk.#.attn_output"},
    {NULL, "transformer.h.#.mlp.dense_h_to_4h", "blk.#.ffn_up"},
    {NULL, "transformer.h.#.mlp.dense_4h_to_h", "blk.#.ffn_down"},
    {NULL, "bert.embeddings.word_embeddings", "token_embd"},
    {NULL, "bert.embeddings.position_embeddings", "position_embd"},
    {NULL, "bert.embeddings.token_type_embeddings", "token_types"},
    {NULL, "bert.embeddings.LayerNorm", "token_embd_norm"},
    {NULL, "bert.encoder.layer.#.attention.self.query", "blk.#.attn_q"},
    {NULL, "bert.encoder.layer.#.attention.self.key", "blk.#.attn_k"},
    {NULL, "bert.encoder.layer.#.attention.self.value", "blk.#.attn_v"},
    {NULL, "bert.encoder.layer.#.attention.output.dense", "blk.#.attn_output"},
    {NULL, "bert.encoder.layer.#.attention.output.LayerNorm", "blk.#.attn_output_norm"},
    {NULL, "bert.encoder.layer.#.intermediate.dense", "blk.#.ffn_up"},
    {NULL, "bert.encoder.layer.#.output.dense", "blk.#.ffn_down"},
    {NULL, "bert.encoder.layer.#.output.LayerNorm", "blk.#.layer_output_norm"},
    {NULL, "classifier", "cls.output"},
    {NULL, "shared", "token_embd"},
    {NULL, "encoder.final_layer_norm", "enc.output_norm"},
    {NULL, "encoder.block.#.layer.0.SelfAttention.?", "enc.blk.#.attn_?"},
    {NULL, "decoder.block.#.layer.0.SelfAttention.?", "dec.blk.#.attn_?"},
    {NULL, "decoder.block.#.layer.1.EncDecAttention.?", "dec.blk.#.cross_attn_?"},
    {NULL, "encoder.block.#.layer.0.layer_norm", "enc.blk.#.attn_norm"},
    {NULL, "encoder.block.#.layer.0.SelfAttention.relative_attention_bias", "enc.blk.#.attn_rel_b"},
    {NULL, "encoder.block.#.layer.1.layer_norm", "enc.blk.#.ffn_norm"},
    {NULL, "encoder.block.#.layer.1.DenseReluDense.wi_0", "enc.blk.#.ffn_gate"},
    {NULL, "encoder.block.#.layer.1.DenseReluDense.wi_1", "enc.blk.#.ffn_up"},
    {NULL, "encoder.block.#.layer.1.DenseReluDense.wi", "enc.blk.#.ffn_up"},
    {NULL, "encoder.block.#.layer.1.DenseReluDense.wo", "enc.blk.#.ffn_down"},
    {NULL, "decoder.final_layer_norm", "dec.output_norm"},
    {NULL, "decoder.block.#.layer.0.layer_norm", "dec.blk.#.attn_norm"},
    {NULL, "decoder.block.#.layer.0.SelfAttention.relative_attention_bias", "dec.blk.#.attn_rel_b"},
    {NULL, "decoder.block.#.layer.1.layer_norm", "dec.blk.#.cross_attn_norm"},
    {NULL, "decoder.block.#.layer.2.layer_norm", "dec.blk.#.ffn_norm"},
    {NULL, "decoder.block.#.layer.2.DenseReluDense.wi_0", "dec.blk.#.ffn_gate"},
    {NULL, "decoder.block.#.layer.2.DenseReluDense.wi_1", "dec.blk.#.ffn_up"},
    {NULL, "decoder.block.#.layer.2.DenseReluDense.wi", "dec.blk.#.ffn_up"},
    {NULL, "decoder.block.#.layer.2.DenseReluDense.wo", "dec.blk.#.ffn_down"}};

/* Does `hf` follow the pattern up to ".weight" or ".bias"? Takes the number and the letter. */
static bool follows(const char *pattern, const char *hf, int *number, char *letter,
                    const char **suffix) {
    for (; *pattern; pattern++) {
        if (*pattern == '#') {
            char *end;
            *number = (int)strtol(hf, &end, 10);
            if (end == hf) return false;
            hf = end;
        } else if (*pattern == '?') {
            *letter = *hf++;
        } else if (*pattern != *hf++) {
            return false;
        }
    }
    *suffix = hf;
    return !strcmp(hf, ".weight") || !strcmp(hf, ".bias");
}

static void gguf_name(const char *arch, const char *hf, char *out, size_t size) {
    int number = 0;
    char letter = 0;
    const char *suffix = "";
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].arch && strcmp(rules[i].arch, arch) != 0) continue;
        if (!follows(rules[i].hf, hf, &number, &letter, &suffix)) continue;
        size_t n = 0;
        for (const char *p = rules[i].gguf; *p; p++) {
            if (*p == '#')
                n += (size_t)snprintf(out + n, size - n, "%d", number);
            else
                out[n++] = *p == '?' ? letter : *p;
        }
        snprintf(out + n, size - n, "%s", suffix);
        return;
    }
    fail_msg("no GGUF name for %s", hf);
}

/* ------------------------------------------------------------------- tensors */

typedef struct matrix {
    float *v;
    int64_t rows, cols;
    int dims;
} matrix;

static int64_t number_of(const json_t *c, const char *key, int64_t absent) {
    const json_t *v = json_object_get(c, key);
    return json_is_integer(v) ? json_integer_value(v) : absent;
}

/* Row `to(r)` of the result is row r of m. Vectors count as columns of rows. */
static void move_rows(matrix *m, int64_t (*to)(int64_t, const int64_t *), const int64_t *sizes) {
    int64_t rows = m->dims == 1 ? m->cols : m->rows, cols = m->dims == 1 ? 1 : m->cols;
    float *out = malloc((size_t)(rows * cols) * sizeof *out);
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + to(r, sizes) * cols, m->v + r * cols, (size_t)cols * sizeof *out);
    free(m->v);
    m->v = out;
}

/* sizes = {head size}: [heads, 2, D/2] to [heads, D/2, 2]. */
static int64_t interleaved(int64_t r, const int64_t *sizes) {
    int64_t d = sizes[0], head = r / d, half = r % d / (d / 2), k = r % (d / 2);
    return head * d + k * 2 + half;
}

/* sizes = {head size, query heads, key heads}: [groups, share + 2, D] to q, k, v. */
static int64_t apart(int64_t r, const int64_t *sizes) {
    int64_t d = sizes[0], share = sizes[1] / sizes[2], slot = r / d % (share + 2);
    int64_t group = r / d / (share + 2), k = r % d;
    if (slot < share) return (group * share + slot) * d + k;
    return (slot == share ? sizes[1] + group : sizes[1] + sizes[2] + group) * d + k;
}

static void transpose(matrix *m) {
    float *out = malloc((size_t)(m->rows * m->cols) * sizeof *out);
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < m->cols; j++) out[j * m->rows + i] = m->v[i * m->cols + j];
    free(m->v);
    *m = (matrix){out, m->cols, m->rows, m->dims};
}

static void change(const char *arch, const json_t *c, const char *hf, matrix *m) {
    int64_t heads = number_of(c, "num_attention_heads", 1);
    int64_t size = number_of(c, "head_dim", number_of(c, "hidden_size", 0) / heads);
    int64_t kv = heads;
    if (!strcmp(arch, "falcon"))
        kv = json_is_true(json_object_get(c, "new_decoder_architecture"))
                 ? number_of(c, "num_kv_heads", 1)
                 : 1;
    bool rotates = strstr(hf, ".q_proj.") || strstr(hf, ".k_proj.");
    if (!strcmp(arch, "llama") && rotates) move_rows(m, interleaved, &size);
    if (strstr(hf, "query_key_value")) move_rows(m, apart, (int64_t[]){size, heads, kv});
    if (!strcmp(arch, "gpt2") && m->dims == 2 && strstr(hf, ".c_")) transpose(m);
    for (int64_t i = 0; !strncmp(arch, "gemma", 5) && strstr(hf, "norm.") && i < m->cols; i++)
        m->v[i] += 1.0f;
}

/* Blocks of 32: scale, then codes. */
static size_t to_q8(const float *x, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i += 32, x += 32, out += 34) {
        float most = 0;
        for (int k = 0; k < 32; k++) most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
        uint16_t half = ql_f16_from_f32(most / 127);
        float d = ql_f32_from_f16(half);
        memcpy(out, &half, 2);
        for (int k = 0; k < 32; k++)
            out[2 + k] = (uint8_t)(int8_t)(d > 0 ? fmaxf(-127, fminf(127, roundf(x[k] / d))) : 0);
    }
    return (size_t)(n / 32) * 34;
}

static void put_matrix(gguf_build *b, const char *name, const matrix *m, int type) {
    int64_t n = m->rows * m->cols;
    uint8_t *bytes = malloc((size_t)n * 4 + 34);
    size_t size = (size_t)n * (type == GGML_F32 ? 4 : 2);
    uint64_t shape[2] = {(uint64_t)m->cols, (uint64_t)m->rows};
    if (type == GGML_F32) memcpy(bytes, m->v, size);
    if (type == GGML_Q8_0) size = to_q8(m->v, n, bytes);
    for (int64_t i = 0; i < n && (type == GGML_F16 || type == GGML_BF16); i++) {
        uint16_t h = type == GGML_F16 ? ql_f16_from_f32(m->v[i]) : ql_bf16_from_f32(m->v[i]);
        memcpy(bytes + 2 * i, &h, 2);
    }
    gguf_put_tensor(b, name, (uint32_t)type, (uint32_t)m->dims, shape, bytes, size);
    free(bytes);
}

/* Norms of single heads become the rows of one tensor, in the order of the heads. */
static void put_stacked(gguf_build *b, const ql_st_file *f, const char *stem, const char *name) {
    matrix all = {malloc(64 * 256 * sizeof(float)), 0, 0, 2};
    for (;; all.rows++) {
        char hf[320];
        snprintf(hf, sizeof hf, "%s.norms.%d.weight", stem, (int)all.rows);
        const ql_st_tensor *t = ql_st_find(f, hf);
        if (!t) break;
        all.cols = t->numel;
        assert_int_equal(ql_st_read_f32(t, 0, t->numel, all.v + all.rows * all.cols), QL_OK);
    }
    put_matrix(b, name, &all, GGML_F32);
    free(all.v);
}

static void put_tensor(gguf_build *b, const json_t *config, const ql_st_file *f,
                       const ql_st_tensor *t, int type) {
    const char *arch = gguf_convert_arch(config), *norms = strstr(t->name, "_layernorm.norms.");
    char name[256], stem[256];
    if (!strncmp(t->name, "bert.pooler.", 12)) return; /* the converter leaves it out */
    if (norms) {
        static const char stack[] = "model.layers.";
        if (!strstr(t->name, ".norms.0.")) return;
        assert_memory_equal(t->name, stack, sizeof stack - 1);
        long layer = strtol(t->name + sizeof stack - 1, NULL, 10);
        snprintf(name, sizeof name, "blk.%ld.attn_%c_norm.weight", layer, norms[-1]);
        snprintf(stem, sizeof stem, "%.*s_layernorm", (int)(norms - t->name), t->name);
        put_stacked(b, f, stem, name);
        return;
    }
    matrix m = {malloc((size_t)t->numel * sizeof(float)), 1, t->shape[t->dims - 1], t->dims};
    m.rows = t->numel / m.cols;
    assert_int_equal(ql_st_read_f32(t, 0, t->numel, m.v), QL_OK);
    change(arch, config, t->name, &m);
    gguf_name(arch, t->name, name, sizeof name);
    int own = t->dtype == QL_ST_F32 ? GGML_F32 : t->dtype == QL_ST_F16 ? GGML_F16 : GGML_BF16;
    bool plain = t->dims == 1 || strstr(name, "position_embd") || strstr(name, "token_types");
    put_matrix(b, name, &m, plain ? GGML_F32 : type >= 0 && m.cols % 32 == 0 ? type : own);
    free(m.v);
}

void gguf_convert_tensors(gguf_build *b, const json_t *config, const ql_st_file *file, int type) {
    for (int64_t i = 0; i < ql_st_count(file); i++)
        put_tensor(b, config, file, ql_st_at(file, i), type);
}
