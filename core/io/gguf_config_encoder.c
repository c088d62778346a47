/*
 * gguf_config_encoder.c - config.json of BERT, as a classifier, and of T5.
 *
 * Files of BERT are embedding models: without a classifier in the file it is a new one of two
 * labels. A RoBERTa is stored without its first position rows, and is the BERT that remains.
 */
#include <stdio.h>

#include "core/io/gguf_arch.h"

#define MAX_LABELS 65536

/* Rows of the classifier; 2 without one. */
static ql_status count_labels(const ql_source *s, int64_t *out) {
    const ql_gguf_tensor *first = ql_gguf_find(s->gguf, "cls.weight");
    const ql_gguf_tensor *last = ql_gguf_find(s->gguf, "cls.output.weight");
    if (first && last) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: a classifier of two layers (cls, cls.output) has no place in a bert "
                       "model",
                       s->path);
    }
    const ql_gguf_tensor *t = first ? first : last;
    *out = t ? t->rows : 2;
    if (*out <= MAX_LABELS) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' has %lld rows, at most %d labels are supported",
                   s->path, t->name, (long long)*out, MAX_LABELS);
}

/* {"0": name, ...} from classifier.output_labels, or LABEL_0 ... */
static ql_status labels(const ql_source *s, int64_t n, json_t **out) {
    static const char key[] = "bert.classifier.output_labels";
    int64_t named = ql_gguf_array_len(s->gguf, key);
    json_t *map = json_object();
    ql_status st = map ? QL_OK : QL_NOMEM(s->path);
    for (int64_t i = 0; i < n && st == QL_OK; i++) {
        char id[24], plain[32];
        json_t *name = NULL;
        ql_str text = {"", 0};
        snprintf(id, sizeof id, "%lld", (long long)i);
        snprintf(plain, sizeof plain, "LABEL_%lld", (long long)i);
        if (named == n) {
            st = ql_gguf_array_str(s->gguf, key, i, &text);
            if (st == QL_OK) st = ql_gguf_json_string(s->path, key, text, &name);
        } else {
            name = json_string(plain);
        }
        if (st == QL_OK && json_object_set_new(map, id, name) != 0) st = QL_NOMEM(s->path);
    }
    if (st != QL_OK) {
        json_decref(map);
        return st;
    }
    *out = map;
    return QL_OK;
}

ql_status ql_gguf_config_bert(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    bool causal = false;
    int64_t n = 2;
    json_t *names = NULL;
    QL_TRY(ql_gguf_arch_bool(s, "attention.causal", &causal));
    if (causal) return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: a causal bert model", s->path);
    const ql_gguf_tensor *types = ql_gguf_find(s->gguf, "token_types.weight");
    QL_TRY(count_labels(s, &n));
    QL_TRY(labels(s, n, &names));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:I, s:o, s:f, s:f}", "hidden_size",
                  (json_int_t)k->hidden, "intermediate_size", (json_int_t)k->ffn,
                  "num_hidden_layers", (json_int_t)k->layers, "num_attention_heads",
                  (json_int_t)k->heads, "max_position_embeddings", (json_int_t)k->context,
                  "layer_norm_eps", k->eps, "hidden_act", "gelu", "type_vocab_size",
                  (json_int_t)(types ? types->rows : 2), "id2label", names, "hidden_dropout_prob",
                  0.0, "attention_probs_dropout_prob", 0.0));
}

/* The largest distance is the same in every published model, and no key says it. */
ql_status ql_gguf_config_t5(const ql_source *s, const ql_gguf_keys *k, json_t *config) {
    int64_t buckets = 0, first = k->pad < 0 ? 0 : k->pad;
    QL_TRY(ql_gguf_arch_int(s, "attention.relative_buckets_count", 2, 65536, &buckets));
    QL_TRY(ql_gguf_arch_int(s, "decoder_start_token_id", 0, k->vocab - 1, &first));
    return ql_gguf_config_add(
        s, config,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:I, s:I, s:I, s:I, s:b, s:f}",
                  "d_model", (json_int_t)k->hidden, "d_ff", (json_int_t)k->ffn, "d_kv",
                  (json_int_t)k->head_dim, "num_heads", (json_int_t)k->heads, "num_layers",
                  (json_int_t)k->layers, "num_decoder_layers", (json_int_t)k->decoder_layers,
                  "n_positions", (json_int_t)k->context, "layer_norm_epsilon", k->eps,
                  "feed_forward_proj", k->variant ? "gated-gelu" : "relu",
                  "relative_attention_num_buckets", (json_int_t)buckets,
                  "relative_attention_max_distance", (json_int_t)128, "decoder_start_token_id",
                  (json_int_t)first, "pad_token_id", (json_int_t)(k->pad < 0 ? 0 : k->pad),
                  "is_encoder_decoder", true, "dropout_rate", 0.0));
}
