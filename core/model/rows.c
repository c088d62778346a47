/* rows.c - rows of a linear layer's weight as it stands in the files, decoded to float. */
#include <stdio.h>

#include "core/model/model_impl.h"

ql_status ql_linear_row(const ql_model *m, const ql_linear *l, int64_t row, float *out) {
    if (l->from) return ql_source_read_row(l->from, row, out);
    if (!l->stored) return QL_FAIL(QL_ERR_INVALID, "'%s' has no weights in the files", l->module);
    char name[256];
    snprintf(name, sizeof name, "%s.weight", l->module);
    ql_qtensor q = {0};
    QL_TRY(ql_stored_open(m->source, name, &q));
    ql_status s = ql_dequantize_rows(&q, row, 1, out);
    ql_qtensor_free(&q);
    return s;
}
