/*
 * cmd_template.c - `qlora template`: conversations to the text that the model reads.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "tools/data_args.h"
#include "tools/lines.h"
#include "tools/prompt.h"

typedef struct options {
    const char *model, *file, *output;
    ql_template_args chat;
    bool answers;
} options;

/* What the model learns to say: spans of one turn that follow each other are one answer. */
static json_t *answers_of(const ql_rendered *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_spans;) {
        size_t turn = r->spans[i].turn, begin = r->spans[i].begin, end = begin;
        for (; i < r->n_spans && r->spans[i].turn == turn; i++) end = r->spans[i].end;
        if (turn) json_array_append_new(list, json_stringn(r->text + begin, end - begin));
    }
    return list;
}

static ql_status write_text(ql_sink *sink, const ql_rendered *r, bool answers) {
    json_t *doc = json_pack("{s:o}", "text", json_stringn(r->text, r->len));
    if (doc && answers) json_object_set_new(doc, "answers", answers_of(r));
    char *line = doc ? json_dumps(doc, 0) : NULL;
    json_decref(doc);
    if (!line) return QL_FAIL(QL_ERR_FORMAT, "a rendered text is not UTF-8");
    ql_status s = ql_sink_write(sink, line, strlen(line));
    if (s == QL_OK) s = ql_sink_write(sink, "\n", 1);
    free(line);
    return s;
}

typedef struct renderer {
    const ql_template *t;
    const ql_tokenizer *tok;
    bool answers;
} renderer;

static ql_status render_row(const renderer *how, const json_t *row, const char *where,
                            ql_sink *sink) {
    ql_message *m;
    ql_chat chat;
    bool prompt = false;
    ql_rendered r;
    QL_TRY(ql_json_get_bool(row, where, "add_generation_prompt", &prompt));
    QL_TRY(ql_prompt_chat(row, where, how->tok, &m, &chat));
    chat.add_generation_prompt = prompt;
    chat.answers = how->answers ? QL_ANSWERS_ALL : QL_ANSWERS_NONE;
    ql_status s = ql_template_render_chat(how->t, &chat, &r);
    ql_host_free(m);
    if (s != QL_OK) {
        char cause[500];
        snprintf(cause, sizeof cause, "%s", ql_last_error());
        return QL_FAIL(s, "%s: %s", where, cause);
    }
    s = write_text(sink, &r, how->answers);
    ql_rendered_free(&r);
    return s;
}

static ql_status render_file(ql_lines *in, const renderer *how, ql_sink *sink) {
    for (;;) {
        json_t *row;
        char where[QL_PATH_MAX + 32];
        QL_TRY(ql_lines_next_object(in, &row));
        if (!row) return QL_OK;
        snprintf(where, sizeof where, "%s: row %lld", in->path, (long long)in->row);
        ql_status s = render_row(how, row, where, sink);
        json_decref(row);
        QL_TRY(s);
    }
}

static ql_exit render(ql_cli *cli, const options *o, const renderer *how) {
    ql_lines in;
    ql_sink sink;
    ql_status s = ql_lines_open(o->file, &in);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, s);
    s = ql_sink_open(o->output, &sink);
    if (s == QL_OK) {
        s = render_file(&in, how, &sink);
        if (s == QL_OK)
            s = ql_sink_commit(&sink);
        else
            ql_sink_abort(&sink);
    }
    ql_lines_close(&in);
    return s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_DATA, s);
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    ql_tokenizer *tok;
    const ql_template *t;
    ql_status s = ql_tokenizer_open(o->model, &tok);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    s = ql_choose_template(&o->chat, tok, &cli->out, &t);
    ql_exit code = s == QL_OK ? QL_EXIT_OK : ql_fail(&cli->out, QL_STAGE_USAGE, s);
    if (s == QL_OK && !t) {
        ql_error(&cli->out,
                 "%s: no chat template; choose one with "
                 "--chat_template (%s)",
                 o->model, ql_template_names());
        code = QL_EXIT_USAGE;
    } else if (s == QL_OK) {
        const renderer how = {t, tok, o->answers};
        code = render(cli, o, &how);
    }
    ql_template_close(t);
    ql_tokenizer_close(tok);
    return code;
}

#define OF(field) offsetof(options, field)
static const ql_arg args[] = {
    {.name = "model_name_or_path",
     .also = "-m --model",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(model),
     .value = "D",
     .help = "folder with tokenizer files, or a .gguf"},
    {.name = "file",
     .also = "-f",
     .kind = QL_ARG_TEXT,
     .flags = QL_ARG_REQUIRED,
     .at = OF(file),
     .value = "FILE",
     .help = "rows {\"messages\": [...], \"tools\", \"add_generation_prompt\": B}"},
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "where the rows {\"text\"} go  [stdout]"},
    {.name = "answers",
     .kind = QL_ARG_BOOL,
     .at = OF(answers),
     .fallback = "false",
     .value = "B",
     .help = "add what is learned of each row: {\"answers\": [text, ...]}"},
    QL_TEMPLATE_ARG(options, chat),
};

const ql_command ql_cmd_template = {
    .name = "template",
    .summary = "Show the text that a chat template makes of conversations.",
    .usage = "-m D --file IN.jsonl [--chat_template NAME|FILE.jinja]",
    .about = "The status is 3 when the template refuses a conversation.\n",
    .examples = "  qlora template -m ./model.gguf --file chats.jsonl\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
