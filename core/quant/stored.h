/*
 * stored.h - quantized weights as files hold them: bitsandbytes 4-bit and LLM.int8 checkpoints,
 * GGUF blocks, our own container.
 *
 * Own container: safetensors with the keys of bitsandbytes plus
 * `P.weight.quant_state.qlora__<type>` whose JSON carries "version": 1 (docs/file-formats.md).
 * Readers reject unknown keys of the blob, more than one quant_state and any size that disagrees
 * with the shape.
 */
#ifndef QLORA_CORE_QUANT_STORED_H
#define QLORA_CORE_QUANT_STORED_H

#include "core/io/source.h"
#include "core/quant/bits.h"

/* Is `name` ("P.weight") stored quantized in s? GGUF tensors count when the block type is trainable
 * as it is. */
bool ql_stored_is_quantized(const ql_source *s, const char *name);
/* Assembles P.weight; arrays borrow from s's maps where aligned, are owned otherwise. QL_ERR_FORMAT
 * names key and file. */
QL_NODISCARD ql_status ql_stored_open(const ql_source *s, const char *name, ql_qtensor *out);
/* Shape of a weight, quantized or dense, without reading it: n = out_features, k = in_features. */
QL_NODISCARD ql_status ql_stored_shape(const ql_source *s, const char *name, int64_t *n,
                                       int64_t *k);

/* Is `name` a part ("P.weight.absmax", "P.SCB", ...) of a weight that is stored quantized in s? */
bool ql_stored_is_part(const ql_source *s, const char *name);

/* Declares / writes the entries of one quantized weight "P.weight" (bnb keys for nf4, fp4,
 * llm_int8; qlora__ otherwise). With a second level the quant_state text is padded with spaces to
 * its longest form, because the offset is not known when it is declared. */
QL_NODISCARD ql_status ql_stored_declare(ql_st_writer *w, const char *name, const ql_quant_opts *o,
                                         int64_t n, int64_t k, const char *source_dtype);
QL_NODISCARD ql_status ql_stored_write(ql_st_writer *w, const char *name, const ql_qtensor *q);

/* Which keys: bitsandbytes' where it can hold the type, or always our own. */
typedef enum ql_stored_format { QL_STORED_BNB, QL_STORED_QLORA } ql_stored_format;
/* The same entries of a finished tensor, as a list: exact text, nothing padded. Names and texts
 * live in the list, arrays in q. Freed by ql_stored_parts_free. */
enum { QL_STORED_MAX_PARTS = 8 };
typedef struct ql_stored_part {
    const char *name;
    ql_st_dtype dtype;
    int32_t dims;
    int64_t shape[2];
    const void *data;
    uint64_t bytes;
} ql_stored_part;
typedef struct ql_stored_parts {
    ql_stored_part at[QL_STORED_MAX_PARTS];
    int32_t count;
    ql_arena arena;
} ql_stored_parts;
QL_NODISCARD ql_status ql_stored_parts_of(const char *name, const ql_qtensor *q,
                                          ql_stored_format format, ql_stored_parts *out);
void ql_stored_parts_free(ql_stored_parts *p);

/* Another way for some weights of a folder: what it gives is stored in place of the encoded values.
 * `wants` is asked while planning, in the order of writing, for every matrix of plain or quantized
 * values; quant is NULL for one that stays unquantized. `make` follows in the same order. Both
 * it and `finish`, the last call, may add files to the folder `staged`, which then takes its place.
 */
typedef struct ql_folder_made {
    ql_qtensor q; /* quantized; the folder frees it                                         */
    float *dense; /* otherwise [n, k] of ql_folder_dense_dtype; the folder frees it         */
    int64_t n, k;
    double error, norm; /* ||W - decoded||, ||W||                                            */
} ql_folder_made;
typedef struct ql_folder_maker {
    void *user;
    ql_status (*wants)(void *user, const ql_source_tensor *t, const ql_quant_opts *quant,
                       bool *out);
    ql_status (*make)(void *user, const ql_source_tensor *t, const char *staged,
                      ql_folder_made *out);
    ql_status (*finish)(void *user, const char *staged);
} ql_folder_maker;
/* The type in which an unquantized tensor is stored: F32 and F16 stay, everything else is BF16. */
ql_st_dtype ql_folder_dense_dtype(const ql_source_tensor *t);

/* Quantizes a whole model into folder `out`: one tensor at a time. Which modules:
 * spec/quantization.md section 3. The offset inside quant_state JSON is only known after encoding,
 * so data goes through a spool file first; the entries of the result lie in the order in which
 * transformers writes them. A value that is NaN or Inf is refused with its place. `out` appears
 * whole or not at all. */
typedef struct ql_quantize_folder_opts {
    ql_quant_opts quant;
    bool quantize_head;           /* false */
    const char *bits_by_layer;    /* rules (bits.h) before `quant`, or NULL                       */
    bool dense;                   /* false; true: nothing is quantized, only `maker` changes it   */
    const ql_folder_maker *maker; /* NULL = none                                               */
    /* progress: tensors done of total, name; may be NULL */
    void (*progress)(void *user, int64_t done, int64_t total, const char *name);
    void *user;
    ql_stored_format format;   /* QL_STORED_BNB                                            */
    bool bnb_only;             /* refuse what bitsandbytes' format cannot hold             */
    ql_encode_fn encode;       /* first level; NULL = ql_encode_scalar                     */
    void *encode_user;         /* passed to encode                                         */
    const char *compute_dtype; /* bnb_4bit_compute_dtype in config.json; NULL = "float32"  */
    uint64_t max_shard_bytes;  /* 0 = 5 GB                                                 */
} ql_quantize_folder_opts;
typedef struct ql_quantize_report {
    int64_t tensors, quantized;
    uint64_t bytes_in, bytes_out;
    double bits_per_weight; /* of the quantized weights: codes, scales, second level, zeros   */
    uint64_t coded_bytes;   /* the same in bytes                                              */
    int64_t of_type[QL_QT_COUNT]; /* quantized weights by storage type                        */
    double rel_error;    /* ||W - decoded|| / ||W|| over all quantized weights             */
    int64_t requantized; /* of `quantized`: the source had them quantized already         */
    int64_t files;       /* .safetensors files written                                    */
} ql_quantize_report;
QL_NODISCARD ql_status ql_quantize_folder(const ql_source *s, const ql_quantize_folder_opts *o,
                                          const char *out, ql_quantize_report *report);
/* Would bitsandbytes' rules quantize the Linear "P" of this config? (skip list, head, keep-in-fp32
 * names) */
bool ql_quantizes_module(const json_t *config, const char *module, bool quantize_head);
/* Are this config's linear layers Conv1D, whose plain weights are stored [in, out]? (GPT-2) */
bool ql_has_conv1d(const json_t *config);

#endif
