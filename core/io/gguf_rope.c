/*
 * gguf_rope.c - rotary scaling of a GGUF as config.json's rope_scaling.
 *
 * Linear and YaRN have keys, Llama 3 a tensor of divisors that its four numbers must reproduce,
 * Phi-3 two tensors of divisors.
 */
#include <math.h>
#include <string.h>

#include "core/io/gguf_arch.h"

#define PI 3.14159265358979323846

/* Files of Llama 3 carry no keys but a tensor rope_freqs [D/2] of divisors, made from four numbers
 * of which three are the same in every published model. The fourth is the largest divisor; the
 * tensor must then come out as it is. */
static ql_status llama3_scaling(const ql_source *s, const ql_gguf_keys *k, const ql_gguf_tensor *t,
                                json_t **out) {
    const double low = 1.0, high = 4.0;
    int64_t context = 8192;
    QL_TRY(ql_gguf_arch_int(s, "rope.scaling.original_context_length", 1, INT32_MAX, &context));
    if (t->rows != 1 || t->cols != k->head_dim / 2) {
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
                          ql_gguf_six_digits(factor), "low_freq_factor", low, "high_freq_factor",
                          high, "original_max_position_embeddings", (json_int_t)context);
    if (!j) return QL_NOMEM(s->path);
    *out = j;
    return QL_OK;
}

static ql_status yarn_scaling(const ql_source *s, const ql_gguf_keys *k, double factor,
                              json_t **out) {
    int64_t context = k->context;
    QL_TRY(ql_gguf_arch_int(s, "rope.scaling.original_context_length", 1, INT32_MAX, &context));
    json_t *j = json_pack("{s:s, s:f, s:I}", "rope_type", "yarn", "factor", factor,
                          "original_max_position_embeddings", (json_int_t)context);
    static const struct {
        const char *gguf, *hf;
    } more[] = {{"rope.scaling.attn_factor", "attention_factor"},
                {"rope.scaling.yarn_attn_factor", "attention_factor"},
                {"rope.scaling.yarn_beta_fast", "beta_fast"},
                {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    ql_status st = j ? QL_OK : QL_NOMEM(s->path);
    for (size_t i = 0; st == QL_OK && i < sizeof more / sizeof more[0]; i++) {
        double x = 0.0;
        if (!ql_gguf_arch_has(s, more[i].gguf)) continue;
        st = ql_gguf_arch_real(s, more[i].gguf, &x);
        if (st == QL_OK &&
            json_object_set_new(j, more[i].hf, json_real(ql_gguf_six_digits(x))) != 0) {
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

static bool is(ql_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.s, text, (size_t)s.len) == 0;
}

ql_status ql_gguf_rope_scaling(const ql_source *s, const ql_gguf_keys *k, json_t **out) {
    ql_str kind = {"none", 4};
    double factor = 1.0;
    const ql_gguf_tensor *freqs = ql_gguf_find(s->gguf, "rope_freqs.weight");
    *out = NULL;
    if (freqs) return llama3_scaling(s, k, freqs, out);
    QL_TRY(ql_gguf_arch_str(s, "rope.scaling.type", &kind));
    QL_TRY(ql_gguf_arch_real(s, "rope.scaling.factor", &factor));
    factor = ql_gguf_six_digits(factor);
    if (is(kind, "none")) return QL_OK;
    if (is(kind, "yarn")) return yarn_scaling(s, k, factor, out);
    if (is(kind, "linear")) {
        json_t *j = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", factor);
        if (!j) return QL_NOMEM(s->path);
        *out = j;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_UNSUPPORTED,
                   "%s: rope.scaling.type is '%.*s'; none, linear and yarn are supported", s->path,
                   (int)(kind.len > 64 ? 64 : kind.len), kind.s);
}

/* ------------------------------------------------------------------ longrope */

/* The divisors of tensor `name`, one for each rotated pair. */
static ql_status divisors(const ql_source *s, const ql_gguf_keys *k, const char *name,
                          json_t **out) {
    const ql_gguf_tensor *t = ql_gguf_find(s->gguf, name);
    if (!t || t->rows != 1 || t->cols != k->rotated / 2) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: %s is missing or does not have %lld elements", s->path,
                       name, (long long)k->rotated / 2);
    }
    float *x = ql_host_calloc((size_t)t->cols, sizeof *x);
    json_t *list = json_array();
    ql_status st = x && list ? ql_gguf_read_row(t, 0, x) : QL_NOMEM(s->path);
    for (int64_t i = 0; st == QL_OK && i < t->cols; i++) {
        if (!isfinite(x[i]) || x[i] <= 0.0f) {
            st = QL_FAIL(QL_ERR_FORMAT, "%s: divisor %lld of %s is not above 0", s->path,
                         (long long)i, name);
        } else if (json_array_append_new(list, json_real(ql_gguf_six_digits((double)x[i]))) != 0) {
            st = QL_NOMEM(s->path);
        }
    }
    ql_host_free(x);
    if (st != QL_OK) {
        json_decref(list);
        return st;
    }
    *out = list;
    return QL_OK;
}

/* cos and sin are multiplied by sqrt(1 + ln(M / L0) / ln L0) unless the file says otherwise. */
static ql_status attention_factor(const ql_source *s, const ql_gguf_keys *k, int64_t original,
                                  json_t *scaling) {
    double ratio = (double)k->context / (double)original;
    double usual = ratio > 1.0 ? sqrt(1.0 + log(ratio) / log((double)original)) : 1.0, x = usual;
    QL_TRY(ql_gguf_arch_real(s, "rope.scaling.attn_factor", &x));
    if (fabs(x / usual - 1.0) < 1e-6) return QL_OK;
    return ql_gguf_config_add(s, scaling,
                              json_pack("{s:f}", "attention_factor", ql_gguf_six_digits(x)));
}

ql_status ql_gguf_rope_longrope(const ql_source *s, const ql_gguf_keys *k, int64_t original,
                                json_t **out) {
    ql_str kind = {"longrope", 8};
    *out = NULL;
    QL_TRY(ql_gguf_arch_str(s, "rope.scaling.type", &kind));
    bool there = ql_gguf_find(s->gguf, "rope_factors_long.weight") ||
                 ql_gguf_find(s->gguf, "rope_factors_short.weight");
    if (!there && (!ql_gguf_arch_has(s, "rope.scaling.type") || is(kind, "none"))) return QL_OK;
    if (!is(kind, "longrope")) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "%s: phi3.rope.scaling.type is '%.*s'; none and longrope are supported",
                       s->path, (int)(kind.len > 64 ? 64 : kind.len), kind.s);
    }
    json_t *lists[2] = {NULL, NULL};
    ql_status st = divisors(s, k, "rope_factors_short.weight", &lists[0]);
    if (st == QL_OK) st = divisors(s, k, "rope_factors_long.weight", &lists[1]);
    if (st != QL_OK) {
        json_decref(lists[0]);
        return st;
    }
    json_t *j = json_pack("{s:s, s:o, s:o, s:I}", "rope_type", "longrope", "short_factor", lists[0],
                          "long_factor", lists[1], "original_max_position_embeddings",
                          (json_int_t)original);
    st = j ? attention_factor(s, k, original, j) : QL_NOMEM(s->path);
    if (st != QL_OK) {
        json_decref(j);
        return st;
    }
    *out = j;
    return QL_OK;
}
