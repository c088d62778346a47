/*
 * postprocess.c - slots filled with ids.
 */
#include "core/data/postprocess.h"

#include "core/base/hostmem.h"
#include "core/data/bpe.h"

ql_status ql_slots_push(ql_slots *s, int32_t id, int32_t type) {
    QL_TRY(ql_host_grow((void **)&s->v, &s->cap, s->n + 1, sizeof *s->v));
    s->v[s->n++] = (ql_post_slot){id, type};
    return QL_OK;
}

ql_status ql_postprocess_finish(ql_postprocess *p) {
    if (p->single.n == 0) QL_TRY(ql_slots_push(&p->single, QL_SLOT_A, 0));
    if (p->pair.n) return QL_OK;
    QL_TRY(ql_slots_push(&p->pair, QL_SLOT_A, 0));
    return ql_slots_push(&p->pair, QL_SLOT_B, 1);
}

void ql_postprocess_free(ql_postprocess *p) {
    ql_host_free(p->single.v);
    ql_host_free(p->pair.v);
    *p = (ql_postprocess){0};
}

size_t ql_slots_special(const ql_slots *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += s->v[i].id >= 0;
    return n;
}

bool ql_slots_begin_with(const ql_slots *s, int32_t id) {
    return id >= 0 && s->n > 0 && s->v[0].id == id;
}

bool ql_slots_end_with(const ql_slots *s, int32_t id) {
    return id >= 0 && s->n > 0 && s->v[s->n - 1].id == id;
}

static ql_status push(ql_ids *ids, ql_ids *types, int32_t id, int32_t type) {
    QL_TRY(ql_ids_push(ids, id));
    return types ? ql_ids_push(types, type) : QL_OK;
}

ql_status ql_slots_fill(const ql_slots *s, ql_halves in, bool special, ql_ids *ids, ql_ids *types) {
    for (size_t i = 0; i < s->n; i++) {
        ql_post_slot slot = s->v[i];
        if (slot.id >= 0) {
            if (special) QL_TRY(push(ids, types, slot.id, slot.type));
            continue;
        }
        const ql_ids *half = slot.id == QL_SLOT_A ? in.a : in.b;
        for (size_t k = 0; half && k < half->n; k++)
            QL_TRY(push(ids, types, half->ids[k], slot.type));
    }
    return QL_OK;
}
