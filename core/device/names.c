/* names.c - names of operators and element types, generated from the contract's lists. */
#include "core/device/device.h"

static const char *const op_names[QL_OP_COUNT] = {
#define QL_X(ID, name, family) [QL_OP_##ID] = #name,
    QL_OPS(QL_X)
#undef QL_X
};

static const struct {
    const char *name;
    uint64_t size;
} dtypes[QL_DTYPE_COUNT] = {
    [QL_F32] = {"f32", 4}, [QL_F16] = {"f16", 2}, [QL_BF16] = {"bf16", 2},
    [QL_I32] = {"i32", 4}, [QL_U8] = {"u8", 1},
};

const char *ql_op_name(ql_op op) {
    return (unsigned)op < QL_OP_COUNT ? op_names[op] : "?";
}

uint64_t ql_dtype_size(ql_dtype t) {
    return (unsigned)t < QL_DTYPE_COUNT ? dtypes[t].size : 0;
}

const char *ql_dtype_name(ql_dtype t) {
    return (unsigned)t < QL_DTYPE_COUNT ? dtypes[t].name : "?";
}
