/*
 * cmd_generate.c - `qlora generate`: text from a prompt, or from a file of prompts, with the model
 * and its adapter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/generate.h"
#include "tools/adapter_args.h"
#include "tools/data_args.h"
#include "tools/engine.h"
#include "tools/lines.h"
#include "tools/open_model.h"
#include "tools/prompt.h"

typedef struct options {
    ql_model_args model;
    const char *adapter, *prompt, *prompt_ids, *file, *output, *chat_template, *system;
    int64_t max_new, top_k, context;
    double temperature, top_p;
    uint64_t mem;
    bool raw, ignore_eos;
} options;

/* One prompt and what came of it. */
typedef struct answer {
    ql_ids prompt, ids;
    char *text; /* NULL without a tokenizer */
    bool stopped;
    double seconds;
} answer;

typedef struct session {
    ql_cli *cli;
    const options *o;
    ql_device *dev;
    ql_model *model;
    ql_tokenizer *tok;
    ql_prompter prompter;
    ql_stops stops;
    ql_generator *gen;
    answer *answers;
    size_t n;
    int32_t context;
    bool stream; /* write text while it grows */
} session;

/* -------------------------------------------------------------------- prompts */

/* "1,5,7" */
static ql_status parse_ids(const char *text, ql_ids *ids) {
    for (const char *at = text; *at;) {
        char *end;
        long v = strtol(at, &end, 10);
        if (end == at || v < 0 || v > INT32_MAX || (*end && *end != ',')) {
            return QL_FAIL(QL_ERR_INVALID, "--prompt_ids takes ids such as 1,5,7, not '%s'", text);
        }
        QL_TRY(ql_host_grow((void **)&ids->ids, &ids->cap, ids->n + 1, sizeof *ids->ids));
        ids->ids[ids->n++] = (int32_t)v;
        at = *end ? end + 1 : end;
    }
    return QL_OK;
}

static ql_status add_answer(session *s, answer **out) {
    size_t cap = s->n;
    QL_TRY(ql_host_grow((void **)&s->answers, &cap, s->n + 1, sizeof *s->answers));
    *out = &s->answers[s->n++];
    **out = (answer){.text = NULL};
    return QL_OK;
}

static ql_status read_rows(session *s, ql_lines *in) {
    for (;;) {
        json_t *row;
        char where[QL_PATH_MAX + 32];
        answer *a;
        QL_TRY(ql_lines_next_object(in, &row));
        if (!row) return QL_OK;
        snprintf(where, sizeof where, "%s: row %lld", in->path, (long long)in->row);
        ql_status st = add_answer(s, &a);
        if (st == QL_OK) st = ql_prompt_row(&s->prompter, row, where, &a->prompt);
        json_decref(row);
        QL_TRY(st);
    }
}

static ql_status read_prompts(session *s) {
    const options *o = s->o;
    if (o->file) {
        ql_lines in;
        QL_TRY(ql_lines_open(o->file, &in));
        ql_status st = read_rows(s, &in);
        ql_lines_close(&in);
        return st;
    }
    answer *a;
    QL_TRY(add_answer(s, &a));
    return o->prompt ? ql_prompt_text(&s->prompter, o->prompt, strlen(o->prompt), &a->prompt)
                     : parse_ids(o->prompt_ids, &a->prompt);
}

static ql_status open_tokenizer(session *s) {
    const options *o = s->o;
    if (o->prompt_ids && !o->model.tokenizer) {
        /* Ids need no tokenizer; with one the answer is shown in words. */
        if (ql_tokenizer_open(ql_model_args_tokenizer(&o->model), &s->tok) != QL_OK) s->tok = NULL;
    } else {
        QL_TRY(ql_tokenizer_open(ql_model_args_tokenizer(&o->model), &s->tok));
    }
    s->prompter.tok = s->tok;
    s->prompter.system = o->system;
    if (o->raw || o->prompt_ids) return QL_OK;
    return ql_choose_template(o->chat_template, s->tok, &s->cli->out, &s->prompter.chat);
}

static ql_status check_ids(const ql_ids *ids, size_t number, int64_t vocab) {
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->ids[i] < vocab) continue;
        return QL_FAIL(QL_ERR_FORMAT, "prompt %zu: id %d is outside the vocabulary of %lld", number,
                       ids->ids[i], (long long)vocab);
    }
    return QL_OK;
}

/* Positions that the longest prompt and its answer take. */
static ql_status choose_context(session *s) {
    int64_t need = 0, positions = s->model->arch.max_positions;
    for (size_t i = 0; i < s->n; i++) {
        int64_t n = (int64_t)s->answers[i].prompt.n;
        if (n < 1) return QL_FAIL(QL_ERR_FORMAT, "prompt %zu has no tokens", i + 1);
        if (n >= positions) {
            return QL_FAIL(QL_ERR_FORMAT,
                           "prompt %zu has %lld tokens, the model has %lld positions", i + 1,
                           (long long)n, (long long)positions);
        }
        QL_TRY(check_ids(&s->answers[i].prompt, i + 1, s->model->arch.vocab));
        if (n + s->o->max_new > need) need = n + s->o->max_new;
    }
    if (s->n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: holds no prompt", s->o->file);
    if (s->o->context) need = s->o->context;
    s->context = (int32_t)(need < positions ? need : positions);
    return QL_OK;
}

/* ----------------------------------------------------------------- generating */

/* Bytes of text that are whole: a character whose bytes have not all come is held back. */
static size_t whole_bytes(const char *text, size_t len) {
    static const char replacement[] = "\xef\xbf\xbd";
    while (len >= 3 && memcmp(text + len - 3, replacement, 3) == 0) len -= 3;
    return len;
}

static ql_status decode(const session *s, answer *a, size_t *len) {
    ql_host_free(a->text);
    a->text = NULL;
    return ql_tokenizer_decode(s->tok, a->ids.ids, a->ids.n, true, &a->text, len);
}

/* Writes what has been added to the text since `*shown`. */
static ql_status show_new(session *s, answer *a, size_t *shown, bool last) {
    size_t len = 0;
    if (!s->stream) return QL_OK;
    QL_TRY(decode(s, a, &len));
    size_t end = last ? len : whole_bytes(a->text, len);
    if (end > *shown) {
        fwrite(a->text + *shown, 1, end - *shown, stdout);
        fflush(stdout);
        *shown = end;
    }
    return QL_OK;
}

static ql_status push(ql_ids *v, int32_t id) {
    QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof *v->ids));
    v->ids[v->n++] = id;
    return QL_OK;
}

static ql_status generate(session *s, answer *a, uint64_t first_draw) {
    const options *o = s->o;
    const ql_sampling how = {.temperature = o->temperature,
                             .top_k = (int32_t)o->top_k,
                             .top_p = o->top_p,
                             .seed = (uint64_t)s->cli->seed};
    const float *logits;
    size_t shown = 0;
    double start = ql_now_s();
    ql_generator_reset(s->gen);
    QL_TRY(ql_generator_feed(s->gen, a->prompt.ids, (int32_t)a->prompt.n, &logits));
    for (int64_t i = 0; i < o->max_new; i++) {
        int32_t id;
        QL_TRY(ql_sample(&how, logits, s->model->arch.vocab, first_draw + (uint64_t)i, &id));
        a->stopped = !o->ignore_eos && ql_stops_have(&s->stops, id);
        if (a->stopped) break;
        QL_TRY(push(&a->ids, id));
        QL_TRY(show_new(s, a, &shown, false));
        bool full = ql_generator_position(s->gen) >= ql_generator_context(s->gen);
        if (full || i + 1 == o->max_new) break;
        QL_TRY(ql_generator_feed(s->gen, &id, 1, &logits));
    }
    a->seconds = ql_now_s() - start;
    QL_TRY(show_new(s, a, &shown, true));
    size_t len;
    return s->tok ? decode(s, a, &len) : QL_OK;
}

static json_t *answer_json(const answer *a) {
    json_t *ids = json_array();
    for (size_t i = 0; i < a->ids.n; i++) json_array_append_new(ids, json_integer(a->ids.ids[i]));
    json_t *text = a->text ? json_string(a->text) : json_null();
    return json_pack("{s:o, s:o, s:s, s:I, s:f}", "ids", ids, "text", text ? text : json_null(),
                     "stop", a->stopped ? "eos" : "length", "prompt_tokens",
                     (json_int_t)a->prompt.n, "seconds", a->seconds);
}

/* ---------------------------------------------------------------------- result */

static ql_status write_row(ql_sink *sink, const answer *a) {
    json_t *doc = answer_json(a);
    char *line = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    if (!line) return QL_NOMEM("a line of JSON");
    ql_status s = ql_sink_write(sink, line, strlen(line));
    if (s == QL_OK) s = ql_sink_write(sink, "\n", 1);
    free(line);
    return s;
}

static ql_status answer_file(session *s, ql_sink *sink) {
    bool rows = s->cli->json || s->o->output;
    for (size_t i = 0; i < s->n; i++) {
        answer *a = &s->answers[i];
        QL_TRY(generate(s, a, (uint64_t)i << 32));
        if (rows) QL_TRY(write_row(sink, a));
        if (!rows) ql_print(&s->cli->out, "%zu: %s\n", i + 1, a->text ? a->text : "");
        ql_progress(&s->cli->out, false, "generate  %zu/%zu", i + 1, s->n);
    }
    return QL_OK;
}

static ql_exit run_file(session *s) {
    ql_sink sink;
    ql_status st = ql_sink_open(s->o->output, &sink);
    if (st == QL_OK) {
        st = answer_file(s, &sink);
        if (st == QL_OK)
            st = ql_sink_commit(&sink);
        else
            ql_sink_abort(&sink);
    }
    return st == QL_OK ? QL_EXIT_OK : ql_fail(&s->cli->out, QL_STAGE_RUN, st);
}

static ql_exit run_one(session *s) {
    answer *a = &s->answers[0];
    s->stream = !s->cli->json && s->tok;
    ql_status st = generate(s, a, 0);
    if (s->stream) printf("\n");
    if (st != QL_OK) return ql_fail(&s->cli->out, QL_STAGE_RUN, st);
    if (!s->tok)
        for (size_t i = 0; i < a->ids.n; i++)
            ql_print(&s->cli->out, i + 1 < a->ids.n ? "%d " : "%d\n", a->ids.ids[i]);
    return ql_print_json(&s->cli->out, answer_json(a));
}

/* --------------------------------------------------------------------- command */

static ql_exit start(session *s) {
    ql_out *out = &s->cli->out;
    ql_dtype compute = ql_model_args_compute(&s->o->model, s->dev);
    ql_memory_report plan;
    ql_status st = ql_generator_plan(s->model, compute, s->context, s->dev, &plan);
    if (st == QL_OK) st = ql_engine_fits(s->dev, s->o->mem, &plan);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_PLAN, st);
    st = ql_generator_create(s->model, compute, s->context, s->dev, &s->gen);
    ql_progress_end(out);
    if (st == QL_OK) st = ql_load_adapter(s->model, s->o->adapter);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(out, QL_STAGE_MODEL, st);
}

static ql_exit run_session(session *s) {
    const options *o = s->o;
    ql_out *out = &s->cli->out;
    if ((o->prompt != NULL) + (o->prompt_ids != NULL) + (o->file != NULL) != 1) {
        ql_error(out, "give one of --prompt TEXT, --file PROMPTS.jsonl and --prompt_ids LIST");
        return QL_EXIT_USAGE;
    }
    ql_status st = ql_engine_open(s->cli, o->mem, &s->dev);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_DEVICE, st);
    st = ql_open_model(s->cli, &o->model, o->adapter, &s->model);
    if (st == QL_OK) st = open_tokenizer(s);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_MODEL, st);
    ql_stops_find(&s->model->arch, &s->prompter, &s->stops);
    st = read_prompts(s);
    if (st == QL_OK) st = choose_context(s);
    if (st != QL_OK) return ql_fail(out, o->file ? QL_STAGE_DATA : QL_STAGE_USAGE, st);
    ql_exit code = start(s);
    if (code != QL_EXIT_OK) return code;
    return o->file ? run_file(s) : run_one(s);
}

static ql_exit run(ql_cli *cli, void *opts) {
    session s = {.cli = cli, .o = opts};
    ql_exit code = run_session(&s);
    ql_generator_free(s.gen);
    for (size_t i = 0; i < s.n; i++) {
        ql_ids_free(&s.answers[i].prompt);
        ql_ids_free(&s.answers[i].ids);
        ql_host_free(s.answers[i].text);
    }
    ql_host_free(s.answers);
    ql_tokenizer_close(s.tok);
    ql_model_close(s.model);
    ql_engine_close(s.dev);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    QL_MODEL_ARGS(options, model, "16", "16 = as the files hold it; 4, 8: quantized on loading"),
    QL_ADAPTER_FOLDER_ARG(options, adapter, "use this adapter folder"),
    {.name = "prompt",
     .also = "-p",
     .kind = QL_ARG_TEXT,
     .at = OF(prompt),
     .value = "P",
     .help = "what the user says"},
    {.name = "file",
     .also = "-f",
     .kind = QL_ARG_TEXT,
     .at = OF(file),
     .value = "FILE",
     .help = "rows {\"prompt\"}, {\"messages\"} or {\"ids\"}; one answer each"},
    {.name = "prompt_ids",
     .kind = QL_ARG_TEXT,
     .at = OF(prompt_ids),
     .value = "LIST",
     .help = "token ids such as 1,5,7 instead of words"},
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "where the rows of --file go  [stdout]"},
    QL_TEMPLATE_ARG(options, chat_template),
    {.name = "system",
     .kind = QL_ARG_TEXT,
     .at = OF(system),
     .value = "TEXT",
     .help = "system message  [the template's]"},
    {.name = "raw", .kind = QL_ARG_BOOL, .at = OF(raw), .help = "the prompt without a template"},
    {.name = "max_new_tokens",
     .also = "-n",
     .kind = QL_ARG_INT,
     .at = OF(max_new),
     .fallback = "256",
     .lo = 1,
     .hi = 1 << 22,
     .help = "longest answer"},
    {.name = "temperature",
     .also = "--temp",
     .kind = QL_ARG_REAL,
     .at = OF(temperature),
     .fallback = "0",
     .lo = 0,
     .hi = 100,
     .help = "0 = always the likeliest token"},
    {.name = "top_k",
     .kind = QL_ARG_INT,
     .at = OF(top_k),
     .fallback = "0",
     .lo = 0,
     .hi = 1 << 24,
     .help = "draw from the N likeliest, 0 = all"},
    {.name = "top_p",
     .kind = QL_ARG_REAL,
     .at = OF(top_p),
     .fallback = "1",
     .lo = 0,
     .hi = 1,
     .help = "draw from the likeliest with this share, 1 = all"},
    {.name = "context",
     .kind = QL_ARG_INT,
     .flags = QL_ARG_ADVANCED,
     .at = OF(context),
     .fallback = "0",
     .lo = 0,
     .hi = 1 << 22,
     .help = "positions of the cache, 0 = prompt and answer"},
    {.name = "ignore_eos",
     .kind = QL_ARG_BOOL,
     .flags = QL_ARG_ADVANCED,
     .at = OF(ignore_eos),
     .help = "go on to --max_new_tokens"},
    {.name = "mem",
     .kind = QL_ARG_SIZE,
     .at = OF(mem),
     .help = "never use more device memory than SIZE  [all free]"},
};

const ql_command ql_cmd_generate = {
    .name = "generate",
    .summary = "Answer a prompt, or a file of prompts.",
    .usage = "-m D [--adapter A] --prompt P\n"
             "       qlora generate -m D [--adapter A] --file PROMPTS.jsonl [--json]",
    .about = "The prompt goes through the model's chat template, as in training; --raw takes it as "
             "it is.\nWith --file and --json the output is one JSON line per prompt.\n",
    .examples = "  qlora generate -m ./llama-7b-nf4 --adapter runs/a/adapter -p 'Who are you?'\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
