/*
 * gguf_keys.c - the keys that every architecture has, read and checked.
 *
 * Anything that the config could not say truly (experts, a share of rotation where the family
 * rotates all, values of another width than keys) is refused by name.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/io/gguf_arch.h"

#define MAX_DIM (1 << 24)

/* ------------------------------------------------------------------- values */

ql_status ql_gguf_json_string(const char *path, const char *key, ql_str s, json_t **out) {
    json_t *j = memchr(s.s, '\0', (size_t)s.len) ? NULL : json_stringn(s.s, (size_t)s.len);
    if (!j) return QL_FAIL(QL_ERR_FORMAT, "%s: a text in '%s' is not valid UTF-8", path, key);
    *out = j;
    return QL_OK;
}

ql_status ql_gguf_token_id(const ql_gguf *g, const char *path, const char *key, int64_t size,
                           int64_t *out) {
    int64_t id = -1;
    QL_TRY(ql_gguf_get_i64(g, key, &id));
    if (ql_gguf_has(g, key) && (id < 0 || id >= size)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld, the vocabulary has %lld tokens", path, key,
                       (long long)id, (long long)size);
    }
    *out = id;
    return QL_OK;
}

typedef char key_text[128];

/* "<architecture>.<name>"; the architecture is a supported one, so that the text fits. */
static const char *full_key(const ql_source *s, const char *name, key_text out) {
    ql_str a = {"", 0};
    if (ql_gguf_get_str(s->gguf, "general.architecture", &a) != QL_OK) a.len = 0;
    snprintf(out, sizeof(key_text), "%.*s.%s", (int)(a.len > 32 ? 32 : a.len), a.s, name);
    return out;
}

bool ql_gguf_arch_has(const ql_source *s, const char *name) {
    key_text key;
    return ql_gguf_has(s->gguf, full_key(s, name, key));
}

ql_status ql_gguf_arch_int(const ql_source *s, const char *name, int64_t lo, int64_t hi,
                           int64_t *out) {
    key_text key;
    QL_TRY(ql_gguf_get_i64(s->gguf, full_key(s, name, key), out));
    if (*out >= lo && *out <= hi) return QL_OK;
    if (!ql_gguf_has(s->gguf, key)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: the key '%s' is missing", s->path, key);
    }
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld, %lld to %lld expected", s->path, key,
                   (long long)*out, (long long)lo, (long long)hi);
}

ql_status ql_gguf_arch_real(const ql_source *s, const char *name, double *out) {
    key_text key;
    QL_TRY(ql_gguf_get_f64(s->gguf, full_key(s, name, key), out));
    if (isfinite(*out) && *out > 0.0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is missing or not above 0", s->path, key);
}

ql_status ql_gguf_arch_bool(const ql_source *s, const char *name, bool *out) {
    key_text key;
    return ql_gguf_get_bool(s->gguf, full_key(s, name, key), out);
}

ql_status ql_gguf_arch_str(const ql_source *s, const char *name, ql_str *out) {
    key_text key;
    return ql_gguf_get_str(s->gguf, full_key(s, name, key), out);
}

int64_t ql_gguf_arch_len(const ql_source *s, const char *name) {
    key_text key;
    return ql_gguf_array_len(s->gguf, full_key(s, name, key));
}

ql_status ql_gguf_arch_flag(const ql_source *s, const char *name, int64_t i, bool *out) {
    key_text key;
    return ql_gguf_array_bool(s->gguf, full_key(s, name, key), i, out);
}

/* Both operands of the division are exact, so the result is the double nearest to the decimal. */
double ql_gguf_six_digits(double x) {
    if (x < 1e-12 || x > 1e12) return x;
    int e = 5 - (int)floor(log10(x));
    double power = pow(10.0, abs(e)), m = nearbyint(e >= 0 ? x * power : x / power);
    double y = e >= 0 ? m / power : m * power;
    return (float)y == (float)x ? y : x;
}

bool ql_gguf_any_tensor(const ql_source *s, const char *end) {
    size_t k = strlen(end);
    for (int64_t i = 0; i < ql_gguf_count(s->gguf); i++) {
        const char *name = ql_gguf_at(s->gguf, i)->name;
        size_t n = strlen(name);
        if (n > k && strcmp(name + n - k, end) == 0) return true;
    }
    return false;
}

/* --------------------------------------------------------------------- keys */

static ql_status refuse_what_config_cannot_say(const ql_source *s, const ql_gguf_arch *a,
                                               const ql_gguf_keys *k) {
    int64_t experts = 0, values = k->head_dim;
    QL_TRY(ql_gguf_arch_int(s, "expert_count", 0, INT32_MAX, &experts));
    if (experts != 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: a mixture of %lld experts is not supported",
                       s->path, (long long)experts);
    }
    QL_TRY(ql_gguf_arch_int(s, "attention.value_length", 1, MAX_DIM, &values));
    if (values != k->head_dim) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: values of %lld dimensions beside keys of %lld are not supported",
                       s->path, (long long)values, (long long)k->head_dim);
    }
    bool fits = a->rotation == QL_GGUF_WHOLE ? k->rotated == k->head_dim
                                             : k->rotated <= k->head_dim && k->rotated % 2 == 0;
    if (a->rotation != QL_GGUF_UNROTATED && !fits) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: %s.rope.dimension_count is %lld, the head size %lld was expected",
                       s->path, a->name, (long long)k->rotated, (long long)k->head_dim);
    }
    if (k->heads % k->kv_heads != 0 || (a->rotation == QL_GGUF_WHOLE && k->head_dim % 2 != 0)) {
        return QL_FAIL(
            QL_ERR_FORMAT, "%s: %lld heads, %lld key heads and head size %lld do not fit together",
            s->path, (long long)k->heads, (long long)k->kv_heads, (long long)k->head_dim);
    }
    return QL_OK;
}

static ql_status read_sizes(const ql_source *s, const ql_gguf_arch *a, ql_gguf_keys *k) {
    QL_TRY(ql_gguf_arch_int(s, "block_count", 1, QL_GGUF_MAX_LAYERS, &k->layers));
    QL_TRY(ql_gguf_arch_int(s, "embedding_length", 1, MAX_DIM, &k->hidden));
    QL_TRY(ql_gguf_arch_int(s, "feed_forward_length", 1, MAX_DIM, &k->ffn));
    QL_TRY(ql_gguf_arch_int(s, "attention.head_count", 1, 65536, &k->heads));
    k->kv_heads = k->heads;
    QL_TRY(ql_gguf_arch_int(s, "attention.head_count_kv", 1, 65536, &k->kv_heads));
    k->head_dim = k->hidden / k->heads;
    QL_TRY(ql_gguf_arch_int(s, "attention.key_length", 1, MAX_DIM, &k->head_dim));
    QL_TRY(ql_gguf_arch_int(s, "context_length", 1, INT32_MAX, &k->context));
    QL_TRY(ql_gguf_arch_int(s, "attention.sliding_window", 0, INT32_MAX, &k->window));
    if (a->decoder) {
        k->decoder_layers = k->layers;
        QL_TRY(
            ql_gguf_arch_int(s, "decoder_block_count", 1, QL_GGUF_MAX_LAYERS, &k->decoder_layers));
    }
    k->rotated = k->head_dim;
    QL_TRY(ql_gguf_arch_int(s, "rope.dimension_count", 1, MAX_DIM, &k->rotated));
    QL_TRY(ql_gguf_arch_real(s, "rope.freq_base", &k->theta));
    QL_TRY(ql_gguf_arch_real(
        s, a->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        &k->eps));
    k->eps = ql_gguf_six_digits(k->eps);
    if (!a->windows && k->window > 0 && k->window < k->context) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: a sliding window of %lld in a %s model", s->path,
                       (long long)k->window, a->name);
    }
    return refuse_what_config_cannot_say(s, a, k);
}

static ql_status read_vocabulary(const ql_source *s, ql_gguf_keys *k) {
    const ql_gguf *g = s->gguf;
    const ql_gguf_tensor *embed = ql_gguf_find(g, "token_embd.weight");
    if (!embed) return QL_FAIL(QL_ERR_FORMAT, "%s: no tensor 'token_embd.weight'", s->path);
    k->vocab = embed->rows;
    int64_t tokens = ql_gguf_array_len(g, "tokenizer.ggml.tokens");
    if (tokens > k->vocab) {
        return QL_FAIL(QL_ERR_FORMAT,
                       "%s: the vocabulary has %lld tokens, 'token_embd.weight' only %lld rows",
                       s->path, (long long)tokens, (long long)k->vocab);
    }
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.bos_token_id", k->vocab, &k->bos));
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.eos_token_id", k->vocab, &k->eos));
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.eot_token_id", k->vocab, &k->eot));
    return ql_gguf_token_id(g, s->path, "tokenizer.ggml.padding_token_id", k->vocab, &k->pad);
}

ql_status ql_gguf_keys_read(const ql_source *s, const ql_gguf_arch *a, ql_gguf_keys *k) {
    *k = (ql_gguf_keys){.theta = 10000.0};
    QL_TRY(read_sizes(s, a, k));
    QL_TRY(read_vocabulary(s, k));
    k->tied = !ql_gguf_find(s->gguf, "output.weight");
    k->variant = a->variant_tensor && ql_gguf_find(s->gguf, a->variant_tensor);
    return QL_OK;
}
