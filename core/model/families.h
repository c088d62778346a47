/* families.h - one reader of config.json per family, and the pieces they share. */
#ifndef QLORA_CORE_MODEL_FAMILIES_H
#define QLORA_CORE_MODEL_FAMILIES_H

#include "core/model/arch.h"

QL_NODISCARD ql_status ql_arch_llama(const json_t *config, const char *what, ql_arch *out);
QL_NODISCARD ql_status ql_arch_mistral(const json_t *config, const char *what, ql_arch *out);

/* hidden_size ... head_dim, max_position_embeddings, attention scale head_dim^-0.5. */
QL_NODISCARD ql_status ql_arch_sizes(const json_t *c, const char *what, ql_arch *a);
/* Keeps *out when the key is absent. */
QL_NODISCARD ql_status ql_arch_activation(const json_t *c, const char *what, const char *key,
                                          ql_act_kind *out);
/* Both spellings of the rotary embedding; needs sizes. */
QL_NODISCARD ql_status ql_arch_rope(const json_t *c, const char *what, ql_arch *a);
/* bos, eos, pad ids. */
QL_NODISCARD ql_status ql_arch_tokens(const json_t *c, const char *what, ql_arch *a);

#endif
