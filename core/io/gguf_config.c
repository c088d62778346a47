/*
 * gguf_config.c - the config.json and generation_config.json that transformers would have: what all
 * families share. Each family adds its own keys (gguf_config_<family>.c).
 */
#include <math.h>

#include "core/io/gguf_arch.h"

ql_status ql_gguf_config_add(const ql_source *s, json_t *config, json_t *more) {
    if (!more) return QL_NOMEM(s->path);
    int failed = json_object_update(config, more);
    json_decref(more);
    return failed ? QL_NOMEM(s->path) : QL_OK;
}

ql_status ql_gguf_config_rope(const ql_source *s, const ql_gguf_keys *k, const char *theta_key,
                              json_t *config) {
    json_t *scaling = NULL;
    QL_TRY(ql_gguf_rope_scaling(s, k, &scaling));
    json_t *more = json_pack("{s:f, s:o}", theta_key, k->theta, "rope_scaling",
                             scaling ? scaling : json_null());
    return ql_gguf_config_add(s, config, more);
}

/* Readers cut head_dim * part down to an integer: it must not come out one too small. */
double ql_gguf_rotary_part(const ql_gguf_keys *k) {
    double dim = (double)k->head_dim, part = (double)k->rotated / dim;
    while ((int64_t)(dim * part) < k->rotated) part = nextafter(part, 2.0);
    return part;
}

static json_t *id_or_null(int64_t id) {
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *shared(const ql_gguf_arch *a, const ql_gguf_keys *k) {
    return json_pack("{s:[s], s:s, s:I, s:b, s:o, s:o, s:o, s:s, s:b}", "architectures",
                     a->hf_class, "model_type", a->model_type, "vocab_size", (json_int_t)k->vocab,
                     "tie_word_embeddings", k->tied, "bos_token_id", id_or_null(k->bos),
                     "eos_token_id", id_or_null(k->eos), "pad_token_id", id_or_null(k->pad),
                     "torch_dtype", "bfloat16", "use_cache", true);
}

static ql_status make_generation_config(ql_source *s, const ql_gguf_keys *k) {
    if (k->eos < 0 && k->bos < 0) return QL_OK;
    json_t *eos = id_or_null(k->eos);
    if (k->eos >= 0 && k->eot >= 0 && k->eot != k->eos) {
        eos = json_pack("[I, I]", (json_int_t)k->eos, (json_int_t)k->eot);
    }
    s->generation_config =
        json_pack("{s:o, s:o, s:o, s:b}", "bos_token_id", id_or_null(k->bos), "eos_token_id", eos,
                  "pad_token_id", id_or_null(k->pad), "do_sample", false);
    if (!s->generation_config) return QL_NOMEM(s->path);
    json_t *start = json_object_get(s->config, "decoder_start_token_id");
    if (start && json_object_set(s->generation_config, "decoder_start_token_id", start) != 0) {
        return QL_NOMEM(s->path);
    }
    return QL_OK;
}

ql_status ql_gguf_config_make(ql_source *s, const ql_gguf_arch *a, const ql_gguf_keys *k) {
    s->config = shared(a, k);
    if (!s->config) return QL_NOMEM(s->path);
    QL_TRY(a->config(s, k, s->config));
    return json_object_get(s->config, "id2label") ? QL_OK : make_generation_config(s, k);
}
