/*
 * dataset_lines.c - a file of rows to JSON objects, one at a time: lines or one array.
 *
 * A byte order mark is skipped, blank lines are not rows. Escapes of lone surrogates, which Python
 * writes and jansson refuses, become U+FFFD.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hostmem.h"
#include "core/base/json.h"
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

static ql_status read_lines(ql_row_list *r, const char *text, size_t len) {
    int64_t line = 0;
    for (size_t at = 0; at < len && !r->enough;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at;
        line++;
        if (!ql_text_is_blank(text + at, n)) {
            json_t *row = NULL;
            ql_rows_next(r, line);
            QL_TRY(parse_json(text + at, n, r->where, &row));
            ql_status s = r->visit(r->user, row);
            json_decref(row);
            QL_TRY(s);
        }
        at += n + 1;
    }
    return QL_OK;
}

static ql_status read_array(ql_row_list *r, const char *text, size_t len) {
    json_t *list = NULL;
    QL_TRY(parse_json(text, len, r->name, &list));
    ql_status s = QL_OK;
    for (size_t i = 0; s == QL_OK && i < json_array_size(list) && !r->enough; i++) {
        ql_rows_next(r, 0);
        s = r->visit(r->user, json_array_get(list, i));
    }
    json_decref(list);
    return s;
}

ql_status ql_rows_read(ql_row_list *r, const char *text, size_t len) {
    size_t first = 0;
    while (first < len && ql_text_is_blank(text + first, 1)) first++;
    if (first < len && text[first] == '[') return read_array(r, text + first, len - first);
    if (first == len || text[first] == '{') return read_lines(r, text, len);
    return QL_FAIL(
        QL_ERR_FORMAT,
        "%s: neither JSON lines nor a JSON array (it begins with '%c'): .jsonl, .json and "
        ".txt are read; plain text needs the ending .txt or --dataset_format text",
        r->name, text[first] >= ' ' && text[first] <= '~' ? text[first] : '?');
}

void ql_text_skip_mark(const char **text, size_t *len) {
    if (*len < 3 || memcmp(*text, "\xef\xbb\xbf", 3) != 0) return;
    *text += 3;
    *len -= 3;
}
