/* keys.h - names of the parts of a quantized weight "P.weight" in a safetensors file. */
#ifndef QLORA_CORE_QUANT_KEYS_H
#define QLORA_CORE_QUANT_KEYS_H

#include <stdbool.h>

#define QL_KEY_MAX        1024
#define QL_KEY_ABSMAX     ".absmax"
#define QL_KEY_MAP        ".quant_map"
#define QL_KEY_NESTED     ".nested_absmax"
#define QL_KEY_NESTED_MAP ".nested_quant_map"
#define QL_KEY_ZERO       ".zero"
#define QL_KEY_STATE      ".quant_state."

/* name + part; false when it does not fit. */
bool ql_key_join(char out[QL_KEY_MAX], const char *name, const char *part);
/* "P.weight" -> "P.SCB", "P.weight_format"; a name without .weight gets the ending as it is. */
bool ql_key_scb(char out[QL_KEY_MAX], const char *name);
bool ql_key_format(char out[QL_KEY_MAX], const char *name);
/* The weight that `part` would belong to ("P.weight.absmax", "P.SCB" -> "P.weight"); false when
 * `part` is no such name. */
bool ql_key_base(char out[QL_KEY_MAX], const char *part);

#endif
