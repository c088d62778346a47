/* tape_impl.h - the tape's inside, shared by tape.c, grad.c and segment.c only. */
#ifndef QLORA_CORE_GRAPH_TAPE_IMPL_H
#define QLORA_CORE_GRAPH_TAPE_IMPL_H

#include "core/graph/tape.h"

/* A rectangle of a gradient's storage that has been written. */
typedef struct ql_rect {
    ql_vid base;
    int64_t row0, rows, col0, cols;
    size_t next; /* the next rectangle of the same base, + 1; 0 = none */
} ql_rect;

struct ql_tape {
    ql_status status;
    ql_value *values; /* [0] is unused */
    size_t n_values, cap_values;
    ql_record *records;
    size_t n_records, cap_records;
    ql_rect *written; /* gradients written so far; grows during backward */
    size_t n_written, cap_written;
    ql_vid *remap; /* per value id: its recomputed twin in the current segment, or 0 */
    size_t cap_remap;
    size_t *first_written; /* per value id: its latest rectangle, + 1; 0 = none */
    size_t cap_first_written;
    int16_t layer, segment, n_segments;
    ql_phase phase;
};

/* The value that holds v's content during backward: its recomputed twin or v itself. */
ql_vid ql_tape_saved(ql_tape *t, ql_vid v);
/* Appends a record as it is, in the tape's current phase. */
ql_record *ql_tape_append(ql_tape *t, ql_op op, const ql_op_args *args);

/* Gradient of v, created on first use (same shape and dtype as v; views give views). */
ql_vid ql_grad_of(ql_tape *t, ql_vid v);
/* Marks the gradient of v as written and says whether it had been written before, i.e. whether the
 * next record must accumulate. Partly written gradients are refused. */
bool ql_grad_claim(ql_tape *t, ql_vid v);
/* Fills with zero what nobody has written of v's gradient (a slice that nothing reads). */
void ql_grad_complete(ql_tape *t, ql_vid v);
/* Does v, or the value it views, need a gradient? */
bool ql_needs_grad(const ql_tape *t, ql_vid v);
/* Is any part of v's gradient written? */
bool ql_grad_exists(const ql_tape *t, ql_vid v);

/* Appends the backward records of one forward record (grad.c). */
void ql_grad_rule(ql_tape *t, const ql_record *forward);

/* Clones the forward records of segment `segment` within [from, to) as RECOMPUTE and fills remap
 * (segment.c). Returns the index of the first clone. */
int32_t ql_segment_clone(ql_tape *t, int32_t from, int32_t to, int16_t segment);
/* Drops clones in [first, end of clones) that no later record reads, and clears remap. */
void ql_segment_prune(ql_tape *t, int32_t first, int32_t last);

#endif
