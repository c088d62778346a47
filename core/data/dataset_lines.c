/*
 * dataset_lines.c - a file of rows to JSON objects, one at a time: lines, one array, or a table.
 *
 * Never more than one row is in memory. A byte order mark is skipped, blank lines are not rows.
 * Escapes of lone surrogates, which Python writes and jansson refuses, become U+FFFD.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/data/chars.h"
#include "core/data/dataset_internal.h"

void ql_rows_next(ql_row_list *r, int64_t line) {
    size_t len = strlen(r->name);
    const char *name = len > 400 ? r->name + len - 400 : r->name;
    r->row++;
    if (line == r->row || line == 0) {
        (void)snprintf(r->where, sizeof r->where, "%s: row %lld", name, (long long)r->row);
    } else {
        (void)snprintf(r->where, sizeof r->where, "%s: row %lld (line %lld)", name,
                       (long long)r->row, (long long)line);
    }
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Value of "\uXXXX" at s[0..len), -1 when there is none. */
static int escape_value(const char *s, size_t len) {
    int value = 0;
    if (len < 6 || s[0] != '\\' || s[1] != 'u') return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Escapes of lone surrogates become \ufffd; a pair is left alone. Works in place. */
static void mend_surrogates(char *s, size_t len) {
    for (size_t i = 0; i < len;) {
        int value = escape_value(s + i, len - i);
        if (value >= 0xd800 && value <= 0xdfff) {
            int low = value < 0xdc00 ? escape_value(s + i + 6, len - i - 6) : -1;
            if (low >= 0xdc00 && low <= 0xdfff) {
                i += 12;
            } else {
                memcpy(s + i, "\\ufffd", 6);
                i += 6;
            }
        } else {
            i += s[i] == '\\' && i + 1 < len ? 2 : 1;
        }
    }
}

static ql_status parse_json(const char *text, size_t len, const char *where, json_t **out) {
    if (len > QL_JSON_MAX_BYTES || !memchr(text, '\\', len)) {
        return ql_json_parse(text, len, where, out);
    }
    char *copy = ql_host_calloc(len, 1);
    if (!copy) return QL_NOMEM("a row's text");
    memcpy(copy, text, len);
    mend_surrogates(copy, len);
    ql_status s = ql_json_parse(copy, len, where, out);
    ql_host_free(copy);
    return s;
}

bool ql_text_is_blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n') return false;
    }
    return true;
}

bool ql_text_ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

ql_status ql_rows_refuse(ql_row_list *r, ql_status s) {
    return r->refused && s == QL_ERR_FORMAT ? r->refused(r->user, s) : s;
}

/* Parses one row and hands it on. */
static ql_status visit_text(ql_row_list *r, const char *text, size_t len) {
    json_t *row = NULL;
    ql_problem_note(QL_PROBLEM_JSON);
    ql_status s = parse_json(text, len, r->where, &row);
    if (s == QL_ERR_FORMAT && !ql_text_is_utf8(text, len)) ql_problem_note(QL_PROBLEM_UTF8);
    if (s != QL_OK) return ql_rows_refuse(r, s);
    s = r->visit(r->user, row);
    json_decref(row);
    return s;
}

static ql_status read_lines(ql_row_list *r, const char *text, size_t len) {
    int64_t line = 0;
    for (size_t at = 0; at < len && !r->enough;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at;
        line++;
        if (!ql_text_is_blank(text + at, n)) {
            ql_rows_next(r, line);
            QL_TRY(visit_text(r, text + at, n));
        }
        at += n + 1;
    }
    return QL_OK;
}

static size_t skip_blanks(const char *text, size_t len, size_t at) {
    while (at < len && ql_text_is_blank(text + at, 1)) at++;
    return at;
}

/* End of the element that begins at `at`: the separator or bracket behind it, or len. */
static size_t element_end(const char *text, size_t len, size_t at) {
    size_t depth = 0;
    bool quoted = false;
    for (; at < len; at++) {
        char c = text[at];
        if (quoted) {
            at += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == ']')) {
            return at;
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        }
    }
    return len;
}

static ql_status broken_array(const ql_row_list *r, const char *what) {
    return QL_REFUSE(QL_PROBLEM_JSON, "%s: not valid JSON: the array %s", r->name, what);
}

static ql_status read_array(ql_row_list *r, const char *text, size_t len) {
    size_t at = skip_blanks(text, len, 1);
    bool ends = at < len && text[at] == ']';
    while (!ends && !r->enough) {
        size_t end = element_end(text, len, at);
        if (end >= len) return broken_array(r, "does not end");
        bool bare = end > at && text[at] != '{' && text[at] != '['; /* 7, "text", true */
        ql_rows_next(r, 0);
        QL_TRY(bare ? ql_rows_refuse(r, ql_no_object(r->where))
                    : visit_text(r, text + at, end - at));
        ends = text[end] == ']';
        at = ends ? end : skip_blanks(text, len, end + 1);
    }
    if (r->enough || skip_blanks(text, len, at + 1) == len) return QL_OK;
    return broken_array(r, "is followed by more text");
}

ql_status ql_rows_read(ql_row_list *r, const char *text, size_t len) {
    size_t first = skip_blanks(text, len, 0);
    if (ql_text_ends_with(r->name, ".csv")) return ql_table_read(r, text, len, ',');
    if (ql_text_ends_with(r->name, ".tsv")) return ql_table_read(r, text, len, '\t');
    if (first < len && text[first] == '[') return read_array(r, text + first, len - first);
    if (first == len || text[first] == '{') return read_lines(r, text, len);
    return QL_REFUSE(
        QL_PROBLEM_JSON,
        "%s: neither JSON lines nor a JSON array (it begins with '%c'): .jsonl, .json, .csv, .tsv "
        "and .txt are read; plain text needs the ending .txt or --dataset_format text",
        r->name, text[first] >= ' ' && text[first] <= '~' ? text[first] : '?');
}

void ql_text_skip_mark(const char **text, size_t *len) {
    if (*len < 3 || memcmp(*text, "\xef\xbb\xbf", 3) != 0) return;
    *text += 3;
    *len -= 3;
}
