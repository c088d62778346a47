/*
 * arch.h - one model family and size as data.
 *
 * ql_arch holds numbers and choices; block.c reads it top to bottom. A family is a function that
 * fills it from config.json (families in arch_<family>.c).
 */
#ifndef QLORA_CORE_MODEL_ARCH_H
#define QLORA_CORE_MODEL_ARCH_H

#include "core/base/json.h"
#include "qlora/backend.h"

typedef enum ql_rope_kind {
    QL_ROPE_DEFAULT,
    QL_ROPE_LINEAR,
    QL_ROPE_DYNAMIC,
    QL_ROPE_LLAMA3,
    QL_ROPE_YARN
} ql_rope_kind;

/* Rotary embedding (spec/models.md, section 2). */
typedef struct ql_rope {
    ql_rope_kind kind;
    double theta;
    int32_t rot;                 /* rotated dimensions of each head                       */
    double factor;               /* f                                                     */
    double low_freq, high_freq;  /* llama3                                                */
    int64_t original_positions;  /* L0                                                    */
    int64_t max_positions;       /* M of the dynamic kind                                 */
    double beta_fast, beta_slow; /* yarn                                                  */
    double attention_factor;     /* yarn: factor on cos and sin; already resolved         */
    bool truncate;               /* yarn: round the ramp's ends                           */
} ql_rope;

#define QL_MAX_EOS 8

typedef struct ql_arch {
    char family[32]; /* "llama"                                               */
    int32_t layers;
    int64_t hidden, ffn, vocab;        /* C, F, V                                               */
    int32_t heads, kv_heads, head_dim; /* Hq, Hk, D                                        */
    int64_t max_positions;
    ql_norm_kind norm;
    float norm_eps;
    ql_act_kind act; /* of the gate                                           */
    bool bias_qkv, bias_o, bias_mlp;
    bool tied_head;   /* no lm_head.weight: the head is the embedding          */
    float attn_scale; /* factor on q.k                                         */
    int32_t window;   /* sliding window, 0 = none                              */
    ql_rope rope;
    int32_t bos, pad, eos[QL_MAX_EOS], n_eos; /* -1 / 0 = none                             */
} ql_arch;

/* `what` names the file in messages. Unknown model_type or an unknown value of a known key is
 * QL_ERR_UNSUPPORTED by name; numbers outside sane bounds are QL_ERR_FORMAT. */
QL_NODISCARD ql_status ql_arch_from_config(const json_t *config, const char *what, ql_arch *out);
/* Names of the families, comma separated. */
const char *ql_arch_families(void);

/* Adds the ids of generation_config.json (eos may be a number or a list). */
QL_NODISCARD ql_status ql_arch_add_generation(const json_t *generation, const char *what,
                                              ql_arch *arch);

/* cos and sin of all positions: out F32 [positions, rot], cos in columns [0, rot/2), sin in
 * [rot/2, rot). `longest`: length that the dynamic kind assumes (the longest sequence). */
void ql_rope_fill(const ql_rope *r, int64_t positions, int64_t longest, float *out);

#endif /* QLORA_CORE_MODEL_ARCH_H */
