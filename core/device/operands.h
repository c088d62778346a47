/*
 * operands.h - where the matrices sit inside each argument struct and how an operator uses them.
 *
 * Internal to core/device: the checks and the operator tests walk it. Every ql_mat of every
 * argument struct appears exactly once (tests/core/test_check.c counts them).
 */
#ifndef QLORA_CORE_DEVICE_OPERANDS_H
#define QLORA_CORE_DEVICE_OPERANDS_H

#include "core/device/device.h"

typedef enum ql_use {
    QL_USE_READ = 1,
    QL_USE_WRITE = 2,  /* every element is written, none is read first       */
    QL_USE_UPDATE = 3, /* read and written: accumulation, optimizer state    */
    QL_USE_SCRATCH = 4 /* undefined before and after                         */
} ql_use;

typedef struct ql_operand {
    const char *name; /* "dx", "w.codes"                                       */
    uint16_t at;      /* offset of the ql_mat in the argument struct            */
    uint8_t use;      /* ql_use; what it is when every flag asks for the most   */
    bool optional;
    uint32_t may_be; /* bit i: may be the same matrix as operand i ("in place") */
} ql_operand;

/* The operands of `op`, *n of them. */
const ql_operand *ql_operands_of(ql_op op, int *n);

static inline const ql_mat *ql_operand_mat(const ql_operand *o, const ql_op_args *a) {
    return (const ql_mat *)(const void *)((const char *)a + o->at);
}

/* Shape and dtype rules of one operator (shapes.c). `bound`: absent operands have buf == NULL;
 * otherwise they have rows == 0. */
QL_NODISCARD ql_status ql_check_shapes(ql_op op, const ql_op_args *a, bool bound);

#endif
