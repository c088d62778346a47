/*
 * qtype.h - the closed list of storage types (spec/quantization.md, section 9).
 *
 * A type is a code table with a bit width and an encoding rule; everything else is shared.
 */
#ifndef QLORA_CORE_QUANT_QTYPE_H
#define QLORA_CORE_QUANT_QTYPE_H

#include <stdbool.h>

#include "qlora/backend.h"

typedef enum ql_qtype_id {
    QL_QT_NF4,
    QL_QT_FP4,
    QL_QT_NF2,
    QL_QT_NF3,
    QL_QT_INT2,
    QL_QT_INT3,
    QL_QT_INT4,
    QL_QT_INT2S,
    QL_QT_INT3S,
    QL_QT_INT4S,
    QL_QT_INT2A,
    QL_QT_INT3A,
    QL_QT_INT4A,
    QL_QT_INT8,
    QL_QT_DYN8,
    QL_QT_LLM_INT8,
    QL_QT_GGML, /* a GGUF block as stored; see ql_ggml */
    QL_QT_COUNT
} ql_qtype_id;

typedef struct ql_qtype {
    ql_qtype_id id;
    const char *name; /* "nf4"; the name in flags, files and reports         */
    int32_t bits;
    ql_encode encode;
    bool per_row;       /* one scale per row instead of per block (llm_int8)    */
    bool affine;        /* has a zero per block                                 */
    float post;         /* last factor of decoding; 0 = none                    */
    const float *table; /* 2^bits values, index = code                          */
    bool bnb;           /* bitsandbytes can store it (nf4, fp4, llm_int8)       */
} ql_qtype;

const ql_qtype *ql_qtype_at(ql_qtype_id id);
const ql_qtype *ql_qtype_find(const char *name); /* NULL = unknown */
/* The usual type of 2, 3, 4 or 8 bits (nf2, nf3, nf4, llm_int8); NULL for another number. */
const ql_qtype *ql_qtype_of_bits(int64_t bits);
/* All of them, "nf4, fp4, ...", for messages. */
const char *ql_qtype_names(void);
/* Dynamic 8-bit maps (spec 2.1), 256 sorted values. */
const float *ql_dyn8_signed(void);
const float *ql_dyn8_unsigned(void);
/* create_normal_map of `bits` (spec section 6) computed from quantiles: out[2^bits]; for explain
 * and tests. */
void ql_normal_map(int bits, double offset, float *out);

#endif
