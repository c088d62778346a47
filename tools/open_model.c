/* open_model.c - see open_model.h. */
#include "tools/open_model.h"

static ql_status attach(ql_model *m, const char *adapter) {
    ql_lora_config c;
    QL_TRY(ql_lora_config_read(adapter, &c));
    c.dropout = 0; /* the model is used, not trained */
    ql_status s = ql_model_attach_lora(m, &c);
    ql_lora_config_free(&c);
    return s;
}

ql_status ql_open_model(ql_cli *cli, const ql_model_args *a, const char *adapter, ql_model **out) {
    ql_model_opts o;
    ql_source *source;
    ql_model *m;
    QL_TRY(ql_model_args_opts(cli, a, &o));
    QL_TRY(ql_model_args_source(a, false, &source));
    QL_TRY(ql_model_open(source, &o, &m));
    ql_status s = adapter ? attach(m, adapter) : QL_OK;
    if (s != QL_OK) {
        ql_model_close(m);
        return s;
    }
    *out = m;
    return QL_OK;
}

ql_status ql_load_adapter(ql_model *m, const char *adapter) {
    return adapter ? ql_adapter_load(m, adapter) : QL_OK;
}
