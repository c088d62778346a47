/*
 * cmd_eval.c - `qlora eval`: perplexity of a text; loss on rows, with scores of the predictions for
 * models that classify or have an encoder and a decoder.
 *
 * Perplexity: the text is tokenized once; window k covers tokens [k stride, k stride + window) and
 * scores those that no earlier window scored; the very first token of a window has no prediction.
 */
#include <math.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "tools/adapter_args.h"
#include "tools/data_args.h"
#include "tools/engine.h"
#include "tools/evaluator.h"
#include "tools/labels.h"
#include "tools/open_model.h"
#include "tools/score_report.h"

typedef struct options {
    ql_model_args model;
    ql_data_args data;
    const char *adapter, *file;
    int64_t window, stride, batch;
    uint64_t mem;
    bool add_bos;
} options;

typedef struct session {
    ql_cli *cli;
    const options *o;
    ql_device *dev;
    ql_model *model;
    ql_data data;
    ql_evaluator eval;
    ql_batch batch;
    double nll;
    int64_t tokens, bytes; /* scored; of the text */
    ql_scores scores;      /* no plain decoder */
} session;

/* Plans, checks the budget, places the model, loads the adapter. */
static ql_exit start(session *s, ql_longest longest, int32_t seqs) {
    ql_out *out = &s->cli->out;
    const ql_predict_opts o = {.compute = ql_model_args_compute(&s->o->model, s->dev),
                               .batch = seqs,
                               .max_len = longest.row,
                               .max_source_len = longest.source};
    ql_status st = ql_evaluator_plan(s->model, s->dev, &o, &s->eval);
    if (st == QL_OK) st = ql_engine_fits(s->dev, s->o->mem, &s->eval.plan);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_PLAN, st);
    st = ql_batch_create(longest.row * seqs, seqs, longest.source * seqs, &s->batch);
    if (st == QL_OK) st = ql_evaluator_start(&s->eval);
    ql_progress_end(out);
    if (st == QL_OK) st = ql_load_adapter(s->model, s->o->adapter);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(out, QL_STAGE_MODEL, st);
}

/* ----------------------------------------------------------------- perplexity */

static ql_status tokenize_file(session *s, ql_ids *ids) {
    ql_map map;
    QL_TRY(ql_map_open(s->o->file, &map));
    s->bytes = (int64_t)map.size;
    unsigned flags = s->o->add_bos ? QL_ENCODE_ADD_SPECIAL : 0;
    ql_status st = ql_tokenizer_encode(s->data.tok, map.data ? (const char *)map.data : "",
                                       (size_t)map.size, flags, ids);
    ql_map_close(&map);
    if (st == QL_OK && ids->n < 2) {
        st = QL_FAIL(QL_ERR_FORMAT, "%s: %zu tokens; a text to evaluate has two or more",
                     s->o->file, ids->n);
    }
    return st;
}

/* Labels of window [begin, end): tokens below `scored` stand there only to be read. */
static void label_window(const ql_ids *ids, size_t begin, size_t end, size_t scored,
                         int32_t *labels) {
    for (size_t i = begin; i < end; i++) labels[i - begin] = i < scored ? QL_IGNORE : ids->ids[i];
}

static ql_status run_windows(session *s, const ql_ids *ids, size_t window, size_t stride) {
    int32_t *labels = ql_host_calloc(window, sizeof *labels);
    if (!labels) return QL_NOMEM("a window of labels");
    ql_status st = QL_OK;
    size_t scored = 0;
    for (size_t begin = 0; scored < ids->n && st == QL_OK; begin += stride) {
        size_t end = ids->n - begin < window ? ids->n : begin + window;
        label_window(ids, begin, end, scored, labels);
        st = ql_batch_fill_flat(&s->batch, ids->ids + begin, labels, NULL, (int32_t)(end - begin));
        if (st == QL_OK) st = ql_evaluator_run(&s->eval, &s->batch, &s->nll);
        s->tokens += s->batch.labelled;
        scored = end;
        ql_progress(&s->cli->out, false, "eval  %s of %s tokens  ppl %.4f",
                    ql_text_count((int64_t)end).s, ql_text_count((int64_t)ids->n).s,
                    s->tokens ? exp(s->nll / (double)s->tokens) : 0.0);
    }
    ql_host_free(labels);
    return st;
}

static ql_exit report(session *s, const char *what, int64_t window, int64_t stride) {
    ql_out *out = &s->cli->out;
    ql_progress_end(out);
    if (s->tokens == 0 || !isfinite(s->nll)) {
        ql_error(out, "%s: %s", what,
                 s->tokens ? "the loss is not finite: the model or adapter is damaged"
                           : "there is no token to score");
        return s->tokens ? QL_EXIT_DIVERGED : QL_EXIT_DATA;
    }
    double mean = s->nll / (double)s->tokens;
    ql_print(out, "loss %.6f · ppl %.4f · %s tokens scored · %s\n", mean, exp(mean),
             ql_text_count(s->tokens).s, what);
    json_t *doc = json_pack("{s:f, s:I, s:f, s:f, s:f, s:I}", "nll", s->nll, "tokens",
                            (json_int_t)s->tokens, "ppl", exp(mean), "loss", mean, "bits_per_token",
                            mean / log(2.0), "mem_bytes", (json_int_t)ql_engine_peak(s->dev));
    if (doc && window) {
        json_object_set_new(doc, "window", json_integer(window));
        json_object_set_new(doc, "stride", json_integer(stride));
        json_object_set_new(doc, "bits_per_byte",
                            json_real(s->nll / (log(2.0) * (double)s->bytes)));
    }
    return ql_print_json(out, doc);
}

static ql_exit perplexity_of(session *s, const ql_ids *ids) {
    int64_t window = s->o->window ? s->o->window : s->model->arch.max_positions;
    int64_t stride = s->o->stride ? s->o->stride : window;
    if (stride > window) {
        ql_error(&s->cli->out, "--stride %lld exceeds --window %lld: tokens would be left out",
                 (long long)stride, (long long)window);
        return QL_EXIT_USAGE;
    }
    size_t longest = ids->n < (size_t)window ? ids->n : (size_t)window;
    ql_exit code = start(s, (ql_longest){(int32_t)longest, 0}, 1);
    if (code != QL_EXIT_OK) return code;
    ql_status st = run_windows(s, ids, (size_t)window, (size_t)stride);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    return report(s, s->o->file, window, stride);
}

static ql_exit perplexity(session *s) {
    ql_ids ids = {0};
    if (!s->o->file) {
        ql_error(&s->cli->out, "--task perplexity needs --file TEXT");
        return QL_EXIT_USAGE;
    }
    ql_status st = ql_tokenizer_open(ql_model_args_tokenizer(&s->o->model), &s->data.tok);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
    st = tokenize_file(s, &ids);
    ql_exit code = st == QL_OK ? perplexity_of(s, &ids) : ql_fail(&s->cli->out, QL_STAGE_DATA, st);
    ql_ids_free(&ids);
    return code;
}

/* ------------------------------------------------------------------- data set */

static ql_status run_rows(session *s) {
    const ql_dataset *d = &s->data.train;
    for (int64_t i = 0; i < d->n;) {
        int64_t index[64];
        int32_t n = 0;
        for (; i < d->n && n < s->o->batch; i++) index[n++] = i;
        QL_TRY(ql_batch_fill(&s->batch, d, index, n));
        QL_TRY(ql_evaluator_run(&s->eval, &s->batch, &s->nll));
        s->tokens += s->batch.labelled;
        ql_progress(&s->cli->out, false, "eval  %lld/%lld rows", (long long)i, (long long)d->n);
    }
    return QL_OK;
}

static ql_exit report_scores(session *s, const char *what) {
    ql_out *out = &s->cli->out;
    ql_progress_end(out);
    double mean = s->nll / (double)s->tokens;
    if (!isfinite(mean)) {
        ql_error(out, "%s: the loss is not finite: the model or adapter is damaged", what);
        return QL_EXIT_DIVERGED;
    }
    ql_print(out, "loss %.6f · %s · %s rows · %s\n", mean, ql_scores_text(&s->scores).s,
             ql_text_count(s->scores.rows).s, what);
    json_t *doc = json_pack("{s:s, s:f, s:I, s:I, s:I}", "task", ql_task_name(s->scores.task),
                            "loss", mean, "rows", (json_int_t)s->scores.rows, "targets",
                            (json_int_t)s->tokens, "mem_bytes", (json_int_t)ql_engine_peak(s->dev));
    if (doc) ql_scores_json(&s->scores, "", doc);
    return ql_print_json(out, doc);
}

static ql_exit dataset_loss(session *s) {
    ql_out *out = &s->cli->out;
    ql_status st =
        ql_data_open(s->cli, &s->o->data, ql_model_args_tokenizer(&s->o->model), &s->data);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_MODEL, st);
    ql_data_args rows = s->o->data;
    if (s->o->file) rows.dataset = s->o->file;
    st = ql_data_load(&rows, &s->model->arch, 0, &s->data);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_DATA, st);
    ql_longest longest = ql_data_longest(&s->data);
    int64_t tokens = s->o->batch * ((int64_t)longest.row + longest.source);
    if (tokens > INT32_MAX / 4) {
        ql_error(out, "a batch of %lld tokens is too large; lower --batch_size", (long long)tokens);
        return QL_EXIT_USAGE;
    }
    ql_exit code = start(s, longest, (int32_t)s->o->batch);
    if (code != QL_EXIT_OK) return code;
    st = run_rows(s);
    if (st == QL_OK && s->eval.predicts)
        st = ql_evaluator_scores(&s->eval, &s->data.train, &s->scores);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_RUN, st);
    return s->eval.predicts ? report_scores(s, rows.dataset) : report(s, rows.dataset, 0, 0);
}

/* -------------------------------------------------------------------- command */

static ql_status check_task(const session *s) {
    const ql_arch *arch = &s->model->arch;
    const char *task = s->o->data.task;
    if (strcmp(task, "perplexity") != 0) return ql_data_check_task(task, arch);
    if (arch->task == QL_TASK_CAUSAL) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "--task perplexity: a model of the family %s does %s",
                   arch->family, ql_task_name(arch->task));
}

static ql_exit run_session(session *s) {
    const options *o = s->o;
    if ((o->data.dataset != NULL) == (o->file != NULL)) {
        ql_error(&s->cli->out,
                 "give --file FILE (perplexity of a text) or --dataset FILE (loss on answers)");
        return QL_EXIT_USAGE;
    }
    ql_status st = ql_engine_open(s->cli, o->mem, &s->dev);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_DEVICE, st);
    st = ql_open_labelled(s->cli, &o->model, o->adapter, o->data.num_labels, &s->data.labels,
                          &s->model);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_MODEL, st);
    st = check_task(s);
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_USAGE, st);
    bool text = o->file && s->model->arch.task == QL_TASK_CAUSAL;
    return text ? perplexity(s) : dataset_loss(s);
}

static ql_exit run(ql_cli *cli, void *opts) {
    session s = {.cli = cli, .o = opts};
    ql_exit code = run_session(&s);
    ql_evaluator_free(&s.eval);
    ql_batch_free(&s.batch);
    ql_data_close(&s.data);
    ql_model_close(s.model);
    ql_engine_close(s.dev);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    QL_MODEL_ARGS(options, model, "16", "16 = as the files hold it; 4, 8: quantized on loading"),
    QL_ADAPTER_FOLDER_ARG(options, adapter, "use this adapter folder"),
    {.name = "task",
     .kind = QL_ARG_CHOICE,
     .at = OF(data.task),
     .fallback = "auto",
     .choices = "auto perplexity classify seq2seq|mmlu gsm8k rouge glue kl",
     .help = "what is measured; auto: what the model is for"},
    {.name = "file",
     .also = "-f",
     .kind = QL_ARG_TEXT,
     .at = OF(file),
     .value = "FILE",
     .help = "text to measure perplexity on; rows for classify and seq2seq"},
    {.name = "window",
     .kind = QL_ARG_INT,
     .at = OF(window),
     .fallback = "0",
     .lo = 0,
     .hi = 1 << 22,
     .help = "tokens of a window, 0 = the model's positions"},
    {.name = "stride",
     .kind = QL_ARG_INT,
     .at = OF(stride),
     .fallback = "0",
     .lo = 0,
     .hi = 1 << 22,
     .help = "tokens from window to window, 0 = the window"},
    {.name = "add_special_tokens",
     .kind = QL_ARG_BOOL,
     .at = OF(add_bos),
     .fallback = "false",
     .value = "B",
     .help = "put BOS in front of the text"},
    {.name = "dataset",
     .kind = QL_ARG_TEXT,
     .at = OF(data.dataset),
     .value = "FILE",
     .help = "rows to measure the loss on, as in training"},
    QL_DATA_FORMAT_ARGS(options, data),
    {.name = "batch_size",
     .also = "-b --per_device_eval_batch_size",
     .kind = QL_ARG_INT,
     .at = OF(batch),
     .fallback = "4",
     .lo = 1,
     .hi = 64,
     .help = "rows of --dataset at once"},
    {.name = "mem",
     .kind = QL_ARG_SIZE,
     .at = OF(mem),
     .help = "never use more device memory than SIZE  [all free]"},
};

const ql_command ql_cmd_eval = {
    .name = "eval",
    .summary = "Measure perplexity on a text, or loss and predictions on a data set.",
    .usage = "-m D [--adapter A] --file TEXT [--window N] [--stride N]\n"
             "       qlora eval -m D [--adapter A] --dataset FILE",
    .about =
        "Models that classify print accuracy, F1 and Matthews' correlation (one label: Pearson "
        "and Spearman);\nencoder-decoders print token accuracy and exact match with teacher "
        "forcing.\n",
    .examples = "  qlora eval -m ./llama-7b --file wiki.txt --window 2048\n"
                "  qlora eval -m ./llama-7b-nf4 --adapter runs/a/adapter --dataset heldout.jsonl\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
