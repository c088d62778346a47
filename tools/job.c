/* job.c - see job.h. */
#include "tools/job.h"

#include "tools/engine.h"

/* Rows of 1024 + 256 tokens, qlora.py's setting, where neither data nor flags say it. */
#define PLAN_TOKENS 1280

static ql_status open_model(ql_cli *cli, const ql_job_args *a, bool shapes, ql_model **out) {
    ql_model_opts o;
    ql_source *source;
    QL_TRY(ql_model_args_opts(cli, &a->model, &o));
    o.full = a->train.full;
    o.optimizer = true;
    if (a->train.full && a->adapter.from) {
        return QL_FAIL(QL_ERR_INVALID, "--full trains all weights; it takes no adapter");
    }
    QL_TRY(ql_model_args_source(&a->model, shapes, &source));
    return ql_model_open(source, &o, out);
}

static ql_status attach(const ql_cli *cli, const ql_job_args *a, ql_model *m) {
    if (a->train.full) return QL_OK;
    ql_lora_config c;
    QL_TRY(ql_adapter_args_config(cli, &a->adapter, &c));
    ql_status s = ql_model_attach_lora(m, &c);
    ql_lora_config_free(&c);
    return s;
}

static int32_t plan_length(const ql_job_args *a, const ql_job *j) {
    int32_t longest = ql_data_longest(&j->data);
    int64_t positions = j->model->arch.max_positions;
    if (j->has_data) return longest < 2 ? 2 : longest;
    if (a->data.max_seq_len) return (int32_t)a->data.max_seq_len;
    return (int32_t)(positions < PLAN_TOKENS ? positions : PLAN_TOKENS);
}

static ql_exit open_data(ql_cli *cli, const ql_job_args *a, ql_job *j) {
    if (!a->data.dataset) return QL_EXIT_OK;
    ql_status s = ql_data_open(cli, &a->data, ql_model_args_tokenizer(&a->model), &j->data);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    const ql_arch *arch = &j->model->arch;
    s = ql_data_load(&a->data, arch->vocab, arch->max_positions,
                     ql_train_args_data_seed(cli, &a->train), &j->data);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, s);
    j->has_data = true;
    int32_t longest = ql_data_longest(&j->data);
    if (longest > arch->max_positions) {
        ql_note(&cli->out, "warning: the longest row has %s tokens, the model was made for %s",
                ql_text_count(longest).s, ql_text_count(arch->max_positions).s);
    }
    return QL_EXIT_OK;
}

static ql_exit open_plan(ql_cli *cli, const ql_job_args *a, ql_job *j) {
    ql_dtype compute = ql_model_args_compute(&a->model, j->dev);
    ql_status s = ql_train_args_opts(cli, &a->train, &a->data, j->has_data ? &j->data : NULL,
                                     plan_length(a, j), compute, &j->opts);
    if (s == QL_OK) s = ql_trainer_plan(j->model, &j->opts, j->dev, &j->plan);
    if (s == QL_OK) s = ql_engine_budget(j->dev, a->train.mem, &j->plan, &j->budget);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_PLAN, s);
}

static ql_exit open_all(ql_cli *cli, const ql_job_args *a, bool shapes, ql_job *j) {
    ql_status s = ql_engine_open(cli, a->train.mem, &j->dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    s = open_model(cli, a, shapes, &j->model);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = attach(cli, a, j->model);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    ql_exit code = open_data(cli, a, j);
    return code == QL_EXIT_OK ? open_plan(cli, a, j) : code;
}

ql_exit ql_job_open(ql_cli *cli, const ql_job_args *a, bool shapes, ql_job *out) {
    ql_job j = {.args = a};
    ql_exit code = open_all(cli, a, shapes, &j);
    if (code != QL_EXIT_OK) {
        ql_job_close(&j);
        return code;
    }
    *out = j;
    return QL_EXIT_OK;
}

void ql_job_close(ql_job *j) {
    ql_data_close(&j->data);
    ql_model_close(j->model);
    ql_engine_close(j->dev);
    *j = (ql_job){0};
}
