/*
 * program.h - a planned tape: scratch booked, places assigned, ready to be bound and run.
 *
 * Life: create (plans; no device memory is touched) -> bind_arena and bind every external value ->
 * set row counts -> run, many times. Nothing allocates after create.
 */
#ifndef QLORA_CORE_GRAPH_PROGRAM_H
#define QLORA_CORE_GRAPH_PROGRAM_H

#include "core/graph/tape.h"

typedef struct ql_program ql_program;

/* Takes ownership of `tape` in every case. Asks dev for supports() and scratch_bytes(): an operator
 * that the device refuses is QL_ERR_UNSUPPORTED with the device's reason. dev outlives the program.
 */
QL_NODISCARD ql_status ql_program_create(ql_tape *tape, ql_device *dev, ql_program **out);
void ql_program_free(ql_program *p); /* NULL ok */

const ql_tape *ql_program_tape(const ql_program *p);
uint64_t ql_program_arena_bytes(const ql_program *p);
/* Adds the arena's share to *out (see ql_arena_report). */
QL_NODISCARD ql_status ql_program_report(const ql_program *p, ql_memory_report *out);

/* The arena: at least arena_bytes at `off` of buf. Several programs that never run at the same time
 * may share one. */
void ql_program_bind_arena(ql_program *p, ql_buffer *buf, uint64_t off);
/* External value v lives at byte off of buf. */
void ql_program_bind(ql_program *p, ql_vid v, ql_buffer *buf, uint64_t off);
/* Current row counts, 0 .. planned maximum. */
void ql_program_set(ql_program *p, ql_sym sym, int64_t value);

/* From now on no result depends on which sequences share a micro-batch, to the last bit: sums over
 * rows that add to the gradient of a trained value go sequence by sequence, in order, and products
 * of a few rows run as those of more do. Costs a call per sequence and trained matrix. The
 * sequences of each run are told by ql_program_cut. */
void ql_program_by_sequence(ql_program *p);
/* Row ranges of `sym` that belong together: [at[i], at[i + 1]), i < n; at[0] = 0, at[n] = its
 * value. Copied. */
QL_NODISCARD ql_status ql_program_cut(ql_program *p, ql_sym sym, const int32_t *at, int32_t n);

/* Issues all records on q. A record with no rows is skipped; what it was to write is filled with
 * zero. Unbound externals are QL_ERR_INVALID by name. */
QL_NODISCARD ql_status ql_program_run(ql_program *p, ql_queue *q);

#endif /* QLORA_CORE_GRAPH_PROGRAM_H */
