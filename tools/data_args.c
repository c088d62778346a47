/* data_args.c - see data_args.h. */
#include "tools/data_args.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"

#define KEEP_BYTES      (UINT64_C(256) << 20) /* of tokens in memory; the rest is mapped files */
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

/* A folder on a disk for the tokens of large sets: /tmp is often memory. */
static const char *scratch_dir(void) {
    const char *named = getenv("TMPDIR");
    if (named && *named) return named;
    return ql_dir_exists("/var/tmp") ? "/var/tmp" : "/tmp";
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
    o.scratch_dir = scratch_dir();
    o.keep_bytes = KEEP_BYTES;
    *out = o;
    return QL_OK;
}

static int32_t larger(int32_t a, int32_t b) {
    return a > b ? a : b;
}

ql_longest ql_data_longest(const ql_data *d) {
    return (ql_longest){larger(d->train.longest, d->eval.longest),
                        larger(d->train.longest_source, d->eval.longest_source)};
}

void ql_data_close(ql_data *d) {
    ql_dataset_free(&d->train);
    ql_dataset_free(&d->eval);
    ql_label_set_free(&d->labels);
    ql_template_close(d->chat);
    ql_tokenizer_close(d->tok);
    for (int32_t i = 0; i < d->n_sets; i++) ql_host_free(d->sets[i].path);
    ql_host_free(d->sets);
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
