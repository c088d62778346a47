/* job.c - see job.h. */
#include "tools/job.h"

#include "tools/engine.h"
#include "tools/labels.h"

/* Rows of 1024 + 256 tokens, qlora.py's setting, where neither data nor flags say it. */
#define PLAN_TOKENS 1280

/* The model's task agrees with --task; a classifier gets its classes before it is opened. Failures
 * are said. */
static ql_exit choose_labels(ql_cli *cli, const ql_job_args *a, const ql_source *source,
                             ql_label_set *out) {
    const json_t *config = ql_source_config(source);
    ql_arch arch;
    ql_status s = ql_arch_from_config(config, ql_source_path(source), &arch);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = ql_data_check_task(a->data.task, &arch);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_USAGE, s);
    if (arch.task != QL_TASK_CLASSIFY) return QL_EXIT_OK;
    ql_data sets = {0}; /* the first of several files says what the classes are */
    if (a->data.dataset) s = ql_data_sets_parse(a->data.dataset, &sets);
    if (s == QL_OK)
        s = ql_labels_choose(a->data.num_labels, config, a->adapter.from,
                             sets.n_sets ? sets.sets[0].path : NULL, out);
    ql_data_close(&sets);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_DATA, s);
}

/* --target_bpw: the rules that were chosen go into *o, which borrows them from *b. */
static ql_status choose_bits(ql_cli *cli, const ql_job_args *a, ql_model_opts *o, ql_bpw *b) {
    if (a->bits.target == 0) return QL_OK;
    if (a->train.full)
        return QL_FAIL(QL_ERR_INVALID, "--full trains all weights; none is quantized");
    const ql_bits_request r = {.model = a->model.model,
                               .tokenizer = ql_model_args_tokenizer(&a->model),
                               .quant = o->quant,
                               .quantize_head = a->model.quantize_head};
    QL_TRY(ql_bits_args_choose(cli, &a->bits, &r, b));
    o->bits_by_layer = b->rules;
    return QL_OK;
}

static ql_exit open_model(ql_cli *cli, const ql_job_args *a, bool shapes, ql_job *j) {
    ql_model_opts o;
    ql_source *source;
    ql_bpw chosen = {0};
    ql_status s = ql_model_args_opts(cli, &a->model, &o);
    if (s == QL_OK) s = choose_bits(cli, a, &o, &chosen);
    if (s == QL_OK && a->train.full && a->adapter.from)
        s = QL_FAIL(QL_ERR_INVALID, "--full trains all weights; it takes no adapter");
    if (s == QL_OK) s = ql_model_args_source(&a->model, shapes, &source);
    if (s != QL_OK) {
        ql_bpw_free(&chosen);
        return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    }
    ql_exit code = choose_labels(cli, a, source, &j->data.labels);
    if (code != QL_EXIT_OK) {
        ql_bpw_free(&chosen);
        ql_source_close(source);
        return code;
    }
    o.full = a->train.full;
    o.optimizer = true;
    o.n_labels = j->data.labels.n;
    s = ql_model_open(source, &o, &j->model);
    ql_bpw_free(&chosen);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_MODEL, s);
}

static ql_status attach(const ql_cli *cli, const ql_job_args *a, ql_model *m) {
    if (a->train.full) return QL_OK;
    ql_lora_config c;
    QL_TRY(ql_adapter_args_config(cli, &a->adapter, &c));
    ql_status s = ql_model_attach_lora(m, &c);
    ql_lora_config_free(&c);
    return s;
}

/* A row has two tokens at least; without data the flags say the lengths, or a usual one. */
static ql_longest plan_length(const ql_job_args *a, const ql_job *j) {
    ql_longest longest = ql_data_longest(&j->data);
    int64_t positions = j->model->arch.max_positions;
    if (j->has_data) {
        if (longest.row < 2) longest.row = 2;
        if (a->data.packing && a->data.max_seq_len > longest.row) /* room for several rows */
            longest.row = (int32_t)a->data.max_seq_len;
        return longest;
    }
    int64_t row = positions < PLAN_TOKENS ? positions : PLAN_TOKENS, source;
    if (a->data.max_seq_len) row = a->data.max_seq_len;
    source = row;
    if (j->model->arch.task == QL_TASK_SEQ2SEQ && a->data.target_max_len)
        row = a->data.target_max_len;
    if (a->data.source_max_len) source = a->data.source_max_len;
    return (ql_longest){(int32_t)row, (int32_t)source};
}

static void warn_of_length(ql_cli *cli, const ql_arch *arch, ql_longest l) {
    int32_t longest = l.source > l.row ? l.source : l.row;
    if (longest <= arch->max_positions) return;
    ql_note(&cli->out, "warning: the longest row has %s tokens, the model was made for %s",
            ql_text_count(longest).s, ql_text_count(arch->max_positions).s);
}

static ql_exit open_data(ql_cli *cli, const ql_job_args *a, ql_job *j) {
    if (!a->data.dataset) return QL_EXIT_OK;
    ql_status s = ql_data_open(cli, &a->data, ql_model_args_tokenizer(&a->model), &j->data);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    const ql_arch *arch = &j->model->arch;
    s = ql_data_load(&a->data, arch, ql_train_args_data_seed(cli, &a->train), &j->data);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, s);
    j->has_data = true;
    warn_of_length(cli, arch, ql_data_longest(&j->data));
    return QL_EXIT_OK;
}

/* Prompts of the samples that are wanted on the way. */
static ql_exit open_sampler(ql_cli *cli, const ql_job_args *a, ql_job *j) {
    if (!ql_sample_wanted(&a->sample)) return QL_EXIT_OK;
    ql_status s = ql_sampler_open(&a->sample, j->model, j->has_data ? &j->data : NULL, &j->sampler);
    bool flag = s == QL_ERR_INVALID || s == QL_ERR_UNSUPPORTED;
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, flag ? QL_STAGE_USAGE : QL_STAGE_DATA, s);
}

static ql_exit open_plan(ql_cli *cli, const ql_job_args *a, ql_job *j) {
    ql_dtype compute = ql_model_args_compute(&a->model, j->dev);
    ql_status s = ql_train_args_opts(cli, &a->train, &a->data, j->has_data ? &j->data : NULL,
                                     plan_length(a, j), compute, &j->opts);
    if (s == QL_OK && ql_sample_wanted(&a->sample))
        j->opts.sample = ql_sampler_room(&j->sampler, j->model, plan_length(a, j), compute);
    if (s == QL_OK) s = ql_trainer_plan(j->model, &j->opts, j->dev, &j->plan);
    if (s == QL_OK) s = ql_engine_budget(j->dev, a->train.mem, &j->plan, &j->budget);
    if (s == QL_OK) s = ql_budget_climb(j->model, j->dev, j->budget, &j->opts, &j->plan, &j->rung);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_PLAN, s);
}

static ql_exit open_all(ql_cli *cli, const ql_job_args *a, bool shapes, ql_job *j) {
    ql_status s = ql_engine_open(cli, a->train.mem, &j->dev);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DEVICE, s);
    ql_exit code = open_model(cli, a, shapes, j);
    if (code != QL_EXIT_OK) return code;
    s = attach(cli, a, j->model);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    code = open_data(cli, a, j);
    if (code == QL_EXIT_OK) code = open_sampler(cli, a, j);
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
    ql_sampler_free(&j->sampler);
    ql_data_close(&j->data);
    ql_model_close(j->model);
    ql_engine_close(j->dev);
    *j = (ql_job){0};
}
