/* train_base.c - see train_base.h. */
#include "tools/train_base.h"

#include "core/base/fs.h"
#include "tools/loftq_report.h"

#define SETTINGS "settings.json" /* written last: with it the folder is whole */

static json_t *text(const char *s) {
    return s ? json_string(s) : json_null();
}

/* All that decides about the bytes of base and adapter. */
static json_t *settings(const ql_cli *cli, const ql_job_args *a) {
    const ql_quant_args *q = &a->model.quant;
    const ql_adapter_args *l = &a->adapter;
    return json_pack(
        "{s:s, s:I, s:o, s:o, s:b, s:I, s:I, s:s, s:b, s:s, s:I, s:f, s:b, s:s, s:o, s:o, s:o, "
        "s:o, s:o, s:s, s:s, s:s, s:I}",
        "model", a->model.model, "bits", (json_int_t)q->bits, "type", text(q->type), "by_layer",
        text(q->by_layer), "double_quant", q->double_quant, "block", (json_int_t)q->block, "block2",
        (json_int_t)q->block2, "rule", q->rule, "quantize_head", a->model.quantize_head, "init",
        l->init, "r", (json_int_t)l->r, "alpha", l->alpha, "rslora", l->rslora, "targets",
        l->targets, "rank_pattern", text(l->rank_pattern), "alpha_pattern", text(l->alpha_pattern),
        "exclude", text(l->exclude), "layers", text(l->layers), "layers_pattern",
        text(l->layers_pattern), "iter", a->loftq.iter, "svd", a->loftq.svd, "keep", a->loftq.keep,
        "seed", (json_int_t)cli->seed);
}

static bool is_there(const char *path, const json_t *wanted) {
    json_t *have = NULL;
    if (!ql_file_exists(path) || ql_json_read(path, &have) != QL_OK) return false;
    bool same = json_equal(have, wanted);
    json_decref(have);
    return same;
}

static ql_exit make(ql_cli *cli, const ql_job_args *a, const char *dir, const char *path,
                    const json_t *wanted) {
    const ql_loftq_job job = {&a->model, &a->adapter, &a->loftq, dir, true};
    ql_loftq_made made;
    ql_exit code = ql_loftq_make(cli, &job, &made);
    if (code != QL_EXIT_OK) return code;
    ql_loftq_total t = ql_loftq_total_of(&made);
    ql_note(&cli->out, "base  %s, relative error %.4f -> %.4f with the adapter", dir,
            t.norm > 0 ? t.plain / t.norm : 0.0, t.norm > 0 ? t.left / t.norm : 0.0);
    ql_loftq_made_free(&made);
    ql_status s = ql_json_write(path, wanted);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_RUN, s);
}

/* Makes or finds out->dir. */
static ql_exit ensure(ql_cli *cli, const ql_job_args *a, bool going_on, const ql_train_base *b) {
    char path[QL_PATH_MAX];
    ql_status s = ql_path_join(path, b->dir, SETTINGS);
    json_t *wanted = s == QL_OK ? settings(cli, a) : NULL;
    if (s == QL_OK && !wanted) s = QL_NOMEM("the settings of a base");
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, s);
    ql_exit code = QL_EXIT_OK;
    if (is_there(path, wanted)) {
        ql_note(&cli->out, "base  %s is there", b->dir);
    } else if (going_on) {
        ql_error(&cli->out,
                 "%s is not the base that the checkpoint was trained on (model, storage or adapter "
                 "settings differ); --resume never starts anew",
                 b->dir);
        code = QL_EXIT_USAGE;
    } else {
        code = make(cli, a, b->dir, path, wanted);
    }
    json_decref(wanted);
    return code;
}

ql_exit ql_train_base_make(ql_cli *cli, const ql_job_args *a, const char *run, bool going_on,
                           ql_train_base *out) {
    out->args = *a;
    out->dir[0] = '\0';
    if (!ql_init_splits(a->adapter.init) || a->adapter.from || a->train.full) return QL_EXIT_OK;
    ql_status s = ql_path_join(out->dir, run, "base");
    if (s == QL_OK) s = ql_path_join(out->adapter, out->dir, "adapter");
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, s);
    out->args.model.model = out->dir;
    out->args.model.tokenizer = ql_model_args_tokenizer(&a->model);
    return ensure(cli, a, going_on, out);
}
