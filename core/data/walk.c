/* walk.c - see walk.h. */
#include "core/data/walk.h"

#include <string.h>

#include "core/base/fs.h"

typedef struct walker {
    ql_walk *w;
    ql_dataset_opts o;
    ql_row_list rows;
    ql_row_memory memory;
} walker;

/* The latest sentence without the name of the row in front. */
static const char *bare_message(const char *where) {
    const char *text = ql_last_error();
    size_t n = strlen(where);
    return strncmp(text, where, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

static ql_status show(walker *k, ql_walk_row *r) {
    ql_walk *w = k->w;
    r->row = k->rows.row;
    r->where = k->rows.where;
    r->kind = ql_problem_last();
    r->message = r->status == QL_OK ? "" : bare_message(k->rows.where);
    w->rows++;
    ql_status s = w->visit(w->user, r);
    k->rows.enough = w->enough;
    return s;
}

/* Only a row may be refused: what else fails ends the walk. */
static bool fatal(ql_status s) {
    return s != QL_OK && s != QL_ERR_FORMAT;
}

static ql_status read_texts(walker *k, const json_t *row, ql_row *texts, bool *has) {
    const char *where = k->rows.where, *a, *b;
    size_t a_len, b_len;
    ql_row_label label;
    if (k->w->format == QL_DATA_TOKENS || k->o.task == QL_TASK_CLASSIFY) {
        if (k->w->format == QL_DATA_TOKENS) return QL_OK;
        QL_TRY(ql_row_label_read(row, where, &label));
        return ql_row_texts(row, where, &a, &a_len, &b, &b_len);
    }
    *has = true;
    return ql_row_read(row, where, k->w->format, &k->o, &k->memory, texts);
}

/* Rows that miss a key of the first row's format but have all of another's. */
static void name_other_format(walker *k, const json_t *row, ql_status s) {
    ql_data_format other = QL_DATA_AUTO;
    char message[512];
    if (s != QL_ERR_FORMAT || ql_problem_last() != QL_PROBLEM_MISSING_KEY) return;
    if (k->w->o->format != QL_DATA_AUTO) return;
    strncpy(message, ql_last_error(), sizeof message - 1);
    message[sizeof message - 1] = '\0';
    if (ql_row_detect(row, k->rows.where, k->o.task, &other, NULL, 0) == QL_OK &&
        other != k->w->format) {
        (void)QL_REFUSE(QL_PROBLEM_FORMAT,
                        "%s: the row has the format %s, those before have %s: all rows of a file "
                        "have one format",
                        k->rows.where, ql_data_format_name(other),
                        ql_data_format_name(k->w->format));
        return;
    }
    (void)QL_REFUSE(QL_PROBLEM_MISSING_KEY, "%s", message);
}

static ql_status visit_row(void *user, const json_t *row) {
    walker *k = user;
    ql_walk *w = k->w;
    ql_walk_row r = {.object = row};
    ql_row texts = {0};
    ql_example e = {0};
    bool has = false;
    ql_problem_note(QL_PROBLEM_ROW);
    if (w->format == QL_DATA_AUTO)
        r.status = ql_row_detect(row, k->rows.where, k->o.task, &w->format, w->why, sizeof w->why);
    if (r.status == QL_OK && !json_is_object(row)) r.status = ql_no_object(k->rows.where);
    if (r.status == QL_OK && (w->tok || w->format == QL_DATA_TOKENS)) {
        r.status =
            ql_example_make(w->tok, row, k->rows.where, w->format, &k->o, &k->memory, &texts, &e);
        has = texts.target || texts.messages;
    } else if (r.status == QL_OK) {
        r.status = read_texts(k, row, &texts, &has);
        has = has && r.status == QL_OK;
    }
    if (fatal(r.status)) return r.status;
    name_other_format(k, row, r.status);
    if (has) r.texts = &texts;
    if (e.ids) r.example = &e;
    e.row = k->rows.row;
    ql_status s = show(k, &r);
    ql_example_free(&e);
    return s;
}

static ql_status refused_row(void *user, ql_status s) {
    ql_walk_row r = {.status = s};
    return show(user, &r);
}

/* Pieces of one text: they have tokens and nothing else. */
static ql_status walk_text(walker *k) {
    ql_walk *w = k->w;
    ql_dataset d;
    w->format = QL_DATA_TEXT;
    if (!w->tok) {
        return QL_FAIL(QL_ERR_INVALID, "%s: a text becomes rows of tokens: name the model with -m",
                       w->path);
    }
    QL_TRY(ql_dataset_load(w->path, w->tok, &k->o, &d));
    ql_status s = QL_OK;
    for (int64_t i = 0; i < d.n && s == QL_OK && !k->rows.enough; i++) {
        ql_walk_row r = {.example = &d.items[i]};
        ql_rows_next(&k->rows, 0);
        s = show(k, &r);
    }
    ql_dataset_free(&d);
    return s;
}

static ql_status walk_rows(walker *k) {
    ql_map map;
    QL_TRY(ql_map_open(k->w->path, &map));
    const char *text = map.data ? (const char *)map.data : "";
    size_t len = (size_t)map.size;
    ql_text_skip_mark(&text, &len);
    ql_status s = ql_rows_read(&k->rows, text, len);
    ql_map_close(&map);
    if (s == QL_OK && k->rows.row == 0)
        s = QL_FAIL(QL_ERR_FORMAT, "%s: the file holds no row", k->w->path);
    return s;
}

ql_status ql_walk_file(ql_walk *w) {
    walker k = {.w = w,
                .o = *w->o,
                .rows = {.name = w->path,
                         .visit = visit_row,
                         .refused = refused_row,
                         .numbers = w->o->task == QL_TASK_CLASSIFY}};
    k.rows.user = &k;
    k.o.texts_only = !w->tok;
    w->format = w->o->format;
    w->why[0] = '\0';
    w->rows = 0;
    QL_TRY(ql_dataset_opts_check(w->path, &k.o));
    ql_status s = ql_dataset_is_text(w->path, &k.o) ? walk_text(&k) : walk_rows(&k);
    ql_row_memory_free(&k.memory);
    return s;
}
