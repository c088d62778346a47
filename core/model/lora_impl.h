/* lora_impl.h - what the files of adapter settings share: memory of a configuration, expressions.
 */
#ifndef QLORA_CORE_MODEL_LORA_IMPL_H
#define QLORA_CORE_MODEL_LORA_IMPL_H

#include <stddef.h>

#include "core/model/lora.h"

#define QL_LORA_MAX_R      65536
#define QL_LORA_MAX_ALPHA  1e6
#define QL_LORA_MAX_INDEX  (1 << 30)  /* of layers and tokens */
#define QL_LORA_MAX_LIST   (1u << 20) /* entries of one list  */
#define QL_LORA_MAX_REGEXP 65536      /* characters           */

/* Zeroed room for n items, or a copy of a text, in the configuration's memory. */
QL_NODISCARD ql_status ql_lora_room(ql_lora_config *c, size_t n, size_t size, void *out);
QL_NODISCARD ql_status ql_lora_keep(ql_lora_config *c, const char *text, size_t len, char **out);

/* A setting's expression with what PEFT writes around it; `setting` names it in messages. */
typedef struct ql_lora_regexp {
    const char *setting, *before, *text, *after;
} ql_lora_regexp;

/* Must the expression match the whole module path, or only its beginning? With `index`, the digits
 * of its group "idx" are stored as a number (-1: too large). */
typedef enum ql_lora_extent { QL_MATCH_WHOLE, QL_MATCH_BEGIN } ql_lora_extent;
QL_NODISCARD ql_status ql_lora_match(const ql_lora_regexp *e, const char *module,
                                     ql_lora_extent extent, int32_t *index, bool *out);
/* Does it compile? */
QL_NODISCARD ql_status ql_lora_regexp_check(const ql_lora_regexp *e);

/* The expressions of the settings. */
ql_lora_regexp ql_lora_target_regexp(const char *text);
ql_lora_regexp ql_lora_exclude_regexp(const char *text);
ql_lora_regexp ql_lora_saved_regexp(const char *text);
ql_lora_regexp ql_lora_entry_regexp(const char *setting, const char *text);
ql_lora_regexp ql_lora_layer_regexp(const char *text); /* NULL: any module that holds layers */

/* rank_pattern, alpha_pattern and trainable_token_indices as JSON. */
QL_NODISCARD ql_status ql_lora_parse_patterns(ql_lora_config *c, const json_t *v, const char *what,
                                              const char *setting, ql_lora_pattern **out,
                                              int32_t *n);
QL_NODISCARD ql_status ql_lora_parse_tokens(ql_lora_config *c, const json_t *v, const char *what);

#endif /* QLORA_CORE_MODEL_LORA_IMPL_H */
