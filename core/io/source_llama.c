/*
 * source_llama.c - keys of a llama-family GGUF, and the config.json that transformers would have.
 *
 * Anything that config could not say truly (experts, partial rotation, unknown scaling) is refused
 * by name.
 */
#include "core/io/source_llama.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DIM    (1 << 24)
#define MAX_LAYERS 4096
#define PI         3.14159265358979323846

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

/* An integer of 1..hi; *out keeps its value when the key is absent, unless that is 0. */
static ql_status dimension(const ql_source *s, const char *key, int64_t hi, int64_t *out) {
    QL_TRY(ql_gguf_get_i64(s->gguf, key, out));
    if (*out >= 1 && *out <= hi) return QL_OK;
    if (!ql_gguf_has(s->gguf, key)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: the key '%s' is missing", s->path, key);
    }
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is %lld, 1 to %lld expected", s->path, key,
                   (long long)*out, (long long)hi);
}

static ql_status positive(const ql_source *s, const char *key, double *out) {
    QL_TRY(ql_gguf_get_f64(s->gguf, key, out));
    if (isfinite(*out) && *out > 0.0) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT, "%s: '%s' is missing or not above 0", s->path, key);
}

/* The decimal number of six digits that a float32 of the file stands for: 1e-05, not
 * 9.999999747378752e-06. Both operands of the division are exact, so the result is the double
 * nearest to the decimal. */
static double six_digits(double x) {
    if (x < 1e-12 || x > 1e12) return x;
    int e = 5 - (int)floor(log10(x));
    double power = pow(10.0, abs(e)), m = nearbyint(e >= 0 ? x * power : x / power);
    return e >= 0 ? m / power : m * power;
}

static bool has_tensor(const ql_source *s, const char *prefix, const char *suffix) {
    for (int64_t i = 0; i < ql_gguf_count(s->gguf); i++) {
        const char *name = ql_gguf_at(s->gguf, i)->name;
        const char *dot = strncmp(name, "blk.", 4) == 0 ? strchr(name, '.') : NULL;
        const char *part = dot ? strchr(dot + 1, '.') : NULL;
        size_t n = strlen(name), k = strlen(suffix);
        if (part && strncmp(part + 1, prefix, strlen(prefix)) == 0 && n > k &&
            strcmp(name + n - k, suffix) == 0) {
            return true;
        }
    }
    return false;
}

static ql_status refuse_what_config_cannot_say(const ql_source *s, const ql_llama_keys *k) {
    int64_t experts = 0, rotated = k->head_dim;
    QL_TRY(ql_gguf_get_i64(s->gguf, "llama.expert_count", &experts));
    if (experts != 0) {
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: a mixture of %lld experts is not supported",
                       s->path, (long long)experts);
    }
    QL_TRY(ql_gguf_get_i64(s->gguf, "llama.rope.dimension_count", &rotated));
    if (rotated != k->head_dim) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: llama.rope.dimension_count is %lld, the head size %lld was expected",
                       s->path, (long long)rotated, (long long)k->head_dim);
    }
    if (k->heads % k->kv_heads != 0 || k->head_dim % 2 != 0) {
        return QL_FAIL(
            QL_ERR_FORMAT, "%s: %lld heads, %lld key heads and head size %lld do not fit together",
            s->path, (long long)k->heads, (long long)k->kv_heads, (long long)k->head_dim);
    }
    return QL_OK;
}

ql_status ql_llama_keys_read(const ql_source *s, ql_llama_keys *k) {
    const ql_gguf *g = s->gguf;
    *k = (ql_llama_keys){.theta = 10000.0};
    QL_TRY(dimension(s, "llama.block_count", MAX_LAYERS, &k->layers));
    QL_TRY(dimension(s, "llama.embedding_length", MAX_DIM, &k->hidden));
    QL_TRY(dimension(s, "llama.feed_forward_length", MAX_DIM, &k->ffn));
    QL_TRY(dimension(s, "llama.attention.head_count", 65536, &k->heads));
    k->kv_heads = k->heads;
    QL_TRY(dimension(s, "llama.attention.head_count_kv", 65536, &k->kv_heads));
    k->head_dim = k->hidden / k->heads;
    QL_TRY(dimension(s, "llama.attention.key_length", MAX_DIM, &k->head_dim));
    QL_TRY(dimension(s, "llama.context_length", INT32_MAX, &k->context));
    if (ql_gguf_has(g, "llama.attention.sliding_window")) {
        QL_TRY(ql_gguf_get_i64(g, "llama.attention.sliding_window", &k->window));
    }
    QL_TRY(positive(s, "llama.attention.layer_norm_rms_epsilon", &k->eps));
    QL_TRY(positive(s, "llama.rope.freq_base", &k->theta));
    QL_TRY(refuse_what_config_cannot_say(s, k));
    const ql_gguf_tensor *embed = ql_gguf_find(g, "token_embd.weight");
    if (!embed) return QL_FAIL(QL_ERR_FORMAT, "%s: no tensor 'token_embd.weight'", s->path);
    k->vocab = embed->rows;
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.bos_token_id", k->vocab, &k->bos));
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.eos_token_id", k->vocab, &k->eos));
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.eot_token_id", k->vocab, &k->eot));
    QL_TRY(ql_gguf_token_id(g, s->path, "tokenizer.ggml.padding_token_id", k->vocab, &k->pad));
    k->tied = !ql_gguf_find(g, "output.weight");
    k->attention_bias = has_tensor(s, "attn_", ".bias");
    k->mlp_bias = has_tensor(s, "ffn_", ".bias");
    return QL_OK;
}

/* ------------------------------------------------------------- rotary scaling
 * Files of Llama 3 carry no keys but a tensor rope_freqs [D/2] of divisors, made from four numbers
 * of which three are the same in every published model. The fourth is the largest divisor; the
 * tensor must then come out as it is. */
static ql_status llama3_scaling(const ql_source *s, const ql_llama_keys *k, const ql_gguf_tensor *t,
                                json_t **out) {
    const double low = 1.0, high = 4.0;
    int64_t context = 8192;
    QL_TRY(ql_gguf_get_i64(s->gguf, "llama.rope.scaling.original_context_length", &context));
    if (t->rows != 1 || t->cols != k->head_dim / 2 || context < 1) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: rope_freqs.weight does not have %lld elements", s->path,
                       (long long)k->head_dim / 2);
    }
    float *divisor = ql_host_calloc((size_t)t->cols, sizeof *divisor);
    if (!divisor) return QL_NOMEM(s->path);
    ql_status st = ql_gguf_read_row(t, 0, divisor);
    double factor = 1.0, worst = 0.0;
    for (int64_t i = 0; i < t->cols; i++) factor = divisor[i] > factor ? divisor[i] : factor;
    for (int64_t i = 0; i < t->cols; i++) {
        double turns =
            (double)context / (2.0 * PI * pow(k->theta, 2.0 * (double)i / (double)k->head_dim));
        double mix = (turns - low) / (high - low);
        double want = turns > high ? 1.0 : turns < low ? factor : 1.0 / ((1 - mix) / factor + mix);
        double off = fabs((double)divisor[i] / want - 1.0);
        if (!(off <= worst)) worst = off;
    }
    ql_host_free(divisor);
    QL_TRY(st);
    if (!(worst < 1e-4)) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: rope_freqs.weight is not Llama 3's scaling (off by %.2g)", s->path,
                       worst);
    }
    if (factor == 1.0) return QL_OK;
    json_t *j = json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor",
                          six_digits(factor), "low_freq_factor", low, "high_freq_factor", high,
                          "original_max_position_embeddings", (json_int_t)context);
    if (!j) return QL_NOMEM(s->path);
    *out = j;
    return QL_OK;
}

static ql_status yarn_scaling(const ql_source *s, const ql_llama_keys *k, double factor,
                              json_t **out) {
    int64_t context = k->context;
    QL_TRY(dimension(s, "llama.rope.scaling.original_context_length", INT32_MAX, &context));
    json_t *j = json_pack("{s:s, s:f, s:I}", "rope_type", "yarn", "factor", factor,
                          "original_max_position_embeddings", (json_int_t)context);
    static const struct {
        const char *gguf, *hf;
    } more[] = {{"llama.rope.scaling.attn_factor", "attention_factor"},
                {"llama.rope.scaling.yarn_beta_fast", "beta_fast"},
                {"llama.rope.scaling.yarn_beta_slow", "beta_slow"}};
    ql_status st = j ? QL_OK : QL_NOMEM(s->path);
    for (size_t i = 0; st == QL_OK && i < sizeof more / sizeof more[0]; i++) {
        double x = 0.0;
        if (!ql_gguf_has(s->gguf, more[i].gguf)) continue;
        st = positive(s, more[i].gguf, &x);
        if (st == QL_OK && json_object_set_new(j, more[i].hf, json_real(six_digits(x))) != 0) {
            st = QL_NOMEM(s->path);
        }
    }
    if (st != QL_OK) {
        json_decref(j);
        return st;
    }
    *out = j;
    return QL_OK;
}

/* rope_scaling, or NULL where there is none. */
static ql_status rope_scaling(const ql_source *s, const ql_llama_keys *k, json_t **out) {
    static const char kind_key[] = "llama.rope.scaling.type";
    ql_str kind = {"none", 4};
    double factor = 1.0;
    const ql_gguf_tensor *freqs = ql_gguf_find(s->gguf, "rope_freqs.weight");
    if (freqs) return llama3_scaling(s, k, freqs, out);
    QL_TRY(ql_gguf_get_str(s->gguf, kind_key, &kind));
    QL_TRY(positive(s, "llama.rope.scaling.factor", &factor));
    factor = six_digits(factor);
    if (kind.len == 4 && memcmp(kind.s, "none", 4) == 0) return QL_OK;
    if (kind.len == 4 && memcmp(kind.s, "yarn", 4) == 0) return yarn_scaling(s, k, factor, out);
    if (kind.len == 6 && memcmp(kind.s, "linear", 6) == 0) {
        json_t *j = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", factor);
        if (!j) return QL_NOMEM(s->path);
        *out = j;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: '%s' is '%.*s'; none, linear and yarn are supported",
                   s->path, kind_key, (int)(kind.len > 64 ? 64 : kind.len), kind.s);
}

/* ------------------------------------------------------------------- config */

static json_t *id_or_null(int64_t id) {
    return id < 0 ? json_null() : json_integer(id);
}

static ql_status make_config(ql_source *s, const ql_llama_keys *k) {
    json_t *scaling = NULL;
    QL_TRY(rope_scaling(s, k, &scaling));
    s->config = json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:o, s:b, s:f, s:b,"
        " s:f, s:b, s:o, s:o, s:o, s:s, s:b}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_size",
        (json_int_t)k->hidden, "intermediate_size", (json_int_t)k->ffn, "num_hidden_layers",
        (json_int_t)k->layers, "num_attention_heads", (json_int_t)k->heads, "num_key_value_heads",
        (json_int_t)k->kv_heads, "head_dim", (json_int_t)k->head_dim, "vocab_size",
        (json_int_t)k->vocab, "max_position_embeddings", (json_int_t)k->context, "hidden_act",
        "silu", "rms_norm_eps", six_digits(k->eps), "rope_theta", k->theta, "rope_scaling",
        scaling ? scaling : json_null(), "attention_bias", k->attention_bias, "attention_dropout",
        0.0, "mlp_bias", k->mlp_bias, "initializer_range", 1.0 / sqrt((double)k->hidden),
        "tie_word_embeddings", k->tied, "bos_token_id", id_or_null(k->bos), "eos_token_id",
        id_or_null(k->eos), "pad_token_id", id_or_null(k->pad), "torch_dtype", "bfloat16",
        "use_cache", true);
    if (!s->config) return QL_NOMEM(s->path);
    if (k->window > 0) { /* only transformers' mistral knows a window */
        if (json_object_set_new(s->config, "sliding_window", json_integer(k->window)) != 0 ||
            json_object_set_new(s->config, "model_type", json_string("mistral")) != 0 ||
            json_object_set_new(s->config, "architectures",
                                json_pack("[s]", "MistralForCausalLM")) != 0) {
            return QL_NOMEM(s->path);
        }
    }
    return QL_OK;
}

static ql_status make_generation_config(ql_source *s, const ql_llama_keys *k) {
    if (k->eos < 0 && k->bos < 0) return QL_OK;
    json_t *eos = id_or_null(k->eos);
    if (k->eos >= 0 && k->eot >= 0 && k->eot != k->eos) {
        eos = json_pack("[I, I]", (json_int_t)k->eos, (json_int_t)k->eot);
    }
    s->generation_config =
        json_pack("{s:o, s:o, s:o, s:b}", "bos_token_id", id_or_null(k->bos), "eos_token_id", eos,
                  "pad_token_id", id_or_null(k->pad), "do_sample", false);
    return s->generation_config ? QL_OK : QL_NOMEM(s->path);
}

ql_status ql_llama_config_make(ql_source *s, const ql_llama_keys *k) {
    QL_TRY(make_config(s, k));
    return make_generation_config(s, k);
}
