/*
 * opinfo.h - the operand tables of core/device as the tape uses them: with access for given
 * arguments (an accumulating call reads its destination, another one only writes it).
 */
#ifndef QLORA_CORE_GRAPH_OPINFO_H
#define QLORA_CORE_GRAPH_OPINFO_H

#include "core/device/operands.h"

#define QL_MAX_OPERANDS 32 /* no operator has more; asserted in tests/core/test_tape.c */

typedef struct ql_op_info {
    const char *name;
    int count;
    const ql_operand *operand;
} ql_op_info;

ql_op_info ql_op_info_of(ql_op op);

/* Use of operand i for these arguments: without beta or `accumulate` UPDATE becomes WRITE. */
ql_use ql_operand_access(ql_op op, const ql_op_args *args, int i);

static inline bool ql_use_writes(ql_use use) {
    return use == QL_USE_WRITE || use == QL_USE_UPDATE;
}

/* The operand's matrix inside args. */
ql_mat *ql_operand_mat_mut(ql_op op, ql_op_args *args, int i);

#endif /* QLORA_CORE_GRAPH_OPINFO_H */
