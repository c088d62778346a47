/*
 * data.c - rows from files, from text in memory and from arrays of ids.
 */
#include <stdio.h>
#include <string.h>

#include "core/api/api.h"
#include "core/base/hostmem.h"
#include "core/data/dataset_internal.h"

#define TEXT_ROW_TOKENS 1024 /* rows of plain text when max_len is 0 */

static ql_status truncation_of(const char *name, ql_truncation *out) {
    static const char *const names[] = {
        [QL_TRUNCATE_ERROR] = "error", [QL_TRUNCATE_LEFT] = "left", [QL_TRUNCATE_RIGHT] = "right"};
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (ql_truncation)i;
        return QL_OK;
    }
    return QL_FAIL(QL_ERR_INVALID, "truncation takes error, left or right, not '%.64s'",
                   name ? name : "(NULL)");
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Everything but tokenizer and template. `name`: the file's, which decides about plain text. */
static ql_status core_opts(const qlora_model *m, const qlora_data_opts *o, const char *name,
                           ql_dataset_opts *out) {
    ql_dataset_opts d = ql_dataset_opts_default();
    if (o->format && !ql_data_format_find(o->format, &d.format))
        return QL_FAIL(QL_ERR_INVALID, "format '%.64s' is unknown", o->format);
    QL_TRY(truncation_of(o->truncation, &d.truncation));
    QL_TRY(ql_api_int("max_len", o->max_len, 0, 1 << 24, &d.max_len));
    bool text = m->core->arch.task == QL_TASK_CAUSAL && ends_with(name, ".txt");
    if (d.format == QL_DATA_AUTO && text) d.format = QL_DATA_TEXT;
    int64_t positions = m->core->arch.max_positions;
    if (d.format == QL_DATA_TEXT && !d.max_len)
        d.max_len = (int32_t)(positions < TEXT_ROW_TOKENS ? positions : TEXT_ROW_TOKENS);
    d.train_on_source = o->train_on_source;
    d.max_rows = o->max_rows;
    const ql_arch *arch = &m->core->arch;
    d.vocab = (int32_t)arch->vocab;
    d.task = arch->task;
    d.num_labels = arch->n_labels;
    d.type_rows = arch->body.front.types ? (int32_t)arch->body.front.type_rows : 0;
    d.decoder_start = arch->decoder_start;
    d.pad = arch->pad < 0 ? 0 : arch->pad;
    *out = d;
    return QL_OK;
}

/* Tokenizer and template, as far as the format needs them. */
static ql_status language(qlora_model *m, const qlora_data_opts *o, ql_dataset_opts *d,
                          const ql_tokenizer **tok) {
    *tok = NULL;
    if (d->format == QL_DATA_TOKENS) return QL_OK;
    QL_TRY(ql_api_tokenizer(m, tok));
    return d->format == QL_DATA_TEXT ? QL_OK : ql_api_template(m, o->chat_template, &d->chat);
}

static ql_status make(ql_dataset *rows, qlora_data **out) {
    qlora_data *d = ql_host_calloc(1, sizeof *d);
    if (!d) {
        ql_dataset_free(rows);
        return QL_NOMEM("a data set");
    }
    d->rows = *rows;
    d->users = 1;
    *out = d;
    return QL_OK;
}

ql_status qlora_data_load(qlora_model *m, const char *path, const qlora_data_opts *opts,
                          qlora_data **out) {
    NOT_NULL(m);
    NOT_NULL(path);
    NOT_NULL(out);
    qlora_data_opts o;
    ql_dataset_opts d;
    const ql_tokenizer *tok;
    ql_dataset rows;
    QL_TRY(ql_api_data_opts(opts, &o));
    QL_TRY(core_opts(m, &o, path, &d));
    QL_TRY(language(m, &o, &d, &tok));
    QL_TRY(ql_dataset_load(path, tok, &d, &rows));
    return make(&rows, out);
}

ql_status qlora_data_parse(qlora_model *m, const char *text, size_t len,
                           const qlora_data_opts *opts, qlora_data **out) {
    NOT_NULL(m);
    NOT_NULL(text);
    NOT_NULL(out);
    qlora_data_opts o;
    ql_dataset_opts d;
    const ql_tokenizer *tok;
    ql_dataset rows;
    QL_TRY(ql_api_data_opts(opts, &o));
    QL_TRY(core_opts(m, &o, "text", &d));
    QL_TRY(language(m, &o, &d, &tok));
    QL_TRY(ql_dataset_parse("text", text, len, tok, &d, &rows));
    return make(&rows, out);
}

/* ------------------------------------------------------------------ arrays */

static json_t *json_ids(const int32_t *ids, int64_t n) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* A row takes the way of files, so that every check of theirs holds here too. */
static ql_status add_row(const qlora_row *row, int64_t number, const ql_dataset_opts *o,
                         ql_example *out) {
    char where[48];
    (void)snprintf(where, sizeof where, "rows: row %lld", (long long)number);
    if (!row->ids || row->n < 1) return QL_FAIL(QL_ERR_INVALID, "%s: has no ids", where);
    json_t *object = json_object(), *ids = json_ids(row->ids, row->n);
    bool made = object && ids && json_object_set(object, "input_ids", ids) == 0;
    json_decref(ids);
    if (made && row->labels)
        made = json_object_set_new(object, "labels", json_ids(row->labels, row->n)) == 0;
    ql_status s = made ? ql_example_from_tokens(object, where, o, out) : QL_NOMEM("a row");
    json_decref(object);
    if (s == QL_OK) out->row = number;
    return s;
}

static ql_status add_rows(const qlora_row *rows, size_t n, const ql_dataset_opts *o,
                          ql_dataset *d) {
    if (n == 0) return QL_FAIL(QL_ERR_INVALID, "rows: there are none");
    size_t most = o->max_rows > 0 && (uint64_t)o->max_rows < n ? (size_t)o->max_rows : n;
    d->format = QL_DATA_TOKENS;
    d->items = ql_host_calloc(most, sizeof *d->items);
    if (!d->items) return QL_NOMEM("a data set");
    for (size_t i = 0; i < most; i++) {
        QL_TRY(add_row(&rows[i], (int64_t)i + 1, o, &d->items[i]));
        ql_dataset_count(d, &d->items[d->n++]);
    }
    return QL_OK;
}

ql_status qlora_data_from_rows(qlora_model *m, const qlora_row *rows, size_t n,
                               const qlora_data_opts *opts, qlora_data **out) {
    NOT_NULL(m);
    NOT_NULL(out);
    if (n) NOT_NULL(rows);
    qlora_data_opts o;
    ql_dataset_opts d;
    ql_dataset made = {0};
    QL_TRY(ql_api_data_opts(opts, &o));
    o.format = "tokens";
    QL_TRY(core_opts(m, &o, "rows", &d));
    if (d.task != QL_TASK_CAUSAL) {
        return QL_FAIL(QL_ERR_UNSUPPORTED,
                       "rows of ids teach decoders only; give a %s model its rows as JSON "
                       "(qlora_data_parse)",
                       m->core->arch.family);
    }
    ql_status s = add_rows(rows, n, &d, &made);
    if (s != QL_OK) {
        ql_dataset_free(&made);
        return s;
    }
    return make(&made, out);
}

/* ------------------------------------------------------------------ life */

void qlora_data_free(qlora_data *d) {
    if (!d || --d->users > 0) return;
    ql_dataset_free(&d->rows);
    ql_host_free(d);
}

ql_status qlora_data_describe(const qlora_data *d, qlora_data_info *out) {
    NOT_NULL(d);
    NOT_NULL(out);
    *out = (qlora_data_info){.rows = d->rows.n,
                             .tokens = d->rows.tokens,
                             .supervised = d->rows.supervised,
                             .longest = d->rows.longest};
    return QL_OK;
}
