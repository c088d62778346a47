/* folder_config.h - the quantization_config that a quantized folder's config.json carries. */
#ifndef QLORA_CORE_QUANT_FOLDER_CONFIG_H
#define QLORA_CORE_QUANT_FOLDER_CONFIG_H

#include "core/quant/stored.h"

/* A copy of the source's config with quantization_config as transformers writes it (types that only
 * our own container holds: quant_method "qlora", docs/file-formats.md). Free with json_decref. */
typedef struct ql_folder_storage {
    ql_stored_format format;    /* whose keys the weights have                                */
    const ql_quant_opts *quant; /* BNB: of all weights; QLORA: where bits_by_layer says nothing */
    const json_t *plain;        /* modules that stay plain; NULL = as loaders do without a list */
} ql_folder_storage;
QL_NODISCARD ql_status ql_quantized_config(const ql_source *s, const ql_quantize_folder_opts *o,
                                           const ql_folder_storage *storage, json_t **out);

#endif
