/* rows.c - rows of a linear layer's weight as it stands in the files, decoded to float. */
#include <stdio.h>

#include "core/model/model_impl.h"

ql_status ql_linear_rows_open(const ql_model *m, const ql_linear *l, ql_linear_rows *out) {
    ql_linear_rows r = {.l = l};
    if (!l->from && !l->stored)
        return QL_FAIL(QL_ERR_INVALID, "'%s' has no weights in the files", l->module);
    if (!l->from) {
        char name[256];
        snprintf(name, sizeof name, "%s.weight", l->module);
        QL_TRY(ql_stored_open(m->source, name, &r.q));
    }
    *out = r;
    return QL_OK;
}

ql_status ql_linear_rows_read(const ql_linear_rows *r, int64_t row, float *out) {
    if (r->l->from) return ql_source_read_row(r->l->from, row, out);
    return ql_dequantize_rows(&r->q, row, 1, out);
}

void ql_linear_rows_close(ql_linear_rows *r) {
    ql_qtensor_free(&r->q);
}
