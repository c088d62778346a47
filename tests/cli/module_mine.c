/*
 * module_mine.c - a backend module as a user would bring it: the CPU's table under another name.
 *
 * Built twice: with QL_BREAK_FILL its fill operator writes another value, which selftest must find.
 */
#include "qlora/backend.h"

#ifdef QL_BREAK_FILL
static ql_status wrong_fill(ql_queue *q, const ql_fill_args *a) {
    ql_fill_args other = *a;
    other.value = a->value + 1.0f;
    return ql_cpu_backend()->ops.fill(q, &other);
}
#endif

QL_API const ql_backend *ql_backend_entry(void);

static ql_backend table;

static ql_status open_mine(int index, const ql_device_opts *opts, ql_device **out) {
    QL_TRY(ql_cpu_backend()->device_open(index, opts, out));
    (*out)->backend = &table;
    return QL_OK;
}

const ql_backend *ql_backend_entry(void) {
    table = *ql_cpu_backend();
    table.name = "mine";
    table.device_open = open_mine;
#ifdef QL_BREAK_FILL
    table.ops.fill = wrong_fill;
#endif
    return &table;
}
