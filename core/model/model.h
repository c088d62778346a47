/*
 * model.h - a model: its tensors, how each is stored, and where each lies on the device.
 *
 * Life: open (reads headers only; decides storage; everything needed for planning is known) ->
 * attach adapters (shapes only) -> place (allocates device memory, fills it) -> graphs are built
 * and bound. A slot is one tensor's place: inside one of the model's regions, or a mapped file.
 *
 * Regions: weights (frozen; write-protected after loading), trained values, and their gradients
 * (optimizer state is the trainer's). Trained values of one region are contiguous, first those with
 * weight decay, then those without, so that zeroing, the norm and the update are single operator
 * calls.
 */
#ifndef QLORA_CORE_MODEL_MODEL_H
#define QLORA_CORE_MODEL_MODEL_H

#include "core/base/hostmem.h"
#include "core/graph/program.h"
#include "core/io/source.h"
#include "core/model/arch.h"
#include "core/model/lora.h"
#include "core/quant/bits.h"
#include "core/quant/stored.h"
#include "qlora/memory.h"

typedef enum ql_region {
    QL_REGION_NONE,
    QL_REGION_WEIGHTS,
    QL_REGION_MAPPED, /* a file mapping: `index` says which mapping   */
    QL_REGION_TRAINED,
    QL_REGION_COUNT
} ql_region;

/* One tensor on the device. off counts from the start of its region. */
typedef struct ql_slot {
    ql_region region;
    int32_t index;
    uint64_t off;
    int64_t rows, cols;
    ql_dtype dtype;
} ql_slot;

/* A tensor that stays in its file: wrapped as a buffer of exactly its bytes. */
typedef struct ql_mapping {
    const void *data;
    uint64_t bytes;
    ql_buffer *buf;
} ql_mapping;

/* A trained tensor: value and gradient lie at the same element offset of their regions. */
typedef struct ql_param {
    char name[192]; /* name in adapter files, without "base_model.model."                  */
    int64_t rows, cols;
    int32_t dims;   /* 1: a vector in files, [1, cols] here                                */
    uint64_t first; /* element offset in the trained region                                */
    bool decay;
} ql_param;

/* A frozen or trained vector or matrix kept dense: norms, embeddings, tables, biases. */
typedef struct ql_dense {
    const char *name; /* "model.norm.weight"; owned by the model                             */
    const ql_source_tensor *from; /* NULL while planning without files, or when fresh        */
    ql_slot slot;
    int32_t param; /* index into params when trained, else -1                         */
    bool fresh;    /* the files lack it (a new classifier): drawn from the seed       */
} ql_dense;

/* y = x W^T (+ bias), W [n, k] quantized or dense, with an optional adapter. */
typedef struct ql_linear {
    const char *module; /* "model.layers.0.self_attn.q_proj"; owned by the model              */
    const char *tensor; /* name of its weight in the files (may lack the base prefix)         */
    int64_t n, k;
    bool is_head;    /* the output head or the classifier: all-linear leaves it out        */
    bool transposed; /* dense weights in files are [k, n] (Conv1D)                         */
    bool turned;     /* and yet lie [n, k] on the device                                   */
    bool quantized;
    ql_quant_opts quant;          /* storage when quantized (type, block, second level)       */
    ql_ggml ggml;                 /* QL_QT_GGML only                                          */
    bool stored;                  /* the file is quantized already                            */
    bool fresh;                   /* the files lack it: drawn from the seed                   */
    const ql_source_tensor *from; /* dense tensor to read or quantize                         */
    ql_slot codes, table, scale, zero, scale2, code2, offset;
    ql_pack pack;
    int32_t dense_param; /* trained whole: --full, modules_to_save                   */
    ql_slot dense;       /* [n, k], or [k, n] when transposed                        */
    ql_dense *bias;      /* NULL = none                                              */
    int32_t adapter_a, adapter_b, adapter_m; /* params: A, B, DoRA's magnitude; -1 = none     */
    int32_t r;
    float scaling, dropout;
} ql_linear;

typedef struct ql_norm {
    ql_dense *w, *b; /* NULL = absent */
} ql_norm;

typedef struct ql_layer {
    ql_linear *lin[QL_LIN_COUNT]; /* NULL = absent */
    ql_norm norm[QL_NORM_COUNT];
    ql_norm *head_norm[2]; /* of q and k, one per head (own_head_norms); NULL = none */
} ql_layer;

/* The tensors of one stack (arch.h: ql_stack). */
typedef struct ql_stack_tensors {
    const ql_stack *arch;
    ql_layer *layers;
    ql_dense *tokens, *positions, *types; /* the token table is shared between stacks */
    ql_norm front_norm, final_norm, rel_norm;
    ql_dense *rel_table;
    ql_linear *project;
} ql_stack_tensors;

/* Rows of the embedding that are trained (and of a tied head): Z = T - E[ids], h += Z[slot]. */
typedef struct ql_token_table {
    int32_t n, param; /* rows; T [n, C]; n = 0: none                                     */
    int32_t *ids;     /* [n], ascending                                                  */
} ql_token_table;

typedef struct ql_model_opts {
    int32_t bits;              /* 4 (default), 2, 3, 8; 16 = dense as stored                    */
    ql_quant_opts quant;       /* type and blocks for quantizing on loading                     */
    const char *bits_by_layer; /* rules (quant/bits.h) before `bits`, or NULL; copied         */
    bool quantize_head;
    bool full;        /* train all weights (fp32 master copies); no adapters           */
    bool optimizer;   /* gradients are needed (training)                               */
    bool map_files;   /* dense tensors and stored codes stay in the mapped file        */
    int32_t n_labels; /* of a new classifier; 0 = as config.json says                  */
    /* progress of loading; may be NULL */
    void (*progress)(void *user, int64_t done, int64_t total, const char *name);
    void *user;
} ql_model_opts;
ql_model_opts ql_model_opts_default(void);

typedef struct ql_model {
    ql_source *source; /* owned */
    ql_arch arch;
    ql_model_opts opts;
    ql_bits *bits; /* bits_by_layer, or NULL                                                */
    ql_lora_config lora;
    bool has_lora;
    ql_stack_tensors body, encoder;
    ql_dense *embed;         /* the token table                                             */
    ql_linear *head;         /* when the head is tied: head->dense = embed's slot           */
    ql_linear *head_dense;   /* classification: in front of the classifier, or NULL         */
    ql_linear *head_project; /* or NULL                                                     */
    ql_dense *logits_bias;   /* or NULL                                                     */
    bool tied;
    ql_linear **linears; /* all of them in the order of the files; the head last             */
    int32_t n_linears;
    ql_dense **denses; /* all dense tensors but the weights of linears                       */
    int32_t n_denses;
    size_t cap_linears, cap_denses;
    ql_token_table token_rows;   /* trainable_token_indices                                    */
    ql_slot tables[QL_QT_COUNT]; /* code table of each storage type in use, [1, 2^bits]        */
    ql_slot code2; /* the shared second-level map, [1, 256]                          */
    ql_param *params;
    int32_t n_params;
    uint64_t n_trained;    /* elements of the trained region, padding included              */
    uint64_t n_decay;      /* elements of its first part, which has weight decay            */
    uint64_t weight_bytes; /* size of the weights region                                    */
    uint64_t mapped_bytes;
    uint64_t parameters, trainable; /* counts for reports                                    */
    /* device side, after placing */
    ql_device *dev;
    ql_queue *queue;
    ql_buffer *weights, *trained, *gradients;
    ql_mapping *mappings; /* tensors that stay in their files                              */
    int32_t n_mappings;
    size_t cap_mappings;
    size_t cap_params;
    ql_arena names; /* strings                                                       */
} ql_model;

/* `source` is owned by the model, also on failure. */
QL_NODISCARD ql_status ql_model_open(ql_source *source, const ql_model_opts *opts, ql_model **out);
void ql_model_close(ql_model *m); /* NULL ok */

/* Attaches adapters to the targets of cfg and trains the modules it saves: decides the trained
 * region. Once, before placing. (attach.c) */
QL_NODISCARD ql_status ql_model_attach_lora(ql_model *m, const ql_lora_config *cfg);

/* All linear layers, the head last; all other dense tensors. NULL past the end. */
ql_linear *ql_model_linear(ql_model *m, int64_t i);
ql_dense *ql_model_dense(ql_model *m, int64_t i);
ql_linear *ql_model_find_linear(ql_model *m, const char *module);

/* Adds the model's regions to a report: weights, adapters, gradients. */
void ql_model_report(const ql_model *m, ql_memory_report *out);

/* Allocates the regions on dev and loads the weights. Adapters are zero until initialized. */
QL_NODISCARD ql_status ql_model_place(ql_model *m, ql_device *dev, ql_queue *queue);
/* PEFT's initialization from `seed`: A uniform (or gaussian), B zero; --full: the file's weights.
 */
QL_NODISCARD ql_status ql_model_init_trained(ql_model *m, uint64_t seed);
/* PEFT: A ~ U(-1/sqrt(k), 1/sqrt(k)) (kaiming, a = sqrt 5) or N(0, 1/r^2) of an adapted layer,
 * a [r, k]. The draw depends on the seed and the parameter's name only. */
void ql_adapter_draw_a(const ql_model *m, const ql_linear *l, uint64_t seed, float *a);
/* Host copies of a parameter's value (rows x cols floats) and back. */
QL_NODISCARD ql_status ql_param_read(ql_model *m, int32_t param, float *out);
QL_NODISCARD ql_status ql_param_write(ql_model *m, int32_t param, const float *in);
QL_NODISCARD ql_status ql_param_read_grad(ql_model *m, int32_t param, float *out);
/* Rows of a linear layer's weight as it stands in the files, decoded: open once, read many. A
 * zeroed reader may be closed. */
typedef struct ql_linear_rows {
    const ql_linear *l;
    ql_qtensor q;   /* the stored parts of a quantized weight        */
    float *columns; /* transposed weights: the whole of W, [n, k]    */
} ql_linear_rows;
QL_NODISCARD ql_status ql_linear_rows_open(const ql_model *m, const ql_linear *l,
                                           ql_linear_rows *out);
QL_NODISCARD ql_status ql_linear_rows_read(const ql_linear_rows *r, int64_t row, float *out);
void ql_linear_rows_close(ql_linear_rows *r);

#endif /* QLORA_CORE_MODEL_MODEL_H */
