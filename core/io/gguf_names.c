/*
 * gguf_names.c - the supported GGUF architectures and their tensors' names.
 *
 * One table per architecture, sharing what it can. A row is a name in the file, Hugging Face's, and
 * what the converter of llama.cpp changed between them.
 */
#include <stdio.h>
#include <string.h>

#include "core/io/gguf_arch.h"

#define END                                                                                        \
    { NULL, NULL, QL_GGUF_SAME }
#define L "model.layers.#."

/* Llama's block without what the families do differently. */
static const ql_gguf_name block[] = {{"token_embd", "model.embed_tokens", QL_GGUF_SAME},
                                     {"output", "lm_head", QL_GGUF_SAME},
                                     {"blk.#.attn_q", L "self_attn.q_proj", QL_GGUF_SAME},
                                     {"blk.#.attn_k", L "self_attn.k_proj", QL_GGUF_SAME},
                                     {"blk.#.attn_v", L "self_attn.v_proj", QL_GGUF_SAME},
                                     {"blk.#.attn_output", L "self_attn.o_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_gate", L "mlp.gate_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_up", L "mlp.up_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_down", L "mlp.down_proj", QL_GGUF_SAME},
                                     END};
static const ql_gguf_name two_norms[] = {
    {"output_norm", "model.norm", QL_GGUF_SAME},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
    {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_SAME},
    {"blk.#.attn_q_norm", L "self_attn.q_norm", QL_GGUF_SAME},
    {"blk.#.attn_k_norm", L "self_attn.k_norm", QL_GGUF_SAME},
    END};
static const ql_gguf_name llama[] = {{"token_embd", "model.embed_tokens", QL_GGUF_SAME},
                                     {"output_norm", "model.norm", QL_GGUF_SAME},
                                     {"output", "lm_head", QL_GGUF_SAME},
                                     {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
                                     {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_SAME},
                                     {"blk.#.attn_q", L "self_attn.q_proj", QL_GGUF_ROTATED_Q},
                                     {"blk.#.attn_k", L "self_attn.k_proj", QL_GGUF_ROTATED_K},
                                     {"blk.#.attn_v", L "self_attn.v_proj", QL_GGUF_SAME},
                                     {"blk.#.attn_output", L "self_attn.o_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_gate", L "mlp.gate_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_up", L "mlp.up_proj", QL_GGUF_SAME},
                                     {"blk.#.ffn_down", L "mlp.down_proj", QL_GGUF_SAME},
                                     END};
static const ql_gguf_name gemma[] = {
    {"output_norm", "model.norm", QL_GGUF_PLUS_ONE},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_PLUS_ONE},
    {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_PLUS_ONE},
    END};
static const ql_gguf_name gemma_sandwich[] = {
    {"output_norm", "model.norm", QL_GGUF_PLUS_ONE},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_PLUS_ONE},
    {"blk.#.post_attention_norm", L "post_attention_layernorm", QL_GGUF_PLUS_ONE},
    {"blk.#.ffn_norm", L "pre_feedforward_layernorm", QL_GGUF_PLUS_ONE},
    {"blk.#.post_ffw_norm", L "post_feedforward_layernorm", QL_GGUF_PLUS_ONE},
    {"blk.#.attn_q_norm", L "self_attn.q_norm", QL_GGUF_PLUS_ONE},
    {"blk.#.attn_k_norm", L "self_attn.k_norm", QL_GGUF_PLUS_ONE},
    END};
static const ql_gguf_name phi3[] = {{"token_embd", "model.embed_tokens", QL_GGUF_SAME},
                                    {"output_norm", "model.norm", QL_GGUF_SAME},
                                    {"output", "lm_head", QL_GGUF_SAME},
                                    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
                                    {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_SAME},
                                    {"blk.#.attn_qkv", L "self_attn.qkv_proj", QL_GGUF_SAME},
                                    {"blk.#.attn_output", L "self_attn.o_proj", QL_GGUF_SAME},
                                    {"blk.#.ffn_up", L "mlp.gate_up_proj", QL_GGUF_SAME},
                                    {"blk.#.ffn_down", L "mlp.down_proj", QL_GGUF_SAME},
                                    END};
static const ql_gguf_name stablelm[] = {
    {"output_norm", "model.norm", QL_GGUF_SAME},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
    {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_SAME},
    {"blk.#.attn_q_norm", L "self_attn.q_layernorm.norms.*", QL_GGUF_STACKED_Q},
    {"blk.#.attn_k_norm", L "self_attn.k_layernorm.norms.*", QL_GGUF_STACKED_K},
    END};
#undef L
#define L "gpt_neox.layers.#."
static const ql_gguf_name gptneox[] = {
    {"token_embd", "gpt_neox.embed_in", QL_GGUF_SAME},
    {"output_norm", "gpt_neox.final_layer_norm", QL_GGUF_SAME},
    {"output", "embed_out", QL_GGUF_SAME},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
    {"blk.#.ffn_norm", L "post_attention_layernorm", QL_GGUF_SAME},
    {"blk.#.attn_qkv", L "attention.query_key_value", QL_GGUF_FUSED},
    {"blk.#.attn_output", L "attention.dense", QL_GGUF_SAME},
    {"blk.#.ffn_up", L "mlp.dense_h_to_4h", QL_GGUF_SAME},
    {"blk.#.ffn_down", L "mlp.dense_4h_to_h", QL_GGUF_SAME},
    END};
#undef L
#define L "transformer.h.#."
static const ql_gguf_name gpt2[] = {{"token_embd", "transformer.wte", QL_GGUF_SAME},
                                    {"position_embd", "transformer.wpe", QL_GGUF_SAME},
                                    {"output_norm", "transformer.ln_f", QL_GGUF_SAME},
                                    {"output", "lm_head", QL_GGUF_SAME},
                                    {"blk.#.attn_norm", L "ln_1", QL_GGUF_SAME},
                                    {"blk.#.ffn_norm", L "ln_2", QL_GGUF_SAME},
                                    {"blk.#.attn_qkv", L "attn.c_attn", QL_GGUF_OUT_IN},
                                    {"blk.#.attn_output", L "attn.c_proj", QL_GGUF_OUT_IN},
                                    {"blk.#.ffn_up", L "mlp.c_fc", QL_GGUF_OUT_IN},
                                    {"blk.#.ffn_down", L "mlp.c_proj", QL_GGUF_OUT_IN},
                                    END};
static const ql_gguf_name falcon[] = {
    {"token_embd", "transformer.word_embeddings", QL_GGUF_SAME},
    {"output_norm", "transformer.ln_f", QL_GGUF_SAME},
    {"output", "lm_head", QL_GGUF_SAME},
    {"blk.#.attn_norm", L "input_layernorm", QL_GGUF_SAME},
    {"blk.#.attn_qkv", L "self_attention.query_key_value", QL_GGUF_FUSED},
    {"blk.#.attn_output", L "self_attention.dense", QL_GGUF_SAME},
    {"blk.#.ffn_up", L "mlp.dense_h_to_4h", QL_GGUF_SAME},
    {"blk.#.ffn_down", L "mlp.dense_4h_to_h", QL_GGUF_SAME},
    END};
static const ql_gguf_name falcon_two_norms[] = {{"blk.#.attn_norm", L "ln_mlp", QL_GGUF_SAME},
                                                {"blk.#.attn_norm_2", L "ln_attn", QL_GGUF_SAME},
                                                END};
#undef L
#define L "bert.encoder.layer.#."
static const ql_gguf_name bert[] = {
    {"token_embd", "bert.embeddings.word_embeddings", QL_GGUF_SAME},
    {"position_embd", "bert.embeddings.position_embeddings", QL_GGUF_SAME},
    {"token_types", "bert.embeddings.token_type_embeddings", QL_GGUF_SAME},
    {"token_embd_norm", "bert.embeddings.LayerNorm", QL_GGUF_SAME},
    {"blk.#.attn_q", L "attention.self.query", QL_GGUF_SAME},
    {"blk.#.attn_k", L "attention.self.key", QL_GGUF_SAME},
    {"blk.#.attn_v", L "attention.self.value", QL_GGUF_SAME},
    {"blk.#.attn_output", L "attention.output.dense", QL_GGUF_SAME},
    {"blk.#.attn_output_norm", L "attention.output.LayerNorm", QL_GGUF_SAME},
    {"blk.#.ffn_up", L "intermediate.dense", QL_GGUF_SAME},
    {"blk.#.ffn_down", L "output.dense", QL_GGUF_SAME},
    {"blk.#.layer_output_norm", L "output.LayerNorm", QL_GGUF_SAME},
    {"cls", "classifier", QL_GGUF_SAME},
    {"cls.output", "classifier", QL_GGUF_SAME},
    END};
#undef L
#define E "encoder.block.#.layer."
#define D "decoder.block.#.layer."
static const ql_gguf_name t5[] = {
    {"token_embd", "shared", QL_GGUF_SAME},
    {"output", "lm_head", QL_GGUF_SAME},
    {"enc.output_norm", "encoder.final_layer_norm", QL_GGUF_SAME},
    {"enc.blk.#.attn_norm", E "0.layer_norm", QL_GGUF_SAME},
    {"enc.blk.#.attn_q", E "0.SelfAttention.q", QL_GGUF_SAME},
    {"enc.blk.#.attn_k", E "0.SelfAttention.k", QL_GGUF_SAME},
    {"enc.blk.#.attn_v", E "0.SelfAttention.v", QL_GGUF_SAME},
    {"enc.blk.#.attn_o", E "0.SelfAttention.o", QL_GGUF_SAME},
    {"enc.blk.0.attn_rel_b", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
     QL_GGUF_SAME},
    {"enc.blk.#.ffn_norm", E "1.layer_norm", QL_GGUF_SAME},
    {"enc.blk.#.ffn_up", E "1.DenseReluDense.wi", QL_GGUF_SAME},
    {"enc.blk.#.ffn_down", E "1.DenseReluDense.wo", QL_GGUF_SAME},
    {"dec.output_norm", "decoder.final_layer_norm", QL_GGUF_SAME},
    {"dec.blk.#.attn_norm", D "0.layer_norm", QL_GGUF_SAME},
    {"dec.blk.#.attn_q", D "0.SelfAttention.q", QL_GGUF_SAME},
    {"dec.blk.#.attn_k", D "0.SelfAttention.k", QL_GGUF_SAME},
    {"dec.blk.#.attn_v", D "0.SelfAttention.v", QL_GGUF_SAME},
    {"dec.blk.#.attn_o", D "0.SelfAttention.o", QL_GGUF_SAME},
    {"dec.blk.0.attn_rel_b", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
     QL_GGUF_SAME},
    {"dec.blk.#.cross_attn_norm", D "1.layer_norm", QL_GGUF_SAME},
    {"dec.blk.#.cross_attn_q", D "1.EncDecAttention.q", QL_GGUF_SAME},
    {"dec.blk.#.cross_attn_k", D "1.EncDecAttention.k", QL_GGUF_SAME},
    {"dec.blk.#.cross_attn_v", D "1.EncDecAttention.v", QL_GGUF_SAME},
    {"dec.blk.#.cross_attn_o", D "1.EncDecAttention.o", QL_GGUF_SAME},
    {"dec.blk.0.cross_attn_rel_b",
     "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias", QL_GGUF_SAME},
    {"dec.blk.#.ffn_norm", D "2.layer_norm", QL_GGUF_SAME},
    {"dec.blk.#.ffn_up", D "2.DenseReluDense.wi", QL_GGUF_SAME},
    {"dec.blk.#.ffn_down", D "2.DenseReluDense.wo", QL_GGUF_SAME},
    END};
static const ql_gguf_name t5_gated[] = {
    {"enc.blk.#.ffn_gate", E "1.DenseReluDense.wi_0", QL_GGUF_SAME},
    {"enc.blk.#.ffn_up", E "1.DenseReluDense.wi_1", QL_GGUF_SAME},
    {"dec.blk.#.ffn_gate", D "2.DenseReluDense.wi_0", QL_GGUF_SAME},
    {"dec.blk.#.ffn_up", D "2.DenseReluDense.wi_1", QL_GGUF_SAME},
    END};
#undef E
#undef D

static const ql_gguf_arch archs[] = {
    {.name = "llama",
     .model_type = "llama",
     .hf_class = "LlamaForCausalLM",
     .names = llama,
     .windows = true,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_llama},
    {.name = "qwen2",
     .model_type = "qwen2",
     .hf_class = "Qwen2ForCausalLM",
     .names = block,
     .own = two_norms,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_qwen2},
    {.name = "qwen3",
     .model_type = "qwen3",
     .hf_class = "Qwen3ForCausalLM",
     .names = block,
     .own = two_norms,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_qwen3},
    {.name = "gemma",
     .model_type = "gemma",
     .hf_class = "GemmaForCausalLM",
     .names = block,
     .own = gemma,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_gemma},
    {.name = "gemma2",
     .model_type = "gemma2",
     .hf_class = "Gemma2ForCausalLM",
     .names = block,
     .own = gemma_sandwich,
     .windows = true,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_gemma2},
    {.name = "gemma3",
     .model_type = "gemma3_text",
     .hf_class = "Gemma3ForCausalLM",
     .names = block,
     .own = gemma_sandwich,
     .windows = true,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_gemma3},
    {.name = "phi3",
     .model_type = "phi3",
     .hf_class = "Phi3ForCausalLM",
     .names = phi3,
     .windows = true,
     .longrope = true,
     .rotation = QL_GGUF_PARTIAL,
     .config = ql_gguf_config_phi3},
    {.name = "stablelm",
     .model_type = "stablelm",
     .hf_class = "StableLmForCausalLM",
     .names = block,
     .own = stablelm,
     .layer_norm = true,
     .rotation = QL_GGUF_PARTIAL,
     .config = ql_gguf_config_stablelm},
    {.name = "gptneox",
     .model_type = "gpt_neox",
     .hf_class = "GPTNeoXForCausalLM",
     .names = gptneox,
     .layer_norm = true,
     .rotation = QL_GGUF_PARTIAL,
     .config = ql_gguf_config_gptneox},
    {.name = "gpt2",
     .model_type = "gpt2",
     .hf_class = "GPT2LMHeadModel",
     .names = gpt2,
     .layer_norm = true,
     .config = ql_gguf_config_gpt2},
    {.name = "falcon",
     .model_type = "falcon",
     .hf_class = "FalconForCausalLM",
     .names = falcon,
     .variant_tensor = "blk.0.attn_norm_2.weight",
     .variant = falcon_two_norms,
     .layer_norm = true,
     .rotation = QL_GGUF_WHOLE,
     .config = ql_gguf_config_falcon},
    {.name = "bert",
     .model_type = "bert",
     .hf_class = "BertForSequenceClassification",
     .names = bert,
     .layer_norm = true,
     .config = ql_gguf_config_bert},
    {.name = "t5",
     .model_type = "t5",
     .hf_class = "T5ForConditionalGeneration",
     .names = t5,
     .variant_tensor = "enc.blk.0.ffn_gate.weight",
     .variant = t5_gated,
     .decoder = true,
     .config = ql_gguf_config_t5},
};
#define COUNT (sizeof archs / sizeof *archs)

ql_status ql_gguf_arch_find(const ql_source *s, const ql_gguf_arch **out) {
    ql_str name = {"", 0};
    char all[256];
    size_t used = 0;
    QL_TRY(ql_gguf_get_str(s->gguf, "general.architecture", &name));
    for (size_t i = 0; i < COUNT; i++) {
        const char *have = archs[i].name;
        if (name.len == strlen(have) && memcmp(name.s, have, (size_t)name.len) == 0) {
            *out = &archs[i];
            return QL_OK;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", have);
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: general.architecture is '%.*s'; supported are: %s",
                   s->path, (int)(name.len > 64 ? 64 : name.len), name.s, all);
}

/* ------------------------------------------------------------------- matching */

/* The layer's number at *at, without leading zeros and below `layers`; -1: none. */
static int64_t take_layer(const char **at, int64_t layers) {
    const char *s = *at;
    int64_t layer = 0;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9')) return -1;
    for (; *s >= '0' && *s <= '9' && layer < layers; s++) layer = layer * 10 + (*s - '0');
    if (layer >= layers) return -1;
    *at = s;
    return layer;
}

/* Does `name` follow `pattern` and end in ".weight" or ".bias"? */
static bool follows(const char *pattern, const char *name, int64_t layers, int64_t *layer,
                    const char **suffix) {
    *layer = -1;
    for (; *pattern; pattern++) {
        if (*pattern == '#') {
            *layer = take_layer(&name, layers);
            if (*layer < 0) return false;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    *suffix = name;
    return strcmp(name, ".weight") == 0 || strcmp(name, ".bias") == 0;
}

static const ql_gguf_name *find_in(const ql_gguf_name *table, const ql_gguf_keys *k,
                                   const char *name, int64_t *layer, const char **suffix) {
    for (; table && table->gguf; table++) {
        int64_t layers = strncmp(table->gguf, "dec.", 4) == 0 ? k->decoder_layers : k->layers;
        if (follows(table->gguf, name, layers, layer, suffix)) return table;
    }
    return NULL;
}

const ql_gguf_name *ql_gguf_name_find(const ql_gguf_arch *a, const ql_gguf_keys *k,
                                      const char *name, int64_t *layer, const char **suffix) {
    const ql_gguf_name *n = k->variant ? find_in(a->variant, k, name, layer, suffix) : NULL;
    if (!n) n = find_in(a->own, k, name, layer, suffix);
    return n ? n : find_in(a->names, k, name, layer, suffix);
}
