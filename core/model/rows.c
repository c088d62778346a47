/* rows.c - rows of a linear layer's weight as it stands in the files, decoded to float. */
#include "core/base/hostmem.h"
#include "core/model/model_impl.h"

/* W [n, k] of a file that holds it [k, n] (Conv1D). */
static ql_status transpose(const ql_linear *l, float **out) {
    float *w = ql_host_calloc((size_t)l->n, (size_t)l->k * sizeof(float));
    float *row = ql_host_calloc((size_t)l->n, sizeof(float));
    ql_status s = w && row ? QL_OK : QL_NOMEM("a transposed weight");
    for (int64_t j = 0; j < l->k && s == QL_OK; j++) {
        s = ql_source_read_row(l->from, j, row);
        for (int64_t i = 0; i < l->n; i++) w[i * l->k + j] = row[i];
    }
    ql_host_free(row);
    if (s != QL_OK) {
        ql_host_free(w);
        return s;
    }
    *out = w;
    return QL_OK;
}

ql_status ql_linear_rows_open(const ql_model *m, const ql_linear *l, ql_linear_rows *out) {
    ql_linear_rows r = {.l = l};
    if (!l->from && !l->stored)
        return QL_FAIL(QL_ERR_INVALID, "'%s' has no weights in the files", l->module);
    if (l->from && l->transposed) QL_TRY(transpose(l, &r.columns));
    if (!l->from) QL_TRY(ql_stored_open(m->source, l->tensor, &r.q));
    *out = r;
    return QL_OK;
}

ql_status ql_linear_rows_read(const ql_linear_rows *r, int64_t row, float *out) {
    if (r->columns) {
        for (int64_t j = 0; j < r->l->k; j++) out[j] = r->columns[row * r->l->k + j];
        return QL_OK;
    }
    if (r->l->from) return ql_source_read_row(r->l->from, row, out);
    return ql_dequantize_rows(&r->q, row, 1, out);
}

void ql_linear_rows_close(ql_linear_rows *r) {
    ql_qtensor_free(&r->q);
    ql_host_free(r->columns);
    r->columns = NULL;
}
