/*
 * dataset_table.c - CSV and TSV to objects: the header names the keys, every field is a string.
 *
 * RFC 4180: fields may stand in quotes, with separators, line ends and doubled quotes inside. A
 * TSV of GLUE is known by its header and has no quotes: there a quote is a character. Where classes
 * are learned, GLUE's names of columns become those of classification rows, and labels that are
 * numbers become numbers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/data/dataset_internal.h"

#define MOST_COLUMNS 4096

typedef struct table {
    ql_row_list *rows;
    const char *text;
    size_t len, at;
    int64_t line; /* of the byte `at`, from 1 */
    char separator;
    bool quotes;
    char *bytes; /* the fields of a record, each ended by a NUL */
    size_t n_bytes, cap_bytes;
    size_t *field; /* where each begins in bytes */
    size_t n, cap;
    char *names; /* the header: the bytes of its record */
    size_t *name;
    size_t columns;
} table;

static void table_free(table *t) {
    ql_host_free(t->bytes);
    ql_host_free(t->field);
    ql_host_free(t->names);
    ql_host_free(t->name);
}

/* ----------------------------------------------------------------- records */

static ql_status push_byte(table *t, char c) {
    QL_TRY(ql_host_grow((void **)&t->bytes, &t->cap_bytes, t->n_bytes + 1, 1));
    t->bytes[t->n_bytes++] = c;
    return QL_OK;
}

static bool at_end_of_line(const table *t) {
    char c = t->text[t->at];
    return c == '\n' || (c == '\r' && (t->at + 1 == t->len || t->text[t->at + 1] == '\n'));
}

/* A field in quotes; `at` is on the opening one. */
static ql_status read_quoted(table *t) {
    int64_t opened = t->line;
    bool closed = false;
    for (t->at++; t->at < t->len && !closed; t->at++) {
        char c = t->text[t->at];
        bool doubled = c == '"' && t->at + 1 < t->len && t->text[t->at + 1] == '"';
        closed = c == '"' && !doubled;
        t->at += doubled;
        t->line += c == '\n';
        if (!closed) QL_TRY(push_byte(t, c));
    }
    if (!closed) {
        return QL_REFUSE(QL_PROBLEM_TABLE, "%s: the quote of line %lld is never closed",
                         t->rows->where, (long long)opened);
    }
    if (t->at < t->len && t->text[t->at] != t->separator && !at_end_of_line(t)) {
        return QL_REFUSE(QL_PROBLEM_TABLE,
                         "%s: text behind a closing quote on line %lld; a quote inside a field is "
                         "written twice",
                         t->rows->where, (long long)t->line);
    }
    return QL_OK;
}

/* One record from `at` to behind its line end. */
static ql_status read_record(table *t) {
    t->n = t->n_bytes = 0;
    for (bool more = true; more;) {
        QL_TRY(ql_host_grow((void **)&t->field, &t->cap, t->n + 1, sizeof(size_t)));
        t->field[t->n++] = t->n_bytes;
        if (t->quotes && t->at < t->len && t->text[t->at] == '"') QL_TRY(read_quoted(t));
        while (t->at < t->len && t->text[t->at] != t->separator && !at_end_of_line(t))
            QL_TRY(push_byte(t, t->text[t->at++]));
        QL_TRY(push_byte(t, '\0'));
        more = t->at < t->len && t->text[t->at] == t->separator;
        t->at += more;
    }
    if (t->at < t->len && t->text[t->at] == '\r') t->at++;
    if (t->at < t->len) t->at++; /* the newline */
    t->line++;
    return QL_OK;
}

static const char *field_at(const table *t, size_t i) {
    return t->bytes + t->field[i];
}

static size_t field_length(const table *t, size_t i) {
    size_t end = i + 1 < t->n ? t->field[i + 1] : t->n_bytes;
    return end - t->field[i] - 1;
}

/* ------------------------------------------------------------------ header */

static bool has_name(const table *t, const char *name) {
    for (size_t i = 0; i < t->columns; i++)
        if (strcmp(t->names + t->name[i], name) == 0) return true;
    return false;
}

/* The file of a GLUE task: tabs, no quoting. */
static bool is_glue(const table *t) {
    static const char *const MARKS[] = {"#1 String", "is_duplicate", "gold_label",
                                        "sentence1_parse", "index"};
    if (t->separator != '\t') return false;
    for (size_t i = 0; i < sizeof MARKS / sizeof *MARKS; i++)
        if (has_name(t, MARKS[i])) return true;
    return t->columns == 2 && has_name(t, "sentence") && has_name(t, "label");
}

/* CoLA has no header: source, 0 or 1, "*" or nothing, sentence. */
static bool is_cola(const table *t) {
    if (t->separator != '\t' || t->n != 4) return false;
    const char *label = field_at(t, 1), *star = field_at(t, 2);
    return (strcmp(label, "0") == 0 || strcmp(label, "1") == 0) &&
           (!*star || strcmp(star, "*") == 0);
}

static ql_status name_columns(table *t, const char *bytes, size_t n_bytes, const size_t *field,
                              size_t n) {
    t->names = ql_host_calloc(n_bytes, 1);
    t->name = ql_host_calloc(n, sizeof *t->name);
    if (!t->names || !t->name) return QL_NOMEM("the names of columns");
    memcpy(t->names, bytes, n_bytes);
    memcpy(t->name, field, n * sizeof *t->name);
    t->columns = n;
    return QL_OK;
}

static ql_status check_names(const table *t) {
    for (size_t i = 0; i < t->columns; i++) {
        const char *name = t->names + t->name[i];
        if (!*name) {
            return QL_REFUSE(QL_PROBLEM_TABLE, "%s: column %zu of the header has no name",
                             t->rows->name, i + 1);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(name, t->names + t->name[k]) != 0) continue;
            return QL_REFUSE(QL_PROBLEM_TABLE, "%s: two columns are called '%.80s'", t->rows->name,
                             name);
        }
    }
    return QL_OK;
}

/* The first record: names, or already a row of CoLA. Its quotes are read in any case: a header of
 * GLUE has none. */
static ql_status read_header(table *t) {
    static const char COLA[] = "source\0label\0star\0sentence";
    static const size_t AT[] = {0, 7, 13, 18};
    size_t begin = t->at;
    (void)snprintf(t->rows->where, sizeof t->rows->where, "%.400s: header", t->rows->name);
    QL_TRY(read_record(t));
    if (t->rows->numbers && is_cola(t)) {
        t->at = begin;
        t->line = 1;
        t->quotes = false;
        return name_columns(t, COLA, sizeof COLA, AT, 4);
    }
    if (t->n > MOST_COLUMNS) {
        return QL_REFUSE(QL_PROBLEM_TABLE, "%s: a header of %zu columns, at most %d are read",
                         t->rows->name, t->n, MOST_COLUMNS);
    }
    QL_TRY(name_columns(t, t->bytes, t->n_bytes, t->field, t->n));
    if (is_glue(t)) t->quotes = false;
    return check_names(t);
}

/* -------------------------------------------------------------------- rows */

/* The key of a column: GLUE's own names become those of classification rows. */
static const char *key_of(const table *t, size_t column) {
    static const char *const GLUE[][2] = {{"#1 String", "sentence1"}, {"#2 String", "sentence2"},
                                          {"Quality", "label"},       {"is_duplicate", "label"},
                                          {"gold_label", "label"},    {"score", "label"}};
    const char *name = t->names + t->name[column];
    for (size_t i = 0; t->rows->numbers && i < sizeof GLUE / sizeof *GLUE; i++)
        if (strcmp(name, GLUE[i][0]) == 0 && !has_name(t, GLUE[i][1])) return GLUE[i][1];
    return name;
}

static json_t *label_value(const char *text) {
    char *end;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (end != text && !*end && !errno) return json_integer(whole);
    double real = strtod(text, &end);
    return end != text && !*end && real - real == 0 ? json_real(real) : NULL;
}

static bool is_label(const char *key) {
    return strcmp(key, "label") == 0 || strcmp(key, "labels") == 0 || strcmp(key, "target") == 0;
}

static ql_status make_row(const table *t, json_t **out) {
    if (t->n != t->columns) {
        return QL_REFUSE(QL_PROBLEM_TABLE, "%s: %zu fields, the header has %zu columns",
                         t->rows->where, t->n, t->columns);
    }
    json_t *row = json_object();
    if (!row) return QL_NOMEM("a row");
    for (size_t i = 0; i < t->n; i++) {
        const char *key = key_of(t, i);
        json_t *v = t->rows->numbers && is_label(key) ? label_value(field_at(t, i)) : NULL;
        if (!v) v = json_stringn(field_at(t, i), field_length(t, i));
        if (!v || json_object_set_new(row, key, v) != 0) {
            json_decref(row);
            return QL_REFUSE(QL_PROBLEM_UTF8, "%s: field %zu is not UTF-8", t->rows->where, i + 1);
        }
    }
    *out = row;
    return QL_OK;
}

/* A record that could not be read ends with its first line. */
static void skip_line(table *t, size_t begin, int64_t line) {
    const char *end = memchr(t->text + begin, '\n', t->len - begin);
    t->at = end ? (size_t)(end - t->text) + 1 : t->len;
    t->line = line + 1;
}

static ql_status read_row(table *t) {
    size_t begin = t->at;
    int64_t line = t->line;
    json_t *row = NULL;
    ql_rows_next(t->rows, line);
    ql_status s = read_record(t);
    if (s != QL_OK) skip_line(t, begin, line);
    if (s == QL_OK) s = make_row(t, &row);
    if (s != QL_OK) return ql_rows_refuse(t->rows, s);
    s = t->rows->visit(t->rows->user, row);
    json_decref(row);
    return s;
}

static bool blank_line(const table *t) {
    const char *end = memchr(t->text + t->at, '\n', t->len - t->at);
    size_t n = (end ? (size_t)(end - t->text) : t->len) - t->at;
    return n == 0 || (n == 1 && t->text[t->at] == '\r');
}

static ql_status read_rows(table *t) {
    QL_TRY(read_header(t));
    while (t->at < t->len && !t->rows->enough) {
        if (blank_line(t)) {
            skip_line(t, t->at, t->line);
        } else {
            QL_TRY(read_row(t));
        }
    }
    return QL_OK;
}

ql_status ql_table_read(ql_row_list *r, const char *text, size_t len, char separator) {
    table t = {
        .rows = r, .text = text, .len = len, .line = 1, .separator = separator, .quotes = true};
    ql_status s = ql_text_is_blank(text, len) ? QL_OK : read_rows(&t);
    table_free(&t);
    return s;
}
