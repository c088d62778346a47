/*
 * live.c - live ranges: from the record that first writes a planned value to its last use.
 */
#include "core/memory/arena.h"

ql_status ql_live_ranges(ql_tape *t) {
    for (uint32_t v = 1; v <= ql_tape_values(t); v++) {
        ql_value *x = ql_tape_at_mut(t, v);
        x->first = x->last = -1;
    }
    for (int32_t i = 0; i < ql_tape_count(t); i++) {
        const ql_record *r = ql_tape_record_at(t, i);
        const ql_op_info info = ql_op_info_of(r->op);
        /* Writers first: a record may read what it writes in place, but not what nobody wrote. */
        for (int k = 0; k < info.count; k++) {
            if (!r->operand[k]) continue;
            ql_value *x = ql_tape_at_mut(t, ql_tape_base(t, r->operand[k]));
            ql_use access = ql_operand_access(r->op, &r->args, k);
            if (x->kind != QL_VALUE_PLANNED || x->first >= 0) continue;
            if (access != QL_USE_WRITE && access != QL_USE_SCRATCH)
                return QL_FAIL(QL_ERR_INTERNAL,
                               "tape: record %d (%s) reads '%s' before it is written", i, info.name,
                               x->name);
            x->first = i;
        }
        for (int k = 0; k < info.count; k++) {
            if (!r->operand[k]) continue;
            ql_value *x = ql_tape_at_mut(t, ql_tape_base(t, r->operand[k]));
            if (x->kind == QL_VALUE_PLANNED) x->last = i;
        }
    }
    return QL_OK;
}
