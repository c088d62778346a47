/*
 * gguf_arch.h - one GGUF architecture as data: names of its tensors, what was done to them on the
 * way into the file, its keys, and the config.json that transformers would have.
 *
 * GGUF and Hugging Face agree on most values; where they do not, a name's `change` says how to get
 * Hugging Face's back. Everything here works on the open s->gguf of a ql_source.
 */
#ifndef QLORA_CORE_IO_GGUF_ARCH_H
#define QLORA_CORE_IO_GGUF_ARCH_H

#include "core/io/source_internal.h"

#define QL_GGUF_MAX_LAYERS 4096

/* How a tensor of the file differs from Hugging Face's of the same meaning. */
typedef enum ql_gguf_change {
    QL_GGUF_SAME,
    QL_GGUF_ROTATED_Q, /* rows of each head: rotation pairs adjacent                         */
    QL_GGUF_ROTATED_K,
    QL_GGUF_PLUS_ONE,  /* a norm's 1 + w                                                      */
    QL_GGUF_FUSED,     /* rows: all of q, all of k, all of v; Hugging Face: by key-value head */
    QL_GGUF_OUT_IN,    /* a matrix [out, in] that Hugging Face keeps [in, out]                */
    QL_GGUF_STACKED_Q, /* a row per head, each a tensor of its own ('*' in the name)         */
    QL_GGUF_STACKED_K
} ql_gguf_change;

/* Names without ".weight" and ".bias"; '#' stands for the layer's number. */
typedef struct ql_gguf_name {
    const char *gguf, *hf;
    ql_gguf_change change;
} ql_gguf_name;

typedef enum ql_gguf_rotation {
    QL_GGUF_UNROTATED,
    QL_GGUF_WHOLE,  /* all of a head is rotated              */
    QL_GGUF_PARTIAL /* rope.dimension_count says how much    */
} ql_gguf_rotation;

/* What the file's keys say, checked: sizes are in range and fit together. */
typedef struct ql_gguf_keys {
    int64_t layers, decoder_layers; /* the second is 0 without a decoder of its own */
    int64_t hidden, ffn, heads, kv_heads, head_dim, rotated, vocab, context;
    int64_t window;        /* 0 = none  */
    int64_t bos, eos, pad; /* -1 = none */
    int64_t eot;           /* end of turn, -1 = none */
    double eps, theta;
    bool tied;    /* no output.weight                                  */
    bool variant; /* the file has a tensor of the architecture's variant */
} ql_gguf_keys;

typedef struct ql_gguf_arch ql_gguf_arch;
struct ql_gguf_arch {
    const char *name;                  /* general.architecture                              */
    const char *model_type, *hf_class; /* of config.json                                    */
    const ql_gguf_name *names, *own;   /* tables that end with a NULL; own may be NULL      */
    const char *variant_tensor;        /* first layer's tensor that makes `variant` hold    */
    const ql_gguf_name *variant;       /* names that go before the others then              */
    bool layer_norm;                   /* else RMSNorm: which epsilon's key                 */
    bool decoder;                      /* "enc." and "dec." layers                          */
    bool windows;                      /* attention.sliding_window has a meaning            */
    bool longrope;                     /* rope_factors_short, rope_factors_long             */
    ql_gguf_rotation rotation;
    /* Adds the keys of the family to a config that holds what all share. */
    ql_status (*config)(const ql_source *s, const ql_gguf_keys *k, json_t *config);
};

/* The architecture by its name; QL_ERR_UNSUPPORTED lists the supported ones. */
QL_NODISCARD ql_status ql_gguf_arch_find(const ql_source *s, const ql_gguf_arch **out);
/* The name of GGUF tensor `name` in the tables, its layer (-1: outside) and its suffix (".weight",
 * ".bias"); NULL: no such tensor in this architecture. */
const ql_gguf_name *ql_gguf_name_find(const ql_gguf_arch *a, const ql_gguf_keys *k,
                                      const char *name, int64_t *layer, const char **suffix);

/* ------------------------------------------------------------------- keys
 * `name` goes below the architecture: "block_count" is "llama.block_count". */
bool ql_gguf_arch_has(const ql_source *s, const char *name);
/* An integer in [lo, hi]; *out keeps its value when the key is absent, unless that is outside. */
QL_NODISCARD ql_status ql_gguf_arch_int(const ql_source *s, const char *name, int64_t lo,
                                        int64_t hi, int64_t *out);
/* A finite number above 0; *out keeps its value when absent, unless that is not above 0. */
QL_NODISCARD ql_status ql_gguf_arch_real(const ql_source *s, const char *name, double *out);
QL_NODISCARD ql_status ql_gguf_arch_bool(const ql_source *s, const char *name, bool *out);
QL_NODISCARD ql_status ql_gguf_arch_str(const ql_source *s, const char *name, ql_str *out);
/* Elements of an array; -1 = absent or no array. */
int64_t ql_gguf_arch_len(const ql_source *s, const char *name);
QL_NODISCARD ql_status ql_gguf_arch_flag(const ql_source *s, const char *name, int64_t i,
                                         bool *out);
/* The decimal number of six digits that a float32 of a file stands for: 1e-05, not
 * 9.999999747378752e-06; x itself where there is none. */
double ql_gguf_six_digits(double x);
/* Is there a tensor whose name ends in `end` (".attn_q.bias")? */
bool ql_gguf_any_tensor(const ql_source *s, const char *end);

/* Reads and checks the keys of s->gguf. */
QL_NODISCARD ql_status ql_gguf_keys_read(const ql_source *s, const ql_gguf_arch *a,
                                         ql_gguf_keys *out);
/* rope_scaling from rope_freqs or rope.scaling.*, NULL where there is none. Owned by the caller. */
QL_NODISCARD ql_status ql_gguf_rope_scaling(const ql_source *s, const ql_gguf_keys *k,
                                            json_t **out);
/* phi3: longrope with the divisors of rope_factors_short and rope_factors_long. */
QL_NODISCARD ql_status ql_gguf_rope_longrope(const ql_source *s, const ql_gguf_keys *k,
                                             int64_t original, json_t **out);
/* Fills s->config and s->generation_config. */
QL_NODISCARD ql_status ql_gguf_config_make(ql_source *s, const ql_gguf_arch *a,
                                           const ql_gguf_keys *k);

/* The families' parts of config.json (gguf_config_*.c). */
ql_status ql_gguf_config_llama(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_qwen2(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_qwen3(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_gemma(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_gemma2(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_gemma3(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_phi3(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_stablelm(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_gptneox(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_gpt2(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_falcon(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_bert(const ql_source *s, const ql_gguf_keys *k, json_t *config);
ql_status ql_gguf_config_t5(const ql_source *s, const ql_gguf_keys *k, json_t *config);
/* Adds the pairs of `more`, which it frees; NULL is a failed json_pack. */
QL_NODISCARD ql_status ql_gguf_config_add(const ql_source *s, json_t *config, json_t *more);
/* theta under `theta_key`, and rope_scaling. */
QL_NODISCARD ql_status ql_gguf_config_rope(const ql_source *s, const ql_gguf_keys *k,
                                           const char *theta_key, json_t *config);
/* The share of a head that is rotated. */
double ql_gguf_rotary_part(const ql_gguf_keys *k);

#endif
