/* folder_config.h - the quantization_config that a quantized folder's config.json carries. */
#ifndef QLORA_CORE_QUANT_FOLDER_CONFIG_H
#define QLORA_CORE_QUANT_FOLDER_CONFIG_H

#include "core/quant/stored.h"

/* A copy of the source's config with quantization_config as transformers writes it (types that only
 * our own container holds: quant_method "qlora", docs/file-formats.md). Free with json_decref. */
QL_NODISCARD ql_status ql_quantized_config(const ql_source *s, const ql_quantize_folder_opts *o,
                                           json_t **out);

#endif
