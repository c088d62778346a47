/*
 * arena.h - live ranges of a tape's planned values and their places in one arena.
 */
#ifndef QLORA_CORE_MEMORY_ARENA_H
#define QLORA_CORE_MEMORY_ARENA_H

#include "core/graph/tape.h"
#include "qlora/memory.h"

/* Sets first / last of every planned value. QL_ERR_INTERNAL when one is read before it is written.
 */
QL_NODISCARD ql_status ql_live_ranges(ql_tape *t);

/* Sets the offset of every planned value that is used: largest first, lowest gap that fits best,
 * ties by first use, so the result is deterministic. Sizes are rounded up to `align`. */
QL_NODISCARD ql_status ql_arena_assign(ql_tape *t, uint32_t align, uint64_t *arena_bytes);

/* Fills the arena part of a report: bytes per pool at the record of the peak (the gap between live
 * bytes and arena goes to activations), lower bound, peak record. */
QL_NODISCARD ql_status ql_arena_report(const ql_tape *t, uint32_t align, uint64_t arena_bytes,
                                       ql_memory_report *out);

#endif /* QLORA_CORE_MEMORY_ARENA_H */
