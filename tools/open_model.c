/* open_model.c - see open_model.h. */
#include "tools/open_model.h"

#include "tools/labels.h"

static ql_status attach(ql_model *m, const char *adapter) {
    ql_lora_config c;
    QL_TRY(ql_lora_config_read(adapter, &c));
    c.dropout = 0; /* the model is used, not trained */
    ql_status s = ql_model_attach_lora(m, &c);
    ql_lora_config_free(&c);
    return s;
}

static ql_status choose_labels(const ql_source *source, const char *adapter, int64_t num_labels,
                               ql_label_set *out) {
    const json_t *config = ql_source_config(source);
    ql_arch arch;
    QL_TRY(ql_arch_from_config(config, ql_source_path(source), &arch));
    if (arch.task != QL_TASK_CLASSIFY) return QL_OK;
    return ql_labels_choose(num_labels, config, adapter, NULL, out);
}

ql_status ql_open_labelled(ql_cli *cli, const ql_model_args *a, const char *adapter,
                           int64_t num_labels, ql_label_set *labels, ql_model **out) {
    ql_model_opts o;
    ql_source *source;
    ql_model *m = NULL;
    QL_TRY(ql_model_args_opts(cli, a, &o));
    QL_TRY(ql_model_args_source(a, false, &source));
    ql_status s = choose_labels(source, adapter, num_labels, labels);
    if (s != QL_OK) {
        ql_source_close(source);
        return s;
    }
    o.n_labels = labels->n;
    s = ql_model_open(source, &o, &m);
    if (s == QL_OK && adapter) s = attach(m, adapter);
    if (s != QL_OK) {
        ql_model_close(m);
        ql_label_set_free(labels);
        return s;
    }
    *out = m;
    return QL_OK;
}

ql_status ql_open_model(ql_cli *cli, const ql_model_args *a, const char *adapter, ql_model **out) {
    ql_label_set labels = {0};
    ql_status s = ql_open_labelled(cli, a, adapter, 0, &labels, out);
    ql_label_set_free(&labels);
    return s;
}

ql_status ql_load_adapter(ql_model *m, const char *adapter) {
    return adapter ? ql_adapter_load(m, adapter) : QL_OK;
}
