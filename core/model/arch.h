/*
 * arch.h - one model family and size as data.
 *
 * ql_arch holds numbers, choices and tensor names; the builder (embed.c, block.c, head.c) reads it
 * top to bottom. A family is a function that fills it from config.json (families/<family>.c).
 * Strings are constants of the family's file.
 */
#ifndef QLORA_CORE_MODEL_ARCH_H
#define QLORA_CORE_MODEL_ARCH_H

#include "core/base/json.h"
#include "core/data/dataset.h"
#include "qlora/backend.h"

#define QL_MAX_LAYERS 512 /* planning takes time with their square; published models have 137 */
#define QL_MAX_EOS    8

typedef enum ql_rope_kind {
    QL_ROPE_NONE,
    QL_ROPE_DEFAULT,
    QL_ROPE_LINEAR,
    QL_ROPE_DYNAMIC,
    QL_ROPE_LLAMA3,
    QL_ROPE_YARN,
    QL_ROPE_LONGROPE
} ql_rope_kind;

#define QL_LONGROPE_MAX 256
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
    double attention_factor;     /* yarn, longrope: factor on cos and sin; resolved       */
    bool truncate;               /* yarn: round the ramp's ends                           */
    float short_factor[QL_LONGROPE_MAX], long_factor[QL_LONGROPE_MAX]; /* longrope: divisors */
} ql_rope;

/* Linear layers of a block, by what they compute. */
typedef enum ql_lin_role {
    QL_LIN_Q,
    QL_LIN_K,
    QL_LIN_V,
    QL_LIN_QKV, /* q, k and v in one (ql_fuse says how)                  */
    QL_LIN_O,
    QL_LIN_CROSS_Q,
    QL_LIN_CROSS_K,
    QL_LIN_CROSS_V,
    QL_LIN_CROSS_O,
    QL_LIN_POS_Q, /* deberta without shared keys                           */
    QL_LIN_POS_K,
    QL_LIN_GATE,
    QL_LIN_UP,
    QL_LIN_GATE_UP, /* gate's columns, then up's                             */
    QL_LIN_DOWN,
    QL_LIN_COUNT
} ql_lin_role;

/* Norms of a block. With post_norm ATTN, CROSS and MLP come after the residual sum, otherwise
 * before the sublayer; *_OUT normalize a sublayer's output before it is added (sandwich). */
typedef enum ql_norm_role {
    QL_NORM_ATTN,
    QL_NORM_ATTN_OUT,
    QL_NORM_CROSS,
    QL_NORM_MLP, /* absent in a parallel block: the attention's norm serves */
    QL_NORM_MLP_OUT,
    QL_NORM_Q, /* per head, of size head_dim                              */
    QL_NORM_K,
    QL_NORM_COUNT
} ql_norm_role;

typedef struct ql_part {
    const char *name; /* path below the layer; NULL = absent                             */
    bool bias;
    bool keep; /* never quantized                                                 */
} ql_part;

typedef enum ql_fuse {
    QL_FUSE_BLOCKS, /* q of all heads, then k, then v: column slices                        */
    QL_FUSE_GROUPS  /* per key-value head: its query heads, k, v                            */
} ql_fuse;

/* Learned absolute positions: which row of the table a token takes. */
typedef enum ql_position_rule {
    QL_POS_NONE,
    QL_POS_INDEX,  /* position + offset                                                     */
    QL_POS_NON_PAD /* offset + tokens that are not padding up to and including this one;
                      padding takes row `offset` (roberta)                                  */
} ql_position_rule;

typedef enum ql_relative {
    QL_REL_NONE,
    QL_REL_T5,     /* a learned bias per bucket and head, shared by the stack's layers      */
    QL_REL_ALIBI,  /* a fixed slope per head times the distance (Press et al. 2022)         */
    QL_REL_DEBERTA /* disentangled: scores between contents and projected relative rows     */
} ql_relative;

/* What goes in front of a stack: h = norm(scale * tokens[id] + positions[p] + types[t]). */
typedef struct ql_front {
    const char *tokens, *positions, *types, *norm, *project; /* NULL = absent              */
    int64_t width;                                           /* E: columns of the tables   */
    bool project_first; /* positions are added after the projection (opt), not before      */
    float scale;
    ql_position_rule rule;
    int32_t position_offset;
    int64_t position_rows, type_rows;
} ql_front;

/* A stack of equal blocks: a decoder or an encoder. */
typedef struct ql_stack {
    int32_t layers;
    int32_t heads, kv_heads, head_dim; /* Hq, Hk, D                                       */
    int64_t ffn;                       /* F                                               */
    const char *layer;                 /* "model.layers.%d"                               */
    ql_part lin[QL_LIN_COUNT];
    const char *norm[QL_NORM_COUNT];
    bool own_head_norms; /* NORM_Q, NORM_K: one norm per head, "...norms.%d", no bias     */
    bool norm_bias, post_norm, parallel, causal;
    bool transposed; /* weights in files are [in, out] (GPT-2's Conv1D)                   */
    ql_fuse fuse;
    ql_act_kind act;
    float attn_scale; /* factor on q.k                                                    */
    float softcap;    /* of the scores, 0 = none                                          */
    int32_t window;   /* sliding window of the local layers                               */
    uint8_t local[QL_MAX_LAYERS]; /* 1: this layer uses the window (and rope_local)       */
    ql_rope rope, rope_local;
    bool two_ropes; /* local layers rotate by rope_local                                  */
    ql_front front;
    const char *final_norm; /* NULL = none                                                */
    ql_relative relative;
    const char *rel_table, *rel_norm; /* tensor / module names                            */
    int32_t buckets;                  /* T5: rows of the table; DeBERTa: span P (2P rows) */
    int64_t max_distance;
    bool bucketed, c2p, p2c; /* DeBERTa: logarithmic buckets; which terms are there       */
} ql_stack;

/* Probabilities with which training drops activations, as config.json says (all 0 in most decoders;
 * adapters have a dropout of their own). */
typedef struct ql_dropouts {
    float embed;    /* what enters a stack                                 */
    float attn;     /* probabilities of attention                          */
    float resid;    /* outputs of attention and feed-forward               */
    float act;      /* behind the feed-forward's activation                */
    float last;     /* behind a stack's final norm                         */
    float head_in;  /* rows that enter the classifier's dense layer        */
    float head_out; /* rows that enter the classifier                      */
} ql_dropouts;

/* From the last block's rows to logits. */
typedef struct ql_head_arch {
    const char *project; /* projection in front of the head, or NULL                      */
    const char *dense;   /* classification: dense layer with `act`, or NULL               */
    bool dense_saved;    /* it belongs to the classifier: trained whole, never quantized  */
    ql_act_kind act;
    const char *linear; /* "lm_head", "classifier"                                        */
    bool bias;
    const char *logits_bias; /* a buffer [1, V] added to the logits, or NULL              */
    float scale;             /* factor on the logits                                      */
    float softcap;           /* 0 = none                                                  */
} ql_head_arch;

typedef struct ql_arch {
    char family[32];         /* config.json's model_type                                  */
    const char *base_prefix; /* "model.": part of tensor names that some files leave out  */
    const char *ignored[12]; /* beginnings of tensor names that are no part of the model  */
    ql_task task;
    int32_t n_labels; /* CLASSIFY; 1 = regression                                         */
    int64_t hidden, vocab, max_positions; /* C, V                                         */
    ql_norm_kind norm;
    float norm_eps, norm_offset;
    ql_stack body;    /* its rows go to the head                                          */
    ql_stack encoder; /* layers = 0: none; otherwise the body has cross attention         */
    ql_head_arch head;
    ql_dropouts drop;
    bool tied_head;    /* no head in the files: it is the embedding                     */
    double init_range; /* standard deviation of heads that files lack                   */
    int32_t bos, pad, eos[QL_MAX_EOS], n_eos; /* -1 / 0 = none                            */
    int32_t decoder_start; /* SEQ2SEQ; -1 = the last label moves to the front (mbart)     */
} ql_arch;

/* `what` names the file in messages. Unknown model_type or an unknown value of a known key is
 * QL_ERR_UNSUPPORTED by name; numbers outside sane bounds are QL_ERR_FORMAT. */
QL_NODISCARD ql_status ql_arch_from_config(const json_t *config, const char *what, ql_arch *out);
/* Names of the families, comma separated; and one by one, NULL past the end. */
const char *ql_arch_families(void);
const char *ql_arch_family_at(int i);

/* Columns of the head's output: V, or the number of labels. */
int64_t ql_arch_outputs(const ql_arch *a);

/* Adds the ids of generation_config.json (eos may be a number or a list). */
QL_NODISCARD ql_status ql_arch_add_generation(const json_t *generation, const char *what,
                                              ql_arch *arch);

/* cos and sin of all positions: out F32 [positions, rot], cos in columns [0, rot/2), sin in
 * [rot/2, rot). `longest`: length that the dynamic kind assumes (the longest sequence). */
void ql_rope_fill(const ql_rope *r, int64_t positions, int64_t longest, float *out);

/* ALiBi's biases by distance: out F32 [L, heads], row d = -slope_h d * attn_scale. */
void ql_alibi_fill(const ql_stack *s, int64_t L, float *out);
/* Buckets of distances -(L-1) .. L-1, out[d + L - 1] (spec/models.md, sections 4 and 5). T5: of
 * d = key - query; DeBERTa: the row of its table for d = query - key. */
void ql_relative_fill(const ql_stack *s, int64_t L, int32_t *out);

#endif /* QLORA_CORE_MODEL_ARCH_H */
