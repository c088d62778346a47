/*
 * program.c - planning and running a tape (see program.h).
 */
#include "core/graph/program_impl.h"

#include "core/base/hostmem.h"
#include "core/device/device.h"
#include "core/memory/arena.h"

/* Books scratch for record i as a planned value that lives during this record only. */
static ql_status book_scratch(ql_program *p, int32_t i) {
    ql_record *r = ql_tape_record_mut(p->tape, i);
    const ql_op_info info = ql_op_info_of(r->op);
    const char *why = NULL;
    if (p->dev->backend->supports(p->dev, r->op, &r->args, &why) == QL_SUPPORT_NO)
        return QL_FAIL(QL_ERR_UNSUPPORTED, "%s: device '%s' cannot: %s", info.name,
                       p->dev->props.name, why ? why : "no reason given");
    uint64_t bytes = p->dev->backend->scratch_bytes(p->dev, r->op, &r->args);
    if (!bytes) return QL_OK;
    for (int k = 0; k < info.count; k++) {
        if (info.operand[k].use != QL_USE_SCRATCH) continue;
        ql_vid v = ql_tape_value(p->tape, QL_POOL_SCRATCH, QL_U8, ql_fixed(1),
                                 ql_fixed((int64_t)bytes), "scratch.%d.%s", i, info.name);
        QL_TRY(ql_tape_status(p->tape));
        r->operand[k] = v;
        *ql_operand_mat_mut(r->op, &r->args, k) = ql_ref(p->tape, v);
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_INTERNAL, "%s: device '%s' asks for scratch, the operator has none",
                   info.name, p->dev->props.name);
}

ql_status ql_program_create(ql_tape *tape, ql_device *dev, ql_program **out) {
    ql_program *p = ql_host_calloc(1, sizeof(*p));
    if (!p) {
        ql_tape_free(tape);
        return QL_NOMEM("a program");
    }
    p->tape = tape;
    p->dev = dev;
    ql_status s = ql_tape_status(tape);
    for (int32_t i = 0; s == QL_OK && i < ql_tape_count(tape); i++) s = book_scratch(p, i);
    if (s == QL_OK) s = ql_live_ranges(tape);
    uint32_t align = dev->props.align > 64 ? dev->props.align : 64;
    if (s == QL_OK) s = ql_arena_assign(tape, align, &p->arena_bytes);
    if (s == QL_OK && dev->props.max_alloc && p->arena_bytes > dev->props.max_alloc)
        s = QL_FAIL(QL_ERR_NOMEM_DEV,
                    "plan: the arena of %llu bytes exceeds the largest buffer of '%s' (%llu)",
                    (unsigned long long)p->arena_bytes, dev->props.name,
                    (unsigned long long)dev->props.max_alloc);
    if (s != QL_OK) {
        ql_program_free(p);
        return s;
    }
    *out = p;
    return QL_OK;
}

void ql_program_free(ql_program *p) {
    if (!p) return;
    for (int i = 0; i < QL_SYM_COUNT; i++) ql_host_free(p->cuts[i].at);
    ql_tape_free(p->tape);
    ql_host_free(p);
}

const ql_tape *ql_program_tape(const ql_program *p) {
    return p->tape;
}
uint64_t ql_program_arena_bytes(const ql_program *p) {
    return p->arena_bytes;
}

ql_status ql_program_report(const ql_program *p, ql_memory_report *out) {
    uint32_t align = p->dev->props.align > 64 ? p->dev->props.align : 64;
    return ql_arena_report(p->tape, align, p->arena_bytes, out);
}

void ql_program_bind_arena(ql_program *p, ql_buffer *buf, uint64_t off) {
    p->arena = buf;
    p->arena_off = off;
}

void ql_program_bind(ql_program *p, ql_vid v, ql_buffer *buf, uint64_t off) {
    ql_value *x = ql_tape_at_mut(p->tape, v);
    x->buf = buf;
    x->buf_off = off;
}

void ql_program_set(ql_program *p, ql_sym sym, int64_t value) {
    p->sym[sym] = value;
}

int64_t ql_program_extent(ql_dim d, int64_t value) {
    if (d.sym == QL_SYM_FIXED) return d.max;
    int64_t n = d.mul * value - d.lo;
    return n < 0 ? 0 : n > d.max ? d.max : n;
}

/* The matrix of value v with its storage and current extents. */
static ql_status bind(const ql_program *p, ql_vid v, ql_mat *m) {
    const ql_value *x = ql_tape_at(p->tape, v);
    const ql_value *base = ql_tape_at(p->tape, ql_tape_base(p->tape, v));
    if (base->kind == QL_VALUE_PLANNED) {
        m->buf = p->arena;
        m->off = p->arena_off + base->offset;
    } else {
        m->buf = base->buf;
        m->off = base->buf_off;
    }
    if (!m->buf)
        return QL_FAIL(QL_ERR_INVALID, "program: value '%s' is bound to no buffer", base->name);
    m->off += (uint64_t)(x->row0 * x->ld + x->col0) * ql_dtype_size(x->dtype);
    m->rows = ql_program_extent(x->rows, p->sym[x->rows.sym]);
    m->cols = ql_program_extent(x->cols, p->sym[x->cols.sym]);
    m->ld = x->ld;
    m->dtype = x->dtype;
    return QL_OK;
}

/* A record without rows does nothing, but what it was to write must not hold old bytes. */
static ql_status fill_outputs(ql_queue *q, ql_op op, ql_op_args *args) {
    const ql_op_info info = ql_op_info_of(op);
    for (int k = 0; k < info.count; k++) {
        ql_mat *m = ql_operand_mat_mut(op, args, k);
        if (!m->buf || !m->rows || !m->cols || ql_operand_access(op, args, k) != QL_USE_WRITE)
            continue;
        ql_fill_args fill = {*m, 0.0f};
        QL_TRY(ql_run_fill(q, &fill));
    }
    return QL_OK;
}

ql_status ql_program_run(ql_program *p, ql_queue *q) {
    for (int32_t i = 0; i < ql_tape_count(p->tape); i++) {
        const ql_record *r = ql_tape_record_at(p->tape, i);
        const ql_op_info info = ql_op_info_of(r->op);
        ql_op_args args = r->args;
        bool empty = false;
        for (int k = 0; k < info.count; k++) {
            if (!r->operand[k]) continue;
            ql_mat *m = ql_operand_mat_mut(r->op, &args, k);
            QL_TRY(bind(p, r->operand[k], m));
            empty |= !m->rows || !m->cols;
        }
        if (empty)
            QL_TRY(fill_outputs(q, r->op, &args));
        else
            QL_TRY(p->by_sequence ? ql_program_run_apart(p, q, r, &args)
                                  : ql_run_op(q, r->op, &args));
    }
    return QL_OK;
}
