/*
 * segment.c - checkpoint segments: forward records cloned as RECOMPUTE with fresh values.
 *
 * The planner then sees true lifetimes: the original inner values die at the end of forward, their
 * twins live only in this segment's backward. Values made outside the segment (its inputs, weights)
 * are read as they are. Counter-based random numbers make the clone draw the same masks.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/graph/tape_impl.h"

/* The twin of a value that the segment writes; the same for every writer of that value. */
static ql_vid twin_of(ql_tape *t, ql_vid v) {
    ql_vid base = ql_tape_base(t, v);
    if (!t->remap[base]) {
        ql_value x = t->values[base];
        ql_vid twin = ql_tape_value(t, x.pool, x.dtype, x.rows, x.cols, "re.%.60s", x.name);
        if (!twin) return 0;
        t->remap[base] = twin;
    }
    return ql_tape_saved(t, v);
}

static bool writes(const ql_record *r, int i) {
    ql_use access = ql_operand_access(r->op, &r->args, i);
    return access == QL_USE_WRITE || access == QL_USE_UPDATE;
}

/* Side effects must not happen twice: a record that writes external storage is not cloned. */
static bool clonable(const ql_tape *t, const ql_record *r) {
    const ql_op_info info = ql_op_info_of(r->op);
    for (int i = 0; i < info.count; i++)
        if (r->operand[i] && writes(r, i) &&
            t->values[ql_tape_base(t, r->operand[i])].kind == QL_VALUE_EXTERNAL)
            return false;
    return true;
}

int32_t ql_segment_clone(ql_tape *t, int32_t from, int32_t to, int16_t segment) {
    int32_t first = ql_tape_count(t);
    ql_phase phase = t->phase;
    t->phase = QL_PHASE_RECOMPUTE;
    for (int32_t i = from; i < to && t->status == QL_OK; i++) {
        ql_record r = t->records[i];
        if (r.segment != segment || r.phase != QL_PHASE_FWD || !clonable(t, &r)) continue;
        const ql_op_info info = ql_op_info_of(r.op);
        for (int k = 0; k < info.count; k++) {
            ql_vid v = r.operand[k];
            if (v && writes(&r, k))
                v = twin_of(t, v);
            else if (v)
                v = ql_tape_saved(t, v);
            ql_operand_mat_mut(r.op, &r.args, k)->off = v;
        }
        t->layer = r.layer;
        t->segment = segment;
        (void)ql_tape_append(t, r.op, &r.args);
    }
    t->phase = phase;
    return first;
}

void ql_segment_prune(ql_tape *t, int32_t first, int32_t last) {
    if (t->status != QL_OK) return;
    bool *read = ql_host_calloc(t->n_values, sizeof(bool));
    if (!read) {
        ql_tape_fail(t, QL_NOMEM("pruning a checkpoint segment"));
        return;
    }
    bool *keep = ql_host_calloc((size_t)(last - first) + 1, sizeof(bool));
    if (!keep) {
        ql_host_free(read);
        ql_tape_fail(t, QL_NOMEM("pruning a checkpoint segment"));
        return;
    }
    for (int32_t i = ql_tape_count(t) - 1; i >= first; i--) {
        const ql_record *r = &t->records[i];
        const ql_op_info info = ql_op_info_of(r->op);
        bool used = i >= last;
        for (int k = 0; k < info.count && !used; k++)
            used = r->operand[k] && writes(r, k) && read[ql_tape_base(t, r->operand[k])];
        if (i < last) keep[i - first] = used;
        if (!used) continue;
        for (int k = 0; k < info.count; k++) {
            ql_vid v = r->operand[k];
            ql_use access = ql_operand_access(r->op, &r->args, k);
            if (v && (access == QL_USE_READ || access == QL_USE_UPDATE))
                read[ql_tape_base(t, v)] = true;
        }
    }
    size_t to = (size_t)first;
    for (size_t i = (size_t)first; i < t->n_records; i++) {
        if (i < (size_t)last && !keep[i - (size_t)first]) continue;
        if (to != i) t->records[to] = t->records[i];
        to++;
    }
    t->n_records = to;
    memset(t->remap, 0, t->n_values * sizeof(ql_vid));
    ql_host_free(read);
    ql_host_free(keep);
}
