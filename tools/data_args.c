/* data_args.c - see data_args.h. */
#include "tools/data_args.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/rng.h"

#define TEXT_ROW_TOKENS 1024 /* rows of a .txt file when --max_seq_len is not given */

/* ----------------------------------------------------- tokenizer and template */

/* The object of --chat_template_kwargs; NULL = none. */
static ql_status read_kwargs(const char *text, json_t **out) {
    *out = NULL;
    if (!text) return QL_OK;
    QL_TRY(ql_json_parse(text, strlen(text), "--chat_template_kwargs", out));
    if (json_is_object(*out)) return QL_OK;
    json_decref(*out);
    *out = NULL;
    return QL_FAIL(
        QL_ERR_INVALID,
        "--chat_template_kwargs takes an object such as {\"enable_thinking\": false}, not "
        "'%.60s'",
        text);
}

ql_status ql_choose_template(const ql_template_args *a, const ql_tokenizer *tok, ql_out *out,
                             const ql_template **chat) {
    json_t *kwargs;
    *chat = NULL;
    QL_TRY(read_kwargs(a->kwargs, &kwargs));
    ql_status s = ql_template_choose(a->name, kwargs, tok, chat);
    json_decref(kwargs);
    if (s != QL_ERR_FORMAT || a->name) return s;
    char why[500]; /* the model's own text cannot be compiled; it may be known by heart */
    (void)snprintf(why, sizeof why, "%s", ql_last_error());
    *chat = ql_template_recognise(ql_tokenizer_chat_template(tok));
    ql_note(out, "warning: %s; going on %s%s", why,
            *chat ? "with the template " : "without a template",
            *chat ? ql_template_name(*chat) : "");
    return QL_OK;
}

static void add_stop(ql_data *d, int32_t id) {
    if (id >= 0 && d->n_stop < (int32_t)(sizeof d->stop / sizeof *d->stop))
        d->stop[d->n_stop++] = id;
}

ql_status ql_data_open(ql_cli *cli, const ql_data_args *a, const char *path, ql_data *out) {
    ql_data d = {.labels = out->labels};
    if (strcmp(a->format, ql_data_format_name(QL_DATA_TOKENS)) == 0) {
        *out = d;
        return QL_OK;
    }
    QL_TRY(ql_tokenizer_open(path, &d.tok));
    ql_status s = ql_choose_template(&a->chat, d.tok, &cli->out, &d.chat);
    if (s != QL_OK) {
        ql_tokenizer_close(d.tok);
        return s;
    }
    add_stop(&d, ql_tokenizer_eos(d.tok));
    if (d.chat && *ql_template_stop(d.chat))
        add_stop(&d, ql_tokenizer_id(d.tok, ql_template_stop(d.chat)));
    *out = d;
    return QL_OK;
}

/* --------------------------------------------------------------------- rows */

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

static const char *const TASKS[] = {
    [QL_TASK_CAUSAL] = "causal", [QL_TASK_CLASSIFY] = "classify", [QL_TASK_SEQ2SEQ] = "seq2seq"};

const char *ql_task_name(ql_task task) {
    return TASKS[task];
}

ql_status ql_data_check_task(const char *task, const ql_arch *arch) {
    if (strcmp(task, "auto") == 0 || strcmp(task, TASKS[arch->task]) == 0) return QL_OK;
    return QL_FAIL(QL_ERR_INVALID, "--task %s: a model of the family %s does %s", task,
                   arch->family, TASKS[arch->task]);
}

/* What the model says about its rows. */
static void set_task(const ql_data *d, const ql_arch *arch, ql_dataset_opts *o) {
    o->task = arch->task;
    o->vocab = (int32_t)arch->vocab;
    o->num_labels = arch->n_labels;
    o->labels = (const char *const *)d->labels.names;
    o->type_rows = arch->body.front.types ? (int32_t)arch->body.front.type_rows : 0;
    o->decoder_start = arch->decoder_start;
    o->pad = arch->pad < 0 ? 0 : arch->pad;
}

ql_status ql_data_opts(const ql_data_args *a, const ql_data *d, const ql_arch *arch,
                       const char *path, ql_dataset_opts *out) {
    ql_dataset_opts o = ql_dataset_opts_default();
    if (!ql_data_format_find(a->format, &o.format)) {
        return QL_FAIL(QL_ERR_INVALID, "--dataset_format '%s' is unknown", a->format);
    }
    if (arch) set_task(d, arch, &o);
    bool text = o.format == QL_DATA_TEXT || (o.format == QL_DATA_AUTO && has_suffix(path, ".txt"));
    int64_t positions = arch ? arch->max_positions : TEXT_ROW_TOKENS;
    o.chat = d->chat;
    o.source_prefix = a->source_prefix;
    o.train_on_source = a->train_on_source;
    o.train_on = strcmp(a->train_on, "all") == 0    ? QL_TRAIN_ON_ALL
                 : strcmp(a->train_on, "last") == 0 ? QL_TRAIN_ON_LAST
                                                    : QL_TRAIN_ON_ASSISTANT;
    o.max_len = (int32_t)a->max_seq_len;
    if (text && !o.max_len)
        o.max_len = (int32_t)(positions < TEXT_ROW_TOKENS ? positions : TEXT_ROW_TOKENS);
    o.truncation = strcmp(a->truncation, "left") == 0    ? QL_TRUNCATE_LEFT
                   : strcmp(a->truncation, "right") == 0 ? QL_TRUNCATE_RIGHT
                                                         : QL_TRUNCATE_ERROR;
    o.source_max_len = (int32_t)a->source_max_len;
    o.target_max_len = (int32_t)a->target_max_len;
    *out = o;
    return QL_OK;
}

static ql_status load_file(const ql_data_args *a, const ql_data *d, const ql_arch *arch,
                           const char *path, int64_t max_rows, ql_dataset *out) {
    ql_dataset_opts o;
    QL_TRY(ql_data_opts(a, d, arch, path, &o));
    o.max_rows = max_rows;
    return ql_dataset_load(path, d->tok, &o, out);
}

/* -------------------------------------------------------------------- split */

static void count(ql_dataset *d) {
    d->tokens = d->supervised = 0;
    d->longest = d->longest_source = 0;
    for (int64_t i = 0; i < d->n; i++) ql_dataset_count(d, &d->items[i]);
}

/* --eval_dataset_size: a number of rows, or below 1 a part of them. */
ql_status ql_split_size(const char *text, int64_t rows, int64_t *out) {
    char *end;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || x < 0) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--eval_dataset_size takes a number of rows or a part such as 0.01, not "
                       "'%s'",
                       text);
    }
    *out = x < 1 ? (int64_t)ceil(x * (double)rows) : (int64_t)x;
    if (*out >= rows) {
        return QL_FAIL(QL_ERR_INVALID,
                       "--eval_dataset_size %s sets %lld rows aside, the data set has %lld", text,
                       (long long)*out, (long long)rows);
    }
    return QL_OK;
}

void ql_split_draw(int64_t rows, int64_t n, uint64_t seed, bool *drawn) {
    ql_stream stream = ql_stream_make(seed, QL_STREAM_SPLIT, 0);
    for (int64_t taken = 0; taken < n;) {
        uint64_t i = ql_stream_below(&stream, (uint64_t)rows);
        taken += !drawn[i];
        drawn[i] = true;
    }
}

/* Moves `n` rows drawn by `seed` from train to eval; both keep their order. */
static ql_status split(ql_data *d, int64_t n, uint64_t seed) {
    ql_dataset *t = &d->train;
    ql_example *eval = ql_host_calloc((size_t)n, sizeof *eval);
    bool *drawn = ql_host_calloc((size_t)t->n, sizeof *drawn);
    if (!eval || !drawn) {
        ql_host_free(eval);
        ql_host_free(drawn);
        return QL_NOMEM("the evaluation rows");
    }
    ql_split_draw(t->n, n, seed, drawn);
    int64_t kept = 0, moved = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (drawn[i])
            eval[moved++] = t->items[i];
        else
            t->items[kept++] = t->items[i];
    }
    ql_host_free(drawn);
    t->n = kept;
    d->eval = (ql_dataset){.items = eval, .n = n, .format = t->format, .task = t->task};
    d->has_eval = true;
    count(t);
    count(&d->eval);
    return QL_OK;
}

static int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

ql_longest ql_data_longest(const ql_data *d) {
    return (ql_longest){larger(d->train.longest, d->eval.longest),
                        larger(d->train.longest_source, d->eval.longest_source)};
}

/* A table of positions has an end; rotated and relative ones have none. */
static ql_status check_positions(const ql_arch *arch, ql_longest longest) {
    int64_t row = arch->body.front.positions ? longest.row : 0;
    int64_t source = arch->encoder.front.positions ? longest.source : 0;
    int64_t most = row > source ? row : source;
    if (most <= arch->max_positions) return QL_OK;
    return QL_FAIL(
        QL_ERR_INVALID,
        "the longest row has %lld tokens, the model has positions for %lld: cut the rows "
        "with --max_seq_len %lld --truncation right",
        (long long)most, (long long)arch->max_positions, (long long)arch->max_positions);
}

ql_status ql_data_load(const ql_data_args *a, const ql_arch *arch, uint64_t seed, ql_data *data) {
    if (a->eval_dataset && a->eval_size) {
        return QL_FAIL(QL_ERR_INVALID, "give --eval_dataset or --eval_dataset_size, not both");
    }
    QL_TRY(load_file(a, data, arch, a->dataset, a->max_rows, &data->train));
    if (a->eval_dataset) {
        QL_TRY(load_file(a, data, arch, a->eval_dataset, 0, &data->eval));
        data->has_eval = true;
    }
    QL_TRY(check_positions(arch, ql_data_longest(data)));
    if (!a->eval_size) return QL_OK;
    int64_t n = 0;
    QL_TRY(ql_split_size(a->eval_size, data->train.n, &n));
    return n ? split(data, n, seed) : QL_OK;
}

void ql_data_close(ql_data *d) {
    ql_dataset_free(&d->train);
    ql_dataset_free(&d->eval);
    ql_label_set_free(&d->labels);
    ql_template_close(d->chat);
    ql_tokenizer_close(d->tok);
    *d = (ql_data){0};
}

static bool ends_well(const ql_data *d, const ql_example *e) {
    int32_t last = QL_IGNORE;
    for (int32_t i = 0; i < e->n; i++)
        if (e->labels[i] != QL_IGNORE) last = e->labels[i];
    for (int32_t i = 0; i < d->n_stop; i++)
        if (last == d->stop[i]) return true;
    return false;
}

int64_t ql_data_without_eos(const ql_data *d) {
    if (!d->tok || d->train.task == QL_TASK_CLASSIFY) return -1;
    int64_t n = 0;
    for (int64_t i = 0; i < d->train.n; i++) n += !ends_well(d, &d->train.items[i]);
    return n;
}
