/*
 * dataset.c - a file of examples: lines, a JSON array or plain text, row by row; epoch order.
 *
 * Lines are read from the map one at a time; only the examples stay in memory. A byte order mark is
 * skipped, blank lines are not rows.
 */
#include "core/data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "core/base/fs.h"
#include "core/base/hostmem.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/data/dataset_internal.h"

#define WHERE_MAX 512

typedef struct loader {
    const char *name;
    const ql_tokenizer *tok;
    const ql_dataset_opts *o;
    ql_dataset d;
    size_t cap;
    ql_row_memory memory;
    int64_t row;
    char where[WHERE_MAX]; /* "file: row 7" */
} loader;

void ql_dataset_free(ql_dataset *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) ql_example_free(&d->items[i]);
    ql_host_free(d->items);
    *d = (ql_dataset){0};
}

/* Begins the next row: counts it and names it. Long paths keep their end. */
static void next_row(loader *l, int64_t line) {
    size_t len = strlen(l->name);
    const char *name = len > 400 ? l->name + len - 400 : l->name;
    l->row++;
    if (line == l->row || line == 0) {
        (void)snprintf(l->where, sizeof l->where, "%s: row %lld", name, (long long)l->row);
    } else {
        (void)snprintf(l->where, sizeof l->where, "%s: row %lld (line %lld)", name,
                       (long long)l->row, (long long)line);
    }
}

static bool full(const loader *l) {
    return l->o->max_rows > 0 && l->d.n >= l->o->max_rows;
}

static ql_status keep_example(loader *l, ql_example *e) {
    ql_dataset *d = &l->d;
    ql_status s = ql_host_grow((void **)&d->items, &l->cap, (size_t)d->n + 1, sizeof(ql_example));
    if (s != QL_OK) {
        ql_example_free(e);
        return s;
    }
    e->row = l->row;
    d->items[d->n++] = *e;
    d->tokens += e->n;
    d->supervised += e->supervised;
    if (e->n > d->longest) d->longest = e->n;
    return QL_OK;
}

static ql_status add_object(loader *l, const json_t *row) {
    ql_example e = {0};
    ql_row r;
    if (l->d.format == QL_DATA_AUTO) QL_TRY(ql_row_detect(row, l->where, &l->d.format));
    if (l->d.format == QL_DATA_TOKENS) {
        QL_TRY(ql_example_from_tokens(row, l->where, l->o, &e));
        return keep_example(l, &e);
    }
    if (!l->tok) {
        return QL_FAIL(QL_ERR_INVALID, "%s: format '%s' needs a tokenizer", l->where,
                       ql_data_format_name(l->d.format));
    }
    QL_TRY(ql_row_read(row, l->where, l->d.format, l->o, &l->memory, &r));
    QL_TRY(ql_example_from_row(l->tok, &r, l->where, l->o, &e));
    return keep_example(l, &e);
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

static bool is_blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n') return false;
    }
    return true;
}

static ql_status load_lines(loader *l, const char *text, size_t len) {
    int64_t line = 0;
    for (size_t at = 0; at < len && !full(l);) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at;
        line++;
        if (!is_blank(text + at, n)) {
            json_t *row = NULL;
            next_row(l, line);
            QL_TRY(parse_json(text + at, n, l->where, &row));
            ql_status s = add_object(l, row);
            json_decref(row);
            QL_TRY(s);
        }
        at += n + 1;
    }
    return QL_OK;
}

static ql_status load_array(loader *l, const char *text, size_t len) {
    json_t *list = NULL;
    QL_TRY(parse_json(text, len, l->name, &list));
    ql_status s = QL_OK;
    for (size_t i = 0; s == QL_OK && i < json_array_size(list) && !full(l); i++) {
        next_row(l, 0);
        s = add_object(l, json_array_get(list, i));
    }
    json_decref(list);
    return s;
}

/* One text: [BOS] text EOS, cut into rows of max_len tokens, everything learned. A last piece of a
 * single token has no target and is dropped. */
static ql_status split_text(loader *l, const ql_ids *v) {
    size_t width = l->o->max_len > 0 ? (size_t)l->o->max_len : v->n;
    if (width < 2) {
        return QL_FAIL(QL_ERR_INVALID,
                       "%s: rows of %zu tokens have no target, at least 2 are needed", l->name,
                       width);
    }
    for (size_t at = 0; at + 1 < v->n && !full(l); at += width) {
        size_t n = v->n - at < width ? v->n - at : width;
        ql_example e = {0};
        next_row(l, 0);
        QL_TRY(ql_example_finish(l->where, v->ids + at, v->ids + at, n, false, l->o, &e));
        QL_TRY(keep_example(l, &e));
    }
    return QL_OK;
}

static ql_status encode_text(loader *l, const char *text, size_t len, ql_ids *v) {
    int32_t bos = ql_tokenizer_adds_bos(l->tok) ? ql_tokenizer_bos(l->tok) : -1;
    int32_t eos = ql_tokenizer_eos(l->tok);
    if (bos >= 0) {
        QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, 1, sizeof(int32_t)));
        v->ids[v->n++] = bos;
    }
    QL_TRY(ql_tokenizer_encode(l->tok, text, len, 0, v));
    if (eos >= 0) {
        QL_TRY(ql_host_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof(int32_t)));
        v->ids[v->n++] = eos;
    }
    return QL_OK;
}

static ql_status load_text(loader *l, const char *text, size_t len) {
    ql_ids v = {0};
    l->d.format = QL_DATA_TEXT;
    if (!l->tok) return QL_FAIL(QL_ERR_INVALID, "%s: text needs a tokenizer", l->name);
    if (is_blank(text, len)) return QL_OK;
    ql_status s = encode_text(l, text, len, &v);
    if (s == QL_OK) s = split_text(l, &v);
    ql_ids_free(&v);
    return s;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static ql_status load_bytes(loader *l, const char *text, size_t len) {
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    l->d.format = l->o->format;
    if (l->o->format == QL_DATA_TEXT) return load_text(l, text, len);
    if (l->o->format == QL_DATA_AUTO && ends_with(l->name, ".txt")) return load_text(l, text, len);
    size_t first = 0;
    while (first < len && is_blank(text + first, 1)) first++;
    if (first < len && text[first] == '[') return load_array(l, text + first, len - first);
    if (first == len || text[first] == '{') return load_lines(l, text, len);
    return QL_FAIL(
        QL_ERR_FORMAT,
        "%s: neither JSON lines nor a JSON array (it begins with '%c'): .jsonl, .json and "
        ".txt are read; plain text needs the ending .txt or --dataset_format text",
        l->name, text[first] >= ' ' && text[first] <= '~' ? text[first] : '?');
}

ql_status ql_dataset_parse(const char *name, const char *text, size_t len, const ql_tokenizer *tok,
                           const ql_dataset_opts *o, ql_dataset *out) {
    loader l = {.name = name, .tok = tok, .o = o};
    ql_status s = load_bytes(&l, text ? text : "", len);
    if (s == QL_OK && l.d.n == 0) {
        s = QL_FAIL(QL_ERR_FORMAT, "%s: the file holds no row to train on", name);
    }
    ql_row_memory_free(&l.memory);
    if (s != QL_OK) {
        ql_dataset_free(&l.d);
        return s;
    }
    *out = l.d;
    return QL_OK;
}

ql_status ql_dataset_load(const char *path, const ql_tokenizer *tok, const ql_dataset_opts *o,
                          ql_dataset *out) {
    ql_map map;
    QL_TRY(ql_map_open(path, &map));
    ql_status s = ql_dataset_parse(path, (const char *)map.data, (size_t)map.size, tok, o, out);
    ql_map_close(&map);
    return s;
}

ql_status ql_epoch_order(int64_t n, uint64_t seed, int64_t epoch, bool shuffle, int64_t *order) {
    if (n < 0 || epoch < 0) {
        return QL_FAIL(QL_ERR_INVALID, "epoch_order: %lld rows, epoch %lld", (long long)n,
                       (long long)epoch);
    }
    for (int64_t i = 0; i < n; i++) order[i] = i;
    if (!shuffle) return QL_OK;
    ql_stream s = ql_stream_make(seed, QL_STREAM_SHUFFLE, (uint64_t)epoch);
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)ql_stream_below(&s, (uint64_t)i + 1), keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
    return QL_OK;
}
