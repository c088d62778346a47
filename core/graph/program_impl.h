/* program_impl.h - what program.c and program_apart.c share. */
#ifndef QLORA_CORE_GRAPH_PROGRAM_IMPL_H
#define QLORA_CORE_GRAPH_PROGRAM_IMPL_H

#include "core/graph/program.h"

/* Borders of the sequences along a symbol: at[0 .. n]. */
typedef struct ql_cuts {
    int32_t *at;
    int32_t n;
    size_t cap;
} ql_cuts;

struct ql_program {
    ql_tape *tape;
    ql_device *dev;
    ql_buffer *arena;
    uint64_t arena_off, arena_bytes;
    int64_t sym[QL_SYM_COUNT];
    bool by_sequence;
    ql_cuts cuts[QL_SYM_COUNT];
};

/* Extent of d when its symbol has this value. */
int64_t ql_program_extent(ql_dim d, int64_t value);
/* Runs record r, bound to `args`, so that its results do not depend on the other sequences of the
 * micro-batch. */
QL_NODISCARD ql_status ql_program_run_apart(const ql_program *p, ql_queue *q, const ql_record *r,
                                            ql_op_args *args);

#endif
