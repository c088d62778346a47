/*
 * postprocess.h - what stands around one text, and around and between two, with type ids.
 *
 * Every post-processor of tokenizer.json is two lists of slots, one for a single text and one for a
 * pair: a slot is a special id, or the first or the second text.
 */
#ifndef QLORA_CORE_DATA_POSTPROCESS_H
#define QLORA_CORE_DATA_POSTPROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/tokenizer.h"

enum { QL_SLOT_A = -1, QL_SLOT_B = -2 }; /* in place of a special id */

typedef struct ql_post_slot {
    int32_t id;   /* special token, or QL_SLOT_A or QL_SLOT_B */
    int32_t type; /* of every id that the slot gives */
} ql_post_slot;

typedef struct ql_slots { /* zeroed = none */
    ql_post_slot *v;
    size_t n, cap;
} ql_slots;

typedef struct ql_postprocess { /* zeroed = the texts alone, of type 0 and 1 */
    ql_slots single, pair;
    bool wraps; /* single is cls, the text, sep */
} ql_postprocess;

QL_NODISCARD ql_status ql_slots_push(ql_slots *s, int32_t id, int32_t type);
/* Fills an empty list: the texts alone. */
QL_NODISCARD ql_status ql_postprocess_finish(ql_postprocess *p);
void ql_postprocess_free(ql_postprocess *p);

size_t ql_slots_special(const ql_slots *s); /* special ids among the slots */
/* Whether the first (last) slot is this special id. */
bool ql_slots_begin_with(const ql_slots *s, int32_t id);
bool ql_slots_end_with(const ql_slots *s, int32_t id);

/* The ids of one text or of two (b NULL = one), put into the slots. */
typedef struct ql_halves {
    const ql_ids *a, *b;
} ql_halves;
/* Appends to ids and, unless it is NULL, types; `special` = with the special ids. */
QL_NODISCARD ql_status ql_slots_fill(const ql_slots *s, ql_halves in, bool special, ql_ids *ids,
                                     ql_ids *types);

#endif
