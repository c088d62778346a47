/*
 * shapes.h - what the shape rules of core/device share: one context per check, one function per
 * kind of rule, one checking function per operator. Internal to core/device.
 *
 * An absent operand passes every rule; whether it may be absent is the operand table's matter,
 * unless that depends on other operands (ql_shape_needs).
 */
#ifndef QLORA_CORE_DEVICE_SHAPES_H
#define QLORA_CORE_DEVICE_SHAPES_H

#include <inttypes.h>

#include "core/device/operands.h"

typedef struct ql_check_ctx {
    const char *op;
    bool bound; /* absent operands have buf == NULL; otherwise rows == 0 */
} ql_check_ctx;

/* Sets of dtypes. */
enum {
    QL_ONLY_F32 = 1 << QL_F32,
    QL_ONLY_I32 = 1 << QL_I32,
    QL_ONLY_U8 = 1 << QL_U8,
    QL_WIDE = 1 << QL_F32 | 1 << QL_F16,
    QL_FLOATS = 1 << QL_F32 | 1 << QL_F16 | 1 << QL_BF16
};

static inline bool ql_shape_has(const ql_check_ctx *c, const ql_mat *m) {
    return c->bound ? m->buf != NULL : m->rows > 0;
}
static inline int64_t ql_ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* [rows, cols] of one of these dtypes; any shape of one of these dtypes. */
QL_NODISCARD ql_status ql_shape_is(const ql_check_ctx *c, const char *name, const ql_mat *m,
                                   int64_t rows, int64_t cols, int types);
QL_NODISCARD ql_status ql_shape_is_type(const ql_check_ctx *c, const char *name, const ql_mat *m,
                                        int types);
/* Present; `why` completes "operand x is absent, but ...". */
QL_NODISCARD ql_status ql_shape_needs(const ql_check_ctx *c, const char *name, const ql_mat *m,
                                      const char *why);
QL_NODISCARD ql_status ql_shape_in_range(const ql_check_ctx *c, const char *name, double v,
                                         double lo, double hi);
/* p of dropout: [0, 1). */
QL_NODISCARD ql_status ql_shape_is_dropout(const ql_check_ctx *c, float p);
QL_NODISCARD ql_status ql_shape_is_rng(const ql_check_ctx *c, const ql_rng *r, int64_t rows);

#define QL_X(ID, name, family)                                                                     \
    QL_NODISCARD ql_status ql_check_##name(const ql_check_ctx *c, const ql_##name##_args *a);
QL_OPS(QL_X)
#undef QL_X

/* IS(y, rows, cols, types): the rule for operand a->y. */
#define IS(field, rows, cols, types) QL_TRY(ql_shape_is(c, #field, &a->field, rows, cols, types))
#define TYPE(field, types)           QL_TRY(ql_shape_is_type(c, #field, &a->field, types))
#define HAS(field)                   ql_shape_has(c, &a->field)

#endif
