/*
 * folder_config.c - see folder_config.h. Every key that transformers 5 writes is written, with its
 * defaults, so that the file equals the one that transformers would make.
 */
#include "core/quant/folder_config.h"

#include <string.h>

#include "core/quant/blob.h"

/* Is there a classifier? It is never quantized here, and transformers must be told. */
static bool has_classifier(const ql_source *s) {
    for (int64_t i = 0; i < ql_source_count(s); i++)
        if (!strncmp(ql_source_at(s, i)->name, "classifier.", strlen("classifier."))) return true;
    return false;
}

/* The list of the source stays; a quantized head needs an empty list, because absent means that
 * loaders skip it. Owned. */
static json_t *skip_modules(const ql_source *s, bool quantize_head, const json_t *plain) {
    json_t *list = json_object_get(json_object_get(ql_source_config(s), "quantization_config"),
                                   "llm_int8_skip_modules");
    if (plain != NULL) {
        json_t *both = json_is_array(list) ? json_deep_copy(list) : json_array();
        json_t *copy = json_deep_copy(plain);
        bool added = json_array_extend(both, copy) == 0;
        json_decref(copy);
        if (added) return both;
        json_decref(both);
        return NULL;
    }
    if (json_is_array(list)) return json_deep_copy(list);
    if (has_classifier(s)) return json_pack("[s]", "classifier");
    return quantize_head ? json_array() : json_null();
}

static json_t *bnb_config(const ql_quantize_folder_opts *o, const ql_quant_opts *q, json_t *skip) {
    const ql_qtype *type = ql_qtype_at(q->type);
    bool eight = type->per_row;
    const char *compute = o->compute_dtype != NULL ? o->compute_dtype : "float32";
    return json_pack("{s:b, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:f, s:b, s:b, s:s}",
                     "_load_in_4bit", !eight, "_load_in_8bit", eight, "bnb_4bit_compute_dtype",
                     compute, "bnb_4bit_quant_storage", "uint8", "bnb_4bit_quant_type",
                     eight ? "fp4" : type->name, "bnb_4bit_use_double_quant", q->double_quant,
                     "llm_int8_enable_fp32_cpu_offload", false, "llm_int8_has_fp16_weight", false,
                     "llm_int8_skip_modules", skip, "llm_int8_threshold", 6.0, "load_in_4bit",
                     !eight, "load_in_8bit", eight, "quant_method", "bitsandbytes");
}

static json_t *own_config(const ql_quantize_folder_opts *o, json_t *skip) {
    const ql_qtype *type = ql_qtype_at(o->quant.type);
    json_t *j = json_pack(
        "{s:s, s:i, s:s, s:i, s:i, s:b, s:i, s:s, s:o}", "quant_method", "qlora", "version",
        QL_BLOB_VERSION, "quant_type", type->name, "bits", (int)type->bits, "blocksize",
        type->per_row ? 0 : (int)o->quant.block, "double_quant", o->quant.double_quant,
        "nested_blocksize", o->quant.double_quant ? (int)o->quant.block2 : 0, "quant_rule",
        o->quant.rule == QL_RULE_CUDA ? "cuda" : "cpu", "llm_int8_skip_modules", skip);
    if (o->bits_by_layer == NULL || j == NULL) return j;
    if (json_object_set_new(j, "bits_by_layer", json_string(o->bits_by_layer)) == 0) return j;
    json_decref(j);
    return NULL;
}

ql_status ql_quantized_config(const ql_source *s, const ql_quantize_folder_opts *o,
                              const ql_folder_storage *storage, json_t **out) {
    json_t *config = json_deep_copy(ql_source_config(s));
    if (o->dense) {
        *out = config;
        return config != NULL ? QL_OK : QL_NOMEM("config.json");
    }
    json_t *skip = skip_modules(s, o->quantize_head, storage->plain);
    bool bnb = storage->format == QL_STORED_BNB;
    json_t *quantization = bnb ? bnb_config(o, storage->quant, skip) : own_config(o, skip);
    if (config == NULL || quantization == NULL ||
        json_object_set_new(config, "quantization_config", quantization) != 0) {
        json_decref(config);
        return QL_NOMEM("config.json");
    }
    *out = config;
    return QL_OK;
}
