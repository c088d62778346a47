/* oracle.c - models, inputs and batches of recorded cases (see oracle.h). */
#include "core/verify/oracle.h"

#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"

/* ---------------------------------------------------------------- models */

/* An adapter that LoftQ made fits the base quantized as it was: nothing of the base changes. */
static ql_status read_settings(const char *dir, ql_lora_config *out) {
    char path[QL_PATH_MAX];
    json_t *c = NULL;
    QL_TRY(ql_path_join(path, dir, "adapter_config.json"));
    QL_TRY(ql_json_read(path, &c));
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    if (init && !strcmp(init, "loftq")) json_object_del(c, "init_lora_weights");
    ql_status s = ql_lora_config_parse(c, path, out);
    json_decref(c);
    return s;
}

ql_status ql_oracle_model(const char *dir, int32_t bits, bool double_quant, const char *adapter_dir,
                          ql_model **out) {
    ql_source *source = NULL;
    QL_TRY(ql_source_open(dir, &source));
    ql_model_opts o = ql_model_opts_default();
    o.bits = bits;
    o.quant.double_quant = double_quant;
    o.optimizer = adapter_dir != NULL;
    ql_model *m = NULL;
    QL_TRY(ql_model_open(source, &o, &m));
    if (adapter_dir) {
        ql_lora_config cfg = {0};
        ql_status s = read_settings(adapter_dir, &cfg);
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

/* ---------------------------------------------------------------- inputs */

/* Tensor `name` as integers; dims 1 or 2. Absent: *out stays NULL when optional. */
static ql_status read_ids(const ql_st_file *f, const char *what, const char *name, bool optional,
                          int64_t *rows, int64_t *cols, int64_t **out) {
    const ql_st_tensor *t = ql_st_find(f, name);
    if (!t && optional) return QL_OK;
    if (!t || t->dims < 1 || t->dims > 2 || t->numel < 1)
        return QL_FAIL(QL_ERR_FORMAT, "%s: the oracle has no vector or matrix '%s'", what, name);
    *rows = t->shape[0];
    *cols = t->dims == 2 ? t->shape[1] : 0;
    int64_t *x = ql_host_calloc((size_t)t->numel, sizeof(int64_t));
    if (!x) return QL_NOMEM("oracle ids");
    ql_status s = ql_st_read_i64(t, 0, t->numel, x);
    if (s != QL_OK) {
        ql_host_free(x);
        return s;
    }
    *out = x;
    return QL_OK;
}

/* Labels: integers, or floating numbers of a regression. */
static ql_status read_labels(const ql_st_file *f, const char *what, int64_t *rows,
                             ql_oracle_inputs *in) {
    const ql_st_tensor *t = ql_st_find(f, "labels");
    bool floating = t && (t->dtype == QL_ST_F32 || t->dtype == QL_ST_F16 || t->dtype == QL_ST_BF16);
    if (!floating) return read_ids(f, what, "labels", false, rows, &in->label_cols, &in->labels);
    *rows = t->shape[0];
    if (t->numel != *rows)
        return QL_FAIL(QL_ERR_FORMAT, "%s: floating labels must be one per row", what);
    in->values = ql_host_calloc((size_t)t->numel, sizeof(float));
    return in->values ? ql_st_read_f32(t, 0, t->numel, in->values) : QL_NOMEM("oracle labels");
}

static ql_status read_all(const ql_st_file *f, const char *what, ql_oracle_inputs *in) {
    int64_t rows = 0, cols = 0, *mask = NULL;
    QL_TRY(read_ids(f, what, "input_ids", false, &in->rows, &in->cols, &in->ids));
    rows = in->rows;
    cols = in->cols;
    QL_TRY(read_ids(f, what, "token_type_ids", true, &rows, &cols, &in->types));
    if (rows == in->rows && cols == in->cols)
        QL_TRY(read_ids(f, what, "attention_mask", false, &rows, &cols, &mask));
    bool same = rows == in->rows && cols == in->cols && in->cols > 0;
    in->mask = ql_host_calloc((size_t)(in->rows * in->cols) + 1, sizeof(float));
    for (int64_t i = 0; in->mask && mask && same && i < rows * cols; i++)
        in->mask[i] = (float)mask[i];
    ql_host_free(mask);
    if (!in->mask) return QL_NOMEM("oracle ids");
    QL_TRY(read_labels(f, what, &rows, in));
    if (same && rows == in->rows) return QL_OK;
    return QL_FAIL(QL_ERR_FORMAT,
                   "%s: input_ids, token_type_ids, attention_mask and labels differ in shape",
                   what);
}

ql_status ql_oracle_inputs_read(const ql_st_file *f, const char *what, ql_oracle_inputs *out) {
    ql_oracle_inputs in = {0};
    ql_status s = read_all(f, what, &in);
    if (s != QL_OK) {
        ql_oracle_inputs_free(&in);
        return s;
    }
    *out = in;
    return QL_OK;
}

void ql_oracle_inputs_free(ql_oracle_inputs *in) {
    ql_host_free(in->ids);
    ql_host_free(in->types);
    ql_host_free(in->labels);
    ql_host_free(in->mask);
    ql_host_free(in->values);
    *in = (ql_oracle_inputs){0};
}

/* ---------------------------------------------------------------- batches */

/* The row's ids without padding -> ids, types, labels; returns how many. */
static int32_t unpadded(const ql_oracle_inputs *in, int64_t row, int32_t *ids, int32_t *types,
                        int32_t *labels) {
    int32_t n = 0;
    for (int64_t i = row * in->cols; i < (row + 1) * in->cols; i++) {
        if (in->mask && in->mask[i] == 0) continue;
        ids[n] = (int32_t)in->ids[i];
        if (types && in->types) types[n] = (int32_t)in->types[i];
        if (labels) labels[n] = in->labels ? (int32_t)in->labels[i] : QL_IGNORE;
        n++;
    }
    return n;
}

/* Decoder inputs: labels shifted right behind the start id; ignored labels are padding. The last
 * label that counts starts a decoder without a start id (mbart). */
static void shift_right(const int64_t *labels, int32_t n, const ql_arch *a, int32_t *ids) {
    int32_t first = a->decoder_start;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = labels[i] == QL_IGNORE ? a->pad : (int32_t)labels[i];
        if (a->decoder_start < 0 && id != a->pad) first = id;
        if (i + 1 < n) ids[i + 1] = id;
    }
    ids[0] = first;
}

static ql_status fill_example(const ql_oracle_inputs *in, const ql_arch *a, int64_t row,
                              ql_example *e) {
    size_t room = (size_t)(in->cols > in->label_cols ? in->cols : in->label_cols);
    e->ids = ql_host_calloc(room, 3 * sizeof(int32_t));
    if (!e->ids) return QL_NOMEM("an oracle batch");
    e->row = row + 1;
    switch (a->task) {
    case QL_TASK_CAUSAL:
        e->labels = e->ids + room;
        e->n = unpadded(in, row, e->ids, NULL, e->labels);
        return QL_OK;
    case QL_TASK_CLASSIFY:
        if (in->types) e->types = e->ids + room;
        e->n = unpadded(in, row, e->ids, e->types, NULL);
        e->target = in->labels ? (int32_t)in->labels[row] : 0;
        e->value = in->values ? in->values[row] : 0.0f;
        return QL_OK;
    case QL_TASK_SEQ2SEQ: break;
    }
    e->labels = e->ids + room;
    e->source = e->ids + 2 * room;
    e->n_source = unpadded(in, row, e->source, NULL, NULL);
    e->n = (int32_t)in->label_cols;
    const int64_t *labels = in->labels + row * in->label_cols;
    for (int32_t i = 0; i < e->n; i++) e->labels[i] = (int32_t)labels[i];
    shift_right(labels, e->n, a, e->ids);
    return QL_OK;
}

/* Do the labels fit the task? */
static ql_status check_labels(const ql_oracle_inputs *in, const ql_arch *a) {
    bool per_row = a->task == QL_TASK_CLASSIFY;
    bool fits = per_row ? in->label_cols == 0 : in->labels != NULL || !in->label_cols;
    if (a->task == QL_TASK_CAUSAL) fits &= !in->labels || in->label_cols == in->cols;
    if (a->task == QL_TASK_SEQ2SEQ) fits &= in->label_cols > 0;
    if (per_row && !in->labels && !(in->values && a->n_labels == 1)) fits = false;
    return fits ? QL_OK
                : QL_FAIL(QL_ERR_FORMAT, "oracle: its labels do not fit a %s model", a->family);
}

ql_status ql_oracle_batch(const ql_oracle_inputs *in, const ql_arch *a, ql_batch *out) {
    QL_TRY(check_labels(in, a));
    ql_dataset d = {.n = in->rows, .task = a->task};
    d.items = ql_host_calloc((size_t)in->rows, sizeof(ql_example));
    int64_t *index = ql_host_calloc((size_t)in->rows, sizeof(int64_t));
    ql_status s = d.items && index ? QL_OK : QL_NOMEM("an oracle batch");
    for (int64_t r = 0; r < in->rows && s == QL_OK; r++) {
        index[r] = r;
        s = fill_example(in, a, r, &d.items[r]);
    }
    bool pairs = a->task == QL_TASK_SEQ2SEQ;
    int64_t tokens = in->rows * (pairs ? in->label_cols : in->cols);
    ql_batch b = {0};
    if (s == QL_OK)
        s = ql_batch_create((int32_t)tokens, (int32_t)in->rows,
                            pairs ? (int32_t)(in->rows * in->cols) : 0, &b);
    if (s == QL_OK) s = ql_batch_fill(&b, &d, index, (int32_t)in->rows);
    ql_host_free(index);
    ql_dataset_free(&d);
    if (s != QL_OK) {
        ql_batch_free(&b);
        return s;
    }
    *out = b;
    return QL_OK;
}
