/*
 * quantize.h - one weight to and from a quantized host tensor: encode, second level, decode.
 *
 * Scalar and exact; the same formulas (backends/common/ql_math.inc) run in every backend. Loading
 * large models uses the backend's q_quantize for the first level and ql_double_quantize for the
 * second.
 */
#ifndef QLORA_CORE_QUANT_QUANTIZE_H
#define QLORA_CORE_QUANT_QUANTIZE_H

#include "core/base/hostmem.h"
#include "core/quant/qtype.h"

/* Any block size in these bounds: a smaller block spends more on its scale than on its codes. */
enum { QL_BLOCK_MIN = 8, QL_BLOCK_MAX = 65536, QL_BLOCK2_MAX = 4096 };

typedef struct ql_quant_opts {
    ql_qtype_id type;      /* default nf4 */
    int32_t block, block2; /* 64, 256: QL_BLOCK_MIN .. QL_BLOCK_MAX weights, scales   */
    bool double_quant;     /* true        */
    ql_quant_rule rule;    /* cpu         */
} ql_quant_opts;
ql_quant_opts ql_quant_opts_default(void);
/* Can bitsandbytes' keys and its readers hold this: nf4 and fp4 in blocks of powers of two from 32
 * to 4096 weights, llm_int8? Everything else goes into our own container. */
bool ql_bnb_holds(const ql_qtype *type, int32_t block, int32_t block2);
/* Block sizes, type/double combinations; sentence names the flag. */
QL_NODISCARD ql_status ql_quant_opts_check(const ql_quant_opts *o);

/* A quantized weight in host memory. `owned`: every array is a block of hostmem.h (table and code2
 * may be the built-in ones). Otherwise arrays are borrowed from a mapped file or live in `arena`.
 */
typedef struct ql_qtensor {
    const ql_qtype *type;
    int64_t n, k;          /* rows (out_features), columns (in_features) */
    int32_t block, block2; /* block 0 = per row */
    ql_pack pack;
    ql_ggml ggml;
    uint64_t codes_bytes;
    int64_t n_blocks, n_blocks2;
    const uint8_t *codes;     /* packed                                                */
    const float *absmax;      /* [n_blocks], NULL when doubled                         */
    const uint8_t *absmax_q;  /* [n_blocks] second-level codes, NULL unless doubled    */
    const float *absmax2;     /* [n_blocks2]                                           */
    const float *code2;       /* [256] second-level map; may differ from ours in files */
    float offset;             /* second-level mean                                     */
    const float *zero;        /* [n_blocks] affine types, else NULL ...                */
    const uint16_t *zero_f16; /* ... or as float16, which the second level makes of it */
    const float *table;       /* [2^bits]; may differ from type->table in files        */
    const char *source_dtype; /* "bfloat16": dtype of the weight that was quantized    */
    bool owned;
    ql_arena arena; /* copies of arrays that could not be borrowed             */
} ql_qtensor;
void ql_qtensor_free(ql_qtensor *q); /* frees owned arrays, zeroes */

/* Byte counts from shape alone (planning): codes, first-level scales, second level, zeros (2 bytes
 * each with a second level, else 4). */
typedef struct ql_qbytes {
    uint64_t codes, scale, scale2, zero;
    int64_t n_blocks, n_blocks2;
} ql_qbytes;
QL_NODISCARD ql_status ql_quant_bytes(const ql_quant_opts *o, int64_t n, int64_t k, ql_qbytes *out);

/* First level of encoding: w float32 [n, k] -> codes[codes_bytes] packed high first,
 * absmax[n_blocks] (the block's scale for affine types) and zero[n_blocks] (affine types, else
 * NULL). A backend's q_quantize may stand behind it; the result must be that of ql_encode_scalar.
 */
typedef ql_status (*ql_encode_fn)(void *user, const ql_quant_opts *o, const float *w, int64_t n,
                                  int64_t k, uint8_t *codes, float *absmax, float *zero);
QL_NODISCARD ql_status ql_encode_scalar(void *user, const ql_quant_opts *o, const float *w,
                                        int64_t n, int64_t k, uint8_t *codes, float *absmax,
                                        float *zero);

/* w float32 [n, k] -> *out (owned). NaN and Inf (spec 1.5): a block with one never decodes to
 * plausible numbers under the CPU rule; ql_quantize_folder refuses them. */
QL_NODISCARD ql_status ql_quantize(const ql_quant_opts *o, const float *w, int64_t n, int64_t k,
                                   ql_qtensor *out);
/* The same with another first level; encode NULL = ql_encode_scalar. */
QL_NODISCARD ql_status ql_quantize_with(const ql_quant_opts *o, ql_encode_fn encode, void *user,
                                        const float *w, int64_t n, int64_t k, ql_qtensor *out);
/* Second level over absmax[n], block2 <= 4096: codes, absmax2[ceil(n/block2)], offset (spec 2.3;
 * offset in torch's summation order). */
void ql_double_quantize(const float *absmax, int64_t n, int32_t block2, ql_quant_rule rule,
                        uint8_t *codes, float *absmax2, float *offset);
/* 8-bit blockwise codes (spec 2.2) with any 256-entry map. */
void ql_dyn8_encode(const float *map, const float *x, int64_t n, int32_t block, ql_quant_rule rule,
                    uint8_t *codes, float *absmax);
/* Mean of x[0..n) in torch's one-thread AVX2 summation order (spec 2.3). */
float ql_torch_mean(const float *x, int64_t n);
/* Scale of block b: absmax[b], or restored from the second level. */
float ql_qtensor_scale(const ql_qtensor *q, int64_t b);
/* Rows [row0, row0 + rows) -> out [rows, k]. */
QL_NODISCARD ql_status ql_dequantize_rows(const ql_qtensor *q, int64_t row0, int64_t rows,
                                          float *out);

#endif
