/*
 * families.h - one reader of config.json per family, and the pieces they share.
 *
 * A reader fills a zeroed ql_arch (ids at -1, no scale or factor 0 left to the caller:
 * ql_arch_start sets what is common). Unknown keys are ignored, unknown values of known keys
 * refused by name.
 */
#ifndef QLORA_CORE_MODEL_FAMILIES_FAMILIES_H
#define QLORA_CORE_MODEL_FAMILIES_FAMILIES_H

#include "core/model/arch.h"

typedef ql_status (*ql_family_reader)(const json_t *config, const char *what, ql_arch *out);

ql_status ql_arch_llama(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_mistral(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_qwen2(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_qwen3(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_phi3(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_gemma(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_gemma2(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_gemma3(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_stablelm(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_gpt_neox(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_gpt2(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_opt(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_falcon(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_bert(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_roberta(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_deberta(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_bart(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_mbart(const json_t *config, const char *what, ql_arch *out);
ql_status ql_arch_t5(const json_t *config, const char *what, ql_arch *out);

/* ---------------------------------------------------------------- shared pieces (read.c) */

/* Where a family writes its sizes; NULL = it has no such key. */
typedef struct ql_size_keys {
    const char *hidden, *layers, *heads, *kv_heads, *head_dim, *ffn;
} ql_size_keys;
extern const ql_size_keys ql_hf_sizes; /* hidden_size ... intermediate_size */

/* vocab_size, a->hidden and the sizes of stack s; attention scale head_dim^-0.5. */
QL_NODISCARD ql_status ql_read_sizes(const json_t *c, const char *what, const ql_size_keys *k,
                                     ql_arch *a, ql_stack *s);
/* An integer key that must be there, 1 to hi. */
QL_NODISCARD ql_status ql_read_need(const json_t *c, const char *what, const char *key, int64_t hi,
                                    int64_t *out);
/* max_positions from `key` (2048 when absent). */
QL_NODISCARD ql_status ql_read_positions(const json_t *c, const char *what, const char *key,
                                         ql_arch *a);
/* A norm's epsilon; keeps `absent` when the key is. */
QL_NODISCARD ql_status ql_read_eps(const json_t *c, const char *what, const char *key,
                                   double absent, ql_arch *a);
/* Keeps *out when the key is absent. */
QL_NODISCARD ql_status ql_read_activation(const json_t *c, const char *what, const char *key,
                                          ql_act_kind *out);
/* Both spellings of the rotary embedding, `theta_key` being the old name of theta; for heads of
 * s->head_dim, of which `part` (or partial_rotary_factor) is rotated. */
QL_NODISCARD ql_status ql_read_rope(const json_t *c, const char *what, const char *theta_key,
                                    double part, const ql_arch *a, const ql_stack *s, ql_rope *out);
/* The same from one object of rope_parameters. */
QL_NODISCARD ql_status ql_read_rope_object(const json_t *o, const char *what, double theta,
                                           double part, const ql_arch *a, const ql_stack *s,
                                           ql_rope *out);
/* sliding_window: null = 0; *out kept when absent. */
QL_NODISCARD ql_status ql_read_window(const json_t *c, const char *what, int32_t *out);
/* layer_types: marks the sliding layers. *present = the key is there. */
QL_NODISCARD ql_status ql_read_layer_types(const json_t *c, const char *what, ql_stack *s,
                                           bool *present);
/* bos, eos, pad ids. */
QL_NODISCARD ql_status ql_read_tokens(const json_t *c, const char *what, ql_arch *a);
/* Number of labels: num_labels, or the entries of id2label, or 2. */
QL_NODISCARD ql_status ql_read_labels(const json_t *c, const char *what, ql_arch *a);
/* A probability of dropout; kept when the key is absent or null. */
QL_NODISCARD ql_status ql_read_dropout(const json_t *c, const char *what, const char *key,
                                       float *out);
/* Refuses a boolean key that is `value`. */
QL_NODISCARD ql_status ql_refuse_flag(const json_t *c, const char *what, const char *key,
                                      bool value);
/* llama's names of a block's parts: q_proj ... down_proj, and where biases are. */
void ql_arch_llama_parts(ql_stack *s, bool qkv_bias, bool o_bias);
/* Causal decoder with tokens at `tokens` and a head at `head`. */
void ql_arch_decoder(ql_arch *a, const char *prefix, const char *tokens, const char *head);

#endif
