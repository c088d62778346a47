/*
 * qtype.c - the storage types by id and by name.
 *
 * The order of `types` is the order of ql_qtype_id.
 */
#include "core/quant/qtype.h"

#include <string.h>

#include "backends/common/ql_math.inc"
#include "core/quant/tables.h"

/* 1/127 rounded to float32, as bitsandbytes decodes LLM.int8 rows. */
#define INT8_POST 7.874015718698502e-3f

#define NEAREST(ID, NAME, BITS, TABLE)                                                             \
    [QL_QT_##ID] = {                                                                               \
        .id = QL_QT_##ID, .name = NAME, .bits = BITS, .encode = QL_ENCODE_NEAREST, .table = TABLE}
#define AFFINE(ID, NAME, BITS)                                                                     \
    [QL_QT_##ID] = {.id = QL_QT_##ID,                                                              \
                    .name = NAME,                                                                  \
                    .bits = BITS,                                                                  \
                    .encode = QL_ENCODE_AFFINE,                                                    \
                    .affine = true,                                                                \
                    .table = ql_table_affine}

static const ql_qtype types[QL_QT_COUNT] = {
    [QL_QT_NF4] = {.id = QL_QT_NF4,
                   .name = "nf4",
                   .bits = 4,
                   .encode = QL_ENCODE_NEAREST,
                   .table = ql_nf4_table,
                   .bnb = true},
    [QL_QT_FP4] = {.id = QL_QT_FP4,
                   .name = "fp4",
                   .bits = 4,
                   .encode = QL_ENCODE_NEAREST,
                   .table = ql_table_fp4,
                   .bnb = true},
    NEAREST(NF2, "nf2", 2, ql_table_nf2),
    NEAREST(NF3, "nf3", 3, ql_table_nf3),
    NEAREST(INT2, "int2", 2, ql_table_int2),
    NEAREST(INT3, "int3", 3, ql_table_int3),
    NEAREST(INT4, "int4", 4, ql_table_int4),
    NEAREST(INT2S, "int2s", 2, ql_table_int2s),
    NEAREST(INT3S, "int3s", 3, ql_table_int3s),
    NEAREST(INT4S, "int4s", 4, ql_table_int4s),
    AFFINE(INT2A, "int2a", 2),
    AFFINE(INT3A, "int3a", 3),
    AFFINE(INT4A, "int4a", 4),
    [QL_QT_INT8] = {.id = QL_QT_INT8,
                    .name = "int8",
                    .bits = 8,
                    .encode = QL_ENCODE_ROUND,
                    .post = INT8_POST,
                    .table = ql_table_int8},
    NEAREST(DYN8, "dyn8", 8, ql_table_dyn8_signed),
    [QL_QT_LLM_INT8] = {.id = QL_QT_LLM_INT8,
                        .name = "llm_int8",
                        .bits = 8,
                        .encode = QL_ENCODE_ROUND,
                        .per_row = true,
                        .post = INT8_POST,
                        .table = ql_table_int8,
                        .bnb = true},
    [QL_QT_GGML] = {.id = QL_QT_GGML, .name = "ggml"},
};

const ql_qtype *ql_qtype_at(ql_qtype_id id) {
    return id >= 0 && id < QL_QT_COUNT ? &types[id] : NULL;
}

const ql_qtype *ql_qtype_find(const char *name) {
    for (int i = 0; i < QL_QT_GGML; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

const ql_qtype *ql_qtype_of_bits(int64_t bits) {
    switch (bits) {
    case 2: return &types[QL_QT_NF2];
    case 3: return &types[QL_QT_NF3];
    case 4: return &types[QL_QT_NF4];
    case 8: return &types[QL_QT_LLM_INT8];
    default: return NULL;
    }
}

const char *ql_qtype_names(void) {
    return "nf4, fp4, nf2, nf3, int2, int3, int4, int2s, int3s, int4s, int2a, int3a, int4a, int8, "
           "dyn8, llm_int8";
}

const float *ql_dyn8_signed(void) {
    return ql_table_dyn8_signed;
}
const float *ql_dyn8_unsigned(void) {
    return ql_table_dyn8_unsigned;
}
