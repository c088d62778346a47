/* oracle.c - models and batches of recorded cases (see oracle.h). */
#include "core/verify/oracle.h"

#include "core/base/hostmem.h"

ql_status ql_oracle_model(const char *dir, int32_t bits, const char *adapter_dir, ql_model **out) {
    ql_source *source = NULL;
    QL_TRY(ql_source_open(dir, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    o.optimizer = adapter_dir != NULL;
    ql_model *m = NULL;
    QL_TRY(ql_model_open(source, &o, &m));
    if (adapter_dir) {
        ql_lora_config cfg = {0};
        ql_status s = ql_lora_config_read(adapter_dir, &cfg);
        if (s == QL_OK) s = ql_model_attach_lora(m, &cfg);
        ql_lora_config_free(&cfg);
        if (s != QL_OK) {
            ql_model_close(m);
            return s;
        }
    }
    *out = m;
    return QL_OK;
}

static ql_status fill_example(const int64_t *ids, const float *mask, const int64_t *labels,
                              int64_t cols, int64_t row, ql_example *e) {
    e->ids = ql_host_calloc((size_t)cols, 2 * sizeof(int32_t)); /* one block: ids, then labels */
    if (!e->ids) return QL_NOMEM("an oracle batch");
    e->labels = e->ids + cols;
    e->row = row + 1;
    for (int64_t i = 0; i < cols; i++) {
        if (mask && mask[i] == 0) continue;
        e->ids[e->n] = (int32_t)ids[i];
        e->labels[e->n] = labels ? (int32_t)labels[i] : QL_IGNORE;
        e->n++;
    }
    return QL_OK;
}

ql_status ql_oracle_batch(const int64_t *ids, const float *mask, const int64_t *labels,
                          int64_t rows, int64_t cols, ql_batch *out) {
    ql_dataset d = {.n = rows};
    d.items = ql_host_calloc((size_t)rows, sizeof(ql_example));
    int64_t *index = ql_host_calloc((size_t)rows, sizeof(int64_t));
    ql_status s = d.items && index ? QL_OK : QL_NOMEM("an oracle batch");
    for (int64_t r = 0; r < rows && s == QL_OK; r++) {
        index[r] = r;
        s = fill_example(ids + r * cols, mask ? mask + r * cols : NULL,
                         labels ? labels + r * cols : NULL, cols, r, &d.items[r]);
    }
    ql_batch b = {0};
    if (s == QL_OK) s = ql_batch_create((int32_t)(rows * cols), (int32_t)rows, &b);
    if (s == QL_OK) s = ql_batch_fill(&b, &d, index, (int32_t)rows);
    ql_host_free(index);
    ql_dataset_free(&d);
    if (s != QL_OK) {
        ql_batch_free(&b);
        return s;
    }
    *out = b;
    return QL_OK;
}
