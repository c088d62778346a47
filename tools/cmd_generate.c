/*
 * cmd_generate.c - `qlora generate`: text from a prompt, or from a file of prompts, with the model
 * and its adapter. A model with an encoder reads the prompt as its source text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/model/search.h"
#include "tools/adapter_args.h"
#include "tools/data_args.h"
#include "tools/engine.h"
#include "tools/lines.h"
#include "tools/open_model.h"
#include "tools/prompt.h"
#include "tools/search_args.h"

typedef struct options {
    ql_model_args model;
    ql_search_args search;
    const char *adapter, *prompt, *prompt_ids, *file, *output, *system, *prefix;
    ql_template_args chat;
    int64_t context;
    uint64_t mem;
    bool raw;
} options;

/* One prompt and what came of it. */
typedef struct answer {
    ql_ids prompt, ids;
    char *text; /* NULL without a tokenizer */
    bool stopped;
    double score, seconds;
} answer;

typedef struct session {
    ql_cli *cli;
    const options *o;
    ql_device *dev;
    ql_model *model;
    ql_tokenizer *tok;
    ql_prompter prompter;
    ql_stops stops;
    ql_search_opts search;
    ql_generator *gen;
    ql_generator_opts made;
    int32_t start; /* the decoder's first token, -1 without an encoder */
    answer *answers;
    size_t n;
    bool stream;  /* write text while it grows */
    size_t shown; /* bytes of it             */
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

/* `text` behind the prefix, owned. */
static char *with_prefix(const char *prefix, const char *text, size_t len, size_t *out_len) {
    size_t front = prefix ? strlen(prefix) : 0;
    char *both = ql_host_calloc(front + len + 1, 1);
    if (!both) return NULL;
    memcpy(both, prefix ? prefix : "", front);
    memcpy(both + front, text, len);
    *out_len = front + len;
    return both;
}

static ql_status read_text(session *s, const char *text, size_t len, ql_ids *ids) {
    char *both = with_prefix(s->o->prefix, text, len, &len);
    if (!both) return QL_NOMEM("a prompt");
    /* A source is encoded as in training, where special tokens in a text are text. */
    ql_status st = s->model->arch.encoder.layers && s->tok
                       ? ql_tokenizer_encode(s->tok, both, len, QL_ENCODE_ADD_SPECIAL, ids)
                       : ql_prompt_text(&s->prompter, both, len, ids);
    ql_host_free(both);
    return st;
}

static ql_status read_row(session *s, const json_t *row, const char *where, ql_ids *ids) {
    const json_t *text = json_object_get(row, "prompt");
    if (!json_is_string(text) || json_is_array(json_object_get(row, "ids")))
        return ql_prompt_row(&s->prompter, row, where, ids);
    return read_text(s, json_string_value(text), json_string_length(text), ids);
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
        if (st == QL_OK) st = read_row(s, row, where, &a->prompt);
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
    return o->prompt ? read_text(s, o->prompt, strlen(o->prompt), &a->prompt)
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
    if (o->raw || o->prompt_ids || s->model->arch.encoder.layers) return QL_OK;
    return ql_choose_template(&o->chat, s->tok, &s->cli->out, &s->prompter.chat);
}

static ql_status check_ids(const ql_ids *ids, size_t number, int64_t vocab) {
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->ids[i] < vocab) continue;
        return QL_FAIL(QL_ERR_FORMAT, "prompt %zu: id %d is outside the vocabulary of %lld", number,
                       ids->ids[i], (long long)vocab);
    }
    return QL_OK;
}

/* Positions that the longest prompt and its answer take; behind an encoder the prompt has its own.
 */
static ql_status choose_context(session *s) {
    const bool encoder = s->model->arch.encoder.layers > 0;
    int64_t longest = 0, positions = s->model->arch.max_positions;
    for (size_t i = 0; i < s->n; i++) {
        int64_t n = (int64_t)s->answers[i].prompt.n;
        if (n < 1) return QL_FAIL(QL_ERR_FORMAT, "prompt %zu has no tokens", i + 1);
        if (n >= positions + encoder) {
            return QL_FAIL(QL_ERR_FORMAT,
                           "prompt %zu has %lld tokens, the model has %lld positions", i + 1,
                           (long long)n, (long long)positions);
        }
        QL_TRY(check_ids(&s->answers[i].prompt, i + 1, s->model->arch.vocab));
        if (n > longest) longest = n;
    }
    if (s->n == 0) return QL_FAIL(QL_ERR_FORMAT, "%s: holds no prompt", s->o->file);
    int64_t need = (encoder ? 1 : longest) + s->o->search.max_new;
    if (s->o->context) need = s->o->context;
    s->made = (ql_generator_opts){.compute = ql_model_args_compute(&s->o->model, s->dev),
                                  .context = (int32_t)(need < positions ? need : positions),
                                  .sequences = (int32_t)s->o->search.beams,
                                  .source = encoder ? (int32_t)longest : 0};
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

/* Writes what has been added to the text. */
static ql_status show_new(session *s, answer *a, bool last) {
    size_t len = 0;
    if (!s->stream) return QL_OK;
    QL_TRY(decode(s, a, &len));
    size_t end = last ? len : whole_bytes(a->text, len);
    if (end > s->shown) {
        fwrite(a->text + s->shown, 1, end - s->shown, stdout);
        fflush(stdout);
        s->shown = end;
    }
    return QL_OK;
}

/* Takes over the new ids, without the one that ends the answer. */
static ql_status take(answer *a, const ql_ids *ids, const ql_stops *stops) {
    bool end = ids->n && stops && ql_stops_have(stops, ids->ids[ids->n - 1]);
    for (size_t i = a->ids.n; i < ids->n - end; i++) QL_TRY(ql_ids_push(&a->ids, ids->ids[i]));
    return QL_OK;
}

typedef struct growing {
    session *s;
    answer *a;
} growing;

static ql_status step(void *user, const ql_ids *ids, bool *more) {
    growing *x = user;
    session *s = x->s;
    (void)more;
    if (!ids || !s->stream) return QL_OK;
    QL_TRY(take(x->a, ids, s->search.n_stop ? &s->stops : NULL));
    return show_new(s, x->a, false);
}

static ql_status search(session *s, answer *a, uint64_t first_draw, ql_answer *found) {
    ql_search_opts o = s->search;
    growing user = {.s = s, .a = a};
    o.first_draw = first_draw;
    o.step = step;
    o.user = &user;
    if (s->start < 0) return ql_search(s->gen, &o, a->prompt.ids, (int32_t)a->prompt.n, found);
    QL_TRY(ql_generator_set_source(s->gen, a->prompt.ids, (int32_t)a->prompt.n));
    return ql_search(s->gen, &o, &s->start, 1, found);
}

static ql_status generate(session *s, answer *a, uint64_t first_draw) {
    ql_answer found;
    double start = ql_now_s();
    s->shown = 0;
    QL_TRY(search(s, a, first_draw, &found));
    a->seconds = ql_now_s() - start;
    a->stopped = found.stopped;
    a->score = found.score;
    ql_status st = take(a, &found.ids, found.stopped ? &s->stops : NULL);
    ql_ids_free(&found.ids);
    if (st == QL_OK) st = show_new(s, a, true);
    size_t len;
    return st == QL_OK && s->tok ? decode(s, a, &len) : st;
}

static json_t *answer_json(const session *s, const answer *a) {
    json_t *ids = json_array();
    for (size_t i = 0; i < a->ids.n; i++) json_array_append_new(ids, json_integer(a->ids.ids[i]));
    json_t *text = a->text ? json_string(a->text) : json_null();
    json_t *doc = json_pack("{s:o, s:o, s:s, s:I, s:f}", "ids", ids, "text",
                            text ? text : json_null(), "stop", a->stopped ? "eos" : "length",
                            "prompt_tokens", (json_int_t)a->prompt.n, "seconds", a->seconds);
    if (doc && s->search.beams > 1) json_object_set_new(doc, "score", json_real(a->score));
    return doc;
}

/* ---------------------------------------------------------------------- result */

static ql_status write_row(const session *s, ql_sink *sink, const answer *a) {
    json_t *doc = answer_json(s, a);
    char *line = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    if (!line) return QL_NOMEM("a line of JSON");
    ql_status st = ql_sink_write(sink, line, strlen(line));
    if (st == QL_OK) st = ql_sink_write(sink, "\n", 1);
    free(line);
    return st;
}

static ql_status answer_file(session *s, ql_sink *sink) {
    bool rows = s->cli->json || s->o->output;
    for (size_t i = 0; i < s->n; i++) {
        answer *a = &s->answers[i];
        QL_TRY(generate(s, a, (uint64_t)i << 32));
        if (rows) QL_TRY(write_row(s, sink, a));
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
    return ql_print_json(&s->cli->out, answer_json(s, a));
}

/* --------------------------------------------------------------------- command */

static ql_exit start(session *s) {
    ql_out *out = &s->cli->out;
    ql_memory_report plan;
    ql_status st = ql_generator_plan_for(s->model, &s->made, s->dev, &plan);
    if (st == QL_OK) st = ql_engine_fits(s->dev, s->o->mem, &plan);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_PLAN, st);
    st = ql_generator_create_for(s->model, &s->made, s->dev, &s->gen);
    ql_progress_end(out);
    if (st == QL_OK) st = ql_load_adapter(s->model, s->o->adapter);
    return st == QL_OK ? QL_EXIT_OK : ql_fail(out, QL_STAGE_MODEL, st);
}

/* Does the model write text, and do the flags go with it? */
static ql_status check_model(session *s) {
    const options *o = s->o;
    const ql_arch *a = &s->model->arch;
    const bool encoder = a->encoder.layers > 0;
    if (a->task == QL_TASK_CLASSIFY)
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "a %s model with a classifier writes no text: see its predictions with "
                       "`qlora eval`",
                       a->family);
    if (o->prefix && !encoder)
        return QL_FAIL(QL_ERR_INVALID, "--source_prefix: a %s model has no encoder", a->family);
    if (o->prefix && o->prompt_ids)
        return QL_FAIL(QL_ERR_INVALID, "--source_prefix goes before words, not before ids");
    if (encoder && (o->system || o->chat.name))
        return QL_FAIL(QL_ERR_INVALID, "--%s: a %s model reads the prompt without a chat template",
                       o->system ? "system" : "chat_template", a->family);
    return QL_OK;
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
    if (st == QL_OK) st = check_model(s);
    if (st == QL_OK) st = open_tokenizer(s);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_MODEL, st);
    ql_stops_find(&s->model->arch, &s->prompter, &s->stops);
    st = ql_search_args_read(&o->search, s->model, (uint64_t)s->cli->seed, &s->stops, &s->search,
                             &s->start);
    if (st != QL_OK) return ql_fail(out, QL_STAGE_USAGE, st);
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
    ql_template_close(s.prompter.chat);
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
     .flags = QL_ARG_LIST,
     .at = OF(prompt_ids),
     .value = "LIST",
     .help = "token ids such as 1,5,7 instead of words"},
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "where the rows of --file go  [stdout]"},
    QL_TEMPLATE_ARG(options, chat),
    {.name = "system",
     .kind = QL_ARG_TEXT,
     .at = OF(system),
     .value = "TEXT",
     .help = "system message  [the template's]"},
    {.name = "raw", .kind = QL_ARG_BOOL, .at = OF(raw), .help = "the prompt without a template"},
    {.name = "source_prefix",
     .kind = QL_ARG_TEXT,
     .at = OF(prefix),
     .value = "TEXT",
     .help = "put in front of every source of an encoder-decoder, as in training"},
    QL_SEARCH_ARGS(options, search),
    {.name = "context",
     .kind = QL_ARG_INT,
     .flags = QL_ARG_ADVANCED,
     .at = OF(context),
     .fallback = "0",
     .lo = 0,
     .hi = 1 << 22,
     .help = "positions of the cache, 0 = prompt and answer"},
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
             "it is.\nWith --file and --json the output is one JSON line per prompt.\nAn "
             "encoder-decoder (T5, BART) reads the prompt as its source text.\n",
    .examples = "  qlora generate -m ./llama-7b-nf4 --adapter runs/a/adapter -p 'Who are you?'\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
