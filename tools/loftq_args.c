/* loftq_args.c - see loftq_args.h. */
#include "tools/loftq_args.h"

#include <stdlib.h>
#include <string.h>

#include "tools/open_model.h"

bool ql_init_splits(const char *init) {
    return ql_names_have("loftq pissa olora", init);
}

static ql_status read_iter(const char *text, ql_prepare_opts *o) {
    char *end;
    o->stop_early = strcmp(text, "auto") == 0;
    long n = o->stop_early ? QL_LOFTQ_AUTO_ITER : strtol(text, &end, 10);
    if (!o->stop_early && (end == text || *end || n < 1 || n > QL_LOFTQ_MAX_ITER))
        return QL_FAIL(QL_ERR_INVALID, "--loftq_iter takes a number from 1 to %d or auto, not '%s'",
                       QL_LOFTQ_MAX_ITER, text);
    o->iters = (int32_t)n;
    return QL_OK;
}

static ql_status options(ql_cli *cli, const ql_loftq_job *j, ql_prepare_opts *out) {
    const char *init = j->adapter->init, *svd = j->loftq->svd;
    ql_prepare_opts o = {.method = strcmp(init, "pissa") == 0   ? QL_SPLIT_PISSA
                                   : strcmp(init, "olora") == 0 ? QL_SPLIT_OLORA
                                                                : QL_SPLIT_LOFTQ,
                         .keep_last = strcmp(j->loftq->keep, "last") == 0,
                         .svd = ql_svd_opts_default(),
                         .seed = (uint64_t)cli->seed,
                         .base_name = j->output_dir,
                         .layers_only = j->layers_only};
    o.svd.method = strcmp(svd, "exact") == 0        ? QL_SVD_EXACT
                   : strcmp(svd, "randomized") == 0 ? QL_SVD_RANDOMIZED
                                                    : QL_SVD_AUTO;
    QL_TRY(read_iter(j->loftq->iter, &o));
    ql_model_opts m;
    QL_TRY(ql_model_args_opts(cli, j->model, &m));
    o.folder.dense = m.bits == 16;
    o.folder.quant = m.quant;
    o.folder.bits_by_layer = m.bits_by_layer;
    o.folder.quantize_head = m.quantize_head;
    *out = o;
    return QL_OK;
}

static void show_progress(void *user, int64_t done, int64_t total, const char *name) {
    ql_progress(user, false, "split  %lld/%lld  %s", (long long)done, (long long)total, name);
}

/* The model as its files hold it, with the shapes of the adapters. */
static ql_status open_model(ql_cli *cli, const ql_loftq_job *j, ql_model **out) {
    const ql_model_args as_stored = {.model = j->model->model, .quant.bits = 16};
    ql_lora_config c;
    ql_model *m;
    QL_TRY(ql_open_model(cli, &as_stored, NULL, &m));
    ql_status s = ql_adapter_args_config(cli, j->adapter, &c);
    if (s == QL_OK) {
        s = ql_model_attach_lora(m, &c);
        ql_lora_config_free(&c);
    }
    if (s != QL_OK) {
        ql_model_close(m);
        return s;
    }
    *out = m;
    return QL_OK;
}

ql_exit ql_loftq_make(ql_cli *cli, const ql_loftq_job *j, ql_loftq_made *out) {
    ql_prepare_opts o;
    ql_loftq_made made = {0};
    ql_device *dev;
    ql_status s = options(cli, j, &o);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    s = ql_cli_open_device(cli, 0, &dev); /* how many threads there are */
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    o.threads = dev->props.kind == QL_DEV_CPU ? (int)dev->props.compute_units : 1;
    dev->backend->device_close(dev);
    made.method = o.method;
    o.folder.progress = show_progress;
    o.folder.user = &cli->out;
    s = open_model(cli, j, &made.model);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = ql_prepare_folder(made.model, &o, j->output_dir, &made.report);
    ql_progress_end(&cli->out);
    if (s != QL_OK) {
        ql_model_close(made.model);
        return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    }
    *out = made;
    return QL_EXIT_OK;
}

void ql_loftq_made_free(ql_loftq_made *m) {
    ql_prepare_report_free(&m->report);
    ql_model_close(m->model);
    *m = (ql_loftq_made){0};
}
