/*
 * cmd_tokenize.c - `qlora tokenize`: rows of text to rows of token ids, or back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/tokenizer.h"
#include "tools/cli.h"
#include "tools/lines.h"

typedef struct options {
    const char *model, *file, *output;
    bool decode, add_special, parse_special;
} options;

typedef struct totals {
    int64_t rows, tokens;
} totals;

/* "{"ids": [1, 2]}\n" into *text (owned). */
static ql_status format_ids(const ql_ids *v, char **text, size_t *len) {
    enum { PER_ID = 13, FRAME = 32 };
    size_t cap = v->n * PER_ID + FRAME, n;
    char *out = ql_host_calloc(cap, 1);
    if (!out) return QL_NOMEM("a row of ids");
    n = (size_t)snprintf(out, cap, "{\"ids\": [");
    for (size_t i = 0; i < v->n; i++) {
        n += (size_t)snprintf(out + n, cap - n, i ? ", %d" : "%d", v->ids[i]);
    }
    n += (size_t)snprintf(out + n, cap - n, "]}\n");
    *text = out;
    *len = n;
    return QL_OK;
}

static ql_status encode_row(const options *o, const ql_tokenizer *tok, const ql_lines *in,
                            const json_t *row, ql_sink *sink, totals *t) {
    const json_t *text = json_object_get(row, "text");
    if (!json_is_string(text)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: row %lld has no string 'text'", in->path,
                       (long long)in->row);
    }
    unsigned flags = (o->add_special ? QL_ENCODE_ADD_SPECIAL : 0u) |
                     (o->parse_special ? QL_ENCODE_PARSE_SPECIAL : 0u);
    ql_ids ids = {0};
    char *line = NULL;
    size_t len = 0;
    ql_status s =
        ql_tokenizer_encode(tok, json_string_value(text), json_string_length(text), flags, &ids);
    if (s == QL_OK) s = format_ids(&ids, &line, &len);
    if (s == QL_OK) s = ql_sink_write(sink, line, len);
    t->tokens += (int64_t)ids.n;
    ql_host_free(line);
    ql_ids_free(&ids);
    return s;
}

/* The row's "ids" as an array of the tokenizer's ids; *ids is owned. */
static ql_status read_ids(const ql_tokenizer *tok, const ql_lines *in, const json_t *row,
                          int32_t **ids, size_t *n) {
    const json_t *list = json_object_get(row, "ids");
    if (!json_is_array(list)) {
        return QL_FAIL(QL_ERR_FORMAT, "%s: row %lld has no array 'ids'", in->path,
                       (long long)in->row);
    }
    size_t count = json_array_size(list);
    int32_t *out = ql_host_calloc(count ? count : 1, sizeof *out);
    if (!out) return QL_NOMEM("a row of ids");
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= ql_tokenizer_size(tok)) {
            ql_host_free(out);
            return QL_FAIL(QL_ERR_FORMAT,
                           "%s: row %lld: ids[%zu] is no id of this tokenizer (0 to %d)", in->path,
                           (long long)in->row, i, ql_tokenizer_size(tok) - 1);
        }
        out[i] = (int32_t)v;
    }
    *ids = out;
    *n = count;
    return QL_OK;
}

static ql_status write_text(const ql_lines *in, const char *text, size_t len, ql_sink *sink) {
    json_t *string = json_stringn(text, len);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    ql_status s;
    if (!quoted) {
        s = QL_FAIL(QL_ERR_FORMAT, "%s: row %lld decodes to bytes that are not UTF-8", in->path,
                    (long long)in->row);
    } else {
        s = ql_sink_write(sink, "{\"text\": ", 9);
        if (s == QL_OK) s = ql_sink_write(sink, quoted, strlen(quoted));
        if (s == QL_OK) s = ql_sink_write(sink, "}\n", 2);
    }
    free(quoted);
    json_decref(string);
    return s;
}

static ql_status decode_row(const ql_tokenizer *tok, const ql_lines *in, const json_t *row,
                            ql_sink *sink, totals *t) {
    int32_t *ids = NULL;
    size_t n = 0, len = 0;
    char *text = NULL;
    ql_status s = read_ids(tok, in, row, &ids, &n);
    if (s == QL_OK) s = ql_tokenizer_decode(tok, ids, n, false, &text, &len);
    if (s == QL_OK) s = write_text(in, text, len, sink);
    t->tokens += (int64_t)n;
    ql_host_free(text);
    ql_host_free(ids);
    return s;
}

static ql_status convert(ql_cli *cli, const options *o, const ql_tokenizer *tok, ql_lines *in,
                         ql_sink *sink, totals *t) {
    for (;;) {
        json_t *row;
        QL_TRY(ql_lines_next_object(in, &row));
        if (!row) return QL_OK;
        ql_status s =
            o->decode ? decode_row(tok, in, row, sink, t) : encode_row(o, tok, in, row, sink, t);
        json_decref(row);
        QL_TRY(s);
        t->rows++;
        if (o->output) {
            ql_progress(&cli->out, false, "tokenize  row %lld  %lld tokens", (long long)t->rows,
                        (long long)t->tokens);
        }
    }
}

static ql_exit run_on(ql_cli *cli, const options *o, const ql_tokenizer *tok) {
    ql_lines in;
    ql_sink sink;
    totals t = {0, 0};
    ql_status s = ql_lines_open(o->file, &in);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_DATA, s);
    s = ql_sink_open(o->output, &sink);
    if (s != QL_OK) {
        ql_lines_close(&in);
        return ql_fail(&cli->out, QL_STAGE_RUN, s);
    }
    s = convert(cli, o, tok, &in, &sink, &t);
    ql_lines_close(&in);
    if (s != QL_OK) {
        ql_exit code = ql_fail(&cli->out, QL_STAGE_DATA, s);
        ql_sink_abort(&sink);
        return code;
    }
    s = ql_sink_commit(&sink);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_RUN, s);
    if (o->output) {
        ql_print(&cli->out, "%lld rows, %lld tokens -> %s\n", (long long)t.rows,
                 (long long)t.tokens, o->output);
    }
    if (!cli->json) return QL_EXIT_OK;
    return ql_print_json(&cli->out, json_pack("{s:I, s:I, s:s}", "rows", (json_int_t)t.rows,
                                              "tokens", (json_int_t)t.tokens, "output", o->output));
}

static ql_exit run(ql_cli *cli, void *opts) {
    const options *o = opts;
    if (cli->json && !o->output) {
        ql_error(&cli->out, "--json needs --output: the rows would go to standard output as well");
        return QL_EXIT_USAGE;
    }
    ql_tokenizer *tok;
    ql_status s = ql_tokenizer_open(o->model, &tok);
    if (s != QL_OK) return ql_fail(&cli->out, QL_STAGE_MODEL, s);
    ql_exit code = run_on(cli, o, tok);
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
     .help = "rows {\"text\": ...}, or {\"ids\": [...]} with --decode"},
    {.name = "output",
     .also = "-o",
     .kind = QL_ARG_TEXT,
     .at = OF(output),
     .value = "FILE",
     .help = "where the rows go  [stdout]"},
    {.name = "decode",
     .kind = QL_ARG_BOOL,
     .at = OF(decode),
     .help = "ids to text; special tokens stay"},
    {.name = "add_special_tokens",
     .kind = QL_ARG_BOOL,
     .at = OF(add_special),
     .fallback = "false",
     .value = "B",
     .help = "add what the tokenizer puts around a text (BOS ...)"},
    {.name = "parse_special",
     .kind = QL_ARG_BOOL,
     .at = OF(parse_special),
     .fallback = "true",
     .value = "B",
     .help = "special tokens written in the text become their ids"},
};

const ql_command ql_cmd_tokenize = {
    .name = "tokenize",
    .summary = "Turn rows of text into rows of token ids, or back.",
    .usage = "-m D --file IN.jsonl [--output OUT.jsonl] [--decode]",
    .examples = "  qlora tokenize -m ./llama-7b --file in.jsonl --output ids.jsonl\n"
                "  qlora tokenize -m ./model.gguf --file ids.jsonl --decode\n",
    .args = args,
    .n_args = sizeof args / sizeof *args,
    .opts_bytes = sizeof(options),
    .run = run,
};
